"""So many classes that their logits, or the work for them, are the cost of a step."""

from __future__ import annotations

from .. import cost
from ..recipe import Array, Avoid, Call, Leaf, none, recipe
from . import arrays
from .exclusive import COLD, NO_GRADIENT, SQUARED, TWICE

_STORED = "Stores all logits."
_NO_LISTS = "It takes distributions [N, C] only."
_NO_SAMPLED = "No sampled losses."

_LINEAR = recipe(
    "the output layer fused with the loss",
    xent="xent.linear_softmax_cross_entropy(inputs, weight, labels, bias=bias)",
    torch=Call(
        """
            F.linear_cross_entropy(
                inputs, weight, labels, linear_bias=bias,
                options=torch.nn.LinearCrossEntropyOptions())
        """,
        "In chunks only with options; torch 2.13.",
    ),
    tensorflow=Call(
        """
            tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels, tf.matmul(inputs, weight, transpose_b=True) + bias))
        """,
        _STORED,
    ),
    keras=Call(
        """
            keras.losses.SparseCategoricalCrossentropy(from_logits=True)(
                labels, keras.ops.matmul(inputs, keras.ops.transpose(weight)) + bias)
        """,
        _STORED,
    ),
    optax=Call(
        """
            optax.softmax_cross_entropy_with_integer_labels(
                inputs @ weight.T + bias, labels).mean()
        """,
        _STORED,
    ),
)
_EXACT = (
    "It is the exact loss with its exact gradient, made in blocks of logits that are dropped: only the memory goes."
)
_DENSE = Avoid(
    "the projection and the loss apart", "logits, log-probabilities and gradient exist at once, 3·N·C numbers"
)
_EARLY = Avoid("a sampled loss", "it is biased, and needless while a step can afford all classes")
LINEAR = Leaf(
    title="One of many classes, logits that do not fit",
    loss="linear_softmax_cross_entropy",
    arrays={
        "inputs": arrays.INPUTS,
        "weight": arrays.WEIGHT,
        "bias": arrays.BIAS,
        "labels": arrays.INDICES,
    },
    recipe=_LINEAR,
    why=(_EXACT, "memory_budget= says how many bytes of logits may exist at a time."),
    avoid=(_DENSE, _EARLY, TWICE),
    cost=cost.linear,
)

_TOP = recipe(
    "the k best classes of each label",
    xent="""
        xent.linear_softmax_cross_entropy(
            inputs, weight, xent.TopK(top_classes, top_masses))
    """,
    torch=Call("F.cross_entropy(inputs @ weight.T, labels)", _STORED + " " + _NO_LISTS),
    tensorflow=Call(
        """
            tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(
                labels, tf.matmul(inputs, weight, transpose_b=True)))
        """,
        _STORED + " " + _NO_LISTS,
    ),
    keras=Call(
        """
            keras.losses.CategoricalCrossentropy(from_logits=True)(
                labels, keras.ops.matmul(inputs, keras.ops.transpose(weight)))
        """,
        _STORED + " " + _NO_LISTS,
    ),
    optax=Call("optax.softmax_cross_entropy(inputs @ weight.T, labels).mean()", _STORED + " " + _NO_LISTS),
)
SOFT_LARGE = Leaf(
    title="Distributions over many classes, logits that do not fit",
    loss="linear_softmax_cross_entropy",
    arrays={
        "inputs": arrays.INPUTS,
        "weight": arrays.WEIGHT,
        "top_classes": arrays.TOP_CLASSES,
        "top_masses": arrays.TOP_MASSES,
        "labels": Array("top_dense", ("N", "C"), "the same labels with a number for every class"),
    },
    recipe=_TOP,
    why=(
        _EXACT,
        "Labels with a number for every class would take as much memory as the logits: keep the k largest, and divide "
        "by their sum.",
    ),
    avoid=(
        _DENSE,
        Avoid("k masses that sum to less than 1", "the missing mass counts for no class; divide by the sum"),
    ),
    cost=cost.linear,
)

