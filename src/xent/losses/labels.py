"""Labels as the kernels take them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import label_error, value_error
from ..problem import SoftmaxProblem, check_logits_dtype


class TopKArrays(NamedTuple):
    """Top-k targets as contiguous arrays [rows, k]."""

    indices: NDArray[np.int64]
    values: NDArray[np.float64]


def int64_labels(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Class indices as contiguous int64, in one axis; what does not fit stays out of range."""
    if labels.dtype == np.uint64:
        labels = np.minimum(labels, np.uint64(2**63 - 1))
    return np.ascontiguousarray(labels, np.int64).reshape(-1)


def topk_arrays(indices: NDArray[Any], values: NDArray[Any], classes: int, validate: bool) -> TopKArrays:
    """Top-k targets as the kernels take them: classes in range, none twice in a row.

    Without `validate` a row with a class out of range gets masses of NaN.
    """
    check_logits_dtype(values.dtype.name, "labels.values")
    if indices.shape != values.shape:
        raise value_error(
            "labels.values",
            f"the shape of labels.indices, {indices.shape}",
            f"shape {values.shape}",
            "Pass one mass per class index.",
        )
    k = indices.shape[-1]
    target = TopKArrays(int64_labels(indices).reshape(-1, k), np.ascontiguousarray(values, np.float64).reshape(-1, k))
    if validate:
        _check_topk(target, classes)
        return target
    outside = (target.indices < 0) | (target.indices >= classes)
    return TopKArrays(
        np.where(outside, 0, target.indices), np.where(outside.any(axis=1, keepdims=True), np.nan, target.values)
    )


def _check_topk(target: TopKArrays, classes: int) -> None:
    indices = target.indices
    bad = (indices < 0) | (indices >= classes)
    if bad.any():
        row = int(np.argmax(bad.any(axis=1)))
        column = int(np.argmax(bad[row]))
        raise label_error("labels.indices", row, int(indices[row, column]), classes)
    ordered = np.sort(indices, axis=1)
    repeated = ordered[:, 1:] == ordered[:, :-1]
    if repeated.any():
        row = int(np.argmax(repeated.any(axis=1)))
        label = int(ordered[row, int(np.argmax(repeated[row]))])
        raise value_error(
            "labels.indices",
            "classes of a row that differ",
            f"class {label} more than once in row {row}",
            "Add up the values of a repeated class.",
        )


def check_index(labels: NDArray[Any], problem: SoftmaxProblem, ignore_index: int | None) -> None:
    """Class indices in range, or the ignored one; for losses without a kernel, which checks as it goes."""
    if problem.target != "index":
        return
    bad = (labels < 0) | (labels >= problem.classes)
    if ignore_index is not None:
        bad &= labels != ignore_index
    if bad.any():
        row = int(np.argmax(bad.reshape(-1)))
        raise label_error("labels", row, int(labels.reshape(-1)[row]), problem.classes)
