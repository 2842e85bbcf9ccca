"""Jupyter notebooks: their cells as one module, whose lines lead back to the cells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from .checker import SourceError, check_syntax
from .documents import apply_edits
from .located import TextEdit
from .source_strings import replaced, source_spans

# Magics whose cell is Python after the first line
PYTHON_MAGICS = frozenset(["capture", "debug", "prun", "time", "timeit"])
CELL_MAGIC = re.compile(r"\s*%%(\w+)")
LINE_MAGIC = re.compile(r"(\s*)(?:%\w|!|\?)|(\s*)[\w.%]+\?{1,2}\s*$")
ASSIGNED_MAGIC = re.compile(r"(\s*[\w., ]+=\s*)(?:%\w|!)")
MARK = "\ufeff"  # some editors begin a file with it


@dataclass(frozen=True)
class Cell:
    """A code cell: its number, its source, and its source with magics taken out, line by line."""

    number: int
    source: str
    python: str


@dataclass(frozen=True)
class Notebook:
    """A notebook of format 4, with the text of its file."""

    raw: str
    cells: tuple[Cell, ...]
    errors: tuple[str, ...]

    @classmethod
    def decoded(cls, data: bytes) -> Notebook:
        """Reads a notebook's bytes."""
        try:
            raw = data.decode("utf-8")
            content = json.loads(raw.removeprefix(MARK))
        except (ValueError, RecursionError) as error:
            raise SourceError(f"not a notebook: {str(error).splitlines()[0]}") from None
        listed = content.get("cells") if isinstance(content, dict) else None
        if not isinstance(listed, list) or not all(isinstance(cell, dict) for cell in listed):
            raise SourceError("not a notebook of format 4: it has no list of cells")
        cells, errors = [], []
        for number, cell in enumerate(listed if _is_python(content) else [], start=1):
            source = _source(cell)
            if cell.get("cell_type") != "code" or source is None:
                continue
            python = without_magics(source)
            try:
                check_syntax(python)
            except SourceError as error:
                errors.append(f"cell {number}:{error}")
                python = "\n" * source.count("\n")
            cells.append(Cell(number, source, python))
        return cls(raw, tuple(cells), tuple(errors))

    @property
    def text(self) -> str:
        """The cells, one after the other."""
        return "\n".join(cell.python for cell in self.cells) + "\n"

    def place(self, line: int) -> tuple[int | None, int]:
        """The cell that a line of the text is in, and the line there."""
        index, first = self._cell_at(line)
        return self.cells[index].number, line - first

    def edited(self, edits: Iterable[TextEdit]) -> Notebook:
        """The notebook with edits in its cells."""
        by_cell: dict[int, list[TextEdit]] = {}
        for edit in edits:
            index, first = self._cell_at(edit.start[0])
            (start, column), (end, last_column) = edit.start, edit.end
            by_cell.setdefault(index, []).append(
                TextEdit((start - first, column), (end - first, last_column), edit.text)
            )
        cells, raw = list(self.cells), self.raw
        for index, changes in by_cell.items():
            cell = cells[index]
            source = apply_edits(cell.source, changes)
            cells[index] = Cell(cell.number, source, without_magics(source))
            raw = replaced(raw, source_spans(raw)[cell.number - 1], source)
        return replace(self, cells=tuple(cells), raw=raw)

    def encoded(self) -> bytes:
        """The notebook's bytes."""
        return self.raw.encode()

    def _cell_at(self, line: int) -> tuple[int, int]:
        """Which cell a line of the text is in, and how many lines come before it."""
        before = 0
        for index, cell in enumerate(self.cells):
            lines = cell.python.count("\n") + 1
            if line <= before + lines:
                return index, before
            before += lines
        raise IndexError(line)


def without_magics(source: str) -> str:
    """A cell as Python: the lines that only IPython understands become lines that do nothing.

    >>> without_magics("%matplotlib inline\\nfiles = !ls\\nx = 1")
    'pass\\nfiles = None\\nx = 1'
    """
    magic = CELL_MAGIC.match(source)
    if magic is None and _parses(source):
        return source
    lines = source.split("\n")
    if magic is not None:
        if magic.group(1) not in PYTHON_MAGICS:
            return "\n" * source.count("\n")
        lines[0] = ""
    goes_on = False
    for i, line in enumerate(lines):
        assigned, plain = ASSIGNED_MAGIC.match(line), LINE_MAGIC.match(line)
        is_magic = goes_on or assigned is not None or plain is not None
        if goes_on:
            lines[i] = ""
        elif assigned is not None:
            lines[i] = f"{assigned.group(1)}None"
        elif plain is not None:
            lines[i] = f"{plain.group(1) or plain.group(2) or ''}pass"
        goes_on = is_magic and line.endswith("\\")
    return "\n".join(lines)


def _parses(source: str) -> bool:
    try:
        check_syntax(source)
    except SourceError:
        return False
    return True


def _is_python(content: dict[str, Any]) -> bool:
    metadata = content.get("metadata")
    if not isinstance(metadata, dict):
        return True
    kernel, language = metadata.get("kernelspec"), metadata.get("language_info")
    names = [d.get(key) for d, key in ((kernel, "language"), (language, "name")) if isinstance(d, dict)]
    return all(name is None or "python" in str(name).lower() for name in names)


def _source(cell: dict[str, Any]) -> str | None:
    source = cell.get("source")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    return source.replace("\r\n", "\n") if isinstance(source, str) else None
