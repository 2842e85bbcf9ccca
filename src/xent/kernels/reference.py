"""The slow, obvious implementation, on the array API: the fallback where no kernel fits and the oracle of every kernel.

It is written so that an automatic differentiation of it is right: no NaN comes from a branch that is not taken.
Logits have their class axis last. `xp` is a namespace of the array API standard; frameworks whose names differ pass a
small adapter.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..formulas import RowFunction, softmax_coefficients, uses_measure
from ..options import ElementwiseOptions, SoftmaxOptions
from ..problem import SoftmaxProblem


class Statistics(NamedTuple):
    """Per row: `lse`, `nll` of the label, `u` and `mass` of the target measure, `entropy`, `argmax`."""

    lse: Any
    nll: Any
    u: Any
    mass: Any
    entropy: Any
    argmax: Any


def transform(xp: Any, x: Any, temperature: float, softcap: float | None) -> Any:
    """z from raw logits: the soft cap first, then the temperature."""
    if softcap is not None:
        x = softcap * xp.tanh(x / softcap)
    return x if temperature == 1.0 else x / temperature


def finite_where(xp: Any, zero: Any, x: Any) -> Any:
    """`x`, made 0 where it is not finite and its factor is 0: 0·inf is 0, in value and derivative."""
    return xp.where(zero & ~xp.isfinite(x), xp.zeros_like(x), x)


def numbers(xp: Any, count: int, like: Any) -> Any:
    """0, 1, ..., `count` - 1, on the device of another array; one that is traced is nowhere yet."""
    return xp.arange(count, device=getattr(like, "device", None))


def class_numbers(xp: Any, x: Any) -> Any:
    """0, 1, ... along the last axis."""
    return numbers(xp, x.shape[-1], x)


def statistics(xp: Any, z: Any, *, index: Any = None, measure: Any = None) -> Statistics:
    """Row statistics of logits `z` `[..., C]`.

    A namespace with `custom_gradient` differentiates them by their closed form, which takes far fewer operations.

    Args:
        index: class of each row, valid everywhere; or None.
        measure: w `[..., C]`; or None.
    """
    best = xp.argmax(z, axis=-1)
    leader = xp.equal(class_numbers(xp, z), xp.expand_dims(best, -1))
    label = None if index is None else xp.equal(class_numbers(xp, z), xp.expand_dims(index, -1))

    def sums(z: Any) -> tuple[Any, Any]:
        """The largest logit, and Σ e^(z - top) without the leader's own term, which is 1: log1p keeps what is left."""
        top = xp.take_along_axis(z, xp.expand_dims(best, -1), -1)
        return top, xp.sum(xp.where(leader, xp.zeros_like(z), xp.exp(z - top)), axis=-1)

    def values(z: Any, w: Any) -> list[Any]:
        top, rest = sums(z)
        log_sum = xp.log1p(rest)
        found = [top[..., 0] + log_sum]
        if index is not None:
            found.append((top[..., 0] - xp.take_along_axis(z, xp.expand_dims(index, -1), -1)[..., 0]) + log_sum)
        if measure is not None:
            found.append(xp.sum(w * finite_where(xp, xp.equal(w, 0), top - z), axis=-1) + xp.sum(w, axis=-1) * log_sum)
        return found

    def slopes(z: Any, w: Any, *upstream: Any) -> tuple[Any, Any]:
        of_lse, *rest_of = (xp.expand_dims(g, -1) for g in upstream)
        of_nll = rest_of.pop(0) if index is not None else None
        of_u = rest_of.pop(0) if measure is not None else None
        top, rest = sums(z)
        log_sum, rest = xp.expand_dims(xp.log1p(rest), -1), xp.expand_dims(rest, -1)
        every = of_lse if of_nll is None else of_lse + of_nll  # times p
        if of_u is not None:
            every = every + of_u * xp.expand_dims(xp.sum(w, axis=-1), -1)
        # where the leader is the label their terms are exactly opposite
        at_leader = every if of_nll is None else every - xp.where(label, of_nll, xp.zeros_like(of_nll))
        slope = xp.where(leader, at_leader - every * (rest / (1.0 + rest)), every * xp.exp((z - top) - log_sum))
        if label is not None:
            slope = slope - xp.where(label & ~leader, of_nll, xp.zeros_like(of_nll))
        if of_u is None:
            return slope, None
        return slope - of_u * w, of_u * (finite_where(xp, xp.equal(w, 0), top - z) + log_sum)

    custom = getattr(xp, "custom_gradient", None)
    lse, *others = values(z, measure) if custom is None else custom(values, slopes)(z, measure)
    nll = others.pop(0) if index is not None else None
    u = others.pop(0) if measure is not None else None
    mass = None if measure is None else xp.sum(measure, axis=-1)
    top, rest = sums(z)
    log_sum = xp.expand_dims(xp.log1p(rest), -1)
    p = xp.exp((z - top) - log_sum)
    entropy = xp.sum(p * finite_where(xp, xp.equal(p, 0), (top - z) + log_sum), axis=-1)
    return Statistics(lse, nll, u, mass, entropy, best)


