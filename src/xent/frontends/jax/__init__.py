"""JAX: the native kernels on arrays of the CPU, as custom calls of XLA under jit; the reference everywhere else."""

from functools import partial

from ...sampling import logits
from .. import sampled
from .activations import log_softmax, logsumexp, softmax
from .arrays import NAMESPACE
from .elementwise_loss import elementwise_loss, log_sigmoid, sigmoid
from .gradients import value_and_grad
from .linear_loss import linear_sigmoid_cross_entropy, linear_softmax_cross_entropy
from .probability_loss import binary_cross_entropy_from_probs, cross_entropy_from_probs, kl_divergence
from .softmax_loss import softmax_cross_entropy
from .sparse_gradients import sparse_when_asked

sampled_loss = sparse_when_asked(partial(sampled.sampled_loss, NAMESPACE, logits.sampled_logits, logsumexp))
in_batch_logits = partial(sampled.in_batch_logits, NAMESPACE, logits.in_batch_logits)

__all__ = [
    "NAMESPACE",
    "binary_cross_entropy_from_probs",
    "cross_entropy_from_probs",
    "elementwise_loss",
    "in_batch_logits",
    "kl_divergence",
    "linear_sigmoid_cross_entropy",
    "linear_softmax_cross_entropy",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "sampled_loss",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
    "value_and_grad",
]
