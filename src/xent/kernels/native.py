"""The native kernels seen from Python: strided memory in, row statistics and gradients out.

Nothing here knows a framework. An array is an address with strides (`Strided`), kept alive by its `owner`; per-row numbers
are NumPy arrays of float64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ..problem import RowLayout, Shape, row_layout

DTYPE_CODES = {"float32": 0, "float64": 1, "bfloat16": 2, "float16": 3}
ITEM_SIZES = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2}

# Buffers from here on come from the pool; smaller ones are cheap anywhere.
POOLED_BYTES = 1 << 20


class Strided(NamedTuple):
    """A typed array in memory. Strides count elements."""

    address: int
    dtype: str
    shape: Shape
    strides: Shape
    owner: Any

    def layout(self, axis: int) -> RowLayout | None:
        return row_layout(self.shape, self.strides, axis)


def address(array: NDArray[Any] | None) -> int:
    """Where a NumPy array's data lies; 0 for None."""
    return 0 if array is None else array.__array_interface__["data"][0]


def pooled(nbytes: int) -> NDArray[np.uint8]:
    """Uninitialised bytes; large ones from the pool, to which they return when the array dies."""
    if nbytes < POOLED_BYTES:
        return np.empty(nbytes, np.uint8)
    return _native.buffer(nbytes)  # type: ignore[no-any-return]


def resolve_labels(
    labels: NDArray[np.int64], classes: int, ignore_index: int | None
) -> tuple[NDArray[np.int64], int, int]:
    """Labels as kernels read them: class, -1 for an ignored row, -2 for one out of range.

    Returns:
        (labels, rows kept, first row out of range or -1). The labels come back as they are if nothing had to change.
    """
    n = labels.size
    ignores = ignore_index is not None
    ignore = ignore_index if ignores else 0
    kept, bad = _native.resolve_labels(address(labels), n, classes, ignores, ignore)
    if kept == n and bad < 0:
        return labels, kept, bad
    out = np.empty(n, np.int64)
    _native.resolve_labels(address(labels), n, classes, ignores, ignore, address(out))
    return out, kept, bad


PerRow = float | NDArray[np.float64]


class RowCoefficients(NamedTuple):
    """loss_i = b·nll + c·u + l·lse + zeta·lse² + h·entropy: numbers, or one a row. `scale` multiplies the gradient."""

    b: PerRow = 0.0
    c: PerRow = 0.0
    l: PerRow = 0.0  # noqa: E741
    zeta: PerRow = 0.0
    h: PerRow = 0.0
    scale: float = 1.0


class Memory(NamedTuple):
    """An array and the rows in it."""

    array: Strided
    layout: RowLayout

    def arguments(self) -> tuple[int, int, int, int, int]:
        """Address, dtype and strides, as every native function takes them."""
        array, layout = self
        return (
            array.address,
            DTYPE_CODES[array.dtype],
            layout.outer_stride,
            layout.class_stride,
            layout.inner_stride,
        )


_NOWHERE = (0, 0, 0, 0, 0)


class RowResults(NamedTuple):
    """The sum of the losses and per-row results; None where not asked for."""

    total: float
    loss: NDArray[np.float64] | None
    lse: NDArray[np.float64] | None
    entropy: NDArray[np.float64] | None
    argmax: NDArray[np.int64] | None


class SoftmaxRows:
    """Logits and targets on the native kernels, ready to run as often as wanted."""

    def __init__(self, logits: Memory, *, scale: float = 1.0, softcap: float = 0.0) -> None:
        layout = logits.layout
        self.rows = layout.outer * layout.inner
        self._keep: list[Any] = [logits.array.owner]
        self._native = _native.Softmax(
            layout.outer, layout.classes, layout.inner, *logits.arguments(), scale, softcap
        )

    def index(self, labels: NDArray[np.int64]) -> None:
        """Resolved labels, one a row."""
        self._keep.append(labels)
        self._native.index(address(labels))

    def measure(self, class_weight: NDArray[np.float64] | None, alpha: float, beta: float) -> None:
        """The target measure v·(alpha·t + beta); t is 0 unless `dense` or `topk` gives it."""
        self._keep.append(class_weight)
        self._native.measure(address(class_weight), alpha, beta)

    def dense(self, target: Memory) -> None:
        self._keep.append(target.array.owner)
        self._native.dense(*target.arguments())

    def topk(self, indices: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Contiguous [rows, k]; the classes of a row differ and lie in range."""
        self._keep += [indices, values]
        self._native.topk(address(indices), address(values), indices.shape[-1])

    def target_mass(self) -> NDArray[np.float64]:
        """Σ_k v_k·t_k of dense targets, per row."""
        mass = np.empty(self.rows)
        self._native.mass(address(mass))
        return mass

    def run(
        self,
        coefficients: RowCoefficients,
        gradient: Memory | None = None,
        *,
        rows: bool = False,
        statistics: bool = False,
    ) -> RowResults:
        """The sum of the losses, and what else is asked for.

        Args:
            gradient: where the gradient goes.
            rows: the loss of each row. statistics: lse, entropy and argmax of each row.
        """
        b, c, l, zeta, h, scale = coefficients  # noqa: E741
        pairs: list[float | int] = []
        for value in (b, c, l, zeta, h):
            pairs += (0.0, address(value)) if isinstance(value, np.ndarray) else (value, 0)
        n = self.rows
        loss = np.empty(n) if rows else None
        top = log_sum = entropy = argmax = lse = None
        if statistics:
            top, log_sum, entropy, argmax = np.empty(n), np.empty(n), np.empty(n), np.empty(n, np.int64)
        where = _NOWHERE if gradient is None else gradient.arguments()
        total = self._native.run(
            *pairs, scale, address(loss), *where, address(top), address(log_sum), address(entropy), address(argmax)
        )
        if top is not None and log_sum is not None:
            lse = top + log_sum
        return RowResults(total, loss, lse, entropy, argmax)

    def log_softmax(self, out: Memory) -> None:
        self._native.log_softmax(*out.arguments())
