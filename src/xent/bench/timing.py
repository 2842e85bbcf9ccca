"""Interleaved timing: every round times every contender once, so that a slow minute of the machine hits all of them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Step = Callable[[], object]

# Seconds before each sample: OpenMP workers, as torch has them, wait for more work in a busy loop for milliseconds, and
# would keep a core from whatever comes next.
PAUSE = 0.005
SAMPLE = 0.01  # seconds; shorter steps are timed in batches that take as long
MIN_ROUNDS = 3


@dataclass(frozen=True)
class Timing:
    """Seconds a call, one sample a round, each the mean of `calls` calls."""

    samples: tuple[float, ...]
    calls: int

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The bounds of the middle half of the samples."""
        low, _, high = statistics.quantiles(self.samples, method="inclusive")
        return low, high


def interleave(steps: Mapping[str, Step], budget: float) -> dict[str, Timing]:
    """Times steps in turns.

    Args:
        steps: by name, warmed up by a call at least.
        budget: seconds to go on for; three rounds are timed in any case.
    """
    calls = {name: calls_a_sample(step) for name, step in steps.items()}
    samples: dict[str, list[float]] = {name: [] for name in steps}
    deadline = time.perf_counter() + budget
    turn = 0
    while turn < MIN_ROUNDS or time.perf_counter() < deadline:
        for name in order(list(steps), turn):
            time.sleep(PAUSE)
            samples[name].append(sample(steps[name], calls[name]))
        turn += 1
    return {name: Timing(tuple(samples[name]), calls[name]) for name in steps}


def order(names: Sequence[str], turn: int) -> list[str]:
    """Who comes after whom in a round: another one starts each time; when each has started, the direction turns."""
    n = len(names)
    direction = -1 if turn // n % 2 else 1
    return [names[(turn + direction * i) % n] for i in range(n)]


def calls_a_sample(step: Step) -> int:
    """How many calls take as long as a sample should."""
    tries = [seconds(step, 1) for _ in range(3)]
    while sum(tries) < SAMPLE:
        tries.append(seconds(step, 1))
    return max(1, round(SAMPLE / min(tries)))


def sample(step: Step, calls: int) -> float:
    """Seconds a call, over a number of calls, or fewer where they take far longer than they should."""
    if calls > 1:
        step()  # wakes the threads, which is part of a long step's time, and would be most of a short one's
    chunk = math.ceil(calls / 10)
    done, spent = 0, 0.0
    while done < calls and spent < 10 * SAMPLE:
        spent += chunk * seconds(step, chunk)
        done += chunk
    return spent / done


def seconds(step: Step, calls: int) -> float:
    """Seconds a call, over a number of calls, as the clock shows them."""
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) / calls
