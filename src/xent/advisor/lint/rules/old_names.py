"""L10 to L14: arguments, functions and orders of arguments of earlier versions."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from ..rule import Edit, Problem, Rule
from ..source import Source, arguments, is_word
from ..vocabulary import LOSS_FUNCTIONS, LOSS_NAMES

REDUCED = frozenset(
    f"torch.{name}"
    for name in [
        "BCELoss",
        "BCEWithLogitsLoss",
        "CosineEmbeddingLoss",
        "CrossEntropyLoss",
        "HingeEmbeddingLoss",
        "KLDivLoss",
        "L1Loss",
        "MSELoss",
        "MarginRankingLoss",
        "MultiLabelMarginLoss",
        "MultiLabelSoftMarginLoss",
        "MultiMarginLoss",
        "NLLLoss",
        "NLLLoss2d",
        "PoissonNLLLoss",
        "SmoothL1Loss",
        "SoftMarginLoss",
        "TripletMarginLoss",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
        "cosine_embedding_loss",
        "cross_entropy",
        "hinge_embedding_loss",
        "kl_div",
        "l1_loss",
        "mse_loss",
        "margin_ranking_loss",
        "multilabel_margin_loss",
        "multilabel_soft_margin_loss",
        "multi_margin_loss",
        "nll_loss",
        "poisson_nll_loss",
        "smooth_l1_loss",
        "soft_margin_loss",
        "triplet_margin_loss",
    ]
)
V1 = "softmax_cross_entropy_with_logits"
TF_NN = ("tensorflow.nn.", "tf1.nn.")
CONTRIB = "tensorflow.contrib.losses."


def old_reduction(source: Source) -> Iterator[Problem]:
    """L10."""
    for call in source.calls:
        old = [a for a in call.args if a.keyword and a.keyword.value in ("size_average", "reduce")]
        if not old or source.name(call.func) not in REDUCED or all(_is_passed_on(arg) for arg in old):
            continue
        words = " and ".join(arg.keyword.value for arg in old if arg.keyword)
        given = {arg.keyword.value: arg.value for arg in old if arg.keyword}
        reduction = _reduction(given.get("size_average"), given.get("reduce"))
        named = arguments(call)
        edits: tuple[Edit, ...] = ()
        if reduction and named is not None and "reduction" not in named[1]:
            edits = (Edit(call, _with_reduction(source, call, old, reduction)),)
        fix = f'write reduction="{reduction}"' if reduction else 'write reduction="none", "sum" or "mean"'
        yield Problem(
            old[0], "warning", f"{words}: deprecated, and stronger than reduction= where both are given", fix, edits
        )


def contrib_losses(source: Source) -> Iterator[Problem]:
    """L11."""
    for node in source.nodes.attributes:
        name = source.name(node)
        if name.startswith(CONTRIB) and not isinstance(source.parents.get(node), cst.Attribute):
            short = name.removeprefix(CONTRIB)
            message = f"tf.contrib.losses.{short}: tf.contrib does not exist since TensorFlow 2"
            fix = f"use tf.compat.v1.losses.{short}, which takes the labels first, or xent.compat.tf.contrib.losses"
            yield Problem(node, "error", message, fix, _without_contrib(source, node, name))


def softmax_of_v1(source: Source) -> Iterator[Problem]:
    """L12."""
    for call in source.calls:
        name = source.name(call.func)
        if name == f"tensorflow.nn.{V1}_v2":
            named = arguments(call)
            message = f"tf.nn.{V1}_v2: its name is tf.nn.{V1} since TensorFlow 2"
            edits: tuple[Edit, ...] = ()
            if isinstance(call.func, cst.Attribute) and named is not None:
                edits = (Edit(call.func.attr, V1),)
                if "dim" in named[1] and (dim := named[1]["dim"].keyword):
                    edits = (*edits, Edit(dim, "axis"))
            yield Problem(call, "error", message, f"use tf.nn.{V1}", edits)
        elif name == f"tf1.nn.{V1}":
            message = f"{V1} of TensorFlow 1: deprecated, and no gradient goes to its labels"
            fix = f"use {V1}_v2 (tf.nn.{V1} in TensorFlow 2), with tf.stop_gradient round the labels"
            yield Problem(call, "warning", message, fix)


def targets(source: Source) -> Iterator[Problem]:
    """L13."""
    for call in source.calls:
        if source.name(call.func).startswith(TF_NN) and source.name(call.func).endswith("cross_entropy_with_logits"):
            for arg in call.args:
                if arg.keyword is not None and arg.keyword.value == "targets":
                    edit = Edit(arg.keyword, "labels")
                    yield Problem(arg, "error", "targets=: the argument's name is labels", "write labels=", (edit,))


def flipped(source: Source) -> Iterator[Problem]:
    """L14."""
    for call in source.calls:
        name = source.name(call.func)
        loss = LOSS_FUNCTIONS.get(name)
        named = arguments(call)
        if loss is None or named is None or loss.labels[0] != 0 or len(named[0]) < 2:
            continue
        first, second = named[0][0].value, named[0][1].value
        if _means(first, "logits", "y_pred") and _means(second, "labels", "label", "targets", "target", "y_true"):
            label, logit = loss.labels[1][0], loss.logits[1][0]
            message = f"{source.code(first)} where {name.rpartition('.')[2]} takes the labels: the order of tf.contrib"
            edits: tuple[Edit, ...] = (Edit(first, source.code(second)), Edit(second, source.code(first)))
            yield Problem(call, "error", message, f"pass {label} first, or both by name ({label}=, {logit}=)", edits)


def _reduction(average: cst.BaseExpression | None, reduce: cst.BaseExpression | None) -> str | None:
    """What torch makes of its old arguments, where they are literal."""
    values = []
    for given in (average, reduce):
        if given is None or is_word(given, "None") or is_word(given, "True"):
            values.append(True)
        elif is_word(given, "False"):
            values.append(False)
        else:
            return None
    return "none" if not values[1] else "mean" if values[0] else "sum"


def _is_passed_on(arg: cst.Arg) -> bool:
    """Whether a function hands its own argument of this name to torch's, where its callers decide, or the default."""
    return arg.keyword is not None and (is_word(arg.value, arg.keyword.value) or is_word(arg.value, "None"))