def softmax_cross_entropy(
    xp: Any,
    problem: SoftmaxProblem,
    options: SoftmaxOptions,
    logits: Any,
    labels: Any,
    *,
    class_weight: Any = None,
    sample_weight: Any = None,
    normalizer: Any = None,
    function: RowFunction | None = None,
) -> tuple[Any, Statistics]:
    """The loss, reduced, and the statistics of each row.

    Args:
        logits: of `problem.shape`, in the dtype to compute in.
        labels: class indices (any integer dtype; out of range gives NaN), soft targets, or a pair (indices, values) of
            top-k targets.
        function: of each row's nll, the loss if not None.
    """
    x = xp.moveaxis(logits, problem.axis, -1)
    s = 1.0 if sample_weight is None else sample_weight
    classes = problem.classes
    index = measure = invalid = dropped = None
    label_weight: Any = 1.0
    v = 1.0 if class_weight is None else class_weight
    if problem.target == "index":
        if options.ignore_index is not None:
            dropped = xp.equal(labels, options.ignore_index)
        outside = (labels < 0) | (labels >= classes)
        invalid = outside if dropped is None else outside & ~dropped
        index = xp.where(outside, xp.zeros_like(labels), labels)
        label_weight = 1.0 if class_weight is None else xp.take(v, index)
        soft: Any = 0.0
        mass = label_weight
    elif problem.target == "dense":
        soft = xp.moveaxis(labels, problem.axis, -1)
        mass = xp.sum(soft * v, axis=-1)
    else:
        indices, values = labels
        hit = xp.equal(xp.expand_dims(indices, -1), class_numbers(xp, x))
        soft = xp.sum(xp.where(hit, xp.expand_dims(values, -1), 0.0), axis=-2)
        mass = xp.sum(soft * v, axis=-1)
    if sample_weight is not None:  # a row of no weight may hold anything
        empty = xp.equal(s, 0) & ~xp.all(xp.isfinite(x), axis=-1)
        dropped = empty if dropped is None else dropped | empty
    if dropped is not None:
        x = xp.where(xp.expand_dims(dropped, -1), xp.zeros_like(x), x)

    k = softmax_coefficients(options, problem.target, classes, sample_weight=s, label_weight=label_weight)
    if uses_measure(options, problem.target):
        measure = v * (k.alpha * soft + k.beta) + xp.zeros_like(x)
    stats = statistics(xp, transform(xp, x, options.temperature, options.softcap), index=index, measure=measure)

    loss = xp.zeros_like(stats.lse)
    nll = stats.nll if function is None else function(xp, stats.nll)[0]
    for coefficient, statistic in ((k.b, nll), (k.c, stats.u), (k.zeta, stats.lse**2)):
        if statistic is not None and not (isinstance(coefficient, float) and coefficient == 0.0):
            factor = coefficient + xp.zeros_like(statistic)
            loss = loss + factor * finite_where(xp, xp.equal(factor, 0), statistic)
    kept = s * mass + xp.zeros_like(loss)
    if dropped is not None:
        loss, kept = xp.where(dropped, xp.zeros_like(loss), loss), xp.where(dropped, xp.zeros_like(kept), kept)
    if invalid is not None:
        loss = loss * xp.where(invalid, xp.nan * xp.ones_like(loss), xp.ones_like(loss))
    if options.ignore_index is not None and problem.target == "index":
        skipped = xp.equal(labels, options.ignore_index)
        empty = [xp.where(skipped, xp.zeros_like(x), x) for x in (stats.lse, stats.entropy)]
        best = xp.where(skipped, xp.zeros_like(stats.argmax) - 1, stats.argmax)
        stats = stats._replace(lse=empty[0], entropy=empty[1], argmax=best)
    return reduced(xp, options.reduction, loss, kept, normalizer), stats


def topk_or_nan(xp: Any, indices: Any, values: Any, classes: int) -> Any:
    """Masses of top-k targets; NaN in a row with a class out of range or twice, where nothing can be raised."""
    ordered = xp.sort(indices)
    bad = xp.any((indices < 0) | (indices >= classes), axis=-1)
    bad = bad | xp.any(xp.equal(ordered[..., 1:], ordered[..., :-1]), axis=-1)
    return xp.where(xp.expand_dims(bad, -1), xp.nan * xp.ones_like(values), values)


