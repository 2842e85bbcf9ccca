"""What an answer is made of: arrays, calls, recipes, leaves. The answers themselves are in `answers`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from textwrap import dedent

from .cost import Costing

LIBRARIES = ("xent", "PyTorch", "TensorFlow", "Keras", "Optax")

# What the calls take as imported.
IMPORTS = {
    "xent": "import xent",
    "PyTorch": "import torch, torch.nn.functional as F",
    "TensorFlow": "import tensorflow as tf",
    "Keras": "import keras",
    "Optax": "import jax, jax.numpy as jnp, optax",
}


@dataclass(frozen=True)
class Array:
    """An argument of a call.

    Attributes:
        kind: what its values are, for whoever makes examples: "scores", "index", ….
        shape: names of its axes; none for a number.
        meaning: what the user puts there.
    """

    kind: str
    shape: tuple[str, ...]
    meaning: str

    def __str__(self) -> str:
        return f"[{', '.join(self.shape)}] {self.meaning}" if self.shape else self.meaning


@dataclass(frozen=True)
class Call:
    """One library's call.

    Attributes:
        code: an expression; None where the library has no such loss.
        note: what to know about it; where there is no code, why.
    """

    code: str | None
    note: str = ""


@dataclass(frozen=True)
class Recipe:
    """One loss in every library; the calls that there are give the same value.

    Attributes:
        purpose: what it is for, in a few words.
        calls: by library.
    """

    purpose: str
    calls: Mapping[str, Call]


def recipe(
    purpose: str, *, xent: str, torch: str | Call, tensorflow: str | Call, keras: str | Call, optax: str | Call
) -> Recipe:
    """A recipe from its calls in the order of `LIBRARIES`; code may be indented like what surrounds it."""
    calls = (Call(c) if isinstance(c, str) else c for c in (xent, torch, tensorflow, keras, optax))
    plain = (replace(c, code=dedent(c.code).strip()) if c.code else c for c in calls)
    return Recipe(purpose, dict(zip(LIBRARIES, plain, strict=True)))


def none(reason: str) -> Call:
    """No such loss in a library."""
    return Call(None, reason)


@dataclass(frozen=True)
class Avoid:
    """What not to use, and why."""

    what: str
    because: str


@dataclass(frozen=True)
class Leaf:
    """One answer.

    Attributes:
        title: the problem it answers, in a line.
        loss: the name of the function in `xent`.
        arrays: what the names in its calls stand for.
        recipe: the loss to use.
        also: what may be used with it or in its place.
        why: reasons.
        avoid: what not to use.
        cost: what it takes at a size.
        smaller: what to do where its logits do not fit in memory; empty where the decision itself sees to that.
    """

    title: str
    loss: str
    arrays: Mapping[str, Array]
    recipe: Recipe
    why: tuple[str, ...]
    avoid: tuple[Avoid, ...]
    cost: Costing
    also: tuple[Recipe, ...] = ()
    smaller: str = ""
