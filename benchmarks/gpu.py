"""Losses on a GPU: xent against PyTorch, torch.compile and the peers that are installed, checked and then timed.

A step is the loss and its gradients, from fresh random inputs. Beside it stand what nobody can do without: for given
logits a copy of them, for a linear loss its three matrix products.

    python benchmarks/gpu.py --json benchmarks/results/gpu.jsonl
    python benchmarks/gpu.py --losses linear --repeats 20
    python benchmarks/gpu.py --tune
    TRITON_INTERPRET=1 python benchmarks/gpu.py --quick

Exit status 1 if xent fails or its result is wrong, 2 if there is no device.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import torch
from gpu_clock import Clock, DeviceClock, InterpreterClock, Sample, warm_up
from gpu_contenders import PEERS, Case, Contender, Floor, Inputs, Step, contenders, missing_peers
from gpu_truth import UPSTREAM, Errors, disagreement, errors, truth
from rich.console import Console
from rich.table import Table

from xent.bench import _file, machine
from xent.bench.timing import Timing, order
from xent.cli import OneLineParser

DENSE = ((8192, 32000), (8192, 128256), (16384, 128256))
LINEAR = ((8192, 4096, 128256), (16384, 4096, 128256))
QUICK_DENSE, QUICK_LINEAR = ((1024, 32000),), ((1024, 512, 32000),)
TINY_DENSE, TINY_LINEAR = ((6, 300),), ((8, 16, 40),)  # for the interpreter
DTYPES = {"dense": ("bfloat16", "float32"), "linear": ("bfloat16",)}


@dataclass
class Result:
    """What was found out about a contender. Where it failed, `failed` says why, and the rest is as far as it got."""

    contender: Contender
    loss: Any = None
    errors: Errors | None = None
    wrong: str = ""
    failed: str = ""
    samples: list[Sample] = field(default_factory=list)
    peak_bytes: int | None = None

    def step(self, inputs: Inputs, upstream: float = 1.0) -> Step:
        return self.contender.kind(self.loss, inputs, upstream)

    @property
    def timing(self) -> Timing | None:
        return Timing(tuple(s.whole for s in self.samples), 1) if len(self.samples) > 1 else None


def cases(losses: Iterable[str], dtypes: Iterable[str] | None, quick: bool, interpreted: bool) -> list[Case]:
    sizes: dict[str, Any] = {"dense": DENSE, "linear": LINEAR}
    if quick:
        sizes = {"dense": QUICK_DENSE, "linear": QUICK_LINEAR}
    if interpreted:
        sizes = {"dense": TINY_DENSE, "linear": TINY_LINEAR}
    return [
        Case(loss, size[0], size[1] if loss == "linear" else 0, size[-1], dtype)
        for loss in losses
        for dtype in dtypes or DTYPES[loss]
        for size in sizes[loss]
    ]


Action = Callable[[Result, Inputs, Clock], None]


def attempt(action: Action, result: Result, inputs: Inputs, clock: Clock) -> None:
    """Does something with a contender that has not failed yet; one that fails does not stop the others."""
    if result.failed:
        return
    try:
        action(result, inputs, clock)
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        result.failed = f"{type(error).__name__}: {said}"[:200]
    if result.failed:  # outside of the handler, which holds on to the tensors
        result.loss = None
        clock.release()


def measure(case: Case, clock: Clock, repeats: int) -> list[Result]:
    """Checks, times and weighs every contender in a case."""
    inputs = Inputs(case, clock.device)
    results = [Result(contender) for contender in contenders(case.loss, not clock.interpreted)]
    check(results, inputs, clock)
    inputs.random.seed()
    for result in results:
        attempt(warm, result, inputs, clock)
    by_name = {result.contender.name: result for result in results}
    for turn in range(repeats):
        for name in order(list(by_name), turn):
            attempt(take_sample, by_name[name], inputs, clock)
    for result in results:
        attempt(weigh, result, inputs, clock)
    return results


def check(results: list[Result], inputs: Inputs, clock: Clock) -> None:
    """Compares every loss with the definition."""
    inputs.draw_to_check()
    true = truth(inputs)
    clock.release()

    def compare(result: Result, inputs: Inputs, clock: Clock) -> None:
        result.loss = result.contender.make()
        if result.contender.kind is not Floor:
            inputs.draw_to_check()  # once more, since some write their gradient over the logits
            result.errors = errors(result.step(inputs, UPSTREAM), true)

    for result in results:
        attempt(compare, result, inputs, clock)
    peers = [(r.contender.name, r.errors) for r in results if r.errors and r.contender.name != "xent"]
    for result in results:
        if result.errors:
            result.wrong = disagreement(result.contender.name, result.errors, true, inputs.case, peers)


def warm(result: Result, inputs: Inputs, clock: Clock) -> None:
    warm_up(result.step(inputs), inputs.draw, clock)


def take_sample(result: Result, inputs: Inputs, clock: Clock) -> None:
    inputs.draw()
    result.samples.append(clock.sample(result.step(inputs)))


def weigh(result: Result, inputs: Inputs, clock: Clock) -> None:
    inputs.draw()
    result.peak_bytes = clock.peak_bytes(result.step(inputs))


def rows_of(case: Case, results: list[Result], clock: Clock) -> list[dict[str, Any]]:
    """A row for each contender. The interpreter's have no times, for they would mean nothing."""
    floor = next((r.timing for r in results if r.contender.kind is Floor), None)
    size = torch.finfo(getattr(torch, case.dtype)).bits // 8
    gradients = size * (case.rows + case.classes) * case.width if case.width else size * case.rows * case.classes
    found = []
    for result in results:
        timing, counted = result.timing, not clock.interpreted
        is_floor = result.contender.kind is Floor
        row: dict[str, Any] = {
            "loss": case.loss,
            "shape": list(case.shape),
            "dtype": case.dtype,
            "contender": result.contender.name,
            "failed": result.failed or None,
        }
        if timing and counted:
            row |= {
                "milliseconds": 1e3 * timing.median,
                "quartiles": [1e3 * q for q in timing.quartiles],
                "forward_milliseconds": None if is_floor else 1e3 * middle(s.forward for s in result.samples),
                "host_milliseconds": 1e3 * middle(s.host for s in result.samples),
                "rounds": len(result.samples),
                "over_floor": timing.median / floor.median if floor else None,
                "faster_than": {
                    r.contender.name: r.timing.median / timing.median
                    for r in results
                    if r is not result and r.timing and r.contender.kind is not Floor and not is_floor
                },
            }
        if result.peak_bytes is not None:
            row |= {
                "peak_mib": result.peak_bytes / 2**20,
                "beyond_gradients_mib": None if is_floor else (result.peak_bytes - gradients) / 2**20,
            }
        if result.errors:
            row |= {
                "loss_error": result.errors.loss,
                "gradient_error": result.errors.gradient,
                "agrees": not result.wrong,
            }
        found.append(row)
    return found


