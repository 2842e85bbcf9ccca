"""L16 and L17: a divergence divided by too much, and sums of losses that keep every step's graph."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from ..rule import Edit, Problem, Rule
from ..source import Source, arguments


def kl_by_elements(source: Source) -> Iterator[Problem]:
    """L16."""
    for call in source.calls:
        name = source.name(call.func)
        given = arguments(call)
        if name not in ("torch.KLDivLoss", "torch.kl_div") or given is None:
            continue
        before = 2 if name == "torch.kl_div" else 0
        if len(given[0]) <= before and not {"reduction", "reduce", "size_average"} & set(given[1]):
            message = (
                f"{name.removeprefix('torch.')} divides by the number of elements: C times too small for a divergence"
            )
            yield Problem(
                call, "warning", message, 'pass reduction="batchmean", and mind its weight beside other losses'
            )


def kept_graph(source: Source) -> Iterator[Problem]:
    """L17."""
    if not source.imports("torch"):
        return
    backward = [
        c.func.value for c in source.calls if isinstance(c.func, cst.Attribute) and c.func.attr.value == "backward"
    ]
    for add in source.nodes.sums:
        loss = _loss_of(add.added)
        total = add.target
        loop = source.enclosing(total, cst.For, cst.While, cst.FunctionDef)
        if loss is None or not isinstance(loop, cst.For | cst.While):
            continue
        scope = source.scopes.get(loss)
        differentiated = [b for b in backward if isinstance(b, cst.Name) and source.scopes.get(b) is scope]
        if any(b.value == total.value for b in differentiated):
            continue
        in_loop = [b for b in differentiated if b.value == loss.value and loop in source.ancestors(b)]
        if in_loop and _starts_at_zero(source, total, loop):
            message = f"{total.value} adds up {loss.value} with its graph: every step's graph stays in memory"
            fix = f"add {loss.value}.item(), or {loss.value}.detach() to wait for no device"
            yield Problem(add.added, "warning", message, fix, (Edit(loss, f"{loss.value}.detach()"),))


def _loss_of(node: cst.BaseExpression) -> cst.Name | None:
    """The variable in `loss`, `loss * n` and `loss / n`."""
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Multiply | cst.Divide):
        node = node.left
    return node if isinstance(node, cst.Name) else None


def _starts_at_zero(source: Source, total: cst.Name, loop: cst.CSTNode) -> bool:
    """Whether a sum is set to 0 outside the loop, and to nothing else."""
    starts = []
    sums = [add.target for add in source.nodes.sums]
    for target in source.assignments(total):
        if any(target is added_to for added_to in sums):
            continue
        value = source.nodes.values.get(target)
        if value is not None:
            starts.append((target, value))
        elif not isinstance(source.parents.get(target), cst.AugAssign):
            return False
    return bool(starts) and all(
        isinstance(value, cst.Integer | cst.Float)
        and float(value.evaluated_value) == 0
        and loop not in source.ancestors(target)
        for target, value in starts
    )


RULES = (
    Rule(
        number="L16",
        summary="KLDivLoss or kl_div with the default reduction",
        why=(
            'The default "mean" divides by rows times classes, so the divergence is C times too small: PyTorch '
            'itself warns of it. "batchmean" divides by rows. --fix leaves it alone, since the weight of the term '
            "may have been tuned to it."
        ),
        bad="""\
import torch.nn.functional as F


def distil(student, teacher):
    return F.kl_div(F.log_softmax(student, dim=1), F.softmax(teacher, dim=1))
""",
        good="""\
import torch.nn.functional as F


def distil(student, teacher):
    return F.kl_div(F.log_softmax(student, dim=1), F.softmax(teacher, dim=1), reduction="batchmean")
""",
        mends=False,
        words=(frozenset(("torch",)), frozenset(("KLDivLoss", "kl_div"))),
        check=kl_by_elements,
    ),
    Rule(
        number="L17",
        summary="losses added up over steps with their graphs",
        why=(
            "A sum of losses that are still attached refers to the graph of every step, so memory grows until the "
            "epoch ends. loss.item() is a number; loss.detach() stays on its device and does not wait for it."
        ),
        bad="""\
import torch


def epoch(model, batches, optimizer, criterion):
    total = 0.0
    for x, y in batches:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss
    return torch.as_tensor(total)
""",
        good="""\
import torch


def epoch(model, batches, optimizer, criterion):
    total = 0.0
    for x, y in batches:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach()
    return torch.as_tensor(total)
""",
        mends=True,
        words=(frozenset(("torch",)), frozenset(("backward()",)), frozenset(("+=",))),
        check=kept_graph,
    ),
)
