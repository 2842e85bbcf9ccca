"""Exactly one class is right for each row."""

from __future__ import annotations

from .. import cost
from ..recipe import Array, Avoid, Call, Leaf, none, recipe
from . import arrays

TWICE = Avoid(
    "softmax in the model, too", "the loss has it; the softmax of a softmax is nearly uniform and learns slowly"
)
ONE_HOT = Avoid("one-hot labels", "the value is the same, and they take C times the memory of indices")
EPSILON = Avoid("log(probs + 1e-10)", "the loss ends at 23 nats, where its gradient is 1e10")
SIGMOID = Avoid("sigmoid losses", "they train C separate yes-or-no answers, which need not agree on one class")

_INDEX = recipe(
    "class indices",
    xent="xent.softmax_cross_entropy(logits, labels)",
    torch=Call("F.cross_entropy(logits, labels)", "torch.nn.CrossEntropyLoss()(logits, labels) is the same."),
    tensorflow="""
        tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    """,
    keras=Call(
        "keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)",
        "Without from_logits=True it takes probabilities.",
    ),
    optax="optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()",
)
_SMOOTHED = recipe(
    "label smoothing, against overconfidence",
    xent="xent.softmax_cross_entropy(logits, labels, label_smoothing=0.1)",
    torch="F.cross_entropy(logits, labels, label_smoothing=0.1)",
    tensorflow=none("Smooth one-hot labels by hand, or use Keras'."),
    keras="""
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)(
            keras.ops.one_hot(labels, logits.shape[-1]), logits)
    """,
    optax="""
        optax.softmax_cross_entropy(
            logits,
            optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), 0.1)
        ).mean()
    """,
)
INDEX = Leaf(
    title="One class a row, class indices",
    loss="softmax_cross_entropy",
    arrays={"logits": arrays.LOGITS, "labels": arrays.INDICES},
    recipe=_INDEX,
    also=(_SMOOTHED,),
    why=(
        "It is the negative log-likelihood of the right class, -log softmax(logits)[label]: its minimum is at the "
        "true probabilities.",
        "From logits it can neither overflow nor take the logarithm of 0.",
    ),
    avoid=(
        TWICE,
        ONE_HOT,
        SIGMOID,
        Avoid("F.nll_loss, or Keras' default", "they expect log-probabilities and probabilities, not logits"),
    ),
    cost=cost.matrix,
)

_ADJUSTED = recipe(
    "logit adjustment",
    xent="xent.softmax_cross_entropy(logits + log_prior, labels)",
    torch="F.cross_entropy(logits + log_prior, labels)",
    tensorflow="""
        tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels, logits + log_prior))
    """,
    keras="""
        keras.losses.SparseCategoricalCrossentropy(from_logits=True)(
            labels, logits + log_prior)
    """,
    optax="""
        optax.softmax_cross_entropy_with_integer_labels(
            logits + log_prior, labels).mean()
    """,
)
CLASS_WEIGHTED = recipe(
    "class weights, in place of the prior",
    xent="xent.softmax_cross_entropy(logits, labels, class_weight=class_weight)",
    torch="F.cross_entropy(logits, labels, weight=class_weight)",
    tensorflow="""
        tf.compat.v1.losses.sparse_softmax_cross_entropy(
            labels, logits, tf.gather(class_weight, labels),
            reduction="weighted_mean")
    """,
    keras=Call(
        """
            keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction="mean_with_sample_weight")(
                labels, logits, sample_weight=keras.ops.take(class_weight, labels))
        """,
        "fit(class_weight=…) divides by the number of rows instead.",
    ),
    optax="""
        (class_weight[labels]
         * optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        ).sum() / class_weight[labels].sum()
    """,
)
_FOCAL = recipe(
    "focal loss, where most rows are easy",
    xent="xent.focal_cross_entropy(logits, labels, gamma=2.0)",
    torch=none("None over exclusive classes."),
    tensorflow=none("Use Keras'."),
    keras="""
        keras.losses.CategoricalFocalCrossentropy(
            alpha=1.0, gamma=2.0, from_logits=True)(
            keras.ops.one_hot(labels, logits.shape[-1]), logits)
    """,
    optax=none("None over exclusive classes; optax.sigmoid_focal_loss is for labels of yes or no."),
)
IMBALANCED = Leaf(
    title="One class a row, some classes very rare",
    loss="softmax_cross_entropy",
    arrays={
        "logits": arrays.LOGITS,
        "labels": arrays.INDICES,
        "log_prior": arrays.LOG_PRIOR,
        "class_weight": arrays.CLASS_WEIGHT,
    },
    recipe=_ADJUSTED,
    also=(CLASS_WEIGHTED, _FOCAL),
    why=(
        "The prior goes into the training loss only; at prediction use the logits without it. That is right for the "
        "balanced error, the mean of the classes' error rates (Menon et al. 2021, arXiv:2007.07314).",
        "If you want calibrated probabilities rather than recall of rare classes, leave the prior out, train the plain "
        "loss, and move the decision threshold.",
        "Initialise the bias of the output layer with log_prior if you train without the adjustment: the first steps "
        "are then not spent on learning the frequencies.",
    ),
    avoid=(
        Avoid("class weights together with oversampling", "the correction counts twice"),
        Avoid("accuracy as the measure", "always predicting the frequent class looks good by it"),
        Avoid("weights of 1 / count as they are", "a class of few rows then rules the gradient; bound them"),
        TWICE,
    ),
    cost=cost.matrix,
)

