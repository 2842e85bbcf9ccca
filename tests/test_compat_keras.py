"""Keras' losses with xent's arithmetic on its JAX, TensorFlow and PyTorch backends, each in a process of its own.

A process has one backend, so this file is also the program that one runs.
"""

from __future__ import annotations

import inspect
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BACKENDS = ("jax", "tensorflow", "torch")
CHECKS = Path(__file__).with_name("keras_checks.py")
RNG = np.random.default_rng(3)
Z = RNG.normal(size=(4, 5)).astype(np.float32)
Q = np.exp(Z) / np.exp(Z).sum(1, keepdims=True)
Y = np.array([0, 1, 2, 4])
HOT = np.eye(5, dtype=np.float32)[Y]


@pytest.mark.parametrize("backend", BACKENDS)
def test_on_backend(backend: str) -> None:
    """Every check of both files; each says so when it is through."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"all checks passed on {backend}" in done.stdout
    assert done.stdout.splitlines()[-1] == f"and all of what Keras gets wrong, on {backend}"


def gradient(loss: Any, at: np.ndarray) -> np.ndarray:
    """The gradient of the sum of a loss, by the backend's own means."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: loss(x).sum())(at))
    if keras.backend.backend() == "torch":
        import torch

        leaf = torch.tensor(at, requires_grad=True)
        return torch.autograd.grad(loss(leaf).sum(), leaf)[0].numpy()
    import tensorflow as tf

    x = tf.constant(at)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(loss(x))
    return tape.gradient(value, x).numpy()


def check_nan_predictions_stay_nan(keras: Any, ours: Any) -> None:
    """A loss of NaN, not an error: Keras' TerminateOnNaN waits for it."""
    spoilt, empty = Q.copy(), Q.copy()
    spoilt[1], empty[1] = np.nan, 0
    for predictions in (spoilt, empty):
        loss = ours.SparseCategoricalCrossentropy(reduction=None)(Y, predictions)
        assert np.isnan(keras.ops.convert_to_numpy(loss)).tolist() == [False, True, False, False]
    loss = ours.CategoricalGeneralizedCrossEntropy(0.5, reduction=None)(Y, spoilt)
    assert np.isnan(keras.ops.convert_to_numpy(loss)).tolist() == [False, True, False, False]


def check_alpha_of_each_class(keras: Any, ours: Any) -> None:
    options = {"alpha": [0.1, 0.2, 0.3, 0.2, 0.2], "from_logits": True}
    pair = [float(m.CategoricalFocalCrossentropy(**options)(HOT, Z)) for m in (ours, keras.losses)]
    np.testing.assert_allclose(*pair, rtol=1e-5)


def check_small_exponents_have_finite_gradients(keras: Any, ours: Any) -> None:
    sure = np.array([[200.0, -200.0, 100.0, -100.0]], np.float32)
    t = np.array([[1.0, 0.0, 1.0, 0.0]], np.float32)
    slope = gradient(lambda z: ours.binary_focal_crossentropy(t, z, gamma=0.5, from_logits=True), sure)
    np.testing.assert_array_equal(slope, np.zeros((1, 4)))
    t = np.array([[1.0, 0.0, 0.0, 0.0]], np.float32)
    slope = gradient(lambda z: ours.categorical_focal_crossentropy(t, z, gamma=0.5, from_logits=True), sure)
    np.testing.assert_array_equal(slope, np.zeros((1, 4)))


def check_half_precision_is_computed_in_float32(keras: Any, ours: Any) -> None:
    for dtype in ("float16", "bfloat16"):
        z = keras.ops.cast(keras.ops.convert_to_tensor(4 * Z), dtype)
        wide = keras.ops.cast(z, "float32")
        for name in ("binary_crossentropy", "binary_focal_crossentropy", "categorical_focal_crossentropy"):
            losses = (getattr(ours, name)(HOT, x, from_logits=True) for x in (z, wide))
            rounded = [keras.ops.cast(keras.ops.cast(loss, dtype), "float32") for loss in losses]
            np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, rounded), err_msg=f"{name} {dtype}")


