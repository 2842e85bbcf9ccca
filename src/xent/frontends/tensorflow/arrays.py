"""Tensors as NumPy arrays on the same memory, and as the array API."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context, forwardprop_util, record

from ...errors import message, type_error, value_error
from ...kernels.native import address
from ...labels import Positives, TopK
from ...losses.weights import SMALLEST, check_normalizer, usable_or_nan
from ...problem import Shape
from ..numpy.arrays import Array
from ..numpy.arrays import as_array as as_numpy

# What TensorFlow's kernels demand of a tensor's memory.
ALIGNMENT = 64
_SPARSE = (tf.SparseTensor, tf.RaggedTensor, tf.IndexedSlices)


def given(argument: str, value: Any) -> Any:
    """A tensor for tensors and variables; what is none stays what it is.

    Raises:
        TypeError: a sparse, ragged or Keras-symbolic tensor.
    """
    if isinstance(value, tf.Tensor):
        return value
    if isinstance(value, tf.Variable):
        return tf.convert_to_tensor(value)
    if isinstance(value, _SPARSE):
        remedy = "Convert it with tf.convert_to_tensor, tf.sparse.to_dense or .to_tensor()."
        raise type_error(argument, "a dense tensor", type(value).__name__, remedy)
    if type(value).__name__ == "KerasTensor":
        remedy = "Call the loss from a Layer's call or a Loss, which get tensors."
        raise type_error(argument, "a tensor with values", "a symbolic KerasTensor", remedy)
    return value


def as_tensor(argument: str, value: Any) -> Any:
    """A tensor of anything that is one, or that NumPy understands."""
    value = given(argument, value)
    if isinstance(value, tf.Tensor):
        return value
    array = as_numpy(argument, value)
    try:
        return tf.constant(array)
    except (TypeError, ValueError) as error:
        raise type_error(argument, "an array of numbers", f"dtype {array.dtype}", "Convert it to numbers.") from error


def as_int64(tensor: Any) -> Any:
    """Integers as int64; what does not fit stays out of every range."""
    if tensor.dtype == tf.uint64:
        return tf.cast(tf.minimum(tensor, tf.constant(tf.int64.max, tf.uint64)), tf.int64)
    return tf.cast(tensor, tf.int64)


def is_readable(tensor: Any) -> bool:
    """Whether a tensor is memory of the CPU that can be looked at: no symbol of a graph, on no other device."""
    return not tf.is_symbolic_tensor(tensor) and tf.executing_eagerly() and "CPU" in tensor.backing_device


def all_readable(values: Sequence[Any]) -> bool:
    """Whether all tensors among some arguments can be read."""
    return all(is_readable(value) for value in values if isinstance(value, tf.Tensor))


def numpy_of(tensor: Any) -> Array:
    """A tensor that can be read as an array on the same memory."""
    # of a half-precision scalar TensorFlow makes no array
    return np.asarray(tensor.numpy() if tensor.shape.rank == 0 else tensor)


def on_numpy(value: Any) -> Any:
    """A call's arguments, the tensors among them as arrays."""
    if isinstance(value, tf.Tensor):
        return numpy_of(value)
    if isinstance(value, dict):
        return {name: on_numpy(part) for name, part in value.items()}
    if isinstance(value, TopK):
        return TopK(on_numpy(value.indices), on_numpy(value.values))
    if isinstance(value, Positives):
        return Positives(on_numpy(value.classes), on_numpy(value.starts))
    return value


def kept(value: Any) -> Any:
    """A call's arguments for a backward pass: what its owner may change before it is a copy."""
    if isinstance(value, (np.ndarray, list, tuple)):
        return deepcopy(value)
    if isinstance(value, dict):
        return {name: kept(part) for name, part in value.items()}
    if isinstance(value, TopK):
        return TopK(kept(value.indices), kept(value.values))
    if isinstance(value, Positives):
        return Positives(kept(value.classes), kept(value.starts))
    return value


def tensor_of(array: Array) -> Any:
    """An array of the library's own as a tensor: the same memory if it is aligned, to be written no more."""
    array = np.asarray(array, order="C")
    if address(array) % ALIGNMENT or not array.size:
        return tf.constant(array)
    if array.dtype.name == "bfloat16":  # unknown to NumPy's DLPack
        return tf.bitcast(tf.experimental.dlpack.from_dlpack(array.view(np.uint16).__dlpack__()), tf.bfloat16)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def recording() -> bool:
    """Whether any tape or forward accumulator is open."""
    return bool(record.could_possibly_record())


def wanted_gradients(named: list[tuple[str, Any]]) -> frozenset[str]:
    """Names of the arguments that an open tape watches."""
    return frozenset(
        name for name, value in named if isinstance(value, tf.Tensor) and record.should_record_backprop([value])
    )


def has_tangents(values: Sequence[Any]) -> bool:
    """Whether an open forward accumulator has a tangent for any of some arguments."""
    return bool(forwardprop_util.pack_tangents([value for value in values if isinstance(value, tf.Tensor)]).tangents)