_SOFT = recipe(
    "distributions as labels",
    xent="xent.softmax_cross_entropy(logits, labels)",
    torch="F.cross_entropy(logits, labels)",
    tensorflow="tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels, logits))",
    keras="keras.losses.CategoricalCrossentropy(from_logits=True)(labels, logits)",
    optax="optax.softmax_cross_entropy(logits, labels).mean()",
)
SOFT = Leaf(
    title="One class a row, distributions as labels",
    loss="softmax_cross_entropy",
    arrays={"logits": arrays.LOGITS, "labels": arrays.DISTRIBUTIONS},
    recipe=_SOFT,
    why=(
        "The same function takes them: floats of the logits' shape are distributions, integers are indices.",
        "Its gradient is that of the Kullback–Leibler divergence; the values differ by the entropy of the labels, so "
        "the best possible loss is that entropy, not 0.",
        "For a teacher's logits at a temperature, --task distillation says more.",
    ),
    avoid=(
        TWICE,
        Avoid("argmax of the labels", "it throws away what they say of the other classes"),
        Avoid('F.kl_div with its default reduction="mean"', "it divides by the classes as well"),
        Avoid("rows that do not sum to 1", "then labels say how much a row counts; TensorFlow's gradient ignores it"),
    ),
    cost=cost.distributions,
)

_TEMPERED = recipe(
    "a teacher's distribution at temperature T",
    xent="""
        T**2 * xent.softmax_cross_entropy(
            logits, xent.softmax(teacher_logits / T), temperature=T)
    """,
    torch="T**2 * F.cross_entropy(logits / T, F.softmax(teacher_logits / T, -1))",
    tensorflow="""
        T**2 * tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(
            tf.nn.softmax(teacher_logits / T), logits / T))
    """,
    keras="""
        T**2 * keras.losses.CategoricalCrossentropy(from_logits=True)(
            keras.ops.softmax(teacher_logits / T), logits / T)
    """,
    optax="""
        T**2 * optax.softmax_cross_entropy(
            logits / T, jax.nn.softmax(teacher_logits / T)).mean()
    """,
)
_DIVERGENCE = recipe(
    "the same gradient as a divergence, which is 0 at best",
    xent="""
        T**2 * xent.kl_divergence(
            xent.log_softmax(logits / T), xent.log_softmax(teacher_logits / T),
            log_predictions=True, log_targets=True)
    """,
    torch="""
        T**2 * F.kl_div(
            F.log_softmax(logits / T, -1), F.log_softmax(teacher_logits / T, -1),
            reduction="batchmean", log_target=True)
    """,
    tensorflow=none("Use Keras'."),
    keras=Call(
        """
            T**2 * keras.losses.KLDivergence()(
                keras.ops.softmax(teacher_logits / T), keras.ops.softmax(logits / T))
        """,
        "It clips probabilities at 1e-7.",
    ),
    optax="""
        T**2 * optax.losses.kl_divergence_with_log_targets(
            jax.nn.log_softmax(logits / T), jax.nn.log_softmax(teacher_logits / T)
        ).mean()
    """,
)
SQUARED = (
    "At temperature T the gradient shrinks with 1/T²; the factor T² takes that back, so that T can be changed without "
    "changing the balance with the loss on the labels (Hinton et al. 2015, arXiv:1503.02531)."
)
COLD = Avoid("a temperature on one side only", "the student then learns another distribution")
NO_GRADIENT = Avoid("a gradient to the teacher", "it would learn to be easy to imitate")
DISTILLATION = Leaf(
    title="Distillation",
    loss="softmax_cross_entropy",
    arrays={
        "logits": arrays.LOGITS,
        "teacher_logits": Array(
            "scores", ("N", "C"), "those of the teacher, without a gradient (detach, stop_gradient)"
        ),
        "T": arrays.TEMPERATURE,
    },
    recipe=_TEMPERED,
    also=(_DIVERGENCE,),
    why=(
        SQUARED,
        "Add the loss on the true labels, weighted with 1 - a where this one has a: a = 0.5 to 0.9 is usual.",
        "A teacher stored as its k best classes a row goes in as xent.TopK(classes, masses).",
    ),
    avoid=(
        COLD,
        NO_GRADIENT,
        Avoid('F.kl_div with its default reduction="mean"', "it divides by the classes as well"),
    ),
    cost=cost.distributions,
)

