"""Checks of xent.compat.keras on the backend that KERAS_BACKEND names; a program, since a process has one backend."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from xent.compat import keras as ours

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(6, 5)).astype(np.float32)
Y = RNG.integers(0, 5, 6)
T = RNG.dirichlet(np.ones(5), 6).astype(np.float32)
B = (RNG.random((6, 5)) < 0.4).astype(np.float32)
S = RNG.random(6).astype(np.float32)
Q = np.exp(Z) / np.exp(Z).sum(1, keepdims=True)
P = 1 / (1 + np.exp(-Z))

LOSSES: list[tuple[str, Any, Any, dict[str, Any]]] = [
    ("CategoricalCrossentropy", T, Z, {"from_logits": True, "label_smoothing": 0.1}),
    ("CategoricalCrossentropy", T, Q, {}),
    ("CategoricalCrossentropy", T.T.copy(), Z.T.copy(), {"from_logits": True, "axis": 0}),
    ("SparseCategoricalCrossentropy", Y, Z, {"from_logits": True}),
    ("SparseCategoricalCrossentropy", Y, Q, {}),
    ("SparseCategoricalCrossentropy", Y, Z, {"from_logits": True, "ignore_class": int(Y[0])}),
    ("SparseCategoricalCrossentropy", Y[:, None], Q, {"ignore_class": int(Y[0])}),
    ("BinaryCrossentropy", B, Z, {"from_logits": True, "label_smoothing": 0.2}),
    ("BinaryCrossentropy", B, P, {}),
    ("BinaryFocalCrossentropy", B, Z, {"from_logits": True, "label_smoothing": 0.2, "apply_class_balancing": True}),
    ("BinaryFocalCrossentropy", B, P, {"gamma": 1.5}),
    ("CategoricalFocalCrossentropy", T, Z, {"from_logits": True, "alpha": 0.3}),
    ("CategoricalFocalCrossentropy", T, Q, {"label_smoothing": 0.1}),
    ("CategoricalGeneralizedCrossEntropy", Y, Q, {"q": 0.3}),
    ("KLDivergence", T, Q, {}),
]


def numpy_of(x: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(x))


def check_values() -> None:
    for name, y_true, y_pred, options in LOSSES:
        for reduction in ("sum_over_batch_size", "sum", "mean_with_sample_weight", None):
            for weight in (None, S):
                if weight is not None and "axis" in options:
                    continue
                pair = [
                    numpy_of(
                        getattr(module, name)(reduction=reduction, **options)(y_true, y_pred, sample_weight=weight)
                    )
                    for module in (ours, keras.losses)
                ]
                np.testing.assert_allclose(*pair, rtol=1e-5, atol=2e-6, err_msg=f"{name} {options} {reduction}")


def check_functions() -> None:
    for name, y_true, y_pred, options in (
        ("categorical_crossentropy", T, Z, {"from_logits": True}),
        ("sparse_categorical_crossentropy", Y, Z, {"from_logits": True}),
        ("binary_crossentropy", B, Z, {"from_logits": True}),
        ("binary_focal_crossentropy", B, Z, {"from_logits": True, "gamma": 3.0}),
        ("categorical_focal_crossentropy", T, Z, {"from_logits": True}),
        ("kl_divergence", T, Q, {}),
    ):
        pair = [numpy_of(getattr(module, name)(y_true, y_pred, **options)) for module in (ours, keras.losses)]
        np.testing.assert_allclose(*pair, rtol=1e-5, atol=2e-6, err_msg=name)


def check_masks() -> None:
    masked = keras.ops.convert_to_tensor(Z)
    masked._keras_mask = keras.ops.convert_to_tensor(np.array([True, False, True, True, False, True]))
    found = numpy_of(ours.SparseCategoricalCrossentropy(from_logits=True)(Y, masked))
    rows = numpy_of(ours.sparse_categorical_crossentropy(Y, Z, from_logits=True))
    np.testing.assert_allclose(found, rows[[0, 2, 3, 5]].mean(), rtol=1e-6)


def check_class_ids() -> None:
    logits = np.zeros((1, 300), np.float32)
    logits[0, 257] = 5
    expected = np.log1p(299 * np.exp(-5))
    for dtype in ("float32", "bfloat16", "float16"):
        loss = ours.SparseCategoricalCrossentropy(from_logits=True, dtype=dtype)(np.array([257]), logits)
        assert keras.backend.standardize_dtype(loss.dtype) == dtype
        np.testing.assert_allclose(numpy_of(keras.ops.cast(loss, "float32")), expected, rtol=1e-2)
    halves = keras.ops.cast(keras.ops.convert_to_tensor([256.0]), "bfloat16")
    with pytest.raises(TypeError, match="merges class ids"):
        ours.sparse_categorical_crossentropy(halves, logits, from_logits=True)
    for call in (
        lambda: ours.SparseCategoricalCrossentropy(from_logits=True)(np.array([0, 1, 2, 3, 4, 9]), Z),
        lambda: ours.SparseCategoricalCrossentropy()(np.array([0, 1, 2, 3, 4, -1]), Q),
        lambda: ours.CategoricalGeneralizedCrossEntropy(0.5)(np.array([0, 1, 2, 3, 4, 5]), Q),
    ):
        with pytest.raises(IndexError, match="in row 5"):
            call()


def check_what_keras_gets_wrong() -> None:
    far = np.array([[0.0, 60.0]], np.float32)
    np.testing.assert_allclose(numpy_of(ours.binary_crossentropy([[1.0, 0.0]], far, from_logits=True)), 30.346574)
    focal = ours.categorical_focal_crossentropy(np.array([[1.0, 0.0]]), far, alpha=1.0, from_logits=True)
    np.testing.assert_allclose(numpy_of(focal), 60.0, rtol=1e-6)
    loose = 2 * Q
    np.testing.assert_allclose(
        numpy_of(ours.sparse_categorical_crossentropy(Y, loose)),
        numpy_of(ours.sparse_categorical_crossentropy(Y, Q)),
        rtol=1e-5,
    )
    options = {"from_logits": True, "label_smoothing": 0.3}
    np.testing.assert_allclose(
        numpy_of(ours.categorical_crossentropy(T.T.copy(), Z.T.copy(), axis=0, **options)),
        numpy_of(ours.categorical_crossentropy(T, Z, **options)),
        rtol=1e-5,
    )
    ignored = Z.copy()
    ignored[0] = np.nan
    loss = ours.SparseCategoricalCrossentropy(from_logits=True, ignore_class=int(Y[0]))(Y, ignored)
    assert np.isfinite(numpy_of(loss))


def check_serialisation() -> None:
    for name, _, _, options in LOSSES:
        loss = getattr(ours, name)(reduction="sum", name="mine", **options)
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
        assert type(again) is type(loss)
        assert again.get_config() == loss.get_config()
        assert type(loss).from_config(loss.get_config()).get_config() == loss.get_config()


def check_training() -> None:
    features = RNG.normal(size=(64, 8)).astype(np.float32)
    labels = (features @ RNG.normal(size=(8, 5))).argmax(1)
    curves = []
    for module in (ours, keras.losses):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(5)])
        model.compile("adam", module.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        history = model.fit(features, labels, batch_size=16, epochs=4, verbose=0, shuffle=False)
        curves.append(history.history["loss"])
    np.testing.assert_allclose(*curves, rtol=1e-5)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(5)])
    model.compile("sgd", ours.BinaryFocalCrossentropy(from_logits=True))
    hot = np.eye(5, dtype=np.float32)[labels]
    history = model.fit(features, hot, sample_weight=np.ones(64), epochs=2, verbose=0)
    assert history.history["loss"][1] < history.history["loss"][0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        again = keras.models.load_model(path)
        assert type(again.loss) is ours.BinaryFocalCrossentropy
        np.testing.assert_allclose(again.evaluate(features, hot, verbose=0), model.evaluate(features, hot, verbose=0))


if __name__ == "__main__":
    for check in (
        check_values,
        check_functions,
        check_masks,
        check_class_ids,
        check_what_keras_gets_wrong,
        check_serialisation,
        check_training,
    ):
        check()
    print(f"all checks passed on {keras.backend.backend()}")
