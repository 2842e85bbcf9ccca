"""`xent report`: one page on what a model's logits are worth, from logits and labels.

`rows` reads them in blocks, `softmax` and `sigmoid` make the `measures`, `figures` draws, `page` writes; the numbers of
calibration are in `xent.advisor.calibration`. Memory holds a block, a few numbers a row, and a sample of the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...errors import value_error
from ...labels import Positives
from ..check import check as find
from ..findings import Report
from . import sigmoid, softmax
from .page import render
from .rows import Source, sigmoid_rows, softmax_rows

LOSSES = ("softmax", "sigmoid")
Check = Callable[..., Report]


def make_report(
    logits: Source,
    labels: Source,
    *,
    loss: str = "softmax",
    ignore_index: int | None = None,
    class_names: Sequence[str] | None = None,
    title: str = "Report on logits",
    source: str = "arrays",
    options: Mapping[str, Any] | None = None,
    check: Check = find,
    progress: Callable[[str, int, int], None] = lambda step, done, of: None,
) -> str:
    """A self-contained HTML page: loss by class, calibration, confidence, confusion, temperature, findings.

    Args:
        logits: floats [N, C], or with more axes; a NumPy array, or one in a file from `xent.advisor.files`. The class
            axis is the last, or with class indices the one whose removal leaves the shape of the labels.
        labels: for "softmax" class indices or soft labels; for "sigmoid" a label a class, or lists of positive classes
            filled up with -1.
        loss: "softmax" for classes that exclude each other, or "sigmoid".
        ignore_index: a label that does not count.
        class_names: C names; by default their numbers.
        title: of the page.
        source: what the arrays were read from, for the page's second line.
        options: further options of the loss, for the findings.
        check: what finds; by default `xent.check`.
        progress: called with the step, what of it is done, and of how much.

    Returns:
        The page.

    Raises:
        IndexError, TypeError, ValueError: labels that do not fit the logits or lie out of range, names that are more
            or fewer than the classes; the message names the argument and the remedy.

    Example:
        >>> import numpy as np
        >>> from xent.advisor.findings import Report
        >>> from xent.advisor.report import make_report
        >>> logits, labels = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), np.array([0, 1, 1])
        >>> page = make_report(logits, labels, check=lambda *arrays, **options: Report((), 3, 2))
        >>> "Loss by class" in page
        True

    Source: the measures are those of `xent.advisor.calibration`.
    """
    if loss not in LOSSES:
        raise value_error("loss", f"one of {', '.join(LOSSES)}", repr(loss), "Pass one of them.")
    rows = (softmax_rows if loss == "softmax" else sigmoid_rows)(logits, labels)
    if class_names is not None and len(class_names) != rows.classes:
        got = f"{len(class_names)}"
        raise value_error("class_names", f"{rows.classes} names, one a class", got, "Name every class once, in order.")
    measures = (softmax if loss == "softmax" else sigmoid).measure(rows, ignore_index, partial(progress, "Measuring"))
    findings = check(
        logits,
        Positives(np.asarray(labels)) if rows.form == "lists" else labels,
        loss=loss,
        axis=rows.axis,
        ignore_index=ignore_index,
        progress=partial(progress, "Checking"),
        **(options or {}),
    )
    return render(
        measures,
        findings,
        class_names or [str(k) for k in range(rows.classes)],
        sigmoid=loss == "sigmoid",
        title=title,
        source=source,
    )
