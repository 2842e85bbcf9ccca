"""`tf.nn`, `tf.compat.v1.losses` and `tf.contrib`, their cross-entropy family, on the arrays of any framework.

Values, dtypes, denominators, gradients and error texts are TensorFlow's: on a torch tensor, too, the gradient of
`nn.softmax_cross_entropy_with_logits` is `p - t` for labels that do not sum to 1. Errors are TensorFlow's own classes
for its tensors, and `InvalidArgumentError` of this module for all others. Nothing here imports TensorFlow.
"""

from . import contrib, losses, nn, v1
from .errors import InvalidArgumentError

__all__ = ["InvalidArgumentError", "contrib", "losses", "nn", "v1"]
