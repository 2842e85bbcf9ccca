"""Arrays of any framework, or of files, read a range of lines at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import type_error
from ...frontends import frontend_for

_HALF = ("bfloat16", "float16")


class Lines:
    """An array of which ranges of the first axis become NumPy's, half precision as float32.

    Args:
        argument: what the caller names it. array: of NumPy, PyTorch, JAX or TensorFlow, a list of numbers, or what
            `xent.advisor.files` reads: anything else with `shape`, `dtype` and slices that NumPy takes.
    """

    def __init__(self, argument: str, array: Any) -> None:
        if isinstance(array, list | tuple | int | float):
            array = np.asarray(array)
        self._argument = argument
        self._xp: Any = None if _is_lazy(array) else frontend_for(array, argument).NAMESPACE
        self._array = array if len(array.shape) else array[None]
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype: str = self._xp.dtype_name(array) if self._xp is not None else str(array.dtype)
        self.trainable = bool(getattr(array, "requires_grad", False))
        if self._xp is not None and self.dtype not in _HALF and self._xp.is_readable(self._array):
            self._array = np.asarray(self._xp.numpy_of(self._array))  # the same memory

    @property
    def in_memory(self) -> bool:
        """Whether single lines are cheap to pick."""
        return isinstance(self._array, np.ndarray)

    @property
    def contiguous(self) -> bool:
        """Whether the lines of the last axis lie one after the other; unknown memory counts as such."""
        if isinstance(self._array, np.ndarray):
            return bool(self._array.flags.c_contiguous)
        known = getattr(self._array, "is_contiguous", None)
        return True if known is None else bool(known())

    def __getitem__(self, lines: Any) -> NDArray[Any]:
        part = self._array[:] if lines is Ellipsis else self._array[lines]
        if isinstance(part, np.ndarray):
            return part.astype(np.float32) if str(part.dtype) in _HALF else part
        if self._xp is None:
            part = np.asarray(part)
            return part.astype(np.float32) if str(part.dtype) in _HALF else part
        if self.dtype in _HALF:
            part = self._xp.astype(part, "float32")
        values = self._xp.values(part)
        if values is None:
            raise type_error(self._argument, "an array with values", "a tracer", "Check outside of what is compiled.")
        return np.asarray(values)


def _is_lazy(array: Any) -> bool:
    """Whether an array is one of a file: not of a framework, but with shape and dtype."""
    return type(array).__module__.startswith("xent.")


def evenly(count: int, at_most: int) -> NDArray[np.int64]:
    """Numbers below `count`, evenly spread, at most so many; all of them where they are few."""
    return np.arange(count) if count <= at_most else np.linspace(0, count - 1, at_most).astype(np.int64)
