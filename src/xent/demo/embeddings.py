"""Word vectors, trained with each loss for the same time: how far each gets, and which words come to lie together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .model import Progress
from .skip_gram import LOSSES, Adagrad, Array, Objective, SkipGram
from .words import Words, pairs

BATCH = 512  # pairs a step
RATE = 0.2  # of 0.1, 0.2 and 0.3 the best for each of the losses, by validation
VALIDATION = 4096  # pairs to test on; more would take time and change little
ROUNDS = 10
# A word that was met less often is still close to where chance had put it.
FAMILIAR = 100
EXAMPLES = ("append", "int", "True", "sock", "path", "lock", "first", "ValueError")


@dataclass
class Learner:
    """Vectors that learn with one of the losses, and what was measured of it.

    `losses` are those of validation, in nats a pair, the first before training; `seconds` and `steps` are those that
    training had taken by then, without validation.
    """

    name: str
    objective: Objective
    model: SkipGram
    adagrad: Adagrad
    rng: np.random.Generator
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def train(self, text: Array, until: float, before: float, taken: int) -> tuple[float, int]:
        """Steps on pairs of a text until so many seconds have been spent; the seconds and steps spent in all.

        `before` and `taken` are the seconds and steps of earlier calls.
        """
        started = time.perf_counter() - before
        spent = before
        while spent < until:
            centres, contexts = pairs(text, BATCH, self.rng)
            self.adagrad.step(self.objective.step(self.model, centres, contexts))
            spent = time.perf_counter() - started
            taken += 1
        return spent, taken

    def round(self, words: Words, until: float, validation: tuple[Array, Array]) -> None:
        """Trains until so many seconds have been spent in all, and validates."""
        before, taken = (self.seconds[-1], self.steps[-1]) if self.steps else (0.0, 0)
        spent, steps = self.train(words.train, until, before, taken)
        self.seconds.append(spent)
        self.steps.append(steps)
        self.losses.append(self.objective.validation(self.model, *validation))

    @property
    def step_time(self) -> float:
        """The mean, in seconds."""
        return self.seconds[-1] / self.steps[-1]


def learner(name: str, words: Words, seed: int) -> Learner:
    """Before its first step: for one seed, the same vectors and the same batches, whatever the loss."""
    objective = Objective(name, words.counts, seed)
    model = SkipGram(objective.start, np.random.default_rng(seed))
    return Learner(name, objective, model, Adagrad(model.parameters, RATE), np.random.default_rng(seed))


def train_all(words: Words, seconds: float, seed: int, progress: Progress) -> list[Learner]:
    """Trains with each loss for so many seconds, in turns, so that a slow minute of the machine hits all."""
    learners = [learner(name, words, seed) for name in LOSSES]
    validation = pairs(words.held_out, VALIDATION, np.random.default_rng(seed))
    for done in range(ROUNDS + 1):
        # The first rounds are short: that is where the curves bend.
        until = seconds * (done / ROUNDS) ** 2
        for at in range(len(learners)):
            one = learners[(done + at) % len(learners)]
            one.round(words, until, validation)
            progress(one.name, done, ROUNDS, one.losses[-1])
    return learners


def examples(words: Words, count: int) -> list[int]:
    """The numbers of words to look up neighbours of: of EXAMPLES those that are known, and else the most frequent."""
    numbers = words.vocabulary.numbers
    known = [numbers[word] for word in EXAMPLES if word in numbers and words.counts[numbers[word]] >= FAMILIAR]
    known += [k for k in range(len(words.counts)) if k not in known][: max(0, count - len(known))]
    return known[:count]


def neighbours(model: SkipGram, words: Words, of: int, count: int) -> Sequence[str]:
    """The words whose vectors make the smallest angles with that of word number `of`, among the familiar ones."""
    familiar = np.flatnonzero(words.counts >= FAMILIAR)
    familiar = familiar[familiar != of]
    vectors = model.vectors[familiar]
    cosines = vectors @ model.vectors[of] / np.linalg.norm(vectors, axis=1)
    return [words.vocabulary.pieces[k] for k in familiar[np.argsort(-cosines)[:count]]]
