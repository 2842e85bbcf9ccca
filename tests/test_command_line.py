"""What every command of `xent` does when its output cannot be written."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from xent.cli import main

FULL = Path("/dev/full")  # a device on which every write fails
CODE = "import sys; from xent.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    ("arguments", "command"),
    [(("--help",), "xent"), (("choose", "--help"), "xent choose"), (("lint", "--explain", "all"), "xent lint")],
)
def test_output_that_cannot_be_written(arguments: tuple[str, ...], command: str) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", CODE, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == f"{command}: cannot write the output: No space left on device\n"


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_findings_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import torch.nn.functional as F\nF.cross_entropy(F.softmax(z, 1), y)\n")
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", CODE, "lint", str(tmp_path)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "xent lint: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("arguments", [("--version",), ("lint", "--explain", "all")])
def test_output_that_nobody_reads(arguments: tuple[str, ...]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert errors == ""
    assert process.returncode == 1


@pytest.mark.parametrize("command", ["check", "report", "choose"])
def test_a_lack_of_memory_is_said(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = import_module(f"xent.cli.{command}")

    def lacking(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(module, "read_arrays", lacking)
    assert main([command, *(["--file"] if command == "choose" else []), "logits.npz"]) == 2
    assert capsys.readouterr().err == f"xent {command}: not enough memory\n"
