"""L08 and L09: what a Keras model ends in, and what its loss takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import libcst as cst

from ..activations import output, takes_logits
from ..rule import Edit, Problem, Rule
from ..source import Source, argument, arguments, is_word, text
from ..vocabulary import LOSS_CLASSES, LOSS_FUNCTIONS, LOSS_NAMES

KERAS = frozenset(("keras", "tf_keras"))
COMPILE = frozenset(("compile()",))


@dataclass(frozen=True)
class Compiled:
    """A model that is compiled: what it ends in, and whether its loss takes logits.

    Attributes:
        ending: "softmax", "sigmoid" or "linear".
        loss: the argument.
        from_logits: what the loss says it takes.
        made_by: the call that makes the loss, where it stands in the argument.
        name: the loss's.
    """

    ending: str
    loss: cst.BaseExpression
    from_logits: bool
    made_by: cst.Call | None
    name: str


def probabilities_as_logits(source: Source) -> Iterator[Problem]:
    """L08."""
    for model in _compiled(source):
        if model.ending in ("softmax", "sigmoid") and model.from_logits:
            message = f"the model ends in {model.ending}, and {model.name}(from_logits=True) applies one more"
            fix = "drop the model's last activation, or from_logits=True"
            yield Problem(model.loss, "error", message, fix, _from_logits(source, model, "False"))


def logits_as_probabilities(source: Source) -> Iterator[Problem]:
    """L09."""
    for model in _compiled(source):
        if model.ending == "linear" and not model.from_logits:
            message = f"the model ends in logits, and {model.name} takes probabilities unless it has from_logits=True"
            yield Problem(model.loss, "error", message, "pass from_logits=True", _from_logits(source, model, "True"))


def _compiled(source: Source) -> Iterator[Compiled]:
    for call in source.calls:
        if not isinstance(call.func, cst.Attribute) or call.func.attr.value != "compile" or source.name(call.func):
            continue
        loss = argument(call, 1, "loss")
        if loss is None:
            continue
        ending = _ending(source, call.func.value)
        if ending not in ("softmax", "sigmoid", "linear"):
            continue
        word = text(loss)
        if word is not None:
            if f"keras.losses.{word}" in LOSS_FUNCTIONS:
                yield Compiled(ending, loss, False, None, f"the loss {word!r}")
            continue
        name = source.name(loss)
        if name in LOSS_FUNCTIONS and name.startswith("keras."):
            yield Compiled(ending, loss, False, None, name.rpartition(".")[2])
            continue
        made_by = source.constructor(loss)
        name = "" if made_by is None else source.name(made_by.func)
        if made_by is not None and name in LOSS_CLASSES and name.startswith(("keras.", "tensorflow.")):
            from_logits = takes_logits(LOSS_CLASSES[name], made_by, is_function=False)
            if from_logits is not None:
                inline = made_by if made_by is loss else None
                yield Compiled(ending, loss, from_logits, inline, name.rpartition(".")[2])


def _ending(source: Source, model: cst.BaseExpression) -> str | None:
    """What a model ends in that is built in the lines before it is compiled."""
    if not isinstance(model, cst.Name):
        return None
    added = [c for c in source.calls if _is_method_of(c, model.value, ("add", "pop")) and _same_scope(source, c, model)]
    if not added:
        made_by = source.constructor(model)
        return None if made_by is None else output(source, made_by)
    last = added[-1]
    bound = source.assignments(model)
    if len(bound) != 1 or not _is_method_of(last, model.value, ("add",)) or not _same_block(source, last, model):
        return None
    made = source.nodes.values.get(bound[0])
    if not isinstance(made, cst.Call) or source.name(made.func) != "keras.Sequential":
        return None
    layer = argument(last, 0, "layer")
    made_by = None if layer is None else source.constructor(layer)
    return None if made_by is None else output(source, made_by)


def _is_method_of(call: cst.Call, name: str, methods: tuple[str, ...]) -> bool:
    function = call.func
    return isinstance(function, cst.Attribute) and function.attr.value in methods and is_word(function.value, name)


def _same_scope(source: Source, a: cst.CSTNode, b: cst.CSTNode) -> bool:
    return source.scopes.get(a) is source.scopes.get(b)


def _same_block(source: Source, a: cst.CSTNode, b: cst.CSTNode) -> bool:
    blocks = (cst.IndentedBlock, cst.Module)
    return source.enclosing(a, *blocks) is source.enclosing(b, *blocks)


def _from_logits(source: Source, model: Compiled, value: str) -> tuple[Edit, ...]:
    """The edit that says from_logits=value where the loss is made."""
    given = None if model.made_by is None else arguments(model.made_by)
    if model.made_by is None or given is None:
        return ()
    positional, named = given
    if "from_logits" in named:
        return (Edit(named["from_logits"].value, value),)
    if positional:
        return ()
    function = source.code(model.made_by.func)
    rest = "".join(
        f", {source.code(arg.with_changes(comma=cst.MaybeSentinel.DEFAULT)).strip()}" for arg in named.values()
    )
    return (Edit(model.made_by, f"{function}(from_logits={value}{rest})"),)


RULES = (
    Rule(
        number="L08",
        summary="a Keras model that ends in softmax or sigmoid, compiled with from_logits=True",
        why=(
            "The loss applies the activation once more, to numbers between 0 and 1: it can not become small, and "
            "its gradient all but vanishes."
        ),
        bad="""\
import keras

model = keras.Sequential([keras.layers.Dense(64), keras.layers.Dense(10, activation="softmax")])
model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
""",
        good="""\
import keras

model = keras.Sequential([keras.layers.Dense(64), keras.layers.Dense(10, activation="softmax")])
model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=False))
""",
        mends=True,
        words=(KERAS, COMPILE, LOSS_NAMES),
        check=probabilities_as_logits,
    ),
    Rule(
        number="L09",
        summary="a Keras model that ends linear, compiled with a loss that takes probabilities",
        why=(
            "Without from_logits=True the loss divides its input by its sum and clips it to [1e-7, 1]. Of logits, "
            "that is a number without meaning, and there is no gradient where a logit is negative."
        ),
        bad="""\
import keras

model = keras.Sequential([keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)])
model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy())
""",
        good="""\
import keras

model = keras.Sequential([keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)])
model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
""",
        mends=True,
        words=(KERAS, COMPILE, LOSS_NAMES),
        check=logits_as_probabilities,
    ),
)
