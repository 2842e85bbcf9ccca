"""`tf.nn`: losses of each row or element, in the dtype of the logits, labels first."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...api import log_softmax as _log_softmax
from ...api import sigmoid as _sigmoid
from ...api import sigmoid_cross_entropy, softmax_cross_entropy
from ...api import softmax as _softmax
from ...problem import LOGIT_DTYPES
from ..arrays import namespace_of
from .errors import TF_NAMES, invalid_argument, listed, recorded_or, wrong_dtype
from .hits import compute_accidental_hits as compute_accidental_hits
from .random import all_candidate_sampler as all_candidate_sampler
from .random import fixed_unigram_candidate_sampler as fixed_unigram_candidate_sampler
from .random import learned_unigram_candidate_sampler as learned_unigram_candidate_sampler
from .sampled import nce_loss as nce_loss
from .sampled import sampled_softmax_loss as sampled_softmax_loss
from .tensors import converted, weights_of

_FLOATS = ["float16", "bfloat16", "float32", "float64"]
_SMOOTH = ["bfloat16", "float16", "float32", "float64", "complex64", "complex128"]


def _logits(xp: Any, logits: Any, argument: str = "features", allowed: list[str] = _FLOATS) -> Any:
    """Logits of a dtype that TensorFlow's operations take."""
    z = converted(xp, logits)
    name = xp.dtype_name(z)
    if name not in LOGIT_DTYPES:
        raise wrong_dtype(xp, "T", argument, name, allowed, "Convert the logits to a float dtype.")
    return z


def _both(name: str, labels: Any, logits: Any) -> None:
    if labels is None or logits is None:
        received = f"Received: labels={labels} and logits={logits}"
        raise ValueError(f"Both `labels` and `logits` must be provided for {name}{received}")


def _activation(function: Any, logits: Any, axis: int | None, dim: int | None) -> Any:
    xp = namespace_of(logits)
    z = _logits(xp, logits, "logits")
    at = axis if axis is not None else dim if dim is not None else -1
    if not -z.ndim <= at < z.ndim:
        raise invalid_argument(
            xp,
            f"`dim` must be in the range [{-z.ndim}, {z.ndim}) where {z.ndim} is the number of dimensions in the "
            f"input. Received: dim={at}",
        )
    return function(z, at) if xp.shape(z)[at] != 0 else z


def softmax(logits: Any, axis: int | None = None, name: str | None = None, dim: int | None = None) -> Any:
    """Probabilities `exp z_k / Σ exp z_j`.

    Args:
        logits: z, of a float dtype.
        axis: the class axis; None for the last. `dim` is its name in TensorFlow 1.
        name: ignored.

    Returns:
        An array of the shape and dtype of the logits, computed in float32 at least (TensorFlow: in the dtype itself).

    Raises:
        InvalidArgumentError: an axis that does not exist, logits of no float dtype.

    Example:
        >>> import numpy as np
        >>> from xent.compat import tf
        >>> tf.nn.softmax(np.array([1.0, 2.0, 3.0])).round(4)
        array([0.09  , 0.2447, 0.6652])

    Source: `tf.nn.softmax`.
    """
    return _activation(_softmax, logits, axis, dim)


def log_softmax(logits: Any, axis: int | None = None, name: str | None = None, dim: int | None = None) -> Any:
    """Log-probabilities `z_k - log Σ exp z_j`, in nats.

    Args:
        logits, axis, name, dim: as in `softmax`.

    Returns:
        An array of the shape and dtype of the logits.

    Raises:
        InvalidArgumentError: as `softmax`.

    Example:
        >>> import numpy as np
        >>> from xent.compat import tf
        >>> tf.nn.log_softmax(np.array([1.0, 2.0, 3.0])).round(4)
        array([-2.4076, -1.4076, -0.4076])

    Source: `tf.nn.log_softmax`.
    """
    return _activation(_log_softmax, logits, axis, dim)


