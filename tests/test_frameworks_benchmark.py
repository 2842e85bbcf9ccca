"""The benchmark of JAX and TensorFlow runs, compares before it times, and says so with its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import scripts

import xent


@pytest.fixture
def frameworks() -> ModuleType:
    return scripts.benchmark("frameworks")


def test_smoke(frameworks: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    assert frameworks.main(["--smoke", "--json", str(file)]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert {row["case"] for row in rows} == set(frameworks.CASES)
    assert all(row["milliseconds"] > 0 for row in rows)


def test_a_wrong_loss_is_noticed(
    frameworks: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = xent.softmax_cross_entropy

    def wrong(logits: Any, labels: Any) -> Any:
        return right(logits, labels, label_smoothing=1e-3)

    monkeypatch.setattr(xent, "softmax_cross_entropy", wrong)
    assert frameworks.main(["--smoke"]) == 1
    assert "xent and optax differ" in capsys.readouterr().out
