"""PyTorch: CPU tensors go to the native kernels as they lie in memory; all others to the reference."""

from functools import partial

from ... import _native
from ...sampling import logits
from .. import probability_loss, sampled
from .activations import log_softmax, logsumexp, softmax
from .arrays import NAMESPACE
from .elementwise_loss import elementwise_loss, log_sigmoid, sigmoid
from .gradients import value_and_grad
from .linear_loss import linear_sigmoid_cross_entropy, linear_softmax_cross_entropy
from .sampled_loss import sampled_loss
from .softmax_loss import softmax_cross_entropy

cross_entropy_from_probs = partial(probability_loss.cross_entropy_from_probs, NAMESPACE)
binary_cross_entropy_from_probs = partial(probability_loss.binary_cross_entropy_from_probs, NAMESPACE)
kl_divergence = partial(probability_loss.kl_divergence, NAMESPACE)

_native.share_openmp()  # torch's threads: a second pool would compete with them

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
