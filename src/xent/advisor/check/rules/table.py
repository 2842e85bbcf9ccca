"""The table of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...findings import Finding, Severity
from ..case import LOSSES, Case

Stage = Literal["form", "content"]  # from shapes and dtypes; from what the arrays hold
Found = tuple[Severity, str, str]  # severity, message, fix


class Rule(NamedTuple):
    """One diagnosis."""

    number: str
    title: str
    """What is wrong, in a few words."""
    stage: Stage
    losses: tuple[str, ...]
    """Where it can occur."""
    look: Callable[[Case], Iterator[Found]]

    def findings(self, case: Case) -> list[Finding]:
        if case.options.loss not in self.losses:
            return []
        return [Finding(self.number, *found) for found in self.look(case)]


RULES: dict[str, Rule] = {}


def rule(number: int, title: str, losses: tuple[str, ...] = LOSSES, stage: Stage = "content") -> Callable[..., None]:
    """Enters a function of a case in the table."""

    def enter(look: Callable[[Case], Iterator[Found]]) -> None:
        name = f"X{number:02d}"
        RULES[name] = Rule(name, title, stage, losses, look)

    return enter


def some(numbers: NDArray[np.int64], what: str = "row") -> str:
    """A few numbers of rows, in words.

    >>> some(np.array([3]))
    'row 3'
    >>> some(np.array([1, 2, 5, 7, 9]))
    'rows 1, 2, 5 and 2 more'
    """
    shown = ", ".join(str(int(n)) for n in numbers[:3])
    more = f" and {len(numbers) - 3} more" if len(numbers) > 3 else ""
    return f"{what}{'s' if len(numbers) > 1 else ''} {shown}{more}"
