"""What `xent demo --embeddings` prints."""

from __future__ import annotations

from collections.abc import Sequence

import xent

from .corpus import Corpus
from .embeddings import BATCH, FAMILIAR, RATE, VALIDATION, Learner, examples, neighbours
from .skip_gram import DISTORTIONS, NEGATIVE
from .terminal import Terminal, add_numbers, new_table
from .words import WINDOW, Words

LOOKED_UP = 4  # words
SHOWN = 5  # neighbours of each


class EmbeddingsReport(Terminal):
    """How far the vectors got with each loss, and what they have learned."""

    def opening(self, corpus: Corpus, words: Words, seconds: float, seed: int) -> None:
        """What is going to be trained, and on what."""
        if self.quiet:
            return
        self.console.print(f"xent {xent.__version__}: the Python files below {corpus.folder}", soft_wrap=True)
        self.console.print(
            f"{corpus.files:,} files, {len(words.train):,} words to learn from and {len(words.held_out):,} held out, "
            f"frequent ones thinned out. Vocabulary {len(words.counts):,}.\n"
            f"Each step: {BATCH:,} pairs of a word and another at most {WINDOW} away. "
            f"Seconds {seconds:g} a loss, seed {seed}.\n"
        )

    def comparison(self, learners: Sequence[Learner]) -> None:
        """One line a loss, and what is to be seen in them."""
        sampler = learners[-1].objective.sampler
        sampled = 0 if sampler is None else sampler.num_sampled
        table = new_table(
            "Word vectors (skip-gram), each loss trained for the same time",
            "Validation: softmax cross-entropy over the whole vocabulary,\n"
            f"on {VALIDATION:,} held-out pairs. The sampled losses' own values are\n"
            "not comparable, with this or with each other. Logits of\n"
            "negative sampling are log(p/q) but for a constant: log q of\n"
            "its noise was added back for validation.\n"
            f"Noise: {sampled} words a step, by frequency; for negative\n"
            f"sampling, by that to the power of {DISTORTIONS[NEGATIVE]:g}.\n"
            f"Before training, by frequency alone: {learners[0].losses[0]:.3f} nats.\n"
            "A step: the mean time of batch, gradients and update\n"
            f"(Adagrad, rate {RATE:g}).",
        )
        table.add_column("loss", vertical="bottom", no_wrap=True)
        add_numbers(table, "validation\n(nats)", "a step\n(ms)", "steps", "pairs\nseen", "time\n(s)")
        for one in learners:
            seen = f"{BATCH * one.steps[-1]:,}"
            numbers = (f"{one.losses[-1]:.3f}", f"{1e3 * one.step_time:.1f}", f"{one.steps[-1]:,}", seen)
            table.add_row(one.name, *numbers, f"{one.seconds[-1]:.1f}")
        self.results(table)
        self.console.print(seen_in(learners) + "\n")

    def neighbours(self, learners: Sequence[Learner], words: Words) -> None:
        """The words that came to lie near a few others."""
        table = new_table(
            "Nearest words, by the angle between the vectors", f"Among words that occur at least {FAMILIAR} times."
        )
        table.add_column("word", no_wrap=True)
        table.add_column("loss", no_wrap=True)
        table.add_column("nearest first")
        for word in examples(words, LOOKED_UP):
            for at, one in enumerate(learners):
                near = neighbours(one.model, words, word, SHOWN)
                last = at == len(learners) - 1
                name = "" if at else words.vocabulary.pieces[word]
                table.add_row(name, one.name, " ".join(near), end_section=last)
        self.results(table)


def seen_in(learners: Sequence[Learner]) -> str:
    """What the numbers say, in words."""
    full, *sampled = learners
    times = [full.step_time / one.step_time for one in sampled]
    gains = [one.losses[0] - one.losses[-1] for one in sampled]
    return (
        f"A step with the full softmax takes {min(times):.0f} to {max(times):.0f} times as long as one with a sampled "
        f"loss. In the same time it gains {full.losses[0] - full.losses[-1]:.3f} nats over frequency alone, the "
        f"sampled losses gain {min(gains):.3f} to {max(gains):.3f}."
    )
