"""Each label is a yes or no of its own: binary and multi-label problems."""

from __future__ import annotations

from .. import cost
from ..recipe import Array, Avoid, Call, Leaf, none, recipe
from . import arrays
from .exclusive import EPSILON, SMALLER_BATCHES, SMALLER_IMAGES

TWICE = Avoid("sigmoid in the model, too", "the loss has it; sigmoids of sigmoids lie between 0.5 and 0.73")
BCE = Avoid(
    "F.binary_cross_entropy after a sigmoid",
    "from a score of 18 a float32 sigmoid is exactly 1, and the loss is cut off",
)
ONE_SCORE = Avoid("softmax over one score", "it is always 1, and the loss always 0")
COMPETE = Avoid("softmax losses", "the classes would compete, and two right ones hold at most 0.5 each")

_BINARY = recipe(
    "yes or no",
    xent="xent.sigmoid_cross_entropy(logits, labels)",
    torch=Call(
        "F.binary_cross_entropy_with_logits(logits, labels)",
        "torch.nn.BCEWithLogitsLoss()(logits, labels) is the same.",
    ),
    tensorflow="tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))",
    keras=Call(
        "keras.losses.BinaryCrossentropy(from_logits=True)(labels, logits)",
        "Without from_logits=True it takes probabilities.",
    ),
    optax="optax.sigmoid_binary_cross_entropy(logits, labels).mean()",
)
BINARY = Leaf(
    title="Yes or no",
    loss="sigmoid_cross_entropy",
    arrays={"logits": arrays.ONE_LOGIT, "labels": arrays.YES_OR_NO},
    recipe=_BINARY,
    why=(
        "One score an example is enough: sigmoid(z) is the softmax of (0, z), so two scores would only add a number "
        "that cancels.",
        "Labels may be soft, any number from 0 to 1.",
    ),
    avoid=(
        TWICE,
        BCE,
        ONE_SCORE,
        Avoid("the squared error of a sigmoid", "its gradient vanishes where the prediction is wrong and sure"),
    ),
    cost=cost.column,
)

_POSITIVE = recipe(
    "positives weighted",
    xent="xent.sigmoid_cross_entropy(logits, labels, pos_weight=pos_weight)",
    torch=Call(
        """
            F.binary_cross_entropy_with_logits(
                logits, labels, pos_weight=torch.as_tensor(pos_weight))
        """,
        "pos_weight is a tensor.",
    ),
    tensorflow="""
        tf.reduce_mean(
            tf.nn.weighted_cross_entropy_with_logits(labels, logits, pos_weight))
    """,
    keras=Call(
        """
            keras.ops.mean(
                (1 + (pos_weight - 1) * labels) * keras.losses.binary_crossentropy(
                    labels[..., None], logits[..., None], from_logits=True))
        """,
        "For labels of 0 and 1; Keras has no pos_weight.",
    ),
    optax=Call(
        """
            ((1 + (pos_weight - 1) * labels)
             * optax.sigmoid_binary_cross_entropy(logits, labels)).mean()
        """,
        "For labels of 0 and 1; Optax has no pos_weight.",
    ),
)
_FOCAL = recipe(
    "focal loss, where most examples are easy negatives",
    xent="xent.sigmoid_focal_cross_entropy(logits, labels, alpha=0.25, gamma=2.0)",
    torch=none("torchvision.ops.sigmoid_focal_loss has it."),
    tensorflow=none("Use Keras'."),
    keras="""
        keras.losses.BinaryFocalCrossentropy(
            apply_class_balancing=True, alpha=0.25, gamma=2.0, from_logits=True)(
            labels, logits)
    """,
    optax="optax.sigmoid_focal_loss(logits, labels, alpha=0.25, gamma=2.0).mean()",
)
_RARE = (
    "pos_weight above 1 raises recall, below 1 precision; it counts in the sum, not in the denominator.",
    "Probabilities are then too high by its factor in the odds: subtract log(pos_weight) from the logits to have "
    "calibrated ones.",
    "Initialise the bias of the output layer with log(positives / negatives): the first loss is then that of the "
    "frequencies, and no step is spent on learning them.",
)
_RARE_AVOID = (
    Avoid("positives / negatives for pos_weight", "it is the inverse, and makes rare positives rarer"),
    Avoid("pos_weight together with oversampling", "the correction counts twice"),
    TWICE,
    BCE,
)
BINARY_IMBALANCED = Leaf(
    title="Yes or no, one of them very rare",
    loss="sigmoid_cross_entropy",
    arrays={"logits": arrays.ONE_LOGIT, "labels": arrays.YES_OR_NO, "pos_weight": arrays.POS_WEIGHT},
    recipe=_POSITIVE,
    also=(_FOCAL,),
    why=_RARE,
    avoid=_RARE_AVOID,
    cost=cost.column,
)

