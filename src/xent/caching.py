"""Remembering what pure functions of shapes and options gave."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def tracing() -> bool:
    """Whether torch traces a graph, where sizes are symbols and nothing is to be remembered."""
    torch = sys.modules.get("torch")  # whose front-end may be imported by the very program that is traced
    return torch is not None and bool(torch.compiler.is_compiling())


class Prepared:
    """What was made ready for layouts and options, found again in little time."""

    def __init__(self) -> None:
        self._found: dict[Any, tuple[Any, Any]] = {}
        self.get = self._found.get  # (options, what was made ready) or None

    def add(self, key: tuple[Any, ...], options: Any, ready: Any) -> tuple[Any, Any]:
        """`key`: with the `id` of the options, which live as long as what is found, so that no other object has it."""
        if len(self._found) >= 1024:
            self._found.clear()
        self._found[key] = found = options, ready
        return found


def remember(function: Function) -> Function:
    """The function with a cache of its results by the value and type of its arguments."""
    memory = lru_cache(maxsize=4096, typed=True)(function)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if tracing():
            return function(*args, **kwargs)
        try:
            return memory(*args, **kwargs)
        except TypeError:  # an argument that cannot be looked up, or a mistake: the function says which
            return function(*args, **kwargs)

    return call  # type: ignore[return-value]
