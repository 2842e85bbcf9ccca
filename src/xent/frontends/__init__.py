"""Front-ends: convert arrays of one framework, register the derivative, call. Found by the type of the logits."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ..errors import type_error

# The root module of an array's type, and the front-end that serves it.
_FRONTENDS = {
    "numpy": "numpy",
    "ml_dtypes": "numpy",
    "builtins": "numpy",
    "torch": "torch",
    "jax": "jax",
    "jaxlib": "jax",
}
_by_type: dict[type, ModuleType] = {}


def frontend_for(array: Any, argument: str = "logits") -> ModuleType:
    """The front-end of an array. A framework is touched only if the array came from it.

    Raises:
        TypeError: no front-end knows the array's type.
    """
    kind = type(array)
    found = _by_type.get(kind)
    if found is None:
        for base in kind.__mro__:
            name = _FRONTENDS.get(base.__module__.partition(".")[0])
            if name is not None and (base.__module__ != "builtins" or base in (list, tuple, int, float)):
                break
        else:
            raise type_error(
                argument,
                "an array of NumPy, PyTorch or JAX",
                f"{kind.__module__}.{kind.__qualname__}",
                "Convert it, for example with numpy.asarray.",
            )
        found = _imported(name)
        _by_type[kind] = found
    return found


def _imported(name: str) -> ModuleType:
    # statements, which torch.compile can trace
    if name == "torch":
        from . import torch

        return torch
    if name == "jax":
        from . import jax

        return jax
    from . import numpy

    return numpy
