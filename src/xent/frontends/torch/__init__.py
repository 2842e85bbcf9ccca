"""PyTorch: CPU tensors go to the native kernels as they lie in memory; all others to the reference."""

import torch

from ... import _native, caching
from .activations import log_softmax, logsumexp, softmax
from .elementwise_loss import elementwise_loss, log_sigmoid, sigmoid
from .gradients import value_and_grad
from .probability_loss import binary_cross_entropy_from_probs, cross_entropy_from_probs, kl_divergence
from .softmax_loss import softmax_cross_entropy

caching.tracing = torch.compiler.is_compiling
_native.share_openmp()  # torch's threads: a second pool would compete with them

__all__ = [
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
