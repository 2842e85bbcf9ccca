"""Keras' losses with xent's arithmetic on its JAX, TensorFlow and PyTorch backends, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BACKENDS = ("jax", "tensorflow", "torch")
CHECKS = Path(__file__).with_name("keras_checks.py")


@pytest.mark.parametrize("backend", BACKENDS)
def test_on_backend(backend: str) -> None:
    """Every check of the file, which says how many it made."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(CHECKS)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"all checks passed on {backend}" in done.stdout
