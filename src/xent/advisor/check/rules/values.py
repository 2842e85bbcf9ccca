"""Rules about what the first argument holds: logits where logits are expected, and finite ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ...calibration import equal_width
from ..arrays import Lines
from ..case import MASK, Case, Sample
from .table import Found, rule, some

ENOUGH = 16  # numbers from which a coincidence is unlikely
STEEP = 1e6  # a gradient with which no model learns
LARGE = 50.0  # beyond this the largest probability is 1 in float32


@rule(1, "softmax twice", ("softmax",))
def _(case: Case) -> Iterator[Found]:
    x = case.sample.values
    if x.size < 2 or case.classes < 2 or (x < 0).any() or (x > 1).any():
        return
    if (abs(x.sum(1) - 1) < case.exact).all():
        rows = f"{len(x)} row{'s' if len(x) > 1 else ''}"
        floor = f" It cannot fall below {_floor(case.classes):.3f}." if case.options.temperature == 1 else ""
        yield (
            "error",
            f"all logits of the {rows} looked at are in [0, 1] and add up to 1: they are probabilities already, and "
            f"the loss makes a second softmax of them.{floor}",
            "Pass what the last layer gives, without softmax. If you only have probabilities: "
            "xent.cross_entropy_from_probs(probs, labels).",
        )


def _floor(classes: int) -> float:
    """The least loss where logits are probabilities: -log softmax of (1, 0, …)."""
    return float(np.log(np.e + classes - 1) - 1)


@rule(2, "log-probabilities as logits", ("softmax",))
def _(case: Case) -> Iterator[Found]:
    x = case.sample.values
    if x.size >= 2 and case.classes > 1 and (x <= 0).all() and (abs(case.sample.lse) < case.exact).all():
        yield (
            "info",
            f"the logits of the {len(x)} rows looked at are log-probabilities (none above 0, log-sum-exp 0). That is "
            "harmless: log-softmax leaves them as they are.",
            "Leave the log_softmax away; the loss does it, more exactly.",
        )


@rule(3, "no log-probabilities", ("nll",))
def _(case: Case) -> Iterator[Found]:
    x = case.sample.values
    with np.errstate(invalid="ignore"):
        off = np.flatnonzero((x > case.exact).any(1) | (abs(case.sample.lse) > 10 * case.exact))
    if len(off):
        lse = case.sample.lse[off[0]]
        yield (
            "error",
            f"{len(off)} of {len(x)} rows looked at are no log-probabilities ({some(case.sample.rows[off])}: "
            "log-sum-exp "
            f"{lse:.4g}, largest {x[off[0]].max():.4g}): the loss is no likelihood, and has no lower bound.",
            "Pass logits to the loss that takes them: xent.softmax_cross_entropy(logits, labels), in PyTorch "
            "F.cross_entropy.",
        )


@rule(4, "sigmoid twice", ("sigmoid",))
def _(case: Case) -> Iterator[Found]:
    x = case.sample.values
    if x.size >= ENOUGH and (x >= 0).all() and (x <= 1).all() and x.max() > 0:
        yield (
            "error",
            f"all {x.size} logits looked at are in [0, 1] (from {x.min():.3g} to {x.max():.3g}): they are "
            "probabilities already, and the loss makes a second sigmoid of them.",
            "Pass what the last layer gives, without sigmoid. If you only have probabilities: "
            "xent.binary_cross_entropy_from_probs(probs, labels).",
        )


@rule(5, "no probabilities", ("probs", "binary_probs"))
def _(case: Case) -> Iterator[Found]:
    x = case.sample.values
    outside = (x < -1e-6) | (x > 1 + 1e-6)
    if outside.any():
        yield (
            "error",
            f"{int(outside.sum())} of {x.size} numbers looked at are outside [0, 1] (from {x.min():.4g} to "
            f"{x.max():.4g}): they are logits, not probabilities.",
            "Use the loss from logits: xent.softmax_cross_entropy, or xent.sigmoid_cross_entropy.",
        )


@rule(6, "saturated probabilities", ("probs", "binary_probs"))
def _(case: Case) -> Iterator[Found]:
    x, chosen = case.sample.values, None
    if case.options.gradient is not None:
        steep = np.abs(case.picked(Lines("gradient", case.options.gradient), case.sample.rows)).max(initial=0)
        if steep > STEEP:
            yield (
                "warning",
                f"a gradient of {steep:.3g}: the probability of a label is below 1e-6.",
                "Take the loss from logits, where nothing saturates: xent.softmax_cross_entropy, "
                "xent.sigmoid_cross_entropy.",
            )
    if not len(x) or (x < 0).any() or (x > 1).any():
        return
    if case.kind == "index":
        chosen = x[np.arange(len(x)), case.index[case.sample.rows]]
        wrong = np.flatnonzero(chosen < 1e-6)
    elif case.sample.targets is not None:
        t = case.sample.targets
        impossible = (x < 1e-6) & (t > 0)
        if not case.softmax:
            impossible |= (x > 1 - 1e-6) & (t < 1)
        wrong = np.flatnonzero(impossible.any(1))
    else:
        return
    if len(wrong):
        yield (
            "warning",
            f"in {len(wrong)} of {len(x)} rows looked at a true label has probability 0 (below 1e-6): "
            f"{some(case.sample.rows[wrong])}. The loss is infinite or clipped there, its gradient above 1e6 or 0.",
            "Take the loss from logits, where nothing saturates: xent.softmax_cross_entropy, "
            "xent.sigmoid_cross_entropy.",
        )


@rule(19, "an ignored row that is not finite", ("softmax",))
def _(case: Case) -> Iterator[Found]:
    bad = case.suspects.rows[case.ignored[case.suspects.rows]]
    if len(bad):
        yield (
            "warning",
            f"{some(bad)} {'is' if len(bad) == 1 else 'are'} ignored, and NaN or infinite. xent never reads them; with "
            "other libraries 0 · NaN makes their gradient NaN.",
            "Find out where they come from (attention over padding only?), and set them to 0.",
        )


@rule(20, "-inf where the target has mass", ("softmax", "kl"))
def _(case: Case) -> Iterator[Found]:
    sample, suspects = case.sample, case.suspects
    if case.options.label_smoothing > 0:
        masked = np.isneginf(suspects.values)
        if case.kind == "index":
            kept = case.kept[suspects.rows]
            masked[~kept] = False
            masked[kept, case.index[suspects.rows[kept]]] = False  # another rule's
        yield from _masked(suspects, masked, "label smoothing gives every class mass: the loss is inf")
    elif case.kind == "topk":
        yield from _masked(suspects, np.isneginf(suspects.values), "their soft label has mass there: the loss is inf")
    elif sample.targets is not None and suspects.targets is not None:
        masked = np.isneginf(suspects.values) & (suspects.targets > 0)
        yield from _masked(suspects, masked, "their soft label has mass there: the loss is inf")
        if case.options.framework == "torch":
            masked = np.isneginf(sample.values) & (sample.targets == 0)
            yield from _masked(sample, masked, "PyTorch multiplies it by their soft label of 0: the loss is NaN")


def _masked(sample: Sample, masked: NDArray[np.bool_], why: str) -> Iterator[Found]:
    hit = np.flatnonzero(masked.any(1) & np.isfinite(sample.values).any(1))
    if len(hit):
        yield (
            "error",
            f"{len(hit)} rows of those looked at have a logit of -inf ({some(sample.rows[hit])}), and {why}.",
            "Smooth over the finite classes only (a soft label made by hand), or mask with a large negative number "
            "such as -30 instead of -inf.",
        )


@rule(21, "-inf at the label", ("softmax", "nll"))
def _(case: Case) -> Iterator[Found]:
    found = case.suspects
    bad = found.rows[np.isfinite(found.lse) & case.kept[found.rows] & ~np.isfinite(case.nll[found.rows])]
    if case.kind == "index" and len(bad):
        yield (
            "error",
            f"the logit of the label itself is -inf in {some(bad)}: the label contradicts the mask, and the loss is "
            "inf.",
            "Let the mask allow the label, or skip the row with ignore_index.",
        )


@rule(22, "a row without a finite value")
def _(case: Case) -> Iterator[Found]:
    found = case.suspects
    if case.softmax:
        right = np.broadcast_to(np.isfinite(found.lse)[:, None], found.values.shape)
    elif found.targets is None:
        right = ~np.isnan(found.values)
    else:  # an infinite logit is fine where the label agrees
        agrees = np.where(
            found.targets > 0, np.isposinf(found.values) & (found.targets == 1), np.isneginf(found.values)
        )
        right = np.isfinite(found.values) | agrees
    lost = ~right.all(1) & case.kept[found.rows]
    bad = found.rows[lost]
    if not len(bad):
        return
    first = found.values[lost][0]
    kinds = (("NaN", np.isnan), ("+inf", np.isposinf), ("-inf", np.isneginf))
    held = " and ".join(name for name, test in kinds if test(first).any())
    finite = case.sample.values[np.isfinite(case.sample.values)]
    largest = f"; elsewhere |x| is at most {abs(finite).max():.4g}" if finite.size else ""
    yield (
        "error",
        f"{len(bad)} of {case.rows} rows have no finite loss ({some(bad)}; the first holds {held}){largest}.",
        "An overflow further up: look at the activations before the last layer, at the learning rate, and at half "
        "precision (float16 ends at 65504). torch.autograd.set_detect_anomaly(True) names the operation.",
    )


@rule(23, "large logits", ("softmax", "sigmoid"))
def _(case: Case) -> Iterator[Found]:
    x = case.sample.values
    finite = x[np.isfinite(x) & (x > MASK)]
    if not finite.size:
        return
    largest = float(abs(finite).max())
    squares = [float(entry["lse"]) ** 2 for entry in case.options.history if entry.get("lse") is not None]
    rising = (
        len(squares) >= 5 and squares[-1] > 100 and squares[-1] > 2 * float(np.median(squares[: len(squares) // 2]))
    )
    if largest <= LARGE and not rising:
        return
    drift = f" lse² has risen to {squares[-1]:.4g}." if rising else ""
    yield (
        "warning" if rising or ("float32" not in case.logits.dtype and "64" not in case.logits.dtype) else "info",
        f"logits are as large as {largest:.4g}.{drift} Half precision cannot tell neighbours apart there, and an "
        "overflow is near.",
        "Hold them: z_loss=1e-4, or softcap=30; or a smaller learning rate for the head.",
    )


@rule(43, "overconfidence", ("softmax",))
def _(case: Case) -> Iterator[Found]:
    o = case.options
    if case.kind != "index" or o.label_smoothing or o.temperature != 1 or o.softcap or int(case.kept.sum()) < 1000:
        return
    fine = np.isfinite(case.sample.lse)
    x, rows = case.sample.values[fine], case.sample.rows[fine]
    if len(rows) < 200:
        return
    sure = np.minimum(np.exp(x.max(1) - case.sample.lse[fine]), 1.0)
    right = x.argmax(1) == case.index[rows]
    error, excess = equal_width(sure, right).error, float(sure.mean() - right.mean())
    if error > 0.05 and excess > 0:
        yield (
            "info",
            f"the expected calibration error is {error:.1%} ({len(rows)} rows): mean confidence {sure.mean():.1%}, "
            f"accuracy {right.mean():.1%}.",
            "Fit a temperature on held-out logits (xent report does), and divide the logits by it when you predict.",
        )
