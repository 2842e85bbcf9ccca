"""Functions of `torch.nn.functional` on xent's kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import _reduction as legacy
from torch.nn import functional

import xent

from ...frontends.torch.activations import LogSoftmax, LogSumExp, Softmax, small_activation
from ...frontends.torch.arrays import is_readable
from . import ordinary
from .small import small_binary_cross_entropy, small_cross_entropy

# These take logarithms or probabilities, of which a gather or one elementwise step is all that is left to do. They are
# torch's own functions, here so that one import serves.
binary_cross_entropy = functional.binary_cross_entropy
kl_div = functional.kl_div


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The negative of log-probabilities at class indices: `-w_y·x_y` of each row.

    Args:
        input: [C], [N, C] or [N, C, d1, …], log-probabilities.
        target: class indices of the shape without C.
        weight: [C], a weight a class.
        size_average, reduce, ignore_index, reduction: as in `cross_entropy`.

    Returns:
        The loss in the dtype of `input`.

    Raises:
        torch's exceptions, in its words.

    Other than torch: half precision is summed up in float32. torch overflows float16 over a hundred thousand rows.

    Example:
        >>> import torch
        >>> from xent.compat.torch import nll_loss
        >>> nll_loss(torch.tensor([[-1.5, -0.25]]), torch.tensor([1]))
        tensor(0.2500)

    Source: `torch.nn.functional.nll_loss` of torch 2.13, which does the work.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy.legacy_get_string(size_average, reduce)
    half = isinstance(input, Tensor) and input.dtype in (torch.float16, torch.bfloat16) and reduction != "none"
    if half and (weight is None or (isinstance(weight, Tensor) and weight.dtype == input.dtype)):
        wide = None if weight is None else weight.float()
        loss = functional.nll_loss(input.float(), target, wide, ignore_index=ignore_index, reduction=reduction)
        return ordinary.in_dtype_of(loss, input)
    return functional.nll_loss(input, target, weight, ignore_index=ignore_index, reduction=reduction)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Softmax cross-entropy: `-Σ_c w_c·((1 - ε)·t_c + ε/C)·log softmax(x)_c` of each row.

    Args:
        input: [C], [N, C] or [N, C, d1, …], float32, float64, bfloat16 or float16 logits.
        target: class indices, int64 or uint8, of the shape without C; or probabilities of the shape of `input`.
        weight: [C], a weight a class.
        size_average, reduce: deprecated; they override `reduction`, with torch's warning.
        ignore_index: rows with this index count for nothing.
        reduction: "mean": over Σ w[target] of the rows kept for indices, over N·d1·… for probabilities; "sum"; "none".
        label_smoothing: ε in [0, 1].

    Returns:
        The loss in nats, in the dtype of `input` (float32 under autocast). The mean of nothing, or of rows of weight 0,
        is NaN, with gradient 0.

    Raises:
        torch's exceptions, in its words.

    Other than torch: ignored rows may hold -inf or NaN, and have gradient 0, as have rows whose weights sum up to 0
    (torch: NaN); half precision is accumulated in float32, and does not overflow with smoothing; a class of
    probability 0 may have the logit -inf. The gradient of a loss per row needs the logits, where torch keeps their
    log-probabilities: changed in place before the backward pass, they are an error.

    Example:
        >>> import torch
        >>> from xent.compat.torch import cross_entropy
        >>> cross_entropy(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([2]))
        tensor(0.4076)

    Source: `torch.nn.functional.cross_entropy` of torch 2.13.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy.legacy_get_string(size_average, reduce)
    small = small_cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)
    if small is not None:
        return small
    epsilon = ordinary.smoothing(label_smoothing)
    if epsilon is not None and ordinary.is_logits(input) and reduction in ordinary.REDUCTIONS:
        axis = 0 if input.ndim == 1 else 1
        fits = input.ndim > 0 and ordinary.is_label(ignore_index)
        if fits and weight is not None:
            fits = ordinary.is_weight(weight, input) and weight.shape == input.shape[axis : axis + 1]
        if fits:
            try:
                if ordinary.is_index(target, input):
                    return _of_indices(input, target, weight, ignore_index, reduction, epsilon, axis)
                if ignore_index < 0 and ordinary.is_like(target, input):
                    return _of_distributions(input, target, weight, reduction, epsilon, axis)
            except ValueError:
                pass  # weights, or shapes, that are torch's to take or to refuse
    return functional.cross_entropy(
        input, target, weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing
    )


def _of_indices(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore: int, reduction: str, epsilon: float, axis: int
) -> Tensor:
    try:
        loss = xent.softmax_cross_entropy(
            input,
            target,
            axis=axis,
            class_weight=weight,
            label_smoothing=epsilon,
            ignore_index=ignore,
            reduction=reduction,
        )
    except IndexError:  # in torch's words, if it can be had to say them
        functional.cross_entropy(input.detach(), target, weight, ignore_index=ignore)
        raise
    if reduction == "mean":
        loss = ordinary.nan_of_nothing(loss, target, weight, ignore)
    return ordinary.in_dtype_of(loss, input)


def _of_distributions(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, epsilon: float, axis: int
) -> Tensor:
    loss = partial(xent.softmax_cross_entropy, input, target, axis=axis, class_weight=weight, label_smoothing=epsilon)
    return ordinary.in_dtype_of(_mean_over(input.numel() // input.shape[axis], reduction, loss), input)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Sigmoid cross-entropy: `w·(p·y·softplus(-x) + (1 - y)·softplus(x))` of each element, p being `pos_weight`.

    Args:
        input: logits of any shape; float32, float64, bfloat16 or float16.
        target: of the same shape and dtype, usually in [0, 1]; not checked.
        weight: broadcasts to `input`; not part of the denominator.
        size_average, reduce: deprecated; they override `reduction`, with torch's warning.
        reduction: "mean" over all elements, "sum" or "none".
        pos_weight: broadcasts to `input` from the last axis.

    Returns:
        The loss in nats, in the dtype of `input` (float32 under autocast).

    Raises:
        torch's exceptions, in its words.

    Other than torch: infinite logits give the limit, 0 or inf, where torch gives NaN.

    Example:
        >>> import torch
        >>> from xent.compat.torch import binary_cross_entropy_with_logits
        >>> binary_cross_entropy_with_logits(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0]))
        tensor(1.4100)

    Source: `torch.nn.functional.binary_cross_entropy_with_logits` of torch 2.13.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy.legacy_get_string(size_average, reduce)
    small = small_binary_cross_entropy(input, target, weight, reduction, pos_weight)
    if small is not None:
        return small
    if (
        ordinary.is_logits(input)
        and ordinary.is_like(target, input)
        and reduction in ordinary.REDUCTIONS
        and ordinary.is_spread(weight, input)
        and ordinary.is_spread(pos_weight, input)
    ):
        try:
            loss = _sigmoid(input, target, weight, reduction, pos_weight)
            return ordinary.laid_out(ordinary.in_dtype_of(loss, input), target)
        except ValueError:
            pass  # weights, or shapes, that are torch's to take or to refuse
    return functional.binary_cross_entropy_with_logits(
        input, target, weight, reduction=reduction, pos_weight=pos_weight
    )


def _sigmoid(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, pos_weight: Tensor | None = None
) -> Tensor:
    loss = partial(xent.sigmoid_cross_entropy, input, target, pos_weight=pos_weight, validate=False)
    if weight is None:
        return loss(reduction=reduction)  # type: ignore[no-any-return]
    if weight.shape != input.shape:
        weight = weight.expand(input.shape)
    return _mean_over(input.numel(), reduction, partial(loss, sample_weight=weight))


def _mean_over(count: int, reduction: str, loss: Callable[..., Tensor]) -> Tensor:
    """A loss whose mean is over a number that the shape gives. While a graph is traced that number is a symbol."""
    if reduction != "mean":
        return loss(reduction=reduction)
    if torch.compiler.is_compiling():
        return loss(reduction="sum") / count
    return loss(normalizer=count)


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Logistic loss of labels in {-1, 1}: `log(1 + e^(-y·x))` of each element.

    Args:
        input: scores of any shape; float32, float64, bfloat16 or float16.
        target: y, of the same shape and dtype; usually -1 or 1, not checked.
        size_average, reduce: deprecated; they override `reduction`, with torch's warning.
        reduction: "mean" over all elements, "sum" or "none".

    Returns:
        The loss in nats, in the dtype of `input` (float32 under autocast).

    Raises:
        torch's exceptions, in its words.

    Other than torch: it does not overflow. At x = -200, y = 1 it is 200; torch has inf, and NaN for the gradient.

    Example:
        >>> import torch
        >>> from xent.compat.torch import soft_margin_loss
        >>> soft_margin_loss(torch.tensor([0.0, -200.0]), torch.tensor([1.0, 1.0]), reduction="none")
        tensor([  0.6931, 200.0000])

    Source: `torch.nn.functional.soft_margin_loss` of torch 2.13.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy.legacy_get_string(size_average, reduce)
    if ordinary.is_logits(input) and ordinary.is_like(target, input) and reduction in ordinary.REDUCTIONS:
        return ordinary.in_dtype_of(_soft_margin(input, target, reduction), input)
    return functional.soft_margin_loss(input, target, reduction=reduction)


def _soft_margin(input: Tensor, target: Tensor, reduction: str) -> Tensor:
    if is_readable(input) and is_readable(target) and not target.requires_grad:  # then labels are checked
        try:
            return xent.logistic_loss(input, target, reduction=reduction)  # type: ignore[no-any-return]
        except ValueError:  # labels that are neither -1 nor 1
            pass
    # e^(-y·x) multiplies what y·x loses when it is rounded
    wide = torch.float32 if input.itemsize == 2 else torch.float64
    margin = input.to(wide) * target.to(wide)
    loss = _sigmoid(margin, margin.new_ones(()).expand(margin.shape), None, reduction)
    return loss if input.itemsize == 2 else loss.to(input.dtype)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Sigmoid cross-entropy averaged over the last axis: `Σ_c w_c·(y_c·softplus(-x_c) + (1 - y_c)·softplus(x_c)) / C`.

    Args:
        input: logits [..., C]; float32, float64, bfloat16 or float16.
        target: of the same shape and dtype; 0 or 1, not checked.
        weight: broadcasts to `input`.
        size_average, reduce: deprecated; they override `reduction`, with torch's warning.
        reduction: "mean" or "sum" of the rows' losses, or "none": one loss a row.

    Returns:
        The loss in nats, in the dtype of `input` (float32 under autocast).

    Raises:
        torch's exceptions, in its words.

    Other than torch: infinite logits give the limit, 0 or inf, where torch gives NaN.

    Example:
        >>> import torch
        >>> from xent.compat.torch import multilabel_soft_margin_loss
        >>> multilabel_soft_margin_loss(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]]))
        tensor(1.4100)

    Source: `torch.nn.functional.multilabel_soft_margin_loss` of torch 2.13.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy.legacy_get_string(size_average, reduce)
    if (
        ordinary.is_logits(input)
        and input.ndim > 0
        and ordinary.is_like(target, input)
        and reduction in ordinary.REDUCTIONS
        and ordinary.is_spread(weight, input)
    ):
        try:
            loss = _sigmoid(input, target, weight, reduction)
            if reduction != "mean":
                loss = (loss.sum(-1) if reduction == "none" else loss) / input.shape[-1]
            return loss.to(input.dtype)
        except ValueError:
            pass  # weights, or shapes, that are torch's to take or to refuse
    return functional.multilabel_soft_margin_loss(input, target, weight, reduction=reduction)


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """`cross_entropy` of the logits `input @ linear_weight.T + linear_bias`, which are not stored unless they are few.

    Args:
        input: [D] or [N, D].
        linear_weight: [C, D].
        target: as in `cross_entropy`; None for `ignore_index` is torch's default.
        linear_bias: [C].
        weight, reduction, label_smoothing: as in `cross_entropy`.
        options: torch's chunking; a call that has them is torch's. (`xent.linear_softmax_cross_entropy` has a budget.)

    Returns:
        The loss, as `cross_entropy` returns it.

    Raises:
        torch's exceptions, in its words.

    Example:
        >>> import torch
        >>> from xent.compat.torch import linear_cross_entropy
        >>> linear_cross_entropy(torch.ones(1, 2), torch.eye(2), torch.tensor([1]))
        tensor(0.6931)

    Source: `torch.nn.functional.linear_cross_entropy` of torch 2.13.
    """
    if (
        options is None
        and ordinary.is_logits(input)
        and ordinary.is_logits(linear_weight)
        and linear_weight.ndim == 2
        and input.ndim in (1, 2)
        and input.shape[-1] == linear_weight.shape[1]
        and (linear_bias is None or linear_bias.shape == linear_weight.shape[:1])
        and isinstance(target, Tensor)
        and target.shape == input.shape[:-1]
        and target.dtype is torch.int64
        and reduction in ordinary.REDUCTIONS
        and ordinary.is_weight(weight, input)
        and (epsilon := ordinary.smoothing(label_smoothing)) is not None
    ):
        ignore = -100 if ignore_index is None else ignore_index
        if ordinary.are_small_logits(input, linear_weight):
            logits = functional.linear(input, linear_weight, linear_bias)
            return cross_entropy(logits, target, weight, None, ignore, None, reduction, epsilon)
        try:
            loss = xent.linear_softmax_cross_entropy(
                input,
                linear_weight,
                target,
                bias=linear_bias,
                class_weight=weight,
                label_smoothing=epsilon,
                ignore_index=ignore,
                reduction=reduction,
            )
            if reduction == "mean":
                loss = ordinary.nan_of_nothing(loss, target, weight, ignore)
            return ordinary.in_dtype_of(loss, input)
        except (IndexError, TypeError, ValueError):
            pass  # labels, dtypes, weights or shapes that are torch's to take or to refuse
    return functional.linear_cross_entropy(
        input,
        linear_weight,
        target,
        linear_bias=linear_bias,
        weight=weight,
        reduction=reduction,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        options=options,
    )


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """`exp x / Σ exp x` along `dim`.

    Args:
        input: float tensor.
        dim: the axis; None is torch's to choose, with its warning.
        dtype: what `input` is converted to first.

    Returns:
        Probabilities in the dtype of `input`, or `dtype`.

    Raises:
        torch's exceptions, in its words.

    Example:
        >>> import torch
        >>> from xent.compat.torch import softmax
        >>> softmax(torch.zeros(2), dim=0)
        tensor([0.5000, 0.5000])

    Source: `torch.nn.functional.softmax` of torch 2.13.
    """
    small = small_activation(Softmax, input, dim) if dtype is None else None
    if small is not None:
        return small.contiguous()
    if dtype is None and ordinary.is_logits(input) and ordinary.has_axis(input, dim):
        return xent.softmax(input, axis=dim).contiguous()  # type: ignore[no-any-return,arg-type]
    return functional.softmax(input, dim, _stacklevel + 1, dtype)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """`x - log Σ exp x` along `dim`.

    Args:
        input: float tensor.
        dim: the axis; None is torch's to choose, with its warning.
        dtype: what `input` is converted to first.

    Returns:
        Logarithms of probabilities in the dtype of `input`, or `dtype`.

    Raises:
        torch's exceptions, in its words.

    Example:
        >>> import torch
        >>> from xent.compat.torch import log_softmax
        >>> log_softmax(torch.zeros(2), dim=0)
        tensor([-0.6931, -0.6931])

    Source: `torch.nn.functional.log_softmax` of torch 2.13.
    """
    small = small_activation(LogSoftmax, input, dim) if dtype is None else None
    if small is not None:
        return small.contiguous()
    if dtype is None and ordinary.is_logits(input) and ordinary.has_axis(input, dim):
        return xent.log_softmax(input, axis=dim).contiguous()  # type: ignore[no-any-return,arg-type]
    return functional.log_softmax(input, dim, _stacklevel + 1, dtype)


def logsumexp(input: Tensor, dim: Any, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """`log Σ exp x` along `dim`.

    Args:
        input: float tensor.
        dim: the axis; several are torch's to answer.
        keepdim: whether the axis stays, with length 1.
        out: written to; torch's to answer.

    Returns:
        A tensor without the axis, in the dtype of `input`.

    Raises:
        torch's exceptions, in its words.

    Example:
        >>> import torch
        >>> from xent.compat.torch import logsumexp
        >>> logsumexp(torch.zeros(2), dim=0)
        tensor(0.6931)

    Source: `torch.logsumexp` of torch 2.13.
    """
    lse = small_activation(LogSumExp, input, dim) if out is None else None
    if lse is None:
        if out is not None or not (ordinary.is_logits(input) and ordinary.has_axis(input, dim)):
            return torch.logsumexp(input, dim, keepdim, out=out)
        lse = xent.logsumexp(input, axis=dim)
    return lse.unsqueeze(dim) if keepdim else lse
