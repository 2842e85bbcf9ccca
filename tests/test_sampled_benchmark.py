"""The benchmark of sampled losses runs, and compares before it times."""

from __future__ import annotations

import json
from pathlib import Path

import scripts


def test_smoke(tmp_path: Path) -> None:
    module = scripts.benchmark("sampled")
    file = tmp_path / "rows.jsonl"
    assert module.main(["--smoke", "--json", str(file)]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert {row["contender"] for row in rows} == {module.STEPS[0], module.STEPS[2], *module.SAMPLERS}
    assert all(row["milliseconds"] > 0 for row in rows)
    assert module.difference([[1.0, 2.0]], [[1.0, 2.1]]) > module.TOLERANCE
