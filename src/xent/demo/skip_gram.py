"""Word vectors in NumPy, with four losses: over all words of the vocabulary, and over a sample of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import xent
from xent.samplers import Sampler, Unigram

Array = NDArray[Any]
Gradient = Array | xent.SparseRows

DIMENSIONS = 64
SPREAD = 0.1  # of the first vectors: from much smaller ones, the weights would be slow to leave zero
SAMPLED = 512  # words a step, the same for all pairs of its batch
FULL, SOFTMAX, NCE, NEGATIVE = "full softmax", "sampled softmax", "NCE", "negative sampling"
# The exponent of the frequencies to draw by: Mnih and Teh 2012 for NCE, word2vec for negative sampling. With one noise
# for both, and where their biases start here, these two would take the same steps: their logits differ by what NCE
# takes from them, the logarithm of the noise's expected counts, and the bias makes up for it.
DISTORTIONS = {SOFTMAX: 1.0, NCE: 1.0, NEGATIVE: 0.75}


class SkipGram:
    """logits = v·Wᵀ + b over the V words that may stand near, for the vector v of a word.

    Source: Mikolov et al. 2013, "Efficient estimation of word representations in vector space" (arXiv:1301.3781).
    """

    def __init__(self, bias: Array, rng: np.random.Generator, dimensions: int = DIMENSIONS) -> None:
        """Random vectors, no weights: before training all logits are the bias [V]."""
        self.vectors = rng.normal(0, SPREAD, (len(bias), dimensions)).astype(np.float32)
        self.weight = np.zeros_like(self.vectors)
        self.bias = bias.astype(np.float32)

    @property
    def parameters(self) -> list[Array]:
        return [self.vectors, self.weight, self.bias]


class Adagrad:
    """Duchi et al. 2011. Updates the parameters where they lie, and only the lines that a gradient holds."""

    def __init__(self, parameters: list[Array], rate: float) -> None:
        self.parameters = parameters
        self.rate = rate
        # Not from zero, or the first gradient of a line, however small, would move it by the whole rate.
        self.squares = [np.ones_like(p) for p in parameters]

    def step(self, gradients: list[Gradient]) -> None:
        """One update."""
        for parameter, square, gradient in zip(self.parameters, self.squares, gradients, strict=True):
            if isinstance(gradient, xent.SparseRows):
                at, rows, _ = gradient.coalesced()
                sums = square[at] + rows**2
                square[at] = sums
                parameter[at] -= self.rate * rows / np.sqrt(sums)
            else:
                square += gradient**2
                parameter -= self.rate * gradient / np.sqrt(square)


class Objective:
    """One of the losses with its noise: what a step differentiates, and the logits that validation reads.

    `start` [V] is the bias with which the logits say how frequent the words are, and `offset` [V] what must be added
    to logits for them to be log-probabilities, but for a constant: log q of the noise for negative sampling, else 0.
    """

    def __init__(self, name: str, counts: Array, seed: int) -> None:
        """From how often each word occurs, [V]."""
        smoothed = counts + 1.0  # a word may be in the vocabulary and not in the thinned text
        log_p = np.log(smoothed / smoothed.sum())
        self.name = name
        self.offset = np.zeros(len(counts), np.float32)
        self.sampler: Sampler | None = None
        if name != FULL:
            sampled = min(SAMPLED, max(1, len(counts) // 2))
            # The binary losses compare with independent draws; the softmax gains from classes that all differ.
            self.sampler = Unigram(smoothed, sampled, unique=name == SOFTMAX, distortion=DISTORTIONS[name], seed=seed)
        if name == NEGATIVE:
            log_q = DISTORTIONS[name] * np.log(smoothed)
            log_q -= np.log(np.exp(log_q).sum())
            self.offset = log_q.astype(np.float32)
            self.start = log_p - log_q - np.log(sampled)
        else:
            self.start = log_p

    def step(self, model: SkipGram, centres: Array, contexts: Array) -> list[Gradient]:
        """The gradient of the sum over pairs [N] to each parameter of the model; of sampled losses, the lines used."""
        inputs = model.vectors[centres]
        _, (d_inputs, d_weight, d_bias) = GRADIENTS[self.name](inputs, model.weight, model.bias, contexts, self.sampler)
        return [xent.SparseRows(centres, d_inputs, len(model.vectors)), d_weight, d_bias]

    def validation(self, model: SkipGram, centres: Array, contexts: Array) -> float:
        """The mean softmax cross-entropy over the whole vocabulary of pairs [N], in nats."""
        bias = model.bias + self.offset
        return float(xent.linear_softmax_cross_entropy(model.vectors[centres], model.weight, contexts, bias=bias))


def _full(inputs: Array, weight: Array, bias: Array, labels: Array, _: None) -> Any:
    return xent.linear_softmax_cross_entropy(inputs, weight, labels, bias=bias, reduction="sum")


def _sampled(form: Callable[..., Any]) -> Callable[..., Any]:
    def loss(inputs: Array, weight: Array, bias: Array, labels: Array, sampler: Sampler) -> Any:
        return form(inputs, weight, labels, bias=bias, sampler=sampler, reduction="sum", sparse_gradient=True)

    return loss


LOSSES: dict[str, Callable[..., Any]] = {
    FULL: _full,
    SOFTMAX: _sampled(xent.sampled_softmax_loss),
    NCE: _sampled(xent.nce_loss),
    NEGATIVE: _sampled(xent.negative_sampling_loss),
}
GRADIENTS = {name: xent.value_and_grad(loss, argnums=(0, 1, 2)) for name, loss in LOSSES.items()}
