"""The benchmark of the advisor runs."""

from __future__ import annotations

import json
from pathlib import Path

import scripts


def test_smoke(tmp_path: Path) -> None:
    module = scripts.benchmark("advisor")
    file = tmp_path / "rows.jsonl"
    assert module.main(["--smoke", "--json", str(file)]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["case"].split(",")[0] for row in rows] == ["check", "check", "watch", "lint"]
    assert all(row["advisor"] > 0 for row in rows)
