"""The kernels as custom calls of XLA on CPU."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ... import _native
from ...kernels.native import ElementwiseLines
from ...options import ElementwiseOptions
from ...problem import RowLayout, Shape, shared_layouts
from .arrays import alike, varying


@cache
def available() -> bool:
    """Whether XLA has taken the kernels; where it has not, the reference is compiled."""
    calls = _native.xla_calls()
    try:
        for name, handler in calls.items():
            jax.ffi.register_ffi_target(name, handler, platform="cpu")
    except Exception as error:  # another version of XLA's interface
        warnings.warn(
            f"This JAX refuses xent's kernels: jit compiles the slower reference. Reinstall xent beside it. ({error})",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return bool(calls)


def _shaped(shape: Shape, dtype: Any, like: Any) -> Any:
    """The type of a result of a call whose operands differ along the same axes as `like`."""
    if varying(like):
        return jax.typeof(like).update(shape=shape, dtype=np.dtype(dtype))
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


def _absent(dtype: Any = np.float32) -> Any:
    return jnp.zeros((0,), dtype)


def softmax(
    logits: Any,
    axis: int,
    coefficients: dict[str, Any],
    *,
    mass: Any = None,
    of_dense: bool = False,
    labels: Any = None,
    dense: Any = None,
    topk: tuple[Any, Any] | None = None,
    class_weight: Any = None,
    measure: tuple[float, float] | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    ignore_index: int | None = None,
    per_row: bool = False,
    statistics: bool = False,
    gradient: bool = False,
) -> tuple[Any, ...]:
    """(loss, lse, entropy, argmax, gradient) of rows along `axis`; what is not asked for has no elements.

    `coefficients`: any of b, c, l, zeta, h, a number or one a row. `mass`: what the rows add to the denominator of a
    mean, by which sum and gradient are divided; with `of_dense`, times the mass of their soft targets.
    """
    shape = logits.shape
    outer, classes, inner = int(np.prod(shape[:axis])), shape[axis], int(np.prod(shape[axis + 1 :]))
    batch, dtype = shape[:axis] + shape[axis + 1 :], jnp.float64 if logits.dtype == jnp.float64 else jnp.float32
    names = ("b", "c", "l", "zeta", "h")
    each = [jnp.asarray(coefficients[k], dtype).reshape(-1) if k in coefficients else _absent() for k in names]
    operands = alike(
        [
            logits,
            _absent(np.int32) if labels is None else labels,
            _absent() if dense is None else dense,
            *((_absent(np.int32), _absent()) if topk is None else topk),
            _absent() if class_weight is None else jnp.asarray(class_weight, dtype),
            *each,
            _absent() if mass is None else jnp.asarray(mass, dtype).reshape(-1),
        ]
    )
    like = operands[0]
    nothing, row = _shaped((0,), dtype, like), _shaped(batch, dtype, like)
    results = (
        row if per_row else _shaped((), dtype, like),
        *((row, row) if statistics else (nothing, nothing)),
        _shaped(batch if statistics else (0,), jnp.int32, like),
        _shaped(shape if gradient else (0,), logits.dtype, like),
    )
    call = jax.ffi.ffi_call(
        "xent_softmax",
        results,
        vmap_method="broadcast_all",
        # the slopes of the soft cap and of the entropy are made from the logits when the gradient is written already
        input_output_aliases={0: 4} if gradient and softcap is None and "h" not in coefficients else None,
    )
    return call(  # type: ignore[return-value]
        *operands,
        outer=np.int64(outer),
        classes=np.int64(classes),
        inner=np.int64(inner),
        temperature=np.float64(temperature),
        softcap=np.float64(softcap or 0.0),
        measure=measure is not None,
        alpha=np.float64(0.0 if measure is None else measure[0]),
        beta=np.float64(0.0 if measure is None else measure[1]),
        has_ignore=ignore_index is not None,
        ignore=np.int64(ignore_index or 0),
        of_dense=of_dense,
        per_row=per_row,
    )


def _row_major(shape: Shape, full: Shape) -> Shape:
    """Strides of a row-major array of `shape` broadcast to `full`."""
    strides, step = [0] * len(full), 1
    for at in range(1, len(shape) + 1):
        if shape[-at] != 1:
            strides[-at] = step
        step *= shape[-at]
    return tuple(strides)


def elementwise(
    logits: Any,
    labels: Any,
    options: ElementwiseOptions,
    *,
    pos_weight: Any = None,
    weights: list[Any],
    mass: Any = None,
    repeats: float = 1.0,
    validate: bool,
    gradient: bool = False,
) -> tuple[Any, Any]:
    """(loss, gradient) of single numbers; a gradient that is not asked for has no elements.

    The sum of `mass`, times `repeats`, is the denominator of a mean.
    """
    shape = logits.shape
    dtype = jnp.float64 if logits.dtype == jnp.float64 else jnp.float32
    factors = [None if w is None else jnp.asarray(w, dtype) for w in (pos_weight, *weights)]
    factors += [None] * (3 - len(factors))
    operands = [logits, labels, *factors]
    present = [x for x in operands if x is not None]
    layouts = shared_layouts(shape, tuple(_row_major(x.shape, shape) for x in (*present, logits)), False)
    if layouts is None:  # broadcast in a way that no walk follows
        factors = [None if x is None else jnp.broadcast_to(x, shape) for x in factors]
        operands = [logits, labels, *factors]
        layouts = tuple(RowLayout(1, int(np.prod(shape)), 1, 0, 1, 0) for _ in (*present, logits))
    left = iter(layouts)
    strides: list[int] = []
    for x in (*operands, logits):
        strides += (0, 0, 0) if x is None else next(left)[3:]
    per_element = options.reduction == "none"
    given = alike(
        [
            logits,
            labels,
            *(_absent() if x is None else x for x in factors),
            _absent() if mass is None else jnp.asarray(mass, dtype).reshape(-1),
        ]
    )
    like = given[0]
    call = jax.ffi.ffi_call(
        "xent_elementwise",
        (
            _shaped(shape if per_element else (), dtype, like),
            _shaped(shape if gradient else (0,), logits.dtype, like),
        ),
        vmap_method="broadcast_all",
        input_output_aliases={0: 1} if gradient else None,
    )
    return call(  # type: ignore[return-value]
        *given,
        sizes=np.asarray(layouts[0][:3], np.int64),
        strides=np.asarray(strides, np.int64),
        kind=np.int64(ElementwiseLines.KINDS.index(options.kind)),
        meaning=np.asarray([options.alpha, options.beta, options.rest, options.low, options.high]),
        factors=np.asarray(
            [options.positive, options.negative, options.gamma_pos, options.gamma_neg, options.clip], np.float64
        ),
        repeats=np.float64(repeats),
        ends_only=options.ends_only,
        has_ignore=options.ignore_index is not None,
        ignore=np.float64(options.ignore_index or 0.0),
        per_element=per_element,
        validate=validate,
    )
