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


def not_found(xp: Any, message: str) -> Exception:
    """The error of a file that is not there, likewise."""
    return getattr(xp, "not_found", FileNotFoundError)(message)


def recorded_or(xp: Any, kind: type[Exception], recorded: str, eager: str) -> Exception:
    """The error of an operation: of some kind where a graph of TensorFlow's is recorded, else an invalid argument."""
    return kind(recorded) if getattr(xp, "in_graph", bool)() else invalid_argument(xp, eager)


def wrong_dtype(xp: Any, attribute: str, argument: str, found: str, allowed: list[str], remedy: str) -> Exception:
    """The error of an operation that has no kernel for a dtype."""
    return recorded_or(
        xp,
        TypeError,
        f"Value passed to parameter '{argument}' has DataType {found} not in list of allowed values: "
        f"{', '.join(allowed)}. {remedy}",
        f"Value for attr '{attribute}' of {TF_NAMES.get(found, found)} is not in the list of allowed values: "
        f"{', '.join(TF_NAMES.get(name, name) for name in allowed)}. {remedy}",
    )


TF_NAMES = {"float16": "half", "float32": "float", "float64": "double"}


def listed(shape: tuple[int, ...]) -> str:
    """A shape as TensorFlow's operations print it."""
    return f"[{','.join(map(str, shape))}]"
