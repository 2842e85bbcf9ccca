"""Kernels in Triton's interpreter, in a process of their own: `TRITON_INTERPRET=1 python -m pytest tests/triton`."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/triton/" in item.path.as_posix():
            # NumPy says so where the interpreter computes what a mask then drops
            item.add_marker(pytest.mark.filterwarnings("ignore::RuntimeWarning:triton.runtime.interpreter"))


@pytest.fixture(autouse=True)
def interpreter() -> None:
    """Fails where the kernels would not be interpreted."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.fail(
            "run the tests of tests/triton in a process of their own, with TRITON_INTERPRET=1 in the environment"
        )
