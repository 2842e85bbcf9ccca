"""Peak memory of a step beyond its inputs, measured in a fresh process for each contender."""

from __future__ import annotations

import json
from dataclasses import asdict

import xent

from .. import peak_memory
from .cases import Case
from .contenders import contenders
from .families import problem
from .machine import threads

SMALLEST = 1 << 20  # bytes of logits below which the peak is that of the interpreter, page by page
WORKER = "import sys; from xent.bench.memory import worker; worker(sys.argv[1])"


def measurable(case: Case) -> bool:
    """Whether peak memory can be measured here, and is large enough to tell."""
    return peak_memory.measurable() and case.logits_bytes >= SMALLEST


def peak_bytes(case: Case, contender: str, thread_count: int | None) -> int:
    """Bytes that a step of a contender adds at its peak to the memory of its inputs; the gradient is among them.

    Raises:
        RuntimeError: the process that measures failed.
    """
    request = json.dumps({"case": asdict(case), "contender": contender, "threads": thread_count})
    try:
        return peak_memory.in_fresh_process("-c", WORKER, request)
    except RuntimeError as error:
        raise RuntimeError(f"measuring the memory of {contender} on {case.name} failed:\n{error}") from error


def worker(request: str) -> None:
    """Prints the bytes of one contender. Runs in the process of its own."""
    asked = json.loads(request)
    case = Case(**asked["case"] | {"shape": tuple(asked["case"]["shape"])})
    with threads(asked["threads"]):
        found, _ = contenders(problem(case), compile=asked["contender"] == "torch.compile")
        step = next(c.step for c in found if c.name == asked["contender"])
        step()  # loads and compiles what it needs
        xent.clear_cache()
        print(peak_memory.added_by(step))
