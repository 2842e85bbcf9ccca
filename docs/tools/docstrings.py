"""Docstrings as Markdown: the sections that this library writes, as lists and code."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

SECTION = re.compile(r"^(Args|Attributes|Example|Raises[^:\n]*|Returns):\n((?:[ ]{4}.*\n?|\n(?=\n*[ ]{4}))+)", re.M)
TITLES = {"Args": "Arguments"}


class Sections(griffe.Extension):
    """Rewrites every docstring before it is rendered."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    r"""A docstring with its sections as Markdown.

    >>> print(as_markdown("Adds.\n\nArgs:\n    a, b: numbers,\n        real.\n    c: one.\n\nSource: school."))
    Adds.
    <BLANKLINE>
    **Arguments**
    <BLANKLINE>
    - **`a`, `b`**: numbers, real.
    - **`c`**: one.
    <BLANKLINE>
    **Source:** school.
    """
    text = re.sub(r"^Source: ", "**Source:** ", text, flags=re.M)
    text = re.sub(r"^(>>> .*\n(?:.+\n?)*)", r"```pycon\n\1\n```\n", text, flags=re.M)  # examples in a module's text
    return SECTION.sub(_section, text).rstrip()


def _section(found: re.Match[str]) -> str:
    body = textwrap.dedent(found[2]).strip()
    if found[1] == "Example":
        body = f"```pycon\n{body}\n```"
    elif found[1] != "Returns":
        body = "\n".join(
            _item(lines) for lines in re.split(r"\n(?! )", re.sub(r"^([\w*, ]+,)\n", r"\1 ", body, flags=re.M))
        )
    return f"**{TITLES.get(found[1], found[1])}**\n\n{body}\n"


def _item(lines: str) -> str:
    """`a, b: text` over several lines, as an item of a list."""
    names, colon, text = " ".join(lines.split()).partition(": ")
    if not colon or not re.fullmatch(r"[\w*., ]+", names):
        return f"- {names}{colon}{text}"
    return f"- **{', '.join(f'`{name}`' for name in names.split(', '))}**: {text}"
