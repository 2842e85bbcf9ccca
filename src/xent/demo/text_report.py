"""What `xent demo --text` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

import xent

from .corpus import Corpus
from .language import CONTEXT
from .terminal import Terminal, add_numbers, new_table
from .text import BATCH, Comparison, Continuation

SAME_CURVE = 1e-4  # differences relative to the loss that nobody sees in a plot


class TextReport(Terminal):
    """The comparison of the two forms of the loss, and what the model has learned."""

    def corpus(self, corpus: Corpus, steps: int, seed: int) -> None:
        """What is going to be trained, and on what."""
        if self.quiet:
            return
        classes, unknown = len(corpus.vocabulary.pieces), np.mean(corpus.held_out == 0)
        self.console.print(f"xent {xent.__version__}: the Python files below {corpus.folder}", soft_wrap=True)
        self.console.print(
            f"{corpus.files:,} files, {len(corpus.train):,} pieces (words, signs, line breaks) to learn from and "
            f"{len(corpus.held_out):,} held out. The vocabulary of {classes:,} leaves {unknown:.1%} "
            "of those unknown.\n"
            f"Each step: {BATCH:,} times the next piece from the {CONTEXT} before; the logits of a step are "
            f"{BATCH * classes * 4 / 2**20:.0f} MiB. Steps {steps}, seed {seed}.\n"
        )

    def comparison(self, found: Comparison) -> None:
        """One line a form of the loss, and what is to be seen in them."""
        before = f"{found.untrained:.4f} nats, perplexity {math.exp(found.untrained):.1f}"
        table = new_table(
            "One language model, trained twice from the same seed, in turns",
            "dense: all logits at once, then softmax_cross_entropy.\n"
            "fused: linear_softmax_cross_entropy, logits some rows at a time.\n"
            "Held out: loss and perplexity of text that was not learned from;\n"
            f"before training, by frequency alone, {before}.\n"
            "Times: medians, of loss with gradients and of the whole step.\n"
            "Peak memory: beyond what was there before the step, in a fresh process"
            + (";\nit is measured on Linux only." if found.dense.peak_bytes is None else "."),
        )
        table.add_column("loss", vertical="bottom")
        add_numbers(
            table, "first\n(nats)", "last\n(nats)", "held out\n(nats)", "perplex-\nity", "loss\n(ms)", "step\n(ms)"
        )
        add_numbers(table, "peak mem-\nory (MiB)")
        for one in found.both():
            losses = (f"{loss:.4f}" for loss in (one.losses[0], one.losses[-1], one.held_out))
            times = (f"{1e3 * seconds:.0f}" for seconds in (one.loss_time, one.step_time))
            memory = "-" if one.peak_bytes is None else f"{one.peak_bytes / 2**20:.0f}"
            table.add_row(one.name, *losses, f"{math.exp(one.held_out):.1f}", *times, memory)
        self.results(table)
        self.console.print(seen(found) + "\n")

    def continuations(self, found: Sequence[Continuation]) -> None:
        """What the model expects next."""
        table = new_table("What the fused model expects next", "Probabilities in percent.")
        table.add_column("after", no_wrap=True)
        table.add_column("the likeliest pieces")
        for one in found:
            table.add_row(one.beginning, "   ".join(f"{visible(piece)} {100 * p:.0f}" for piece, p in one.pieces))
        self.results(table)


def seen(found: Comparison) -> str:
    """What the numbers say, in words."""
    dense, fused = found.both()
    gap = found.gaps.max()
    if gap == 0:
        words = "The same curve: the losses are equal at every step, to the last digit."
    elif gap < SAME_CURVE:
        words = f"The same curve: at no step do the losses differ by more than {gap:.0e} of their value."
    else:
        words = f"Rounding has driven the curves apart: the losses differ by up to {gap:.0e} of their value."
    if dense.peak_bytes is not None and fused.peak_bytes is not None:
        words += (
            f" The fused loss adds {fused.peak_bytes / 2**20:.0f} MiB where the dense one adds "
            f"{dense.peak_bytes / 2**20:.0f}, {dense.peak_bytes / fused.peak_bytes:.1f} times as much;"
            f" a step takes {fused.step_time / dense.step_time:.2f} times as long."
        )
    else:
        words += f" A step with the fused loss takes {fused.step_time / dense.step_time:.2f} times as long."
    return words


def visible(piece: str) -> str:
    """A piece for the eye.

    >>> visible("\\n    "), visible("self")
    ('newline+4', 'self')
    """
    if not piece.startswith("\n"):
        return piece
    return f"newline+{len(piece) - 1}" if len(piece) > 1 else "newline"