_TEACHER = recipe(
    "the teacher's k best classes at temperature T",
    xent="""
        T**2 * xent.linear_softmax_cross_entropy(
            inputs, weight, xent.TopK(top_classes, top_masses), temperature=T)
    """,
    torch=Call("T**2 * F.cross_entropy(inputs @ weight.T / T, labels)", _STORED + " " + _NO_LISTS),
    tensorflow=Call(
        """
            T**2 * tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(
                labels, tf.matmul(inputs, weight, transpose_b=True) / T))
        """,
        _STORED + " " + _NO_LISTS,
    ),
    keras=Call(
        """
            T**2 * keras.losses.CategoricalCrossentropy(from_logits=True)(
                labels, keras.ops.matmul(inputs, keras.ops.transpose(weight)) / T)
        """,
        _STORED + " " + _NO_LISTS,
    ),
    optax=Call(
        """
            T**2 * optax.softmax_cross_entropy(
                inputs @ weight.T / T, labels).mean()
        """,
        _STORED + " " + _NO_LISTS,
    ),
)
DISTILLATION_LARGE = Leaf(
    title="Distillation, logits that do not fit",
    loss="linear_softmax_cross_entropy",
    arrays={
        "inputs": arrays.INPUTS,
        "weight": arrays.WEIGHT,
        "top_classes": arrays.TOP_CLASSES,
        "top_masses": Array("top_masses", ("N", "k"), "softmax(teacher_logits / T) there, divided by the sum of the k"),
        "labels": Array("top_dense", ("N", "C"), "the same labels with a number for every class"),
        "T": arrays.TEMPERATURE,
    },
    recipe=_TEACHER,
    why=(
        _EXACT,
        "The teacher's logits would take as much memory as the student's: keep the k best of each row, batch by batch. "
        "What the other classes had is lost; for all of it make batches that fit: softmax(teacher_logits / T), floats "
        "[N, C], goes in as labels, too.",
        SQUARED,
    ),
    avoid=(_DENSE, COLD, NO_GRADIENT),
    cost=cost.linear,
)

_SAMPLED = recipe(
    "softmax over a sample",
    xent="""
        xent.sampled_softmax_loss(
            inputs, weight, labels, bias=bias, candidates=candidates)
    """,
    torch=none(_NO_SAMPLED + " nn.AdaptiveLogSoftmaxWithLoss is another model."),
    tensorflow="""
        tf.reduce_mean(tf.nn.sampled_softmax_loss(
            weight, bias, labels[:, None], inputs, num_sampled=len(candidates[0]),
            num_classes=weight.shape[0], sampled_values=candidates))
    """,
    keras=none(_NO_SAMPLED),
    optax=none(_NO_SAMPLED),
)
_MANY = {
    "inputs": arrays.INPUTS,
    "weight": arrays.WEIGHT,
    "bias": arrays.BIAS,
    "labels": arrays.INDICES,
    "candidates": arrays.CANDIDATES,
}
_COMPARE = Avoid(
    "its value as a measure", "it does not estimate the full loss; evaluate with xent.linear_softmax_cross_entropy"
)
_UNIFORM = Avoid(
    "a uniform sampler where frequencies differ", "it needs the largest sample; take LogUniform or Unigram"
)
SAMPLED = Leaf(
    title="One of millions of classes",
    loss="sampled_softmax_loss",
    arrays=_MANY,
    recipe=_SAMPLED,
    also=(_LINEAR,),
    why=(
        "The cost of a step depends on the sample alone, not on the number of classes.",
        "Its gradient is that of the full softmax but for a bias of order 1/S: the logits stay those of a softmax. NCE "
        "wants its logits normalised by themselves, negative sampling gives no probabilities, in-batch negatives need "
        "a model for the classes.",
        "If a step can afford all classes, the exact loss is the other call below.",
    ),
    avoid=(
        _COMPARE,
        _UNIFORM,
        Avoid("sampling without the log-q correction", "frequent classes are pushed down; xent has it built in"),
    ),
    cost=cost.sampled,
)