def _with_reduction(source: Source, call: cst.Call, old: list[cst.Arg], reduction: str) -> str:
    replacement = old[0].with_changes(keyword=cst.Name("reduction"), value=cst.SimpleString(f'"{reduction}"'))
    args = [replacement if arg is old[0] else arg for arg in call.args if arg is old[0] or arg not in old[1:]]
    if args[-1] is not call.args[-1]:
        args[-1] = args[-1].with_changes(
            comma=call.args[-1].comma, whitespace_after_arg=call.args[-1].whitespace_after_arg
        )
    return source.code(call.with_changes(args=args, lpar=[], rpar=[]))


def _without_contrib(source: Source, node: cst.Attribute, name: str) -> tuple[Edit, ...]:
    """The edit to TensorFlow 1's loss of today, for calls of two arguments: weights were broadcast otherwise."""
    call = source.parents.get(node)
    module = source.code(node.value)
    loss = LOSS_FUNCTIONS.get(name)
    if (
        loss is None
        or not isinstance(call, cst.Call)
        or call.func is not node
        or not module.endswith(".contrib.losses")
    ):
        return ()
    named = arguments(call)
    if named is None or len(call.args) != 2 or len(named[0]) == 1:
        return ()
    today = f"{module.removesuffix('.contrib.losses')}.compat.v1.losses.{node.attr.value}"
    edits: tuple[Edit, ...] = (Edit(node, today),)
    if named[0]:
        first, second = named[0][0].value, named[0][1].value
        edits = (*edits, Edit(first, source.code(second)), Edit(second, source.code(first)))
    return edits


