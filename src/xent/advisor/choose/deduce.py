"""Facts from sample arrays of any framework, each with a sentence that says how it was told."""

from __future__ import annotations

from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import type_error, value_error
from ...frontends import frontend_for
from ...labels import Positives, TopK
from .facts import DTYPES

Numbers = NDArray[Any]
# Of logits, which may be large, so many rows tell whether they are probabilities.
ENOUGH_ROWS = 4096
# An imbalance that is mentioned.
WORTH_SAYING = 10.0
# How far the sum of probabilities may be from 1.
SLACK = 1e-3


class Deduced(NamedTuple):
    """Facts by name, and what to say about them."""

    facts: dict[str, Any]
    said: tuple[str, ...]


def deduce(labels: Any, logits: Any) -> Deduced:
    """The facts that arrays tell; either may be None.

    Raises:
        TypeError: no array, or one whose values cannot be read.
        ValueError: arrays that hold nothing, or do not belong together.
    """
    facts: dict[str, Any] = {}
    said: list[str] = []
    axis = -1
    scores = None if logits is None else _numbers("logits", logits)
    if isinstance(labels, Positives | TopK):
        _of_lists(labels, scores, facts, said)
    elif labels is not None:
        axis = _of_labels(_numbers("labels", labels), scores, facts, said)
    elif scores is not None:
        _of_columns(scores, None, facts, said)
    if scores is not None:
        _of_scores(logits, scores, axis, facts, said)
    return Deduced(facts, tuple(said))


def _numbers(argument: str, array: Any) -> Numbers:
    """The values of an array, on whatever device."""
    namespace = frontend_for(array, argument).NAMESPACE
    values = namespace.values(namespace.as_array(argument, array, array))
    if values is None:
        raise type_error(argument, "an array with values", "one that is being traced", "Pass it outside compiled code.")
    values = np.asarray(values)
    if values.dtype.kind not in "biuf" and values.dtype.name not in DTYPES:
        raise type_error(argument, "an array of numbers", f"dtype {values.dtype}", "Number the classes from 0.")
    if not values.size or not values.ndim:
        got = f"shape {values.shape}" if values.ndim else "a single number"
        raise value_error(argument, "at least one row", got, "Pass a batch as the model sees it.")
    return values


def _of_lists(labels: Positives | TopK, scores: Numbers | None, facts: dict[str, Any], said: list[str]) -> None:
    kind = type(labels).__name__
    several = isinstance(labels, Positives)
    facts |= {"exclusive": not several} | ({} if several else {"soft": True})
    said.append(f"labels are xent.{kind}: " + ("several classes may be right." if several else "distributions."))
    if scores is not None:
        _of_columns(scores, None, facts, said)


