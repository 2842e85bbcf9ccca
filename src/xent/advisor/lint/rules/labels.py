"""L15: one-hot labels that nobody needs."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from ..activations import LossCall, loss_calls
from ..rule import Edit, Problem, Rule
from ..source import Source, argument, arguments, number
from ..vocabulary import FRAMEWORKS, ONE_HOT, last_names

# Losses of one-hot rows, and what takes the indices instead
INDEX_LOSSES = {
    "torch.cross_entropy": "pass the class indices",
    "torch.CrossEntropyLoss": "pass the class indices",
    "xent.softmax_cross_entropy": "pass the class indices",
    "optax.softmax_cross_entropy": "use softmax_cross_entropy_with_integer_labels",
    "tensorflow.nn.softmax_cross_entropy_with_logits": "use sparse_softmax_cross_entropy_with_logits",
    "tf1.nn.softmax_cross_entropy_with_logits": "use sparse_softmax_cross_entropy_with_logits",
    "tf1.nn.softmax_cross_entropy_with_logits_v2": "use sparse_softmax_cross_entropy_with_logits",
    "tf1.losses.softmax_cross_entropy": "use sparse_softmax_cross_entropy",
    "keras.losses.categorical_crossentropy": "use sparse_categorical_crossentropy",
    "keras.losses.CategoricalCrossentropy": "use SparseCategoricalCrossentropy",
}
OTHER_OPTIONS = ("label_smoothing", "weight", "class_weight", "axis", "dim", "where")
CASTS = frozenset(("double", "float", "half", "to", "type"))


def needless_one_hot(source: Source) -> Iterator[Problem]:
    """L15."""
    for loss in loss_calls(source):
        fix = INDEX_LOSSES.get(loss.name)
        position, keywords = loss.loss.labels
        labels = argument(loss.call, position, *keywords)
        if fix is None or labels is None or _has_options(loss):
            continue
        one_hot = source.value(labels)
        if not isinstance(one_hot, cst.Call) or source.name(one_hot.func) not in ONE_HOT or not _is_plain(one_hot):
            continue
        if isinstance(labels, cst.Name) and source.uses(labels) > 1:
            continue
        edits: tuple[Edit, ...] = ()
        indices = argument(one_hot, 0, "input", "tensor")
        # PyTorch's one_hot refuses what is no class. The others make a row of zeros of it, which costs nothing.
        is_torch = loss.name.startswith("torch.") and source.name(one_hot.func) == "torch.one_hot"
        if is_torch and indices is not None and _is_cast_only(labels, one_hot):
            edits = (Edit(labels, source.code(indices)),)
        message = f"one_hot made for {loss.name.rpartition('.')[2]} alone, which has a form for class indices"
        yield Problem(labels, "info", message, fix, edits)


def _has_options(loss: LossCall) -> bool:
    """Whether a loss has arguments, named or by position, beside logits, labels and Keras's `from_logits`."""
    spare = 1 if loss.name.startswith("keras.") else 0
    if loss.made_by is None:
        return _has_more(loss.call, 2 + spare)
    return _has_more(loss.call, 2) or _has_more(loss.made_by, spare)


def _has_more(call: cst.Call, positions: int) -> bool:
    given = arguments(call)
    return given is None or len(given[0]) > positions or any(option in given[1] for option in OTHER_OPTIONS)


def _is_plain(one_hot: cst.Call) -> bool:
    """Whether ones and zeros stand on the last axis."""
    given = arguments(one_hot)
    if given is None or len(given[0]) > 2 or any(k in given[1] for k in ("on_value", "off_value")):
        return False
    return all(number(given[1][k].value) == -1 for k in ("axis", "dim") if k in given[1])


def _is_cast_only(labels: cst.BaseExpression, one_hot: cst.Call) -> bool:
    node = labels
    while node is not one_hot:
        if (
            not isinstance(node, cst.Call)
            or not isinstance(node.func, cst.Attribute)
            or node.func.attr.value not in CASTS
        ):
            return False
        node = node.func.value
    return True


RULES = (
    Rule(
        number="L15",
        summary="one_hot made only for a loss that has a form for class indices",
        why=(
            "One-hot labels are as large as the logits, and the loss reads all of them to find one number a row. "
            "The form for indices gives the same loss. Mind rows without a class: one_hot makes zeros, and a loss "
            "of 0, of an index outside the range, where the other form fails or needs ignore_index."
        ),
        bad="""\
import torch.nn.functional as F


def step(logits, y):
    return F.cross_entropy(logits, F.one_hot(y, 10).float())
""",
        good="""\
import torch.nn.functional as F


def step(logits, y):
    return F.cross_entropy(logits, y)
""",
        mends=True,
        words=(FRAMEWORKS, last_names(*ONE_HOT), last_names(*INDEX_LOSSES)),
        check=needless_one_hot,
    ),
)