def _means(node: cst.BaseExpression, *words: str) -> bool:
    return isinstance(node, cst.Name) and any(node.value == w or node.value.endswith(f"_{w}") for w in words)


RULES = (
    Rule(
        number="L10",
        summary="size_average= and reduce= of PyTorch's losses",
        why=(
            "Both are deprecated since PyTorch 0.4, warn at every call, and override reduction= where that is "
            "given, too."
        ),
        bad="""\
from torch import nn

criterion = nn.CrossEntropyLoss(size_average=False)
""",
        good="""\
from torch import nn

criterion = nn.CrossEntropyLoss(reduction="sum")
""",
        mends=True,
        words=(frozenset(("torch",)), frozenset(("size_average=", "reduce="))),
        check=old_reduction,
    ),
    Rule(
        number="L11",
        summary="tf.contrib.losses",
        why=(
            "TensorFlow 2 has no tf.contrib. The losses live on in tf.compat.v1.losses, with labels and logits in "
            "the other order, and in xent.compat.tf.contrib.losses in the old one. Calls with weights are left to "
            "you: the two broadcast them differently."
        ),
        bad="""\
import tensorflow as tf


def loss(logits, labels):
    return tf.contrib.losses.sparse_softmax_cross_entropy(logits, labels)
""",
        good="""\
import tensorflow as tf


def loss(logits, labels):
    return tf.compat.v1.losses.sparse_softmax_cross_entropy(labels, logits)
""",
        mends=True,
        words=(frozenset(("tensorflow",)), frozenset(("contrib",)), frozenset(("losses",))),
        check=contrib_losses,
    ),
    Rule(
        number="L12",
        summary="softmax_cross_entropy_with_logits of TensorFlow 1, and its _v2",
        why=(
            "TensorFlow 2 has one function, tf.nn.softmax_cross_entropy_with_logits, which was called _v2 before. "
            "The one that had this name in TensorFlow 1 is deprecated and gives its labels no gradient: under the "
            "new one a model that makes its own labels learns through them, unless they are in tf.stop_gradient."
        ),
        bad="""\
import tensorflow as tf


def loss(labels, logits):
    return tf.nn.softmax_cross_entropy_with_logits_v2(labels=labels, logits=logits, dim=1)
""",
        good="""\
import tensorflow as tf


def loss(labels, logits):
    return tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits, axis=1)
""",
        mends=True,
        words=(frozenset(("tensorflow",)), frozenset((f"{V1}()", f"{V1}_v2()"))),
        check=softmax_of_v1,
    ),
    Rule(
        number="L13",
        summary="targets= of TensorFlow's losses",
        why="The argument was renamed to labels; TensorFlow 2 does not know the old name.",
        bad="""\
import tensorflow as tf


def loss(labels, logits):
    return tf.nn.weighted_cross_entropy_with_logits(targets=labels, logits=logits, pos_weight=3.0)
""",
        good="""\
import tensorflow as tf


def loss(labels, logits):
    return tf.nn.weighted_cross_entropy_with_logits(labels=labels, logits=logits, pos_weight=3.0)
""",
        mends=True,
        words=(frozenset(("tensorflow",)), frozenset(("targets=",))),
        check=targets,
    ),
    Rule(
        number="L14",
        summary="logits and labels in the order of tf.contrib",
        why=(
            "tf.contrib's losses took (logits, labels); those of TensorFlow and Keras take (labels, logits). For "
            "dense labels nothing fails: the model is trained on the cross-entropy of its own softmaxed labels."
        ),
        bad="""\
import tensorflow as tf


def loss(logits, labels):
    return tf.nn.softmax_cross_entropy_with_logits(logits, labels)
""",
        good="""\
import tensorflow as tf


def loss(logits, labels):
    return tf.nn.softmax_cross_entropy_with_logits(labels, logits)
""",
        mends=True,
        words=(frozenset(("tensorflow", "keras", "tf_keras")), LOSS_NAMES),
        check=flipped,
    ),
)
