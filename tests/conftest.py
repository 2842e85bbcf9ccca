"""Fixtures: every instruction set of this processor in turn, and numbers of threads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

# Triton, which builds of PyTorch for GPUs bring, and TensorFlow each carry an LLVM, and crash in one process. Only the
# tests of tests/gpu and tests/cuda need Triton, and they run in processes of their own; torch.compile generates C++.
if "TRITON_INTERPRET" not in os.environ:
    sys.modules.setdefault("triton", None)  # type: ignore[arg-type]

import xent
from xent import _native

collect_ignore = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["gpu"]


@pytest.fixture(params=_native.instruction_sets())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Forces one instruction set; the id of the test names it."""
    before = _native.instruction_set()
    assert _native.use_instruction_set(request.param)
    assert _native.instruction_set() == request.param
    yield request.param
    _native.use_instruction_set(before)


@pytest.fixture
def keep_threads() -> Iterator[None]:
    """Restores the number of threads."""
    before = xent.get_num_threads()
    yield
    xent.set_num_threads(before)


@pytest.fixture(params=[1, 2, 3], ids=lambda n: f"threads{n}")
def threads(request: pytest.FixtureRequest, keep_threads: None) -> int:
    """Sets a number of threads; 3 is more than there may be processors."""
    xent.set_num_threads(request.param)
    return int(request.param)