def sigmoid(x: Any, name: str | None = None) -> Any:
    """`1 / (1 + e^-x)` of each element.

    Args:
        x: of a float dtype. `name` is ignored.

    Returns:
        An array of the shape and dtype of `x`.

    Raises:
        InvalidArgumentError: `x` of no float dtype.

    Example:
        >>> import numpy as np
        >>> from xent.compat import tf
        >>> tf.nn.sigmoid(np.array([0.0, 2.0])).round(4)
        array([0.5   , 0.8808])

    Source: `tf.nn.sigmoid`.
    """
    return _sigmoid(_logits(namespace_of(x), x, "x", _SMOOTH))


def softmax_cross_entropy_with_logits(labels: Any, logits: Any, axis: int = -1, name: str | None = None) -> Any:
    """Cross-entropy of distributions: `Σ_k t_k·(log Σ_j exp z_j - z_k)` of each row.

    The gradient to the logits is `p - t` times the upstream gradient, also where the labels do not sum to 1 and the
    derivative would be `p·Σt - t`: TensorFlow's operation is made so, and only here xent is too. That to the labels is
    `-log_softmax(z)`. Both can be differentiated again by the logits. By the labels, the gradient to the logits is
    differentiated as `p·Σt - t`: the same for changes that keep Σt (TensorFlow takes it for constant in t).

    Args:
        labels: t, converted to the dtype of the logits, and of their shape; or of another whose rows, as a matrix, are
            broadcast with the logits' rows, in graphs where both shapes are known.
        logits: z, of a float dtype; their classes may be broadcast with those of the labels.
        axis: the class axis, -1 or counted from the front.
        name: ignored.

    Returns:
        The losses in nats, the shape without `axis`, in the dtype of the logits. A class of mass 0 adds 0 whatever its
        logit (TensorFlow on CPU: NaN for -inf).

    Raises:
        ValueError: labels or logits are missing.
        InvalidArgumentError: shapes that do not broadcast, an axis that does not exist, logits of no float dtype.

    Example:
        >>> import numpy as np
        >>> from xent.compat import tf
        >>> labels, logits = np.array([[0.0, 0.0, 1.0]]), np.array([[1.0, 2.0, 3.0]])
        >>> tf.nn.softmax_cross_entropy_with_logits(labels, logits).round(6)
        array([0.407606])

    Source: `tf.nn.softmax_cross_entropy_with_logits`, `tf.compat.v1.nn.softmax_cross_entropy_with_logits_v2`.
    """
    xp = namespace_of(logits, labels)
    z = _logits(xp, logits)
    dtype = xp.dtype_name(z)
    t = converted(xp, labels)
    t = t if xp.dtype_name(t) == dtype else xp.astype(t, dtype)  # NumPy's astype copies
    if axis == -1 and z.ndim == 0:
        raise invalid_argument(
            xp,
            "Expected begin[0] == 0 (got -1) and size[0] == 0 (got 1) when input.dim_size(0) == 0. "
            "Give the logits a class axis.",
        )
    if axis != -1 and not 0 <= axis < z.ndim:
        limits = f"0/{axis}" if axis < 0 else f"{axis + 1}/{z.ndim}"
        remedy = f"Pass axis=-1, or an axis from the front, of {z.ndim}. Received: axis={axis}"
        text = f"Requires start <= limit when delta > 0: {limits}. {remedy}"
        raise recorded_or(xp, ValueError, text, text)
    if xp.shape(z) != xp.shape(t):
        return _of_rows(xp, t, z, axis)
    if xp.shape(z)[axis] == 0:
        return xp.sum(z * t, axis=axis)  # of nothing: 0
    if xp is namespace_of(0.0):  # NumPy's arrays record no derivative
        return xp.astype(softmax_cross_entropy(z, t, axis=axis, reduction="none"), dtype)
    loss, stats = softmax_cross_entropy(z, t, axis=axis, reduction="none", return_stats=True)
    missing = 1.0 - xp.sum(xp.astype(xp.stop_gradient(t), xp.dtype_name(stats.lse)), axis=axis)
    # nothing is added but a gradient: p times what the labels lack of 1
    return xp.astype(loss + missing * (stats.lse - xp.stop_gradient(stats.lse)), dtype)


