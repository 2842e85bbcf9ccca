"""Swap the loss in a real training loop: the same curve, the time and the peak memory.

A small language model reads the source of Python's standard library as pairs of bytes. It is trained twice from the
same seed, once with `torch.nn.functional.cross_entropy` and once with `xent.compat.torch.cross_entropy`; nothing else
differs. The two models take turns step by step, so that a slow minute of the machine hits both; peak memory is measured
in a fresh process for each.

    python benchmarks/training.py --plot curves.png

Exit status 1 if the curves are further apart than 1e-5 anywhere, relative to the loss.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import xent.compat.torch
from xent.peak_memory import CLEAR, ENVIRONMENT, RESET_PEAK, status_bytes

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "torch": torch.nn.functional.cross_entropy,
    "xent": xent.compat.torch.cross_entropy,
}
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Text:
    tokens: Tensor  # ranks of the byte pairs, the most frequent first
    vocabulary: int


@dataclass
class Run:
    """A model that learns with one of the losses, and what was measured of it."""

    loss: Callable[[Tensor, Tensor], Tensor]
    model: nn.Module
    optimizer: torch.optim.Optimizer
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def step(self, inputs: Tensor, targets: Tensor) -> None:
        start = time.perf_counter()
        self.optimizer.zero_grad()
        logits = self.model(inputs)
        loss = self.loss(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        self.optimizer.step()
        self.seconds.append(time.perf_counter() - start)
        self.losses.append(loss.item())


class LanguageModel(nn.Module):
    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.memory = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.memory(self.embedding(tokens))[0])  # type: ignore[no-any-return]


def standard_library(size: int) -> Text:
    """The first `size` bytes of the modules of the standard library, in the order of their names."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    text = b"".join(file.read_bytes() for file in files)[: size // 2 * 2]
    pairs, codes, counts = np.unique(np.frombuffer(text, np.uint16), return_inverse=True, return_counts=True)
    rank = np.empty(len(pairs), np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(pairs))
    return Text(torch.from_numpy(rank[codes]), len(pairs))


def batches(text: Text, options: argparse.Namespace) -> Iterator[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(options.seed)
    for _ in range(options.steps):
        starts = torch.randint(len(text.tokens) - options.length - 1, (options.batch,), generator=random)
        windows = text.tokens[starts[:, None] + torch.arange(options.length + 1)]
        yield windows[:, :-1], windows[:, 1:]


def beginning(name: str, text: Text, options: argparse.Namespace) -> Run:
    torch.manual_seed(options.seed)
    model = LanguageModel(text.vocabulary, options.width)
    return Run(LOSSES[name], model, torch.optim.Adam(model.parameters(), lr=1e-3))


def train(text: Text, options: argparse.Namespace) -> dict[str, Run]:
    """Both models, step by step in turns."""
    runs = {name: beginning(name, text, options) for name in LOSSES}
    steps = track(batches(text, options), "training", options.steps, console=Console(stderr=True), transient=True)
    for number, (inputs, targets) in enumerate(steps):
        for run in list(runs.values())[:: 1 if number % 2 else -1]:
            run.step(inputs, targets)
    return runs


def peak_memory(name: str, options: argparse.Namespace) -> int | None:
    """Bytes that training adds at its peak to the model and the text, in a process of its own; None but on Linux."""
    if not CLEAR.exists():
        return None
    command = [sys.executable, __file__, "--memory-of", name, *_shape_arguments(options)]
    done = subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def measure_memory(name: str, options: argparse.Namespace) -> None:
    text = standard_library(options.bytes)
    run = beginning(name, text, options)
    options.steps = 3
    given = list(batches(text, options))
    CLEAR.write_text(RESET_PEAK)
    before = status_bytes("VmRSS")
    for inputs, targets in given:
        run.step(inputs, targets)
    print(status_bytes("VmHWM") - before)


def _shape_arguments(options: argparse.Namespace) -> list[str]:
    names = ("bytes", "batch", "length", "width", "seed")
    return [part for name in names for part in (f"--{name}", str(getattr(options, name)))]


def distance(runs: dict[str, Run]) -> float:
    """The largest difference of the two curves, relative to the loss."""
    torch_losses, xent_losses = (np.array(runs[name].losses) for name in ("torch", "xent"))
    return float(np.max(np.abs(xent_losses - torch_losses) / torch_losses))


def table(runs: dict[str, Run], memory: dict[str, int | None]) -> Table:
    out = Table("loss from", "first", "last", "ms a step", "peak memory, MiB")
    for name, run in runs.items():
        peak = memory[name]
        out.add_row(
            name,
            f"{run.losses[0]:.6f}",
            f"{run.losses[-1]:.6f}",
            f"{statistics.median(run.seconds) * 1e3:.1f}",
            "–" if peak is None else f"{peak / 2**20:.0f}",
        )
    return out


def plot(runs: dict[str, Run], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    curves, difference = figure.subplots(2, sharex=True, height_ratios=(2, 1))
    curves.plot(runs["torch"].losses, linewidth=4, alpha=0.4, label="torch")
    curves.plot(runs["xent"].losses, linewidth=1, color="black", label="xent")
    curves.set_ylabel("cross-entropy, nats a token")
    curves.legend()
    gaps = np.abs(np.array(runs["xent"].losses) - np.array(runs["torch"].losses)) / np.array(runs["torch"].losses)
    difference.semilogy(np.maximum(gaps, 1e-9), color="black", linewidth=1)
    difference.axhline(TOLERANCE, color="tab:red", linestyle="--")
    difference.annotate("1e-5", (0, TOLERANCE), (2, 3), textcoords="offset points", color="tab:red")
    difference.set_ylim(5e-10, 1e-4)
    difference.set_ylabel("relative difference")
    difference.set_xlabel("step")
    figure.savefig(file, dpi=120)


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--steps", type=int, default=200)
    out.add_argument("--bytes", type=int, default=2_000_000, help="how much of the source is read (%(default)s)")
    out.add_argument("--batch", type=int, default=32)
    out.add_argument("--length", type=int, default=64, help="tokens of a sequence (%(default)s)")
    out.add_argument("--width", type=int, default=128, help="of the embedding and the state (%(default)s)")
    out.add_argument("--seed", type=int, default=0)
    out.add_argument("--json", type=Path, metavar="FILE", help="also write one JSON object a loss")
    out.add_argument("--plot", type=Path, metavar="FILE", help="also draw the curves")
    out.add_argument("--smoke", action="store_true", help="a tiny run: does the script work?")
    out.add_argument("--memory-of", choices=tuple(LOSSES), help=argparse.SUPPRESS)
    return out


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.smoke:
        options.steps, options.bytes, options.batch, options.length, options.width = 4, 20_000, 2, 8, 8
    if options.memory_of:
        measure_memory(options.memory_of, options)
        return 0
    text = standard_library(options.bytes)
    runs = train(text, options)
    memory = {name: peak_memory(name, options) for name in runs}
    rows = options.batch * options.length
    sizes = f"{options.steps} steps of {rows} tokens, a vocabulary of {text.vocabulary} byte pairs"
    print(f"{sizes}, torch {torch.__version__}")
    Console().print(table(runs, memory))
    gap = distance(runs)
    print(f"largest relative difference of the curves: {gap:.1e} (allowed: {TOLERANCE:.0e})")
    if options.plot:
        plot(runs, options.plot)
    if options.json:
        lines = [
            {"loss": name, "losses": run.losses, "seconds": run.seconds, "peak_bytes": memory[name]}
            for name, run in runs.items()
        ]
        options.json.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return int(gap > TOLERANCE)


if __name__ == "__main__":
    raise SystemExit(main())
