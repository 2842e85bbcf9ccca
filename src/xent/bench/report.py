"""What a benchmark prints: a row for each contender of a case, as a table and as JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .cases import Case

LEGEND = """\
ms, µs   median time of a call
IQR      width of the middle half of the samples, in the same unit
GB/s     logits read, and gradient written where there is one, over the time
memcpys  the time in copies of the logits, timed in the same rounds
×torch   how many times faster than torch; so for the other peers
memory   bytes added at the peak, in sizes of the logits (with --memory)"""


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
        faster_than: by peer, its time over this one; none for a copy.
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
        """The row as one line of JSON; numbers that are not finite, which JSON has not, are null."""
        fields = {name.rstrip("_"): value for name, value in asdict(self).items()}
        infinite = [name for name, value in fields.items() if isinstance(value, float) and not math.isfinite(value)]
        return json.dumps(fields | dict.fromkeys(infinite), ensure_ascii=False, allow_nan=False)


def wide_console() -> Console:
    """Standard output, taken to be wide enough for every table: a narrow terminal breaks lines, and drops no digits."""
    console = Console()
    console.width = max(console.width, 80)
    return console


def print_heading(console: Console, machine: dict[str, Any], versions: dict[str, str]) -> None:
    """Says where the numbers come from."""
    say(console, "{cpu}, {threads} of {cores} cores, {instruction_set}".format(**machine))
    say(console, ", ".join(f"{name} {number}" for name, number in versions.items()))


def print_title(console: Console, case: Case) -> None:
    """Says what is about to run."""
    console.print()
    say(console, f"{case.name}: {describe(case)}", "bold")


def print_case(console: Console, rows: Sequence[Row], notes: Sequence[str]) -> None:
    """Prints the table of one case, and what there is to say about it."""
    console.print(table(rows))
    for note in notes:
        say(console, note, "yellow")


def print_legend(console: Console) -> None:
    """Says what the columns are."""
    console.print()
    say(console, LEGEND, "dim")


def describe(case: Case) -> str:
    """A case in a line.

    >>> describe(Case("small", (32, 10)))
    '32×10 float32, class indices, forward+backward'
    """
    return f"{'×'.join(map(str, case.shape))} {case.dtype}, {case.about}, {case.pass_name}"


def say(console: Console, text: str, style: str = "") -> None:
    """A line of text as it is: no markup, no highlighting, broken by the terminal alone."""
    console.print(Text(text, style), soft_wrap=True)


def table(rows: Sequence[Row]) -> Table:
    """The rows of one case."""
    peers = list(rows[0].faster_than)
    unit, per_millisecond = ("ms", 1.0) if rows[0].milliseconds >= 1 else ("µs", 1e3)
    with_memory = any(row.memory is not None for row in rows)
    headings = [unit, "IQR", "GB/s", "memcpys", *(f"×{peer.removeprefix('torch.')}" for peer in peers)]
    out = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    out.add_column("contender", no_wrap=True)
    for heading in headings + ["memory"] * with_memory:
        out.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        low, high = (per_millisecond * bound for bound in row.quartiles)
        cells: list[float | None] = [
            per_millisecond * row.milliseconds,
            high - low,
            row.gigabytes_per_second,
            row.memcpys,
        ]
        cells += [row.faster_than.get(peer) for peer in peers] + [row.memory] * with_memory
        out.add_row(row.contender, *map(short, cells), style="bold" if row.contender.startswith("xent") else "")
    return out


def short(value: float | None) -> str:
    """Three digits, or as many as three decimals show.

    >>> short(1234.5), short(12.345), short(1.2), short(0.012345), short(None)
    ('1234', '12.3', '1.20', '0.012', '')
    """
    if value is None:
        return ""
    decimals = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{decimals}f}"
