"""Rules about size: memory, half precision and other libraries' limits."""

from __future__ import annotations

from collections.abc import Iterator

from ...files.stored import available_memory
from ..case import SOFTMAX, Case
from .table import Found, rule

HALF_ROWS = 65504  # the largest float16


@rule(24, "half precision in another library", ("softmax", "sigmoid"))
def _(case: Case) -> Iterator[Found]:
    o = case.options
    if o.framework is None or case.logits.dtype not in ("bfloat16", "float16"):
        return
    if case.logits.dtype == "float16" and case.rows > HALF_ROWS:
        yield (
            "warning",
            f"{case.rows} rows in float16, where a sum over rows ends at {HALF_ROWS}: the mean may be inf or NaN with "
            f"{o.framework}.",
            "xent sums in float32; elsewhere pass logits.float().",
        )
    elif o.label_smoothing:
        yield (
            "warning",
            f"label smoothing over {case.classes} classes in {case.logits.dtype}: {o.framework} adds up the logits of "
            "a row in half precision.",
            "xent sums in float32; elsewhere pass logits.float().",
        )


@rule(44, "logits too large for the memory", SOFTMAX, "form")
def _(case: Case) -> Iterator[Found]:
    memory = available_memory() if case.options.memory is None else case.options.memory
    size = {"float64": 8, "float32": 4}.get(case.logits.dtype, 2)
    needed = 3 * case.rows * case.classes * size
    if needed > memory:
        dense, small = case.rows * case.classes * size * 2, 40 << 20
        yield (
            "warning",
            f"logits of {case.rows} × {case.classes} {case.logits.dtype}, their copy and their gradient take "
            f"{needed / 2**30:.3g} GiB, and {memory / 2**30:.3g} GiB are there.",
            "Never store them: xent.linear_softmax_cross_entropy(hidden, weight, labels). Estimated peak beyond inputs "
            "and "
            f"gradients: {small >> 20} MiB, or what memory_budget says; dense with xent {dense / 2**30:.3g} GiB. For "
            "millions of classes also xent.sampled_softmax_loss.",
        )


@rule(46, "more numbers than 32 bits count", stage="form")
def _(case: Case) -> Iterator[Found]:
    count = case.rows * case.classes
    if count > 2**31 - 1:
        yield (
            "info",
            f"{count} logits, more than 2³¹: kernels of other libraries with 32-bit offsets crash or are wrong there. "
            "xent counts in 64 bits.",
            "Split the batch where you use another library.",
        )
