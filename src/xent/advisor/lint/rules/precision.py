"""L18: casts in front of losses that do without."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from ..activations import loss_calls
from ..rule import Edit, Problem, Rule
from ..source import Source, argument, text
from ..vocabulary import LOSS_NAMES

FLOAT32 = frozenset(
    ("torch.float32", "torch.float", "jax.numpy.float32", "numpy.float32", "tensorflow.float32", "tf1.float32")
)


def needless_float(source: Source) -> Iterator[Problem]:
    """L18."""
    for loss in loss_calls(source):
        if not loss.name.startswith("xent."):
            continue
        uncast = _uncast(source, loss.logits)
        if uncast is not None:
            message = f"logits cast to float32 for {loss.name.rpartition('.')[2]}, which computes in float32 anyway"
            edits = (Edit(loss.logits, source.code(uncast)),)
            yield Problem(loss.logits, "info", message, "pass the logits as they are", edits)


def _uncast(source: Source, node: cst.BaseExpression) -> cst.BaseExpression | None:
    if not isinstance(node, cst.Call):
        return None
    name = source.name(node.func)
    if name in ("tensorflow.cast", "tf1.cast"):
        return argument(node, 0, "x") if _is_float32(source, argument(node, 1, "dtype")) else None
    if name or not isinstance(node.func, cst.Attribute):
        return None
    method = node.func.attr.value
    if method == "float" and not node.args:
        return node.func.value
    if method in ("to", "astype", "type") and len(node.args) == 1 and _is_float32(source, argument(node, 0, "dtype")):
        return node.func.value
    return None


def _is_float32(source: Source, node: cst.BaseExpression | None) -> bool:
    return node is not None and (source.name(node) in FLOAT32 or text(node) == "float32")


RULES = (
    Rule(
        number="L18",
        summary="logits cast to float32 before a loss that computes in float32",
        why=(
            "xent reads half precision as it is, computes in float32 and returns float32. A cast before it makes "
            "a copy of the logits at twice their size, and another for the gradient. (PyTorch's own losses do "
            "need it.)"
        ),
        bad="""\
import xent


def step(logits, y):
    return xent.softmax_cross_entropy(logits.float(), y)
""",
        good="""\
import xent


def step(logits, y):
    return xent.softmax_cross_entropy(logits, y)
""",
        mends=True,
        words=(frozenset(("xent",)), LOSS_NAMES, frozenset(("float()", "to()", "astype()", "type()", "cast()"))),
        check=needless_float,
    ),
)
