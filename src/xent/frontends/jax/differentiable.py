"""Losses as JAX differentiates them: forwards, backwards, and as often as wanted.

A call knows its loss in two ways: by the kernels, with the slopes (the gradients to the logits, in the same pass), and
by the reference in JAX's operations. The first derivative to the logits comes from the slopes: the tangent is their
inner product with the logits' tangent, which JAX turns round for the backward pass. Every other derivative is the
reference's.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from .arrays import alike, compilable, is_readable, is_traced
from .opaque import opaque

Arrays = dict[str, Any]
Outputs = tuple[Any, ...]


class Call(Protocol):
    """A loss of named arrays, among them `logits`; its outputs are one number, one a row, or one an element."""

    options: Any
    constants: Arrays  # what is NumPy's, as it was given

    def on_memory(self, arrays: Arrays, slopes: bool) -> tuple[Outputs, Outputs]:
        """Outputs and slopes of arrays whose values are there, by the kernels."""

    def on_xla(self, arrays: Arrays, slopes: bool) -> tuple[Outputs, Outputs]:
        """The same as a custom call, for CPU."""

    def reference(self, arrays: Arrays) -> Outputs:
        """The outputs in JAX's operations."""

    def custom_call(self) -> bool:
        """Whether XLA has the kernels."""


def _reference(call: Call, arrays: Arrays, slopes: bool) -> tuple[Outputs, Outputs]:
    if not slopes:
        return call.reference(arrays), ()
    outputs, pull = jax.vjp(lambda x: call.reference({**arrays, "logits": x}), arrays["logits"])

    def slope(at: int) -> Any:
        cotangents = [
            np.zeros(o.shape, jax.dtypes.float0)
            if not jnp.issubdtype(o.dtype, jnp.floating)
            else alike([o, jnp.full(o.shape, float(i == at), o.dtype)])[1]
            for i, o in enumerate(outputs)
        ]
        return pull(tuple(cotangents))[0]

    return outputs, tuple(slope(i) for i, o in enumerate(outputs) if jnp.issubdtype(o.dtype, jnp.floating))


def _run(call: Call, arrays: Arrays, slopes: bool) -> tuple[Outputs, Outputs]:
    values = arrays.values()
    if all(is_readable(x) for x in values):
        return call.on_memory({**arrays, **call.constants}, slopes)
    if not call.custom_call() or not any(is_traced(x) for x in values):
        return _reference(call, arrays, slopes)

    def run(a: Arrays) -> tuple[Outputs, Outputs]:
        return jax.lax.platform_dependent(  # type: ignore[no-any-return]
            a, cpu=lambda a: call.on_xla(a, slopes), default=lambda a: _reference(call, a, slopes)
        )

    return opaque(run, lambda a: _reference(call, a, slopes), arrays)  # type: ignore[no-any-return]


def evaluate(call: Call, arrays: Arrays) -> Outputs:
    """The outputs of a call."""
    if all(is_readable(x) for x in arrays.values()):
        return call.on_memory(arrays, False)[0]  # nothing is differentiated: spares the machinery
    ignore = call.options.ignore_index
    call.constants = {name: x for name, x in arrays.items() if isinstance(x, np.ndarray)}
    arrays = {name: compilable(_argument(name), x, ignore) for name, x in arrays.items()}
    if any(is_traced(x) for x in arrays.values()):
        return _differentiable(call, arrays)
    return _run(call, arrays, False)[0]


def _argument(name: str) -> str:
    return f"labels.{name}" if name in ("indices", "values", "classes", "starts") else name


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _differentiable(call: Call, arrays: Arrays) -> Outputs:
    return _run(call, arrays, False)[0]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _with_slopes(call: Call, arrays: Arrays) -> tuple[Outputs, Outputs]:
    return _run(call, arrays, True)


@_with_slopes.defjvp
def _curvature(call: Call, primals: Any, tangents: Any) -> Any:
    return jax.jvp(lambda a: _reference(call, a, True), primals, tangents)


@partial(_differentiable.defjvp, symbolic_zeros=True)
def _derivative(call: Call, primals: tuple[Arrays], tangents: tuple[Arrays]) -> Any:
    arrays = primals[0]
    moving = {name: t for name, t in tangents[0].items() if type(t) is not SymbolicZero}
    if moving.keys() - {"logits"}:
        at = {name: arrays[name] for name in moving}
        return jax.jvp(lambda some: call.reference({**arrays, **some}), (at,), (moving,))
    outputs, slopes = _with_slopes(call, arrays)
    of_logits, left = moving.get("logits"), iter(slopes)
    results = []
    for output in outputs:
        if of_logits is None or not jnp.issubdtype(output.dtype, jnp.floating):
            results.append(SymbolicZero(jax.typeof(output).to_tangent_aval()))
        else:
            results.append(_product(next(left), of_logits, output, call))
    return outputs, tuple(results)


def _product(slope: Any, tangent: Any, output: Any, call: Any) -> Any:
    """Σ slope·tangent over what the output sums up: everything, the classes, or nothing."""
    wide = slope.astype(output.dtype) * tangent.astype(output.dtype)
    if output.ndim == 0:
        return jnp.sum(wide)
    return wide if output.shape == slope.shape else jnp.sum(wide, axis=call.problem.axis)