_SIGNED = recipe(
    "labels of -1 and 1",
    xent="xent.logistic_loss(scores, signs)",
    torch=Call("F.soft_margin_loss(scores, signs)", "In float32 it overflows where sign · score is below -88."),
    tensorflow=Call("tf.reduce_mean(tf.nn.softplus(-signs * scores))", "As its formula; no function of its own."),
    keras=Call("keras.ops.mean(keras.ops.softplus(-signs * scores))", "As its formula; no function of its own."),
    optax=Call("jax.nn.softplus(-signs * scores).mean()", "As its formula; no function of its own."),
)
SIGNED = Leaf(
    title="Yes or no, labels of -1 and 1",
    loss="logistic_loss",
    arrays={
        "scores": Array("scores", ("N",), "one score an example"),
        "signs": Array("signs", ("N",), "-1 or 1, floats"),
    },
    recipe=_SIGNED,
    why=(
        "log(1 + exp(-y·s)) is sigmoid cross-entropy with labels (y + 1) / 2: the same value and gradient.",
        "The sign of the score is the prediction, and sigmoid(s) its probability.",
    ),
    avoid=(
        Avoid("sigmoid losses with labels of -1", "they take labels from 0 to 1; the loss of -1 has no lower bound"),
        Avoid("labels of 0 and 1 here", "a label of 0 gives the constant log 2 and no gradient; xent refuses it"),
    ),
    cost=cost.column,
)

SEVERAL = Leaf(
    title="Several classes may be right",
    loss="sigmoid_cross_entropy",
    arrays={"logits": arrays.LOGITS, "labels": arrays.MULTI_HOT},
    recipe=_BINARY,
    why=(
        "Each class is a yes or no of its own: C sigmoids, which need not sum to 1.",
        "The mean is over all N·C numbers: with many classes raise the learning rate, or use reduction='sum' and "
        "divide by N.",
    ),
    avoid=(
        COMPETE,
        TWICE,
        BCE,
        Avoid("-sum(labels * log(sigmoid(logits)))", "it never says no: all classes go to 1"),
    ),
    cost=cost.matrix,
)

_ASYMMETRIC = recipe(
    "asymmetric focal loss: easy negatives count for nothing",
    xent="xent.asymmetric_sigmoid_cross_entropy(logits, labels)",
    torch=none("Published code exists (arXiv:2009.14119)."),
    tensorflow=none("None."),
    keras=none("None."),
    optax=none("None."),
)
SEVERAL_IMBALANCED = Leaf(
    title="Several classes may be right, and each seldom is",
    loss="sigmoid_cross_entropy",
    arrays={"logits": arrays.LOGITS, "labels": arrays.MULTI_HOT, "pos_weight": arrays.POS_WEIGHTS},
    recipe=_POSITIVE,
    also=(_ASYMMETRIC, _FOCAL),
    why=_RARE,
    avoid=(
        *_RARE_AVOID,
        COMPETE,
    ),
    cost=cost.matrix,
)

