"""TensorFlow: the native kernels on eager tensors of the CPU as they lie in memory; the reference everywhere else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import tensorflow as tf

from ...options import ElementwiseOptions, SoftmaxOptions
from ...sampling import logits
from .. import probability_loss, sampled
from . import activations, linear_loss, softmax_loss
from . import elementwise_loss as elementwise
from .arrays import NAMESPACE, as_tensor, check_class_axis
from .gradients import value_and_grad


def _of_tensors(function: Callable[..., Any], argument: str = "logits") -> Callable[..., Any]:
    """A function whose first argument may be a variable, and which AutoGraph leaves as it is."""

    @wraps(function)
    def call(array: Any, *args: Any, **kwargs: Any) -> Any:
        return function(as_tensor(argument, array), *args, **kwargs)

    return tf.autograph.experimental.do_not_convert(call)  # type: ignore[no-any-return]


def _cross_entropy_from_probs(probs: Any, labels: Any, options: SoftmaxOptions, **rest: Any) -> Any:
    check_class_axis(probs, options.axis, "probs")
    return probability_loss.cross_entropy_from_probs(NAMESPACE, probs, labels, options, **rest)


def _binary_cross_entropy_from_probs(probs: Any, labels: Any, options: ElementwiseOptions, **rest: Any) -> Any:
    if options.ignore_index is not None:  # TensorFlow compares no integer with a float
        labels = as_tensor("labels", labels)
        labels = labels if labels.dtype.is_floating else tf.cast(labels, tf.float64)
    return probability_loss.binary_cross_entropy_from_probs(NAMESPACE, probs, labels, options, **rest)


softmax_cross_entropy = _of_tensors(softmax_loss.softmax_cross_entropy)
elementwise_loss = _of_tensors(elementwise.elementwise_loss)
linear_softmax_cross_entropy = _of_tensors(linear_loss.linear_softmax_cross_entropy, "inputs")
linear_sigmoid_cross_entropy = _of_tensors(linear_loss.linear_sigmoid_cross_entropy, "inputs")
softmax = _of_tensors(activations.softmax)
log_softmax = _of_tensors(activations.log_softmax)
logsumexp = _of_tensors(activations.logsumexp)
sigmoid = _of_tensors(elementwise.sigmoid)
log_sigmoid = _of_tensors(elementwise.log_sigmoid)
cross_entropy_from_probs = _of_tensors(_cross_entropy_from_probs, "probs")
binary_cross_entropy_from_probs = _of_tensors(_binary_cross_entropy_from_probs, "probs")
kl_divergence = _of_tensors(partial(probability_loss.kl_divergence, NAMESPACE), "predictions")

sampled_loss = _of_tensors(
    partial(sampled.sampled_loss, NAMESPACE, logits.sampled_logits, activations.logsumexp), "inputs"
)
in_batch_logits = _of_tensors(partial(sampled.in_batch_logits, NAMESPACE, logits.in_batch_logits), "queries")

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
