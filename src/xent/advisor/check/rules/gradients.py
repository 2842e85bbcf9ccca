"""Rules about what the user computed: the loss' value, its gradient, and the terms of distillation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .... import api
from ....errors import value_error
from ..arrays import Lines
from ..case import MASK, SOFTMAX, Case
from .table import Found, rule, some

EPSILON = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-24}
TINY = 2.0**-24  # the smallest number of float16


@rule(35, "Kullback-Leibler divergence of the wrong things", ("kl",))
def _(case: Case) -> Iterator[Found]:
    lse = case.sample.lse
    off = lse[np.isfinite(lse) & (abs(lse) > 10 * case.exact)]
    if len(off):
        yield (
            "error",
            f"the log-sum-exp of {len(off)} of {len(lse)} rows looked at is not 0 (such as {off[0]:.4g}): the input is "
            "no log-probability.",
            "Pass log_softmax(logits): in PyTorch F.kl_div(F.log_softmax(logits, -1), target, reduction='batchmean').",
        )
    targets = case.sample.targets
    if targets is not None and targets.size and not case.options.log_target and (targets <= 0).all():
        yield (
            "error",
            "no target is above 0: they are logarithms, taken for probabilities.",
            "Pass log_target=True, or target.exp().",
        )
    if case.options.reduction == "mean" and case.options.framework == "torch":
        yield (
            "warning",
            f"PyTorch's reduction='mean' divides by all {case.rows * case.classes} numbers, {case.classes} times too "
            "much.",
            "Pass reduction='batchmean', the mean over rows.",
        )


@rule(36, "distillation with a temperature", ("softmax", "kl"))
def _(case: Case) -> Iterator[Found]:
    if isinstance(case.labels, Lines) and case.labels.trainable and case.kind == "dense":
        yield (
            "warning",
            "the soft labels require a gradient: the teacher learns from the student.",
            "Compute them under torch.no_grad(), or pass labels.detach().",
        )
    t = case.options.temperature
    if case.kind in ("dense", "topk") and t > 1.0 and not np.isclose(case.options.loss_scale, t * t):
        yield (
            "warning",
            f"soft labels at temperature {t:g}, and the loss is multiplied by {case.options.loss_scale:g}: its "
            f"gradient is about {t * t:g} times smaller than that of the loss of hard labels beside it.",
            f"Multiply it by temperature²: {t * t:g}.",
        )


@rule(39, "a loss that can be negative")
def _(case: Case) -> Iterator[Found]:
    value = case.mean if case.options.value is None else _number(case, "value")
    if value is not None and not np.isfinite(value) and np.isfinite(case.mean) and not len(case.suspects.rows):
        yield (
            "error",
            f"the loss is {value}, though that of these logits and labels is {case.mean:.4g}.",
            "It is made between them and the loss: look for logarithms, divisions and half precision there.",
        )
    if value is not None and value < -1e-6:
        yield (
            "error",
            f"the loss is {value:.6g}; a cross-entropy is never below 0.",
            "Look for labels outside [0, 1], negative weights, probabilities where logarithms are expected, or a minus "
            "sign too many.",
        )
    for name in ("class_weight", "sample_weight", "pos_weight"):
        given = getattr(case.options, name)
        weights = np.zeros(0) if given is None else np.asarray(Lines(name, given)[...], np.float64)
        bad = weights[~((weights >= 0) & np.isfinite(weights))]
        if len(bad):
            yield (
                "error",
                f"{len(bad)} of {weights.size} numbers of {name} are negative or not finite (such as {bad[0]:.4g}).",
                "A weight says how often a row or a class counts, 0 at least. To punish a prediction, change its "
                "label.",
            )
    targets = case.sample.targets
    if targets is None or case.options.loss == "logistic":
        return
    # soft labels of too much mass have a rule of their own
    above = np.inf if case.softmax and not case.options.log_target else 1 + 1e-6
    outside = ~((targets >= 0) & (targets <= above))
    if outside.any():
        signed = not case.softmax and bool((abs(targets) == 1).all())
        yield (
            "error",
            f"{int(outside.sum())} of {targets.size} labels looked at are outside [0, 1] (such as "
            f"{targets[outside][0]:.4g}): such a loss has no lower bound.",
            "Signs: pass (labels + 1) / 2, or use xent.logistic_loss."
            if signed
            else "Labels are probabilities: look at how they are made.",
        )


@rule(40, "a gradient whose rows do not add up to 0", ("softmax",))
def _(case: Case) -> Iterator[Found]:
    o = case.options
    if o.gradient is None or o.z_loss or o.softcap is not None or case.kind not in ("index", "dense"):
        return
    if case.kind == "dense" and (abs(case.label_mass - 1) > 1e-2).any():
        return
    given = Lines("gradient", o.gradient)
    if given.shape != case.logits.shape:
        text = f"gradient of shape {given.shape} for logits of shape {case.logits.shape}."
        yield "error", text, "A gradient has the shape of what it is the gradient to."
        return
    g = case.picked(given, case.sample.rows)
    if not np.isfinite(g).all():
        return  # another rule's
    size, smallest = abs(g).max(1), TINY if given.dtype == "float16" else 0.0
    off = np.flatnonzero(abs(g.sum(1)) > size * _tolerance(case, given.dtype) + smallest * case.classes)
    if len(off):
        yield (
            "error",
            f"the gradient of {len(off)} of {len(g)} rows looked at does not add up to 0 over the classes "
            f"({some(case.sample.rows[off])}: {g[off[0]].sum():.4g}, largest {size[off[0]]:.4g}). That of a softmax "
            "loss, p - target, does.",
            "Look at the derivative of the loss: xent.value_and_grad(xent.softmax_cross_entropy)(logits, labels) is "
            "the right one.",
        )


def _tolerance(case: Case, dtype: str) -> NDArray[np.float64]:
    """[R]: how far from 0 rounding lets the sum of a row's gradient be, relative to its largest number.

    The gradient is the difference of a probability and a target, each of which is rounded: where the prediction is
    nearly right, what is left is their rounding. Other libraries also round the logarithm of the probability, which is
    as large as the logits.
    """
    o, x = case.options, case.sample.values / case.options.temperature
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        target = case.sample.targets
        if target is None:
            target = np.zeros_like(x)
            target[np.arange(len(x)), case.index[case.sample.rows]] = 1.0
        target = (1 - o.label_smoothing) * target + o.label_smoothing / case.classes
        left = abs(api.softmax(x) - target).max(1)
        largest = abs(np.where(x > MASK, x, 0)).max(1)
        rounding = 4 * EPSILON.get(dtype, EPSILON["float32"]) * (1 + largest)
        usual = (1e-2 if dtype in ("bfloat16", "float16") else 1e-4) * np.sqrt(case.classes)
        return np.asarray(usual + rounding / left)


@rule(41, "no gradient, though there is a loss")
def _(case: Case) -> Iterator[Found]:
    if case.options.gradient is None:
        return
    g = Lines("gradient", case.options.gradient)
    if g.shape == case.logits.shape and not len(case.suspects.rows):
        lost = ~np.isfinite(case.picked(g, case.sample.rows)).all(1)
        if lost.any():
            yield (
                "error",
                f"the gradient of {some(case.sample.rows[lost])} is not finite, though logits and loss are.",
                "Look at the derivative of the loss: of a square root or a logarithm at 0, or of a branch of where() "
                "that "
                "was not taken.",
            )
            return
    value = case.mean if case.options.value is None else _number(case, "value")
    if value is not None and value > 1e-3 and g.shape == case.logits.shape:
        found = case.picked(g, case.sample.rows)
        if found.size and not found.any() and not any(np.any(g[block]) for block in case.blocks()):
            yield (
                "error",
                f"the loss is {value:.4g} and its gradient is 0 everywhere: the graph is cut.",
                "Look for detach(), .item(), argmax, no_grad(), clipped values, or rounding between the logits and the "
                "loss.",
            )


@rule(42, "a loss below what smoothing allows", SOFTMAX)
def _(case: Case) -> Iterator[Found]:
    e, c = case.options.label_smoothing, case.classes
    value = _number(case, "value")
    if not e or value is None or case.options.reduction != "mean" or case.options.class_weight is not None:
        return
    if not case.kept.any():
        return  # the mean of nothing
    top, rest = 1 - e + e / c, e / c
    floor = -(top * np.log(top) + (c - 1) * rest * np.log(rest))
    if value < floor - 1e-4:
        yield (
            "warning",
            f"the loss is {value:.4g}, below {floor:.4g}, the entropy of labels smoothed by {e:g} over {c} classes: "
            "smoothing is not in it.",
            "Pass label_smoothing to the loss that trains; report perplexity from the unsmoothed one.",
        )


@rule(25, "a loss in half precision")
def _(case: Case) -> Iterator[Found]:
    if case.options.value is None:
        return
    value, dtype = _number(case, "value"), Lines("value", case.options.value).dtype
    bits = {"bfloat16": 8, "float16": 11}.get(dtype)
    if bits is None or value is None or not np.isfinite(value) or value == 0:
        return
    step = 2.0 ** (np.floor(np.log2(abs(value))) - bits + 1)
    yield (
        "warning",
        f"the loss is a {dtype}: at {value:.4g} its steps are {step:.2g}, and what a training step gains is smaller.",
        "Keep it in float32: xent does for all logits; elsewhere call the loss outside of autocast, on logits.float().",
    )


def _number(case: Case, name: str) -> float | None:
    given = getattr(case.options, name)
    if given is None:
        return None
    numbers = np.asarray(Lines(name, given)[...], np.float64).reshape(-1)
    if numbers.size != 1:
        raise value_error(name, "one number", f"{numbers.size} numbers", "Pass the reduced loss.")
    return float(numbers[0])
