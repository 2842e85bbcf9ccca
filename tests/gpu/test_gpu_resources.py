"""Kernels compile for GPUs without one, and keep their tiles in registers."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import scripts

# ptxas leaves a number or two that belong to a whole program on the stack where another program then fits beside it.
# Of a tile, a thread has sixteen numbers at least.
A_FEW_SCALARS = 16


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script in a process of its own, for Triton compiles only where it was not loaded as an interpreter."""
    inherited = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    return subprocess.run(
        [sys.executable, str(scripts.BENCHMARKS / "gpu_resources.py"), *arguments],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def kernels() -> set[str]:
    """Names of all kernels that the library launches, as `module.kernel[(programs, …)](…)`."""
    sources = (scripts.BENCHMARKS.parent / "src" / "xent" / "kernels" / "triton").glob("*.py")
    return {name for path in sources for name in re.findall(r"\b\w+\.(\w+)\[\(", path.read_text())}


def test_every_target(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    done = run("--quick", "--json", str(file))
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()]
    launched = kernels()
    assert {"softmax_rows", "softmax_apply", "ordered_sum"} <= launched
    for target in ("sm_80", "sm_90", "sm_100"):
        assert {row["kernel"] for row in rows if row["target"] == target} == launched
    for row in rows:
        assert 0 < row["registers"] <= 255
        assert row["local_bytes"] == 0
        assert row["stack_bytes"] <= A_FEW_SCALARS, row
        assert row["spills"] == (row["spill_instructions"] > 0)
    assert f"of {len(rows)} kernels spill registers" in done.stdout


def test_the_interpreter_compiles_nothing() -> None:
    done = run(TRITON_INTERPRET="1")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "TRITON_INTERPRET is set" in done.stderr


def test_spills_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(scripts.BENCHMARKS)
    module = importlib.import_module("gpu_resources")
    light = module.Kernel("k", 8, registers=64, shared_bytes=0, stack_bytes=8, local_bytes=0, spill_instructions=0)
    heavy = light._replace(registers=255, stack_bytes=400, spill_instructions=376)
    assert (light.resident_warps, heavy.resident_warps) == (32, 8)
    assert (light.spills, heavy.spills) == (False, True)
    about = {"target": "sm_90", "kernel": "k", "dtype": "float64", "variant": "some"}
    rows = [about | k._asdict() | {"spills": k.spills, "resident_warps": k.resident_warps} for k in (light, heavy)]
    assert module.summary(rows) == "1 of 2 kernels spill registers, 400 bytes a thread at most."
    assert [row.style for row in module.table_of(rows).rows] == ["", "bold red"]