def check_ids_that_do_not_fit(keras: Any, ours: Any) -> None:
    with pytest.raises(IndexError, match="in row 0"):
        ours.sparse_categorical_crossentropy(np.array([2**32, 1, 2, 3]), Z, from_logits=True)


def check_ids_that_are_not_whole(keras: Any, ours: Any) -> None:
    whole = ours.sparse_categorical_crossentropy(Y.astype(np.float32), Z, from_logits=True)
    expected = ours.sparse_categorical_crossentropy(Y, Z, from_logits=True)
    np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (whole, expected)))
    for wrong in (0.5, float("nan"), 1e20):
        ids = np.where(np.arange(len(Y)) == 1, wrong, Y).astype(np.float32)
        with pytest.raises(ValueError, match="y_true: expected class ids, got numbers that are not whole"):
            ours.sparse_categorical_crossentropy(ids, Z, from_logits=True)


def check_ids_of_one_column(keras: Any, ours: Any) -> None:
    flat, column = (float(ours.CategoricalGeneralizedCrossEntropy(0.5)(y, Q)) for y in (Y, Y[:, None]))
    assert flat == column


def check_ids_out_of_range_in_compiled_steps(keras: Any, ours: Any) -> None:
    """NaN in the loss and in the gradient, so in the weights; PyTorch's steps are eager, and raise."""
    features, labels = RNG.normal(size=(8, 3)).astype(np.float32), np.array([0, 1, 2, 3, 4, 0, 1, 9])
    for loss, activation in (
        (ours.SparseCategoricalCrossentropy(from_logits=True), None),
        (ours.SparseCategoricalCrossentropy(), "softmax"),
        (ours.CategoricalGeneralizedCrossEntropy(0.5), "softmax"),
    ):
        for compiled in (False,) if keras.backend.backend() == "torch" else ("auto", True):
            model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5, activation=activation)])
            model.compile("sgd", loss, jit_compile=compiled)
            if keras.backend.backend() == "torch":
                with pytest.raises(IndexError, match="got label 9"):
                    model.fit(features, labels, batch_size=8, verbose=0)
                continue
            history = model.fit(features, labels, batch_size=8, verbose=0)
            assert np.isnan(history.history["loss"]).all()
            assert np.isnan(keras.ops.convert_to_numpy(model.weights[0])).any()


def check_ids_of_many_classes_in_bfloat16_steps(keras: Any, ours: Any) -> None:
    """513 is 512 in bfloat16."""
    features = RNG.normal(size=(8, 3)).astype(np.float32)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(600)])
    model.compile("sgd", ours.SparseCategoricalCrossentropy(from_logits=True, dtype="bfloat16"))
    z = model(features)
    expected = keras.ops.mean(keras.ops.logsumexp(z, axis=-1) - z[:, 513])
    np.testing.assert_allclose(model.evaluate(features, np.full(8, 513), verbose=0), float(expected), rtol=0.01)


def check_what_is_saved(keras: Any, ours: Any) -> None:
    again = ours.SparseCategoricalCrossentropy.from_config(
        ours.SparseCategoricalCrossentropy(from_logits=True, axis=0).get_config()
    )
    rows = ours.SparseCategoricalCrossentropy(from_logits=True)
    np.testing.assert_allclose(float(again(Y, Z.T.copy())), float(rows(Y, Z)), rtol=1e-6)
    for function in (f for f in vars(ours).values() if inspect.isfunction(f)):
        assert keras.losses.deserialize(keras.losses.serialize(function)) is function


if __name__ == "__main__":
    runpy.run_path(str(CHECKS), run_name="__main__")
    import keras

    from xent.compat import keras as ours

    for check in [value for name, value in list(globals().items()) if name.startswith("check_")]:
        check(keras, ours)
    print(f"and all of what Keras gets wrong, on {keras.backend.backend()}")