_NCE = recipe(
    "noise-contrastive estimation",
    xent="xent.nce_loss(inputs, weight, labels, bias=bias, candidates=candidates)",
    torch=none(_NO_SAMPLED),
    tensorflow="""
        tf.reduce_mean(tf.nn.nce_loss(
            weight, bias, labels[:, None], inputs, num_sampled=len(candidates[0]),
            num_classes=weight.shape[0], sampled_values=candidates))
    """,
    keras=none(_NO_SAMPLED),
    optax=none(_NO_SAMPLED),
)
SCORING = Leaf(
    title="Probabilities of single classes, without a softmax",
    loss="nce_loss",
    arrays=_MANY,
    recipe=_NCE,
    why=(
        "Its logits tend to log-probabilities: exp(z_k) is the probability of class k, without the other classes.",
        "Initialise the bias with -log C, so that the first probabilities are small enough.",
    ),
    avoid=(
        Avoid("sampled softmax", "its logits are right up to a constant of each row, which only a softmax gives"),
        Avoid("negative sampling", "its logits lack the noise's log q"),
        _COMPARE,
        _UNIFORM,
    ),
    cost=cost.sampled,
)

EMBEDDINGS = Leaf(
    title="Vectors of words, items or users",
    loss="negative_sampling_loss",
    arrays=_MANY,
    recipe=recipe(
        "negative sampling",
        xent="""
            xent.negative_sampling_loss(
                inputs, weight, labels, bias=bias, candidates=candidates)
        """,
        torch=none(_NO_SAMPLED),
        tensorflow=none("tf.nn.nce_loss has the log-q correction, which this loss leaves out."),
        keras=none(_NO_SAMPLED),
        optax=none(_NO_SAMPLED),
    ),
    also=(_SAMPLED,),
    why=(
        "The simplest of the sampled losses; where only nearness counts it is enough (word2vec, Mikolov et al. 2013, "
        "arXiv:1310.4546).",
        "word2vec's noise is xent.samplers.Unigram(counts, num_sampled=5, distortion=0.75).",
    ),
    avoid=(
        Avoid("its logits as probabilities", "they estimate log(p/q) up to a constant; take sampled softmax for those"),
        _COMPARE,
    ),
    cost=cost.sampled,
)

RETRIEVAL = Leaf(
    title="Queries and items, a model for each",
    loss="in_batch_softmax_loss",
    arrays={
        "queries": Array("unit_vectors", ("N", "D"), "a vector for each query, usually of length 1"),
        "items": Array("unit_vectors", ("N", "D"), "that of the item which belongs to it"),
        "log_q": Array("log_prior", ("N",), "log of how often each item is in a batch"),
    },
    recipe=recipe(
        "the other queries' items as negatives",
        xent="xent.in_batch_softmax_loss(queries, items, log_q=log_q, temperature=0.05)",
        torch="""
            F.cross_entropy(
                queries @ items.T / 0.05 - log_q, torch.arange(len(queries)))
        """,
        tensorflow="""
            tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.range(queries.shape[0]),
                tf.matmul(queries, items, transpose_b=True) / 0.05 - log_q))
        """,
        keras="""
            keras.losses.SparseCategoricalCrossentropy(from_logits=True)(
                keras.ops.arange(queries.shape[0]),
                keras.ops.matmul(queries, keras.ops.transpose(items)) / 0.05 - log_q)
        """,
        optax="""
            optax.softmax_cross_entropy_with_integer_labels(
                queries @ items.T / 0.05 - log_q, jnp.arange(len(queries))).mean()
        """,
    ),
    why=(
        "The batch's other items are the sample, and cost nothing more than a product of N × N.",
        "log_q takes back that frequent items are negatives too often (Yi et al. 2019); item_ids= leaves an item out "
        "that is the row's own under another position.",
    ),
    avoid=(
        Avoid("small batches", "N - 1 negatives are few; append others to items: the first N belong to the queries"),
        Avoid(
            "a temperature of 1 with vectors of length 1", "the logits then lie in [-1, 1] and cannot tell items apart"
        ),
        Avoid("the sum over a sharded batch as it is", "each shard then sees its own items only; gather them first"),
    ),
    cost=cost.square,
    smaller="Take fewer rows, or fewer items as negatives: xent.sampled_softmax_loss draws them.",
)