def _unequal(shape: tuple[int, ...], other: tuple[int, ...]) -> str:
    """What a graph says of shapes that do not broadcast."""
    pairs = zip(reversed(shape), reversed(other), strict=False)
    own, its = next((a, b) for a, b in pairs if a != b and 1 not in (a, b))
    return f"Dimensions must be equal, but are {own} and {its}"


def _of_rows(xp: Any, labels: Any, logits: Any, axis: int) -> Any:
    """The losses where the shapes differ: both become rows, which are broadcast, and must be as many as the logits'."""
    if axis != -1 and labels.ndim != logits.ndim:
        vectors = f"a vector of size {labels.ndim}. But input(1) is a vector of size {logits.ndim}"
        raise invalid_argument(xp, f"transpose expects {vectors}")
    sizes = f"logits_size={listed(xp.shape(logits))} labels_size={listed(xp.shape(labels))}"
    if "None" in sizes:
        hint = "Give both shapes in the graph's signature."
        raise invalid_argument(xp, f"logits and labels must be broadcastable: {sizes}. {hint}")
    z, t = (xp.moveaxis(x, axis, -1) if axis != -1 else x for x in (logits, labels))
    batch = xp.shape(z)[:-1]
    z, t = (xp.reshape(x, (math.prod(xp.shape(x)[:-1]), xp.shape(x)[-1])) for x in (z, t))
    try:
        shape = np.broadcast_shapes(xp.shape(z), xp.shape(t))
    except ValueError:
        sizes = f"logits_size={listed(xp.shape(z))} labels_size={listed(xp.shape(t))}"
        eager = f"logits and labels must be broadcastable: {sizes}"
        raise recorded_or(xp, ValueError, f"{_unequal(xp.shape(z), xp.shape(t))}. {eager}", eager) from None
    if shape[0] != math.prod(batch):
        sizes = f"a tensor with {shape[0]} values, but the requested shape has {math.prod(batch)}"
        raise invalid_argument(xp, f"Input to reshape is {sizes}. Give the logits all their rows.")
    z, t = xp.broadcast_to(z, shape), xp.broadcast_to(t, shape)
    return xp.reshape(softmax_cross_entropy_with_logits(t, z), batch)


def softmax_cross_entropy_with_logits_v2(
    labels: Any, logits: Any, axis: int | None = None, name: str | None = None, dim: int | None = None
) -> Any:
    """`softmax_cross_entropy_with_logits` by its name in TensorFlow 1.

    Args:
        labels, logits, name: as there. `dim` is the former name of `axis`.

    Returns:
        The losses, as there.

    Raises:
        InvalidArgumentError: as there.

    Example:
        >>> import numpy as np
        >>> from xent.compat import tf
        >>> tf.nn.softmax_cross_entropy_with_logits_v2(np.array([[0.0, 1.0]]), np.array([[1.0, 2.0]])).round(6)
        array([0.313262])

    Source: `tf.compat.v1.nn.softmax_cross_entropy_with_logits_v2`.
    """
    at = axis if axis is not None else dim if dim is not None else -1
    return softmax_cross_entropy_with_logits(labels, logits, at)


def softmax_cross_entropy_with_logits_v1(
    labels: Any = None, logits: Any = None, dim: int = -1, name: str | None = None, axis: int | None = None
) -> Any:
    """`softmax_cross_entropy_with_logits` as it was first: no gradient reaches the labels.

    Args:
        labels, logits, name: as there. `axis` is the later name of `dim`.

    Returns:
        The losses, as there.

    Raises:
        ValueError: labels or logits are missing.
        InvalidArgumentError: as there.

    Example:
        >>> import numpy as np
        >>> from xent.compat import tf
        >>> labels, logits = np.array([[0.0, 1.0]]), np.array([[1.0, 2.0]])
        >>> tf.v1.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits).round(6)
        array([0.313262])

    Source: `tf.compat.v1.nn.softmax_cross_entropy_with_logits`.
    """
    _both("softmax_cross_entropy_with_logits", labels, logits)
    xp = namespace_of(logits, labels)
    return softmax_cross_entropy_with_logits(
        xp.stop_gradient(converted(xp, labels)), logits, dim if axis is None else axis
    )


