"""Source code as text to learn from: files → pieces → the vocabulary of the most frequent ones → their numbers."""

from __future__ import annotations

import re
import sysconfig
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .usage import UsageError

Array = NDArray[Any]

# A line break with the indentation of the line that follows, blank lines left out; a word; a number; a run of one sign.
PIECE = re.compile(r"\n[ \t]*(?=\S)|[^\W\d]\w*|\d+|([^\w\s])\1*")
UNKNOWN = "<unknown>"
VOCABULARY = 24_000
HELD_OUT = 0.05  # of the pieces
FEWEST_PIECES = 1000
# Packages that were added, tests, which repeat themselves, and tables of characters.
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings"}


@dataclass(frozen=True)
class Vocabulary:
    """The pieces by their number, [V]: `<unknown>`, which stands for all that are not kept, then by frequency."""

    pieces: Sequence[str]

    @cached_property
    def numbers(self) -> dict[str, int]:
        return {piece: number for number, piece in enumerate(self.pieces)}

    def encode(self, text: str) -> Array:
        """The numbers of the pieces of a text, [N] int64.

        >>> Vocabulary(("<unknown>", "=", "x")).encode("x = y == x").tolist()
        [2, 1, 0, 0, 2]
        """
        return np.array([self.numbers.get(match.group(), 0) for match in PIECE.finditer(text)], np.int64)


@dataclass(frozen=True)
class Corpus:
    """A text as numbers of pieces, in `train` [N] and `held_out` [M], int64; the vocabulary is that of `train`."""

    folder: Path
    files: int
    vocabulary: Vocabulary
    train: Array
    held_out: Array

    @property
    def counts(self) -> Array:
        """How often each piece of the vocabulary is in `train`, [V]."""
        return np.bincount(self.train, minlength=len(self.vocabulary.pieces))


def standard_library() -> Path:
    """The folder of Python's own modules."""
    return Path(sysconfig.get_paths()["stdlib"])


def read_corpus(folder: Path, seed: int, vocabulary: int = VOCABULARY, option: str = "--text") -> Corpus:
    """The Python files below a folder, in random order; the last of their pieces are held out.

    `option` is the one that named the folder.

    Raises:
        UsageError: the folder holds too little Python, or a file that cannot be read.
    """
    files = [p for p in folder.rglob("*.py") if p.is_file() and not SKIPPED & set(p.relative_to(folder).parts)]
    files.sort()
    met: defaultdict[str, int] = defaultdict()
    met.default_factory = met.__len__  # numbers the pieces as they are met
    order = np.random.default_rng(seed).permutation(len(files))
    parts = [
        np.array([met[match.group()] for match in PIECE.finditer(_read(files[at], option))], np.int64) for at in order
    ]
    pieces = np.concatenate(parts) if parts else np.empty(0, np.int64)
    if len(pieces) < FEWEST_PIECES:
        expected = f"a folder with at least {FEWEST_PIECES} words and signs of Python"
        found = f"{folder} with {len(pieces)} in {len(files)} files"
        raise UsageError(option, expected, found, "Name another, or none for Python's own library.")
    cut = len(pieces) - int(HELD_OUT * len(pieces))
    counts = np.bincount(pieces[:cut], minlength=len(met))
    kept = np.argsort(-counts, kind="stable")[: min(vocabulary - 1, np.count_nonzero(counts))]
    number_of = np.zeros(len(met), np.int64)
    number_of[kept] = np.arange(1, len(kept) + 1)
    names = list(met)
    numbers = number_of[pieces]
    kept_pieces = Vocabulary((UNKNOWN, *(names[k] for k in kept)))
    return Corpus(folder, len(files), kept_pieces, numbers[:cut], numbers[cut:])


def _read(file: Path, option: str) -> str:
    try:
        return file.read_text("utf-8", errors="replace")
    except OSError as error:
        raise UsageError(option, "files that can be read", f"{file} ({error.strerror})", "Name another.") from error
