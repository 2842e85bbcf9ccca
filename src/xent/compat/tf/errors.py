"""TensorFlow's errors, for its tensors and for the arrays of others."""

from __future__ import annotations

from typing import Any


class InvalidArgumentError(ValueError, IndexError):
    """What `tf.errors.InvalidArgumentError` says, of arrays that are not TensorFlow's."""


def invalid_argument(xp: Any, message: str) -> Exception:
    """The error of the framework whose namespace is `xp`."""
    try:
        make = xp.invalid_argument
    except AttributeError:
        make = InvalidArgumentError
    return make(message)  # type: ignore[no-any-return]


def listed(shape: tuple[int, ...]) -> str:
    """A shape as TensorFlow's operations print it."""
    return f"[{','.join(map(str, shape))}]"
