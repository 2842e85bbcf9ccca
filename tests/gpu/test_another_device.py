"""Where the CPU plays the GPU, nothing shows on which of them a tensor is, and nobody waits. Here it shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_losses_mix_no_devices_and_wait_for_none() -> None:
    script = Path(__file__).parents[1] / "elsewhere.py"
    command = [sys.executable, "-W", "ignore", script]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr[-4000:]
