"""Peak memory, counted by the kernel (Linux) in a fresh process, where nothing that was freed earlier can be reused."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # see proc_pid_clear_refs(5)
# Blocks of 64 KiB and more go back to the system when they are freed, so that a warm-up leaves nothing to reuse.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def measurable() -> bool:
    """Whether this system counts the peak, and lets it be reset."""
    return os.access(CLEAR, os.W_OK)


def in_fresh_process(*arguments: str) -> int:
    """The last number that this interpreter prints, run anew with these arguments; for programs that print bytes.

    Raises:
        RuntimeError: the process failed.
    """
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return int(done.stdout.split()[-1])


def added_by(step: Callable[[], object]) -> int:
    """Bytes that a call adds at its peak to the memory that this process holds before it."""
    gc.collect()
    CLEAR.write_text(RESET_PEAK)
    before = status_bytes("VmRSS")
    step()
    return status_bytes("VmHWM") - before


def status_bytes(field: str) -> int:
    """A memory field of this process: VmRSS is resident now, VmHWM was at most since the last reset."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
