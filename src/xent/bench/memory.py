"""Peak memory of a step beyond its inputs, measured by the kernel (Linux) in a fresh process for each contender."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import xent

from .cases import Case
from .contenders import contenders
from .families import problem
from .machine import threads

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # see proc_pid_clear_refs(5)
SMALLEST = 1 << 20  # bytes of logits below which the peak is that of the interpreter, page by page
WORKER = "import sys; from xent.bench.memory import worker; worker(sys.argv[1])"
# Blocks of 64 KiB and more go back to the system when they are freed, so that the warm-up leaves nothing to reuse.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def measurable(case: Case) -> bool:
    """Whether peak memory can be measured here, and is large enough to tell."""
    return CLEAR.exists() and case.logits_bytes >= SMALLEST


def peak_bytes(case: Case, contender: str, thread_count: int | None) -> int:
    """Bytes that a step of a contender adds at its peak to the memory of its inputs; the gradient is among them.

    Raises:
        RuntimeError: the process that measures failed.
    """
    request = json.dumps({"case": asdict(case), "contender": contender, "threads": thread_count})
    done = subprocess.run(
        [sys.executable, "-c", WORKER, request],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {contender} on {case.name} failed:\n{done.stderr}")
    return int(done.stdout.split()[-1])


def worker(request: str) -> None:
    """Prints the bytes of one contender. Runs in the process of its own."""
    asked = json.loads(request)
    case = Case(**asked["case"] | {"shape": tuple(asked["case"]["shape"])})
    with threads(asked["threads"]):
        found, _ = contenders(problem(case), compile=asked["contender"] == "torch.compile")
        step = next(c.step for c in found if c.name == asked["contender"])
        step()  # loads and compiles what it needs
        xent.clear_cache()
        gc.collect()
        CLEAR.write_text(RESET_PEAK)
        before = status_bytes("VmRSS")
        step()
        print(status_bytes("VmHWM") - before)


def status_bytes(field: str) -> int:
    """A memory field of this process: VmRSS is resident now, VmHWM was at most since the last reset."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
