"""`tf.compat.v1`: the forms that TensorFlow 1 had where they differ."""

from .. import losses, random
from . import nn

__all__ = ["losses", "nn", "random"]
