"""The public functions: each picks the front-end by the type of its first array and delegates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from . import _native
from .errors import type_error, value_error
from .formulas import RowFunction, focal, poly
from .frontends import frontend_for, looks_at, looks_at_numbers
from .labels import TopK, refuse
from .options import (
    axis_option,
    budget_option,
    exponent,
    pinball_options,
    poly_epsilon,
    sigmoid_options,
    signed_options,
    softmax_options,
)
from .problem import INTEGER_DTYPES


def softmax_cross_entropy(
    logits: Any,
    labels: Any,
    *,
    axis: int = -1,
    class_weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    reduction: str = "mean",
    normalizer: Any = None,
    return_stats: bool = False,
    validate: bool | None = None,
) -> Any:
    """Softmax cross-entropy from logits.

    For a row of logits x, with `z = softcap·tanh(x / softcap) / temperature`, `lse = log Σ_k exp z_k` and a target t:

        loss_i = s_i·Σ_k v_k·((1 - ε)·t_k + ε/C)·(lse - z_k) + s_i·z_loss·lse²

    where ε is `label_smoothing`, v the class weights and s the sample weights. With an integer label y, t is 1 at y and
    0 elsewhere, and the unsmoothed term is weighted with v_y.

    Args:
        logits: float32, float64, bfloat16 or float16 array of any rank, unnormalised scores, C of them along `axis`.
        labels: integers of the logits' shape without `axis` (class indices in [0, C)); or floats of the logits' shape
            (soft targets, not normalised by this function); or `xent.TopK`.
        axis: the class axis.
        class_weight: [C], one weight a class, finite.
        sample_weight: one weight a row: the batch shape, or 1 in place of an axis. Rows of weight 0 may hold anything.
        label_smoothing: ε in [0, 1].
        ignore_index: a class index whose rows do not count; their logits are never read. None: no such label.
        temperature: divides the logits, after the soft cap. Positive.
        softcap: bounds the logits to (-softcap, softcap). None: no bound.
        z_loss: weight of lse² (nats squared), which keeps logits from drifting; not weighted by class.
        reduction: "mean": Σ s_i·loss_i / Σ s_i·m_i over the rows kept, m_i the class-weighted mass of the row's
            unsmoothed target (1 for an integer label without class weights); "sum"; or "none": one loss a row.
        normalizer: replaces the denominator of the mean, for gradient accumulation and global token counts.
        return_stats: also return `Stats(lse, entropy, argmax)` per row, from the same pass.
        validate: False skips the check that labels lie in range; such rows then give NaN. None, the default, checks
            them, but not on a GPU, which would be waited for.

    Returns:
        The loss in nats: float64 for float64 logits, else float32; a scalar, or the batch shape for "none". The mean of
        nothing is 0. With `return_stats`, a pair (loss, Stats). On PyTorch, JAX and TensorFlow the loss, `lse` and
        `entropy` are differentiable; the gradient has the logits' dtype.

    Raises:
        IndexError: a label out of range; the message names the first bad row. In compiled code (`jax.jit`,
            `tf.function`), which cannot raise, its loss and gradient are NaN.
        ValueError, TypeError: shapes, dtypes or options that do not fit; the message names the argument and the remedy.

    Example:
        >>> import numpy as np, xent
        >>> logits = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 0.5]])
        >>> round(float(xent.softmax_cross_entropy(logits, np.array([2, 1]))), 6)
        0.435987
        >>> xent.softmax_cross_entropy(logits, np.array([2, -100]), ignore_index=-100, reduction="none").round(6)
        array([0.407606, 0.      ])

    Source: label smoothing is Szegedy et al. 2016 (arXiv:1512.00567), the z-loss de Brébisson and Vincent 2016
    (arXiv:1604.08859), the soft cap Gemma 2 (arXiv:2408.00118); `torch.nn.functional.cross_entropy` is the nearest
    function elsewhere.
    """
    return frontend_for(logits).softmax_cross_entropy(
        logits,
        labels,
        softmax_options(axis, label_smoothing, ignore_index, temperature, softcap, z_loss, reduction),
        class_weight=class_weight,
        sample_weight=sample_weight,
        normalizer=normalizer,
        return_stats=return_stats,
        validate=looks_at(logits, validate),
    )


def linear_softmax_cross_entropy(
    inputs: Any,
    weight: Any,
    labels: Any,
    *,
    bias: Any = None,
    memory_budget: int | None = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    reduction: str = "mean",
    normalizer: Any = None,
    return_stats: bool = False,
    validate: bool | None = None,
) -> Any:
    """Softmax cross-entropy of the logits `inputs·weightᵀ + bias`, which are never stored.

    The value and all options are those of `softmax_cross_entropy`. The logits are made in blocks, which go through the
    same kernels and are dropped; a scalar loss makes its gradients on the way. A block is some rows with all classes;
    or, where the vocabulary leaves too few rows for a fast product, all rows with some classes, made twice.
    In TensorFlow's graphs the logits are stored.

    Args:
        inputs: x, [..., D], float32, float64, bfloat16 or float16.
        weight: W, [C, D], of the same dtype, in any memory order; or `xent.LowRank`.
        labels: as in `softmax_cross_entropy`, for logits of shape [..., C].
        bias: [C], or None.
        memory_budget: bytes for the logits that exist at the same time, at least one row of 128 classes (under JAX one
            row). None: 40 MiB; on a GPU 1 GiB, which also holds what gradients are summed up in, or half of what is
            free. The result depends on it by rounding only.
        class_weight, sample_weight, label_smoothing, ignore_index, temperature, softcap, z_loss, reduction, normalizer,
        return_stats, validate: as in `softmax_cross_entropy`. Rows that are ignored cost nothing.

    Returns:
        The loss, as `softmax_cross_entropy` returns it. The gradients to half-precision arrays are summed up in float32
        and rounded once.

    Raises:
        ValueError: shapes that do not belong together, a budget too small for the smallest block of logits.
        IndexError, TypeError: as `softmax_cross_entropy`; labels are checked before any product is made.

    Example:
        >>> import numpy as np, xent
        >>> inputs, weight = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> round(float(xent.linear_softmax_cross_entropy(inputs, weight, np.array([2]))), 6)
        0.407606

    Source: Wijmans et al. 2024, Cut Your Losses in Large-Vocabulary Language Models (arXiv:2411.09009), for the aim;
    `torch.nn.functional.linear_cross_entropy` is the nearest function elsewhere.
    """
    return frontend_for(inputs, "inputs").linear_softmax_cross_entropy(
        inputs,
        weight,
        labels,
        softmax_options(-1, label_smoothing, ignore_index, temperature, softcap, z_loss, reduction),
        bias=bias,
        memory_budget=budget_option(memory_budget),
        class_weight=class_weight,
        sample_weight=sample_weight,
        normalizer=normalizer,
        return_stats=return_stats,
        validate=looks_at(inputs, validate),
    )


def linear_sigmoid_cross_entropy(
    inputs: Any,
    weight: Any,
    labels: Any,
    *,
    bias: Any = None,
    memory_budget: int | None = None,
    pos_weight: Any = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: float | None = None,
    reduction: str = "mean",
    normalizer: Any = None,
    validate: bool | None = None,
) -> Any:
    """Sigmoid cross-entropy of the logits `inputs·weightᵀ + bias`, which are never stored.

    The value and all options are those of `sigmoid_cross_entropy`. With `xent.Positives` there is no array of the size
    of the labels either: extreme multi-label classification.

    Args:
        inputs, weight, bias, memory_budget: as in `linear_softmax_cross_entropy`.
        labels: as in `sigmoid_cross_entropy`, for logits of shape [..., C].
        pos_weight, class_weight, sample_weight, label_smoothing, ignore_index, reduction, normalizer, validate: as in
            `sigmoid_cross_entropy`. "none" gives an array of the logits' size.

    Returns:
        The loss, as `sigmoid_cross_entropy` returns it.

    Raises:
        IndexError, ValueError, TypeError: as `linear_softmax_cross_entropy` and `sigmoid_cross_entropy`; labels are
            checked before any product is made.

    Example:
        >>> import numpy as np, xent
        >>> inputs, weight = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> labels = xent.Positives(np.array([[2, -1]]))
        >>> round(float(xent.linear_sigmoid_cross_entropy(inputs, weight, labels)), 6)
        1.162926

    Source: `sigmoid_cross_entropy`, in blocks of classes.
    """
    return frontend_for(inputs, "inputs").linear_sigmoid_cross_entropy(
        inputs,
        weight,
        labels,
        sigmoid_options(label_smoothing, ignore_index, reduction),
        bias=bias,
        memory_budget=budget_option(memory_budget),
        pos_weight=pos_weight,
        class_weight=class_weight,
        sample_weight=sample_weight,
        normalizer=normalizer,
        validate=looks_at_numbers(inputs, validate),
    )


def selective_log_softmax(
    inputs: Any,
    weight: Any,
    ids: Any,
    *,
    bias: Any = None,
    memory_budget: int | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    ignore_index: int | None = None,
    return_entropy: bool = False,
    validate: bool | None = None,
) -> Any:
    """Log-probabilities of chosen classes, without the logits: `log softmax(inputs·weightᵀ + bias)` at `ids`.

    What policy-gradient training and the evaluation of language models need of a head, one number a token.

    Args:
        inputs, weight, bias, memory_budget: as in `linear_softmax_cross_entropy`.
        ids: integers in [0, C), of the shape of `inputs` without its last axis.
        temperature, softcap: as in `softmax_cross_entropy`.
        ignore_index: an id whose rows are not read; their log-probability is 0.
        return_entropy: also return the entropy of each row's distribution, in nats.
        validate: False skips the check that ids lie in range; such rows then give NaN. None: as in
            `softmax_cross_entropy`.

    Returns:
        Log-probabilities in nats of the shape of `ids`, or a pair with the entropies. Both are differentiable where the
        framework differentiates.

    Raises:
        IndexError, ValueError, TypeError: as `linear_softmax_cross_entropy`.

    Example:
        >>> import numpy as np, xent
        >>> inputs, weight = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> xent.selective_log_softmax(inputs, weight, np.array([2])).round(6)
        array([-0.407606])

    Source: minus the loss of each row of `linear_softmax_cross_entropy`.
    """
    refuse("ids", ids, TopK, "Pass one class a row.")
    xp = frontend_for(inputs, "inputs").NAMESPACE
    shape, batch = xp.shape(xp.as_array("ids", ids, inputs)), xp.shape(inputs)[:-1]
    dtype = xp.dtype_name(xp.as_array("ids", ids, inputs))
    if dtype not in INTEGER_DTYPES:
        raise type_error("ids", "integers", f"dtype {dtype}", "Pass one class a row.")
    if len(shape) != len(batch) or any(own != other for own, other in zip(shape, batch, strict=True)):
        raise value_error("ids", f"shape {batch}: one class a row", f"shape {shape}", "Reshape them.")
    out = linear_softmax_cross_entropy(
        inputs,
        weight,
        ids,
        bias=bias,
        memory_budget=memory_budget,
        ignore_index=ignore_index,
        temperature=temperature,
        softcap=softcap,
        reduction="none",
        return_stats=return_entropy,
        validate=looks_at(inputs, validate),
    )
    return (-out[0], out[1].entropy) if return_entropy else -out


def row_loss(
    function: RowFunction,
    logits: Any,
    labels: Any,
    *,
    axis: int = -1,
    class_weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    reduction: str = "mean",
    normalizer: Any = None,
    validate: bool | None = None,
) -> Any:
    """A loss of your own: a function of the softmax probability of each row's label.

        loss_i = s_i·v_y·f(-log p_y)

    Args:
        function: takes (xp, nll): a namespace of array functions (`numpy`, or a framework's in the same names) and
            -log p of each row, float64 on NumPy; returns (value, slope), the loss f(nll) and its derivative f'(nll).
        logits: as in `softmax_cross_entropy`.
        labels: class indices, the logits' shape without `axis`.
        axis, class_weight, sample_weight, ignore_index, temperature, softcap, reduction, normalizer, validate: as in
            `softmax_cross_entropy`.

    Returns:
        The loss, as `softmax_cross_entropy` returns it, with its gradient.

    Raises:
        IndexError, ValueError, TypeError: as in `softmax_cross_entropy`; soft targets are refused.

    Example:
        >>> import numpy as np, xent
        >>> def squared(xp, nll):
        ...     return nll**2, 2 * nll
        >>> float(xent.row_loss(squared, np.array([[1.0, 2.0, 3.0]]), np.array([2])).round(6))
        0.166143

    Source: the chain rule: the gradient is f'(nll) times that of cross-entropy.
    """
    return frontend_for(logits).softmax_cross_entropy(
        logits,
        labels,
        softmax_options(axis, 0.0, ignore_index, temperature, softcap, 0.0, reduction),
        class_weight=class_weight,
        sample_weight=sample_weight,
        normalizer=normalizer,
        return_stats=False,
        validate=looks_at(logits, validate),
        function=function,
    )


def focal_cross_entropy(
    logits: Any,
    labels: Any,
    *,
    gamma: float = 2.0,
    axis: int = -1,
    class_weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    reduction: str = "mean",
    normalizer: Any = None,
    validate: bool | None = None,
) -> Any:
    """Focal loss over exclusive classes: rows that are right already count for little.

    With p the softmax probability of the row's label y:

        loss_i = s_i·v_y·(1 - p)^γ·(-log p)

    Args:
        logits: as in `softmax_cross_entropy`.
        labels: class indices, the logits' shape without `axis`.
        gamma: exponent, at least 0; 0 is plain cross-entropy.
        axis, class_weight, sample_weight, ignore_index, temperature, softcap, reduction, normalizer, validate: as in
            `softmax_cross_entropy`.

    Returns:
        The loss in nats, as `softmax_cross_entropy` returns it.

    Raises:
        IndexError, ValueError, TypeError: as in `softmax_cross_entropy`; soft targets are refused.

    Example:
        >>> import numpy as np, xent
        >>> float(xent.focal_cross_entropy(np.array([[1.0, 2.0, 3.0]]), np.array([2])).round(6))
        0.045678

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection (arXiv:1708.02002), for softmax.
    """
    return row_loss(
        partial(focal, gamma=exponent(gamma)),
        logits,
        labels,
        axis=axis,
        class_weight=class_weight,
        sample_weight=sample_weight,
        ignore_index=ignore_index,
        temperature=temperature,
        softcap=softcap,
        reduction=reduction,
        normalizer=normalizer,
        validate=looks_at(logits, validate),
    )


def poly_cross_entropy(
    logits: Any,
    labels: Any,
    *,
    epsilon: float = 2.0,
    axis: int = -1,
    class_weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    reduction: str = "mean",
    normalizer: Any = None,
    validate: bool | None = None,
) -> Any:
    """Poly-1 loss: cross-entropy plus ε times the probability of being wrong.

    With p the softmax probability of the row's label y:

        loss_i = s_i·v_y·(-log p + ε·(1 - p))

    Args:
        logits: as in `softmax_cross_entropy`.
        labels: class indices, the logits' shape without `axis`.
        epsilon: weight of the added term; 0 is plain cross-entropy.
        axis, class_weight, sample_weight, ignore_index, temperature, softcap, reduction, normalizer, validate: as in
            `softmax_cross_entropy`.

    Returns:
        The loss in nats, as `softmax_cross_entropy` returns it.

    Raises:
        IndexError, ValueError, TypeError: as in `softmax_cross_entropy`; soft targets are refused.

    Example:
        >>> import numpy as np, xent
        >>> float(xent.poly_cross_entropy(np.array([[1.0, 2.0, 3.0]]), np.array([2])).round(6))
        1.077124

    Source: Leng et al. 2022, PolyLoss (arXiv:2204.12511); `optax.losses.poly_loss_cross_entropy`.
    """
    return row_loss(
        partial(poly, epsilon=poly_epsilon(epsilon)),
        logits,
        labels,
        axis=axis,
        class_weight=class_weight,
        sample_weight=sample_weight,
        ignore_index=ignore_index,
        temperature=temperature,
        softcap=softcap,
        reduction=reduction,
        normalizer=normalizer,
        validate=looks_at(logits, validate),
    )


def cross_entropy_from_probs(
    probs: Any,
    labels: Any,
    *,
    axis: int = -1,
    class_weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    clamp: float | None = None,
    reduction: str = "mean",
    normalizer: Any = None,
    validate: bool | None = None,
) -> Any:
    """Cross-entropy of probabilities, for models whose logits cannot be had: `-Σ_k v_k·t_k·log max(p_k, clamp)`.

    Where there are logits, `softmax_cross_entropy` is exact and this is not.

    Args:
        probs: float array with probabilities along `axis`. They are not normalised.
        labels: class indices or soft targets, as in `softmax_cross_entropy`.
        clamp: probabilities below it count as this number, which bounds the loss; the gradient there is -t/clamp, so
            that a probability of 0 can recover. None: the smallest normal number of the dtype (1.2e-38 in float32, a
            loss of 87.3 nats).
        axis, class_weight, sample_weight, ignore_index, reduction, normalizer: as in `softmax_cross_entropy`.
        validate: False skips the checks that probabilities lie in [0, 1] and labels in range.

    Returns:
        The loss in nats: float64 for float64 probabilities, else float32. A class without target mass adds 0, whatever
        its probability.

    Raises:
        ValueError: probabilities outside [0, 1]; IndexError: a label out of range; both name the first position.

    Example:
        >>> import numpy as np, xent
        >>> float(xent.cross_entropy_from_probs(np.array([[0.25, 0.75]]), np.array([1])).round(6))
        0.287682

    Source: `tf.keras.losses.CategoricalCrossentropy(from_logits=False)`, which normalises and clips at 1e-7.
    """
    return frontend_for(probs, "probs").cross_entropy_from_probs(
        probs,
        labels,
        softmax_options(axis, 0.0, ignore_index, 1.0, None, 0.0, reduction),
        class_weight=class_weight,
        sample_weight=sample_weight,
        clamp=clamp,
        normalizer=normalizer,
        validate=looks_at(probs, validate),
    )


def binary_cross_entropy_from_probs(
    probs: Any,
    labels: Any,
    *,
    pos_weight: Any = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    ignore_index: float | None = None,
    clamp: float | None = None,
    reduction: str = "mean",
    normalizer: Any = None,
    validate: bool | None = None,
) -> Any:
    """Binary cross-entropy of probabilities, element by element.

        loss = s·v·(-pos_weight·t·log max(p, clamp) - (1 - t)·log max(1 - p, clamp))

    Where there are logits, `sigmoid_cross_entropy` is exact and this is not.

    Args:
        probs: float array of probabilities.
        labels: of the same shape, in [0, 1].
        clamp: as in `cross_entropy_from_probs`, for p and 1 - p.
        pos_weight, class_weight, sample_weight, ignore_index, reduction, normalizer: as in `sigmoid_cross_entropy`.
        validate: False skips the checks that probabilities and labels lie in [0, 1].

    Returns:
        The loss in nats: float64 for float64 probabilities, else float32.

    Raises:
        ValueError: probabilities or labels outside [0, 1], shapes that do not fit.

    Example:
        >>> import numpy as np, xent
        >>> float(xent.binary_cross_entropy_from_probs(np.array([0.25, 0.5]), np.array([0, 1])).round(6))
        0.490415

    Source: `torch.nn.functional.binary_cross_entropy`, which cuts the logarithm off at -100.
    """
    return frontend_for(probs, "probs").binary_cross_entropy_from_probs(
        probs,
        labels,
        sigmoid_options(0.0, ignore_index, reduction),
        pos_weight=pos_weight,
        class_weight=class_weight,
        sample_weight=sample_weight,
        clamp=clamp,
        normalizer=normalizer,
        validate=looks_at(probs, validate),
    )


def kl_divergence(
    predictions: Any,
    targets: Any,
    *,
    axis: int = -1,
    log_predictions: bool = False,
    log_targets: bool = False,
    sample_weight: Any = None,
    clamp: float | None = None,
    reduction: str = "mean",
    normalizer: Any = None,
    validate: bool | None = None,
) -> Any:
    """The divergence KL(t ‖ q) of predicted distributions q from target distributions t: `Σ_k t_k·(log t_k - log q_k)`.

    Args:
        predictions: q along `axis`, or log q with `log_predictions`.
        targets: t of the same shape, or log t with `log_targets`. A class with t = 0 adds 0, in value and gradient.
        clamp: predicted probabilities below it count as this number, as in `cross_entropy_from_probs`.
        sample_weight: one weight a row: the shape without `axis`, or 1 in place of an axis.
        reduction: "mean" over rows (Σ s·loss / Σ s), "sum" or "none": one a row.
        normalizer: replaces the denominator of the mean.
        validate: False skips the checks that probabilities lie in [0, 1].

    Returns:
        The divergence in nats: float64 for float64 predictions, else float32.

    Raises:
        ValueError: probabilities outside [0, 1] or log-probabilities above 0, shapes that differ.

    Example:
        >>> import numpy as np, xent
        >>> float(xent.kl_divergence(np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])).round(6))
        0.693147

    Source: `torch.nn.functional.kl_div(..., reduction="batchmean")`.
    """
    return frontend_for(predictions, "predictions").kl_divergence(
        predictions,
        targets,
        softmax_options(axis, 0.0, None, 1.0, None, 0.0, reduction),
        log_predictions=log_predictions,
        log_targets=log_targets,
        sample_weight=sample_weight,
        clamp=clamp,
        normalizer=normalizer,
        validate=looks_at(predictions, validate),
    )


def softmax(logits: Any, axis: int = -1) -> Any:
    """Probabilities `exp z_k / Σ_j exp z_j` along `axis`.

    Args:
        logits: float32, float64, bfloat16 or float16 array of any rank.
        axis: the class axis.

    Returns:
        An array of the logits' shape and dtype, computed in at least float32. A row of -inf alone gives NaN.

    Raises:
        ValueError, TypeError: an axis that does not exist, a dtype that is not a float.

    Example:
        >>> import numpy as np, xent
        >>> xent.softmax(np.array([1.0, 2.0, 3.0])).round(4)
        array([0.09  , 0.2447, 0.6652])

    Source: `scipy.special.softmax`, `torch.softmax`.
    """
    return frontend_for(logits).softmax(logits, axis_option(axis))


def log_softmax(logits: Any, axis: int = -1) -> Any:
    """Log-probabilities `z_k - log Σ_j exp z_j` along `axis`, in nats.

    Args:
        logits: float32, float64, bfloat16 or float16 array of any rank.
        axis: the class axis.

    Returns:
        An array of the logits' shape and dtype, computed in at least float32.

    Raises:
        ValueError, TypeError: an axis that does not exist, a dtype that is not a float.

    Example:
        >>> import numpy as np, xent
        >>> xent.log_softmax(np.array([1.0, 2.0, 3.0])).round(4)
        array([-2.4076, -1.4076, -0.4076])

    Source: `scipy.special.log_softmax`, `torch.log_softmax`.
    """
    return frontend_for(logits).log_softmax(logits, axis_option(axis))


def logsumexp(logits: Any, axis: int = -1) -> Any:
    """`log Σ_k exp z_k` along `axis`, without overflow.

    Args:
        logits: float32, float64, bfloat16 or float16 array of any rank.
        axis: the axis that is summed and dropped.

    Returns:
        An array of the logits' dtype, computed in at least float32. A row of -inf alone gives -inf.

    Raises:
        ValueError, TypeError: an axis that does not exist, a dtype that is not a float.

    Example:
        >>> import numpy as np, xent
        >>> float(xent.logsumexp(np.array([1000.0, 1000.0])).round(6))
        1000.693147

    Source: `scipy.special.logsumexp`, `torch.logsumexp`.
    """
    return frontend_for(logits).logsumexp(logits, axis_option(axis))


def sigmoid_cross_entropy(
    logits: Any,
    labels: Any,
    *,
    pos_weight: Any = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: float | None = None,
    reduction: str = "mean",
    normalizer: Any = None,
    validate: bool | None = None,
) -> Any:
    """Sigmoid (binary, multi-label) cross-entropy from logits.

    For each logit x with label y, and `t = (1 - ε)·y + ε/2`:

        loss = s·v·(pos_weight·t·softplus(-x) + (1 - t)·softplus(x)),    softplus(x) = log(1 + e^x)

    Args:
        logits: float32, float64, bfloat16 or float16 array of any shape; classes, if any, along the last axis.
        labels: the logits' shape: 0/1 or booleans, integers, or floats in [0, 1]; or `xent.Positives`. Soft labels
            count in the precision of the loss: float64 ones are rounded to float32 but for float64 logits.
        pos_weight: multiplies the positive part: a number, [C] along the last axis, or any shape that broadcasts to
            the logits. Above 1 it raises recall, below 1 precision.
        class_weight: [C] along the last axis, finite.
        sample_weight: one weight an element (the logits' shape, or 1 in place of an axis) or one a row (the shape
            without the last axis). Elements of weight 0 may hold anything.
        label_smoothing: ε in [0, 1].
        ignore_index: a whole number; elements with this label do not count. None: no such label.
        reduction: "mean": Σ s·loss / Σ s over the elements kept, with `pos_weight` and `class_weight` outside the
            denominator; "sum"; or "none": one loss an element.
        normalizer: replaces the denominator of the mean.
        validate: False skips the check that labels lie in [0, 1], and the formula takes them as they are. None, the
            default, checks them, but not on a GPU, which would be waited for: there others give NaN. Lists of positive
            classes are always checked, but for lists on a GPU without `validate=True`: rows with bad ones give NaN.

    Returns:
        The loss in nats: float64 for float64 logits, else float32; a scalar, or the logits' shape for "none". The
        mean of nothing is 0. Differentiable on PyTorch, JAX and TensorFlow; the gradient has the logits' dtype.

    Raises:
        ValueError, TypeError: labels outside [0, 1], shapes, dtypes or options that do not fit; the message names the
            argument and the remedy.
        IndexError: a positive class out of range.

    Example:
        >>> import numpy as np, xent
        >>> logits = np.array([[0.2, 0.2], [0.3, 0.1]])
        >>> xent.sigmoid_cross_entropy(logits, np.array([[0, 1], [1, 0]]), reduction="none").round(6)
        array([[0.798139, 0.598139],
               [0.554355, 0.744397]])

    Source: `torch.nn.functional.binary_cross_entropy_with_logits`, `tf.nn.weighted_cross_entropy_with_logits`.
    """
    return frontend_for(logits).elementwise_loss(
        logits,
        labels,
        sigmoid_options(label_smoothing, ignore_index, reduction),
        pos_weight=pos_weight,
        class_weight=class_weight,
        sample_weight=sample_weight,
        normalizer=normalizer,
        validate=looks_at_numbers(logits, validate),
    )


def sigmoid_focal_cross_entropy(
    logits: Any,
    labels: Any,
    *,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    pos_weight: Any = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: float | None = None,
    reduction: str = "mean",
    normalizer: Any = None,
    validate: bool | None = None,
) -> Any:
    """Focal loss for binary and multi-label problems: well-classified elements count for little.

    With p = σ(x), t the smoothed label and w the weights of `sigmoid_cross_entropy`:

        loss = w·(α·pos_weight·t·(1 - p)^γ·(-log p) + (1 - α)·(1 - t)·p^γ·(-log(1 - p)))

    It is computed from log-probabilities, so it neither overflows nor vanishes in half precision.

    Args:
        logits, labels: as in `sigmoid_cross_entropy`.
        alpha: balance in [0, 1] between positive and negative elements; None for none (both count 1).
        gamma: exponent, at least 0; 0 is plain (balanced) cross-entropy.
        pos_weight: multiplies the positive part: a number, [C] along the last axis, or any shape that broadcasts to
            the logits. Above 1 it raises recall, below 1 precision.
        class_weight: [C] along the last axis, finite.
        sample_weight: one weight an element (the logits' shape, or 1 in place of an axis) or one a row (the shape
            without the last axis). Elements of weight 0 may hold anything.
        label_smoothing, ignore_index, reduction, normalizer, validate: as in `sigmoid_cross_entropy`.

    Returns:
        The loss in nats, as `sigmoid_cross_entropy` returns it.

    Raises:
        ValueError, TypeError, IndexError: as in `sigmoid_cross_entropy`.

    Example:
        >>> import numpy as np, xent
        >>> float(xent.sigmoid_focal_cross_entropy(np.array([2.0, -1.0]), np.array([1, 0])).round(6))
        0.008722

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection (arXiv:1708.02002), and
    `torchvision.ops.sigmoid_focal_loss`.
    """
    options = sigmoid_options(
        label_smoothing,
        ignore_index,
        reduction,
        focal_alpha=alpha,
        gamma_pos=gamma,
        gamma_neg=gamma,
        gamma_names=("gamma", "gamma"),
    )
    return frontend_for(logits).elementwise_loss(
        logits,
        labels,
        options,
        pos_weight=pos_weight,
        class_weight=class_weight,
        sample_weight=sample_weight,
        normalizer=normalizer,
        validate=looks_at_numbers(logits, validate),
    )


def asymmetric_sigmoid_cross_entropy(
    logits: Any,
    labels: Any,
    *,
    gamma_pos: float = 1.0,
    gamma_neg: float = 4.0,
    clip: float = 0.05,
    pos_weight: Any = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: float | None = None,
    reduction: str = "mean",
    normalizer: Any = None,
    validate: bool | None = None,
) -> Any:
    """Asymmetric loss for multi-label problems in which negatives are many: easy negatives count for nothing.

    With p = σ(x), q = max(p - clip, 0), t the smoothed label and w the weights of `sigmoid_cross_entropy`:

        loss = w·(pos_weight·t·(1 - p)^gamma_pos·(-log p) + (1 - t)·q^gamma_neg·(-log(1 - q)))

    Args:
        logits, labels: as in `sigmoid_cross_entropy`.
        gamma_pos, gamma_neg: exponents of the positive and of the negative part, at least 0.
        clip: probability in [0, 1] below which a negative element costs nothing.
        pos_weight: multiplies the positive part: a number, [C] along the last axis, or any shape that broadcasts to
            the logits. Above 1 it raises recall, below 1 precision.
        class_weight: [C] along the last axis, finite.
        sample_weight: one weight an element (the logits' shape, or 1 in place of an axis) or one a row (the shape
            without the last axis). Elements of weight 0 may hold anything.
        label_smoothing, ignore_index, reduction, normalizer, validate: as in `sigmoid_cross_entropy`.

    Returns:
        The loss in nats, as `sigmoid_cross_entropy` returns it.

    Raises:
        ValueError, TypeError, IndexError: as in `sigmoid_cross_entropy`.

    Example:
        >>> import numpy as np, xent
        >>> float(xent.asymmetric_sigmoid_cross_entropy(np.array([2.0, -4.0]), np.array([1, 0])).round(6))
        0.007565

    Source: Ridnik et al. 2021, Asymmetric Loss for Multi-Label Classification (arXiv:2009.14119), and its defaults.
    """
    options = sigmoid_options(
        label_smoothing, ignore_index, reduction, gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip
    )
    return frontend_for(logits).elementwise_loss(
        logits,
        labels,
        options,
        pos_weight=pos_weight,
        class_weight=class_weight,
        sample_weight=sample_weight,
        normalizer=normalizer,
        validate=looks_at_numbers(logits, validate),
    )


def logistic_loss(
    scores: Any,
    signs: Any,
    *,
    sample_weight: Any = None,
    reduction: str = "mean",
    normalizer: Any = None,
    validate: bool | None = None,
) -> Any:
    """The logistic loss of scores s and labels y in {-1, 1}: `log(1 + e^(-y·s))`.

    Args:
        scores: float32, float64, bfloat16 or float16 array of any shape.
        signs: -1 or 1 for each score: integers or floats of the same shape.
        sample_weight: one weight an element, or one a row, as in `sigmoid_cross_entropy`.
        reduction: "mean" (Σ s·loss / Σ s), "sum" or "none".
        normalizer: replaces the denominator of the mean.
        validate: False skips the check that signs are -1 or 1. None: as in `sigmoid_cross_entropy`.

    Returns:
        The loss in nats: float64 for float64 scores, else float32.

    Raises:
        ValueError, TypeError: labels in {0, 1}, shapes or dtypes that do not fit.

    Example:
        >>> import numpy as np, xent
        >>> xent.logistic_loss(np.array([2.0, 2.0]), np.array([1, -1]), reduction="none").round(6)
        array([0.126928, 2.126928])

    Source: `torch.nn.functional.soft_margin_loss`, which overflows where this one does not.
    """
    return frontend_for(scores, "scores").elementwise_loss(
        scores,
        signs,
        signed_options(reduction),
        names=("scores", "signs"),
        sample_weight=sample_weight,
        normalizer=normalizer,
        validate=looks_at_numbers(scores, validate),
    )


def sigmoid(logits: Any) -> Any:
    """Probabilities `1 / (1 + e^-x)`, element by element.

    Args:
        logits: float32, float64, bfloat16 or float16 array of any shape.

    Returns:
        An array of the logits' shape and dtype, computed in at least float32.

    Raises:
        TypeError: a dtype that is not a float.

    Example:
        >>> import numpy as np, xent
        >>> xent.sigmoid(np.array([-1000.0, 0.0, 1.0])).round(6)
        array([0.      , 0.5     , 0.731059])

    Source: `scipy.special.expit`, `torch.sigmoid`.
    """
    return frontend_for(logits).sigmoid(logits)


def log_sigmoid(logits: Any) -> Any:
    """Log-probabilities `-log(1 + e^-x)` in nats, element by element.

    Args:
        logits: float32, float64, bfloat16 or float16 array of any shape.

    Returns:
        An array of the logits' shape and dtype, computed in at least float32.

    Raises:
        TypeError: a dtype that is not a float.

    Example:
        >>> import numpy as np, xent
        >>> xent.log_sigmoid(np.array([-10.0, 0.0, 1.0])).round(6)
        array([-10.000045,  -0.693147,  -0.313262])

    Source: `scipy.special.log_expit`, `torch.nn.functional.logsigmoid`.
    """
    return frontend_for(logits).log_sigmoid(logits)


def pinball_loss(
    pred: Any,
    target: Any,
    *,
    over: float,
    under: float,
    sample_weight: Any = None,
    reduction: str = "mean",
    normalizer: Any = None,
) -> Any:
    """The asymmetric cost of a prediction: `over` per unit too high, `under` per unit too low.

        loss_i = s_i·(over·max(d_i, 0) + under·max(-d_i, 0)),   d = pred - target

    Its minimiser is the under / (over + under) quantile of the target.

    Args:
        pred: float32, float64, bfloat16 or float16 array of any shape.
        target: real numbers of the same shape.
        over, under: costs per unit of the error, at least 0.
        sample_weight: one weight an element, or one a row, as in `sigmoid_cross_entropy`.
        reduction: "mean" (Σ s·loss / Σ s), "sum" or "none".
        normalizer: replaces the denominator of the mean.

    Returns:
        The loss: float64 for float64 predictions, else float32. Its derivative at d = 0 is 0.

    Raises:
        ValueError, TypeError: shapes that differ, costs that are negative or not finite.

    Example:
        >>> import numpy as np, xent
        >>> float(xent.pinball_loss(np.array([1.0, 3.0]), np.array([2.0, 2.0]), over=1.0, under=10.0))
        5.5

    Source: Koenker and Bassett 1978, Regression Quantiles; scikit-learn's `mean_pinball_loss` has under = α,
    over = 1 - α.
    """
    return frontend_for(pred, "pred").elementwise_loss(
        pred,
        target,
        pinball_options(over, under, reduction),
        names=("pred", "target"),
        sample_weight=sample_weight,
        normalizer=normalizer,
        validate=False,  # any real number is a target, and NaN gives NaN
    )


def value_and_grad(
    loss_fn: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """A function that returns the value of `loss_fn` and its gradient.

    On PyTorch, JAX and TensorFlow any function can be differentiated. On NumPy arrays, which know no derivatives,
    `loss_fn` is one of xent's losses, or a function that returns what one of them returned; the gradient is to the
    logits, or to the inputs and the head of a linear or sampled loss, and comes from the same pass as the loss. What
    the function makes of an argument before the loss gets it is not seen: for a tied embedding, differentiate by the
    embedded inputs and by the table, and add the former up over the ids.

    Args:
        loss_fn: gives a scalar loss, or with `has_aux` a tuple whose first item is one.
        argnums: position of the argument, or of the arguments, to differentiate by.
        has_aux: whether `loss_fn` returns more than the loss, as with `return_stats=True`.

    Returns:
        A function of the same arguments that returns (value, gradient); the gradient has the argument's shape and
        dtype, and is a tuple for a tuple of `argnums`. A sparse gradient on NumPy and JAX is a `SparseRows`; to make
        one, JAX calls `loss_fn` again, to trace it, up to its first loss with `sparse_gradient=True`.

    Raises:
        TypeError, ValueError: from the returned function, where a NumPy function cannot be differentiated.

    Example:
        >>> import numpy as np, xent
        >>> loss_and_grad = xent.value_and_grad(xent.softmax_cross_entropy)
        >>> loss, grad = loss_and_grad(np.array([[0.0, 0.0]]), np.array([1]))
        >>> float(round(loss, 6)), grad.tolist()
        (0.693147, [[0.5, -0.5]])

    Source: the shape of `jax.value_and_grad`.
    """
    wanted = argnums if isinstance(argnums, tuple) else (argnums,)

    def wrapped(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        for at in wanted or (None,):
            positions = f"positions among {len(args)} positional arguments"
            if at is not None and (not isinstance(at, int) or isinstance(at, bool)):
                raise type_error("argnums", positions, repr(at), "Pass them by position; count from 0.")
            if at is None or not -len(args) <= at < len(args):
                raise value_error(
                    "argnums", positions, repr(argnums if at is None else at), "Pass them by position; count from 0."
                )
        frontend = frontend_for(args[wanted[0]], f"argument {wanted[0]}")
        value, gradients = frontend.value_and_grad(loss_fn, wanted, has_aux, args, kwargs)
        return value, gradients if isinstance(argnums, tuple) else gradients[0]

    return wrapped


def set_num_threads(n: int) -> None:
    """Sets how many threads a native kernel uses.

    Args:
        n: at least 1. Results do not depend on it.

    Raises:
        TypeError, ValueError: `n` is not a positive integer.

    Example:
        >>> import xent
        >>> xent.set_num_threads(xent.get_num_threads())

    Source: `torch.set_num_threads`.
    """
    if not isinstance(n, int) or isinstance(n, bool):
        raise type_error("n", "an integer", type(n).__name__, "Pass a positive int.")
    if not 1 <= n <= 1024:
        raise value_error("n", "an integer in [1, 1024]", repr(n), "Pass the number of cores to use.")
    _native.set_threads(n)


def get_num_threads() -> int:
    """How many threads a native kernel uses; at first, the processors this process may run on.

    The environment variable OMP_NUM_THREADS makes it fewer.

    Example:
        >>> import xent
        >>> xent.get_num_threads() >= 1
        True

    Source: `torch.get_num_threads`.
    """
    return int(_native.get_threads())


def clear_cache() -> None:
    """Gives the memory of unused gradient buffers back to the system.

    Buffers of 1 MiB and more are kept for reuse when their array dies, because first-touch page faults cost more than
    the arithmetic of a loss. At most 2 GiB, and at most an eighth of the machine's memory, lie unused.

    Example:
        >>> import xent
        >>> xent.clear_cache()

    Source: `torch.cuda.empty_cache`.
    """
    _native.clear_buffers()


def show_config() -> str:
    """What this installation computes with, one fact a line: instruction set, threads, buffers kept.

    Example:
        >>> import xent
        >>> print(xent.show_config().splitlines()[1].split(":")[0])
        instruction set

    Source: `numpy.show_config`.
    """
    from importlib.metadata import version

    sets = ", ".join(_native.instruction_sets())
    return "\n".join(
        (
            f"xent: {version('xent')}",
            f"instruction set: {_native.instruction_set()} (of {sets})",
            f"threads: {_native.get_threads()}",
            f"buffers kept: {_native.cached_buffer_bytes()} of at most {_native.buffer_limit()} bytes",
        )
    )
