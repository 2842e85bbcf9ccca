"""Where a number comes from: the processor, the threads and the versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import xent

from .. import _native
from .steps import torch_or_none


def machine() -> dict[str, Any]:
    """The processor, how much of it is used, and the instruction set that xent picked."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": xent.get_num_threads(),
        "instruction_set": _native.instruction_set(),
    }


def processor() -> str:
    """The processor's name, as well as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Of Python and of what is installed of the packages that are timed."""
    found = {"python": platform.python_version()}
    for package in ("numpy", "torch", "xent"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def threads(n: int | None) -> Iterator[int]:
    """xent and torch on the same number of threads (None: as many as xent has), and back again after."""
    torch = torch_or_none()
    before = xent.get_num_threads(), torch.get_num_threads() if torch else 0
    chosen = n or before[0]
    xent.set_num_threads(chosen)
    if torch:
        torch.set_num_threads(chosen)
    try:
        yield chosen
    finally:
        xent.set_num_threads(before[0])
        if torch:
            torch.set_num_threads(before[1])
