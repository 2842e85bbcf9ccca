"""NumPy arrays as memory with rows, and back."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import type_error
from ...kernels.native import DTYPE_CODES, LABEL_CODES, Memory, address, pooled
from ...losses.weights import check_normalizer
from ...problem import RowLayout, Shape, dense_strides, memory_order, row_layout, shared_layouts

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
        framework = type(value).__module__.partition(".")[0]
        remedy = f"Convert it to one, or pass the logits as an array of {framework}, too."
        raise type_error(argument, "an array", type(value).__name__, f"{remedy} ({error})") from error
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


def empty_like(x: Array, dtype: np.dtype[Any] | None = None) -> Array:
    """An uninitialised array of the shape and memory order of `x`, a large one from the pool."""
    dtype = x.dtype if dtype is None else dtype
    flat = pooled(x.size * dtype.itemsize).view(dtype)
    order = memory_order(x.shape, x.strides)
    if order is None:
        return flat.reshape(x.shape)
    return flat.reshape([x.shape[at] for at in order]).transpose(np.argsort(order))


def output_like(x: Array, axis: int) -> tuple[Array, Memory]:
    """An uninitialised array like `x` and its rows; in the plain order where the order of `x` has no rows."""
    out = empty_like(x)
    if row_layout(out.shape, tuple(step // out.itemsize for step in out.strides), axis) is None:
        out = pooled(x.size * x.itemsize).view(x.dtype).reshape(x.shape)
    return out, memory(out, axis)


def walked_together(arrays: list[Array], shape: Shape, by_rows: bool = False) -> tuple[Array, list[Memory], RowLayout]:
    """Arrays broadcast to one shape, the first in full, as memory walked alike, with outputs like the first.

    They are copied where nothing else helps. Returns the first array, copied or not, the memory of each, and the layout
    of an output.
    """
    views = [np.broadcast_to(a, shape) for a in arrays]
    if all(a.flags.aligned and not any(step % a.itemsize for step in a.strides) for a in views):
        strides = tuple(tuple(step // a.itemsize for step in a.strides) for a in views)
        layouts = shared_layouts(shape, (*strides, dense_strides(shape, strides[0])), by_rows)
        if layouts is not None:
            pairs = zip(views, layouts, strict=False)
            return (
                views[0],
                [Memory(address(a), LABEL_CODES[a.dtype.name], layout, a) for a, layout in pairs],
                layouts[-1],
            )
    return walked_together([np.array(v, order="C") for v in views], shape, by_rows)


class _Namespace:
    """NumPy's functions, and the conversions of this front-end."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def own(array: Any, like: Any) -> Any:
        """An array that the library made, as the framework's; without a copy where that can be."""
        return array

    @staticmethod
    def gather(x: Any, ids: Any) -> Any:
        """The lines of `x` with these numbers."""
        return x[ids]

    @staticmethod
    def lines(x: Any, ids: Any, dtype: str, sparse: bool = False) -> Any:
        """The same in a dtype."""
        return x[ids].astype(dtype, copy=False)

    @staticmethod
    def top(x: Any, k: int) -> Any:
        """Where the k largest numbers are, the first of equal ones before."""
        return np.argsort(-x, kind="stable")[:k]

    @staticmethod
    def stop_gradient(x: Any) -> Any:
        return x

    @staticmethod
    def flatten(x: Any, start: int) -> Any:
        return np.reshape(x, (*x.shape[:start], prod(x.shape[start:])))

    @staticmethod
    def shape(x: Any) -> Shape:
        return np.shape(x)

    @staticmethod
    def astype(x: Any, dtype: str) -> Any:
        return np.asarray(x).astype(dtype)

    @staticmethod
    def dtype_name(x: Any) -> str:
        return x.dtype.name  # type: ignore[no-any-return]

    @staticmethod
    def is_readable(x: Any) -> bool:
        return True

    @staticmethod
    def numpy_of(x: Any) -> Any:
        return np.asarray(x)

    @staticmethod
    def values(x: Any) -> Any:
        return np.asarray(x)

    @staticmethod
    def fetched(x: Any) -> Any:
        return np.asarray(x)

    @staticmethod
    def placed(array: Array, like: Any) -> Array:
        return array

    @staticmethod
    def as_array(argument: str, value: Any, like: Any = None) -> Any:
        return as_array(argument, value)

    @staticmethod
    def divisor(normalizer: Any, reduction: str, dtype: str) -> Any:
        return check_normalizer(normalizer, reduction)


NAMESPACE = _Namespace()
