"""Large gradient buffers: reused, bounded, given back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch

import xent
from xent import _native

MIB = 2**20


@pytest.fixture(autouse=True)
def empty_pool() -> Iterator[None]:
    limit = _native.buffer_limit()
    xent.clear_cache()
    yield
    _native.set_buffer_limit(limit)
    xent.clear_cache()


def gradient_of(rows: int, columns: int = 1024, dtype: type = np.float32) -> np.ndarray:
    x = np.zeros((rows, columns), dtype)
    return xent.value_and_grad(xent.softmax_cross_entropy)(x, np.zeros(rows, int))[1]


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_a_buffer_serves_the_next_call() -> None:
    first = gradient_of(2048)
    where = address(first)
    assert _native.cached_buffer_bytes() == 0
    del first
    assert 8 * MIB <= _native.cached_buffer_bytes() <= 9 * MIB
    second = gradient_of(2048)
    assert address(second) == where
    assert _native.cached_buffer_bytes() == 0
    third = gradient_of(2048)
    assert address(third) != where


def test_a_buffer_serves_nearly_its_size_and_no_less() -> None:
    where = address(gradient_of(4096))
    nearly = gradient_of(3500)
    assert address(nearly) == where
    del nearly
    small = gradient_of(1024)
    assert address(small) != where
    assert _native.cached_buffer_bytes() >= 16 * MIB


def test_numpy_and_torch_share_the_pool() -> None:
    where = address(gradient_of(2048))
    leaf = torch.zeros(2048, 1024, requires_grad=True)
    xent.softmax_cross_entropy(leaf, torch.zeros(2048, dtype=torch.int64)).backward()
    assert leaf.grad.data_ptr() == where
    leaf.grad = None
    assert _native.cached_buffer_bytes() >= 8 * MIB


def test_a_view_keeps_its_buffer() -> None:
    gradient = gradient_of(2048)
    row = gradient[5]
    kept = row.copy()
    del gradient
    assert _native.cached_buffer_bytes() == 0
    assert address(gradient_of(2048)) != address(row) - 5 * 4096
    np.testing.assert_array_equal(row, kept)
    assert row.any()


def test_small_gradients_stay_out_of_the_pool() -> None:
    gradient = gradient_of(100, 100)
    assert gradient.any()
    del gradient
    assert _native.cached_buffer_bytes() == 0


def test_the_limit_is_kept_and_documented() -> None:
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert _native.buffer_limit() == min(2**31, physical // 8)
    text = xent.clear_cache.__doc__
    assert "At most 2 GiB" in text
    assert "an eighth of the machine's memory" in text
    assert f"of at most {_native.buffer_limit()} bytes" in xent.show_config()
    _native.set_buffer_limit(20 * MIB)
    gradients = [gradient_of(2048) for _ in range(5)]
    while gradients:
        gradients.pop()
        assert _native.cached_buffer_bytes() <= 20 * MIB
    assert _native.cached_buffer_bytes() >= 8 * MIB
    _native.set_buffer_limit(0)
    assert _native.cached_buffer_bytes() == 0
    gradient = gradient_of(2048)
    del gradient
    assert _native.cached_buffer_bytes() == 0


def test_clear_cache_leaves_arrays_in_use_alone() -> None:
    gradient = gradient_of(2048)
    kept = gradient.copy()
    xent.clear_cache()
    np.testing.assert_array_equal(gradient, kept)
    del gradient
    assert _native.cached_buffer_bytes() > 0
    xent.clear_cache()
    assert _native.cached_buffer_bytes() == 0


STEPS = """
import gc, sys
import numpy as np
import xent
from xent import _native

def resident():
    with open("/proc/self/status") as status:
        return int(dict(line.split(":", 1) for line in status)["VmRSS"].split()[0]) * 1024

framework, limit = sys.argv[1], 48 * 2**20
_native.set_buffer_limit(limit)
rng = np.random.default_rng(0)
if framework == "torch":
    import torch
    torch.manual_seed(0)
logits = rng.normal(size=6 * 2**20).astype(np.float32)  # 24 MiB, of which every step takes a piece

def step(rows, classes):
    x, y = logits[: rows * classes].reshape(rows, classes), np.zeros(rows, np.int64)
    if framework == "torch":
        leaf = torch.from_numpy(x).requires_grad_()
        xent.softmax_cross_entropy(leaf, torch.from_numpy(y), label_smoothing=0.1).backward()
        return float(leaf.grad[0, 0])
    return float(xent.value_and_grad(xent.softmax_cross_entropy)(x, y, label_smoothing=0.1)[1][0, 0])

for classes in (64, 3000, 2**18):  # the largest scratch buffers first
    step(logits.size // classes, classes)
xent.clear_cache()
gc.collect()
before, worst = resident(), 0
for i in range(1000):
    classes = int(rng.integers(2, 3000))
    most = logits.size if i % 50 == 0 else 2**20
    rows = int(rng.integers(1, most // classes + 1))
    assert step(rows, classes) != 0
    assert _native.cached_buffer_bytes() <= limit
    if i % 20 == 0:
        worst = max(worst, resident() - before)
kept = _native.cached_buffer_bytes()
xent.clear_cache()
gc.collect()
print(worst, limit, kept, resident() - before)
"""


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_memory_does_not_grow_over_1000_steps_of_changing_shapes(framework: str) -> None:
    done = subprocess.run([sys.executable, "-c", STEPS, framework], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    worst, limit, kept, after = (int(x) for x in done.stdout.split())
    assert kept > 0
    assert worst <= limit + 8 * MIB  # the bound, and what Python itself moves about
    assert after <= 8 * MIB
    assert after < kept
