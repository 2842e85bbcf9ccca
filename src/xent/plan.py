"""Which kernel serves a call, and in how many passes; each decision with its reason."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .caching import remember
from .errors import value_error


class Plan(NamedTuple):
    """How a loss is computed."""

    kernel: Literal["native", "operator", "reference"]
    gradient_in_forward: bool  # one pass over the logits makes loss and gradient
    reason: str


@remember
def loss_plan(
    plain_memory: bool, wants: frozenset[str], scalar: bool, traced: bool = False, operator: bool = True
) -> Plan:
    """The plan of a loss.

    Args:
        plain_memory: logits and soft targets are ordinary arrays in the memory of the CPU.
        wants: arguments that need a gradient.
        scalar: the loss is reduced, so that its upstream gradient is one number.
        traced: a graph is being recorded, which addresses cannot enter.
        operator: the kernel that would serve the call exists as an operator of such graphs.
    """
    if not plain_memory:
        return Plan(
            "reference", False, "the arrays are not plain memory of the CPU (another device, a tracer, a wrapper)"
        )
    if wants - {"logits"}:
        return Plan("reference", False, f"gradients to {', '.join(sorted(wants - {'logits'}))} come from the reference")
    if traced and operator:
        return Plan("operator", False, "a graph is recorded: the kernel enters it as an operator")
    if traced:
        return Plan("reference", False, "a graph is recorded, and the loss holds a function that no operator can take")
    if not wants:
        return Plan(
            "native", False, "no gradient is wanted: the logits are read once, nothing of their size is written"
        )
    if scalar:
        return Plan(
            "native", True, "a scalar loss: gradient and loss in one pass, scaled by the upstream gradient later"
        )
    return Plan("native", False, "one upstream gradient a row: the gradient is made when they are known")


# Of the logits of a linear loss: large enough for the products to run at full speed over the usual vocabularies.
LINEAR_BUDGET = 40 << 20


@remember
def linear_rows(rows: int, row_bytes: int, budget: int | None) -> int:
    """How many rows of logits of a linear loss exist at the same time.

    As many as the budget holds, and chunks of equal size: a short last one would run slower for nothing. Each chunk
    reads the whole weight, so the fewer the better.

    Args:
        row_bytes: what one row of logits takes, with every buffer of its size.
        budget: bytes; None for `LINEAR_BUDGET`.

    Raises:
        ValueError: a budget that does not hold one row.
    """
    most = (LINEAR_BUDGET if budget is None else budget) // row_bytes
    if most < 1:
        if budget is not None:
            remedy = "Raise it, or leave it out."
            raise value_error("memory_budget", f"at least {row_bytes} bytes, one row of logits", repr(budget), remedy)
        most = 1
    chunks = -(-rows // most)
    return max(1, -(-rows // max(chunks, 1)))
