"""JAX: the native kernels on arrays of the CPU, as custom calls of XLA under jit; the reference everywhere else."""

from functools import partial

from .. import probability_loss
from .activations import log_softmax, logsumexp, softmax
from .arrays import NAMESPACE
from .elementwise_loss import elementwise_loss, log_sigmoid, sigmoid
from .gradients import value_and_grad
from .softmax_loss import softmax_cross_entropy

cross_entropy_from_probs = partial(probability_loss.cross_entropy_from_probs, NAMESPACE)
binary_cross_entropy_from_probs = partial(probability_loss.binary_cross_entropy_from_probs, NAMESPACE)
kl_divergence = partial(probability_loss.kl_divergence, NAMESPACE)

__all__ = [
    "NAMESPACE",
    "binary_cross_entropy_from_probs",
    "cross_entropy_from_probs",
    "elementwise_loss",
    "kl_divergence",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
    "value_and_grad",
]
