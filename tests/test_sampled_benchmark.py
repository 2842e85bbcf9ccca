"""The benchmark of sampled losses runs, and compares before it times."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "sampled.py"


def test_smoke(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("sampled_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    file = tmp_path / "rows.jsonl"
    assert module.main(["--smoke", "--json", str(file)]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert {row["contender"] for row in rows} == {module.STEPS[0], module.STEPS[2], *module.SAMPLERS}
    assert all(row["milliseconds"] > 0 for row in rows)
    assert module.difference([[1.0, 2.0]], [[1.0, 2.1]]) > module.TOLERANCE
