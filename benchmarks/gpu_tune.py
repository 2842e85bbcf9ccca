"""`gpu.py --tune`: which tile shapes of the softmax kernels are fastest on this device.

The constants are those of `src/xent/kernels/triton/shapes.py`. Each group of shapes times all combinations of a few
values of the constants that matter to it, in turns, on fresh inputs, as `gpu.py` does.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

import torch
from gpu_clock import Clock, warm_up
from gpu_contenders import Step
from rich.console import Console
from rich.table import Table
from torch import Tensor

import xent
from xent.bench.timing import order

Constants = dict[str, int]
SHOWN = 3  # of the fastest of each shape


class Group(NamedTuple):
    """Shapes of logits, the classes on axis 1, whose time depends on these constants."""

    about: str
    shapes: tuple[tuple[int, ...], ...]
    candidates: dict[str, tuple[int, ...]]
    options: dict[str, Any] = {}  # noqa: RUF012


_WARP = {"BYTES_A_WARP": (1024, 2048, 4096)}
_SWEEP = {"SWEEP": (2048, 4096, 8192, 16384), **_WARP}
GROUPS = (
    Group("rows of one program", ((65536, 4096), (16384, 16384), (8192, 32000)),
          {"LONGEST_WHOLE": (2048, 8192, 16384, 32768), **_WARP}),
    Group("rows read twice", ((8192, 32000), (8192, 128256)), _SWEEP),
    Group("the same with a measure", ((8192, 32000), (8192, 128256)), _SWEEP, {"label_smoothing": 0.1}),
    Group("few rows, in parts", ((4, 1_000_000), (32, 128256)), _SWEEP),
    Group("short rows", ((1 << 21, 10), (1 << 20, 100), (1 << 17, 1000)), {"TILE": (256, 512, 1024, 2048, 4096)}),
    Group("rows side by side", ((64, 19, 256, 256), (16, 150, 256, 256)),
          {"LANES": (64, 128, 256), "STEPS": (8, 16, 32, 64)}),
    Group("a gradient on its own", ((8192, 32000), (8192, 128256)),
          {"APPLY": (1024, 2048, 4096, 8192), "RESIDENT": (2, 4, 8, 16)}, {"reduction": "none"}),
)  # fmt: skip
# The same for the interpreter: does each constant still exist, and does its group still run?
TINY = tuple(
    group._replace(
        shapes=((2, 5, 3, 3) if len(group.shapes[0]) > 2 else (3, 40),),
        candidates={name: values[-2:] for name, values in group.candidates.items()},
    )
    for group in GROUPS
)


@contextmanager
def constants(chosen: Constants) -> Iterator[None]:
    """The kernels with other constants than the table's."""
    from xent.kernels.triton import launch, shapes

    before = [
        (module, name, getattr(module, name)) for module in (shapes, launch) for name in chosen if hasattr(module, name)
    ]
    missing = set(chosen) - {name for _, name, _ in before}
    if missing:
        raise LookupError(f"xent.kernels.triton.shapes has no {', '.join(sorted(missing))}")
    try:
        for module, name, _ in before:
            setattr(module, name, chosen[name])
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def present(names: Iterable[str]) -> Constants:
    """The constants as they are."""
    from xent.kernels.triton import shapes

    return {name: getattr(shapes, name) for name in names}


