"""`tf.compat.v1.nn`: `tf.nn`, but for the softmax cross-entropy whose labels get no gradient."""

from ..nn import (
    log_softmax,
    sigmoid,
    sigmoid_cross_entropy_with_logits,
    softmax,
    softmax_cross_entropy_with_logits_v2,
    sparse_softmax_cross_entropy_with_logits,
    weighted_cross_entropy_with_logits,
)
from ..nn import softmax_cross_entropy_with_logits_v1 as softmax_cross_entropy_with_logits

__all__ = [
    "log_softmax",
    "sigmoid",
    "sigmoid_cross_entropy_with_logits",
    "softmax",
    "softmax_cross_entropy_with_logits",
    "softmax_cross_entropy_with_logits_v2",
    "sparse_softmax_cross_entropy_with_logits",
    "weighted_cross_entropy_with_logits",
]
