"""`xent.compat.torch` against `torch.nn.functional` where a call costs more than its arithmetic: 32 rows of 10 classes.

A step is a call and its backward pass, in eager mode, as a training loop has them. Values and gradients are compared
before anything is timed; then the two take turns, as in `xent bench`.

    python benchmarks/latency.py --json benchmarks/results/latency.jsonl

Exit status 1 if a result of xent is not torch's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from xent.bench.machine import machine
from xent.bench.timing import interleave
from xent.compat import torch as compat

TOLERANCE = 1e-5
ROWS, CLASSES, WIDTH = 32, 10, 16
LOSS = "binary_cross_entropy_with_logits"


def cases() -> dict[str, tuple[str, Tensor, tuple[Any, ...], dict[str, Any]]]:
    """A function's name, the argument it is differentiated by, and the others; a module's, and its input and target."""
    random = torch.Generator().manual_seed(0)
    shape = (ROWS, CLASSES)
    x = torch.randn(shape, generator=random)
    index = torch.randint(CLASSES, (ROWS,), generator=random)
    soft = torch.randn(shape, generator=random).softmax(1)
    binary = torch.randint(2, shape, generator=random).float()
    by_class = torch.rand(CLASSES, generator=random) + 0.5
    by_element = torch.rand(shape, generator=random) + 0.5
    inputs = torch.randn(ROWS, WIDTH, generator=random)
    weight = torch.randn(CLASSES, WIDTH, generator=random)
    none = {"reduction": "none"}
    return {
        "cross_entropy": ("cross_entropy", x, (index,), {}),
        "cross_entropy, weight": ("cross_entropy", x, (index, by_class), {}),
        "cross_entropy, none": ("cross_entropy", x, (index,), none),
        "cross_entropy, weight, none": ("cross_entropy", x, (index, by_class), none),
        "cross_entropy, smoothing": ("cross_entropy", x, (index,), {"label_smoothing": 0.1}),
        "cross_entropy, probabilities": ("cross_entropy", x, (soft,), {}),
        "cross_entropy, bfloat16": ("cross_entropy", x.bfloat16(), (index,), {}),
        "CrossEntropyLoss": ("CrossEntropyLoss", x, (index,), {}),
        LOSS: (LOSS, x, (binary,), {}),
        f"{LOSS}, none": (LOSS, x, (binary,), none),
        f"{LOSS}, weight": (LOSS, x, (binary, by_element), {}),
        f"{LOSS}, pos_weight": (LOSS, x, (binary,), {"pos_weight": by_class}),
        "BCEWithLogitsLoss": ("BCEWithLogitsLoss", x, (binary,), {}),
        "soft_margin_loss": ("soft_margin_loss", x, (2 * binary - 1,), {}),
        "multilabel_soft_margin_loss": ("multilabel_soft_margin_loss", x, (binary,), {}),
        "linear_cross_entropy": ("linear_cross_entropy", inputs, (weight, index), {}),
        "log_softmax": ("log_softmax", x, (1,), {}),
        "softmax": ("softmax", x, (1,), {}),
        "logsumexp": ("logsumexp", x, (1,), {}),
    }


def of_torch(name: str) -> Any:
    """What the name stands for in torch."""
    homes = (torch.nn, torch.nn.functional, torch)
    return next(getattr(home, name) for home in homes if hasattr(home, name))


def step_of(function: Any, x: Tensor, rest: tuple[Any, ...], options: dict[str, Any]) -> Callable[[], Any]:
    """The step with a function, or with a module made of the options: returns the value and the gradient to `x`."""
    leaf = x.clone().requires_grad_()
    if isinstance(function, type):
        function, options = function(**options), {}
    value = function(leaf, *rest, **options)
    upstream = None if value.ndim == 0 else torch.rand(value.shape, generator=torch.Generator().manual_seed(1))

    def step() -> tuple[Tensor, Tensor | None]:
        leaf.grad = None
        value = function(leaf, *rest, **options)
        value.backward(upstream)
        return value, leaf.grad

    return step


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest expected value."""
    a, b = found.detach().double(), expected.detach().double()
    return float((a - b).abs().max() / (b.abs().max() or 1.0))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="spent on timing each case (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write one JSON object a row to FILE")
    parser.add_argument("--smoke", action="store_true", help="as few rounds as can be: a test of this script")
    namespace = parser.parse_args(arguments)
    table = Table("case", "xent, µs", "torch, µs", "xent ÷ torch", "IQR")
    lines, status = [], 0
    for case, (name, x, rest, options) in cases().items():
        tolerance = TOLERANCE if x.dtype == torch.float32 else torch.finfo(x.dtype).eps
        steps = {
            "xent": step_of(getattr(compat, name), x, rest, options),
            "torch": step_of(of_torch(name), x, rest, options),
        }
        worst = max(difference(a, b) for a, b in zip(steps["xent"](), steps["torch"](), strict=True))
        if not worst <= tolerance:
            print(f"{case}: xent and torch differ by {worst:.3g}, expected at most {tolerance:g}")
            status = 1
        timings = interleave(steps, 0.0 if namespace.smoke else namespace.seconds)
        ours, theirs = timings["xent"], timings["torch"]
        ratios = sorted(a / b for a, b in zip(ours.samples, theirs.samples, strict=True))
        quartiles = ratios[len(ratios) // 4], ratios[(3 * len(ratios)) // 4]
        ratio = ours.median / theirs.median
        table.add_row(
            case,
            f"{1e6 * ours.median:.1f}",
            f"{1e6 * theirs.median:.1f}",
            f"{ratio:.2f}",
            f"{quartiles[0]:.2f} to {quartiles[1]:.2f}",
        )
        row = {
            "case": case,
            "shape": [ROWS, CLASSES],
            "microseconds": {"xent": 1e6 * ours.median, "torch": 1e6 * theirs.median},
            "ratio": ratio,
            "ratio_quartiles": quartiles,
            "rounds": len(ours.samples),
            "difference": worst,
            "machine": machine(),
            "versions": {"torch": torch.__version__},
        }
        lines.append(json.dumps(row))
    Console(width=110).print(table)
    if namespace.json:
        namespace.json.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