class AnySize(int):
    """The length of an axis that is known only when a graph runs: equal to every length but 0."""

    def __eq__(self, other: object) -> bool:
        return other != 0

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return int.__hash__(self)

    def __repr__(self) -> str:
        return "None"


# A number that no axis has, so that nothing remembered of a known shape is found for an unknown one.
ANY_SIZE = AnySize(2**61 - 3)


def static_shape(tensor: Any, argument: str = "logits") -> Shape:
    """The shape as far as it is known."""
    if tensor.shape.rank is None:
        remedy = "Name the axes in the graph's signature, or with set_shape."
        raise value_error(argument, "a known number of axes", "a tensor of unknown rank", remedy)
    return tuple(ANY_SIZE if size is None else size for size in tensor.shape.as_list())


def check_class_axis(tensor: Any, axis: int, argument: str) -> None:
    """The number of classes must be known when a graph is made."""
    shape = static_shape(tensor, argument)
    if -len(shape) <= axis < len(shape) and shape[axis] is ANY_SIZE:
        remedy = f"Give it in the signature of the tf.function, or with tf.ensure_shape({argument}, [None, classes])."
        raise value_error(argument, "a static number of classes", f"shape {shape} with class axis {axis}", remedy)


def with_shape(argument: str, tensor: Any, shape: Any) -> Any:
    """The tensor, which in a graph is checked to have a shape where that is known only when it runs."""
    if tensor.shape.is_fully_defined() and isinstance(shape, tf.TensorShape) and shape.is_fully_defined():
        return tensor
    wrong = message(argument, "the shape that belongs to the logits", "another", "Reshape one of them.")
    size = shape if isinstance(shape, tf.Tensor) else tf.constant(shape.as_list())
    with tf.control_dependencies([tf.debugging.assert_equal(tf.shape(tensor), size, message=wrong)]):
        return tf.reshape(tensor, size)  # XLA leaves the assertion out; this at least it refuses


def weight_tensor(argument: str, value: Any, dtype: str) -> Any:
    """Weights in a dtype; where they are symbols of a graph, NaN is what would be refused."""
    weight = tf.cast(as_tensor(argument, value), dtype)
    return usable_or_nan(NAMESPACE, weight) if tf.is_symbolic_tensor(weight) else weight


def divisor(normalizer: Any, reduction: str, dtype: str) -> Any:
    """The checked normalizer as a number; a symbol of a graph stays one, which is NaN where it would be refused."""
    normalizer = given("normalizer", normalizer)
    if tf.is_symbolic_tensor(normalizer):
        check_normalizer(1.0, reduction)
        number = tf.cast(normalizer, dtype)
        return tf.where(number >= SMALLEST, number, math.nan * tf.ones_like(number))
    return check_normalizer(normalizer, reduction)


_NAMES = {
    "abs": tf.abs,
    "all": tf.reduce_all,
    "any": tf.reduce_any,
    "asarray": tf.convert_to_tensor,
    "broadcast_to": tf.broadcast_to,
    "concat": tf.concat,
    "equal": tf.equal,
    "exp": tf.exp,
    "expand_dims": tf.expand_dims,
    "expm1": tf.math.expm1,
    "isfinite": tf.math.is_finite,
    "log": tf.math.log,
    "log1p": tf.math.log1p,
    "maximum": tf.maximum,
    "not_equal": tf.not_equal,
    "ones_like": tf.ones_like,
    "permute_dims": tf.transpose,
    "searchsorted": tf.searchsorted,
    "softplus": tf.math.softplus,
    "sort": tf.sort,
    "stop_gradient": tf.stop_gradient,
    "sum": tf.reduce_sum,
    "tanh": tf.tanh,
    "where": tf.where,
    "zeros_like": tf.zeros_like,
}


