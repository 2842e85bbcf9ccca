"""The oracle itself, against 50 digits of mpmath, finite differences there, and the loss it shares with nobody."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import registry
import truth
from registry import CASES, Case, make_batch


def loss_in_50_digits(batch: registry.Batch, **moved: dict[tuple[int, ...], mpmath.mpf]) -> mpmath.mpf:
    """The documented formula in mpmath, class axis last; `moved` adds to single entries of an argument."""

    def entry(name: str, array: np.ndarray, at: tuple[int, ...]) -> mpmath.mpf:
        return mpmath.mpf(float(array[at])) + moved.get(name, {}).get(at, 0)

    o = batch.options
    n, classes = batch.logits.shape
    eps, total, divisor = mpmath.mpf(o.get("label_smoothing", 0.0)), mpmath.mpf(0), mpmath.mpf(0)
    cap, heat = o.get("softcap"), mpmath.mpf(o.get("temperature", 1.0))
    for i in range(n):
        if not isinstance(batch.labels, tuple) and batch.labels.ndim == 1 and batch.labels[i] == o.get("ignore_index"):
            continue
        z = [entry("logits", batch.logits, (i, k)) for k in range(classes)]
        if cap is not None:
            z = [mpmath.mpf(cap) * mpmath.tanh(x / mpmath.mpf(cap)) for x in z]
        z = [x / heat for x in z]
        lse = mpmath.log(sum(mpmath.exp(x) for x in z))
        s = entry("sample_weight", o["sample_weight"], (i,)) if "sample_weight" in o else mpmath.mpf(1)
        t = [mpmath.mpf(0)] * classes
        if isinstance(batch.labels, tuple):
            for j, k in enumerate(batch.labels[0][i]):
                t[k] += entry("labels", batch.labels[1], (i, j))
        elif batch.labels.ndim == 1:
            t[batch.labels[i]] = mpmath.mpf(1)
        else:
            t = [entry("labels", batch.labels, (i, k)) for k in range(classes)]
        mass = mpmath.mpf(0)
        for k in range(classes):
            v = entry("class_weight", o["class_weight"], (k,)) if "class_weight" in o else mpmath.mpf(1)
            total += s * v * ((1 - eps) * t[k] + eps / classes) * (lse - z[k])
            mass += v * t[k]
        total += s * mpmath.mpf(o.get("z_loss", 0.0)) * lse**2
        divisor += s * mass
    if o.get("normalizer"):
        divisor = mpmath.mpf(o["normalizer"])
    return total / divisor


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_the_oracle_agrees_with_50_digits(case: Case) -> None:
    with mpmath.workdps(50):
        batch = make_batch(case, (4,), 3, dtype="float64", seed=1)
        upstream = -1.75
        exact = registry.truth_of(batch, upstream)
        assert float(abs(mpmath.mpf(str(exact.loss)) / loss_in_50_digits(batch) - 1)) < 1e-16

        h = mpmath.mpf("1e-20")
        grads = {"logits": exact.logits_grad}
        if case.target != "index":
            grads["labels"] = exact.target_grad
        if case.class_weight:
            grads["class_weight"] = exact.class_weight_grad
        if case.sample_weight:
            grads["sample_weight"] = exact.sample_weight_grad
        weightless = batch.options.get("sample_weight", np.ones(4)) == 0
        for name, gradient in grads.items():
            scale = float(np.abs(gradient).max())
            for at in np.ndindex(gradient.shape):
                if name == "sample_weight" and weightless[at]:
                    continue  # rows of weight 0 are never read, so their weights have no gradient
                up, down = (loss_in_50_digits(batch, **{name: {at: step}}) for step in (h, -h))
                slope = upstream * (up - down) / (2 * h)
                assert abs(float(slope) - float(gradient[at])) <= 1e-15 * scale, (name, at)


def test_a_margin_of_60_keeps_its_digits() -> None:
    with mpmath.workdps(80):
        logits = np.array([[60.25, 0.0, -1.5]])
        exact = truth.softmax_cross_entropy(logits, np.array([0]))
        rest = sum(mpmath.exp(mpmath.mpf(x) - mpmath.mpf(60.25)) for x in (0.0, -1.5))
        assert float(abs(mpmath.mpf(str(exact.loss)) / mpmath.log1p(rest) - 1)) < 1e-17
        assert float(abs(mpmath.mpf(str(exact.logits_grad[0, 0])) / (-rest / (1 + rest)) - 1)) < 1e-17


def test_the_oracle_is_extended() -> None:
    assert np.finfo(truth.Real).eps < 2e-19
    assert float(truth.ulp(1.0, "float32")) == 2.0**-23
    assert float(truth.ulp(0.0, "float32")) == 2.0**-149
    assert float(truth.ulp(1.5, "bfloat16")) == 2.0**-7
    assert float(truth.ulps(np.float32(1) + np.float32(2.0**-22), 1.0, "float32")) == 2.0
    assert float(truth.ulps(np.nan, 1.0, "float32")) == np.inf


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_the_rival_computes_the_same_loss(case: Case) -> None:
    batch = make_batch(case, (6,), 7, dtype="float64", seed=2)
    exact = registry.truth_of(batch, 2.5)
    loss, gradient = registry.rival(batch, 2.5)
    assert registry.worst(loss, exact.loss, "float32") < 1
    assert registry.gradient_errors(gradient, exact, "float32").max() < 1
