"""The families of losses that a case can name: their labels, the functions that compute them, and their definition."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from typing import Any, Protocol

import numpy as np

from . import sigmoid, softmax
from .cases import Case
from .data import Array, Problem, Truth, representable
from .steps import Loss, Step

COMMON = frozenset({"name", "shape", "dtype", "loss", "backward"})


class Family(Protocol):
    """What a module has that computes a family of losses."""

    def heeded(self, case: Case) -> frozenset[str]:
        """The fields of a case that it knows, beside `COMMON`."""

    def labels(self, random: np.random.Generator, case: Case) -> tuple[Array, Array]:
        """Random labels, as xent takes them and as all others do."""

    def xent_loss(self, case: Case) -> Loss:
        """xent's mean loss with the options of a case, on the arrays of any framework."""

    def torch_loss(self, functional: Any, case: Case) -> Loss:
        """The same from `torch.nn.functional`."""

    def numpy_step(self, problem: Problem) -> Step:
        """A step of the textbook's formula; asked for plain losses only."""

    def truth(self, problem: Problem) -> Truth:
        """The definition in float64."""


FAMILIES: dict[str, Family] = {"softmax": softmax, "sigmoid": sigmoid, "soft margin": sigmoid}


def family(case: Case) -> Family:
    """The family of a case's loss."""
    return FAMILIES[case.loss]


def problem(case: Case) -> Problem:
    """The arrays of a case: random, and the same in every run.

    Raises:
        ValueError: the case has an option that its loss does not.
    """
    unknown = options(case) - family(case).heeded(case)
    if unknown:
        raise ValueError(f"{case.name}: the {case.loss} loss has no {', '.join(sorted(unknown))}.")
    random = np.random.default_rng(0)
    logits = representable(random.standard_normal(case.shape, dtype=np.float32), case.dtype)
    labels, plain_labels = family(case).labels(random, case)
    weight = None
    if case.class_weight or case.pos_weight:
        weight = representable(random.uniform(0.5, 1.5, case.shape[1]).astype(np.float32), case.dtype)
    return Problem(case, logits, labels, plain_labels, weight)


def none_ignored(ignoring: Problem) -> Problem:
    """The same problem with every row kept."""
    case = replace(ignoring.case, ignored=0.0)
    labels, plain_labels = family(case).labels(np.random.default_rng(1), case)
    return replace(ignoring, case=case, labels=labels, plain_labels=plain_labels)


def options(case: Case) -> set[str]:
    """The options that make a case's loss other than plain, by the names of their fields."""
    optional = (f for f in fields(case) if f.name not in COMMON and f.default is not MISSING)
    return {f.name for f in optional if getattr(case, f.name) != f.default}
