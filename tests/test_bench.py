"""The benchmark: a run of every case on a few rows, and planted faults that it must catch."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import shlex
import shutil
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

import xent
from xent import bench, peak_memory
from xent.bench import agreement, contenders, machine, memory, peers, timing
from xent.bench.cases import CASES, Case, shrunk
from xent.bench.families import problem
from xent.bench.report import Row, short
from xent.bench.softmax import IGNORED
from xent.bench.steps import torch_arrays

SMALL_CASES = [shrunk(case) for case in CASES]
README = Path(__file__).parent.parent / "benchmarks" / "README.md"
case_ids = pytest.mark.parametrize("case", SMALL_CASES, ids=lambda case: case.name)


def parse(*arguments):
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture(autouse=True)
def _short_samples(monkeypatch):
    monkeypatch.setattr(timing, "SAMPLE", 1e-4)
    monkeypatch.setattr(timing, "PAUSE", 0.0)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """Exit status, printed text and rows of `xent bench --smoke --no-compile --json FILE`."""
    file = tmp_path_factory.mktemp("bench") / "rows.jsonl"
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(timing, "SAMPLE", 1e-4)
        patch.setattr(timing, "PAUSE", 0.0)
        status = bench.run(parse("--smoke", "--no-compile", "--json", str(file)))
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return status, printed.getvalue(), rows


def test_the_smoke_run_succeeds_and_covers_every_case(smoke):
    status, printed, rows = smoke
    assert status == 0
    assert list(dict.fromkeys(row["case"] for row in rows)) == [case.name for case in CASES]
    for case in CASES:
        assert f"\n{case.name}: " in printed


def test_rows_carry_every_field(smoke):
    fields = {field.name.rstrip("_") for field in dataclasses.fields(Row)}
    may_be_missing = {"memory", "loss_error", "gradient_error", "agrees"}
    for row in smoke[2]:
        assert row.keys() == fields
        assert {name for name, value in row.items() if value is None} <= may_be_missing
        assert row["machine"].keys() == {"cpu", "cores", "threads", "instruction_set"}
        assert row["versions"].keys() == {"python", "numpy", "torch", "xent"}
        low, high = row["quartiles"]
        assert 0 < low <= row["milliseconds"] <= high
        assert row["rounds"] >= timing.MIN_ROUNDS
        assert row["calls"] >= 1


def test_derived_numbers_follow_from_the_times(smoke):
    rows = smoke[2]
    for row in rows:
        times = {other["contender"]: other["milliseconds"] for other in rows if other["case"] == row["case"]}
        mine = times[row["contender"]]
        bytes_moved = np.prod(row["shape"]) * (2 if row["dtype"] == "bfloat16" else 4)
        if row["contender"] == "memcpy" or row["pass"] == "forward+backward":
            bytes_moved *= 2
        assert row["gigabytes_per_second"] == pytest.approx(bytes_moved / mine / 1e6)
        assert row["memcpys"] == pytest.approx(mine / times["memcpy"])
        assert row["faster_than"] == pytest.approx(
            {peer: times[peer] / mine for peer in ("torch", "NumPy") if peer in times and row["contender"] != "memcpy"}
        )


def test_every_result_agrees_with_the_truth(smoke):
    rows = smoke[2]
    eps = {"float32": 2.0**-23, "bfloat16": 2.0**-7}
    compared = 0
    for row in rows:
        assert row["agrees"] is (None if row["contender"] == "memcpy" else True)
        if row["contender"] not in ("xent (torch)", "xent (NumPy)"):
            continue
        for peer in rows:
            if peer["case"] != row["case"] or peer["contender"] not in row["faster_than"]:
                continue
            assert row["loss_error"] <= peer["loss_error"] + 2 * eps["float32"]
            if row["pass"] == "forward+backward":
                assert row["gradient_error"] <= peer["gradient_error"] + 2 * eps[row["dtype"]]
            compared += 1
    assert compared >= 2 * len(CASES)


@case_ids
def test_the_truth_is_torchs_in_float64(case):
    given = problem(case)
    true = agreement.truth(given)
    logits, labels, weight = torch_arrays(given, given.plain_labels)
    logits = logits.double().requires_grad_()
    labels = labels.double() if labels.is_floating_point() else labels
    weight = None if weight is None else weight.double()
    loss = peers.torch_loss(given)(logits, labels, weight)
    loss.backward()
    got = agreement.error((loss, logits.grad), true)
    # xent's mean divides by the sum of the soft targets, 1 but for their rounding to float32; torch's does not.
    bound = 2.0**-22 if case.soft else 2.0**-48
    assert got.loss <= bound
    assert got.gradient <= bound


def test_labels_of_the_sigmoid_family_are_0_and_1():
    given = problem(Case("lists", (20, 50), loss="sigmoid", positives=10))
    assert given.labels.shape == (20, 10)
    assert given.plain_labels.dtype == np.float32
    assert [np.flatnonzero(row).tolist() for row in given.plain_labels] == [sorted(row) for row in given.labels]
    dense = problem(Case("dense", (20, 50), loss="sigmoid"))
    assert dense.labels is dense.plain_labels
    assert set(dense.labels.flat) == {0.0, 1.0}
    assert 0.4 < dense.labels.mean() < 0.6


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (Case("odd", (2, 3), loss="sigmoid", ignored=0.5), r"odd: the sigmoid loss has no ignored\."),
        (Case("odd", (2, 3), pos_weight=True, positives=1), r"odd: the softmax loss has no pos_weight, positives\."),
        (Case("odd", (2, 3), loss="soft margin", pos_weight=True), r"odd: the soft margin loss has no pos_weight\."),
    ],
)
def test_a_case_may_not_ask_for_what_its_loss_has_not(case, words):
    with pytest.raises(ValueError, match=words):
        problem(case)


def contender_by_name(found, name):
    return next(c for c in found if c.name == name)


def planted(contender, fault):
    """The contender with a fault in its outcome."""
    return dataclasses.replace(contender, step=lambda: fault(*contender.step()))


def one_nan(gradient):
    gradient = gradient * 1
    gradient[0, 0] = float("nan")
    return gradient


FAULTS = {
    "sign of the gradient": lambda loss, gradient: (loss, -gradient),
    "one entry of the gradient": lambda loss, gradient: (
        loss,
        gradient + (gradient == gradient.max()) * gradient / 100,
    ),
    "mean for sum": lambda loss, gradient: (loss * len(gradient), gradient * len(gradient)),
    "loss off by a thousandth": lambda loss, gradient: (loss * 1.001, gradient),
    "loss is NaN": lambda loss, gradient: (loss * float("nan"), gradient),
    "gradient has a NaN": lambda loss, gradient: (loss, one_nan(gradient)),
}


@pytest.mark.parametrize("name", ["torch", "NumPy", "xent (torch)", "xent (NumPy)"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_a_wrong_result_is_caught(name, fault, loss):
    given = problem(Case("planted", (20, 50), loss=loss))
    found, _ = contenders.contenders(given, compile=False)
    found = [planted(c, FAULTS[fault]) if c.name == name else c for c in found]
    verdicts = agreement.check(found)
    assert verdicts[name].disagreements
    assert all(line.startswith(f"DISAGREES: {name}: ") for line in verdicts[name].disagreements)
    assert [other for other, verdict in verdicts.items() if verdict.disagreements] == [name]


def test_xent_may_not_be_less_accurate_than_a_peer():
    given = problem(Case("planted", (20, 50)))
    found, _ = contenders.contenders(given, compile=False)
    eps = 2.0**-23
    found = [
        planted(c, lambda loss, g: (loss.double() * (1 + 4 * eps), g)) if c.name == "xent (torch)" else c for c in found
    ]
    wrong = agreement.check(found)["xent (torch)"].disagreements
    assert len(wrong) == 2
    assert "torch's error + 2·eps" in wrong[0]
    assert "NumPy's error + 2·eps" in wrong[1]
    assert "loss" in wrong[0]


def test_a_loss_from_bfloat16_logits_is_held_to_float32():
    given = problem(Case("planted", (20, 50), dtype="bfloat16"))
    found, _ = contenders.contenders(given, compile=False)
    slightly_off = planted(
        contender_by_name(found, "xent (torch)"), lambda loss, gradient: (loss * (1 + 1e-4), gradient)
    )
    wrong = agreement.check([slightly_off])["xent (torch)"].disagreements
    assert len(wrong) == 1
    assert "the loss has an error of 0.0001, expected at most" in wrong[0]


def test_ignored_rows_must_not_count():
    given = problem(Case("planted", (20, 50), ignored=0.9))
    assert (given.labels == IGNORED).sum() == 18
    found, _ = contenders.contenders(given, compile=False)
    by_all_rows = planted(contender_by_name(found, "torch"), lambda loss, gradient: (loss / 10, gradient / 10))
    assert agreement.check([by_all_rows])["torch"].disagreements


def test_a_wrong_peer_fails_the_run(monkeypatch, capsys, tmp_path):
    def sum_for_mean(given):
        return lambda logits, labels, weight: torch.nn.functional.cross_entropy(logits, labels, reduction="sum")

    monkeypatch.setattr(peers, "torch_loss", sum_for_mean)
    file = tmp_path / "rows.jsonl"
    status = bench.run(parse("--smoke", "--no-compile", "--cases", "small", "--json", str(file)))
    assert status == 1
    assert "DISAGREES: torch: the loss has an error of" in capsys.readouterr().out
    agrees = {row["contender"]: row["agrees"] for row in map(json.loads, file.read_text().splitlines())}
    assert agrees == {"xent (torch)": True, "xent (NumPy)": True, "torch": False, "NumPy": True, "memcpy": None}


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # torch warns about itself while it compiles
def test_torch_compile_competes():
    found, notes = contenders.contenders(problem(Case("compiled", (6, 7))))
    assert notes == []
    compiled = [contender_by_name(found, "torch.compile")]
    assert agreement.check(compiled)["torch.compile"].disagreements == []


def test_a_compiler_that_fails_is_noted(monkeypatch, capsys):
    def no_compiler(*arguments, **options):
        raise RuntimeError("no C++ compiler\nfound")

    monkeypatch.setattr(torch, "compile", no_compiler)
    assert bench.run(parse("--smoke", "--cases", "small")) == 0
    printed = capsys.readouterr().out
    assert "torch.compile is left out, it failed with RuntimeError: no C++ compiler found" in printed
    assert "×torch" in printed
    assert "×compile" not in printed


def test_without_torch_numpy_competes_alone(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)  # what `import torch` finds where it is not installed
    file = tmp_path / "rows.jsonl"
    assert bench.run(parse("--smoke", "--cases", "small", "--json", str(file))) == 0
    assert [json.loads(line)["contender"] for line in file.read_text().splitlines()] == [
        "xent (NumPy)",
        "NumPy",
        "memcpy",
    ]
    assert "torch is not installed" in capsys.readouterr().out


@pytest.mark.parametrize("names", ["abc", "abcd"])
def test_contenders_take_turns(names):
    rounds = ["".join(timing.order(names, turn)) for turn in range(2 * len(names))]
    assert all(sorted(turn) == sorted(names) for turn in rounds)
    assert [turn[0] for turn in rounds] == list(names + names)
    assert rounds[0] == names
    assert rounds[len(names)] == names[0] + names[:0:-1]


def test_timing_takes_turns_and_measures():
    calls = []
    timings = timing.interleave({name: lambda name=name: calls.append(name) for name in "ab"}, 0.0)
    assert set(calls) == {"a", "b"}
    for measured in timings.values():
        assert len(measured.samples) == timing.MIN_ROUNDS
        assert measured.calls > 1  # too short for a sample
        low, high = measured.quartiles
        assert 0 < low <= measured.median <= high


def test_a_batch_that_takes_far_too_long_is_cut():
    clock = iter(range(1000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing.time, "perf_counter", lambda: float(next(clock)))
        calls = []
        assert timing.sample(lambda: calls.append(1), 100) == pytest.approx(0.1)  # 10 calls between two ticks
    assert len(calls) == 11  # one to wake up, and a tenth of the batch


@pytest.mark.parametrize("case", [Case("freed", (64, 50)), Case("freed", (64, 50), loss="sigmoid", positives=3)])
def test_a_step_releases_its_own_gradient_on_the_clock(case, monkeypatch):
    """Neither another's step nor the time between two samples may pay for it."""
    found, _ = contenders.contenders(problem(case), compile=False)
    for contender in found:
        if contender.role == "copy":
            continue
        alive = []

        def step(contender=contender, alive=alive):
            outcome = contender.step()
            alive.append(weakref.ref(outcome[1]))
            return outcome

        seen = []
        monkeypatch.setattr(
            timing.time,
            "perf_counter",
            lambda alive=alive, seen=seen: seen.append([ref() for ref in alive]) or len(seen),
        )
        timing.seconds(step, 3)
        assert seen == [[], [None] * 3], contender.name