def softplus(xp: Any, x: Any) -> Any:
    """log(1 + e^x): derivatives of any order are right, at 0 and at inf."""
    native = getattr(xp, "softplus", None)
    if native is not None:
        return native(x)
    small = xp.abs(x) < 1
    inner = xp.logaddexp(xp.where(small, x, xp.zeros_like(x)), xp.zeros_like(x))
    outer = xp.where(small, xp.ones_like(x), x)
    return xp.where(small, inner, xp.maximum(outer, xp.zeros_like(x)) + xp.log1p(xp.exp(-xp.abs(outer))))


def modulation(xp: Any, x: Any, gamma: float) -> Any:
    """e^(-gamma·softplus(x)): a power of σ(-x). Flat at ±inf, where the loss that it multiplies may be infinite."""
    far = xp.where(x > 0, 1e30 * xp.ones_like(x), -1e30 * xp.ones_like(x))
    return xp.exp(-gamma * softplus(xp, xp.where(xp.isfinite(x), x, far)))


def loss_of_positive(xp: Any, options: ElementwiseOptions, x: Any) -> Any:
    """The loss of a positive label, without weights."""
    loss = softplus(xp, -x)
    return loss if options.gamma_pos == 0.0 else modulation(xp, x, options.gamma_pos) * loss


def loss_of_negative(xp: Any, options: ElementwiseOptions, x: Any) -> Any:
    """The loss of a negative label, without weights."""
    up, down = softplus(xp, x), softplus(xp, -x)
    if options.clip == 0.0:
        return up if options.gamma_neg == 0.0 else modulation(xp, -x, options.gamma_neg) * up
    above = xp.exp(-down) - options.clip
    live = above > 0
    p = xp.where(live, above, xp.ones_like(x))
    loss = -(p**options.gamma_neg) * xp.log(xp.exp(-up) + options.clip)
    # NaN is not above the clip, and must not vanish
    return xp.where(live, loss, xp.where(xp.equal(x, x), xp.zeros_like(x), x))


def labels_or_nan(xp: Any, options: ElementwiseOptions, labels: Any) -> Any:
    """The labels, NaN where they are not what they must be, where nothing can be raised."""
    fine = (labels >= options.low) & (labels <= options.high)
    if options.ends_only:
        fine = xp.equal(labels, options.low) | xp.equal(labels, options.high)
    if options.ignore_index is not None:
        fine = fine | xp.equal(labels, options.ignore_index)
    return xp.where(fine, labels, xp.nan * xp.ones_like(labels))


def elementwise_loss(
    xp: Any,
    options: ElementwiseOptions,
    logits: Any,
    labels: Any,
    *,
    pos_weight: Any = None,
    weight: Any = None,
    mass: Any = None,
    normalizer: Any = None,
) -> Any:
    """A loss of single numbers, reduced.

    Args:
        logits, labels: in the dtype to compute in.
        weight: factor of each element's loss; `mass`: what each adds to the denominator of the mean. Both broadcast.
    """
    kept = xp.ones_like(logits) if mass is None else mass + xp.zeros_like(logits)
    factor = xp.ones_like(logits) if weight is None else weight + xp.zeros_like(logits)
    if options.ignore_index is not None:
        ignored = xp.equal(labels, options.ignore_index)
        kept, factor = xp.where(ignored, xp.zeros_like(kept), kept), xp.where(ignored, xp.zeros_like(kept), factor)
        logits, labels = xp.where(ignored, xp.zeros_like(kept), logits), xp.where(ignored, xp.zeros_like(kept), labels)
    loss = xp.zeros_like(logits)
    if options.kind == "pinball":
        error = logits - labels
        slope = xp.where(error > 0, options.positive * xp.ones_like(error), -options.negative * xp.ones_like(error))
        slope = xp.where(xp.equal(error, error), slope, error)
        loss = factor * xp.where(xp.equal(error, 0), xp.zeros_like(error), slope) * error
    else:
        positive = options.positive * (options.alpha * labels + options.beta)
        negative = options.negative * (options.alpha * (options.high - labels) + options.rest)
        if pos_weight is not None:
            positive = positive * pos_weight
        for share, loss_of in ((positive, loss_of_positive), (negative, loss_of_negative)):
            product = share * factor
            loss = loss + product * loss_of(xp, options, finite_where(xp, xp.equal(product, 0), logits))
    return reduced(xp, options.reduction, loss, kept, normalizer)


