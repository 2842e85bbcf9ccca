"""The benchmark of small batches runs, compares before it times, and says so with its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import scripts
import torch

from xent.compat import torch as compat


@pytest.fixture
def latency() -> ModuleType:
    return scripts.benchmark("latency")


def test_smoke(latency: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    assert latency.main(["--smoke", "--json", str(file)]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert {row["case"] for row in rows} == set(latency.cases())
    assert all(min(row["microseconds"].values()) > 0 for row in rows)


def test_a_wrong_loss_is_noticed(
    latency: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = compat.soft_margin_loss

    def wrong(x: torch.Tensor, y: torch.Tensor, **options: Any) -> torch.Tensor:
        return right(x * 1.001, y, **options)

    monkeypatch.setattr(compat, "soft_margin_loss", wrong)
    assert latency.main(["--smoke"]) == 1
    assert "soft_margin_loss: xent and torch differ" in capsys.readouterr().out
