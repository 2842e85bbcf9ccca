"""The training benchmark runs, agrees with torch, and says so with its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import scripts
import torch


@pytest.fixture
def training() -> ModuleType:
    return scripts.benchmark("training")


def test_smoke(training: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, picture = tmp_path / "rows.jsonl", tmp_path / "curves.png"
    assert training.main(["--smoke", "--json", str(file), "--plot", str(picture)]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["loss"] for row in rows] == ["torch", "xent"]
    assert all(len(row["losses"]) == 4 for row in rows)
    assert picture.stat().st_size > 10_000
    assert "largest relative difference" in capsys.readouterr().out


def test_another_loss_is_noticed(training: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(logits, targets, label_smoothing=1e-3)

    monkeypatch.setitem(training.LOSSES, "xent", other)
    monkeypatch.setattr(training, "peak_memory", lambda *_: None)
    assert training.main(["--smoke"]) == 1
