"""Gradients that hold the used lines of an array only.

A cotangent of JAX has its array's shape, so no derivative rule can give such a gradient. But a traced function can be
cut where it gathers lines of an argument: the gradient is then taken by the lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal, jaxpr_as_fun

from ...sparse import SparseRows

_waiting: ContextVar[bool] = ContextVar("xent_sparse_waiting", default=False)


class SparseRequested(BaseException):
    """Leaves a function that is differentiated in the usual way, before it has drawn anything."""


@contextmanager
def noticing(on: bool) -> Iterator[None]:
    """Whether a loss with sparse gradients is to raise `SparseRequested`."""
    token = _waiting.set(on)
    try:
        yield
    finally:
        _waiting.reset(token)


def sparse_when_asked(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function with an argument `sparse`, which is noticed."""

    def wrapped(*args: Any, sparse: bool, **options: Any) -> Any:
        if sparse and _waiting.get():
            raise SparseRequested
        return function(*args, sparse=sparse, **options)

    return wrapped


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def lines(x: Any, ids: Any, dtype: str) -> Any:
    """The lines of an array with these numbers, in a dtype, in which repeated lines of a gradient add up, too."""
    return jnp.take(x, ids, axis=0, mode="fill").astype(dtype)


@lines.defjvp
def _tangent(dtype: str, primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    ids = primals[1]
    return lines(*primals, dtype), jnp.take(tangents[0].astype(dtype), ids, axis=0, mode="fill")


def _sparse_lines(x: Any, ids: Any, dtype: str) -> Any:
    return lines(x, ids, dtype)


_sparse_lines.__name__ = "xent_sparse_lines"  # by which the gathering is found in the trace
sparse_lines = jax.jit(_sparse_lines, static_argnums=2)


class _Program:
    """A traced function of arrays, cut where lines are gathered from an argument.

    Attributes:
        gathered: of each gathering, which argument its lines are of. dtypes: and the dtype they are in.
    """

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._traced, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        self._tree = jax.tree.structure(shapes)
        jaxpr = self._traced.jaxpr
        place = {var: at for at, var in enumerate(jaxpr.invars)}
        self._gatherings = [
            e for e in jaxpr.eqns if e.params.get("name") == _sparse_lines.__name__ and e.invars[0] in place
        ]
        self.gathered = [place[e.invars[0]] for e in self._gatherings]
        self.dtypes = [e.outvars[0].aval.dtype.name for e in self._gatherings]

    def _run(self, equations: list[Any], extra: list[Any], results: list[Any], arrays: tuple[Any, ...]) -> list[Any]:
        """Some of the equations, which take `extra` as further arguments."""
        jaxpr = self._traced.jaxpr
        names = jaxpr.debug_info._replace(arg_names=None, result_paths=None)
        part = jaxpr.replace(eqns=equations, invars=[*jaxpr.invars, *extra], outvars=results, debug_info=names)
        return jaxpr_as_fun(self._traced.replace(jaxpr=part))(*arrays)  # type: ignore[no-any-return, no-untyped-call]

    def differentiated(self) -> set[int]:
        """The arguments that a gradient can reach other than through lines."""
        blind = [*self._gatherings, *(e for e in self._equations() if e.primitive.name == "stop_gradient")]
        reached = {v for e in self._equations() if e not in blind for v in _variables(e.invars)}
        reached.update(_variables(self._traced.jaxpr.outvars))
        return {at for at, var in enumerate(self._traced.jaxpr.invars) if var in reached}

    def _equations(self) -> list[Any]:
        return self._traced.jaxpr.eqns  # type: ignore[no-any-return]

    def ids(self, args: tuple[Any, ...]) -> list[Any]:
        """The ids of each gathering."""
        wanted = [e.invars[1] for e in self._gatherings]
        needed, equations = _variables(wanted), []
        for equation in reversed(self._equations()):
            if not needed.isdisjoint(equation.outvars):
                equations.append(equation)
                needed |= _variables(equation.invars)
        return self._run(equations[::-1], [], wanted, args)

    def rest(self, args: tuple[Any, ...], lines: list[Any]) -> Any:
        """The result from gathered lines."""
        equations = [e for e in self._equations() if e not in self._gatherings]
        taken = [e.outvars[0] for e in self._gatherings]
        flat = self._run(equations, taken, self._traced.jaxpr.outvars, (*args, *lines))
        return jax.tree.unflatten(self._tree, flat)


def _variables(some: list[Any]) -> set[Any]:
    return {v for v in some if not isinstance(v, Literal)}


def value_and_sparse_grad(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, list[Any]]:
    """What a function gives beside its scalar, and its gradients to all arguments, `SparseRows` where they can be.

    Args:
        function: gives (scalar, anything of arrays).
    """
    program = _Program(function, args)
    dense = program.differentiated() | set(range(len(args))) - set(program.gathered)

    def rest(chosen: dict[int, Any], taken: list[Any]) -> Any:
        return program.rest(tuple(chosen.get(at, array) for at, array in enumerate(args)), taken)

    ids = program.ids(args)
    taken = [lines(args[at], i, dtype) for at, i, dtype in zip(program.gathered, ids, program.dtypes, strict=True)]
    chosen = {at: args[at] for at in sorted(dense)}
    (of_arrays, of_lines), out = jax.grad(rest, argnums=(0, 1), has_aux=True)(chosen, taken)
    found: list[Any] = [of_arrays.get(at) for at in range(len(args))]
    for at, i, g in zip(program.gathered, ids, of_lines, strict=True):
        size, *width = args[at].shape
        part = SparseRows(i.reshape(-1), g.reshape(-1, *width).astype(args[at].dtype), size)
        if at in dense:
            found[at] += part.to_dense()
        else:
            found[at] = part if found[at] is None else found[at].plus(part)
    return out, found


jax.tree_util.register_pytree_node(
    SparseRows, lambda g: ((g.ids, g.rows), g.size), lambda size, parts: SparseRows(*parts, size)
)
