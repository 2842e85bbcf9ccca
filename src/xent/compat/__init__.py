"""Other libraries' names for these losses: their signatures, defaults, denominators and errors."""

from __future__ import annotations

import importlib
from typing import Any

_LIBRARIES = ("keras", "optax", "tf", "torch")


def __getattr__(name: str) -> Any:
    # a library is imported when its names are asked for, not with xent
    if name in _LIBRARIES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
