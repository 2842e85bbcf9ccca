"""Losses over a sample of the classes, for so many of them that no step can afford all logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .api import sigmoid_cross_entropy, softmax_cross_entropy
from .errors import type_error, value_error
from .frontends import frontend_for
from .frontends.sampled import Ranking, Reduced
from .kernels.reference import class_numbers, numbers
from .labels import TopK
from .losses.weights import finite_weights
from .options import check_reduction, positive_number
from .problem import check_sample_weight
from .sampling.arguments import flag, integer
from .sampling.sampler import Candidates, Sampler


def _source(sampler: Any, candidates: Any, weight: Any) -> Sampler | Candidates:
    """What the candidates come from: they themselves, or a sampler."""
    if (sampler is None) == (candidates is None):
        got = "neither" if sampler is None else "both"
        raise type_error("sampler", "a sampler or candidates, one of them", got, "Pass xent.samplers.LogUniform(…).")
    if candidates is not None:
        return candidates  # type: ignore[no-any-return]
    if not isinstance(sampler, Sampler):
        raise type_error("sampler", "one of xent.samplers", type(sampler).__name__, "Pass what you drew as candidates.")
    shape = getattr(weight, "shape", ()) or (len(weight),)
    if sampler.range_max > shape[0]:
        expected = f"a sampler of at most {shape[0]} classes, the lines of the weight"
        raise value_error("sampler", expected, f"range_max={sampler.range_max}", "Pass range_max=weight.shape[0].")
    return sampler


def _loss(
    reduced: Callable[..., Any],
    corrected: bool,
    inputs: Any,
    weight: Any,
    labels: Any,
    sampler: Any,
    candidates: Any,
    bias: Any,
    temperature: Any,
    remove_hits: Any,
    sample_weight: Any,
    reduction: str,
    normalizer: Any,
    sparse: Any,
    validate: Any,
    ranking: Ranking | None = None,
) -> Any:
    """A loss of the logits of true and sampled classes: `reduced` is `_softmax` or `_binary`."""
    whole = (reduction, normalizer) if reduced is _softmax and sample_weight is None else None
    return frontend_for(inputs, "inputs").sampled_loss(
        inputs,
        weight,
        labels,
        _source(sampler, candidates, weight),
        reduced=Reduced(lambda xp, found: reduced(xp, found, sample_weight, reduction, normalizer), whole),
        bias=bias,
        corrected=corrected,
        remove_hits=flag("remove_accidental_hits", remove_hits),
        temperature=positive_number("temperature", temperature),
        sparse=flag("sparse_gradient", sparse),
        validate=flag("validate", validate),
        ranking=ranking,
    )


def _softmax(xp: Any, found: Any, sample_weight: Any, reduction: str, normalizer: Any) -> Any:
    labels = found.zeros
    if found.true_classes != 1:
        indices = found.zeros[..., None] + numbers(xp, found.true_classes, found.logits)
        labels = TopK(indices, xp.ones_like(found.logits[..., : found.true_classes]) / found.true_classes)
    return softmax_cross_entropy(
        found.logits, labels, sample_weight=sample_weight, reduction=reduction, normalizer=normalizer
    )


def _binary(xp: Any, found: Any, sample_weight: Any, reduction: str, normalizer: Any) -> Any:
    """The sigmoid losses of each row added up; the true classes share a label of 1."""
    logits, dtype = found.logits, xp.dtype_name(found.logits)
    columns = class_numbers(xp, logits)
    share = xp.astype(columns < found.true_classes, dtype) / found.true_classes
    labels = xp.stop_gradient(xp.zeros_like(logits) + share)
    weight = None
    if sample_weight is not None:
        weight = xp.as_array("sample_weight", sample_weight, logits)
        check_sample_weight(xp.shape(weight), xp.shape(found.zeros))
        if xp.is_readable(weight):
            finite_weights("sample_weight", xp.numpy_of(weight))
        weight = weight[..., None]  # of all numbers of a row
    if check_reduction(reduction) == "mean" and normalizer is None:
        # the mean over rows; that of single numbers would divide by their number, too
        mass = xp.ones_like(logits[..., :1])
        normalizer = xp.stop_gradient(xp.sum(mass if weight is None else mass * xp.astype(weight, dtype)))
        if xp.is_readable(normalizer):
            normalizer = float(xp.numpy_of(normalizer))
            if normalizer == 0:
                reduction, normalizer = "sum", None  # of nothing
    loss = sigmoid_cross_entropy(logits, labels, sample_weight=weight, reduction=reduction, normalizer=normalizer)
    return xp.sum(loss, -1) if reduction == "none" else loss


def sampled_softmax_loss(
    inputs: Any,
    weight: Any,
    labels: Any,
    *,
    bias: Any = None,
    sampler: Any = None,
    candidates: Any = None,
    remove_accidental_hits: bool = True,
    temperature: float = 1.0,
    sample_weight: Any = None,
    reduction: str = "mean",
    normalizer: Any = None,
    sparse_gradient: bool = False,
    validate: bool = True,
) -> Any:
    """Softmax cross-entropy over the true classes and a sample of the others.

    With z the logits `(inputs·weightᵀ + bias)/temperature`, y the true classes, S the sampled ones and E the expected
    counts, the loss of a row is the cross-entropy of softmax over y ∪ S of `z_k - log E_k`. Its gradient is close to
    that of the loss over all classes, the closer the larger the sample; its value is not: evaluate with
    `linear_softmax_cross_entropy`. The cost does not depend on the number of classes, but for a dense gradient.

    Args:
        inputs: [..., D], float32, float64, bfloat16 or float16; the loss is computed in float32 at least.
        weight: [C, D], of the same dtype. `bias`: [C], or None.
        labels: integers, the shape of `inputs` without its last axis, or with T true classes in its place, which share
            the target.
        sampler: one of `xent.samplers`, which draws when the loss is called. `candidates`: instead, what its `sample`
            gave, or any (ids, expected counts of the true classes, of the sampled ones); ids [S], or [rows, S]; counts
            in the shape of the labels and of the ids.
            Inside jit and compiled programs, where labels have no values, only candidates serve.
        remove_accidental_hits: a sampled class that is a true one of the row does not count.
        temperature: a number that divides the logits, before the correction. One that is learned divides inputs and
            bias instead.
        sample_weight: one weight a row, or 1 in place of an axis. `reduction`, `normalizer`: as in
            `softmax_cross_entropy`.
        sparse_gradient: the gradients to weight and bias hold only the lines that were used: sparse tensors on PyTorch
            (for `torch.optim.SparseAdam`), `tf.IndexedSlices`, and `xent.SparseRows` from `xent.value_and_grad` on
            NumPy and JAX, there for an argument that goes into the loss as it came and into nothing else that is
            differentiated. `jax.grad` knows dense ones only.
        validate: False skips the check that labels lie in range; such rows then give NaN.

    Returns:
        A scalar, or one loss a row for reduction="none", in float32 (float64 for float64 inputs).

    Raises:
        IndexError: a class out of range. ValueError: shapes that do not belong together, counts that are not positive
        (a reserved id as a true class has log q = -inf). TypeError: dtypes, neither or both of sampler and candidates.
        In compiled code, which cannot raise, ids out of range and such counts make the loss of their rows NaN.

    Example:
        >>> import numpy as np, xent
        >>> inputs, weight = np.ones((2, 3)), np.eye(100, 3)
        >>> sampler = xent.samplers.LogUniform(range_max=100, num_sampled=10, seed=7)
        >>> loss = xent.sampled_softmax_loss(inputs, weight, np.array([1, 50]), sampler=sampler)
        >>> round(float(loss), 4)
        2.3984

    Source: Jean et al. 2015, On Using Very Large Target Vocabulary (arXiv:1412.2007); `tf.nn.sampled_softmax_loss`.
    """
    return _loss(
        _softmax,
        True,
        inputs,
        weight,
        labels,
        sampler,
        candidates,
        bias,
        temperature,
        remove_accidental_hits,
        sample_weight,
        reduction,
        normalizer,
        sparse_gradient,
        validate,
    )


def nce_loss(
    inputs: Any,
    weight: Any,
    labels: Any,
    *,
    bias: Any = None,
    sampler: Any = None,
    candidates: Any = None,
    remove_accidental_hits: bool = False,
    temperature: float = 1.0,
    sample_weight: Any = None,
    reduction: str = "mean",
    normalizer: Any = None,
    sparse_gradient: bool = False,
    validate: bool = True,
) -> Any:
    """Noise-contrastive estimation: sigmoid cross-entropy, for each row, of the true classes against sampled noise.

    The loss of a row is the sum of `sigmoid_cross_entropy(z_k - log E_k, t_k)` over the true and the sampled classes,
    with t = 1/T for the T true classes and 0 for the others. In the limit of many samples the logits become
    log-probabilities without a softmax that normalises them.

    Args:
        inputs, weight, labels, bias, sampler, candidates, temperature, sample_weight, reduction, normalizer,
        sparse_gradient, validate: as in `sampled_softmax_loss`.
        remove_accidental_hits: True makes it sampled logistic regression, where sampled true classes do not count.

    Returns:
        As `sampled_softmax_loss`.

    Raises:
        IndexError, ValueError, TypeError: as `sampled_softmax_loss`.

    Example:
        >>> import numpy as np, xent
        >>> sampler = xent.samplers.LogUniform(range_max=100, num_sampled=10, seed=7)
        >>> round(float(xent.nce_loss(np.ones((2, 3)), np.eye(100, 3), np.array([1, 50]), sampler=sampler)), 4)
        19.8168

    Source: Gutmann and Hyvärinen 2010; Mnih and Teh 2012 (arXiv:1206.6426); `tf.nn.nce_loss`.
    """
    return _loss(
        _binary,
        True,
        inputs,
        weight,
        labels,
        sampler,
        candidates,
        bias,
        temperature,
        remove_accidental_hits,
        sample_weight,
        reduction,
        normalizer,
        sparse_gradient,
        validate,
    )


def negative_sampling_loss(
    inputs: Any,
    weight: Any,
    labels: Any,
    *,
    bias: Any = None,
    sampler: Any = None,
    candidates: Any = None,
    remove_accidental_hits: bool = False,
    temperature: float = 1.0,
    sample_weight: Any = None,
    reduction: str = "mean",
    normalizer: Any = None,
    sparse_gradient: bool = False,
    validate: bool = True,
) -> Any:
    """Negative sampling of word2vec: as `nce_loss`, without the correction by the expected counts.

    The logits then estimate `log(p_k / q_k)` up to a constant: good vectors, and a language model once the log q of the
    noise is added back.

    Args:
        inputs, weight, labels, bias, sampler, candidates, remove_accidental_hits, temperature, sample_weight,
        reduction, normalizer, sparse_gradient, validate: as in `nce_loss`; the expected counts are not used.

    Returns:
        As `sampled_softmax_loss`.

    Raises:
        IndexError, ValueError, TypeError: as `sampled_softmax_loss`.

    Example:
        >>> import numpy as np, xent
        >>> sampler = xent.samplers.LogUniform(range_max=100, num_sampled=10, seed=7)
        >>> loss = xent.negative_sampling_loss(np.ones((2, 3)), np.eye(100, 3), np.array([1, 50]), sampler=sampler)
        >>> round(float(loss), 4)
        9.295

    Source: Mikolov et al. 2013 (arXiv:1310.4546).
    """
    return _loss(
        _binary,
        False,
        inputs,
        weight,
        labels,
        sampler,
        candidates,
        bias,
        temperature,
        remove_accidental_hits,
        sample_weight,
        reduction,
        normalizer,
        sparse_gradient,
        validate,
    )


def rank_sampled_softmax_loss(
    inputs: Any,
    weight: Any,
    labels: Any,
    num_resampled: int,
    *,
    bias: Any = None,
    sampler: Any = None,
    candidates: Any = None,
    sampling_temperature: float = 1.0,
    calibrated: bool = False,
    remove_accidental_hits: bool = True,
    sample_weight: Any = None,
    reduction: str = "mean",
    normalizer: Any = None,
    sparse_gradient: bool = False,
    validate: bool = True,
) -> Any:
    """Sampled softmax in two stages: of the classes that were drawn only those with the largest logits stay.

    A drawn class k ranks by `log Σ_rows exp(z_k / sampling_temperature)` over the batch; the first `num_resampled` go
    into `sampled_softmax_loss`. The selection is not differentiated.

    Args:
        num_resampled: how many stay, fewer than are drawn.
        sampling_temperature: divides the logits by which classes rank.
        calibrated: the expected counts of the sampled classes are those of a sample of num_resampled, the first stage's
            times `num_resampled / num_sampled`. False: the first stage's, as in TensorFlow.
        inputs, weight, labels, bias, sampler, candidates, remove_accidental_hits, sample_weight, reduction, normalizer,
        sparse_gradient, validate: as in `sampled_softmax_loss`; candidates are one list for all rows.

    Returns:
        As `sampled_softmax_loss`.

    Raises:
        IndexError, ValueError, TypeError: as `sampled_softmax_loss`; ValueError, too, where num_resampled is
            not below the number of candidates.

    Example:
        >>> import numpy as np, xent
        >>> sampler = xent.samplers.LearnedUnigram(range_max=100, num_sampled=20, seed=7)
        >>> inputs, weight = np.ones((2, 3)), np.eye(100, 3)
        >>> loss = xent.rank_sampled_softmax_loss(inputs, weight, np.array([1, 50]), 5, sampler=sampler)
        >>> round(float(loss), 4)
        1.4177

    Source: `tf.contrib.nn.rank_sampled_softmax_loss` of TensorFlow 1.15.
    """
    ranking = Ranking(
        integer("num_resampled", num_resampled, 1, 2**31 - 1),
        positive_number("sampling_temperature", sampling_temperature),
        flag("calibrated", calibrated),
    )
    return _loss(
        _softmax,
        True,
        inputs,
        weight,
        labels,
        sampler,
        candidates,
        bias,
        1.0,
        remove_accidental_hits,
        sample_weight,
        reduction,
        normalizer,
        sparse_gradient,
        validate,
        ranking,
    )


def in_batch_softmax_loss(
    queries: Any,
    items: Any,
    *,
    item_ids: Any = None,
    log_q: Any = None,
    temperature: float = 1.0,
    sample_weight: Any = None,
    reduction: str = "mean",
    normalizer: Any = None,
) -> Any:
    """Softmax cross-entropy of each query's own item against those of the other queries, as two-tower retrieval trains.

    The loss of row i is the cross-entropy of class i under `queries_i·items_kᵀ / temperature - log q_k`.

    Args:
        queries: [N, D], float32, float64, bfloat16 or float16. `items`: [M, D] of the same dtype; the first N belong
            to the queries, further ones are negatives of all.
        item_ids: [M] integers. An item with the id of the row's own does not count among its negatives. None: all
            differ.
        log_q: [M], the logarithm of the probability (or expected count) with which an item is in a batch: frequent
            items are negatives too often, and this takes it back. None: no correction.
        temperature: a number that divides the products. One that is learned divides the queries instead.
        sample_weight, reduction, normalizer: as in `softmax_cross_entropy`.

    Returns:
        A scalar, or [N] for reduction="none".

    Raises:
        ValueError: shapes that do not belong together. TypeError: dtypes.

    Example:
        >>> import numpy as np, xent
        >>> round(float(xent.in_batch_softmax_loss(np.eye(3), np.eye(3), temperature=0.5)), 6)
        0.239545

    Source: Yi et al. 2019, Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations.
    """
    frontend = frontend_for(queries, "queries")
    logits, labels = frontend.in_batch_logits(
        queries, items, item_ids, log_q, positive_number("temperature", temperature)
    )
    return softmax_cross_entropy(
        logits, labels, sample_weight=sample_weight, reduction=reduction, normalizer=normalizer
    )
