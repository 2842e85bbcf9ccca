"""What TensorFlow does to arguments before it computes: conversion to a tensor, and dropping an axis of length 1."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from .errors import invalid_argument


def converted(xp: Any, value: Any) -> Any:
    """An array of the framework whose namespace is `xp`; what TensorFlow makes no tensor of is refused in its words."""
    if value is None:
        raise ValueError("Attempt to convert a value (None) with an unsupported type (<class 'NoneType'>) to a Tensor.")
    array = xp.asarray(value)
    if xp.dtype_name(array) == "object":
        kind = type(array.flat[0]).__name__ if array.size else "object"
        raise ValueError(f"Failed to convert a NumPy array to a Tensor (Unsupported object type {kind}).")
    return array


def weights_of(xp: Any, value: Any, dtype: str) -> Any:
    """Weights in the dtype that losses of a dtype are computed in; Python's numbers are not rounded to float32."""
    if isinstance(value, int | float):
        value = np.float64(value)
    elif isinstance(value, list | tuple):
        with contextlib.suppress(TypeError, ValueError, NotImplementedError):  # of tensors and what is no number
            value = np.asarray(value, np.float64)
    return xp.astype(converted(xp, value), "float64" if dtype == "float64" else "float32")


def spread(xp: Any, array: Any, like: Any) -> Any:
    """An array broadcast to the shape of another, which in a graph may be known only when that runs."""
    return xp.broadcast_to(array, getattr(xp, "running_shape", xp.shape)(like))


def squeezed(xp: Any, array: Any) -> Any:
    """An array without its last axis, whose length must be 1; in a graph it may be known only when that runs."""
    size = xp.shape(array)[-1]
    if size != 1:
        last = array.ndim - 1
        raise invalid_argument(xp, f"Can not squeeze dim[{last}], expected a dimension of 1, got {size}")
    if int(size) == 1:
        return array[..., 0]
    if array.ndim == 1:
        return xp.broadcast_to(array, (1,))[0]
    # of a longer axis the elements stay, one after the other, and fit nothing
    return xp.flatten(array, array.ndim - 2)
