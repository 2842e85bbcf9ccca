"""A language model in NumPy: the next piece of a text from the pieces before it, with either form of the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import xent

Array = NDArray[Any]
Loss = Callable[[Array, Array, Array, Array], tuple[Array, tuple[Array, Array, Array]]]

CONTEXT = 6
EMBEDDING = 64
HIDDEN_UNITS = 64


class LanguageModel:
    """h = tanh(x·W₁ + b₁), x [N, K·E] the embeddings of the K pieces before; logits = h·Wᵀ + b over V pieces.

    Source: Bengio et al. 2003, "A neural probabilistic language model". It starts from the frequencies of the pieces,
    which need no training: b is their logarithm.
    """

    def __init__(
        self,
        counts: Array,
        rng: np.random.Generator,
        context: int = CONTEXT,
        embedding: int = EMBEDDING,
        hidden: int = HIDDEN_UNITS,
    ) -> None:
        """From how often each piece occurs, [V]."""

        def normal(spread: float, *shape: int) -> Array:
            return rng.normal(0, spread, shape).astype(np.float32)

        self.context = context
        self.embedding = normal(0.3, len(counts), embedding)
        self.w1 = normal((context * embedding) ** -0.5 / 0.3, context * embedding, hidden)
        self.b1 = np.zeros(hidden, np.float32)
        self.weight = normal(0.5 * hidden**-0.5, len(counts), hidden)
        self.bias = np.log((counts + 1) / (counts + 1).sum()).astype(np.float32)

    @property
    def parameters(self) -> list[Array]:
        return [self.embedding, self.w1, self.b1, self.weight, self.bias]

    def hidden(self, contexts: Array) -> tuple[Array, Array]:
        """x [N, K·E] and h [N, H] for contexts [N, K], the numbers of the pieces before."""
        x = self.embedding[contexts].reshape(len(contexts), -1)
        return x, np.tanh(x @ self.w1 + self.b1)

    def gradients(self, contexts: Array, x: Array, hidden: Array, of_head: tuple[Array, Array, Array]) -> list[Array]:
        """The gradient to each of `parameters`, from the loss's gradients to h, W and b."""
        d_hidden, d_weight, d_bias = of_head
        d_sum = d_hidden * (1 - hidden**2)
        d_embedding = np.zeros_like(self.embedding)
        d_pieces = (d_sum @ self.w1.T).reshape(-1, self.embedding.shape[1])
        np.add.at(d_embedding, contexts.reshape(-1), d_pieces)
        return [d_embedding, x.T @ d_sum, d_sum.sum(0), d_weight, d_bias]

    def loss(self, contexts: Array, labels: Array) -> float:
        """The mean over [N] labels, in nats a piece; the logits of all of them never exist."""
        _, hidden = self.hidden(contexts)
        return float(xent.linear_softmax_cross_entropy(hidden, self.weight, labels, bias=self.bias))

    def probabilities(self, contexts: Array) -> Array:
        """[N, V], of the next piece."""
        _, hidden = self.hidden(contexts)
        probabilities: Array = xent.softmax(hidden @ self.weight.T + self.bias)
        return probabilities


def dense(hidden: Array, weight: Array, bias: Array, labels: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    """The mean loss of labels [N] and its gradients to h, W and b: logits [N, V], then their gradient, as large."""
    logits = hidden @ weight.T
    logits += bias  # in place: a sum would be another array of this size
    loss, d_logits = _dense(logits, labels)
    return loss, (d_logits @ weight, d_logits.T @ hidden, d_logits.sum(0))


def fused(hidden: Array, weight: Array, bias: Array, labels: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    """The same; the logits are made some rows at a time, and dropped."""
    loss, gradients = _fused(hidden, weight, bias, labels)
    return loss, gradients


def _linear_loss(hidden: Array, weight: Array, bias: Array, labels: Array) -> Any:
    return xent.linear_softmax_cross_entropy(hidden, weight, labels, bias=bias)


_dense = xent.value_and_grad(xent.softmax_cross_entropy)
_fused = xent.value_and_grad(_linear_loss, argnums=(0, 1, 2))
LOSSES: dict[str, Loss] = {"dense": dense, "fused": fused}