def middle(numbers: Iterable[float]) -> float:
    return Timing(tuple(numbers), 1).median


def provenance(clock: Clock) -> dict[str, Any]:
    """Where and when rows come from."""
    versions = machine.versions()
    for package in ("triton", *PEERS.values()):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "device": clock.describe(),
        "versions": versions,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def table_of(case: Case, results: list[Result], found: list[dict[str, Any]], clock: Clock) -> Table:
    table = Table("contender", title=f"{case.loss}, {'×'.join(map(str, case.shape))}, {case.dtype}")
    for title in ("ms", "IQR", "forward, ms", "× floor", "MiB beyond gradients", "loss error", "gradient error"):
        table.add_column(title, justify="right")
    table.add_column("remarks", overflow="fold")
    if clock.interpreted:
        table.caption = "interpreter: times mean nothing"
    for result, row in zip(results, found, strict=True):
        timing = result.timing
        cells = [""] * 3
        if timing:
            low, high = timing.quartiles
            cells = [f"{1e3 * timing.median:.4g}", f"{1e3 * (high - low):.2g}", ""]
            if result.contender.kind is not Floor:
                cells[2] = f"{1e3 * middle(s.forward for s in result.samples):.4g}"
        numbers = [
            "" if row.get(key) is None else format(row[key], form)
            for key, form in {
                "over_floor": ".2f",
                "beyond_gradients_mib": ".0f",
                "loss_error": ".1e",
                "gradient_error": ".1e",
            }.items()
        ]
        remark = f"failed: {result.failed}" if result.failed else result.wrong
        style = "red" if remark else "bold" if result.contender.name == "xent" else ""
        table.add_row(result.contender.name, *cells, *numbers, remark, style=style)
    return table


