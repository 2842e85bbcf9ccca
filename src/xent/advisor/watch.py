"""A look at the loss now and then while a model trains."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

from ..errors import type_error, value_error
from ..labels import Positives, TopK
from .check import examine, refuse_unknown
from .check.case import Options
from .findings import Finding, Report

OF_THE_BATCH = ("X17", "X26", "X45")  # rules that say nothing about a part of it
REMEMBERED = 1000  # looks whose losses are kept
NUMBERS = 1 << 16  # logits that a look takes at most, so that it costs about a millisecond


class Watch:
    """What `watch` makes: called once a step, it looks at every so many.

    Attributes:
        step: how many steps it has seen.
        findings: what was found so far, each rule once.
        history: of each look "step", "loss" and "lse" (the means of the rows looked at).
    """

    def __init__(self, every: int, on_finding: Callable[[Finding], object], options: dict[str, Any]) -> None:
        self._every, self._on_finding, self._options = every, on_finding, options
        self.step = 0
        self.findings: dict[str, Finding] = {}
        self.history: deque[dict[str, float]] = deque(maxlen=REMEMBERED)

    def __call__(self, logits: Any, labels: Any, *, value: Any = None, gradient: Any = None) -> Report | None:
        """Counts a step, and looks at its loss if it is due.

        Args:
            logits, labels: as in `check`; either may be a function without arguments that makes it, which is called
                only when it is looked at.
            value, gradient: the loss and its gradient to the logits, as you got them.

        Returns:
            The report of a look; None where none was due.
        """
        at, self.step = self.step, self.step + 1
        if at % self._every:
            return None
        x, y = (made() if callable(made) else made for made in (logits, labels))
        shape = tuple(getattr(x, "shape", ()))
        part = self._part(shape)
        listed = isinstance(y, Positives) and y.starts is not None  # of one piece
        options = self._options
        whole = listed or all(s == slice(None) for s in part)
        if not whole:
            weight = options.get("sample_weight")
            x, y, gradient, weight = (_cut(a, shape, part, self._axis(shape)) for a in (x, y, gradient, weight))
            options = options | {"sample_weight": weight}
        case, report = examine(
            x, y, None, **options, step=at, value=value, gradient=gradient, history=tuple(self.history)
        )
        if case.kind != "other" and case.rows:
            mean = float(case.sample.lse.mean()) if case.softmax and len(case.sample.lse) else math.nan
            self.history.append({"step": at, "loss": case.mean, "lse": mean})
        for finding in report.findings:
            if finding.rule not in self.findings and (whole or finding.rule not in OF_THE_BATCH):
                self.findings[finding.rule] = finding
                self._on_finding(finding)
        return report

    def _axis(self, shape: tuple[int, ...]) -> int:
        return Options(**self._options).class_axis(len(shape))

    def _part(self, shape: tuple[int, ...]) -> list[slice]:
        """Of each axis what is looked at: all classes, some rows."""
        part = [slice(None)] * len(shape)
        for at in range(len(shape)):
            count = math.prod(len(range(n)[s]) for n, s in zip(shape, part, strict=True))
            if at != self._axis(shape) and count > NUMBERS:
                keep = max(1, shape[at] * NUMBERS // count)
                if at == 0:  # lines from all over the batch
                    part[at] = slice(None, None, -(-shape[at] // keep))
                else:  # of a sequence, whose order means something, a piece; another one at every look
                    first = len(self.history) * keep % (shape[at] - keep + 1)
                    part[at] = slice(first, first + keep)
        return part

    def keras(self, inputs: Any, labels: Any) -> Any:
        """A callback for `keras.Model.fit`, which looks at what the model says to the same inputs every time.

        Args:
            inputs: what the model takes, a batch; a look costs a forward pass of it. `labels`: theirs.
        """
        from keras.callbacks import Callback

        look = self
        # Keras takes class indices with an axis of length 1, too
        column = len(getattr(labels, "shape", ())) > 1 and labels.shape[-1] == 1 and "int" in str(labels.dtype)
        given = labels[..., 0] if column else labels

        class WatchCallback(Callback):  # type: ignore[misc]
            def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
                look(lambda: self.model(inputs, training=False), given)

        return WatchCallback()


def watch(*, every: int = 100, on_finding: Callable[[Finding], object] | None = None, **options: Any) -> Watch:
    """Looks for what is wrong with a loss while a model trains, at every so many steps.

    Each look is a `check` of some rows, with the step and the losses of earlier looks, which some rules need: no signal
    after many steps, a strange first loss, logits that grow. What was found once is not told again.

    Args:
        every: looks at the steps 0, every, 2·every, …
        on_finding: called with each new `Finding`. None: `warnings.warn` for those that are worse than "info".
        options: those of `check`: loss, axis, ignore_index, label_smoothing, class_weight, pos_weight, …; a look has
            a step, a history, a value and a gradient of its own.

    Returns:
        A `Watch`, to be called with the logits and labels of each step; `watch.keras(inputs, labels)` is a callback.

    Raises:
        TypeError, ValueError: `every` is no positive integer; options that `check` does not have.

    Example:
        >>> import numpy as np, xent
        >>> watch = xent.watch(every=10, on_finding=lambda finding: print(finding.rule))
        >>> for step in range(30):  # a model that ends in a softmax
        ...     report = watch(xent.softmax(np.random.default_rng(step).normal(size=(8, 3))), np.arange(8) % 3)
        X01
        >>> watch.step, len(watch.history)
        (30, 3)

    Source: `check`, whose rules it asks.
    """
    if isinstance(every, bool) or not isinstance(every, int):
        raise type_error("every", "a positive integer", repr(every), "Pass how many steps lie between two looks.")
    if every < 1:
        raise value_error("every", "a positive integer", str(every), "Pass how many steps lie between two looks.")
    refuse_unknown(options)
    if own := sorted({"step", "history", "value", "gradient"} & set(options)):
        raise type_error("options", "those that hold for all steps", ", ".join(own), "Pass them to each call, or not.")
    if on_finding is not None and not callable(on_finding):
        raise type_error("on_finding", "a function of a finding", repr(on_finding), "Pass print, for instance.")
    Options(**options).check()
    return Watch(every, _warn if on_finding is None else on_finding, options)


def _warn(finding: Finding) -> None:
    if finding.severity != "info":
        warnings.warn(str(finding), stacklevel=3)


def _cut(array: Any, shape: tuple[int, ...], part: list[slice], axis: int) -> Any:
    """The part of an array of the logits' shape, or of labels without the class axis."""
    if isinstance(array, TopK):
        return TopK(*(_cut(a, shape, part, axis) for a in (array.indices, array.values)))
    if isinstance(array, Positives):
        return Positives(_cut(array.classes, shape, part, axis))
    own = tuple(getattr(array, "shape", ()))
    if own == shape:
        return array[tuple(part)]
    batch = shape[:axis] + shape[axis + 1 :]
    if batch and own[: len(batch)] == batch:  # class indices; or lists of classes, one axis more
        return array[tuple(part[:axis] + part[axis + 1 :])]
    return array
