"""`tf.nn`, `tf.random`, `tf.compat.v1.losses`, `tf.contrib`: cross-entropies and samplers on any framework's arrays.

Values, dtypes, denominators, gradients and error texts are TensorFlow's: on a torch tensor, too, the gradient of
`nn.softmax_cross_entropy_with_logits` is `p - t` for labels that do not sum to 1. Errors are TensorFlow's own classes
for its tensors, and `InvalidArgumentError` of this module for all others. Nothing here imports TensorFlow.
"""

from . import contrib, losses, nn, random, v1
from .errors import InvalidArgumentError

__all__ = ["InvalidArgumentError", "contrib", "losses", "nn", "random", "v1"]
