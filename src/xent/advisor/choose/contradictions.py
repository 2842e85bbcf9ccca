"""Facts that cannot both hold: refused, so that none is passed over in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...errors import value_error
from .cost import SAMPLED
from .facts import Facts


class Contradiction(NamedTuple):
    """Two facts: when they meet, the argument that is named, what the other one expects of it, and the remedy."""

    holds: Callable[[Facts], bool]
    argument: str
    expected: str
    remedy: str


_EITHER = "Drop one of the two"
# Of facts that were given: arrays may be too few to tell.
_GIVEN = (
    Contradiction(
        lambda facts: bool(facts.probabilities) and facts.task not in (None, "classification"),
        "probabilities",
        "no for any task but 'classification', whose losses alone take them",
        f"{_EITHER}: pass the scores before softmax, or say task='classification'.",
    ),
    Contradiction(
        lambda facts: facts.task == "language-model" and facts.exclusive is False,
        "exclusive",
        "yes for task='language-model', where one token is next",
        f"{_EITHER}; for several classes a row say task='classification'.",
    ),
    Contradiction(
        lambda facts: bool(facts.signed) and facts.task not in (None, "classification"),
        "signed",
        "no for any task but 'classification', where labels may be -1 and 1",
        f"{_EITHER}; a yes or no in -1 and 1 is task='classification'.",
    ),
    Contradiction(
        lambda facts: facts.task == "scoring" and facts.classes is not None and facts.classes <= SAMPLED,
        "classes",
        f"more than the {SAMPLED:,} that are sampled for task='scoring'",
        f"{_EITHER}: with so few classes a softmax over all is cheap, task='classification'.",
    ),
)
# Of facts from wherever they come.
_FOUND = (
    Contradiction(
        lambda facts: bool(facts.signed) and (facts.classes or 1) > 2,
        "classes",
        "1 or 2 for labels of -1 and 1",
        f"{_EITHER}; for several signed labels a row each counts as one of its own.",
    ),
)


def refuse_contradictions(given: Facts, found: Facts) -> None:
    """
    Args:
        given: facts that the user named.
        found: these and what arrays tell.

    Raises:
        ValueError: two facts that cannot both hold; it names both.
    """
    for facts, contradictions in ((given, _GIVEN), (found, _FOUND)):
        for holds, argument, expected, remedy in contradictions:
            if holds(facts):
                raise value_error(argument, expected, _named(argument, facts), remedy)


def _named(argument: str, facts: Facts) -> str:
    value = getattr(facts, argument)
    if isinstance(value, bool):
        return f"{'yes' if value else 'no'} with task={facts.task!r}"
    return str(value)
