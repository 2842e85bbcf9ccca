"""Devices without kernels of their own are served by torch's operations, and get the CPU's results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_losses_on_a_device_that_is_neither_cpu_nor_gpu() -> None:
    script = Path(__file__).parent / "elsewhere.py"
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr[-4000:]
