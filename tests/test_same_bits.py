"""The same kernels serve every framework: in eager mode on CPU the results are equal to the bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import elementwise_cases
import frameworks
import jax.numpy as jnp
import numpy as np
import pytest
import registry
import tensorflow as tf
import torch
from frameworks import ELEMENTWISE, SOFTMAX, identifier

import xent

ON = {"jax": frameworks.on_jax, "tensorflow": frameworks.on_tensorflow}


def rows_of(batch: Any) -> Any:
    """The same batch, with a loss for each row or element."""
    return batch.but(reduction="none", normalizer=None)


def same(found: Any, expected: Any) -> None:
    assert found.dtype == np.asarray(expected).dtype
    assert found.shape == np.shape(expected)
    assert found.tobytes() == np.asarray(expected).tobytes()


@pytest.mark.parametrize("framework", [*ON, "torch"])
@pytest.mark.parametrize(("name", "shape", "dtype"), SOFTMAX, ids=identifier)
def test_softmax(name: str, shape: Any, dtype: str, framework: str) -> None:
    batch = frameworks.softmax_batch(name, shape, dtype)
    on = ON.get(framework, registry.on_torch)
    loss, gradient = on(batch)
    value, slope = registry.on_numpy(batch)
    same(loss, value)
    same(gradient, slope)
    each = registry.value_on_numpy(rows_of(batch))
    same(on(rows_of(batch), np.ones_like(each))[0], each)


@pytest.mark.parametrize("framework", [*ON, "torch"])
@pytest.mark.parametrize(("name", "shape", "dtype"), ELEMENTWISE, ids=identifier)
def test_elementwise(name: str, shape: Any, dtype: str, framework: str) -> None:
    batch = frameworks.elementwise_batch(name, shape, dtype)
    on = ON.get(framework, elementwise_cases.on_torch)
    loss, gradient = on(batch)
    value, slope = elementwise_cases.on_numpy(batch)
    same(loss, value)
    same(gradient, slope)
    each = elementwise_cases.value_on_numpy(rows_of(batch))
    same(on(rows_of(batch), np.ones_like(each))[0], each)


Z = np.random.default_rng(2).normal(size=(7, 33)).astype(np.float32) * 3
Y = np.random.default_rng(3).integers(0, 33, 7)
T = np.random.default_rng(4).dirichlet(np.ones(33), 7).astype(np.float32)
Q = (np.exp(Z) / np.exp(Z).sum(1, keepdims=True)).astype(np.float32)
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "focal": lambda z, q, y, t: xent.focal_cross_entropy(z, y, gamma=1.5),
    "poly": lambda z, q, y, t: xent.poly_cross_entropy(z, y),
    "softmax": lambda z, q, y, t: xent.softmax(z, 0),
    "log_softmax": lambda z, q, y, t: xent.log_softmax(z),
    "logsumexp": lambda z, q, y, t: xent.logsumexp(z),
    "sigmoid": lambda z, q, y, t: xent.sigmoid(z),
    "log_sigmoid": lambda z, q, y, t: xent.log_sigmoid(z),
    "cross-entropy of probabilities": lambda z, q, y, t: xent.cross_entropy_from_probs(q, y),
    "each row's": lambda z, q, y, t: xent.cross_entropy_from_probs(q, t, reduction="none"),
    "binary": lambda z, q, y, t: xent.binary_cross_entropy_from_probs(q, t, reduction="none"),
    "divergence": lambda z, q, y, t: xent.kl_divergence(q, t),
    "divergence of rows": lambda z, q, y, t: xent.kl_divergence(q, t, axis=0, reduction="none"),
}


@pytest.mark.parametrize("make", [torch.tensor, jnp.asarray, tf.constant], ids=["torch", "jax", "tensorflow"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_other_functions(name: str, make: Any) -> None:
    expected = FUNCTIONS[name](Z, Q, Y, T)
    found = FUNCTIONS[name](*(make(x) for x in (Z, Q, Y, T)))
    same(np.asarray(found.numpy() if hasattr(found, "numpy") else found), expected)


@pytest.mark.parametrize("reduced", [True, False], ids=["mean", "rows"])
@pytest.mark.parametrize(("name", "shape", "dtype"), SOFTMAX[::2] + ELEMENTWISE[::3], ids=identifier)
def test_tensorflows_backward_pass_is_torchs(name: str, shape: Any, dtype: str, reduced: bool) -> None:
    """JAX multiplies the kernel's gradient by the upstream one, which rounds once more."""
    softmax = name in registry.CASE_BY_NAME and shape in frameworks.SHAPES
    batch: Any = (frameworks.softmax_batch if softmax else frameworks.elementwise_batch)(name, shape, dtype)
    cases: Any = registry if softmax else elementwise_cases
    if not reduced:
        batch = rows_of(batch)
    loss = np.asarray(cases.value_on_numpy(batch))
    upstream = np.asarray(np.random.default_rng(1).normal(size=loss.shape)).astype(loss.dtype)
    same(frameworks.on_tensorflow(batch, upstream)[1], cases.on_torch(batch, upstream)[1])
