"""NumPy: values directly; gradients through `value_and_grad`, which records the loss that a function calls."""

from .activations import log_softmax, logsumexp, softmax
from .elementwise_loss import pinball_loss
from .gradients import value_and_grad
from .softmax_loss import softmax_cross_entropy

__all__ = [
    "log_softmax",
    "logsumexp",
    "pinball_loss",
    "softmax",
    "softmax_cross_entropy",
    "value_and_grad",
]