class Logits:
    """Logits of a shape, with labels; every `draw` fills them with new numbers."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        self.logits = torch.empty(shape, dtype=dtype, device=device, requires_grad=True)
        self.labels = torch.empty((shape[0], *shape[2:]), dtype=torch.int64, device=device)
        self.random = torch.Generator(device)

    @torch.no_grad()
    def draw(self) -> None:
        self.logits.normal_(generator=self.random)
        self.labels.random_(0, self.logits.shape[1], generator=self.random)


class Trial(Step):
    """A step with other constants."""

    def __init__(self, inputs: Logits, options: dict[str, Any], chosen: Constants) -> None:
        self._drawn, self._options, self._chosen = inputs, {"axis": 1} | options, chosen

    def forward(self) -> Any:
        with constants(self._chosen):
            return xent.softmax_cross_entropy(self._drawn.logits, self._drawn.labels, **self._options)

    def backward(self, loss: Any) -> tuple[Tensor, ...]:
        with constants(self._chosen):
            return torch.autograd.grad(loss, self._drawn.logits, torch.ones_like(loss))

    def gradient(self) -> Tensor:
        return self.backward(self.forward())[0]


class Outcome(NamedTuple):
    """The median time of a combination in seconds, or why there is none."""

    constants: Constants
    seconds: float
    failed: str = ""


def tune(clock: Clock, dtypes: Iterable[str], repeats: int, console: Console) -> Iterator[list[dict[str, Any]]]:
    """Prints the fastest constants of each shape, and yields a row for each combination of them."""
    for group in TINY if clock.interpreted else GROUPS:
        for shape, dtype in product(group.shapes, dtypes):
            where = f"{group.about}, {'×'.join(map(str, shape))}, {dtype}"
            try:
                found = outcomes(group, Logits(shape, getattr(torch, dtype), clock.device), clock, repeats)
            except torch.OutOfMemoryError:
                console.print(f"{where}: does not fit into the device's memory")
                continue
            finally:
                clock.release()
            console.print(table_of(where, found, clock))
            yield [
                {"tune": group.about, "shape": list(shape), "dtype": dtype, "options": group.options}
                | {"constants": outcome.constants, "failed": outcome.failed or None}
                | ({} if clock.interpreted or outcome.failed else {"milliseconds": 1e3 * outcome.seconds})
                for outcome in found
            ]


def table_of(where: str, found: list[Outcome], clock: Clock) -> Table:
    """The fastest, and those of now."""
    table = Table("constants", "ms", "× those of now", title=where)
    table.caption = "interpreter: times mean nothing" if clock.interpreted else None
    now, best = found[0], sorted(found, key=lambda outcome: outcome.seconds)[:SHOWN]
    for outcome in best if now in best else [*best, now]:
        named = ", ".join(f"{name} {value}" for name, value in outcome.constants.items())
        time = outcome.failed or f"{1e3 * outcome.seconds:.4g}"
        table.add_row(named + " (now)" * (outcome is now), time, f"{outcome.seconds / now.seconds:.3f}")
    return table


def outcomes(group: Group, inputs: Logits, clock: Clock, repeats: int) -> list[Outcome]:
    """Times all combinations in turns, those of now first, once each has given the same gradient as those."""
    now = present(group.candidates)
    values = [sorted({*candidates, now[name]}) for name, candidates in group.candidates.items()]
    others = (dict(zip(now, chosen, strict=True)) for chosen in product(*values))
    combinations = [now, *(chosen for chosen in others if chosen != now)]
    trials = [Trial(inputs, group.options, chosen) for chosen in combinations]
    inputs.draw()
    expected = trials[0].gradient()
    failed = [difference(trial, expected) for trial in trials]
    del expected
    samples: list[list[float]] = [[] for _ in trials]
    able = [str(at) for at, why in enumerate(failed) if not why]
    if able:
        warm_up(trials[int(able[0])], inputs.draw, clock)
    for turn in range(repeats):
        for at in map(int, order(able, turn)):
            inputs.draw()
            samples[at].append(clock.sample(trials[at]).whole)
    return [
        Outcome(chosen, math.inf if why else statistics.median(some), why)
        for chosen, some, why in zip(combinations, samples, failed, strict=True)
    ]


def difference(trial: Trial, expected: Tensor) -> str:
    """Why a trial is not to be timed: it fails, or its gradient is another one. Empty if it is."""
    most = 2 * torch.finfo(expected.dtype).eps * float(expected.abs().max())
    try:
        off = float((trial.gradient() - expected).abs().max())
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        return f"{type(error).__name__}: {said}"[:80]
    return "" if off <= most else f"its gradient differs by {off:.2g}"
