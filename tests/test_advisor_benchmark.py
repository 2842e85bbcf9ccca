"""The benchmark of the advisor runs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "advisor.py"


def test_smoke(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("advisor_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    file = tmp_path / "rows.jsonl"
    assert module.main(["--smoke", "--json", str(file)]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["case"].split(",")[0] for row in rows] == ["check", "check", "watch", "lint"]
    assert all(row["advisor"] > 0 for row in rows)
