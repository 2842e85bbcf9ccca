"""The same kernels serve every framework: in eager mode on CPU the results are equal to the bit."""

from __future__ import annotations

from typing import Any

import elementwise_cases
import frameworks
import numpy as np
import pytest
import registry
from frameworks import ELEMENTWISE, SOFTMAX, identifier

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