def sparse_softmax_cross_entropy_with_logits(labels: Any = None, logits: Any = None, name: str | None = None) -> Any:
    """Cross-entropy of class indices: `log Σ_j exp z_j - z_y` of each row.

    Args:
        labels: y, int32 or int64, the shape of the logits without the last axis.
        logits: z, of a float dtype, classes along the last axis.
        name: ignored.

    Returns:
        The losses in nats, of the shape of the labels, in the dtype of the logits.

    Raises:
        ValueError: ranks or shapes that do not belong together, a missing argument.
        InvalidArgumentError: labels out of range in eager code (in a graph, NaN), labels or logits of another dtype.

    Example:
        >>> import numpy as np
        >>> from xent.compat import tf
        >>> tf.nn.sparse_softmax_cross_entropy_with_logits(np.array([2]), np.array([[1.0, 2.0, 3.0]])).round(6)
        array([0.407606])

    Source: `tf.nn.sparse_softmax_cross_entropy_with_logits`.
    """
    _both("sparse_softmax_cross_entropy_with_logits", labels, logits)
    xp = namespace_of(logits, labels)
    y, z = converted(xp, labels), _logits(xp, logits)
    shape, batch = xp.shape(z), xp.shape(y)
    if not shape:
        raise ValueError(f"`logits` cannot be a scalar. Received logits={logits}`")
    if len(batch) != len(shape) - 1:
        raise ValueError(
            "`labels.shape.rank` must equal `logits.shape.rank - 1`. Received: "
            f"labels.shape={batch} of rank {len(batch)} and logits.shape={shape} of rank {len(shape)}"
        )
    if batch != shape[:-1]:
        raise ValueError(
            "`labels.shape` must equal `logits.shape` except for the last dimension. Received: "
            f"labels.shape={batch} and logits.shape={shape}"
        )
    name = xp.dtype_name(y)
    if name not in ("int32", "int64"):
        raise wrong_dtype(xp, "Tlabels", "labels", name, ["int32", "int64"], "Convert the labels.")
    classes = shape[-1]
    if classes == 0:
        rows = listed((math.prod(batch), 0))
        raise invalid_argument(xp, f"Must have at least one class, but got logits shape {rows}")
    if not xp.is_readable(y) and hasattr(xp, "checked"):
        text = f"Received a label value which is outside the valid range of [0, {classes}).  Label values:"
        y = xp.checked(y, (y >= 0) & (y < classes), text)
    try:
        loss = softmax_cross_entropy(z, y, reduction="none")
    except IndexError as error:
        values = np.asarray(xp.numpy_of(y)).reshape(-1)
        first = values[(values < 0) | (values >= shape[-1])][0]
        raise invalid_argument(
            xp,
            f"Received a label value of {first} which is outside the valid range of [0, {shape[-1]}).  "
            f"Label values: {' '.join(map(str, values))}",
        ) from error
    return xp.astype(loss, xp.dtype_name(z))


def sigmoid_cross_entropy_with_logits(labels: Any = None, logits: Any = None, name: str | None = None) -> Any:
    """Binary cross-entropy of each element: `max(x, 0) - x·y + log(1 + e^-|x|)`.

    Args:
        labels: y, of the shape and dtype of the logits.
        logits: x, of a float dtype.
        name: ignored.

    Returns:
        The losses in nats, in the dtype of the logits, differentiable in both.

    Raises:
        ValueError: shapes that differ, a missing argument.
        InvalidArgumentError: labels of another dtype than the logits', logits of no float dtype.

    Example:
        >>> import numpy as np
        >>> from xent.compat import tf
        >>> tf.nn.sigmoid_cross_entropy_with_logits(np.array([1.0, 0.0]), np.array([2.0, -1.0])).round(6)
        array([0.126928, 0.313262])

    Source: `tf.nn.sigmoid_cross_entropy_with_logits`.
    """
    _both("sigmoid_cross_entropy_with_logits", labels, logits)
    xp, x, y = _pair(labels, logits)
    expected, found = xp.dtype_name(x), xp.dtype_name(y)
    if expected != found:
        raise _mixed(xp, "Sub" if found == "bool" else "Mul", expected, found)
    return xp.astype(sigmoid_cross_entropy(x, y, reduction="none", validate=False), xp.dtype_name(x))


