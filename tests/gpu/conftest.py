"""The tests of the Triton kernels run in Triton's interpreter, where tensors of the CPU play those of a GPU."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.exit("tests/gpu: set TRITON_INTERPRET=1, and let no test that loads TensorFlow into the process", 4)
    for item in items:  # the interpreter computes with NumPy, which warns of inf - inf
        item.add_marker(pytest.mark.filterwarnings("ignore::RuntimeWarning"))
