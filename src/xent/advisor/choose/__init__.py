"""Which loss: a decision from a few facts or from sample arrays.

`facts` are what is known, `deduce` reads them off arrays, `contradictions` refuses those that cannot both hold, `tree`
decides, `answers` are what it decides between, `cost` counts what an answer takes, `choice` is how it is given.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...errors import value_error
from .answers import LEAVES
from .choice import Choice
from .contradictions import refuse_contradictions
from .cost import Cost
from .deduce import Deduced, deduce
from .facts import Facts, facts_of, size
from .recipe import Leaf
from .tree import REMARKS, Ask, assume, decide

__all__ = ["Choice", "choose", "decided"]


def choose(
    labels: Any = None,
    logits: Any = None,
    *,
    task: str | None = None,
    classes: int | None = None,
    exclusive: bool | None = None,
    soft: bool | None = None,
    signed: bool | None = None,
    probabilities: bool | None = None,
    imbalance: float | None = None,
    rows: int | None = None,
    width: int | None = None,
    memory: int | str | None = None,
    dtype: str | None = None,
    framework: str | None = None,
) -> Choice:
    """Which loss a problem needs, from a few facts or from sample arrays.

    Facts that are given count; others are deduced from the arrays; what is then still needed is assumed, and the answer
    says what was. `print` shows the answer.

    Args:
        labels: sample labels of any framework, a batch as the loss would get them; also `xent.TopK` and
            `xent.Positives`.
        logits: what the model gives for them.
        task: "classification" (assumed), "language-model", "segmentation", "distillation", "retrieval" (two towers),
            "embeddings", "scoring" (probabilities of single classes out of very many) or "regression" (asymmetric
            cost).
        classes: how many classes there are; 1 or 2 for a yes or no.
        exclusive: exactly one class is right for each row; False: several may be.
        soft: labels are distributions, with a probability for each class.
        signed: labels are -1 and 1.
        probabilities: the model gives probabilities, and its logits cannot be had.
        imbalance: how many times as frequent the most frequent class is as the rarest; for labels of yes and no,
            negatives to positives.
        rows: rows in a batch: examples, tokens or pixels.
        width: the hidden size, D of the output layer's weight [C, D].
        memory: bytes that are free for the loss, or a text such as "8GB".
        dtype: of the logits: "float32" (assumed), "float64", "bfloat16" or "float16".
        framework: "numpy", "torch", "tensorflow", "keras" or "jax": whose call is shown first after xent's.

    Returns:
        A `Choice`: the loss, its call in xent, PyTorch, TensorFlow, Keras and Optax, why, what it costs, what not to
        use. `str` is readable, `to_json` is for programs.

    Raises:
        ValueError: no fact at all, a value that a fact cannot have, arrays that do not belong together.
        TypeError: a value of a type that a fact cannot have, or no array.

    Example:
        >>> import numpy as np, xent
        >>> xent.choose(classes=50_000, exclusive=True, rows=8192, memory="4GB").loss
        'linear_softmax_cross_entropy'
        >>> choice = xent.choose(np.array([[1, 0, 1], [0, 1, 1]]))
        >>> choice.calls["PyTorch"].code
        'F.binary_cross_entropy_with_logits(logits, labels)'

    Source: the decision tables of the documentation, `docs/which-loss.md` and `docs/many-classes.md`.
    """
    given = facts_of(
        task=task,
        classes=classes,
        exclusive=exclusive,
        soft=soft,
        signed=signed,
        probabilities=probabilities,
        imbalance=imbalance,
        rows=rows,
        width=width,
        memory=memory,
        dtype=dtype,
        framework=framework,
    )
    if labels is None and logits is None and not given.decides():
        remedy = "Pass labels, or classes=10, or task='language-model'; or run `xent choose`, which asks."
        raise value_error("facts", "at least one, or sample arrays", "none", remedy)
    return decided(given, deduce(labels, logits))


def decided(given: Facts, deduced: Deduced, ask: Ask = assume) -> Choice:
    """The choice for facts that were given and deduced; `ask` is asked for others that matter.

    Answers of a user count as given, those of `assume` as assumed.

    Raises:
        ValueError: facts that cannot both hold.
    """
    found = Facts(**{**deduced.facts, **given.known()})
    refuse_contradictions(given, found)
    answer, decisive = decide(found, ask)
    leaf = LEAVES[answer]
    sizes = {name: assume(name, decisive) for name in leaf.cost.needs if getattr(decisive, name) is None}
    facts = replace(decisive, **sizes)
    cost = leaf.cost(facts)
    answered = {name: value for name, value in decisive.known().items() if name not in found.known()}
    told, taken = ({}, answered) if ask is assume else (answered, {})
    return Choice(
        answer=answer,
        title=leaf.title,
        loss=leaf.loss,
        calls=leaf.recipe.calls,
        arrays=leaf.arrays,
        why=leaf.why,
        cost=cost,
        avoid=leaf.avoid,
        also=leaf.also,
        remarks=(*_too_large(facts, leaf, cost), *(text for holds, text in REMARKS if holds(facts, cost))),
        facts={**given.known(), **told},
        deduced=deduced.said,
        assumed={**taken, **sizes},
    )


def _too_large(facts: Facts, leaf: Leaf, cost: Cost) -> list[str]:
    """That logits do not fit, and what then, for a leaf that has no sister for this case."""
    if not leaf.smaller or facts.memory is None or cost.elsewhere <= facts.memory:
        return []
    verdict = "do not fit" if cost.memory > facts.memory else "fit with xent only"
    return [
        f"Logits, log-probabilities and gradient {verdict}: {size(cost.elsewhere)}, with xent {size(cost.memory)}, "
        f"of {size(facts.memory)}. {leaf.smaller}"
    ]
