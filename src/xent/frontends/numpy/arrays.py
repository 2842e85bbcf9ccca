"""NumPy arrays as memory with rows, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import type_error
from ...kernels.native import DTYPE_CODES, Memory, address, pooled
from ...problem import memory_order, row_layout

Array = NDArray[Any]


def as_array(argument: str, value: Any) -> Array:
    """An ndarray in native byte order, aligned, without hidden meaning."""
    if isinstance(value, np.ma.MaskedArray):
        raise type_error(
            argument, "a plain array", "a masked array", "Mask rows with ignore_index or sample_weight instead."
        )
    try:
        array = np.asarray(value)
    except (RuntimeError, TypeError, ValueError) as error:  # ragged lists, tensors with a graph or on a device
        raise type_error(argument, "an array", type(value).__name__, f"Convert it to one. ({error})") from error
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array


def memory(array: Array, axis: int) -> Memory:
    """The rows of an array along `axis`; copied where they are not evenly spaced in whole elements."""
    size = array.itemsize
    layout = None
    if array.flags.aligned and not any(step % size for step in array.strides):
        layout = row_layout(array.shape, tuple(step // size for step in array.strides), axis)
    if layout is None:
        return memory(np.array(array, order="C"), axis)
    return Memory(address(array), DTYPE_CODES[array.dtype.name], layout, array)


def empty_like_rows(x: Array, rows: Memory, axis: int) -> tuple[Array, Memory]:
    """An uninitialised array of the logits' shape, dtype and memory order, large ones from the pool."""
    order, at = memory_order(x.shape, axis, rows.layout.class_stride == 1)
    out = np.moveaxis(pooled(x.size * x.itemsize).view(x.dtype).reshape(order), at, axis)
    return out, memory(out, axis)
