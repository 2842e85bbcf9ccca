"""One language model, trained twice in turns: with all logits at once, and with the projection fused into the loss."""

from __future__ import annotations

import json
import math
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import xent

from .. import peak_memory
from .corpus import Corpus, Vocabulary
from .language import LOSSES, LanguageModel
from .model import Adam, Progress

Array = NDArray[Any]

BATCH = 2048
LEARNING_RATE = 0.02
HELD_OUT = 8192  # windows to test on; more would take time and change little
WORKER = "import sys; from xent.demo.text import worker; worker(sys.argv[1])"
# Lines to go on with, and the line before each, that the context be full.
BEGINNINGS = (
    ("import os, sys", "import"),
    ("if not isinstance(value, str):", "    raise"),
    ("return self.value", "except"),
    ("result = []", "for i in range("),
    ("import sys", "if __name__ =="),
    ("class Reader:", "    def __init__("),
    ("result = []", "while not self"),
    ("# This is", "# one of the"),
)


@dataclass
class Learner:
    """A model that learns with one form of the loss, and what was measured of it.

    `losses` in nats a piece, each taken before its step; `loss_seconds` are those of the loss and its gradients to the
    last layer, `seconds` those of the whole step.
    """

    name: str
    model: LanguageModel
    adam: Adam
    losses: list[float] = field(default_factory=list)
    loss_seconds: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    held_out: float = math.nan  # loss after training
    peak_bytes: int | None = None  # None: not measurable here

    def step(self, contexts: Array, labels: Array, slowdown: float) -> None:
        """One update from contexts [N, K] and the pieces [N] that follow."""
        started = time.perf_counter()
        x, hidden = self.model.hidden(contexts)
        before_loss = time.perf_counter()
        loss, of_head = LOSSES[self.name](hidden, self.model.weight, self.model.bias, labels)
        after_loss = time.perf_counter()
        self.adam.step(self.model.gradients(contexts, x, hidden, of_head), slowdown)
        self.losses.append(float(loss))
        self.loss_seconds.append(after_loss - before_loss)
        self.seconds.append(time.perf_counter() - started)

    @property
    def loss_time(self) -> float:
        """Median, in seconds a step."""
        return statistics.median(self.loss_seconds)

    @property
    def step_time(self) -> float:
        """Median, in seconds a step."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Comparison:
    """The two learners, and the held-out loss before training, in nats a piece."""

    dense: Learner
    fused: Learner
    untrained: float

    def both(self) -> tuple[Learner, Learner]:
        return self.dense, self.fused

    @property
    def gaps(self) -> Array:
        """The differences of the two curves step by step, relative to the loss, [steps]."""
        dense, fused = np.array(self.dense.losses), np.array(self.fused.losses)
        gaps: Array = np.abs(fused - dense) / dense
        return gaps


@dataclass(frozen=True)
class Continuation:
    """The beginning of a line, and the likeliest next pieces with their probabilities."""

    beginning: str
    pieces: list[tuple[str, float]]


def learner(name: str, counts: Array, seed: int) -> Learner:
    """Before its first step; the same model for one seed, whatever the loss."""
    model = LanguageModel(counts, np.random.default_rng(seed))
    return Learner(name, model, Adam(model.parameters, LEARNING_RATE))


def compare(corpus: Corpus, steps: int, seed: int, progress: Progress) -> Comparison:
    """Trains both on the same batches, step by step in turns, so that a slow minute of the machine hits both."""
    dense, fused = (learner(name, corpus.counts, seed) for name in LOSSES)
    rng = np.random.default_rng(seed)
    held_out = windows(corpus.held_out, dense.model.context, rng.permutation(len(corpus.held_out))[:HELD_OUT])
    untrained = dense.model.loss(*held_out)
    for step in range(steps):
        batch = windows(corpus.train, dense.model.context, rng.integers(0, len(corpus.train), BATCH))
        for one in ((dense, fused), (fused, dense))[step % 2]:
            one.step(*batch, slowdown=1 - step / steps)
            progress(one.name, step + 1, steps, one.losses[-1])
    for one in (dense, fused):
        one.held_out = one.model.loss(*held_out)
        one.peak_bytes = peak_bytes(one.name, len(corpus.vocabulary.pieces))
    return Comparison(dense, fused, untrained)


def windows(text: Array, context: int, starts: Array) -> tuple[Array, Array]:
    """Contexts [N, K] of a text [T], and the piece [N] that follows each; starts beyond the last window are dropped."""
    at = starts[starts < len(text) - context][:, None] + np.arange(context + 1)
    return text[at[:, :-1]], text[at[:, -1]]


def continuations(model: LanguageModel, vocabulary: Vocabulary, count: int = 4) -> list[Continuation]:
    """What the model expects after the beginning of a line, among the pieces that it knows."""
    out = []
    for before, beginning in BEGINNINGS:
        context = vocabulary.encode(f"\n{before}\n{beginning}")[-model.context :]
        probabilities = model.probabilities(context[None])[0]
        likeliest = [k for k in np.argsort(-probabilities)[: count + 1] if k != 0][:count]
        pieces = [(vocabulary.pieces[k], float(probabilities[k])) for k in likeliest]
        out.append(Continuation(beginning.strip(), pieces))
    return out


def peak_bytes(name: str, vocabulary: int) -> int | None:
    """Bytes that training adds at its peak to what is there before, in a fresh process; None but on Linux."""
    if not peak_memory.measurable():
        return None
    return peak_memory.in_fresh_process("-c", WORKER, json.dumps({"name": name, "vocabulary": vocabulary}))


def worker(request: str) -> None:
    """Prints the bytes of one form of the loss. Runs in the process of its own, on a random text: all need the same."""
    asked = json.loads(request)
    rng = np.random.default_rng(0)
    one = learner(asked["name"], np.ones(asked["vocabulary"]), seed=0)
    text = rng.integers(0, asked["vocabulary"], BATCH + one.model.context)
    batch = windows(text, one.model.context, np.arange(BATCH))

    def step() -> None:
        one.step(*batch, slowdown=1)

    step()  # loads what it needs; from here on the moments of Adam are there
    xent.clear_cache()
    print(peak_memory.added_by(step))
