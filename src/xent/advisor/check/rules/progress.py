"""Rules about training: where the loss stands at a step, and what the model predicts."""

from __future__ import annotations

from collections.abc import Iterator
from math import log

import numpy as np

from ..arrays import Lines
from ..case import Case
from .table import Found, rule

STEPS = 10  # from which a model should have learned something
SEQUENCE_NUMBERS = 1 << 23
CLEARLY = 0.2  # by how much one place must agree better than another
FLAT = 1e-3  # standard deviation of logits without a signal


@rule(27, "means over parts of different size")
def _(case: Case) -> Iterator[Found]:
    counts = case.options.microbatch_rows
    if counts is None or case.options.reduction != "mean" or len(set(counts)) < 2:
        return
    few, many = min(counts), max(counts)
    yield (
        "warning",
        f"microbatches keep from {few} to {many} rows, and a mean is taken of each: a row of the smallest counts "
        f"{many / max(few, 1):.3g} times as much as one of the largest.",
        f"Sum, and divide by all rows at once: normalizer={sum(counts)} in each part (and no division by the number of "
        "parts).",
    )


@rule(28, "no signal", ("softmax", "sigmoid"))
def _(case: Case) -> Iterator[Found]:
    step, x = case.options.step, case.sample.values
    if step is None or step < STEPS or x.size < 2:
        return
    chance = log(case.classes) if case.softmax else log(2)
    if abs(case.mean - chance) < 0.01 * chance and np.std(x) < FLAT:
        yield (
            "warning",
            f"after {step} steps the loss is still {case.mean:.4f}, that of guessing ({chance:.4f}), and the logits "
            f"hardly differ (standard deviation {np.std(x):.2g}).",
            "No gradient arrives, or no step is made: look at the learning rate, dead units, detached tensors, "
            "optimizer.zero_grad() after backward(), and parameters that the optimizer does not have.",
        )


@rule(29, "a strange first loss", ("softmax", "sigmoid"))
def _(case: Case) -> Iterator[Found]:
    if case.options.step != 0 or case.kind not in ("index", "dense") or not case.rows:
        return
    chance = log(case.classes) if case.softmax else log(2)
    if case.mean > 1.5 * chance + 1:
        yield (
            "warning",
            f"the first loss is {case.mean:.4g}, where guessing costs {chance:.4g}: the head starts with large "
            "weights.",
            "Start the last layer smaller (zeros are fine), or divide the logits by the square root of the width.",
        )
    elif case.mean < 0.5 * (prior := min(chance, _prior_entropy(case))) and case.rows >= 32:
        yield (
            "warning",
            f"the first loss is {case.mean:.4g}, where guessing by the classes' frequencies costs {prior:.4g}: an "
            "untrained model that knows the labels.",
            "Look for the label among the inputs, a mask that leaves only the label's logit, or weights that are "
            "trained already.",
        )


def _prior_entropy(case: Case) -> float:
    """The loss of a model that knows the frequencies of the classes, and nothing else."""
    counts = case.class_counts
    if case.softmax:
        share = counts[counts > 0] / counts.sum()
        return float(-(share * np.log(share)).sum())
    share = np.clip(counts / case.rows, 1e-9, 1 - 1e-9)
    return float(-(share * np.log(share) + (1 - share) * np.log1p(-share)).mean())


@rule(30, "the prior is all that was learned", ("softmax",))
def _(case: Case) -> Iterator[Found]:
    x = case.sample.values
    early = case.options.step is not None and case.options.step < STEPS  # a bias that starts at the prior is good
    if early or case.kind != "index" or len(x) < 50 or not np.isfinite(x).all():
        return
    counts = case.class_counts[case.class_counts > 0]
    prior = counts / counts.sum()
    entropy = float(-(prior * np.log(prior)).sum())
    centred = x - x.mean(1, keepdims=True)
    differ, spread = centred.std(0).max(), centred.mean(0).std()
    if (
        entropy < log(case.classes) - 0.05
        and differ < 0.02 * spread
        and abs(case.mean - entropy) < 0.02 * entropy + 0.01
    ):
        yield (
            "warning",
            f"all rows get the same prediction, and the loss {case.mean:.4f} is the entropy of the classes' "
            f"frequencies ({entropy:.4f}): the model knows how often each class is, and nothing else.",
            "The inputs do not reach the head: look at dead units, normalisation, shuffled labels, and the learning "
            "rate.",
        )


@rule(38, "labels shifted against the tokens", ("softmax",))
def _(case: Case) -> Iterator[Found]:
    if case.kind != "index" or len(case.batch) != 2 or case.batch[1] < 8 or case.axis != 2:
        return
    count = max(1, SEQUENCE_NUMBERS // (case.batch[1] * case.classes))  # of sequences that are looked at
    guess = case.logits[:count].argmax(-1)
    labels = np.where(case.kept, case.index, -1).reshape(case.batch)[:count]
    # before it has learned, a model whose embeddings are its head says what it read
    learned = case.options.step is not None and case.options.step >= STEPS
    if case.options.tokens is not None:
        tokens = Lines("tokens", case.options.tokens)[...]
        if tokens.shape == case.batch:
            yield from _against_tokens(guess, labels, tokens[:count], learned)
            return
    here, before, after = (_agreement(guess, labels, by) for by in (0, -1, 1))
    if after > here + CLEARLY and after > 2 * here:
        yield (
            "error",
            f"the largest logit is the label of its place in {here:.0%}, that of the following place in {after:.0%}.",
            "Shift them: logits[:, :-1] with labels[:, 1:].",
        )
    elif learned and before > here + CLEARLY and before > 2 * here:
        yield (
            "error",
            f"the largest logit is the label of its place in {here:.0%}, that of the preceding place in {before:.0%}.",
            "They are shifted once too often.",
        )


def _against_tokens(guess: np.ndarray, labels: np.ndarray, tokens: np.ndarray, learned: bool) -> Iterator[Found]:
    same, following, after = (_agreement(guess, tokens, by) for by in (0, 1, 2))
    unshifted = _agreement(labels, np.where(labels >= 0, tokens, -1), 0)
    if unshifted > 0.9:
        yield (
            "error",
            f"{unshifted:.0%} of the labels are the token of the same place: a model that reads it learns to repeat "
            "its "
            "input.",
            "A causal model predicts the following token: logits[:, :-1] with labels tokens[:, 1:].",
        )
    elif learned and same > following + CLEARLY and same > 2 * following:
        yield (
            "error",
            f"the largest logit is the token of the same place in {same:.0%}, the following token in {following:.0%}: "
            "the model was trained to repeat its input.",
            "A causal model predicts the following token: logits[:, :-1] with labels tokens[:, 1:].",
        )
    elif after > following + CLEARLY and after > 2 * following:
        yield (
            "error",
            f"the largest logit is the token two places on in {after:.0%}, the following one in {following:.0%}: "
            "shifted twice.",
            "Either the model shifts the labels or you do, not both (Hugging Face models do).",
        )


def _agreement(guess: np.ndarray, tokens: np.ndarray, by: int) -> float:
    """How often a guess is the token so many places on; tokens below 0 do not count."""
    length = guess.shape[1]
    mine, theirs = (guess[:, : length - by], tokens[:, by:]) if by >= 0 else (guess[:, -by:], tokens[:, :by])
    counted = theirs >= 0
    return float((mine == theirs)[counted].mean()) if counted.any() else 0.0
