"""Cross-entropy of a projection: xent's linear loss against PyTorch, eager and chunked, and against the products alone.

A step is the loss and its gradients to the hidden states and the weight. Results are compared with eager PyTorch before
anything is timed; then the contenders take turns, as in `xent bench`. Memory is what a step adds at its peak to that of
its inputs, measured in a process of its own; the gradients are among it.

    python benchmarks/linear.py --json benchmarks/results/linear.jsonl

Exit status 1 if a result of xent is not PyTorch's.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

import xent
from xent.bench.machine import machine
from xent.bench.timing import Timing, interleave, seconds
from xent.peak_memory import CLEAR, ENVIRONMENT, RESET_PEAK, status_bytes

# Rows, width of the hidden states, classes; and whether the rivals, which store all logits, are left out.
CASES: dict[str, tuple[int, int, int, bool]] = {
    "vocabulary": (2048, 512, 50257, False),
    "million": (4096, 128, 1_000_000, True),
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}
Step = Callable[[], list[Tensor]]


def contenders(sizes: tuple[int, int, int], dtype: torch.dtype) -> dict[str, Step]:
    """The steps, each of which returns the loss and the gradients."""
    rows, width, classes = sizes
    random = torch.Generator().manual_seed(0)
    x = torch.randn(rows, width, generator=random).to(dtype).requires_grad_()
    w = (torch.randn(classes, width, generator=random) / width**0.5).to(dtype).requires_grad_()
    labels = torch.randint(0, classes, (rows,), generator=random)

    def step(loss: Callable[[], Tensor]) -> Step:
        def run() -> list[Tensor]:
            value = loss()
            return [value.detach(), *torch.autograd.grad(value, (x, w))]

        return run

    @torch.no_grad()
    def products() -> list[Tensor]:
        logits = x @ w.T
        return [logits @ w, logits.T @ x]

    return {
        "xent": step(lambda: xent.linear_softmax_cross_entropy(x, w, labels)),
        "eager": step(lambda: functional.cross_entropy(functional.linear(x, w), labels)),
        "torch chunked": step(
            lambda: functional.linear_cross_entropy(x, w, labels, options=torch.nn.LinearCrossEntropyOptions())
        ),
        "products alone": products,
    }


def difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference over the largest expected value of its tensor."""
    pairs = ((a.double(), b.double()) for a, b in zip(found, expected, strict=True))
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def peak_mib(case: str, dtype: str, contender: str) -> float | None:
    """What a step adds to the memory of its inputs at its peak."""
    if not CLEAR.exists():
        return None
    command = [sys.executable, __file__, "--measure", case, dtype, contender]
    done = subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def measure(case: str, dtype: str, contender: str) -> None:
    """Prints the peak of one contender. Runs in a process of its own."""
    contenders((8, CASES[case][1], 16), DTYPES[dtype])[contender]()  # loads what it needs
    step = contenders(CASES[case][:3], DTYPES[dtype])[contender]
    xent.clear_cache()
    gc.collect()
    CLEAR.write_text(RESET_PEAK)
    before = status_bytes("VmRSS")
    step()
    print((status_bytes("VmHWM") - before) / 2**20)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="spent on timing each case (default: 20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write one JSON object a row to FILE")
    parser.add_argument("--smoke", action="store_true", help="shrink every case: a test of this script")
    parser.add_argument("--measure", nargs=3, metavar=("CASE", "DTYPE", "CONTENDER"), help=argparse.SUPPRESS)
    namespace = parser.parse_args(arguments)
    if namespace.measure:
        measure(*namespace.measure)
        return 0
    table = Table("case", "dtype", "contender", "ms", "IQR", "× the products", "peak beyond gradients, MiB")
    lines, status = [], 0
    for case, (*full, alone) in CASES.items():
        for name, dtype in DTYPES.items():
            sizes = tuple(min(n, most) for n, most in zip(full, (20, 8, 50), strict=True)) if namespace.smoke else full
            steps = contenders(tuple(sizes), dtype)
            if alone and name != "float32":
                continue
            worst = None
            if alone:
                steps = {"xent": steps["xent"]}
            else:
                worst = difference(steps["xent"](), steps["eager"]())
                if not worst <= TOLERANCE[name]:
                    print(f"{case}, {name}: xent and eager PyTorch differ by {worst:.3g}")
                    status = 1
            if alone:  # half a minute a step
                timings = {k: Timing((seconds(step, 1), seconds(step, 1)), 1) for k, step in steps.items()}
            else:
                timings = interleave(dict(steps), 0.0 if namespace.smoke else namespace.seconds)
            for contender in steps:
                timing = timings[contender]
                low, high = timing.quartiles
                over = None if alone else timing.median / timings["products alone"].median
                peak = None
                if not namespace.smoke:
                    peak = peak_mib(case, name, contender)
                gradients = (sizes[0] + sizes[2]) * sizes[1] * dtype.itemsize / 2**20
                beyond = None if peak is None else peak - gradients
                table.add_row(
                    *(case, name, contender, f"{1e3 * timing.median:.4g}", f"{1e3 * (high - low):.2g}"),
                    "" if over is None else f"{over:.2f}",
                    "" if beyond is None else f"{beyond:.0f}",
                )
                row: dict[str, Any] = {
                    "case": case,
                    "shape": list(sizes),
                    "dtype": name,
                    "contender": contender,
                    "milliseconds": 1e3 * timing.median,
                    "quartiles": [1e3 * low, 1e3 * high],
                    "rounds": len(timing.samples),
                    "over_products": over,
                    "peak_mib": peak,
                    "beyond_gradients_mib": beyond,
                    "difference": worst,
                    "machine": machine(),
                    "versions": {"torch": torch.__version__},
                }
                lines.append(json.dumps(row))
    Console(width=120).print(table)
    if namespace.json:
        namespace.json.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
