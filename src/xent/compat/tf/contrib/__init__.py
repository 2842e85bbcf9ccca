"""`tf.contrib` of TensorFlow 1.15: losses that take the logits first. Each call warns, and names today's."""

from . import losses, nn

__all__ = ["losses", "nn"]
