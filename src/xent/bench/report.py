"""What a benchmark prints: a row for each contender of a case, as a table and as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

LEGEND = """\
ms       median time of a call; IQR: the width of the middle half of the samples, in ms
GB/s     logits read, and gradient written where there is one, over the time
memcpys  the time in copies of the logits, timed in the same rounds
vs       how many times faster than that peer
memory   bytes added at the peak, in sizes of the logits"""


@dataclass(frozen=True)
class Row:
    """One contender on one case.

    Attributes:
        case: the case's name.
        about: its loss in words.
        shape: of the logits.
        dtype: of the logits.
        pass_: "forward+backward" or "forward"; "pass" in JSON.
        contender: what was timed.
        milliseconds: the median time of a call.
        quartiles: of the milliseconds: the bounds of the middle half of the samples.
        rounds: how many samples were taken.
        calls: how many calls make a sample.
        gigabytes_per_second: logits read and gradient written, or logits read alone in a forward pass, in 10⁹ bytes; a
            copy reads and writes the logits.
        memcpys: the time over that of a copy of the logits.
        faster_than: by peer, its time over this one.
        loss_error: against float64, relative; None for a copy.
        gradient_error: the largest error over the largest true entry; None without a gradient.
        agrees: whether the errors keep to the rules of `agreement`; None for a copy.
        memory: bytes added at the peak over the logits' bytes; None where not measured.
        machine: processor, cores, threads, instruction set.
        versions: of Python, NumPy, torch, xent.
        date: when, UTC.
    """

    case: str
    about: str
    shape: tuple[int, ...]
    dtype: str
    pass_: str
    contender: str
    milliseconds: float
    quartiles: tuple[float, float]
    rounds: int
    calls: int
    gigabytes_per_second: float
    memcpys: float
    faster_than: dict[str, float]
    loss_error: float | None
    gradient_error: float | None
    agrees: bool | None
    memory: float | None
    machine: dict[str, Any]
    versions: dict[str, str]
    date: str

    def json(self) -> str:
        """The row as one line of JSON."""
        return json.dumps({name.rstrip("_"): value for name, value in asdict(self).items()}, ensure_ascii=False)


def print_heading(console: Console, machine: dict[str, Any], versions: dict[str, str]) -> None:
    """Says where the numbers come from."""
    say(console, "{cpu}, {threads} of {cores} cores, {instruction_set}".format(**machine))
    say(console, ", ".join(f"{name} {number}" for name, number in versions.items()))


def print_case(console: Console, rows: Sequence[Row], notes: Sequence[str]) -> None:
    """Prints the table of one case, and what there is to say about it."""
    console.print()
    first = rows[0]
    shape = "×".join(map(str, first.shape))
    say(console, f"{first.case}: {shape} {first.dtype}, {first.about}, {first.pass_}", "bold")
    console.print(table(rows))
    for note in notes:
        say(console, note, "yellow")


def say(console: Console, text: str, style: str = "") -> None:
    """A line of text as it is: no markup, no highlighting, broken by the terminal alone."""
    console.print(Text(text, style), soft_wrap=True)


def table(rows: Sequence[Row]) -> Table:
    """The rows of one case."""
    peers = list(rows[0].faster_than)
    out = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    out.add_column("contender", no_wrap=True)
    for heading in ("ms", "IQR", "GB/s", "memcpys", *(f"vs {peer.removeprefix('torch.')}" for peer in peers)):
        out.add_column(heading, justify="right", no_wrap=True)
    if any(row.memory is not None for row in rows):
        out.add_column("memory", justify="right", no_wrap=True)
    for row in rows:
        low, high = row.quartiles
        cells = [row.contender, *map(short, (row.milliseconds, high - low, row.gigabytes_per_second, row.memcpys))]
        cells += [short(row.faster_than[peer]) + "×" if peer in row.faster_than else "" for peer in peers]
        cells += [] if row.memory is None else [f"{row.memory:.2f}"]
        out.add_row(*cells, style="bold" if row.contender.startswith("xent") else "")
    return out


def short(value: float) -> str:
    """Three significant digits, in plain notation.

    >>> short(1234.5), short(12.345), short(0.012345)
    ('1234', '12.3', '0.0123')
    """
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
