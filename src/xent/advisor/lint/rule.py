"""What a rule is, and what it says about a place in a module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass

import libcst as cst

from ..findings import Severity
from .source import Source


@dataclass(frozen=True)
class Edit:
    """A node's new text. The node's own parentheses stay."""

    node: cst.CSTNode
    text: str


@dataclass(frozen=True)
class Problem:
    """What is wrong at a node, what to write instead, and the edits that do it where that is mechanical."""

    node: cst.CSTNode
    severity: Severity
    message: str
    fix: str
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True)
class Rule:
    """One rule of the linter.

    Attributes:
        number: "L01" on.
        summary: what it looks for, in a line.
        why: what is wrong with it.
        bad, good: a module that breaks it, and the same module mended.
        mends: whether --fix turns the bad module into the good one.
        words: groups of names, written f() for functions that are called, *f() for those that are called as a factor,
            f= for keywords, and += for sums of a variable. A module in which some group has no name at all cannot break
            the rule.
        check: finds the places.
    """

    number: str
    summary: str
    why: str
    bad: str
    good: str
    mends: bool
    words: tuple[frozenset[str], ...]
    check: Callable[[Source], Iterable[Problem]]

    def may_find(self, names: Set[str]) -> bool:
        """Whether a module with these names has those without which the rule finds nothing."""
        return all(not group.isdisjoint(names) for group in self.words)

    def may_find_in(self, words: Set[str]) -> bool:
        """The same from the words of the text, comments and all."""
        return all(any((word := name.strip("*()+=")) in words or not word for name in group) for group in self.words)
