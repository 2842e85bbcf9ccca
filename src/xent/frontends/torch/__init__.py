"""PyTorch: CPU tensors go to the native kernels as they lie in memory; all others to the reference."""

from ... import _native
from .activations import log_softmax, logsumexp, softmax
from .elementwise_loss import pinball_loss
from .gradients import value_and_grad
from .softmax_loss import softmax_cross_entropy

_native.share_openmp()  # torch's threads: a second pool would compete with them

__all__ = [
    "log_softmax",
    "logsumexp",
    "pinball_loss",
    "softmax",
    "softmax_cross_entropy",
    "value_and_grad",
]
