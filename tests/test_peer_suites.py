"""Optax' and Keras' own tests of their losses, from the installed packages, run on xent.compat's functions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile

import pytest

from xent.compat import optax

# Replaces a package's functions by xent's, wherever its tests look for them, runs the tests and says what they called.
NOTED = """
import functools
import sys
called = set()
def noted(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        called.add(function.__name__)
        return function(*args, **kwargs)
    return call
"""
OPTAX = """
import pytest
from optax import losses
from optax.losses import _classification, _classification_test, _smoothing, _smoothing_test
import optax
from xent.compat import optax as ours
for name in ours.__all__:
    for module in (optax, losses, _classification, _smoothing):
        if hasattr(module, name):
            setattr(module, name, noted(getattr(ours, name)))
files = [_classification_test.__file__, _smoothing_test.__file__]
pytest.main(["-q", "-rA", "-p", "no:cacheprovider", "-W", "ignore", *files])
print("CALLED", *called)
"""
KERAS = """
import pytest
import keras
import xent.compat.keras as ours
from keras.src.losses import losses, losses_test
from xent.compat.keras import functional
for name in ours.__all__:
    for module in (keras.losses, losses):
        setattr(module, name, getattr(ours, name))
    if hasattr(functional, name):
        setattr(functional, name, noted(getattr(functional, name)))
chosen = "rossentropy or CrossEntropy or KLDivergence"
pytest.main(["-q", "-rA", "-p", "no:cacheprovider", "-W", "ignore", "-k", chosen, losses_test.__file__])
print("CALLED", *called)
"""

# Keras' tests hold its TensorFlow and JAX backends to refusing a class axis that is not the last, which its PyTorch
# backend and xent take.
OTHER_AXES = {
    "SparseCategoricalCrossentropyTest::test_binary_segmentation_different_axis",
    "SparseCategoricalCrossentropyTest::test_multi_class_segmentation_different_axis",
}


def outcomes(script: str, **environment: str) -> dict[str, set[str]]:
    """The tests that passed and that failed, as Class::test, and the names of xent's functions that they called."""
    with tempfile.TemporaryDirectory() as elsewhere:  # away from this project's pytest settings
        done = subprocess.run(
            [sys.executable, "-c", NOTED + script],
            cwd=elsewhere,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTEST_ADDOPTS": "", **environment},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    found: dict[str, set[str]] = {"PASSED": set(), "FAILED": set(), "ERROR": set()}
    for kind, test in re.findall(r"^(PASSED|FAILED|ERROR) \S+\.py::(\S+)", done.stdout, re.MULTILINE):
        found[kind].add(test)
    assert found["PASSED"], done.stdout + done.stderr
    found["CALLED"] = set(done.stdout.rpartition("CALLED ")[2].split())
    return found


def test_optax() -> None:
    found = outcomes(OPTAX, JAX_PLATFORMS="cpu")
    assert found["FAILED"] | found["ERROR"] == set()
    assert found["CALLED"] == set(optax.__all__)
    assert len(found["PASSED"]) > 90
    assert sum(test.startswith("SoftmaxCrossEntropyWithIntegerLabelsTest") for test in found["PASSED"]) >= 5


@pytest.mark.parametrize("backend", ["jax", "tensorflow", "torch"])
def test_keras(backend: str) -> None:
    found = outcomes(KERAS, KERAS_BACKEND=backend)
    assert found["FAILED"] | found["ERROR"] == (set() if backend == "torch" else OTHER_AXES)
    assert len(found["PASSED"]) > 50
    assert found["CALLED"] == {
        "binary_crossentropy",
        "binary_focal_crossentropy",
        "categorical_crossentropy",
        "categorical_focal_crossentropy",
        "categorical_generalized_cross_entropy",
        "sparse_categorical_crossentropy",
    }
