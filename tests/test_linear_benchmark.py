"""The benchmark of linear losses runs, compares before it times, and says so with its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import scripts

import xent


@pytest.fixture
def linear() -> ModuleType:
    return scripts.benchmark("linear")


def test_smoke(linear: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    assert linear.main(["--smoke", "--json", str(file)]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert {row["case"] for row in rows} == set(linear.CASES)
    assert {row["contender"] for row in rows} == {"xent", "eager", "torch chunked", "products alone"}
    assert all(row["milliseconds"] > 0 for row in rows)


def test_a_wrong_loss_is_noticed(
    linear: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = xent.linear_softmax_cross_entropy

    def wrong(*arguments: Any) -> Any:
        return right(*arguments, label_smoothing=0.1)

    monkeypatch.setattr(xent, "linear_softmax_cross_entropy", wrong)
    assert linear.main(["--smoke"]) == 1
    assert "xent and eager PyTorch differ" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are measured on Linux")
def test_memory(linear: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(linear.CASES, "small", (1024, 64, 30000, False))
    peaks = {}
    for contender in ("xent", "eager"):
        linear.measure("small", "float32", contender)
        peaks[contender] = float(capsys.readouterr().out)
    logits = 1024 * 30000 * 4 / 2**20
    assert peaks["eager"] > 1.5 * logits
    assert peaks["xent"] < logits
