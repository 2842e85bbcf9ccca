"""JAX's arrays as NumPy's and as the array API."""

from __future__ import annotations

from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import type_error, value_error
from ...losses.weights import SMALLEST, check_normalizer, usable_or_nan
from ..numpy.arrays import as_array as numpy_array
from .sparse_gradients import lines, sparse_lines


def is_traced(x: Any) -> bool:
    """Whether a transformation or jit runs the code: there are shapes then, but no values."""
    return isinstance(x, jax.core.Tracer)


def is_readable(x: Any) -> bool:
    """Whether the values are there, in the memory of the CPU, in one piece."""
    if isinstance(x, jax.Array):
        return not is_traced(x) and len(x.devices()) == 1 and next(iter(x.devices())).platform == "cpu"
    return True


def as_array(argument: str, value: Any, like: Any = None) -> Any:
    """An array of JAX, or of NumPy, which JAX takes as it is."""
    if isinstance(value, jax.Array):
        if jnp.issubdtype(value.dtype, jax.dtypes.extended):
            raise type_error(argument, "an array of numbers", f"dtype {value.dtype}", "PRNG keys are no numbers.")
        return value
    return numpy_array(argument, value)


def usable(arrays: dict[str, Any]) -> dict[str, Any]:
    """The arrays of a call that is compiled: weights that would be refused are NaN."""
    return {name: usable_or_nan(jnp, x) if name.endswith("_weight") else x for name, x in arrays.items()}


def compilable(argument: str, value: Any, ignore: float | None = None) -> Any:
    """An array of NumPy in a dtype that XLA has. With x64 off, integers that do not fit are out of every range."""
    if not isinstance(value, np.ndarray):
        return value
    try:
        dtype = jax.dtypes.canonicalize_dtype(value.dtype)
    except TypeError as error:
        raise type_error(argument, "an array of numbers", f"dtype {value.dtype}", "Convert it to numbers.") from error
    if dtype.kind in "iu" and dtype != value.dtype:
        bounds = np.iinfo(dtype)
        beyond = (value < bounds.min) | (value > bounds.max)
        if (value[beyond] == ignore).any():
            remedy = "Turn on jax_enable_x64, or choose another number to ignore."
            raise value_error("ignore_index", f"a number of {dtype}", repr(ignore), remedy)
        value = np.where(beyond, bounds.max - (ignore == bounds.max), value)
    return value.astype(dtype, copy=False)


def to_jax(array: Any, like: Any) -> Any:
    """A NumPy array as one of JAX where `like` is; without a copy where it is aligned, as large buffers are."""
    device = None
    if isinstance(like, jax.Array) and (like.committed or jax.default_backend() != "cpu"):
        device = next(iter(like.devices()))
    return jax.device_put(array, device, may_alias=True)


def varying(x: Any) -> Any:
    """The axes of the mesh along which an array differs, inside shard_map."""
    return jax.typeof(x).manual_axis_type.varying


def alike(arrays: list[Any]) -> list[Any]:
    """The arrays, all of them differing along the same axes of the mesh, as a custom call wants them."""
    axes = frozenset().union(*(varying(x) for x in arrays))
    missing = [tuple(axes - varying(x)) for x in arrays]
    return [jax.lax.pcast(x, m, to="varying") if m else x for x, m in zip(arrays, missing, strict=True)]


class _Namespace:
    """`jax.numpy`, and the conversions of this front-end."""

    stop_gradient = staticmethod(jax.lax.stop_gradient)

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name)

    @staticmethod
    def take(x: Any, indices: Any) -> Any:
        return jnp.take(x, indices, mode="clip")

    @staticmethod
    def own(array: Any, like: Any) -> Any:
        """An array that the library made: of NumPy, which JAX takes as it is."""
        return array

    @staticmethod
    def gather(x: Any, ids: Any) -> Any:
        """The lines of `x` with these numbers."""
        return jnp.take(x, ids, axis=0, mode="fill")

    @staticmethod
    def lines(x: Any, ids: Any, dtype: str, sparse: bool = False) -> Any:
        """The same in a dtype, in which repeated lines of a gradient add up, too."""
        return (sparse_lines if sparse else lines)(x, ids, dtype)

    @staticmethod
    def top(x: Any, k: int) -> Any:
        """Where the k largest numbers are."""
        return jax.lax.top_k(x, k)[1]

    @staticmethod
    def arange(n: int, device: Any = None) -> Any:
        return jnp.arange(n)

    @staticmethod
    def flatten(x: Any, start: int) -> Any:
        return jnp.reshape(x, (*x.shape[:start], prod(x.shape[start:])))

    @staticmethod
    def shape(x: Any) -> tuple[int, ...]:
        return tuple(x.shape)

    @staticmethod
    def astype(x: Any, dtype: str) -> Any:
        return jnp.asarray(x, jax.dtypes.canonicalize_dtype(dtype))

    @staticmethod
    def dtype_name(x: Any) -> str:
        return str(x.dtype)

    @staticmethod
    def is_readable(x: Any) -> bool:
        return is_readable(x)

    @staticmethod
    def numpy_of(x: Any) -> Any:
        return np.asarray(x)

    @staticmethod
    def values(x: Any) -> Any:
        """The values, on whichever device they are; None of a tracer."""
        return None if is_traced(x) else np.asarray(x)

    @staticmethod
    def fetched(x: Any) -> Any:
        return np.asarray(x)

    @staticmethod
    def placed(array: Any, like: Any) -> Any:
        """An array of NumPy as one of JAX; integers that JAX would cut off are refused."""
        dtype = jax.dtypes.canonicalize_dtype(array.dtype)
        if dtype.kind == "i" and array.size and array.max() > np.iinfo(dtype).max:
            remedy = "Turn on jax_enable_x64."
            raise value_error("range_max", f"classes that {dtype} holds", f"class {array.max()}", remedy)
        return to_jax(array, like)

    @staticmethod
    def as_array(argument: str, value: Any, like: Any = None) -> Any:
        return compilable(argument, as_array(argument, value, like))

    @staticmethod
    def widest(x: Any, otherwise: str) -> str:
        return otherwise  # float64 is there only where the user asks for it

    @staticmethod
    def divisor(normalizer: Any, reduction: str, dtype: str) -> Any:
        return divisor(normalizer, reduction)


NAMESPACE = _Namespace()


def divisor(normalizer: Any, reduction: str) -> Any:
    """The checked normalizer as a number; one that is traced stays an array, which is NaN where it would be refused."""
    if isinstance(normalizer, jax.Array) and is_traced(normalizer):
        check_normalizer(1.0, reduction)
        if normalizer.ndim:
            raise value_error("normalizer", "a number", f"shape {normalizer.shape}", "Sum it up.")
        return jnp.where(normalizer >= SMALLEST, normalizer, jnp.nan)
    return check_normalizer(normalizer, reduction)
