"""Which kernel serves a call, and in how many passes; each decision with its reason."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .caching import remember
from .errors import value_error


class Plan(NamedTuple):
    """How a loss is computed."""

    kernel: Literal["native", "triton", "operator", "reference"]
    gradient_in_forward: bool  # one pass over the logits makes loss and gradient
    reason: str


@remember
def loss_plan(
    memory: Literal["native", "triton"] | None,
    wants: frozenset[str],
    scalar: bool,
    traced: bool = False,
    operator: bool = True,
) -> Plan:
    """The plan of a loss.

    Args:
        memory: the kernels that can read logits, labels and weights: ordinary arrays of the CPU, or of a GPU.
        wants: arguments that need a gradient.
        scalar: the loss is reduced, so that its upstream gradient is one number.
        traced: a graph is being recorded, which addresses cannot enter.
        operator: the kernel that would serve the call exists as an operator of such graphs.
    """
    if memory is None:
        return Plan("reference", False, "no kernel reads such arrays (another device, a tracer, a wrapper)")
    if wants - {"logits"}:
        return Plan("reference", False, f"gradients to {', '.join(sorted(wants - {'logits'}))} come from the reference")
    if traced and operator:
        return Plan("operator", False, "a graph is recorded: the kernel enters it as an operator")
    if traced:
        return Plan("reference", False, "a graph is recorded, and the loss holds a function that no operator can take")
    if not wants:
        return Plan(memory, False, "no gradient is wanted: the logits are read once, nothing of their size is written")
    if scalar:
        return Plan(memory, True, "a scalar loss: gradient and loss in one pass, scaled by the upstream gradient later")
    return Plan(memory, False, "one upstream gradient a row: the gradient is made when they are known")


class Blocks(NamedTuple):
    """How many rows and classes of the logits of a linear loss exist at the same time."""

    rows: int
    classes: int


# Of the logits of a linear loss: large enough for the products to run at full speed over the usual vocabularies.
LINEAR_BUDGET = 40 << 20
# With this many rows the products of a block run nearly as fast as with all of them.
ENOUGH_ROWS = 128
# With this many classes, too.
ENOUGH_CLASSES = 2048
# Fewer than these are not worth a product.
LEAST_CLASSES = 128


@remember
def linear_blocks(rows: int, classes: int, number_bytes: int, budget: int | None, whole_rows: bool) -> Blocks:
    """How many logits of a linear loss exist at the same time.

    All of them where the budget holds them. Else some rows with all classes, which takes three products and reads the
    whole weight once a block; or, where that would leave few rows, some classes of as many rows as fit.

    Args:
        number_bytes: what one logit takes, with every buffer of their size.
        budget: bytes; None for `LINEAR_BUDGET`.
        whole_rows: a loss needs all classes of a row, and would have to make its logits twice without them.

    Raises:
        ValueError: a budget that does not hold one row of the smallest block of classes.
    """
    held = (LINEAR_BUDGET if budget is None else budget) // number_bytes
    least = min(classes, LEAST_CLASSES)
    if held < least:
        expected = f"at least {least * number_bytes} bytes, one row of {least} classes"
        raise value_error("memory_budget", expected, repr(budget), "Raise it, or leave it out.")
    if rows * classes <= held or classes == 0:
        return Blocks(max(rows, 1), max(classes, 1))
    if whole_rows and held // classes >= ENOUGH_ROWS:
        return Blocks(_even(rows, held // classes), classes)
    some = _even(rows, max(1, held // min(classes, ENOUGH_CLASSES)))
    return Blocks(some, _even(classes, held // some))


@remember
def linear_rows(rows: int, row_bytes: int, budget: int | None) -> int:
    """How many rows of logits exist at the same time where a compiled program needs all classes of a row.

    Args:
        row_bytes: what one row of logits takes, with every buffer of its size.
        budget: bytes; None for `LINEAR_BUDGET`.

    Raises:
        ValueError: a budget that does not hold one row.
    """
    most = (LINEAR_BUDGET if budget is None else budget) // row_bytes
    if most < 1 and budget is not None:
        remedy = "Raise it, or leave it out."
        raise value_error("memory_budget", f"at least {row_bytes} bytes, one row of logits", repr(budget), remedy)
    return _even(rows, max(most, 1))


def _even(count: int, most: int) -> int:
    """The size of pieces of at most `most`, as equal as can be: a short last one would run slower for nothing."""
    pieces = -(-count // most)
    return max(1, -(-count // max(pieces, 1)))


# Of the logits of a linear loss and what is summed up in float32 beside them, on a GPU; less where little is free.
DEVICE_BUDGET = 1 << 30
# With this many rows the products of a block run nearly as fast on a GPU as with all of them.
ENOUGH_DEVICE_ROWS = 1024
# So many blocks of classes are made of the budget: those of the first ones need not be made again.
KEPT_BLOCKS = 16


class DeviceBlocks(NamedTuple):
    """How the logits of a linear loss are cut on a GPU.

    `lent`: the first so many blocks of classes are kept where the weight's gradient goes later; `kept`: so many more in
    memory of their own. Those are not made twice.
    """

    rows: int
    classes: int
    kept: int = 0
    lent: int = 0


@remember
def device_blocks(
    rows: int, classes: int, number_bytes: int, budget: int, weight_sum: int, inputs_sum: int, width: int
) -> DeviceBlocks:
    """How many logits of a linear loss exist at the same time on a GPU.

    All of them where the budget holds them. Else some rows with all classes, three products, if the budget also holds
    the sum of the weight's gradient in float32, which is then made of several products. Else all rows with some
    classes: the weight's gradient is one product a class, and the logits are made twice, but for the blocks that are
    kept.

    Args:
        number_bytes: what one logit takes, with every buffer of their size.
        weight_sum, inputs_sum: bytes of float32 in which the gradients are summed up over blocks of rows, of classes;
            0 where they add up in themselves.
        width: of the weight whose gradient is made, in the logits' dtype; 0 for none.

    Raises:
        ValueError: a budget that does not hold one row of the smallest block of classes.
    """
    held = budget // number_bytes
    least = min(classes, LEAST_CLASSES)
    if held < least:
        expected = f"at least {least * number_bytes} bytes, one row of {least} classes"
        raise value_error("memory_budget", expected, repr(budget), "Raise it, or leave it out.")
    if rows * classes <= held:
        return DeviceBlocks(rows, classes)
    whole = (budget - weight_sum) // (classes * number_bytes)
    if whole >= ENOUGH_DEVICE_ROWS:
        return DeviceBlocks(_even(rows, whole), classes)
    held = max(held - inputs_sum // number_bytes, least)
    some_rows = _even(rows, max(1, held // min(classes, ENOUGH_CLASSES)))
    some = _even(classes, max(least, min(held // some_rows, max(ENOUGH_CLASSES, held // (KEPT_BLOCKS * some_rows)))))
    lent = lent_blocks(rows, classes, some, width) if some_rows >= rows else 0
    return DeviceBlocks(some_rows, some, max(0, held // (some_rows * some) - 1), lent)


def lent_blocks(rows: int, classes: int, size: int, width: int) -> int:
    """How many blocks of logits fit at the end of the weight's gradient, [classes, width].

    The last of them lies at the very end, so that none is overwritten while the gradient is made from its beginning on.
    """
    most = 0
    # after block j, (j + 1)·size·width numbers of the gradient are made, and the logits from block j on are still there
    while (
        all((j + 1) * size * width + (most + 1 - j) * rows * size <= classes * width for j in (0, most))
        and (most + 1) * size < classes
    ):
        most += 1
    return most