class _Namespace:
    """The array API in TensorFlow's words, for the reference, and the conversions of this front-end."""

    nan = math.nan
    gives_slices = True  # as gradients of lines that are looked up

    def __getattr__(self, name: str) -> Any:
        if name in _NAMES:
            return _NAMES[name]
        raise AttributeError(f"TensorFlow's namespace has no {name}")

    @staticmethod
    def invalid_argument(message: str) -> Exception:
        """What TensorFlow's operations raise."""
        return tf.errors.InvalidArgumentError(None, None, message)  # type: ignore[no-any-return]

    @staticmethod
    def not_found(message: str) -> Exception:
        return tf.errors.NotFoundError(None, None, message)  # type: ignore[no-any-return]

    @staticmethod
    def flatten(x: Any, start: int) -> Any:
        length = x.shape[start:].num_elements()
        return tf.reshape(x, tf.concat([tf.shape(x)[:start], [-1 if length is None else length]], 0))

    @staticmethod
    def custom_gradient(values: Any, slopes: Any) -> Any:
        """A function of tensors, some of them None, with its derivative: slopes(inputs and upstream gradients)."""

        def call(*inputs: Any) -> list[Any]:
            given = [x for x in inputs if x is not None]

            def spread(tensors: Any) -> list[Any]:
                left = iter(tensors)
                return [None if x is None else next(left) for x in inputs]

            @tf.custom_gradient
            def recorded(*tensors: Any) -> Any:
                def gradient(*upstream: Any) -> list[Any]:
                    return [slope for slope in slopes(*spread(tensors), *upstream) if slope is not None]

                return values(*spread(tensors)), gradient

            return list(recorded(*given))

        return call

    @staticmethod
    def reshape(x: Any, shape: Sequence[Any]) -> Any:
        """At most one length may be known only when a graph runs."""
        return tf.reshape(x, [-1 if size is ANY_SIZE else size for size in shape])

    @staticmethod
    def argmax(x: Any, axis: int) -> Any:
        return tf.argmax(x, axis, output_type=tf.int64)

    @staticmethod
    def arange(stop: int, device: Any = None) -> Any:
        return tf.range(stop, dtype=tf.int64)

    @staticmethod
    def moveaxis(x: Any, source: int, to: int) -> Any:
        order = list(range(x.shape.rank))
        order.insert(to % len(order), order.pop(source))
        return x if order == sorted(order) else tf.transpose(x, order)

    @staticmethod
    def own(array: Any, like: Any) -> Any:
        """An array that the library made, as a tensor."""
        return tf.convert_to_tensor(array)

    @staticmethod
    def gather(x: Any, ids: Any) -> Any:
        """The lines of `x` with these numbers; with a gradient of indexed slices."""
        return tf.gather(x, ids)

    @staticmethod
    def lines(x: Any, ids: Any, dtype: str, sparse: bool = False) -> Any:
        """The same in a dtype, in which repeated lines of a gradient add up, too; indexed slices if asked for."""
        if x.dtype == dtype:
            return tf.gather(x, ids) if sparse else _Namespace.take(x, ids)

        @tf.custom_gradient
        def widened(x: Any) -> Any:
            def gradient(upstream: Any) -> Any:
                numbers, places = tf.unique(ids) if sparse else (None, ids)
                size = tf.size(numbers) if sparse else tf.shape(x)[0]
                rows = tf.cast(tf.math.unsorted_segment_sum(upstream, places, size), x.dtype)
                return tf.IndexedSlices(rows, numbers, tf.shape(x)) if sparse else rows

            return tf.cast(tf.gather(x, ids), dtype), gradient

        return widened(x)

    @staticmethod
    def top(x: Any, k: int) -> Any:
        """Where the k largest numbers are."""
        return tf.math.top_k(x, k).indices

    @staticmethod
    def take(x: Any, indices: Any) -> Any:
        # as a batch of one, whose gradient is dense
        return tf.gather(x[None], indices[None], axis=1, batch_dims=1)[0]

    @staticmethod
    def take_along_axis(x: Any, indices: Any, axis: int) -> Any:
        return tf.gather(x, indices, axis=axis, batch_dims=x.shape.rank - 1)

    @staticmethod
    def shape(x: Any) -> Shape:
        return static_shape(x)

    @staticmethod
    def running_shape(x: Any) -> Any:
        return tf.shape(x)

    @staticmethod
    def in_graph() -> bool:
        """Whether operations are recorded now, of which TensorFlow refuses some with other errors than eager ones."""
        return not tf.executing_eagerly()

    @staticmethod
    def checked(x: Any, fine: Any, message: str) -> Any:
        """`x`, for which a graph raises InvalidArgumentError where not all is fine. XLA leaves such checks out."""
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(fine), [message, x])]):
            return tf.identity(x)

    @staticmethod
    def astype(x: Any, dtype: str) -> Any:
        return tf.cast(x, dtype)

    @staticmethod
    def dtype_name(x: Any) -> str:
        return str(x.dtype.name)

    @staticmethod
    def is_readable(x: Any) -> bool:
        return is_readable(x)

    @staticmethod
    def numpy_of(x: Any) -> Array:
        return numpy_of(x)

    @staticmethod
    def values(x: Any) -> Array | None:
        """The values, on whichever device they are; None of a symbol."""
        return None if tf.is_symbolic_tensor(x) or not tf.executing_eagerly() else x.numpy()

    @staticmethod
    def fetched(x: Any) -> Array:
        return numpy_of(x)

    @staticmethod
    def placed(array: Array, like: Any) -> Any:
        return tensor_of(array)

    @staticmethod
    def original(module: str, name: str) -> Any:
        """A function of TensorFlow's own."""
        return getattr(getattr(tf, module), name)

    @staticmethod
    def operation_seeds(seed: Any) -> tuple[tuple[Any, Any], Any]:
        """Both seeds of an operation, None for chance, and an object that `tf.random.set_seed` exchanges."""
        state = context.context()
        return tf.compat.v1.random.get_seed(seed), getattr(state, "_rng", None) or state

    @staticmethod
    def as_array(argument: str, value: Any, like: Any) -> Any:
        tensor = as_tensor(argument, value)
        # narrow integers cannot be compared with every label to ignore
        return as_int64(tensor) if tensor.dtype.is_integer and not tensor.dtype.is_quantized else tensor

    @staticmethod
    def widest(x: Any, otherwise: str) -> str:
        return "float64"

    @staticmethod
    def divisor(normalizer: Any, reduction: str, dtype: str) -> Any:
        return divisor(normalizer, reduction, dtype)


NAMESPACE = _Namespace()
