"""L18: casts in front of losses that do without."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from ..activations import loss_calls
from ..rule import Edit, Problem, Rule
from ..source import FOLLOWED, Source, argument, text
from ..vocabulary import ACTIVATIONS, LOSS_NAMES, ONE_HOT

FLOAT32 = frozenset(
    ("torch.float32", "torch.float", "jax.numpy.float32", "numpy.float32", "tensorflow.float32", "tf1.float32")
)
HALF = frozenset(("torch.float16", "torch.half", "torch.bfloat16"))
HALF |= frozenset(f"{p}.{d}" for p in ("jax.numpy", "tensorflow", "tf1") for d in ("float16", "bfloat16"))
# Modules with weights, whose output is floating-point, and functions that return nothing else
FLOATING_MODULES = frozenset(
    f"torch.{name}" for name in ("Bilinear", "Conv1d", "Conv2d", "Conv3d", "LayerNorm", "Linear", "RMSNorm")
)
FLOATING_FUNCTIONS = frozenset(ACTIVATIONS) | {"torch.rand", "torch.randn"}
# Functions and methods that return truth values or integers
DISCRETE = frozenset(
    (
        *("all", "any", "eq", "equal", "ge", "greater", "gt", "isclose", "isfinite", "isin", "isinf", "isnan", "le"),
        *("less", "logical_and", "logical_not", "logical_or", "logical_xor", "lt", "ne", "not_equal", "signbit"),
        *("arange", "argmax", "argmin", "argsort", "bincount", "bitwise_and", "bitwise_not", "bitwise_or", "bucketize"),
        *("bool", "byte", "char", "count_nonzero", "int", "long", "randint", "randperm", "searchsorted", "short"),
    )
)
DISCRETE_TYPES = ("bool", "byte", "char", "int", "long", "short")


def needless_float(source: Source) -> Iterator[Problem]:
    """L18."""
    for loss in loss_calls(source):
        if not loss.name.startswith("xent."):
            continue
        uncast = _uncast(source, loss.logits)
        floating = None if uncast is None else _is_floating(source, uncast)
        if uncast is not None and floating is not False:
            message = f"logits cast to float32 for {loss.name.rpartition('.')[2]}, which computes in float32 anyway"
            edits = (Edit(loss.logits, source.code(uncast)),) if floating else ()
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


def _is_floating(source: Source, node: cst.BaseExpression, depth: int = 0) -> bool | None:
    """Whether an array surely is of floating point (True) or may well be of another kind (False)."""
    if depth > FOLLOWED:
        return None
    following = source.assigned(node)
    if following is not None:
        return _is_floating(source, following, depth + 1)
    if isinstance(node, cst.Subscript):
        return _is_floating(source, node.value, depth + 1)
    if not isinstance(node, cst.Call):
        return None if isinstance(node, cst.Name | cst.Attribute) else False
    name = source.name(node.func)
    method = node.func.attr.value if isinstance(node.func, cst.Attribute) else ""
    if name in FLOATING_FUNCTIONS or (not name and method in ("half", "bfloat16")):
        return True
    if name in ONE_HOT or (name.rpartition(".")[2] or method) in DISCRETE:
        return False
    if method in ("astype", "cast", "to", "type"):
        if any(source.name(arg.value) in HALF for arg in node.args):
            return True
        written = "".join(source.code(arg) for arg in node.args)
        return False if any(kind in written for kind in DISCRETE_TYPES) else None
    made_by = None if name else source.constructor(node.func)
    return True if made_by is not None and source.name(made_by.func) in FLOATING_MODULES else None


def _is_float32(source: Source, node: cst.BaseExpression | None) -> bool:
    return node is not None and (source.name(node) in FLOAT32 or text(node) == "float32")


RULES = (
    Rule(
        number="L18",
        summary="logits cast to float32 before a loss that computes in float32",
        why=(
            "xent reads half precision as it is, computes in float32 and returns float32. A cast before it makes "
            "a copy of the logits at twice their size, and another for the gradient. (PyTorch's own losses do "
            "need it.) --fix takes the cast away where the logits surely are of floating point, such as those of a "
            "linear layer."
        ),
        bad="""\
import xent
from torch import nn


class Classifier(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.head = nn.Linear(width, classes)

    def loss(self, hidden, y):
        return xent.softmax_cross_entropy(self.head(hidden).float(), y)
""",
        good="""\
import xent
from torch import nn


class Classifier(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.head = nn.Linear(width, classes)

    def loss(self, hidden, y):
        return xent.softmax_cross_entropy(self.head(hidden), y)
""",
        mends=True,
        words=(frozenset(("xent",)), LOSS_NAMES, frozenset(("float()", "to()", "astype()", "type()", "cast()"))),
        check=needless_float,
    ),
)