def log_clamped(xp: Any, p: Any, floor: float) -> Any:
    """log max(p, floor), whose derivative is 1 / max(p, floor) everywhere: a probability of 0 is still pulled up."""
    stop = getattr(xp, "stop_gradient", lambda x: x)
    return xp.log(xp.where(p < floor, floor + (p - stop(p)), p))


def log1m_clamped(xp: Any, p: Any, floor: float) -> Any:
    """log max(1 - p, floor), accurate for small p, with a derivative that does not vanish below the floor."""
    stop = getattr(xp, "stop_gradient", lambda x: x)
    low = 1.0 - p < floor
    inside = xp.log1p(-xp.where(low, xp.zeros_like(p), p))
    near_one = xp.where(low, floor - (p - stop(p)), xp.ones_like(p))
    return xp.where(low, xp.log(near_one), inside)


def cross_entropy_of_probs(
    xp: Any,
    problem: SoftmaxProblem,
    options: SoftmaxOptions,
    probs: Any,
    labels: Any,
    floor: float,
    *,
    class_weight: Any = None,
    sample_weight: Any = None,
    normalizer: Any = None,
) -> Any:
    """-Σ_k v_k·t_k·log max(p_k, floor) of each row, reduced; labels as in `softmax_cross_entropy`."""
    probs = xp.moveaxis(probs, problem.axis, -1)
    if problem.target == "index" and options.ignore_index is not None:  # what is ignored may hold anything
        probs = xp.where(xp.expand_dims(xp.equal(labels, options.ignore_index), -1), xp.ones_like(probs), probs)
    logs = log_clamped(xp, probs, floor)
    v = 1.0 if class_weight is None else class_weight
    s = 1.0 if sample_weight is None else sample_weight
    if problem.target == "index":
        outside = (labels < 0) | (labels >= problem.classes)
        index = xp.where(outside, xp.zeros_like(labels), labels)
        dropped = outside & ~outside if options.ignore_index is None else xp.equal(labels, options.ignore_index)
        rows = -xp.take_along_axis(logs, xp.expand_dims(index, -1), -1)[..., 0]
        weight = xp.ones_like(rows) if class_weight is None else xp.take(v, index)
        mass = xp.where(dropped, xp.zeros_like(weight), weight)
        rows = rows * xp.where(outside & ~dropped, xp.nan * xp.ones_like(rows), xp.ones_like(rows))
        weight = s * mass
    else:
        measure = v * xp.moveaxis(labels, problem.axis, -1)
        mass = xp.sum(measure, axis=-1)
        rows = -xp.sum(measure * finite_where(xp, xp.equal(measure, 0), logs), axis=-1)
        weight = s + xp.zeros_like(rows)
    loss = weight * finite_where(xp, xp.equal(weight, 0), rows)
    return reduced(xp, options.reduction, loss, s * mass, normalizer)


def reduced(xp: Any, reduction: str, loss: Any, mass: Any, normalizer: Any) -> Any:
    """The loss, its sum, or its sum over Σ mass or the normalizer; the mean of nothing is 0."""
    if reduction == "none":
        return loss
    total = xp.sum(loss)
    if reduction == "sum":
        return total
    denominator = xp.sum(mass + xp.zeros_like(loss)) if normalizer is None else normalizer + 0.0 * xp.ones_like(total)
    nothing = xp.equal(denominator, 0)
    return xp.where(nothing, xp.zeros_like(total), total / xp.where(nothing, xp.ones_like(total), denominator))


def binary_of_probs(xp: Any, p: Any, positive: Any, negative: Any, floor: float) -> Any:
    """-positive·log max(p, floor) - negative·log max(1 - p, floor); a share of 0 adds 0."""
    return -positive * log_clamped(xp, p, floor) - negative * log1m_clamped(xp, p, floor)


def kl_rows(xp: Any, q: Any, t: Any, floor: float, *, log_q: bool, log_t: bool) -> tuple[Any, Any]:
    """Σ_k t_k·(log t_k - log q_k) along the last axis, and t; a class without mass adds 0."""
    of_q = q if log_q else log_clamped(xp, q, floor)
    t, of_t = (xp.exp(t), t) if log_t else (t, xp.log(xp.where(xp.equal(t, 0), xp.ones_like(t), t)))
    zero = xp.equal(t, 0)
    own = xp.where(zero, xp.zeros_like(t), t * xp.where(zero, xp.zeros_like(t), of_t))
    return xp.sum(own - t * finite_where(xp, zero, of_q), axis=-1), t
