"""Attributes and inputs of TensorFlow's sampling operations, converted and refused as it does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...sampling.arguments import DEFAULT_GRAPH_SEED, INT32_MAX, SEED_MODULUS
from ..arrays import namespace_of
from .errors import TF_NAMES, invalid_argument
from .tensors import converted


def integer(argument: str, value: Any) -> int:
    """An integer attribute: whatever `int` takes, but for words."""
    try:
        if isinstance(value, str):
            raise TypeError
        return int(value)
    except (TypeError, ValueError):
        raise TypeError(f"Expected int for argument '{argument}' not {value!r}.") from None


def flag(argument: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"Expected bool for argument '{argument}' not {value!r}.")
    return value


def real(argument: str, value: Any) -> float:
    try:
        if isinstance(value, str):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"Expected float for argument '{argument}' not {value!r}.") from None


def at_least(xp: Any, least: int, **attributes: int) -> None:
    for name, value in attributes.items():
        if value < least:
            raise invalid_argument(xp, f"Value for attr '{name}' of {value} must be at least minimum {least}")


def in_int32(xp: Any, **attributes: int) -> None:
    for name, value in attributes.items():
        if value > INT32_MAX:
            raise invalid_argument(xp, f"Attr {name} has value {value} out of range for an int32")


def class_ids(value: Any, operation: str, place: int) -> NDArray[np.int64]:
    """Class ids in the memory of the processor.

    TensorFlow's tensors must be int64 and Python's numbers whole ones; arrays of other dtypes are cast, as it does.
    """
    xp = namespace_of(value, ())
    array = converted(xp, value)
    name = xp.dtype_name(array)
    if hasattr(xp, "invalid_argument") and name != "int64":
        raise invalid_argument(
            xp,
            f"cannot compute {operation} as input #{place}(zero-based) was expected to be a int64 tensor but is a "
            f"{TF_NAMES.get(name, name)} tensor. Convert it to int64.",
        )
    host = xp.fetched(array)
    if isinstance(value, list | tuple | int | float) and host.size and host.dtype.kind not in "iub":
        raise TypeError(f"Cannot convert {value!r} to EagerTensor of dtype int64")
    return np.asarray(host, order="C").astype(np.int64, copy=False)


def seeds_of(xp: Any, seed: Any) -> tuple[tuple[int, int] | None, Any]:
    """The two seeds that an operation gets, and the generation of streams that it belongs to."""
    if hasattr(xp, "operation_seeds"):
        given, generation = xp.operation_seeds(seed)
        if given[0] is None:
            return None, generation
        return (integer("seed", given[0]), integer("seed2", given[1])), generation
    return (None if seed is None else (DEFAULT_GRAPH_SEED, integer("seed2", seed % SEED_MODULUS))), None
