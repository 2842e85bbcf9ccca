"""Front-ends: convert arrays of one framework, register the derivative, call. Found by the type of the logits."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from .. import caching
from ..errors import type_error

# The root module of an array's type, and the front-end that serves it.
_FRONTENDS = {
    "numpy": "numpy",
    "ml_dtypes": "numpy",
    "builtins": "numpy",
    "torch": "torch",
    "jax": "jax",
    "jaxlib": "jax",
    "tensorflow": "tensorflow",
}
_by_type: dict[type, ModuleType] = {}


def frontend_for(array: Any, argument: str = "logits") -> ModuleType:
    """The front-end of an array. A framework is touched only if the array came from it.

    Raises:
        TypeError: no front-end knows the array's type.
    """
    kind = type(array)
    # a traced program that looked would be compiled again when the table has changed
    found = None if caching.tracing() else _by_type.get(kind)
    if found is None:
        roots = [_root(base) for base in kind.__mro__]
        names = [_FRONTENDS[root] for root in roots if root in _FRONTENDS]
        if not names:
            raise type_error(
                argument,
                "an array of NumPy, PyTorch, JAX or TensorFlow",
                f"{kind.__module__}.{kind.__qualname__}",
                "Convert it, for example with numpy.asarray.",
            )
        found = _imported(names[0])
        if not caching.tracing():
            _by_type[kind] = found
    return found


def _root(kind: type) -> str:
    """The root module of a type; of Python's own only those that NumPy reads as numbers."""
    root = kind.__module__.partition(".")[0]
    return "" if root == "builtins" and kind not in (list, tuple, int, float) else root


def _imported(name: str) -> ModuleType:
    # statements, which torch.compile can trace
    if name == "torch":
        from . import torch

        return torch
    if name == "jax":
        from . import jax

        return jax
    if name == "tensorflow":
        from . import tensorflow

        return tensorflow
    from . import numpy

    return numpy


def looks_at(array: Any, validate: bool | None) -> bool:
    """Whether the values of arguments are to be checked: if it is not said, unless a GPU would be waited for."""
    return not getattr(array, "is_cuda", False) if validate is None else bool(validate)


def looks_at_numbers(array: Any, validate: bool | None) -> bool | None:
    """The same where False takes labels of any size as they are: None if bad ones can only be marked, by NaN."""
    return None if validate is None and not looks_at(array, None) else looks_at(array, validate)
