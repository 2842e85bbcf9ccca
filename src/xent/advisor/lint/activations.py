"""Where losses are called, and which activation an array comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import libcst as cst

from .source import FOLLOWED, Source, argument, is_word, number, text
from .vocabulary import ACTIVATION_CLASSES, ACTIVATION_METHODS, ACTIVATIONS, LOSS_CLASSES, LOSS_FUNCTIONS, Kind, Loss

Output = Kind | Literal["linear"]
CLASS_AXES = (1, -1)  # where the classes are unless a loss is told otherwise
AXES = frozenset(("dim", "axis", "dtype"))
# Keras layers whose output is linear unless they are given an activation, and how many arguments come before that
LINEAR_LAYERS = {"keras.layers.Dense": 1} | {f"keras.layers.Conv{n}D": None for n in (1, 2, 3)}


@dataclass(frozen=True)
class Activation:
    """A softmax or sigmoid that an array comes from.

    Attributes:
        kind: which one.
        call: the expression that applies it.
        axis: over which axis, -1 where none is given; None where the source leaves that open.
        logits: what it is applied to, where that is written there.
    """

    kind: Kind
    call: cst.Call
    axis: float | None
    logits: cst.BaseExpression | None = None


@dataclass(frozen=True)
class LossCall:
    """A loss applied to logits.

    Attributes:
        loss: how it takes its arguments.
        name: its canonical name.
        call: the call with the logits.
        made_by: the call that made the loss, where it is an object.
        logits: the argument.
        from_logits: whether it takes logits; None where the source leaves that open.
    """

    loss: Loss
    name: str
    call: cst.Call
    made_by: cst.Call | None
    logits: cst.BaseExpression
    from_logits: bool | None


def loss_calls(source: Source) -> Iterator[LossCall]:
    """Every call of a known loss."""
    for call in source.calls:
        name = source.name(call.func)
        made_by = None
        loss = LOSS_FUNCTIONS.get(name)
        if loss is None and not name:
            made_by = source.constructor(call.func)
            if made_by is None:
                continue
            name = source.name(made_by.func)
            loss = LOSS_CLASSES.get(name)
        if loss is None:
            continue
        position, keywords = loss.logits
        logits = argument(call, position, *keywords)
        if logits is not None:
            yield LossCall(loss, name, call, made_by, logits, takes_logits(loss, made_by or call, made_by is None))


def takes_logits(loss: Loss, call: cst.Call, is_function: bool) -> bool | None:
    """What a loss takes. Keras says it in an argument: the third of its functions, the first of its classes."""
    if loss.from_logits is not None:
        return loss.from_logits
    if any(arg.star for arg in call.args):
        return None
    focal = "Focal" in getattr(getattr(call.func, "attr", call.func), "value", "")
    given = argument(call, 2 if is_function else None if focal else 0, "from_logits")
    if given is None or is_word(given, "False"):
        return False
    return True if is_word(given, "True") else None


def activation(source: Source, node: cst.BaseExpression, depth: int = 0) -> Activation | None:
    """The activation that an array comes from, through variables and modules; None where that is not certain."""
    call = source.value(node)
    if depth > FOLLOWED or not isinstance(call, cst.Call):
        return None
    name = source.name(call.func)
    if name:
        kind = ACTIVATIONS.get(name)
        logits = argument(call, 0, "input", "logits", "x", "features")
        return Activation(kind, call, _axis(call, 1), logits) if kind else None
    method = call.func
    if isinstance(method, cst.Attribute) and not is_word(method.value, "self") and _takes_axes_only(call):
        kind = ACTIVATION_METHODS.get(method.attr.value)
        if kind is not None:
            return Activation(kind, call, _axis(call, 0), method.value)
    made_by = source.constructor(call.func)
    if made_by is None:
        return None
    ending = output(source, made_by, depth + 1)
    if ending is None or ending == "linear":
        return None
    if source.name(made_by.func) in ACTIVATION_CLASSES:
        return Activation(ending, call, _axis(made_by, 0), argument(call, 0, "input"))
    return Activation(ending, call, -1)


def output(source: Source, made_by: cst.Call, depth: int = 0) -> Output | None:
    """What a module or layer ends in: an activation over classes, "linear", or None where that is not certain."""
    if depth > FOLLOWED:
        return None
    name = source.name(made_by.func)
    if name in ACTIVATION_CLASSES:
        return ACTIVATION_CLASSES[name] if _axis(made_by, 0) in CLASS_AXES else None
    if name == "torch.Sequential":
        return _output_of_last(source, [arg.value for arg in made_by.args if not arg.star], depth)
    if name == "keras.Sequential":
        layers = argument(made_by, 0, "layers")
        elements = layers.elements if isinstance(layers, cst.List) else ()
        if any(isinstance(e, cst.StarredElement) for e in elements):
            return None
        return _output_of_last(source, [e.value for e in elements], depth)
    if name == "keras.Model":
        result = argument(made_by, 1, "outputs")
        return None if result is None else _output_of_layer_call(source, result, depth)
    if name.startswith("keras.layers."):
        return _output_of_layer(source, name, made_by)
    return _output_of_own_module(source, made_by, depth)


def _axis(call: cst.Call, position: int) -> float | None:
    """The axis that an activation is given."""
    given = argument(call, position, "dim", "axis")
    unpacks = any(arg.star for arg in call.args)
    return number(given) if given is not None or unpacks else -1


def _takes_axes_only(call: cst.Call) -> bool:
    return all(
        arg.keyword.value in AXES if arg.keyword else not arg.star and number(arg.value) is not None
        for arg in call.args
    )


def _output_of_last(source: Source, modules: list[cst.BaseExpression], depth: int) -> Output | None:
    made_by = source.constructor(modules[-1]) if modules else None
    return None if made_by is None else output(source, made_by, depth + 1)


def _output_of_layer_call(source: Source, node: cst.BaseExpression, depth: int) -> Output | None:
    call = source.value(node)
    if not isinstance(call, cst.Call):
        return None
    if source.name(call.func) in ACTIVATIONS:
        return ACTIVATIONS[source.name(call.func)]
    made_by = source.constructor(call.func)
    return None if made_by is None else output(source, made_by, depth + 1)


def _output_of_layer(source: Source, name: str, made_by: cst.Call) -> Output | None:
    if any(arg.star for arg in made_by.args):
        return None
    if name == "keras.layers.Activation":
        return _keras_activation(source, argument(made_by, 0, "activation"))
    if name not in LINEAR_LAYERS:
        return None
    before = LINEAR_LAYERS[name]
    given = argument(made_by, before, "activation")
    if given is None and before is None and sum(arg.keyword is None for arg in made_by.args) > 2:
        return None
    return "linear" if given is None or is_word(given, "None") else _keras_activation(source, given)


def _keras_activation(source: Source, given: cst.BaseExpression | None) -> Output | None:
    if given is None:
        return None
    word = text(given)
    if word == "linear":
        return "linear"
    return ACTIVATIONS.get(source.name(given) if word is None else f"keras.activations.{word}")


def _output_of_own_module(source: Source, made_by: cst.Call, depth: int) -> Output | None:
    """What the forward of a class of this module returns, where it has one return only."""
    definition = source.definition(made_by.func)
    if definition is None or not any(source.name(base.value) == "torch.Module" for base in definition.bases):
        return None
    body = definition.body.body
    forward = [f for f in body if isinstance(f, cst.FunctionDef) and f.name.value == "forward"]
    returns = [r for r in source.nodes.returns if source.enclosing(r, cst.FunctionDef) in forward]
    if len(forward) != 1 or len(returns) != 1 or returns[0].value is None:
        return None
    found = activation(source, returns[0].value, depth + 1)
    return found.kind if found is not None and found.axis in CLASS_AXES else None
