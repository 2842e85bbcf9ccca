"""The functions that the rules are about, under their canonical names: losses, activations, logarithms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["softmax", "log_softmax", "sigmoid", "log_sigmoid"]
Family = Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class Loss:
    """How a loss is called.

    Attributes:
        family: over exclusive classes (softmax) or single numbers (sigmoid).
        logits, labels: the position and the names of the two arguments; without a position, by name only.
        from_logits: what it takes: logits, probabilities, or (None) what its argument `from_logits` says.
    """

    family: Family
    logits: tuple[int | None, tuple[str, ...]]
    labels: tuple[int | None, tuple[str, ...]]
    from_logits: bool | None = True


def _torch(family: Family, from_logits: bool = True) -> Loss:
    return Loss(family, (0, ("input",)), (1, ("target",)), from_logits)


def _tf(family: Family, labels: str = "labels", position: int | None = 0) -> Loss:
    return Loss(family, (None if position is None else 1 - position, ("logits",)), (position, (labels,)))


def _keras(family: Family) -> Loss:
    return Loss(family, (1, ("y_pred", "output")), (0, ("y_true", "target")), None)


def _optax(family: Family, logits: str = "logits", labels: str = "labels") -> Loss:
    return Loss(family, (0, (logits,)), (1, (labels,)))


LOSS_FUNCTIONS: dict[str, Loss] = {
    "torch.cross_entropy": _torch("softmax"),
    "torch.binary_cross_entropy_with_logits": _torch("sigmoid"),
    "torch.multilabel_soft_margin_loss": _torch("sigmoid"),
    "torch.binary_cross_entropy": _torch("sigmoid", from_logits=False),
    "torchvision.ops.sigmoid_focal_loss": _optax("sigmoid", "inputs", "targets"),
    "optax.softmax_cross_entropy": _optax("softmax"),
    "optax.softmax_cross_entropy_with_integer_labels": _optax("softmax"),
    "optax.safe_softmax_cross_entropy": _optax("softmax"),
    "optax.poly_loss_cross_entropy": _optax("softmax"),
    "optax.sigmoid_binary_cross_entropy": _optax("sigmoid"),
    "optax.sigmoid_focal_loss": _optax("sigmoid"),
    "xent.softmax_cross_entropy": _optax("softmax"),
    "xent.focal_cross_entropy": _optax("softmax"),
    "xent.poly_cross_entropy": _optax("softmax"),
    "xent.sigmoid_cross_entropy": _optax("sigmoid"),
    "xent.sigmoid_focal_cross_entropy": _optax("sigmoid"),
    "xent.asymmetric_sigmoid_cross_entropy": _optax("sigmoid"),
    "tensorflow.nn.softmax_cross_entropy_with_logits": _tf("softmax"),
    "tensorflow.nn.softmax_cross_entropy_with_logits_v2": _tf("softmax"),
    "tensorflow.nn.sparse_softmax_cross_entropy_with_logits": _tf("softmax"),
    "tensorflow.nn.sigmoid_cross_entropy_with_logits": _tf("sigmoid"),
    "tensorflow.nn.weighted_cross_entropy_with_logits": _tf("sigmoid"),
    # TensorFlow 1 takes these by keyword only
    "tf1.nn.softmax_cross_entropy_with_logits": _tf("softmax", position=None),
    "tf1.nn.softmax_cross_entropy_with_logits_v2": _tf("softmax", position=None),
    "tf1.nn.sparse_softmax_cross_entropy_with_logits": _tf("softmax", position=None),
    "tf1.nn.sigmoid_cross_entropy_with_logits": _tf("sigmoid", position=None),
    "tf1.nn.weighted_cross_entropy_with_logits": _tf("sigmoid"),
    **{
        f"{package}.losses.{name}": loss
        for package in ("tensorflow", "tf1")
        for name, loss in (
            ("softmax_cross_entropy", _tf("softmax", "onehot_labels")),
            ("sparse_softmax_cross_entropy", _tf("softmax")),
            ("sigmoid_cross_entropy", _tf("sigmoid", "multi_class_labels")),
        )
    },
    "tensorflow.contrib.losses.softmax_cross_entropy": _optax("softmax", labels="onehot_labels"),
    "tensorflow.contrib.losses.sparse_softmax_cross_entropy": _optax("softmax"),
    "tensorflow.contrib.losses.sigmoid_cross_entropy": _optax("sigmoid", labels="multi_class_labels"),
    **{
        f"keras.{module}.{name}": _keras("sigmoid" if name.startswith("binary") else "softmax")
        for module in ("losses", "metrics", "backend", "ops")
        for name in ("categorical_crossentropy", "sparse_categorical_crossentropy", "binary_crossentropy")
    },
}

LOSS_CLASSES: dict[str, Loss] = {
    "torch.CrossEntropyLoss": _torch("softmax"),
    "torch.BCEWithLogitsLoss": _torch("sigmoid"),
    "torch.MultiLabelSoftMarginLoss": _torch("sigmoid"),
    "torch.BCELoss": _torch("sigmoid", from_logits=False),
    **{
        f"{package}.losses.{name}": _keras("sigmoid" if name.startswith("Binary") else "softmax")
        for package in ("keras", "tensorflow")
        for name in (
            "CategoricalCrossentropy",
            "SparseCategoricalCrossentropy",
            "BinaryCrossentropy",
            "CategoricalFocalCrossentropy",
            "BinaryFocalCrossentropy",
        )
    },
}

NAMED: dict[str, Kind] = {
    "softmax": "softmax",
    "log_softmax": "log_softmax",
    "sigmoid": "sigmoid",
    "log_sigmoid": "log_sigmoid",
}
ACTIVATIONS: dict[str, Kind] = {
    "torch.softmax": "softmax",
    "torch.log_softmax": "log_softmax",
    "torch.sigmoid": "sigmoid",
    "torch.expit": "sigmoid",
    "torch.logsigmoid": "log_sigmoid",
    "jax.nn.softmax": "softmax",
    "jax.nn.log_softmax": "log_softmax",
    "jax.nn.sigmoid": "sigmoid",
    "jax.nn.log_sigmoid": "log_sigmoid",
    "scipy.special.softmax": "softmax",
    "scipy.special.log_softmax": "log_softmax",
    "scipy.special.expit": "sigmoid",
    "scipy.special.log_expit": "log_sigmoid",
    "xent.softmax": "softmax",
    "xent.log_softmax": "log_softmax",
    "xent.sigmoid": "sigmoid",
    "xent.log_sigmoid": "log_sigmoid",
    **{
        f"{package}.{name}": kind
        for package in (
            "tensorflow",
            "tf1",
            "tensorflow.nn",
            "tf1.nn",
            "keras.activations",
            "keras.ops",
            "keras.backend",
        )
        for name, kind in NAMED.items()
    },
}
ACTIVATION_METHODS: dict[str, Kind] = {"softmax": "softmax", "log_softmax": "log_softmax", "sigmoid": "sigmoid"}
ACTIVATION_CLASSES: dict[str, Kind] = {
    "torch.Softmax": "softmax",
    "torch.LogSoftmax": "log_softmax",
    "torch.Sigmoid": "sigmoid",
    "torch.LogSigmoid": "log_sigmoid",
    "keras.layers.Softmax": "softmax",
}

# Packages that differentiate, so that what happens to a gradient matters
DIFFERENTIATED = ("torch", "tensorflow", "tf1", "jax", "keras", "xent")
LOGARITHMS = frozenset(
    f"{p}.log" for p in ("torch", "tensorflow", "tf1", "jax.numpy", "keras.ops", "keras.backend", "numpy")
)
CLIPS = frozenset(
    [
        "torch.clamp",
        "torch.clip",
        "tensorflow.clip_by_value",
        "tf1.clip_by_value",
        "jax.numpy.clip",
        "keras.ops.clip",
        "keras.backend.clip",
        "numpy.clip",
    ]
)
REDUCTIONS = frozenset(
    f"{package}.{name}"
    for package in ("torch", "tensorflow", "tf1", "jax.numpy", "keras.ops", "keras.backend", "numpy")
    for name in ("sum", "mean", "reduce_sum", "reduce_mean")
)
ONE_HOT = frozenset(
    [
        "torch.one_hot",
        "tensorflow.one_hot",
        "tf1.one_hot",
        "jax.nn.one_hot",
        "keras.utils.to_categorical",
        "keras.ops.one_hot",
        "keras.backend.one_hot",
    ]
)


def last_names(*names: str) -> frozenset[str]:
    """The last parts of canonical names, which any module that uses them has somewhere."""
    return frozenset(name.rpartition(".")[2] for name in names)


def calls(*names: str) -> frozenset[str]:
    """Functions under the last parts of their names, as a rule's words write calls."""
    return frozenset(f"{name}()" for name in last_names(*names))


FRAMEWORKS = frozenset(
    ("torch", "tensorflow", "tf_keras", "keras", "jax", "flax", "optax", "xent", "numpy", "torchvision")
)
SOFTMAX_NAMES, SIGMOID_NAMES = (
    frozenset({*(last_names(*(n for n, k in (ACTIVATIONS | ACTIVATION_CLASSES).items() if kind in k))), kind})
    for kind in ("softmax", "sigmoid")
)
LOSS_NAMES = last_names(*LOSS_FUNCTIONS, *LOSS_CLASSES)
