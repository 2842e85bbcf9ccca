"""The options of a loss that are plain numbers and names: checked once, hashable, shared by every front-end."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any

from .caching import remember
from .errors import type_error, value_error

REDUCTIONS = ("mean", "sum", "none")

# Divisors of logits: far beyond any use, and far from where float32 overflows.
LARGEST = 1e15
_RANGE = f"from {1.0 / LARGEST:g} to {LARGEST:g}"


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


@remember
def _softmax_options(
    axis: Any, label_smoothing: Any, ignore_index: Any, temperature: Any, softcap: Any, z_loss: Any, reduction: Any
) -> SoftmaxOptions:
    smoothing = _number("label_smoothing", label_smoothing)
    if not 0.0 <= smoothing <= 1.0:
        raise value_error("label_smoothing", "a number in [0, 1]", repr(label_smoothing), "Usual values are 0 to 0.2.")
    cap = None if softcap is None else _number("softcap", softcap)
    if cap is not None and not 1.0 / LARGEST <= cap <= LARGEST:
        raise value_error("softcap", f"None or a positive number, {_RANGE}", repr(softcap), "Pass None for no cap.")
    z = _number("z_loss", z_loss)
    if not 0.0 <= z < math.inf:
        raise value_error("z_loss", "a finite number of at least 0", repr(z_loss), "A usual value is 1e-4.")
    return SoftmaxOptions(
        axis=_integer("axis", axis),
        label_smoothing=smoothing,
        ignore_index=None if ignore_index is None else _label("ignore_index", ignore_index),
        temperature=positive_number("temperature", temperature),
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
    return _softmax_options(axis, label_smoothing, ignore_index, temperature, softcap, z_loss, reduction)


@dataclass(frozen=True)
class ElementwiseOptions:
    """Options of the losses of single numbers; each family sets what it has, through a function that checks it.

    `alpha`, `beta`, `rest`: of a label y, alpha·y + beta counts as positive and alpha·(high - y) + rest as negative.
    `low`, `high`: what labels lie between, or are (`ends_only`). `positive`, `negative`: factors of the two parts of
    the loss; of pinball, the cost over and under.
    """

    kind: str
    alpha: float = 1.0
    beta: float = 0.0
    rest: float = 0.0
    low: float = 0.0
    high: float = 1.0
    ends_only: bool = False
    ignore_index: float | None = None
    positive: float = 1.0
    negative: float = 1.0
    gamma_pos: float = 0.0
    gamma_neg: float = 0.0
    clip: float = 0.0
    reduction: str = "mean"


def _between(name: str, value: Any, low: float, high: float, hint: str) -> float:
    number = _number(name, value)
    if low <= number <= high:
        return number
    bounds = f"a number in [{low:g}, {high:g}]"
    if high == LARGEST and not high < number < math.inf:
        bounds = f"a finite number of at least {low:g}"
    raise value_error(name, bounds, repr(value), hint)


def positive_number(name: str, value: Any) -> float:
    """A checked divisor of logits."""
    number = _number(name, value)
    if not 1.0 / LARGEST <= number <= LARGEST:
        raise value_error(name, f"a positive number, {_RANGE}", repr(value), "Usual values are 0.5 to 10.")
    return number


def axis_option(axis: Any) -> int:
    """A checked axis; whether the array has it is the problem's to say."""
    return _integer("axis", axis)


def budget_option(memory_budget: Any) -> int | None:
    """A checked number of bytes, or None for the default."""
    return None if memory_budget is None else _integer("memory_budget", memory_budget)


def exponent(gamma: Any) -> float:
    """A checked focusing exponent."""
    return _between("gamma", gamma, 0.0, LARGEST, "0 is no modulation; usual values are 1 to 5.")


def poly_epsilon(epsilon: Any) -> float:
    """A checked weight of the first term of PolyLoss."""
    return _between("epsilon", epsilon, -1.0, LARGEST, "0 is plain cross-entropy; usual values are 1 and 2.")


def _mark(name: str, value: Any) -> float:
    """A label that every dtype holds exactly."""
    mark = _number(name, value)
    if mark != round(mark) or abs(mark) >= 2**24:
        raise value_error(name, "a whole number below 2**24", repr(value), "Usual values are -100 and -1.")
    return mark


@remember
def sigmoid_options(
    label_smoothing: Any = 0.0,
    ignore_index: Any = None,
    reduction: Any = "mean",
    *,
    focal_alpha: Any = None,
    gamma_pos: Any = 0.0,
    gamma_neg: Any = 0.0,
    clip: Any = 0.0,
    gamma_names: tuple[str, str] = ("gamma_pos", "gamma_neg"),
) -> ElementwiseOptions:
    """Checked options of the sigmoid family.

    Raises:
        TypeError: an argument is not a plain number.
        ValueError: an argument is out of its range.
    """
    smoothing = _between("label_smoothing", label_smoothing, 0.0, 1.0, "Usual values are 0 to 0.2.")
    pos = _between(gamma_names[0], gamma_pos, 0.0, LARGEST, "0 is no modulation; usual values are 1 to 5.")
    neg = _between(gamma_names[1], gamma_neg, 0.0, LARGEST, "0 is no modulation; usual values are 1 to 5.")
    shift = _between("clip", clip, 0.0, 1.0, "0 is no shift; a usual value is 0.05.")
    balance = None if focal_alpha is None else _between("alpha", focal_alpha, 0.0, 1.0, "None is no balance.")
    return ElementwiseOptions(
        kind="modulated" if pos or neg or shift else "logistic",
        alpha=1.0 - smoothing,
        beta=smoothing / 2.0,
        rest=smoothing / 2.0,
        ignore_index=None if ignore_index is None else _mark("ignore_index", ignore_index),
        positive=1.0 if balance is None else balance,
        negative=1.0 if balance is None else 1.0 - balance,
        gamma_pos=pos,
        gamma_neg=neg,
        clip=shift,
        reduction=check_reduction(reduction),
    )


@remember
def signed_options(reduction: Any = "mean") -> ElementwiseOptions:
    """Checked options of the logistic loss of labels in {-1, 1}."""
    return ElementwiseOptions(
        "logistic", alpha=0.5, beta=0.5, low=-1.0, ends_only=True, reduction=check_reduction(reduction)
    )


@remember
def pinball_options(over: Any, under: Any, reduction: Any = "mean") -> ElementwiseOptions:
    """Checked options of the pinball loss.

    Raises:
        TypeError: a cost is not a plain number.
        ValueError: a cost is negative or not finite, or the reduction is unknown.
    """
    return ElementwiseOptions(
        "pinball",
        low=-math.inf,
        high=math.inf,
        positive=_between("over", over, 0.0, LARGEST, "Costs are per unit of the error."),
        negative=_between("under", under, 0.0, LARGEST, "Costs are per unit of the error."),
        reduction=check_reduction(reduction),
    )


def check_reduction(reduction: Any) -> str:
    """The reduction, if it is one of the three."""
    if isinstance(reduction, str) and reduction in REDUCTIONS:
        return reduction
    raise value_error("reduction", "'mean', 'sum' or 'none'", repr(reduction), "Pass one of the three names.")
