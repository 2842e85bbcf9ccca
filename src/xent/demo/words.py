"""The words of a corpus, without its signs and numbers, and the pairs of words near each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .corpus import Corpus, Vocabulary
from .usage import UsageError

Array = NDArray[Any]

WINDOW = 5  # words to either side
# Of words that make up more of a text than this, only some occurrences stay.
FREQUENT = 1e-3
FEWEST_WORDS = 100  # after that, of both parts of the text
# Where a context word stands. A near one comes up more often, as if the window's size were drawn anew for each word.
OFFSETS = np.array([side * near for near in range(1, WINDOW + 1) for side in (-1, 1) for _ in range(near, WINDOW + 1)])


@dataclass(frozen=True)
class Words:
    """A text as numbers of words, in `train` [N] and `held_out` [M], int64, and how often each is in `train`, [V].

    The vocabulary is in falling frequency of the text as it was; frequent words have been thinned out since.
    """

    vocabulary: Vocabulary
    train: Array
    held_out: Array
    counts: Array


def words_of(corpus: Corpus, seed: int) -> Words:
    """The names, keywords and words of comments; what the corpus does not know is left out.

    Raises:
        UsageError: too few words remain.
    """
    pieces = corpus.vocabulary.pieces
    kept = np.flatnonzero([piece.isidentifier() for piece in pieces])
    number_of = np.full(len(pieces), -1)
    number_of[kept] = np.arange(len(kept))
    shares = corpus.counts[kept] / max(1, corpus.counts[kept].sum())
    # Mikolov et al. 2013: "the" and "self" are next to everything, and tell nothing about it.
    stays = np.sqrt(FREQUENT / np.maximum(shares, FREQUENT))
    rng = np.random.default_rng(seed)

    def thinned(text: Array) -> Array:
        words: Array = number_of[text]
        words = words[words >= 0]
        words = words[rng.random(len(words)) < stays[words]]
        return words

    train, held_out = thinned(corpus.train), thinned(corpus.held_out)
    if min(len(train), len(held_out)) < FEWEST_WORDS:
        expected = f"a folder with enough Python for {FEWEST_WORDS} words to learn from and as many to test on"
        found = f"{corpus.folder} with {len(train)} and {len(held_out)}, frequent ones thinned out"
        raise UsageError("--embeddings", expected, found, "Name another, or none for Python's own library.")
    counts = np.bincount(train, minlength=len(kept))
    return Words(Vocabulary(tuple(pieces[k] for k in kept.tolist())), train, held_out, counts)


def pairs(text: Array, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """So many words of a text at random, [N], and for each a word that stands near, [N]."""
    at = rng.integers(WINDOW, len(text) - WINDOW, count)
    return text[at], text[at + rng.choice(OFFSETS, count)]
