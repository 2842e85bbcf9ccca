"""The strings of a notebook's cells in the text of its file, so that they alone are replaced."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}:,]')
Span = tuple[int, int]


def source_spans(raw: str) -> dict[int, list[Span]]:
    """Where the strings under "source" of each cell stand in a notebook's text, by the cell's place in the list.

    >>> source_spans('{"cells": [{"source": ["a", "b"]}, {"source": "c"}]}')
    {0: [(23, 26), (28, 31)], 1: [(46, 49)]}
    """
    spans: dict[int, list[Span]] = {}
    path: list[str | int] = []  # the key or the place in each container round a token
    key = ""
    for token in TOKEN.finditer(raw):
        sign = token.group()
        if sign == "{":
            path.append("")
        elif sign == "[":
            path.append(0)
        elif sign in "]}":
            path.pop()
        elif sign == ":":
            path[-1] = key
        elif sign == ",":
            last = path[-1]
            path[-1] = last + 1 if isinstance(last, int) else ""
        elif path and path[-1] == "":
            key = json.loads(sign)
            continue
        match path:
            case ["cells", int(cell), "source"] if sign == ":":
                spans[cell] = []  # of a key that is given twice the last counts
            case ["cells", int(cell), "source"] | ["cells", int(cell), "source", int()] if sign.startswith('"'):
                spans[cell].append(token.span())
    return spans


def replaced(raw: str, spans: Sequence[Span], source: str) -> str:
    """The text with another source in place of a cell's strings; those that stay the same are left as they are."""
    written = [raw[start:end] for start, end in spans]
    old = [json.loads(string) for string in written]
    if any("\r\n" in line for line in old):
        source = source.replace("\n", "\r\n")
    new = source.splitlines(keepends=True) if _is_list(raw, spans) else [source]
    first, after = _common(old, new)
    ascii_only = "".join(written).isascii() and "\\u" in "".join(written)
    changed = new[first : len(new) - after]
    start, end = spans[first][0], spans[len(spans) - after - 1][1]
    separator = raw[spans[0][1] : spans[1][0]] if len(spans) > 1 else ", "
    return raw[:start] + separator.join(json.dumps(line, ensure_ascii=ascii_only) for line in changed) + raw[end:]


def _is_list(raw: str, spans: Sequence[Span]) -> bool:
    return raw[: spans[0][0]].rstrip().endswith("[")


def _common(old: list[str], new: list[str]) -> Span:
    """How many strings at the beginning and at the end stay, leaving at least one of the old and one of the new."""
    shorter = min(len(old), len(new)) - 1
    first = 0
    while first < shorter and old[first] == new[first]:
        first += 1
    after = 0
    while after < shorter - first and old[-1 - after] == new[-1 - after]:
        after += 1
    return first, after