def _pair(labels: Any, logits: Any) -> tuple[Any, Any, Any]:
    """The namespace, logits and labels of one shape."""
    xp = namespace_of(logits, labels)
    x, y = _logits(xp, logits, "x", _SMOOTH), converted(xp, labels)
    if xp.shape(x) != xp.shape(y):
        raise ValueError(f"`logits` and `labels` must have the same shape, received ({xp.shape(x)} vs {xp.shape(y)}).")
    return xp, x, y


def _mixed(xp: Any, operation: str, expected: str, found: str) -> Exception:
    """The error of an operation on two dtypes."""
    remedy = "Convert the labels to the dtype of the logits."
    return recorded_or(
        xp,
        TypeError,
        f"Input 'y' of '{operation}' Op has type {found} that does not match type {expected} of argument 'x'. {remedy}",
        f"cannot compute {operation} as input #1(zero-based) was expected to be a "
        f"{TF_NAMES.get(expected, expected)} tensor but is a {TF_NAMES.get(found, found)} tensor. {remedy}",
    )


def weighted_cross_entropy_with_logits(
    labels: Any = None, logits: Any = None, pos_weight: Any = None, name: str | None = None, targets: Any = None
) -> Any:
    """Binary cross-entropy of each element, its positive part weighted: `q·y·softplus(-x) + (1 - y)·softplus(x)`.

    Args:
        labels: y, of the shape and dtype of the logits. `targets` is its name in TensorFlow 1.
        logits: x, of a float dtype.
        pos_weight: q, a number or an array that broadcasts with the logits, at least 0; it is differentiable.
        name: ignored.

    Returns:
        The losses in nats, in the dtype of the logits.

    Raises:
        ValueError: shapes that differ, a missing argument, both `labels` and `targets`, weights that are not 0 or from
            1e-12 to 1e12 (TensorFlow takes them).
        TypeError: no `pos_weight`.
        InvalidArgumentError: weights that do not broadcast.

    Example:
        >>> import numpy as np
        >>> from xent.compat import tf
        >>> tf.nn.weighted_cross_entropy_with_logits(np.array([1.0, 0.0]), np.array([2.0, -1.0]), 3.0).round(6)
        array([0.380784, 0.313262])

    Source: `tf.nn.weighted_cross_entropy_with_logits`.
    """
    if targets is not None:
        if labels is not None:
            raise ValueError("Cannot specify both 'targets' and 'labels'.")
        labels = targets
    if pos_weight is None:
        raise TypeError(
            "unsupported operand type(s) for -: 'NoneType' and 'int'. Pass pos_weight, a number or an array."
        )
    xp, x, y = _pair(labels, logits)
    dtype, found = xp.dtype_name(x), xp.dtype_name(y)
    if found != dtype and found in LOGIT_DTYPES:
        raise _mixed(xp, "Mul", found, dtype)
    if found != dtype:
        less = pos_weight - 1 if isinstance(pos_weight, int | float) else pos_weight
        remedy = "Convert the labels to the dtype of the logits."
        if getattr(xp, "in_graph", bool)():
            raise TypeError(f"Expected {found}, but got {less} of type '{type(less).__name__}'. {remedy}")
        raise TypeError(f"Cannot convert {less} to EagerTensor of dtype {found}. {remedy}")
    weight = weights_of(xp, pos_weight, dtype)
    try:
        shape = np.broadcast_shapes(xp.shape(weight), xp.shape(x))
    except ValueError:
        sizes = f"{listed(xp.shape(weight))} vs. {listed(xp.shape(x))}"
        text = f"Incompatible shapes: {sizes}"
        raise recorded_or(xp, ValueError, f"{_unequal(xp.shape(weight), xp.shape(x))}. {text}", text) from None
    if shape != xp.shape(x):
        x, y = xp.broadcast_to(x, shape), xp.broadcast_to(y, shape)
    if math.prod(xp.shape(weight)) == 1 and weight.ndim > x.ndim:
        weight = xp.broadcast_to(weight, shape)
    return xp.astype(sigmoid_cross_entropy(x, y, pos_weight=weight, reduction="none", validate=False), dtype)