@pytest.mark.skipif(not peak_memory.measurable(), reason="peak memory is measured through Linux's /proc")
@pytest.mark.parametrize(
    ("case", "low", "high"),
    [
        (Case("memory", (512, 8192)), 0.95, 1.2),
        (Case("memory", (512, 8192), backward=False), 0.0, 0.1),
        (Case("memory", (512, 8192), loss="sigmoid", pos_weight=True), 0.95, 1.2),
        (Case("memory", (512, 8192), loss="sigmoid", positives=20), 0.95, 1.2),
        (Case("memory", (512, 8192), loss="sigmoid", positives=20, backward=False), 0.0, 0.1),
    ],
    ids=lambda value: value.about + ", " + value.pass_name if isinstance(value, Case) else "",
)
def test_peak_memory_is_the_gradients(case, low, high):
    assert memory.measurable(case)
    assert low <= memory.peak_bytes(case, "xent (torch)", 1) / case.logits_bytes <= high


def test_a_failure_of_the_process_that_measures_memory_is_told():
    with pytest.raises(RuntimeError, match=r"(?s)memory of nobody on small failed:\n.*StopIteration"):
        memory.peak_bytes(Case("small", (2, 3)), "nobody", 1)


def test_memory_too_small_to_measure_is_noted(capsys):
    assert bench.run(parse("--smoke", "--no-compile", "--cases", "small", "--memory")) == 0
    assert "Memory is measured on Linux, and from 1 MiB of logits on." in capsys.readouterr().out


