"""A finding with its place in a file."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..findings import Finding


@dataclass(frozen=True, order=True)
class TextEdit:
    """Text to write between two places, each a line (from 1) and a column (from 0)."""

    start: tuple[int, int]
    end: tuple[int, int]
    text: str


@dataclass(frozen=True)
class LintFinding:
    """A finding in source code.

    Attributes:
        finding: which rule, how bad, why, and what to write instead.
        path: the file.
        line, column: where, both from 1; in a notebook the line is that of the cell.
        cell: the notebook's cell, counted from 1 over cells of every kind; None in a Python file.
        edits: the edits that do.
    """

    finding: Finding
    path: str
    line: int
    column: int
    cell: int | None = None
    edits: tuple[TextEdit, ...] = field(default=(), repr=False)

    @property
    def mends(self) -> bool:
        """Whether --fix mends it."""
        return bool(self.edits)

    def to_dict(self) -> dict[str, str | int | bool | None]:
        """The finding as one JSON object."""
        place = {"path": self.path, "cell": self.cell, "line": self.line, "column": self.column}
        what = {name: getattr(self.finding, name) for name in ("rule", "severity", "message", "fix")}
        return {**place, **what, "mends": self.mends}

    def __str__(self) -> str:
        cell = "" if self.cell is None else f"cell {self.cell}:"
        finding = self.finding
        return f"{self.path}:{cell}{self.line}:{self.column}: {finding.rule} {finding.message}; {finding.fix}"
