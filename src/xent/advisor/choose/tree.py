"""The decision: forks as data, walked from the root to an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .cost import Cost
from .facts import DTYPES, KNOWLEDGE, Facts

# From here on a plain loss may never predict the rare class; below, moving the threshold serves.
IMBALANCED = 100.0
# From here on a step can seldom afford all classes.
MILLIONS = 1_000_000
# Below this many classes logits fit, unless both rows and memory are known and say otherwise.
MANY = 10_000


@dataclass(frozen=True)
class Fork:
    """A decision.

    Attributes:
        needs: the facts that it needs.
        way: the branch, for facts that are known.
        branches: what follows: another fork, or the name of an answer.
    """

    needs: tuple[str, ...]
    way: Callable[[Facts], str]
    branches: Mapping[str, Fork | str]


def yes(name: str, *, then: Fork | str, otherwise: Fork | str) -> Fork:
    """A fork by a fact that holds or not."""
    return Fork((name,), lambda facts: "yes" if getattr(facts, name) else "no", {"yes": then, "no": otherwise})


def rare(then: str, otherwise: str) -> Fork:
    """A fork by imbalance."""
    return Fork(
        ("imbalance",),
        lambda facts: "rare" if (facts.imbalance or 1.0) >= IMBALANCED else "even",
        {"rare": then, "even": otherwise},
    )


def fits(then: Fork | str, otherwise: Fork | str) -> Fork:
    """A fork by memory: logits, log-probabilities and gradient fit, or do not. It asks only where they may not."""
    measured = Fork(("rows", "memory"), _measured, {"fits": then, "too large": otherwise})
    return Fork((), _worth_measuring, {"few": then, "many": measured})


def _worth_measuring(facts: Facts) -> str:
    known = facts.rows is not None and facts.memory is not None
    return "many" if known or (facts.classes or 0) >= MANY else "few"


def _measured(facts: Facts) -> str:
    elements = (facts.rows or 0) * (facts.classes or 0)
    return "fits" if 3 * elements * DTYPES[facts.dtype or "float32"] <= (facts.memory or 0) else "too large"


def _columns(facts: Facts) -> str:
    """Two classes are one score, unless it is said whether they exclude each other: then there is one for each."""
    return "one" if facts.classes == 1 or (facts.classes == 2 and facts.exclusive is None) else "many"


def _number(facts: Facts) -> str:
    return "millions" if (facts.classes or 0) >= MILLIONS else "fewer"


_BINARY = yes("signed", then="signed", otherwise=rare("binary-imbalanced", "binary"))
_INDEX = Fork(
    (),
    _number,
    {"millions": "sampled", "fewer": fits(rare("imbalanced", "index"), "linear")},
)
_EXCLUSIVE = yes("soft", then=fits("soft", "soft-large"), otherwise=_INDEX)
_SEVERAL = fits(rare("multi-label-imbalanced", "multi-label"), "multi-label-extreme")
_LOGITS = Fork(
    ("classes",),
    _columns,
    {"one": _BINARY, "many": yes("exclusive", then=_EXCLUSIVE, otherwise=_SEVERAL)},
)
_LABELS = Fork((), lambda facts: "signed" if facts.signed else "any", {"signed": "signed", "any": _LOGITS})
_PROBABILITIES = Fork(
    ("classes",),
    _columns,
    {
        "one": "binary-probabilities",
        "many": yes(
            "exclusive",
            then=yes("soft", then="soft-probabilities", otherwise="probabilities"),
            otherwise="binary-probabilities",
        ),
    },
)
_SEGMENTATION = Fork(
    ("classes",),
    _columns,
    {
        "one": "segmentation-binary",
        "many": yes("exclusive", then="segmentation", otherwise="segmentation-several"),
    },
)
TREE = Fork(
    ("task",),
    lambda facts: facts.task or "",
    {
        "classification": yes("probabilities", then=_PROBABILITIES, otherwise=_LABELS),
        "language-model": Fork(("classes",), lambda _: "all", {"all": fits("language-model", "language-model-large")}),
        "segmentation": _SEGMENTATION,
        "distillation": Fork(("classes",), lambda _: "all", {"all": fits("distillation", "distillation-large")}),
        "retrieval": "retrieval",
        "embeddings": "embeddings",
        "scoring": "scoring",
        "regression": "regression",
    },
)

Ask = Callable[[str, Facts], Any]


def assume(name: str, facts: Facts) -> Any:
    """The answer to a question that nobody answers."""
    return KNOWLEDGE[name].assumed(facts)


def decide(facts: Facts, ask: Ask = assume) -> tuple[str, Facts]:
    """The name of the answer, and the facts with those that were asked for on the way."""
    node: Fork | str = TREE
    while isinstance(node, Fork):
        for name in node.needs:
            if getattr(facts, name) is None:
                facts = replace(facts, **{name: ask(name, facts)})
        node = node.branches[node.way(facts)]
    return node, facts


# What else a fact says, whatever the answer.
REMARKS: tuple[tuple[Callable[[Facts, Cost], bool], str], ...] = (
    (
        lambda facts, cost: 10.0 <= (facts.imbalance or 1.0) < IMBALANCED,
        "At this imbalance the plain loss usually still learns the rare classes, with calibrated probabilities; to "
        "predict them more often move the threshold. From 100:1 the answer is another.",
    ),
    (
        lambda facts, cost: facts.dtype in ("float16", "bfloat16"),
        "Half precision: xent accumulates in float32 and returns a float32 loss; PyTorch, TensorFlow and Optax round "
        "it to the logits' dtype.",
    ),
    (
        lambda facts, cost: cost.logits > 2**31,
        "More than 2³¹ logits: other libraries are known to crash there; xent counts in 64 bits.",
    ),
    (
        lambda facts, cost: facts.classes == 2 and bool(facts.exclusive),
        "With two classes one score under xent.sigmoid_cross_entropy is the same loss: z = z₁ - z₀.",
    ),
    (
        lambda facts, cost: facts.framework == "numpy",
        "On NumPy arrays xent.value_and_grad(loss) gives the loss and its gradient.",
    ),
)
