"""PyTorch: CPU tensors go to the native kernels as they lie in memory; all others to the reference."""

from functools import partial

import torch

from ... import _native, caching
from .. import probability_loss
from .activations import log_softmax, logsumexp, softmax
from .arrays import NAMESPACE
from .elementwise_loss import elementwise_loss, log_sigmoid, sigmoid
from .gradients import value_and_grad
from .linear_loss import linear_sigmoid_cross_entropy, linear_softmax_cross_entropy
from .softmax_loss import softmax_cross_entropy

cross_entropy_from_probs = partial(probability_loss.cross_entropy_from_probs, NAMESPACE)
binary_cross_entropy_from_probs = partial(probability_loss.binary_cross_entropy_from_probs, NAMESPACE)
kl_divergence = partial(probability_loss.kl_divergence, NAMESPACE)

caching.tracing = torch.compiler.is_compiling
_native.share_openmp()  # torch's threads: a second pool would compete with them

__all__ = [
    "NAMESPACE",
    "binary_cross_entropy_from_probs",
    "cross_entropy_from_probs",
    "elementwise_loss",
    "kl_divergence",
    "linear_sigmoid_cross_entropy",
    "linear_softmax_cross_entropy",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
    "value_and_grad",
]
