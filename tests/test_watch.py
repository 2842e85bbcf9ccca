"""`xent.watch`: looks at a loss while a model trains."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch

import xent
from xent.advisor.watch import NUMBERS

RNG = np.random.default_rng(2)


def test_looks_at_every_so_many_steps_and_tells_a_finding_once() -> None:
    told: list[Any] = []
    watch = xent.watch(every=5, on_finding=told.append)
    labels = np.arange(40) % 4
    made = []

    def logits() -> np.ndarray:
        made.append(watch.step)
        return np.asarray(xent.softmax(RNG.normal(size=(40, 4))))

    reports = [watch(logits, labels) for _ in range(12)]
    assert [at for at, report in enumerate(reports) if report is not None] == [0, 5, 10]
    assert made == [1, 6, 11]
    assert [finding.rule for finding in told] == ["X01"]
    assert watch.step == 12
    assert [entry["step"] for entry in watch.history] == [0, 5, 10]
    assert set(watch.findings) == {"X01"}


def test_what_needs_a_history() -> None:
    told: list[str] = []
    watch = xent.watch(every=1, on_finding=lambda finding: told.append(finding.rule))
    labels = RNG.integers(0, 5, 64)
    for step in range(20):
        watch(RNG.normal(size=(64, 5)) + step * step / 4, labels)
    assert told == ["X23"]
    stuck = xent.watch(every=1, on_finding=lambda finding: told.append(finding.rule))
    for _ in range(20):
        stuck(1e-6 * RNG.normal(size=(64, 5)), labels)
    assert told == ["X23", "X28"]


def test_a_healthy_training_in_torch_is_silent() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 3)
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    truth = torch.randn(3, 8)
    watch = xent.watch(every=10, label_smoothing=0.1)
    for _ in range(60):
        x = torch.randn(64, 8)
        labels = (x @ truth.T).argmax(1)
        logits = model(x)
        loss = xent.softmax_cross_entropy(logits, labels, label_smoothing=0.1)
        gradient = torch.autograd.grad(loss, logits, retain_graph=True)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        watch(logits, labels, value=loss, gradient=gradient)
    assert len(watch.history) == 6
    assert watch.history[-1]["loss"] < watch.history[0]["loss"]
    assert [f for f in watch.findings.values() if f.severity != "info"] == []


def test_in_a_loop_of_jax_the_logits_are_made_when_they_are_looked_at() -> None:
    weight, made = jnp.asarray(RNG.normal(size=(8, 3)), jnp.float32), []
    x, labels = jnp.asarray(RNG.normal(size=(32, 8)), jnp.float32), jnp.asarray(RNG.integers(0, 3, 32))

    @jax.jit
    def predict(w: Any) -> Any:
        made.append(1)  # once, while it is traced
        return xent.softmax(x @ w)

    watch = xent.watch(every=4)
    with pytest.warns(UserWarning, match="X01 error: all logits of the 32 rows"):
        watch(lambda: predict(weight), labels)
    for _ in range(7):
        assert watch(lambda: predict(weight), labels) is None or watch.step == 5
    assert len(watch.history) == 2
    assert made == [1]


def test_a_callback_of_keras() -> None:
    x, labels = RNG.normal(size=(64, 8)).astype("float32"), RNG.integers(0, 3, 64)
    model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=False))
    watch = xent.watch(every=3)
    with pytest.warns(UserWarning, match="they are probabilities already"):
        model.fit(x, labels, epochs=2, batch_size=16, verbose=0, callbacks=[watch.keras(x[:32], labels[:32])])
    assert watch.step == 8
    assert len(watch.history) == 3


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((5000, 100), -1), ((4, 3, 90, 90), 1), ((2, 300, 20000), -1), ((100000,), -1), ((3, 200000), -1)],
)
def test_of_large_logits_some_rows_are_looked_at(shape: tuple[int, ...], axis: int) -> None:
    scores = len(shape) == 1
    logits = RNG.normal(size=shape).astype(np.float32)
    batch = np.delete(shape, axis) if not scores else shape
    labels = RNG.integers(0, 2, batch)
    watch = xent.watch(every=1, axis=None if scores else axis, loss="sigmoid" if scores else "softmax")
    report = watch(logits, labels.astype(float) if scores else labels, gradient=None)
    assert report is not None
    assert report.rows * report.classes <= max(2 * NUMBERS, shape[axis])
    assert report.classes == (1 if scores else shape[axis])
    top = xent.TopK(labels[..., None], np.ones((*batch, 1), np.float32))
    if not scores and axis == -1:
        again = xent.watch(every=1)(logits, top)
        assert again is not None
        assert again.rows == report.rows


def test_lists_of_positives_are_cut_with_their_rows() -> None:
    logits = RNG.normal(size=(4000, 100))
    padded = xent.watch(every=1, loss="sigmoid")(logits, xent.Positives(RNG.integers(0, 100, (4000, 1))))
    listed = xent.watch(every=1, loss="sigmoid")(
        logits, xent.Positives(np.arange(100), np.full(4001, 100).cumsum() * 0)
    )
    assert padded is not None
    assert listed is not None
    assert padded.rows < 1000
    assert listed.rows == 4000


def test_a_part_of_the_batch_is_not_taken_for_the_whole() -> None:
    labels = RNG.integers(0, 30000, (4, 64))
    labels[:, :20] = -100  # what was given, and is not to be learned
    watch = xent.watch(every=1, ignore_index=-100)
    for _ in range(3):
        report = watch(RNG.normal(size=(4, 64, 30000)).astype(np.float32), labels)
        assert report is not None
        assert report.rows < 10
    weighted = xent.watch(every=1, class_weight=np.ones(30000), sample_weight=np.ones(512))
    weighted(RNG.normal(size=(512, 30000)).astype(np.float32), np.arange(512) // 300)
    assert watch.findings.keys() | weighted.findings.keys() == set()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"every": 0}, ValueError, "every: expected a positive integer, got 0"),
        ({"every": 2.5}, TypeError, "every: expected a positive integer, got 2.5"),
        ({"step": 3}, TypeError, "options: expected those that hold for all steps, got step"),
        ({"loss": "hinge"}, ValueError, "loss: expected 'softmax'"),
        ({"on_finding": 3}, TypeError, "on_finding: expected a function of a finding, got 3"),
        ({"smoothing": 0.1}, TypeError, r"options: expected those of xent\.check, got smoothing"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        xent.watch(**options)


def test_of_pytorchs_logits_all_classes_are_looked_at() -> None:
    """They are on axis 1 there; -100 is skipped."""
    logits, labels = torch.randn(2, 5, 40, 400), torch.randint(0, 5, (2, 40, 400))
    labels[:, 0] = -100
    report = xent.watch(every=1, framework="torch")(logits, labels)
    assert report is not None
    assert report.classes == 5
    assert report.rows <= NUMBERS / 5
    assert report.ok, str(report)