_SEGMENTED = recipe(
    "pixels",
    xent="xent.softmax_cross_entropy(logits, labels, axis=1, ignore_index=255)",
    torch="F.cross_entropy(logits, labels, ignore_index=255)",
    tensorflow="""
        tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.boolean_mask(labels, labels != 255),
            tf.boolean_mask(logits_nhwc, labels != 255)))
    """,
    keras="""
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=255)(
            labels, logits_nhwc)
    """,
    optax="""
        optax.softmax_cross_entropy_with_integer_labels(
            logits_nhwc, jnp.where(labels == 255, 0, labels)
        ).mean(where=labels != 255)
    """,
)
_SEGMENTED_WEIGHTED = recipe(
    "class weights, for small objects",
    xent="""
        xent.softmax_cross_entropy(
            logits, labels, axis=1, ignore_index=255, class_weight=class_weight)
    """,
    torch="F.cross_entropy(logits, labels, ignore_index=255, weight=class_weight)",
    tensorflow=none("Weight the unreduced losses with tf.gather(class_weight, labels)."),
    keras=none("Pass sample_weight, 0 where the label is 255."),
    optax=none("Weight the unreduced losses with class_weight[labels]."),
)
SMALLER_IMAGES = "Take fewer images or smaller crops at a time, and add up gradients; or logits at a lower resolution."
SEGMENTATION = Leaf(
    title="Segmentation",
    loss="softmax_cross_entropy",
    arrays={
        "logits": arrays.IMAGE_LOGITS,
        "logits_nhwc": Array(
            "scores_last", ("N", "H", "W", "C"), "the same with the classes last, as the others have them"
        ),
        "labels": Array("void_index", ("N", "H", "W"), "the class of each pixel, 255 where there is none (void)"),
        "class_weight": arrays.CLASS_WEIGHT,
    },
    recipe=_SEGMENTED,
    also=(_SEGMENTED_WEIGHTED,),
    why=(
        "Each pixel is a row. xent takes the class axis where it is (axis=1 or the default, axis=-1): no transpose.",
        "Pixels without a class are left out of the sum and of its denominator.",
    ),
    avoid=(
        Avoid("logits.reshape(-1, C) with the classes on axis 1", "it mixes pixels with classes, without an error"),
        Avoid("void pixels as a class of their own", "the model would learn to predict them"),
        Avoid("one-hot masks", "they take C times the memory of indices"),
        TWICE,
    ),
    cost=cost.matrix,
    smaller=SMALLER_IMAGES,
)

_FROM_PROBS = recipe(
    "probabilities",
    xent="xent.cross_entropy_from_probs(probs, labels)",
    torch="F.nll_loss(probs.log(), labels)",
    tensorflow=none("Use Keras'."),
    keras=Call(
        "keras.losses.SparseCategoricalCrossentropy()(labels, probs)",
        "It clips probabilities at 1e-7: no loss exceeds 16.1, and the gradient ends there.",
    ),
    optax=Call("-jnp.log(jnp.take_along_axis(probs, labels[:, None], -1)).mean()", "No function of Optax."),
)
_REMOVE = (
    "If the model is yours, remove its softmax and use xent.softmax_cross_entropy: a float32 probability near 1 has "
    "lost the digits that the loss needs."
)
FROM_LOGITS = Avoid("losses from logits", "they would take the softmax of probabilities")
SMALLER_BATCHES = "Take fewer rows at a time, and add up gradients; from logits, xent makes them in pieces."
PROBABILITIES = Leaf(
    title="One class a row, only probabilities at hand",
    loss="cross_entropy_from_probs",
    arrays={
        "probs": arrays.PROBABILITIES,
        "labels": arrays.INDICES,
    },
    recipe=_FROM_PROBS,
    why=(
        "A probability of 0 gives a finite loss, and a gradient by which it can recover.",
        _REMOVE,
    ),
    avoid=(
        FROM_LOGITS,
        EPSILON,
    ),
    cost=cost.matrix,
    smaller=SMALLER_BATCHES,
)

_SOFT_FROM_PROBS = recipe(
    "probabilities, distributions as labels",
    xent="xent.cross_entropy_from_probs(probs, labels)",
    torch=Call("-torch.xlogy(labels, probs).sum(-1).mean()", "F.nll_loss takes indices only."),
    tensorflow=Call("-tf.reduce_mean(tf.reduce_sum(tf.math.xlogy(labels, probs), -1))", "As its formula."),
    keras=Call("keras.losses.CategoricalCrossentropy()(labels, probs)", "It clips probabilities at 1e-7."),
    optax=Call("-jax.scipy.special.xlogy(labels, probs).sum(-1).mean()", "No function of Optax."),
)
SOFT_PROBABILITIES = Leaf(
    title="Distributions as labels, only probabilities at hand",
    loss="cross_entropy_from_probs",
    arrays={"probs": arrays.PROBABILITIES, "labels": arrays.DISTRIBUTIONS},
    recipe=_SOFT_FROM_PROBS,
    why=(
        "The same function takes them: floats of the shape of the probabilities are distributions, integers are "
        "indices.",
        "A probability of 0 gives a finite loss, and a gradient by which it can recover.",
        _REMOVE,
    ),
    avoid=(
        FROM_LOGITS,
        Avoid("labels * log(probs)", "it is NaN where both are 0, which xlogy is not"),
        EPSILON,
    ),
    cost=cost.distributions,
    smaller=SMALLER_BATCHES,
)