def _of_columns(scores: Numbers, axis: int | None, facts: dict[str, Any], said: list[str]) -> None:
    """Classes and rows from the shape of the logits; without an axis, the classes are last."""
    one = axis is None and scores.ndim < 2
    axis = scores.ndim - 1 if axis is None else axis
    facts["classes"] = 1 if one else scores.shape[axis]
    facts["rows"] = max(1, scores.size // facts["classes"])
    where = "one score a row" if one else f"{facts['classes']:,} classes along axis {axis}"
    said.append(f"logits {list(scores.shape)}: {where}, {facts['rows']:,} rows.")


def _of_scores(logits: Any, scores: Numbers, axis: int, facts: dict[str, Any], said: list[str]) -> None:
    """Whether logits are probabilities, and their dtype."""
    dtype = str(frontend_for(logits).NAMESPACE.dtype_name(logits)) if hasattr(logits, "dtype") else scores.dtype.name
    if dtype in DTYPES:
        facts["dtype"] = dtype
    some = scores[:ENOUGH_ROWS].astype(np.float64)
    if not some.any():
        return
    facts["probabilities"] = False
    if (some < 0).any() or (some > 1).any():
        return
    if facts["classes"] > 1 and facts.get("exclusive") is not False:
        if bool((np.abs(some.sum(axis) - 1) < SLACK).all()):
            facts["probabilities"] = True
            said.append("logits lie in [0, 1] and sum to 1: these are probabilities; pass the scores before softmax.")
    elif facts.get("task") != "regression" and len(np.unique(some)) > 1:
        facts["probabilities"] = True
        said.append(
            "logits all lie in [0, 1]: taken for probabilities. Pass the scores before sigmoid, or say "
            "probabilities=False if these are they."
        )


def _of_labels(labels: Numbers, scores: Numbers | None, facts: dict[str, Any], said: list[str]) -> int:
    """Facts of labels, and of the logits' shape; returns the class axis."""
    if labels.dtype.kind not in "biu" and not np.isfinite(labels.astype(np.float64)).all():
        raise value_error("labels", "finite numbers", "NaN or inf", "Drop these rows, or mark them with ignore_index.")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
        said.append("labels have a last axis of length 1: drop it with labels[..., 0].")
    if scores is not None and scores.ndim > 1 and scores.shape[-1] == 1:
        scores = scores[..., 0]
        said.append("logits have a last axis of length 1: one score a row; drop it with logits[..., 0].")
    axis = _class_axis(labels, scores)
    if scores is not None:
        _of_columns(scores, axis, facts, said)
    dense = labels.ndim > 1 and (labels.shape == scores.shape if scores is not None else _is_matrix(labels))
    if dense:
        _of_matrix(labels, facts, said)
    elif axis is not None or not _of_one_score(labels, scores, facts, said):
        _of_indices(labels, scores, facts, said)
    return -1 if axis is None else axis


def _is_matrix(labels: Numbers) -> bool:
    """Whether labels without logits have a number for each class: fractions, or a 0 or 1 each."""
    return labels.ndim == 2 and (_fractions(labels) or _zero_one(labels))


def _zero_one(labels: Numbers) -> bool:
    return bool(np.isin(labels, (0, 1)).all())


def _fractions(labels: Numbers) -> bool:
    return bool((labels != np.rint(labels.astype(np.float64))).any())


def _class_axis(labels: Numbers, scores: Numbers | None) -> int | None:
    """The axis of the logits that the labels have not; None where there is none."""
    if scores is None or labels.shape == scores.shape:
        return None
    last = scores.ndim - 1
    for axis in chain([last], range(1, last)):
        if last >= 0 and labels.shape == scores.shape[:axis] + scores.shape[axis + 1 :]:
            return axis
    expected = f"the shape of the logits, {scores.shape}, with or without the class axis"
    raise value_error("labels", expected, f"shape {labels.shape}", "Pass labels and logits of the same rows.")


def _of_matrix(labels: Numbers, facts: dict[str, Any], said: list[str]) -> None:
    """Labels with a number for each class."""
    facts |= {"classes": labels.shape[-1], "rows": labels.size // labels.shape[-1]}
    numbers = labels.astype(np.float64)
    if numbers.min() < 0 or numbers.max() > 1:
        got = f"numbers from {numbers.min():g} to {numbers.max():g}"
        raise value_error("labels", "numbers from 0 to 1 for each class", got, "Pass class indices or probabilities.")
    sums = numbers.sum(-1)
    hard = _zero_one(labels)
    facts["exclusive"] = bool((np.abs(sums - 1) < SLACK).all())
    facts["soft"] = facts["exclusive"] and not hard
    if facts["soft"]:
        said.append("labels have the logits' shape and rows that sum to 1: distributions over the classes.")
    elif facts["exclusive"]:
        said.append("labels have exactly one 1 a row: one-hot; pass labels.argmax(-1), which is smaller.")
        _of_counts(numbers.reshape(-1, labels.shape[-1]).sum(0), facts, said)
    else:
        many = int((sums > 1 + SLACK).sum())
        said.append(f"labels are not one class a row ({many:,} rows have more than one): several may be right.")
        positives = numbers.reshape(-1, labels.shape[-1]).sum(0)
        found = positives[positives > 0]
        if hard and found.size:
            _of_ratio(
                float(np.median((facts["rows"] - found) / found)), "negatives to positives of a class", facts, said
            )


def _of_one_score(labels: Numbers, scores: Numbers | None, facts: dict[str, Any], said: list[str]) -> bool:
    """Labels of a yes or no, or numbers; False where they are indices of classes."""
    values = np.unique(labels)
    rows = facts["rows"] = labels.size
    if set(values) == {-1, 1}:
        facts |= {"classes": 1, "signed": True}
        said.append("labels are -1 and 1: signed.")
    elif _zero_one(labels):
        facts["classes"] = 1 if scores is not None else 2
        said.append("labels are 0 and 1: a yes or no.")
        positives = int((labels == 1).sum())
        if 0 < positives < rows:
            _of_ratio(max(positives, rows - positives) / min(positives, rows - positives), "of the two", facts, said)
    elif labels.dtype.kind == "f" and _fractions(labels) and values[0] >= 0 and values[-1] <= 1:
        facts["classes"] = 1
        said.append("labels are fractions between 0 and 1, one a row: a soft yes or no.")
    elif scores is not None or _fractions(labels):
        facts["task"] = "regression"
        said.append("labels are real numbers, one a row: regression.")
    else:
        return False
    return True


def _of_indices(labels: Numbers, scores: Numbers | None, facts: dict[str, Any], said: list[str]) -> None:
    """One class a row."""
    facts |= {"exclusive": True, "soft": False, "rows": labels.size}
    if labels.dtype.kind == "f":
        if _fractions(labels):
            raise value_error("labels", "class indices for logits of this shape", "fractions", "Pass integers.")
        said.append("labels are whole numbers stored as floats: convert them to integers.")
    numbers = labels.astype(np.int64).ravel()
    classes = facts.get("classes")
    ignored = numbers < 0 if classes is None else (numbers < 0) | (numbers >= max(classes, 2))
    if ignored.any():
        names = ", ".join(map(str, np.unique(numbers[ignored])[:5]))
        said.append(f"{int(ignored.sum()):,} labels ({names}) are no classes: name one with ignore_index, mend others.")
    kept = numbers[~ignored]
    if not kept.size:
        raise value_error("labels", "at least one label in range", "none", "Check how the classes are numbered.")
    if classes is None:
        facts["classes"] = int(kept.max()) + 1
        said.append(f"labels go from {kept.min()} to {kept.max():,}: at least {facts['classes']:,} classes.")
    elif classes == 1:
        said.append("labels are 0 and 1: a yes or no.")
    else:
        said.append("labels are the number of a class for each row.")
    if scores is not None and scores.ndim > 3:
        facts["task"] = "segmentation"
        said.append(f"a label for each place of {list(labels.shape)}: segmentation.")
    _of_counts(np.bincount(kept, minlength=1), facts, said)


def _of_counts(counts: Numbers, facts: dict[str, Any], said: list[str]) -> None:
    """Imbalance from how often each class occurs."""
    found = counts[counts > 0]
    if found.size > 1:
        _of_ratio(
            float(found.max() / found.min()), "of the most frequent class to the rarest in this sample", facts, said
        )


def _of_ratio(ratio: float, of: str, facts: dict[str, Any], said: list[str]) -> None:
    facts["imbalance"] = max(1.0, ratio)
    if facts["imbalance"] >= WORTH_SAYING:
        said.append(f"imbalance {facts['imbalance']:,.4g}:1, {of}.")
