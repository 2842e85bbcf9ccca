"""What samplers are given, checked."""

from __future__ import annotations

import operator
import secrets
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import label_error, type_error, value_error
from ..kernels.sampling import Seeds, first_outside

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
# TensorFlow's seed of a graph where none is set, and the number modulo which it takes seeds (its get_seed).
DEFAULT_GRAPH_SEED = 87654321
SEED_MODULUS = INT32_MAX

Seed = int | tuple[int, int] | None


def integer(argument: str, value: object, low: int, high: int) -> int:
    """An integer in [low, high]; booleans are none."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise type_error(argument, "an integer", repr(value), f"Pass an int for {argument}.") from None
    if not low <= number <= high:
        raise value_error(
            argument, f"an integer in [{low}, {high}]", str(number), f"Pass a number in the range for {argument}."
        )
    return number


def flag(argument: str, value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise type_error(argument, "True or False", repr(value), f"Pass a bool for {argument}.")
    return bool(value)


def distinct(num_sampled: int, classes: int, what: str) -> None:
    """Refuses to draw more distinct classes than there are."""
    if num_sampled > classes:
        raise value_error(
            "num_sampled",
            f"at most {classes}, the number of {what}, as unique=True asks for distinct ones",
            str(num_sampled),
            "Pass a smaller num_sampled, or unique=False.",
        )


def count_dtype(dtype: object) -> str:
    try:
        name = np.dtype(dtype).name  # type: ignore[call-overload]
    except TypeError:
        name = repr(dtype)
    if name not in ("float32", "float64"):
        raise type_error("dtype", "float32 or float64", str(name), "Pass one of the two: the dtype of the counts.")
    return str(name)


def seeds(seed: Seed) -> Seeds:
    """The two seeds of a stream: TensorFlow's for an int (the op's) or a pair (graph's and op's), else new ones."""
    if seed is None:
        return secrets.randbits(64), secrets.randbits(64)
    pair = seed if isinstance(seed, tuple) else (DEFAULT_GRAPH_SEED, seed)
    if len(pair) != 2:
        raise type_error("seed", "an integer, a pair of integers or None", repr(seed), "Pass an int.")
    graph, op = (integer("seed", s, -(2**63), INT64_MAX) % SEED_MODULUS for s in pair)
    return (graph, op) if graph or op else (0, SEED_MODULUS)


def array_of(argument: str, given: ArrayLike) -> NDArray[Any]:
    """An array of what NumPy understands."""
    try:
        return np.asarray(given)
    except (RuntimeError, TypeError, ValueError) as error:  # ragged lists, tensors with a graph or on a device
        got, remedy = f"{type(given).__name__} ({error})", f"Convert {argument} to an array of NumPy."
        raise type_error(argument, "an array of numbers", got, remedy) from error


def classes(argument: str, given: ArrayLike, ranks: tuple[int, ...], shape: str) -> NDArray[Any]:
    """An array of integers of an allowed rank."""
    array = array_of(argument, given)
    if not array.size and isinstance(given, list | tuple):
        array = array.astype(np.int64)  # an empty list is one of integers, too
    if array.dtype.kind not in "iu":
        raise type_error(argument, "an integer array", f"dtype {array.dtype}", f"Convert {argument} to int64.")
    if array.ndim not in ranks:
        raise value_error(argument, f"an array {shape}", f"shape {list(array.shape)}", f"Reshape {argument}.")
    return array


def true_classes(given: ArrayLike, range_max: int | None = None) -> NDArray[np.int64]:
    """True classes [batch] or [batch, num_true] as contiguous int64, in [0, range_max) if that is given."""
    array = classes("true_classes", given, (1, 2), "[batch] or [batch, num_true]")
    wide = np.ascontiguousarray(array, np.int64)
    if range_max is not None and (bad := first_outside(wide, range_max)) >= 0:
        row = bad // (wide.shape[1] if wide.ndim == 2 else 1)
        remedy = "Map the classes into the range, and leave out rows that have none."
        raise label_error("true_classes", row, int(array.reshape(-1)[bad]), range_max, remedy)
    return wide
