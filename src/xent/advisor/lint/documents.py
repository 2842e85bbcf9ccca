"""What is linted: a file as Python source, with the way from its lines back to the file."""

from __future__ import annotations

import codecs
import io
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol, Self

from .checker import NEWLINE, SourceError
from .located import TextEdit


class Document(Protocol):
    """A file that holds Python."""

    @property
    def text(self) -> str:
        """Its code as one module."""

    @property
    def errors(self) -> tuple[str, ...]:
        """What of it could not be read and is left out of the text."""

    def place(self, line: int) -> tuple[int | None, int]:
        """The cell, where there are cells, and the line in it of a line of the text."""

    def edited(self, edits: Iterable[TextEdit]) -> Self:
        """The same file after edits of the text."""

    def encoded(self) -> bytes:
        """What to write to the file."""


@dataclass(frozen=True)
class PythonFile:
    """A Python file in its own encoding."""

    text: str
    encoding: str
    bom: bytes = b""
    errors: tuple[str, ...] = ()

    @classmethod
    def decoded(cls, data: bytes) -> PythonFile:
        """Reads a file's bytes as Python does: UTF-8 or what its first lines say."""
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
            bom = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
            encoding = encoding.replace("utf-8-sig", "utf-8")
            return cls(data[len(bom) :].decode(encoding), encoding, bom)
        except (SyntaxError, UnicodeError, LookupError, ValueError) as error:
            # of an undecodable file, Python's message repeats what it could not decode
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise SourceError(f"1:1: {reason}") from None

    def place(self, line: int) -> tuple[int | None, int]:
        """No cell, and the line itself."""
        return None, line

    def edited(self, edits: Iterable[TextEdit]) -> PythonFile:
        """The file with its edits."""
        return replace(self, text=apply_edits(self.text, edits))

    def encoded(self) -> bytes:
        """The file's bytes."""
        return self.bom + self.text.encode(self.encoding)


def apply_edits(text: str, edits: Iterable[TextEdit]) -> str:
    """A text after edits that do not overlap.

    >>> apply_edits("f(g(x))", [TextEdit((1, 2), (1, 6), "x")])
    'f(x)'
    """
    starts = [0, *(newline.end() for newline in NEWLINE.finditer(text))]
    for edit in sorted(edits, reverse=True):
        (first, start), (last, end) = edit.start, edit.end
        text = text[: starts[first - 1] + start] + edit.text + text[starts[last - 1] + end :]
    return text
