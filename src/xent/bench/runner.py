"""Runs cases: data, the check of every result, the timing, the rows."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from . import agreement, memory, report
from .cases import Case, shrunk
from .contenders import Contender, contenders
from .families import problem
from .machine import machine, threads, versions
from .timing import Timing, interleave


@dataclass(frozen=True)
class Settings:
    """How to run.

    Attributes:
        seconds: spent on timing each case.
        threads: of xent and torch; None: as many as xent has.
        memory: whether to measure peak memory.
        compile: whether to time torch.compile.
        smoke: whether to shrink the cases.
    """

    seconds: float = 10.0
    threads: int | None = None
    memory: bool = False
    compile: bool = True
    smoke: bool = False


@dataclass(frozen=True)
class Result:
    """The rows of one case, what went wrong, and what was left out."""

    rows: list[report.Row]
    disagreements: list[str]
    notes: list[str]


def list_cases(cases: Sequence[Case]) -> int:
    """Prints what there is to run."""
    console = report.wide_console()
    width = max(len(case.name) for case in cases)
    for case in cases:
        report.say(console, f"{case.name:{width}}  {report.describe(case)}")
    return 0


def run_cases(cases: Sequence[Case], settings: Settings, lines: TextIO | None = None) -> int:
    """Runs cases and reports each as soon as it is done.

    Args:
        cases: in this order.
        settings: how to run.
        lines: a file that receives one JSON object a row.

    Returns:
        0 if every result agreed with the truth, else 1.
    """
    console = report.wide_console()
    failed = False
    with threads(settings.threads):
        report.print_heading(console, machine(), versions())
        for case in map(shrunk, cases) if settings.smoke else cases:
            report.print_title(console, case)
            result = run_case(case, settings)
            failed |= bool(result.disagreements)
            report.print_case(console, result.rows, result.disagreements + result.notes)
            if lines:
                lines.writelines(row.json() + "\n" for row in result.rows)
                lines.flush()
        report.print_legend(console)
    return int(failed)


def run_case(case: Case, settings: Settings) -> Result:
    """Checks and times everything that can compute a case."""
    found, notes = contenders(problem(case), settings.compile)
    verdicts = agreement.check(found)
    timings = interleave({contender.name: contender.step for contender in found}, settings.seconds)
    peaks: dict[str, int] = {}
    if settings.memory and memory.measurable(case):
        peaks = {c.name: memory.peak_bytes(case, c.name, settings.threads) for c in found}
    elif settings.memory:
        notes.append(f"Memory is measured on Linux, and from {memory.SMALLEST >> 20} MiB of logits on.")
    rows = [row(contender, found, timings, verdicts, peaks) for contender in found]
    return Result(rows, [line for verdict in verdicts.values() for line in verdict.disagreements], notes)


def row(
    contender: Contender,
    found: Sequence[Contender],
    timings: dict[str, Timing],
    verdicts: dict[str, agreement.Verdict],
    peaks: dict[str, int],
) -> report.Row:
    """What was learnt about one contender."""
    case, timing = contender.problem.case, timings[contender.name]
    seconds = timing.median
    low, high = timing.quartiles
    verdict = verdicts.get(contender.name)
    transfers = 2 if contender.role == "copy" or case.backward else 1  # reads and writes of the logits' size
    copy = next(c.name for c in found if c.role == "copy")
    peers = [] if contender.role == "copy" else [c.name for c in found if c.role == "peer"]
    return report.Row(
        case=found[0].problem.case.name,
        about=found[0].problem.case.about,
        shape=case.shape,
        dtype=case.dtype,
        pass_=case.pass_name,
        contender=contender.name,
        milliseconds=1e3 * seconds,
        quartiles=(1e3 * low, 1e3 * high),
        rounds=len(timing.samples),
        calls=timing.calls,
        gigabytes_per_second=transfers * case.logits_bytes / seconds / 1e9,
        memcpys=seconds / timings[copy].median,
        faster_than={peer: timings[peer].median / seconds for peer in peers},
        loss_error=verdict.error.loss if verdict else None,
        gradient_error=verdict.error.gradient if verdict else None,
        agrees=not verdict.disagreements if verdict else None,
        memory=peaks[contender.name] / case.logits_bytes if contender.name in peaks else None,
        machine=machine(),
        versions=versions(),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
