"""The diagnoses of `xent.check`: each finds a planted fault and is silent on its healthy neighbour."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
import torch

import xent
from xent.advisor.check.arrays import Lines
from xent.advisor.check.case import Case, Options
from xent.advisor.check.rules import RULES
from xent.advisor.findings import Report
from xent.demo.binary import detect_all
from xent.demo.data import load_digits, load_tumours
from xent.demo.digits import train_all

RNG = np.random.default_rng(11)
N, C = 64, 5
X = RNG.normal(size=(N, C)).astype(np.float32)
Y = RNG.integers(0, C, N)
P = xent.softmax(X)
ONE_HOT = np.eye(C, dtype=np.float32)[Y]
MULTI = (RNG.random((N, C)) < 0.4).astype(np.float32)
MULTI[:2] = [[1, 1, 0, 0, 0], [0, 1, 1, 0, 1]]
SOFT = xent.softmax(RNG.normal(size=(N, C)).astype(np.float32))
Z = RNG.normal(size=(N, C)).astype(np.float32)
SIGMOID = xent.sigmoid(Z)


def changed(array: np.ndarray, places: Any, value: Any) -> np.ndarray:
    out = array.copy()
    out[places] = value
    return out


def language(shift: int, copy: bool = False) -> dict[str, Any]:
    """Logits of a model that knows the token so many places on, with the tokens as labels."""
    tokens = RNG.integers(0, 50, (8, 32))
    target = tokens if copy else np.roll(tokens, -shift, 1)
    logits = 0.1 * RNG.normal(size=(8, 32, 50)) + 5 * np.eye(50)[target]
    return {"logits": logits, "tokens": tokens}


def gradient(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.asarray(xent.value_and_grad(xent.softmax_cross_entropy)(logits, labels)[1])


def skewed() -> tuple[np.ndarray, np.ndarray]:
    """Logits that know the frequencies of the classes, and nothing else, with labels of these frequencies."""
    prior = np.array([0.7, 0.2, 0.06, 0.03, 0.01])
    return np.tile(np.log(prior), (1000, 1)), np.repeat(np.arange(5), (1000 * prior).astype(int))


class Fault(NamedTuple):
    planted: dict[str, Any]
    healthy: dict[str, Any]
    severity: str
    says: str


def case(logits: Any, labels: Any, **options: Any) -> dict[str, Any]:
    return {"logits": logits, "labels": labels, **options}


LM, COPY, TWICE = language(1), language(0, copy=True), language(2)
PRIOR, PRIOR_LABELS = skewed()
RARE = np.concatenate([np.zeros(2000, int), np.ones(5, int)])
BIG = RNG.normal(size=(2005, 2)).astype(np.float32)
OVER = (4 * np.eye(4)[RNG.integers(0, 4, 2000)] + RNG.normal(size=(2000, 4))) * 3
OVER_LABELS = np.where(RNG.random(2000) < 0.6, OVER.argmax(1), RNG.integers(0, 4, 2000))
WEIGHTS = np.array([1.0, 2.0, 1.0, 1.0, 1.0])
ROWS_OF_1 = np.ones((N, 1), np.float32)
MANY, MANY_LABELS = RNG.normal(size=(5000, 3)), np.full(5000, 2)
IMAGE = RNG.normal(size=(2, C, 4, 6)).astype(np.float32)
PIXELS = RNG.integers(0, C, (2, 4, 6))
SQUARE = RNG.normal(size=(3, 4, 4)).astype(np.float32)
HEALTHY = case(X, Y)

FAULTS = {
    "X01": Fault(case(P, Y), HEALTHY, "error", "add up to 1"),
    "X02": Fault(case(xent.log_softmax(X), Y), HEALTHY, "info", "log-probabilities"),
    "X03": Fault(case(X, Y, loss="nll"), case(xent.log_softmax(X), Y, loss="nll"), "error", "log-sum-exp"),
    "X04": Fault(case(SIGMOID, MULTI, loss="sigmoid"), case(Z, MULTI, loss="sigmoid"), "error", "in [0, 1]"),
    "X05": Fault(case(X, Y, loss="probs"), case(P, Y, loss="probs"), "error", "outside [0, 1]"),
    "X06": Fault(
        case(changed(P, 3, np.eye(C)[(Y[3] + 1) % C]), Y, loss="probs"), case(P, Y, loss="probs"), "warning", "row 3"
    ),
    "X07": Fault(case(X[:, :1], np.zeros(N, int)), case(X[:, :2], Y % 2), "error", "one class"),
    "X08": Fault(case(X, Y % C + 1), HEALTHY, "error", "outside [0, 5)"),
    "X09": Fault(case(X, Y.astype(np.float32)), HEALTHY, "error", "whole numbers"),
    "X10": Fault(case(X, ONE_HOT.astype(int)), HEALTHY, "info", "one-hot"),
    "X11": Fault(case(X, 1.1 * SOFT), case(X, SOFT), "warning", "64 of 64"),
    "X12": Fault(case(X, ONE_HOT), case(X, SOFT), "info", "one-hot"),
    "X13": Fault(case(X, MULTI), case(X, SOFT), "error", "several labels of 1"),
    "X14": Fault(case(np.moveaxis(IMAGE, 1, -1), PIXELS, axis=1), case(IMAGE, PIXELS, axis=1), "error", "axis -1"),
    "X15": Fault(case(SQUARE, PIXELS[0, :3, :4] % 4), case(SQUARE, PIXELS[0, :3, :4] % 4, axis=-1), "info", "[1, 2]"),
    "X16": Fault(case(X, Y[:, None]), HEALTHY, "error", "(64, 1)"),
    "X17": Fault(
        case(X, np.full(N, -100), ignore_index=-100),
        case(X, changed(Y, 3, -100), ignore_index=-100),
        "warning",
        "all 64",
    ),
    "X18": Fault(case(X, Y, ignore_index=0), case(X, Y, ignore_index=-1), "info", "one of the 5 classes"),
    "X19": Fault(
        case(changed(X, 7, np.nan), changed(Y, 7, -1), ignore_index=-1),
        case(X, changed(Y, 7, -1), ignore_index=-1),
        "warning",
        "row 7",
    ),
    "X20": Fault(
        case(changed(X, (9, (Y[9] + 1) % C), -np.inf), Y, label_smoothing=0.1),
        case(changed(X, (9, (Y[9] + 1) % C), -np.inf), Y),
        "error",
        "row 9",
    ),
    "X21": Fault(
        case(changed(X, (9, Y[9]), -np.inf), Y), case(changed(X, (9, (Y[9] + 1) % C), -np.inf), Y), "error", "row 9"
    ),
    "X22": Fault(case(changed(X, 4, np.nan), Y), HEALTHY, "error", "row 4; the first holds NaN"),
    "X23": Fault(case(changed(X, (0, 0), 80.0).astype(np.float16), Y), HEALTHY, "warning", "80"),
    "X24": Fault(
        case(X.astype(np.float16), Y, label_smoothing=0.1, framework="torch"),
        case(X, Y, label_smoothing=0.1, framework="torch"),
        "warning",
        "half precision",
    ),
    "X25": Fault(
        case(X, Y, value=torch.tensor(2.3, dtype=torch.bfloat16)),
        case(X, Y, value=torch.tensor(2.3)),
        "warning",
        "0.016",
    ),
    "X26": Fault(case(X, np.full(N, 1), class_weight=WEIGHTS), case(X, Y, class_weight=WEIGHTS), "warning", "class 1"),
    "X27": Fault(
        case(X, Y, microbatch_rows=[10, 54]), case(X, Y, microbatch_rows=[32, 32]), "warning", "normalizer=64"
    ),
    "X28": Fault(case(1e-5 * X, Y, step=500), case(1e-5 * X, Y, step=0), "warning", "500 steps"),
    "X29": Fault(case(60 * X, Y, step=0), case(X, Y, step=0), "warning", "first loss"),
    "X30": Fault(
        case(PRIOR, PRIOR_LABELS), case(PRIOR + np.eye(5)[PRIOR_LABELS], PRIOR_LABELS), "warning", "frequencies"
    ),
    "X31": Fault(case(BIG, RARE), case(BIG, np.arange(2005) % 2), "info", "400 times"),
    "X32": Fault(
        case(Z, MULTI, loss="sigmoid", pos_weight=np.ones(N)),
        case(Z, MULTI, loss="sigmoid", pos_weight=np.ones(C)),
        "error",
        "axis 0",
    ),
    "X33": Fault(
        case(Z, MULTI, loss="sigmoid", pos_weight=40.0), case(Z, MULTI, loss="sigmoid", pos_weight=1.5), "warning", "40"
    ),
    "X34": Fault(case(Z, MULTI, loss="logistic"), case(Z, 2 * MULTI - 1, loss="logistic"), "error", "-1 and +1"),
    "X35": Fault(case(X, SOFT, loss="kl"), case(xent.log_softmax(X), SOFT, loss="kl"), "error", "log-probability"),
    "X36": Fault(
        case(X, SOFT, temperature=4.0), case(X, SOFT, temperature=4.0, loss_scale=16.0), "warning", "temperature 4"
    ),
    "X37": Fault(
        case(X, xent.TopK(np.tile([0, 1], (N, 1)), np.full((N, 2), 0.3, np.float32))),
        case(X, xent.TopK(np.tile([0, 1], (N, 1)), np.full((N, 2), 0.5, np.float32))),
        "warning",
        "0.600",
    ),
    "X38": Fault(
        case(COPY["logits"], COPY["tokens"], tokens=COPY["tokens"]),
        case(LM["logits"][:, :-1], LM["tokens"][:, 1:], tokens=LM["tokens"][:, :-1]),
        "error",
        "repeat its input",
    ),
    "X39": Fault(case(X, Y, value=-0.5), case(X, Y, value=0.5), "error", "-0.5"),
    "X40": Fault(case(X, Y, gradient=P), case(X, Y, gradient=gradient(X, Y)), "error", "add up to 0"),
    "X41": Fault(
        case(X, Y, value=1.9, gradient=np.zeros_like(X)),
        case(X, Y, value=1.9, gradient=gradient(X, Y)),
        "error",
        "the graph is cut",
    ),
    "X42": Fault(
        case(X, Y, label_smoothing=0.1, value=0.1), case(X, Y, label_smoothing=0.1, value=1.2), "warning", "entropy"
    ),
    "X43": Fault(case(OVER, OVER_LABELS), case(OVER / 12, OVER.argmax(1)), "info", "calibration"),
    "X44": Fault(case(X, Y, memory=1000), case(X, Y, memory=10**9), "warning", "linear_softmax_cross_entropy"),
    "X45": Fault(
        case(BIG, np.where(np.arange(2005) < 1500, -1, RARE), ignore_index=-1),
        case(BIG, np.arange(2005) % 2, ignore_index=-1),
        "info",
        "75%",
    ),
}


def look(logits: Any, labels: Any, **options: Any) -> Report:
    return xent.check(logits, labels, **options)


def found(report: Report, rule: str) -> list[Any]:
    return [finding for finding in report.findings if finding.rule == rule]


HOLES = changed(MULTI, (slice(0, 20), 3), -1)  # labels of -1 do not count
TIED = 8 * np.eye(50)[LM["tokens"]]  # what embeddings that are also the head say before they have learned


@pytest.mark.parametrize(
    "arguments",
    [
        case(changed(Z, (slice(0, 20), 3), np.nan), HOLES, loss="sigmoid", ignore_index=-1),
        case(TIED[:, :-1], LM["tokens"][:, 1:], tokens=LM["tokens"][:, :-1]),
        case(TIED[:, :-1], LM["tokens"][:, 1:]),
        case(IMAGE, np.ones_like(IMAGE), loss="sigmoid", framework="torch", pos_weight=np.ones((C, 1, 1))),
        case(Z, MULTI, loss="sigmoid", pos_weight=np.ones((1, C))),
        case(Z[0], MULTI[0], loss="sigmoid", pos_weight=np.ones(C)),
        case(Z[0], xent.Positives(np.array([1, 3])), loss="sigmoid"),
        case(changed(Z, (0, 4), -np.inf), changed(MULTI, (0, 4), 0), loss="sigmoid"),
        case(changed(X, 4, np.nan), Y, sample_weight=changed(np.ones(N), 4, 0)),
        case(X, SOFT, temperature=0.07),
        case(Z, 0 * MULTI, loss="sigmoid", pos_weight=np.full(C, 3.0)),
    ],
)
def test_what_looks_strange_and_is_not(arguments: dict[str, Any]) -> None:
    report = look(**arguments)
    assert report.ok, str(report)


def test_there_are_46_rules() -> None:
    assert sorted(RULES) == [f"X{n:02d}" for n in range(1, 47)]
    assert {*FAULTS, "X46"} == set(RULES)  # which has a test of its own, below
    assert len({rule.title for rule in RULES.values()}) == 46


@pytest.mark.parametrize("rule", FAULTS)
def test_a_planted_fault_is_found_and_a_healthy_neighbour_is_not(rule: str) -> None:
    fault = FAULTS[rule]
    finding = found(look(**fault.planted), rule)[0]
    assert finding.severity == fault.severity
    assert fault.says in f"{finding.message} {finding.fix}"
    assert found(look(**fault.healthy), rule) == []


@pytest.mark.parametrize("rule", ["X01", "X04", "X06", "X08", "X21", "X22", "X40"])
@pytest.mark.parametrize("make", [torch.from_numpy, jnp.asarray, tf.constant], ids=["torch", "jax", "tensorflow"])
def test_the_same_on_every_framework(rule: str, make: Callable[[Any], Any]) -> None:
    for arguments in (FAULTS[rule].planted, FAULTS[rule].healthy):
        moved = {name: make(v.copy()) if isinstance(v, np.ndarray) else v for name, v in arguments.items()}
        assert look(**moved) == look(**arguments)


def test_more_than_32_bits_of_numbers_are_named_without_being_read() -> None:
    many = Lines("logits", np.broadcast_to(np.float32(0.5), (2**16, 2**15 + 1)))
    labels = Lines("labels", np.broadcast_to(0, (2**16,)))
    [finding] = RULES["X46"].findings(Case(many, labels, Options()))
    assert "2147549184 logits" in finding.message
    assert RULES["X46"].findings(Case(Lines("logits", X), Lines("labels", Y), Options())) == []


@pytest.mark.parametrize(
    ("arguments", "rule", "says"),
    [
        (case(X, Y - 1), "X08", "ignore_index=-1"),
        (case(X, changed(Y, slice(0, 9), 255)), "X08", "unmarked pixels"),
        (case(X, changed(Y, 1, 7)), "X08", "need 8 classes"),
        (case(IMAGE, PIXELS), "X14", "Pass axis=1"),
        (case(Z, ONE_HOT, loss="sigmoid"), "X13", "exactly one label of 1"),
        (case(X, changed(SOFT, 5, np.nan)), "X11", "row 5"),
        (case(X, changed(Y, slice(0, 63), -1), ignore_index=-1), "X17", "98.4%"),
        (case(changed(X, (3, 1), -np.inf), SOFT), "X20", "soft label has mass there"),
        (case(changed(X, 2, -np.inf), Y), "X22", "the first holds -inf"),
        (case(changed(Z, (2, 1), np.inf), 0 * MULTI, loss="sigmoid"), "X22", "+inf"),
        (case(X, X, loss="logistic"), "X34", "neither -1 nor +1"),
        (case(X, xent.TopK(np.tile([0, 1], (N, 1)), np.full((N, 2), 0.6, np.float32))), "X37", "more than 1"),
        (case(X, MULTI, loss="nll"), "X13", "several labels of 1"),
        (case(P, MULTI, loss="probs"), "X13", "several labels of 1"),
        (case(P, Y, loss="probs", gradient=1e7 * X), "X06", "a gradient of"),
        (case(X, Y, gradient=changed(X, 5, np.nan)), "X41", "the gradient of row 5 is not finite"),
        (case(X, Y, value=np.nan), "X39", "the loss is nan, though"),
        (case(changed(MANY, (777, 1), -np.inf), MANY_LABELS, label_smoothing=0.1), "X20", "row 777)"),
        (case(changed(X, (3, 0), -np.inf), xent.TopK(np.tile([0, 1], (N, 1)), np.full((N, 2), 0.5))), "X20", "row 3)"),
        (case(LM["logits"], LM["tokens"], tokens=LM["tokens"]), "X38", "100% of the labels are the token"),
        (case(X, Y, history=[{"step": s, "lse": 3.0 * s} for s in range(12)]), "X23", "lse² has risen"),
        (case(9 * ONE_HOT, Y, step=0), "X29", "knows the labels"),
        (case(BIG[:, :1], RARE[:, None], loss="sigmoid", pos_weight=0.1), "X33", "below 1"),
        (case(xent.log_softmax(X), np.log(SOFT), loss="kl"), "X35", "log_target=True"),
        (case(xent.log_softmax(X), SOFT, loss="kl", framework="torch"), "X35", "batchmean"),
        (case(X, torch.from_numpy(SOFT).requires_grad_()), "X36", "detach()"),
        (case(TWICE["logits"][:, :-1], TWICE["tokens"][:, 1:], tokens=TWICE["tokens"][:, :-1]), "X38", "shifted twice"),
        (case(LM["logits"], LM["tokens"]), "X38", "following place"),
        (case(Z, 2 * MULTI - 1, loss="sigmoid"), "X39", "logistic_loss"),
        (case(X, Y, class_weight=-WEIGHTS), "X39", "5 of 5 numbers of class_weight are negative"),
        (case(X, Y, sample_weight=changed(np.ones(N), 3, np.nan)), "X39", "1 of 64 numbers of sample_weight"),
        (case(X, Y, gradient=X[:3]), "X40", "shape (3, 5)"),
        (case(np.ones((1024, 2000), np.float32).T, np.zeros(2000, int)), "X45", "not contiguous"),
        (case(Z[:, :1], MULTI[:, 0], loss="sigmoid"), "X16", "broadcast"),
        (case(np.float16(X).repeat(1100, 0), np.repeat(Y, 1100), framework="torch"), "X24", "65504"),
        (case(changed(SIGMOID, (3, 2), 0.0), np.ones_like(Z), loss="binary_probs"), "X06", "row 3"),
        (case(torch.from_numpy(P).bfloat16(), Y), "X01", "add up to 1"),
        (case(torch.from_numpy(xent.log_softmax(X)).bfloat16(), Y), "X02", "harmless"),
        (case(X, xent.TopK(np.tile([0, 9], (N, 1)), np.full((N, 2), 0.5))), "X08", "64 of 128 numbers in TopK.indices"),
        (case(X, xent.Positives(np.tile([0, 5, -1], (N, 1))), loss="sigmoid"), "X08", "[0, 5): 5"),
        (case(np.moveaxis(IMAGE, 1, -1), PIXELS, framework="torch"), "X14", "logits.movedim(-1, 1)"),
        (case(IMAGE, np.ones_like(IMAGE), loss="sigmoid", axis=1, pos_weight=np.ones(C)), "X32", "shape (5, 1, 1)"),
        (case(np.log(P), np.log(SOFT) + 1, loss="kl", log_target=True), "X39", "outside [0, 1]"),
        (case(IMAGE, xent.softmax(IMAGE, axis=1)), "X11", "pass axis=1"),
        (case(changed(X, (9, (Y[9] + 1) % C), -np.inf), ONE_HOT, framework="torch"), "X20", "the loss is NaN"),
    ],
)
def test_further_faces_of_a_fault(arguments: dict[str, Any], rule: str, says: str) -> None:
    assert any(says in f"{finding.message} {finding.fix}" for finding in found(look(**arguments), rule))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (case(X, Y[:10]), ValueError, r"labels: expected .*\(64,\)"),
        (case(X, Y, loss="hinge"), ValueError, "loss: expected 'softmax'"),
        (case(X, Y, axis=4), ValueError, r"axis: expected an axis of logits of shape \(64, 5\), got 4"),
        (case(X.astype(int), Y), TypeError, "logits: expected float32"),
        (case("logits", Y), TypeError, "logits: expected an array of NumPy"),
        (case(X, None), TypeError, "labels: expected an array of NumPy"),
        (case(X, Y, value=[]), ValueError, "value: expected one number, got 0 numbers"),
        (case(X, Y, history=[1, 2]), TypeError, "history: expected dicts"),
        (case(X, Y, memory="1GB"), TypeError, "memory: expected an integer or None, got '1GB'"),
        (case(X, Y, step="a"), TypeError, "step: expected an integer or None"),
        (case(X, xent.Positives(Y[:, None])), TypeError, "labels: expected an array, got xent.Positives"),
        (
            case(Z, xent.TopK(Y[:, None], ROWS_OF_1), loss="sigmoid"),
            TypeError,
            "labels: expected an array, got xent.TopK",
        ),
        (case(Z, MULTI, loss="sigmoid", label_smoothing=7.0), ValueError, "label_smoothing: expected"),
        (case(Z, MULTI[:3], loss="sigmoid"), ValueError, r"labels: expected the shape of the logits, \(64, 5\)"),
        (case(X, Y, framework="pytorch"), ValueError, "framework: expected None, 'torch'"),
        (case(X, Y, label_smoothing=1.5), ValueError, r"label_smoothing: expected a number in \[0, 1\]"),
        (case(X, Y, class_weight=WEIGHTS[:4]), ValueError, r"class_weight: expected shape \(5,\)"),
        (case(X, Y, sample_weight=WEIGHTS), ValueError, r"sample_weight: expected shape \(64,\)"),
    ],
)
def test_bad_input(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        look(**arguments)


KNOWN = np.repeat([0, 1], [990, 10])  # one in a hundred
PRIOR_BIAS = np.log([0.99, 0.01])


@pytest.mark.parametrize(
    "arguments",
    [
        case(xent.log_softmax(X), np.log(SOFT), loss="kl", log_target=True),
        case(xent.log_softmax(X), xent.log_softmax(Z), loss="kl", log_target=True),
        case(X[0], Y[0]),
        case(X[0], int(Y[0])),
        case(0.3, 1.0, loss="sigmoid"),
        case(Z, MULTI, loss="sigmoid", pos_weight=torch.tensor(1.5)),
        case(IMAGE, IMAGE > 0, loss="sigmoid", axis=1, pos_weight=np.ones((C, 1, 1))),
        case(IMAGE, PIXELS, framework="torch"),
        case(X, changed(Y, 3, -100), framework="torch"),
        case(X, np.full(N, -1), ignore_index=-1, label_smoothing=0.1, value=0.0),
        case(np.tile(PRIOR_BIAS, (1000, 1)), KNOWN, step=0),
        case(np.full((1000, 1), PRIOR_BIAS[1] - PRIOR_BIAS[0]), KNOWN[:, None], loss="sigmoid", step=0),
        case(torch.from_numpy(changed(X, (slice(None), 4), -1e4)).bfloat16(), Y % 4),
        case(changed(X, (slice(None), 4), -1e9), Y % 4),
    ],
)
def test_what_looks_like_a_fault_but_is_none(arguments: dict[str, Any]) -> None:
    assert [f for f in look(**arguments).findings if f.rule not in ("X02", "X17", "X31")] == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("margin", [0, 10, 25])
@pytest.mark.parametrize("labels", ["index", "smoothed", "soft"])
def test_gradients_of_pytorch_are_right(dtype: torch.dtype, margin: float, labels: str) -> None:
    """Where the prediction is nearly right, they are mostly rounding."""
    generator = torch.Generator().manual_seed(3)
    classes = torch.arange(200) % 20
    noise = torch.randn(200, 20, generator=generator)
    logits = (noise + margin * torch.eye(20)[classes]).to(dtype).requires_grad_()
    y = (logits.detach().float() + 1e-3 * noise).softmax(1).to(dtype) if labels == "soft" else classes
    smoothing = 0.1 if labels == "smoothed" else 0.0
    loss = torch.nn.functional.cross_entropy(logits, y, label_smoothing=smoothing)
    [given] = torch.autograd.grad(loss, logits)
    assert found(look(logits, y, gradient=given, label_smoothing=smoothing), "X40") == []
    wrong = logits.detach().softmax(1) / 200  # the target's own term is missing
    if labels != "soft" and margin == 0:
        assert found(look(logits, y, gradient=wrong, label_smoothing=smoothing), "X40")


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_nothing_is_no_fault(loss: str) -> None:
    labels = np.zeros(0, int) if loss == "softmax" else np.zeros((0, C))
    assert look(np.zeros((0, C)), labels, loss=loss).findings == ()


def test_a_single_row_and_a_single_number() -> None:
    assert look(X[0], Y[0]).findings == ()
    assert look(torch.from_numpy(X[0]), torch.tensor(int(Y[0]))).findings == ()
    assert look(0.3, 1.0, loss="sigmoid").findings == ()
    assert look(jnp.float32(0.3), jnp.float32(1.0), loss="sigmoid").findings == ()
    assert [f.rule for f in look(np.float32(np.nan), 1.0, loss="sigmoid").findings] == ["X22"]


def test_a_report_reads_well_and_is_json() -> None:
    report = look(P, Y % C + 1)
    assert [finding.rule for finding in report.findings] == ["X01", "X08"]
    assert not report.ok
    assert str(report).startswith("64 rows, 5 classes: 2 errors\nX01 error: all logits")
    parsed = json.loads(report.to_json())
    assert parsed["findings"][1]["rule"] == "X08"
    assert sorted(parsed["findings"][0]) == ["fix", "message", "rule", "severity"]
    assert str(look(X, Y)) == "64 rows, 5 classes: nothing to report."


def test_an_array_on_disk_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "logits.npy", changed(BIG, (1500, 0), np.nan))
    monkeypatch.setattr("xent.advisor.check.case.BLOCK_BYTES", 1000)
    told = []
    mapped = np.load(tmp_path / "logits.npy", mmap_mode="r")
    report = look(mapped, RARE, progress=lambda done, blocks: told.append((done, blocks)))
    assert "row 1500" in found(report, "X22")[0].message
    assert told[-1] == (17, 17)
    assert report == look(np.array(mapped), RARE)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_class_axis(axis: int) -> None:
    logits, labels = RNG.normal(size=(6, 7, 4)), RNG.integers(0, 4, (6, 7))
    logits[3, 2] = np.inf
    moved = np.moveaxis(logits, -1, axis)
    report = look(moved, labels, axis=axis)
    assert [f.rule for f in report.findings] == ["X22"]
    assert "row 23;" in report.findings[0].message


@pytest.mark.parametrize("shape", [(6, 1, 1, 4), (6, 4, 1, 1), (1, 6, 4), (6, 1, 4, 1)])
def test_axes_of_length_1(shape: tuple[int, ...]) -> None:
    logits = RNG.normal(size=shape)
    axis = shape.index(4)
    labels = RNG.integers(0, 4, np.delete(shape, axis))
    assert look(logits, labels, axis=axis).findings == ()
    log_probs = xent.log_softmax(logits, axis=axis)
    assert look(log_probs, labels, axis=axis, loss="nll").findings == ()
    assert [f.rule for f in look(xent.softmax(logits, axis=axis), labels, axis=axis).findings] == ["X01"]


def silent(*_: Any) -> None:
    """No progress."""


def test_real_models_are_healthy() -> None:
    digits = load_digits(seed=0)
    trained = train_all(digits, 12, 0, silent)
    checked = 0
    for training, options in (
        (trained.index_labels, {}),
        (trained.smoothed, {"label_smoothing": 0.1}),
        (trained.soft_labels, {}),
        (trained.imbalanced, {}),
        (trained.weighted, {"class_weight": np.linspace(0.5, 2, 10)}),
    ):
        for images, labels in ((digits.images, digits.labels), (digits.test_images, digits.test_labels)):
            z = training.model.logits(images)
            one_hot = np.eye(10)[labels]
            value, gradient = xent.value_and_grad(xent.softmax_cross_entropy)(z, labels, **options)
            teacher = xent.softmax(trained.index_labels.model.logits(images), axis=-1)
            top = np.argsort(-teacher, 1)[:, :4]
            mass = np.take_along_axis(teacher, top, 1)
            reports = [
                look(z, labels, value=value, gradient=gradient, step=500, **options),
                look(z, teacher, loss_scale=4.0, temperature=2.0),
                look(z, xent.TopK(top, mass / mass.sum(1, keepdims=True))),
                look(xent.log_softmax(z), labels, loss="nll"),
                look(xent.log_softmax(z), teacher, loss="kl"),
                look(z, one_hot, loss="sigmoid", pos_weight=np.full(10, 9.0)),
                look(z, xent.Positives(labels[:, None]), loss="sigmoid"),
                look(z, 2 * one_hot - 1, loss="logistic"),
            ]
            assert [str(report) for report in reports if not report.ok] == []
            checked += len(reports)
    assert checked == 80
    tumours = load_tumours(seed=0)
    for detector in detect_all(tumours, silent):
        z = detector.logits(tumours.test_features)
        report = look(z, tumours.test_malignant, loss="sigmoid", pos_weight=detector.pos_weight)
        assert report.ok, str(report)
        report = look(xent.sigmoid(z), tumours.test_malignant, loss="binary_probs")
        assert report.ok, str(report)
