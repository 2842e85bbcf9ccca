"""The rules in words: for `--explain` and for the page of the documentation."""

from __future__ import annotations

from .rule import Rule
from .rules import RULES


def explanation(rule: Rule) -> str:
    """One rule as a section of Markdown: what it looks for, why, the code before and after, what --fix does."""
    mended = (
        "`--fix` writes the second form where the source says enough." if rule.mends else "`--fix` leaves it to you."
    )
    return (
        f"### {rule.number}: {rule.summary}\n\n{rule.why}\n\n"
        f"```py\n{rule.bad}```\n\nInstead:\n\n```py\n{rule.good}```\n\n{mended}\n"
    )


def all_explanations() -> str:
    """Every rule, as the page of the documentation has them."""
    return "\n".join(explanation(rule) for rule in RULES)
