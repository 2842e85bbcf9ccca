"""The benchmark for GPUs runs in Triton's interpreter, compares before it times, and says so with its exit status."""

from __future__ import annotations

import importlib
import json
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import scripts
import torch

import xent


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(scripts.BENCHMARKS)
    return importlib.import_module("gpu")


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_quick(gpu: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    assert gpu.main(["--quick", "--repeats", "2", "--json", str(file)]) == 0
    assert "interpreter: times mean nothing" in capsys.readouterr().out
    rows = rows_of(file)
    found = {(row["loss"], row["dtype"], row["contender"]) for row in rows}
    for loss, dtype in (("dense", "bfloat16"), ("dense", "float32"), ("linear", "bfloat16")):
        floor = "copy" if loss == "dense" else "products alone"
        assert {(loss, dtype, name) for name in ("xent", "torch eager", floor)} <= found
    for row in rows:
        assert row["failed"] is None
        assert not {"milliseconds", "quartiles", "over_floor"} & set(row)
        assert row["versions"]["triton"]
        assert row["device"]["name"] == "Triton's interpreter"
    ours = [row for row in rows if row["contender"] == "xent"]
    assert len(ours) == 3
    assert all(row["agrees"] and 0 <= row["gradient_error"] < 0.01 for row in ours)


def test_a_wrong_loss_is_noticed(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = xent.softmax_cross_entropy

    def wrong(*arguments: Any, **options: Any) -> Any:
        return right(*arguments, label_smoothing=0.1, **options)

    monkeypatch.setattr(xent, "softmax_cross_entropy", wrong)
    assert gpu.main(["--quick", "--repeats", "2", "--losses", "dense", "--dtypes", "float32"]) == 1
    assert "has an error of" in " ".join(capsys.readouterr().out.split())


def test_a_gradient_that_ignores_what_is_upstream_is_noticed(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            with torch.enable_grad():
                x = logits.detach().requires_grad_()
                loss = torch.nn.functional.cross_entropy(x, labels)
                (ctx.gradient,) = torch.autograd.grad(loss, x)
            return loss.detach()

        @staticmethod
        def backward(ctx: Any, *upstream: Any) -> Any:
            return ctx.gradient, None

    monkeypatch.setattr(xent, "softmax_cross_entropy", lambda logits, labels, **_: Deaf.apply(logits, labels))
    assert gpu.main(["--quick", "--repeats", "2", "--losses", "dense", "--dtypes", "float32"]) == 1


def test_who_fails_stops_nobody(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contenders = importlib.import_module("gpu_contenders")
    calls = []

    def late(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) > 2:
            raise torch.OutOfMemoryError("no memory is left\nat all")
        return torch.nn.functional.cross_entropy(logits, labels)

    def missing() -> Any:
        raise ImportError("half installed")

    losers = [contenders.Contender("late", lambda: late), contenders.Contender("broken", missing)]
    monkeypatch.setattr(contenders, "DENSE", [*losers, *contenders.DENSE])
    file = tmp_path / "rows.jsonl"
    status = gpu.main(["--quick", "--repeats", "2", "--losses", "dense", "--dtypes", "float32", "--json", str(file)])
    failed = {row["contender"]: row["failed"] for row in rows_of(file)}
    assert failed["late"] == "OutOfMemoryError: no memory is left"
    assert failed["broken"] == "ImportError: half installed"
    assert failed["xent"] is None
    assert status == 0
    assert "half installed" in " ".join(capsys.readouterr().out.split())


def test_tune(gpu: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from xent.kernels.triton import launch, shapes

    tuned = importlib.import_module("gpu_tune")
    before = dict(vars(shapes)), dict(vars(launch))
    file = tmp_path / "rows.jsonl"
    assert gpu.main(["--quick", "--tune", "--repeats", "2", "--dtypes", "bfloat16", "--json", str(file)]) == 0
    rows = rows_of(file)
    assert {row["tune"] for row in rows} == {group.about for group in tuned.GROUPS}
    assert all(row["failed"] is None and "milliseconds" not in row for row in rows)
    assert f"SWEEP {shapes.SWEEP}, BYTES_A_WARP 2048 (now)" in capsys.readouterr().out
    assert (dict(vars(shapes)), dict(vars(launch))) == before


def test_constants_reach_the_kernels(gpu: ModuleType) -> None:
    from xent.kernels.triton import shapes

    tuned = importlib.import_module("gpu_tune")
    rows = shapes.Lines(1, 8192, 0, 32000, 1)
    with tuned.constants({"SWEEP": 2048, "BYTES_A_WARP": 1024}):
        shape = shapes.softmax_shape(rows, 32000, 132, 4)
        assert (shape.block, shape.warps) == (2048, 8)
    assert shapes.softmax_shape(rows, 32000, 132, 4).block == shapes.SWEEP
    with pytest.raises(LookupError, match="shapes has no SWOOP"), tuned.constants({"SWOOP": 1}):
        pass


class Event:
    """Stands in for a device's event."""

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, end: Event) -> float:
        return 1e3 * (end.at - self.at)


def test_rows_of_a_device(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is done on a device, with the interpreter for its kernels and a stand-in for its clock."""
    clock, contenders = importlib.import_module("gpu_clock"), importlib.import_module("gpu_contenders")
    memory = iter([100, 100 + (12 << 20)] * 99)
    properties = SimpleNamespace(
        name="stand-in", major=9, minor=0, multi_processor_count=4, total_memory=1 << 30, L2_cache_size=1
    )
    cuda = SimpleNamespace(
        Event=Event,
        current_device=lambda: 0,
        get_device_properties=lambda device: properties,
        synchronize=lambda: None,
        empty_cache=lambda: None,
        reset_peak_memory_stats=lambda: None,
        memory_allocated=lambda: next(memory),
        max_memory_allocated=lambda: next(memory),
    )
    stand_in = SimpleNamespace(
        cuda=cuda,
        device=lambda *_: torch.device("cpu"),
        empty=lambda *_, **__: torch.empty(8),
        int8=torch.int8,
        version=torch.version,
    )
    monkeypatch.setattr(clock, "torch", stand_in)
    monkeypatch.setattr(clock, "WARM_UP", 0.0)
    monkeypatch.setattr(contenders, "compiled", lambda loss: loss)
    monkeypatch.setattr(gpu, "QUICK_DENSE", ((4, 1 << 10),))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    file = tmp_path / "rows.jsonl"
    options = ["--losses", "dense", "--dtypes", "bfloat16", "--repeats", "3", "--json", str(file)]
    assert gpu.main(["--quick", *options]) == 0
    rows = {row["contender"]: row for row in rows_of(file)}
    assert {"xent", "torch eager", "torch.compile", "copy"} <= set(rows)
    ours, copy = rows["xent"], rows["copy"]
    assert ours["rounds"] == 3
    low, high = ours["quartiles"]
    assert 0 < low <= ours["milliseconds"] <= high
    assert 0 < ours["forward_milliseconds"] < ours["milliseconds"]
    assert ours["over_floor"] == ours["milliseconds"] / copy["milliseconds"]
    assert set(ours["faster_than"]) == set(rows) - {"xent", "copy"}
    assert ours["peak_mib"] == 12
    assert ours["beyond_gradients_mib"] == 12 - 4 * 2**10 * 2 / 2**20
    assert ours["device"]["name"] == "stand-in"
    assert (copy["over_floor"], copy["forward_milliseconds"]) == (1.0, None)


@pytest.mark.parametrize(
    ("interpret", "arguments", "said"),
    [
        ("0", [], "no CUDA device"),
        ("1", [], "add --quick"),
        ("1", ["--quick", "--repeats", "1"], "--repeats"),
        ("1", ["--quick", "--json", "/"], "--json"),
    ],
)
def test_what_cannot_run_is_said_in_a_line(
    gpu: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    interpret: str,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", interpret)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        gpu.main(arguments)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
