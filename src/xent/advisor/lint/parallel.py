"""Many files over several processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from .linting import Outcome, lint_file
from .rules import RULES

IN_PROCESS = 8  # as many files take no longer than starting a process


def lint_files(
    paths: Sequence[str], numbers: frozenset[str], *, fix: bool, jobs: int, done: Callable[[], None]
) -> dict[str, Outcome]:
    """Lints files by the rules of some numbers; `done` is called after each."""
    outcomes: dict[str, Outcome] = {}
    if jobs == 1 or len(paths) <= IN_PROCESS:
        for path in paths:
            outcomes[path] = _lint(path, numbers, fix)
            done()
        return outcomes
    # The largest first, so that no process is left alone with one at the end
    by_size = sorted(paths, key=_size, reverse=True)
    with _pool(min(jobs, len(paths))) as pool:
        futures = {pool.submit(_lint, path, numbers, fix): path for path in by_size}
        for future in as_completed(futures):
            try:
                outcomes[futures[future]] = future.result()
                done()
            except BrokenProcessPool:
                continue
    left = [path for path in by_size if path not in outcomes]
    while left:  # a process died: one file at a time shows of which
        with _pool(1) as pool:
            try:
                while left:
                    outcomes[left[0]] = pool.submit(_lint, left[0], numbers, fix).result()
                    done()
                    left.pop(0)
            except BrokenProcessPool:
                path = left.pop(0)
                outcomes[path] = Outcome(errors=(f"{path}: the parser ended its process",))
                done()
    return {path: outcomes[path] for path in paths}


def _pool(processes: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
    return ProcessPoolExecutor(processes, mp_context=context)


def _lint(path: str, numbers: frozenset[str], fix: bool) -> Outcome:
    return lint_file(path, [rule for rule in RULES if rule.number in numbers], fix)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
