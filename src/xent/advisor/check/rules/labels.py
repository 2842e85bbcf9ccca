"""Rules about labels and weights alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..arrays import Lines
from ..case import SOFTMAX, Case
from .table import Found, rule, some

RARE = 100.0  # the most frequent class over the rarest, from where imbalance is worth a word


@rule(8, "labels that are no class", (*SOFTMAX, "sigmoid"))
def _(case: Case) -> Iterator[Found]:
    if case.kind in ("topk", "positives"):
        yield from _listed_classes(case)
        return
    bad = np.flatnonzero(case.misplaced)
    if not len(bad):
        return
    values, counts = np.unique(case.index[bad], return_counts=True)
    shown = ", ".join(f"{v} ({n} times)" for v, n in list(zip(values, counts, strict=True))[:4])
    place = np.unravel_index(bad[0], case.batch) if len(case.batch) > 1 else (bad[0],)
    at = ", ".join(str(int(p)) for p in place)
    fix = "Map the labels into the range, or name the one to skip: ignore_index."
    present = case.index[~case.ignored]
    if present.min() == 1 and present.max() == case.classes:
        fix = "They count from 1: pass labels - 1."
    elif len(values) == 1 and values[0] in (-1, -100, 255):
        meaning = "the label of unmarked pixels" if values[0] == 255 else "a common mark for labels to skip"
        fix = f"{values[0]} is {meaning}: pass ignore_index={values[0]}."
    elif values.min() >= case.classes:
        fix = (
            f"Labels up to {values.max()} need {values.max() + 1} classes, and the head has {case.classes}: tokenizer "
            "(or label map) and head disagree. Enlarge the head, or find the labels that should not be there."
        )
    yield (
        "error",
        f"{len(bad)} of {case.rows} labels are outside [0, {case.classes}): {shown}; the first at [{at}].",
        fix,
    )


def _listed_classes(case: Case) -> Iterator[Found]:
    name, padding = ("Positives.classes", -1) if case.kind == "positives" else ("TopK.indices", None)
    listed = Lines("labels", case.labels.classes if case.kind == "positives" else case.labels.indices)[...]
    bad = listed[((listed < 0) | (listed >= case.classes)) & (listed != padding)]
    if bad.size:
        values = ", ".join(map(str, np.unique(bad)[:4]))
        yield (
            "error",
            f"{bad.size} of {listed.size} numbers in {name} are outside [0, {case.classes}): {values}.",
            "The teacher (or label map) and the head disagree on the classes: map them into the range.",
        )


@rule(11, "soft labels that do not add up to 1", SOFTMAX)
def _(case: Case) -> Iterator[Found]:
    if case.kind != "dense" or case.options.log_target:
        return
    off = np.flatnonzero(~((case.label_mass <= 1.01) & (case.label_mass >= 0.99)))  # NaN too
    if len(off) and not _several_ones(case):
        sums = case.label_mass[off]
        other = _axis_of_ones(case)
        yield (
            "warning",
            f"{len(off)} of {case.rows} soft labels do not add up to 1 (from {sums.min():.4g} to {sums.max():.4g}): "
            f"{some(off)}.",
            "Divide each row by its sum, labels / labels.sum(axis, keepdims=True); or, if classes do not exclude each "
            "other, use xent.sigmoid_cross_entropy."
            if other is None
            else f"They add up to 1 over axis {other}: pass axis={other}.",
        )


def _axis_of_ones(case: Case) -> int | None:
    """Another axis over which the first labels add up to 1."""
    part = np.asarray(case.labels[:1], float)
    axes = [at for at in range(1, part.ndim) if at != case.axis and part.shape[at] > 1]
    return next((at for at in axes if (abs(part.sum(at) - 1) < 0.01).all()), None)


@rule(12, "soft labels that are all one-hot", SOFTMAX)
def _(case: Case) -> Iterator[Found]:
    targets = case.sample.targets
    if (
        case.kind != "dense"
        or targets is None
        or not len(targets)
        or case.labels.dtype in ("bool",)
        or not _floats(case)
    ):
        return
    one_hot = ((targets == 0) | (targets == 1)).all() and (targets.sum(1) == 1).all()
    if one_hot and (case.label_mass == 1).all():
        yield (
            "info",
            f"every soft label is one-hot ({len(targets)} of {case.rows} rows looked at).",
            f"Pass class indices, {case.classes} times smaller and faster to read: labels.argmax({case.axis}).",
        )


@rule(13, "several classes at once under softmax, or one under sigmoid", (*SOFTMAX, "sigmoid"))
def _(case: Case) -> Iterator[Found]:
    targets = case.sample.targets
    if case.kind != "dense" or targets is None or not len(targets):
        return
    if case.softmax and _several_ones(case):
        several = np.flatnonzero((targets == 1).sum(1) >= 2)
        yield (
            "error",
            f"{len(several)} of {len(targets)} rows looked at have several labels of 1 "
            f"({some(case.sample.rows[several])}): classes that do not exclude each other, under softmax.",
            "Every class for itself: xent.sigmoid_cross_entropy(logits, labels).",
        )
    if not case.softmax and case.classes > 1 and case.rows >= 8:
        binary = ((targets == 0) | (targets == 1)).all()
        if binary and (case.label_mass == 1).all():
            yield (
                "info",
                f"every one of the {case.rows} rows has exactly one label of 1 among {case.classes}, under sigmoid.",
                "If classes exclude each other: xent.softmax_cross_entropy(logits, labels.argmax(-1)).",
            )


@rule(17, "nearly all rows ignored", SOFTMAX)
def _(case: Case) -> Iterator[Found]:
    skipped = int(case.ignored.sum())
    if not case.rows or skipped <= 0.95 * case.rows:
        return
    if skipped == case.rows:
        text = (
            f"all {case.rows} labels are ignore_index={case.options.skipped_label}: a mean of nothing, 0 here, NaN in "
        )
        yield "warning", text + "PyTorch.", "Leave such batches out, or look at how the labels are masked."
    else:
        text = f"{skipped} of {case.rows} labels ({skipped / case.rows:.1%}) are ignored: a mean of few rows is noisy."
        yield "warning", text, "Pack more rows that count into a batch, or divide by a fixed number: normalizer=…"


@rule(18, "ignore_index is a class", SOFTMAX)
def _(case: Case) -> Iterator[Found]:
    skip = case.options.ignore_index
    if skip is not None and 0 <= skip < case.classes and case.kind == "index":
        yield (
            "info",
            f"ignore_index={skip} is one of the {case.classes} classes: its rows do not count, but its logit stays in "
            "every other row's denominator.",
            "Fine for a padding token. If the class should not exist, leave its column out, or set its logit to -inf.",
        )


@rule(26, "weights that cancel", SOFTMAX)
def _(case: Case) -> Iterator[Found]:
    if case.options.class_weight is None or case.options.reduction != "mean" or case.kind != "index":
        return
    present = np.flatnonzero(case.class_counts)
    if len(present) == 1 and int(case.kept.sum()) > 1:
        yield (
            "warning",
            f"all {int(case.kept.sum())} rows are of class {present[0]}: a weighted mean divides by its weight again, "
            "so class_weight has no effect.",
            "Divide by the number of rows: normalizer=len(labels). Or mix the classes within a batch.",
        )


@rule(31, "imbalance", ("softmax", "sigmoid"))
def _(case: Case) -> Iterator[Found]:
    if case.options.class_weight is not None or case.options.pos_weight is not None:
        return
    if case.softmax:
        counts = case.class_counts[case.class_counts > 0]
        if case.kind != "index" or len(counts) < 2 or counts.sum() < 1000 or counts.max() <= RARE * counts.min():
            return
        top, rare = (
            int(case.class_counts.argmax()),
            int(np.where(case.class_counts > 0, case.class_counts, np.inf).argmin()),
        )
        yield (
            "info",
            f"class {top} has {counts.max():.0f} rows and class {rare} {counts.min():.0f}, "
            f"{counts.max() / counts.min():.0f} times fewer.",
            "If the rare classes matter as much: class_weight=rows / (classes * counts), or add the log prior to the "
            "logits while training (logit adjustment), or xent.focal_cross_entropy. Start the bias of the head at the "
            "log prior.",
        )
    elif case.kind == "dense" and case.rows >= 1000:
        share = case.class_counts / case.rows
        rare_share = share[share > 0].min() if (share > 0).any() else 1.0
        if rare_share < 1 / (RARE + 1):
            yield (
                "info",
                f"class {int(np.where(share > 0, share, 2).argmin())} is positive in {rare_share:.3%} of {case.rows} "
                "rows.",
                "pos_weight=negatives / positives for each class, or xent.sigmoid_focal_cross_entropy. Start the bias "
                "of the head at log(positives / negatives).",
            )


@rule(33, "pos_weight the wrong way round", ("sigmoid",))
def _(case: Case) -> Iterator[Found]:
    if case.options.pos_weight is None or case.kind != "dense" or case.rows < 20:
        return
    given = np.asarray(Lines("pos_weight", case.options.pos_weight)[...], np.float64).reshape(-1)
    if given.size not in (1, case.classes):
        return  # one for something else than each class
    given = np.broadcast_to(given, (case.classes,))
    positives, negatives = case.class_counts, case.rows - case.class_counts
    # where a class has none of a kind, the data says nothing
    ratio = np.where((positives > 0) & (negatives > 0), negatives / np.maximum(positives, 1), np.nan)
    for classes, text in (
        (np.flatnonzero(given > 10 * ratio), "more than ten times negatives / positives"),
        (np.flatnonzero((given < 1) & (ratio > 10)), "below 1 though positives are rare"),
    ):
        if len(classes):
            c = classes[0]
            yield (
                "warning",
                f"pos_weight is {text} for {some(classes, 'class')}: {given[c]:.4g}, where negatives / positives is "
                f"{ratio[c]:.4g}.",
                "pos_weight multiplies the loss of positives: negatives / positives balances them. Was it inverted?",
            )


@rule(34, "signed loss, unsigned labels", ("logistic",))
def _(case: Case) -> Iterator[Found]:
    targets = case.sample.targets
    if targets is None or not targets.size:
        return
    zeros = int((targets == 0).sum())
    others = targets[(abs(targets) != 1) & (targets != 0)]
    if others.size:
        yield (
            "error",
            f"{others.size} of {targets.size} labels looked at are neither -1 nor +1 (such as {others[0]:.4g}).",
            "The logistic loss takes signs: -1 for one class, +1 for the other.",
        )
    elif zeros and ((targets == 0) | (targets == 1)).all():
        yield (
            "error",
            f"the labels are 0 ({zeros} of {targets.size} looked at) and 1, where the logistic loss takes -1 and +1: a "
            "label of 0 makes the loss a constant.",
            "Pass 2 * labels - 1, or use xent.sigmoid_cross_entropy, which takes 0 and 1.",
        )


@rule(37, "a teacher's top k without the rest", ("softmax",))
def _(case: Case) -> Iterator[Found]:
    if case.kind == "topk":
        high = np.flatnonzero(case.label_mass > 1.01)
        if len(high):
            yield (
                "warning",
                f"the values of {len(high)} of {case.rows} rows add up to more than 1 (at most "
                f"{case.label_mass.max():.3f}): {some(high)}.",
                "They are a distribution over the classes: divide them by their sum.",
            )
        low = np.flatnonzero(case.label_mass < 0.99)
        if len(low):
            yield (
                "warning",
                f"the values of {len(low)} of {case.rows} rows add up to less than 1 (at least "
                f"{case.label_mass.min():.3f}): "
                "the mass of the other classes is lost, and the student becomes too sure of the top ones.",
                "Divide the values by their sum, or give the rest to a class of its own.",
            )


def _floats(case: Case) -> bool:
    return isinstance(case.labels, Lines) and "float" in case.labels.dtype


def _several_ones(case: Case) -> bool:
    """Whether dense labels are zeros and ones, with more than one 1 in some row."""
    targets = case.sample.targets
    if targets is None or not ((targets == 0) | (targets == 1)).all():
        return False
    return bool(((targets == 1).sum(1) >= 2).any())
