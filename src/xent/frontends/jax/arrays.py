"""JAX's arrays as NumPy's and as the array API."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import type_error
from ...losses.weights import check_normalizer
from ..numpy.arrays import as_array as numpy_array


def is_traced(x: Any) -> bool:
    """Whether a transformation or jit runs the code: there are shapes then, but no values."""
    return isinstance(x, jax.core.Tracer)


def is_readable(x: Any) -> bool:
    """Whether the values are there, in the memory of the CPU, in one piece."""
    if isinstance(x, jax.Array):
        return not is_traced(x) and len(x.devices()) == 1 and next(iter(x.devices())).platform == "cpu"
    return True


def as_array(argument: str, value: Any, like: Any = None) -> Any:
    """An array of JAX, or of NumPy, which JAX takes as it is; its integers fit, or stay out of every range."""
    if isinstance(value, jax.Array):
        if jnp.issubdtype(value.dtype, jax.dtypes.extended):
            raise type_error(argument, "an array of numbers", f"dtype {value.dtype}", "PRNG keys are no numbers.")
        return value
    array = numpy_array(argument, value)
    wanted = jax.dtypes.canonicalize_dtype(array.dtype) if array.dtype.kind in "fiub" else array.dtype
    if array.dtype.kind in "iu" and wanted != array.dtype:
        bounds = np.iinfo(wanted)
        array = np.clip(array, max(bounds.min, np.iinfo(array.dtype).min), bounds.max)
    try:
        return array.astype(wanted, copy=False) if wanted != array.dtype else array
    except TypeError as error:
        raise type_error(argument, "an array of numbers", f"dtype {array.dtype}", "Convert it to numbers.") from error


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
    def arange(n: int, device: Any = None) -> Any:
        return jnp.arange(n)

    @staticmethod
    def flatten(x: Any, start: int) -> Any:
        return jnp.reshape(x, (*x.shape[:start], -1))

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
    def as_array(argument: str, value: Any, like: Any = None) -> Any:
        return as_array(argument, value, like)

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
        return jnp.where(normalizer > 0, normalizer, jnp.nan)
    return check_normalizer(normalizer, reduction)
