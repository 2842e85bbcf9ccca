"""What is wrong with a loss: diagnoses from its logits, labels and options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from ...errors import type_error
from ...labels import Positives, TopK
from ..findings import Report
from .arrays import Lines
from .case import Case, Options
from .rules import findings


def check(
    logits: Any,
    labels: Any,
    *,
    loss: str = "softmax",
    axis: int | None = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    pos_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    reduction: str = "mean",
    log_target: bool = False,
    value: Any = None,
    gradient: Any = None,
    step: int | None = None,
    history: Sequence[dict[str, float]] = (),
    tokens: Any = None,
    microbatch_rows: Sequence[int] | None = None,
    loss_scale: float = 1.0,
    framework: str | None = None,
    memory: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Looks for what is wrong with a loss: 46 diagnoses from its arrays and options.

    Nothing is trained and nothing is changed. All rows go once through the loss; what needs the single logits is looked
    at in some rows, evenly spread. Documentation: the page Troubleshooting lists the rules.

    Args:
        logits: what the loss gets as its first argument, as it gets it: of any framework, a list, or an array of a file
            that `xent.advisor.files` opened, which is read in blocks.
        labels: what it gets as labels: class indices, soft labels, 0 and 1, signs; or `TopK`, `Positives`.
        loss: which loss: "softmax", "sigmoid" (both from logits), "nll" (log-probabilities), "probs" and "binary_probs"
            (probabilities), "kl" (log-probabilities and a distribution), "logistic" (scores and signs).
        axis: the class axis; None: the last.
        class_weight, sample_weight, pos_weight, label_smoothing, ignore_index, temperature, softcap, z_loss, reduction,
        log_target: the options of the loss, as the losses have them.
        value: the loss as you got it. `gradient`: the gradient to the logits as you got it.
        step: which training step this is; 0 is before the first.
        history: earlier steps, oldest first: dicts with "step", "loss" and "lse" (its mean), as far as known.
        tokens: [B, T], what a language model read, where the logits are [B, T, C].
        microbatch_rows: how many rows count in each part of a batch whose means are averaged.
        loss_scale: what the loss is multiplied by, as temperature² in distillation.
        framework: "torch", "tensorflow", "keras", "optax" or "jax", where its loss is used and not xent's. With "torch"
            the default of axis is 1, and that of ignore_index -100.
        memory: bytes that there are; None: what is free now.
        progress: called with (blocks done, blocks) while large arrays are read.

    Returns:
        A `Report` with `findings`, the worst first. Each has `rule`, `severity`, `message` and `fix`.

    Raises:
        ValueError, TypeError: arrays that do not belong together in a way that no rule explains, unknown options.

    Example:
        >>> import numpy as np, xent
        >>> probabilities = xent.softmax(np.random.default_rng(0).normal(size=(8, 5)))
        >>> report = xent.check(probabilities, np.arange(8) % 5)
        >>> report.ok, report.findings[0].rule, report.findings[0].severity
        (False, 'X01', 'error')

    Source: the questions that people ask about their losses; each rule names its own.
    """
    options = {
        "loss": loss,
        "axis": axis,
        "class_weight": class_weight,
        "sample_weight": sample_weight,
        "pos_weight": pos_weight,
        "label_smoothing": label_smoothing,
        "ignore_index": ignore_index,
        "temperature": temperature,
        "softcap": softcap,
        "z_loss": z_loss,
        "reduction": reduction,
        "log_target": log_target,
        "value": value,
        "gradient": gradient,
        "step": step,
        "history": history,
        "tokens": tokens,
        "microbatch_rows": microbatch_rows,
        "loss_scale": loss_scale,
        "framework": framework,
        "memory": memory,
    }
    return examine(logits, labels, progress, **options)[1]


def examine(
    logits: Any, labels: Any, progress: Callable[[int, int], None] | None, **options: Any
) -> tuple[Case, Report]:
    """As `check`, with the case that was made of the arguments."""
    scores = Lines("logits", logits)
    given = labels if isinstance(labels, TopK | Positives) else Lines("labels", labels)
    if not scores.shape and isinstance(given, Lines):  # a single score is a line of one
        scores.shape = given.shape = (1,)
    case = Case(scores, given, Options(**options), progress)
    return case, Report(tuple(findings(case)), case.rows, case.classes)


def refuse_unknown(options: dict[str, Any]) -> None:
    """Raises TypeError for options that `check` does not have."""
    unknown = sorted(set(options) - {field.name for field in fields(Options)})
    if unknown:
        raise type_error("options", "those of xent.check", ", ".join(unknown), "See help(xent.check).")