def clock_here(parser: OneLineParser, quick: bool) -> Clock:
    """The device's, or the interpreter's; ends the process with a line where there is neither."""
    if find_spec("triton") is None:
        parser.error("Triton is not installed: run pip install triton")
    if os.environ.get("TRITON_INTERPRET") == "1":
        if not quick:
            parser.error("the interpreter is for testing this script: add --quick, or unset TRITON_INTERPRET")
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="triton.runtime.interpreter")
        return InterpreterClock()
    if not torch.cuda.is_available():
        parser.error(f"no CUDA device, as torch {torch.__version__} says")
    return DeviceClock()


def at_least_two(text: str) -> int:
    if text.isdigit() and int(text) >= 2:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a number of at least 2, got {text!r}")


def main(arguments: list[str] | None = None) -> int:
    parser = OneLineParser(prog="gpu.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--losses", nargs="+", choices=DTYPES, default=list(DTYPES), help="default: both")
    parser.add_argument(
        "--dtypes", nargs="+", choices=DTYPES["dense"], help="default: both for dense, bfloat16 for linear"
    )
    parser.add_argument("--repeats", type=at_least_two, metavar="N", help="samples of each contender (default: 50)")
    parser.add_argument("--json", type=_file, metavar="FILE", help="also write one JSON object a row to FILE")
    parser.add_argument("--quick", action="store_true", help="small sizes and 5 samples: a test of this script")
    parser.add_argument("--tune", action="store_true", help="time tile shapes of the softmax kernels instead")
    options = parser.parse_args(arguments)
    clock = clock_here(parser, options.quick)
    repeats = options.repeats or (5 if options.quick else 50)
    about, status = provenance(clock), 0
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(f"{about['device']}\n{about['versions']}", style="dim", highlight=False)
    if options.json:
        options.json.write_text("")

    def record(rows: Iterable[dict[str, Any]]) -> None:
        """As they come: a run that is stopped leaves what it has found."""
        if options.json:
            with options.json.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row | about) + "\n" for row in rows)

    if options.tune:
        from gpu_tune import tune

        for rows in tune(clock, options.dtypes or DTYPES["dense"], repeats, console):
            record(rows)
    else:
        if missing_peers() and not clock.interpreted:
            console.print(f"Not installed, and so not compared: {', '.join(missing_peers())}.")
        for case in cases(options.losses, options.dtypes, options.quick, clock.interpreted):
            try:
                results = measure(case, clock, repeats)
            except torch.OutOfMemoryError as error:
                console.print(f"{case}: the inputs do not fit into the device's memory: {error}", style="red")
                clock.release()
                status = 1
                continue
            found = rows_of(case, results, clock)
            console.print(table_of(case, results, found, clock))
            record(found)
            if any(r.failed or r.wrong for r in results if r.contender.name == "xent"):
                status = 1
            clock.release()
    return status


if __name__ == "__main__":
    raise SystemExit(main())
