"""Which kernel serves a call, and in how many passes; each decision with its reason."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .caching import remember


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
