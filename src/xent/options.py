"""The options of a loss that are plain numbers and names: checked once, hashable, shared by every front-end."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .errors import type_error, value_error

REDUCTIONS = ("mean", "sum", "none")


def _number(name: str, value: Any) -> float:
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    raise type_error(name, "a real number", type(value).__name__, f"Pass a plain Python number, as in {name}=0.1.")


def _integer(name: str, value: Any) -> int:
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    raise type_error(name, "an integer", type(value).__name__, f"Pass a plain Python integer, as in {name}=-1.")


def _label(name: str, value: Any) -> int:
    label = _integer(name, value)
    if not -(2**63) <= label < 2**63:
        raise value_error(name, "an integer of 64 bits", repr(value), "Usual values are -100 and -1.")
    return label


@dataclass(frozen=True)
class SoftmaxOptions:
    """Options of the softmax family. Build them with `softmax_options`, which checks them."""

    axis: int = -1
    label_smoothing: float = 0.0
    ignore_index: int | None = None
    temperature: float = 1.0
    softcap: float | None = None
    z_loss: float = 0.0
    reduction: str = "mean"

    @property
    def transforms_logits(self) -> bool:
        return self.temperature != 1.0 or self.softcap is not None


@lru_cache(maxsize=1024, typed=True)
def _softmax_options(
    axis: Any, label_smoothing: Any, ignore_index: Any, temperature: Any, softcap: Any, z_loss: Any, reduction: Any
) -> SoftmaxOptions:
    smoothing = _number("label_smoothing", label_smoothing)
    if not 0.0 <= smoothing <= 1.0:
        raise value_error("label_smoothing", "a number in [0, 1]", repr(label_smoothing), "Usual values are 0 to 0.2.")
    heat = _number("temperature", temperature)
    if not (heat > 0.0 and math.isfinite(heat)):
        raise value_error("temperature", "a positive finite number", repr(temperature), "Pass temperature > 0.")
    cap = None if softcap is None else _number("softcap", softcap)
    if cap is not None and not (cap > 0.0 and math.isfinite(cap)):
        raise value_error("softcap", "a positive finite number or None", repr(softcap), "Pass None for no cap.")
    z = _number("z_loss", z_loss)
    if not (z >= 0.0 and math.isfinite(z)):
        raise value_error("z_loss", "a finite number of at least 0", repr(z_loss), "A usual value is 1e-4.")
    return SoftmaxOptions(
        axis=_integer("axis", axis),
        label_smoothing=smoothing,
        ignore_index=None if ignore_index is None else _label("ignore_index", ignore_index),
        temperature=heat,
        softcap=cap,
        z_loss=z,
        reduction=check_reduction(reduction),
    )


def softmax_options(
    axis: Any = -1,
    label_smoothing: Any = 0.0,
    ignore_index: Any = None,
    temperature: Any = 1.0,
    softcap: Any = None,
    z_loss: Any = 0.0,
    reduction: Any = "mean",
) -> SoftmaxOptions:
    """Checked options of the softmax family; equal arguments give the same object, at the price of a cache lookup.

    Raises:
        TypeError: an argument is not a plain number (an array or a tensor, say).
        ValueError: an argument is out of its range.
    """
    try:
        return _softmax_options(axis, label_smoothing, ignore_index, temperature, softcap, z_loss, reduction)
    except TypeError:  # unhashable: the uncached call names the argument
        return _softmax_options.__wrapped__(
            axis, label_smoothing, ignore_index, temperature, softcap, z_loss, reduction
        )


@dataclass(frozen=True)
class PinballOptions:
    """Options of the pinball loss. Build them with `pinball_options`, which checks them."""

    over: float
    under: float
    reduction: str = "mean"


def pinball_options(over: Any, under: Any, reduction: Any = "mean") -> PinballOptions:
    """Checked options of the pinball loss.

    Raises:
        TypeError: a cost is not a plain number.
        ValueError: a cost is negative or not finite, or the reduction is unknown.
    """
    costs = []
    for name, value in (("over", over), ("under", under)):
        cost = _number(name, value)
        if not (cost >= 0.0 and math.isfinite(cost)):
            raise value_error(name, "a finite cost of at least 0", repr(value), "Costs are per unit of the error.")
        costs.append(cost)
    return PinballOptions(costs[0], costs[1], check_reduction(reduction))


def check_reduction(reduction: Any) -> str:
    """The reduction, if it is one of the three."""
    if isinstance(reduction, str) and reduction in REDUCTIONS:
        return reduction
    raise value_error("reduction", "'mean', 'sum' or 'none'", repr(reduction), "Pass one of the three names.")
