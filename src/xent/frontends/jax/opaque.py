"""Functions that JAX differentiates by another one, wherever it meets them.

A `custom_jvp` says how a function is differentiated, but where JAX splits a program into what is known and what is
linear, as it does inside `lax.scan`, it keeps only the function's own operations. A custom call among them could then
be differentiated no more. A primitive of one's own keeps its rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_opaque: Any = Primitive("xent_opaque")
_opaque.multiple_results = True


class _Function:
    """What runs, and what is differentiated in its place; both on flat lists of arrays."""

    def __init__(self, run: Callable[..., list[Any]], derivative_of: Callable[..., list[Any]]) -> None:
        self.run, self.derivative_of = run, derivative_of


def opaque(run: Callable[[Any], Any], derivative_of: Callable[[Any], Any], argument: Any) -> Any:
    """`run(argument)`, differentiated as `derivative_of`, which gives the same; of any trees of arrays."""
    flat, tree = jax.tree.flatten(argument)
    result = None

    def on_flat(function: Callable[[Any], Any]) -> Callable[..., list[Any]]:
        def call(*leaves: Any) -> list[Any]:
            nonlocal result
            found, result = jax.tree.flatten(function(jax.tree.unflatten(tree, leaves)))
            return found

        return call

    found: Any = _opaque.bind(*flat, function=_Function(on_flat(run), on_flat(derivative_of)))
    return jax.tree.unflatten(result, found)


def _run(*arrays: Any, function: _Function) -> list[Any]:
    return function.run(*arrays)


def _shapes(*avals: Any, function: _Function) -> list[Any]:
    return jax.make_jaxpr(function.run)(*avals).out_avals  # type: ignore[no-any-return]


def _derivative(primals: Any, tangents: Any, *, function: _Function) -> Any:
    slopes = tuple(ad.instantiate_zeros(t) for t in tangents)  # type: ignore[no-untyped-call]
    return jax.jvp(function.derivative_of, tuple(primals), slopes)


def _batched(arrays: Any, axes: Any, *, function: _Function) -> Any:
    each = _Function(*(jax.vmap(f, in_axes=tuple(axes)) for f in (function.run, function.derivative_of)))
    found = _opaque.bind(*arrays, function=each)
    return found, [0] * len(found)


_opaque.def_impl(_run)
_opaque.def_abstract_eval(_shapes)
ad.primitive_jvps[_opaque] = _derivative
batching.primitive_batchers[_opaque] = _batched
mlir.register_lowering(_opaque, mlir.lower_fun(lambda *arrays, function: function.run(*arrays), multiple_results=True))
