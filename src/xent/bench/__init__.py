"""`xent bench`: xent timed against its rivals in one process, with every result checked before it is timed.

Cases are in `cases`, the functions that are timed in `contenders`, the float64 truth they are held to in `agreement`.
"""

from __future__ import annotations

import argparse
import math
import os
from contextlib import nullcontext
from pathlib import Path

from .cases import CASES, matching


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `xent bench` to a parser.

    Example:
        >>> import argparse
        >>> from xent import bench
        >>> parser = argparse.ArgumentParser()
        >>> bench.add_arguments(parser)
        >>> parser.parse_args(["--cases", "small", "--seconds", "2"]).seconds
        2.0
    """
    parser.add_argument(
        "--cases", nargs="+", type=_pattern, metavar="NAME", help="run these cases only; * and ? match any text"
    )
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument(
        "--seconds", type=_seconds, metavar="S", help="time spent on timing a case (default: 10, with --smoke: 0)"
    )
    parser.add_argument("--threads", type=_threads, metavar="N", help="threads of xent and torch (default: xent's own)")
    parser.add_argument("--json", type=_file, metavar="FILE", help="also write one JSON object a row to FILE")
    parser.add_argument("--memory", action="store_true", help="also measure peak memory, each in a process of its own")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--smoke", action="store_true", help="shrink every case to a few rows: a test of the runner")


def run(namespace: argparse.Namespace) -> int:
    """Runs the benchmark that the parsed options ask for.

    Args:
        namespace: what a parser with `add_arguments` returned.

    Returns:
        The exit status: 0, or 1 if a result disagreed with the truth.
    """
    from .runner import Settings, list_cases, run_cases  # needs rich

    cases = [case for case in CASES if not namespace.cases or any(matching(case, p) for p in namespace.cases)]
    if namespace.list:
        return list_cases(cases)
    settings = Settings(
        seconds=(0.0 if namespace.smoke else 10.0) if namespace.seconds is None else namespace.seconds,
        threads=namespace.threads,
        memory=namespace.memory,
        compile=not namespace.no_compile,
        smoke=namespace.smoke,
    )
    with namespace.json.open("w", encoding="utf-8") if namespace.json else nullcontext() as lines:
        return run_cases(cases, settings, lines)


def _pattern(text: str) -> str:
    if any(matching(case, text) for case in CASES):
        return text
    names = ", ".join(case.name for case in CASES)
    raise argparse.ArgumentTypeError(f"expected the name of a case, got {text!r}. Choose from: {names}.")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if 0.0 <= seconds < math.inf:
        return seconds
    raise argparse.ArgumentTypeError(f"expected a number of seconds, got {text!r}. Pass a number >= 0.")


def _threads(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 1024:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected an integer in [1, 1024], got {text!r}. Pass the cores to use.")


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_dir() and os.access(path if path.exists() else path.parent, os.W_OK):
        return path
    raise argparse.ArgumentTypeError(f"expected a file that can be written, got {text!r}. Name another file.")
