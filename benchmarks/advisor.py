"""What the advisor costs: a check in forward passes of its loss, a watched training step, and linting large sources.

The loss and its check take turns. A training step is one of a small network in PyTorch with and without `xent.watch`,
which looks every 100 steps; its cost a step is the time of all calls of the watch over the number of steps. Linted are
the standard library and the installed torch.

    python benchmarks/advisor.py --json benchmarks/results/advisor.jsonl
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import xent
from xent.bench.machine import machine

ROWS, CLASSES = 100_000, 1000
EVERY = 100
# The watched networks: batch, width and classes.
NETWORKS = ((256, 256, 10), (256, 512, 1000), (64, 256, 32000))


def in_turns(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median time of each in milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for at in range(rounds + 1):  # the first round warms up
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if at:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(found) for name, found in times.items()}


def checks(rows: int, rounds: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    logits = random.standard_normal((rows, CLASSES), dtype=np.float32)
    found = []
    for loss, labels in (
        ("softmax", random.integers(0, CLASSES, rows)),
        ("sigmoid", (random.random((rows, CLASSES), dtype=np.float32) < 0.01).astype(np.float32)),
    ):
        forward = xent.softmax_cross_entropy if loss == "softmax" else xent.sigmoid_cross_entropy
        times = in_turns(
            {
                "forward": lambda labels=labels, forward=forward: forward(logits, labels),
                "check": lambda labels=labels, loss=loss: xent.check(logits, labels, loss=loss),
            },
            rounds,
        )
        case = f"check, {loss}, {rows}×{CLASSES}"
        found.append({"case": case, "alone": times["forward"], "advisor": times["check"]})
    return found


def watched(batch: int, width: int, classes: int, steps: int) -> dict[str, Any]:
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, classes))
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    x, labels = torch.randn(batch, width), torch.randint(0, classes, (batch,))
    xent.watch()(model(x), labels)  # imports what a look needs
    watch = xent.watch(every=EVERY)
    times, spent = [], 0.0
    for _ in range(steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        logits = model(x)
        loss = xent.softmax_cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        middle = time.perf_counter()
        watch(logits, labels, value=loss)
        times.append(1e3 * (middle - start))
        spent += 1e3 * (time.perf_counter() - middle)
    alone = statistics.median(times)
    return {"case": f"watch, {batch}×{width}→{classes}", "alone": alone, "advisor": alone + spent / steps}


def linted(paths: list[Path]) -> dict[str, Any]:
    """The whole command in a process of its own."""
    command = [sys.executable, "-c", "import sys; from xent.cli import main; sys.exit(main())", "lint", "--json"]
    start = time.perf_counter()
    done = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, check=False)
    took = 1e3 * (time.perf_counter() - start)
    if done.returncode not in (0, 1, 2) or "Traceback" in done.stderr:
        raise RuntimeError(done.stderr)
    return {"case": f"lint, {' and '.join(path.name for path in paths)}", "advisor": took}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write one JSON object a row to FILE")
    parser.add_argument("--smoke", action="store_true", help="little of everything: a test of this script")
    options = parser.parse_args(arguments)
    if options.smoke:
        rows = [*checks(1000, 1), watched(8, 8, 3, 20), linted([Path(json.__file__).parent])]
    else:
        import torch

        rows = [*checks(ROWS, 9), *(watched(*network, 600) for network in NETWORKS)]
        rows.append(linted([Path(sysconfig.get_paths()["stdlib"]), Path(torch.__file__).parent]))
    table = Table("case", "alone, ms", "with the advisor, ms", "ratio")
    for row in rows:
        ratio = f"{row['advisor'] / row['alone']:.4g}" if "alone" in row else ""
        table.add_row(row["case"], f"{row['alone']:.4g}" if "alone" in row else "", f"{row['advisor']:.4g}", ratio)
    Console().print(table)
    if options.json:
        with options.json.open("a") as file:
            for row in rows:
                print(json.dumps({**row, "date": time.strftime("%Y-%m-%d"), **machine()}), file=file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
