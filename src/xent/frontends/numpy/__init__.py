"""NumPy: values directly; gradients through `value_and_grad`, which records the loss that a function calls."""

from functools import partial

from .. import sampled
from .activations import log_softmax, logsumexp, softmax
from .arrays import NAMESPACE
from .elementwise_loss import elementwise_loss, log_sigmoid, sigmoid
from .gradients import value_and_grad
from .linear_loss import linear_sigmoid_cross_entropy, linear_softmax_cross_entropy
from .linked_logits import linked_in_batch_logits, linked_logits
from .probability_loss import binary_cross_entropy_from_probs, cross_entropy_from_probs, kl_divergence
from .softmax_loss import softmax_cross_entropy

sampled_loss = partial(sampled.sampled_loss, NAMESPACE, linked_logits, logsumexp)
in_batch_logits = partial(sampled.in_batch_logits, NAMESPACE, linked_in_batch_logits)

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