_MASK = recipe(
    "a mask of yes or no",
    xent="xent.sigmoid_cross_entropy(logits[:, 0], labels, ignore_index=255)",
    torch="""
        F.binary_cross_entropy_with_logits(
            logits[:, 0][labels != 255], labels[labels != 255])
    """,
    tensorflow="""
        tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(
            tf.boolean_mask(labels, labels != 255),
            tf.boolean_mask(logits_nhwc[..., 0], labels != 255)))
    """,
    keras=Call(
        """
            keras.losses.BinaryCrossentropy(
                from_logits=True, reduction="mean_with_sample_weight")(
                labels[..., None], logits_nhwc, sample_weight=labels != 255)
        """,
        "ignore_class is for softmax only.",
    ),
    optax="""
        optax.sigmoid_binary_cross_entropy(
            logits_nhwc[..., 0], labels).mean(where=labels != 255)
    """,
)
SEGMENTATION_BINARY = Leaf(
    title="Segmentation, one mask",
    loss="sigmoid_cross_entropy",
    arrays={
        "logits": Array("scores", ("N", "1", "H", "W"), "one score a pixel, as PyTorch has it"),
        "logits_nhwc": Array("scores_last", ("N", "H", "W", "1"), "the same with the channel last, as others have it"),
        "labels": Array(
            "void_binary", ("N", "H", "W"), "0 or 1 for each pixel, floats; 255 where there is none (void)"
        ),
    },
    recipe=_MASK,
    why=(
        "Each pixel is a yes or no of one score: its probability is the sigmoid.",
        "Pixels without a label are left out of the sum and of its denominator.",
        "For small objects add pos_weight=, background pixels to object pixels, or its square root to be gentle.",
    ),
    avoid=(
        ONE_SCORE,
        Avoid("void pixels as background", "the model would learn to predict it there"),
        TWICE,
        BCE,
    ),
    cost=cost.column,
    smaller=SMALLER_IMAGES,
)
SEGMENTATION_SEVERAL = Leaf(
    title="Segmentation, masks that overlap",
    loss="sigmoid_cross_entropy",
    arrays={
        "logits": arrays.IMAGE_LOGITS,
        "labels": Array("binary", ("N", "C", "H", "W"), "a mask of 0 and 1 for each class, floats of the same shape"),
    },
    recipe=_BINARY,
    why=(
        "Each class has a mask of its own, a yes or no at each pixel: C sigmoids, which need not sum to 1.",
        "Nothing goes along the class axis: it may lie anywhere, in logits and masks alike. The mean is over all "
        "N·C·H·W numbers.",
    ),
    avoid=(
        COMPETE,
        Avoid("an index for each pixel", "it holds one class only"),
        TWICE,
        BCE,
    ),
    cost=cost.matrix,
    smaller=SMALLER_IMAGES,
)

_STORED = "Stores logits and labels [N, C]."
_EXTREME = recipe(
    "lists of positive classes",
    xent="xent.linear_sigmoid_cross_entropy(inputs, weight, xent.Positives(positives))",
    torch=Call("F.binary_cross_entropy_with_logits(inputs @ weight.T, multi_hot)", _STORED),
    tensorflow=Call(
        """
            tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(
                multi_hot, tf.matmul(inputs, weight, transpose_b=True)))
        """,
        _STORED,
    ),
    keras=Call(
        """
            keras.losses.BinaryCrossentropy(from_logits=True)(
                multi_hot, keras.ops.matmul(inputs, keras.ops.transpose(weight)))
        """,
        _STORED,
    ),
    optax=Call("optax.sigmoid_binary_cross_entropy(inputs @ weight.T, multi_hot).mean()", _STORED),
)
EXTREME = Leaf(
    title="Several of very many classes may be right",
    loss="linear_sigmoid_cross_entropy",
    arrays={
        "inputs": arrays.INPUTS,
        "weight": arrays.WEIGHT,
        "positives": arrays.POSITIVES,
        "multi_hot": Array("multi_hot", ("N", "C"), "the same labels as 0 and 1"),
    },
    recipe=_EXTREME,
    why=(
        "Neither the logits [N, C] nor a label matrix ever exists: the labels are lists, and the projection is fused "
        "with the loss.",
        "It is the exact loss, no sample of it.",
        "Logits that you have already go into xent.sigmoid_cross_entropy(logits, xent.Positives(positives)).",
    ),
    avoid=(
        Avoid("a dense label matrix", "nearly all of it is 0, and it takes as much memory as the logits"),
        Avoid("softmax losses", "the classes would compete for a mass of 1"),
    ),
    cost=cost.linear,
)

_FROM_PROBS = recipe(
    "probabilities",
    xent="xent.binary_cross_entropy_from_probs(probs, labels)",
    torch=Call("F.binary_cross_entropy(probs, labels)", "It cuts the logarithm off at -100."),
    tensorflow=none("Use Keras'."),
    keras=Call("keras.losses.BinaryCrossentropy()(labels, probs)", "It clips probabilities at 1e-7."),
    optax=none("Take the logarithms yourself, or keep the logits."),
)
BINARY_PROBABILITIES = Leaf(
    title="Yes or no, only probabilities at hand",
    loss="binary_cross_entropy_from_probs",
    arrays={
        "probs": Array("probability", ("N",), "the probability of a yes; [N, C] for several labels"),
        "labels": Array("binary", ("N",), "0 or 1, floats of the same shape"),
    },
    recipe=_FROM_PROBS,
    why=(
        "A probability of 0 or 1 gives a finite loss, and a gradient by which it can recover.",
        "If the model is yours, remove its sigmoid and use xent.sigmoid_cross_entropy, which is exact.",
    ),
    avoid=(
        Avoid("losses from logits", "they would take the sigmoid of probabilities, all between 0.5 and 0.73"),
        EPSILON,
    ),
    cost=cost.matrix,
    smaller=SMALLER_BATCHES,
)
