"""Every entry of the tables in docs/moving-between-frameworks.md is run, and gives the number of its row."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest
import tensorflow as tf
import torch

import xent
import xent.compat

PAGE = Path(__file__).resolve().parent.parent / "docs" / "moving-between-frameworks.md"
COLUMNS = ("xent", "PyTorch", "TensorFlow 2", "TensorFlow 1", "Keras", "Optax")
RNG = np.random.default_rng(17)
Z = RNG.normal(size=(6, 5)).astype(np.float32)
Y = np.array([0, 3, 4, 0, 2, 1])
B = (RNG.random((6, 5)) < 0.5).astype(np.float32)
DATA = {
    "z": Z,
    "y": Y,
    "t": RNG.dirichlet(np.ones(5), 6).astype(np.float32),
    "t_of_y": np.eye(5, dtype=np.float32)[Y],
    "b": B,
    "g": 2 * B - 1,
    "q": (np.exp(Z) / np.exp(Z).sum(1, keepdims=True)),
    "p": 1 / (1 + np.exp(-Z)),
    "s": np.array([0.5, 2.0, 0.0, 1.0, 3.0, 0.0], np.float32),
    "v": np.array([0.5, 1.0, 2.0, 4.0, 1.5], np.float32),
}


class Overlay:
    """A module whose names are those of one library, or else of another."""

    def __init__(self, first: Any, second: Any) -> None:
        self._first, self._second = first, second

    def __getattr__(self, name: str) -> Any:
        first, second = getattr(self._first, name, None), getattr(self._second, name, None)
        if first is None or second is None:
            return first if second is None else second
        return Overlay(first, second) if hasattr(first, "__path__") or hasattr(first, "__file__") else first


def of_torch(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.copy())


MAKE = {"PyTorch": of_torch, "TensorFlow 2": tf.constant, "TensorFlow 1": tf.constant, "Optax": jnp.asarray}
OWN: dict[str, dict[str, Any]] = {
    "PyTorch": {"F": torch.nn.functional, "torch": torch},
    "TensorFlow 2": {"tf": tf},
    "TensorFlow 1": {"tf": tf, "tf1": tf.compat.v1, "contrib": xent.compat.tf.contrib},
    "Keras": {"keras": keras.losses},
    "Optax": {"optax": optax.losses, "jnp": jnp},
}
COMPAT: dict[str, dict[str, Any]] = {
    "PyTorch": {"F": Overlay(xent.compat.torch, torch.nn.functional), "torch": torch},
    "TensorFlow 2": {"tf": Overlay(xent.compat.tf, tf)},
    "TensorFlow 1": {
        "tf": tf,
        "tf1": Overlay(xent.compat.tf.v1, tf.compat.v1),
        "contrib": xent.compat.tf.contrib,
    },
    "Keras": {"keras": Overlay(xent.compat.keras, keras.losses)},
    "Optax": {"optax": Overlay(xent.compat.optax, optax.losses), "jnp": jnp},
}


class Row(NamedTuple):
    what: str
    cells: dict[str, str]


def rows() -> list[Row]:
    """The rows of all tables that have a column for each library."""
    found: list[Row] = []
    names: list[str] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        if "xent" in cells:
            names = cells
        elif len(cells) < 3 or set(line) <= set("|- "):
            names = names if cells else []
        elif names:
            code = {
                n: c.strip("` |") for n, c in zip(names, cells, strict=True) if n in COLUMNS and c.strip("| ") != "–"
            }
            found.append(Row(cells[0].strip("| "), code))
    return found


ROWS = rows()
ENTRIES = [(row, name) for row in ROWS for name in row.cells if name != "xent"]


def number(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach()
    return np.asarray(value, np.float64)


def computed(code: str, names: dict[str, Any], make: Any = np.asarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # contrib's deprecations
        return number(eval(code, {**names, **{letter: make(array) for letter, array in DATA.items()}}))


def test_the_page_has_tables() -> None:
    assert len(ROWS) > 25
    assert len(ENTRIES) > 70
    assert {name for _, name in ENTRIES} == set(COLUMNS) - {"xent"}


@pytest.mark.parametrize("library", ["its own", "xent.compat"])
@pytest.mark.parametrize(("row", "name"), ENTRIES, ids=lambda x: x.what if isinstance(x, Row) else x)
def test_entry(row: Row, name: str, library: str) -> None:
    names = (OWN if library == "its own" else COMPAT)[name]
    expected = computed(row.cells["xent"], {"xent": xent})
    found = computed(row.cells[name], names, MAKE.get(name, np.asarray))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("make", [np.asarray, of_torch, jnp.asarray, tf.constant], ids=["NumPy", "torch", "JAX", "TF"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_xents_own_name_on_every_framework(row: Row, make: Any) -> None:
    expected = computed(row.cells["xent"], {"xent": xent})
    np.testing.assert_allclose(computed(row.cells["xent"], {"xent": xent}, make), expected, rtol=2e-5, atol=2e-6)


def test_every_public_loss_of_the_page_is_public() -> None:
    for name in set(re.findall(r"xent\.(\w+)\(", PAGE.read_text(encoding="utf-8"))):
        assert name in xent.__all__
