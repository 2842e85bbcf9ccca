"""`xent check` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import xent
from xent.cli import main

RNG = np.random.default_rng(4)
LOGITS = RNG.normal(size=(300, 7)).astype(np.float32)
LABELS = RNG.integers(0, 7, 300)


@pytest.fixture
def healthy(tmp_path: Path) -> str:
    np.savez(tmp_path / "healthy.npz", logits=LOGITS, labels=LABELS)
    return str(tmp_path / "healthy.npz")


@pytest.fixture
def faulty(tmp_path: Path) -> str:
    np.savez(tmp_path / "faulty.npz", scores=xent.softmax(LOGITS), y=LABELS + 1)
    return str(tmp_path / "faulty.npz")


def test_a_healthy_file(healthy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", healthy]) == 0
    out, err = capsys.readouterr()
    assert out == "300 rows, 7 classes: nothing to report.\n"
    assert err == ""


def test_errors_are_shown_with_their_remedy_in_80_columns(
    faulty: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["check", faulty, "--logits", "scores", "--labels", "y"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("300 rows, 7 classes: 2 errors\n\nX01 error all logits of the")
    assert "\n    Pass what the last layer gives, without softmax." in out
    assert "labels - 1" in out
    assert all(len(line) <= 80 and line == line.rstrip() for line in out.splitlines())


def test_json_holds_the_same(faulty: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", faulty, "--logits", "scores", "--labels", "y", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [finding["rule"] for finding in report["findings"]] == ["X01", "X08"]
    assert (report["rows"], report["classes"]) == (300, 7)


def test_options_and_weights_reach_the_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "one.npz"
    np.savez(path, logits=LOGITS, labels=np.full(300, 2), class_weight=np.ones(7), w=np.arange(1.0, 8))
    assert main(["check", str(path), "--class-weight", "w", "--label-smoothing", "0.1"]) == 0
    out = capsys.readouterr().out
    assert "X26 warning all 300 rows are of class 2" in out
    path = tmp_path / "soft.npz"
    soft = xent.softmax(2 * LOGITS)
    np.savez(path, logits=xent.log_softmax(LOGITS), labels=np.log(soft))
    assert main(["check", str(path), "--loss", "kl", "--log-target", "--temperature", "2", "--loss-scale", "4"]) == 0
    assert capsys.readouterr().out == "300 rows, 7 classes: nothing to report.\n"
    path = tmp_path / "two.npz"
    np.savez(path, logits=LOGITS, labels=LABELS)
    assert main(["check", str(path), "--label-smoothing", "0.1", "--value", "0.05"]) == 0
    assert "X42 warning the loss is 0.05, below" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["logits.npy", "logits.safetensors", "logits.parquet"])
def test_other_files(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow
    import pyarrow.parquet
    from safetensors.numpy import save_file

    logits, labels = LOGITS.copy(), LABELS
    logits[17] = np.nan
    path, more = tmp_path / name, []
    if name.endswith("npy"):
        np.save(path, logits)
        np.save(tmp_path / "labels.npy", labels)
        more = ["--labels", str(tmp_path / "labels.npy")]
    elif name.endswith("safetensors"):
        save_file({"logits": logits, "labels": labels}, path)
    else:
        table = pyarrow.table({"logits": list(logits), "labels": labels})
        pyarrow.parquet.write_table(table, path)
    assert main(["check", str(path), *more]) == 1
    assert "X22 error 1 of 300 rows have no finite loss (row 17;" in capsys.readouterr().out


def test_lists_of_positive_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"logits": list(LOGITS), "labels": [list(range(n % 3)) for n in range(300)]})
    pyarrow.parquet.write_table(table, tmp_path / "lists.parquet")
    assert main(["check", str(tmp_path / "lists.parquet"), "--loss", "sigmoid"]) == 0
    assert capsys.readouterr().out == "300 rows, 7 classes: nothing to report.\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["missing.npz"], "missing.npz: expected a file that can be read"),
        (["healthy.npz", "--labels", "nothing"], "expected labels called 'nothing', got arrays called"),
        (["healthy.npz", "--loss", "hinge"], "argument --loss: invalid choice"),
        (["healthy.npz", "--axis", "5"], "axis: expected an axis of logits"),
        (["healthy.npz", "--temperature", "-1"], "temperature: expected"),
        (["cut.npz"], "cut.npz: expected"),
        (["short.npz"], "labels for the 300 rows"),
        ([], "the following arguments are required: FILE"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str],
    text: str,
    healthy: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.npz").write_bytes(Path(healthy).read_bytes()[:500])
    np.savez(tmp_path / "short.npz", logits=LOGITS, labels=LABELS[:9])
    assert main(["check", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("xent check: ")
    assert text in err
    assert err.count("\n") == 1