def test_threads_are_set_for_both_and_put_back():
    before = xent.get_num_threads(), torch.get_num_threads()
    with machine.threads(1) as chosen:
        assert (chosen, xent.get_num_threads(), torch.get_num_threads()) == (1, 1, 1)
    assert (xent.get_num_threads(), torch.get_num_threads()) == before


def test_list_names_every_case(capsys):
    assert bench.run(parse("--list")) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [case.name for case in CASES]
    assert bench.run(parse("--list", "--cases", "ignored-*")) == 0
    assert capsys.readouterr().out.count("\n") == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cases", "smal"], "argument --cases: expected the name of a case, got 'smal'. Choose from: index-32k, "),
        (["--seconds", "-1"], "argument --seconds: expected a number of seconds, got '-1'. Pass a number >= 0."),
        (["--seconds", "nan"], "argument --seconds: expected a number of seconds, got 'nan'."),
        (
            ["--json", "missing/rows"],
            "argument --json: expected a file that can be written, got 'missing/rows'. Name another",
        ),
        (["--json", "."], "argument --json: expected a file that can be written, got '.'. Name another file."),
        (["--threads", "0"], "argument --threads: expected an integer in [1, 1024], got '0'. Pass the cores to use."),
    ],
)
def test_arguments_are_checked(arguments, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse(*arguments)
    assert said in capsys.readouterr().err


def test_tables_fit_into_80_columns(smoke):
    tables = [
        line for line in smoke[1].splitlines() if line.startswith(("contender", "xent (", "torch ", "memcpy ", "─"))
    ]
    assert len(tables) > 4 * len(CASES)
    assert max(map(len, tables)) <= 80
    assert not any("…" in line for line in tables)


def test_numbers_are_short():
    assert [short(v) for v in (12345.6, 123.4, 12.34, 1.234, 0.1234, 0.0001, None)] == [
        "12346",
        "123",
        "12.3",
        "1.23",
        "0.123",
        "0.000",
        "",
    ]


def test_the_commands_of_the_readme_parse():
    commands = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("xent bench")]
    assert len(commands) >= 3
    for command in commands:
        assert parse(*shlex.split(command, comments=True)[2:])


def test_the_readme_names_every_field():
    said = README.read_text(encoding="utf-8")
    assert [f.name for f in dataclasses.fields(Row) if f"`{f.name.rstrip('_')}`" not in said] == []