_SHIFTED = recipe(
    "the next token",
    xent="xent.softmax_cross_entropy(logits[:, :-1], tokens[:, 1:], ignore_index=-100)",
    torch=Call("F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())", "-100 is its default."),
    tensorflow="""
        tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.boolean_mask(tokens[:, 1:], tokens[:, 1:] != -100),
            tf.boolean_mask(logits[:, :-1], tokens[:, 1:] != -100)))
    """,
    keras="""
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=-100)(
            tokens[:, 1:], logits[:, :-1])
    """,
    optax="""
        optax.softmax_cross_entropy_with_integer_labels(
            logits[:, :-1], jnp.maximum(tokens[:, 1:], 0)
        ).mean(where=tokens[:, 1:] != -100)
    """,
)
_Z_LOSS = recipe(
    "a z-loss, which keeps logits from drifting in half precision",
    xent="""
        xent.softmax_cross_entropy(
            logits[:, :-1], tokens[:, 1:], ignore_index=-100, z_loss=1e-4)
    """,
    torch=none("Add 1e-4 * logits.logsumexp(-1)**2 of the kept rows."),
    tensorflow=none("Add it by hand."),
    keras=none("Add it by hand."),
    optax=none("Add it by hand."),
)
_SHIFT = Avoid(
    "labels without the shift, or shifted twice", "position t predicts token t + 1; many trainers shift already"
)
_MEANS = Avoid("the mean of microbatches' means", "they hold different numbers of tokens: pass normalizer=")
LANGUAGE_MODEL = Leaf(
    title="Language model, logits that fit",
    loss="softmax_cross_entropy",
    arrays={"logits": Array("scores", ("B", "T", "C"), "scores of each position"), "tokens": arrays.TOKENS},
    recipe=_SHIFTED,
    also=(_Z_LOSS,),
    why=(
        "The mean is over the tokens that are not padding; the exponential of the loss is the perplexity.",
        "xent reads the slices as they are, without a copy, and leaves out ignored rows.",
    ),
    avoid=(
        _SHIFT,
        _MEANS,
        Avoid("logits.float() before the loss", "xent accumulates half precision in float32 without the copy"),
        TWICE,
    ),
    cost=cost.matrix,
)
_LINEAR_SHIFTED = recipe(
    "the next token, the output layer fused with the loss",
    xent="""
        xent.linear_softmax_cross_entropy(
            hidden[:, :-1], weight, tokens[:, 1:], ignore_index=-100)
    """,
    torch=Call(
        """
            F.linear_cross_entropy(
                hidden[:, :-1].flatten(0, 1), weight, tokens[:, 1:].flatten(),
                ignore_index=-100, options=torch.nn.LinearCrossEntropyOptions())
        """,
        "In chunks only with options; torch 2.13.",
    ),
    tensorflow=Call(
        """
            tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.boolean_mask(tokens[:, 1:], tokens[:, 1:] != -100),
                tf.matmul(tf.boolean_mask(hidden[:, :-1], tokens[:, 1:] != -100),
                          weight, transpose_b=True)))
        """,
        _STORED,
    ),
    keras=Call(
        """
            keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, ignore_class=-100)(
                tokens[:, 1:],
                keras.ops.matmul(hidden[:, :-1], keras.ops.transpose(weight)))
        """,
        _STORED,
    ),
    optax=Call(
        """
            optax.softmax_cross_entropy_with_integer_labels(
                hidden[:, :-1] @ weight.T, jnp.maximum(tokens[:, 1:], 0)
            ).mean(where=tokens[:, 1:] != -100)
        """,
        _STORED,
    ),
)
LANGUAGE_MODEL_LARGE = Leaf(
    title="Language model, logits that do not fit",
    loss="linear_softmax_cross_entropy",
    arrays={"hidden": arrays.HIDDEN, "weight": arrays.WEIGHT, "tokens": arrays.TOKENS},
    recipe=_LINEAR_SHIFTED,
    why=(
        _EXACT,
        "The mean is over the tokens that are not padding, and padding costs nothing: its logits are not made.",
        "xent.selective_log_softmax gives the log-probabilities of chosen tokens in the same way; xent.LowRank takes "
        "an update of low rank (LoRA) of the output layer.",
    ),
    avoid=(_DENSE, _EARLY, _SHIFT, _MEANS),
    cost=cost.linear,
)
