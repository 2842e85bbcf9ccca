"""A module's syntax tree with what the rules ask of it: which function a name stands for, which value a variable has.

Every answer is None or empty where the source leaves it open, so that rules stay silent in doubt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import fields
from functools import cache, cached_property
from typing import NamedTuple

import libcst as cst
from libcst.metadata import (
    Assignment,
    CodeRange,
    ExpressionContext,
    ExpressionContextProvider,
    MetadataWrapper,
    PositionProvider,
    QualifiedNameSource,
    Scope,
    ScopeProvider,
)

from .names import canonical

# Methods that leave what an array means as it is
NEUTRAL_METHODS = frozenset(
    [
        "astype",
        "clone",
        "contiguous",
        "cpu",
        "cuda",
        "detach",
        "double",
        "flatten",
        "float",
        "half",
        "permute",
        "reshape",
        "squeeze",
        "to",
        "transpose",
        "type",
        "unsqueeze",
        "view",
    ]
)
MODULE_METHODS = frozenset(["cpu", "cuda", "double", "eval", "float", "half", "requires_grad_", "to", "train"])
GROWING_METHODS = frozenset(["add", "add_module", "append", "extend", "insert", "pop", "register_module"])
LAYOUT = (
    *("comma", "equal", "footer", "header", "indent", "leading_lines", "lines_after", "lpar", "rpar", "semicolon"),
    *("trailing", "whitespace"),
)
# Functions, methods and attributes that neither change an array nor share its memory
READING = frozenset(
    ["argmax", "device", "dim", "dtype", "len", "max", "mean", "min", "ndim", "numel", "print", "shape", "size", "sum"]
)
FUNCTIONS = (cst.FunctionDef, cst.ClassDef, cst.Lambda)
# What may be run any number of times, at another time than what stands round it
REPEATED = (cst.For, cst.While, cst.ListComp, cst.SetComp, cst.DictComp, cst.GeneratorExp, *FUNCTIONS)
FOLLOWED = 8  # variables and methods between a use and its value


class Source:
    """One module. The tree is parsed here; everything else is computed when it is asked for."""

    def __init__(self, text: str) -> None:
        # A tree fresh from the parser holds no node twice, so it needs no copy.
        self.wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
        self.module = self.wrapper.module
        self.scopes = self.wrapper.resolve(ScopeProvider)
        self.parents = parents(self.module)
        self.nodes = _Nodes()
        for node in self.parents:
            self.nodes.add(node)

    @property
    def calls(self) -> list[cst.Call]:
        """Every call."""
        return self.nodes.calls

    @cached_property
    def positions(self) -> dict[cst.CSTNode, CodeRange]:
        """Where nodes are; asked for only when there is something to report."""
        return dict(self.wrapper.resolve(PositionProvider))

    @cached_property
    def comments(self) -> dict[int, str]:
        """The comments by their lines."""
        return {place.start.line: node.value for node, place in self.positions.items() if isinstance(node, cst.Comment)}

    def code(self, node: cst.CSTNode) -> str:
        """A node as it is written, with its parentheses."""
        return self.module.code_for_node(node)

    # Names

    def name(self, node: cst.CSTNode) -> str:
        """The canonical name of what an expression imports, such as "torch.softmax"; empty for anything else."""
        if not _is_dotted(node):
            return ""
        scope = self.scopes.get(node)
        if scope is None:
            return ""
        found = scope.get_qualified_names_for(node)
        names = {canonical(q.name) if q.source is QualifiedNameSource.IMPORT else "" for q in found}
        return names.pop() if len(names) == 1 else ""

    def imports(self, package: str) -> bool:
        """Whether the module imports a package or something from it."""
        return package in self.nodes.imported

    # Values

    def value(self, node: cst.BaseExpression) -> cst.BaseExpression:
        """What an expression stands for: variables with one possible value are followed, neutral methods left out."""
        for _ in range(FOLLOWED):
            if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and not self.name(node.func):
                if node.func.attr.value not in NEUTRAL_METHODS:
                    return node
                node = node.func.value
                continue
            following = self.assigned(node)
            if following is None:
                return node
            node = following
        return node

    def assigned(self, node: cst.BaseExpression) -> cst.BaseExpression | None:
        """The expression that a variable or an attribute of self was assigned, where it can be one only."""
        if isinstance(node, cst.Name):
            return self._variable(node)
        if isinstance(node, cst.Attribute) and isinstance(node.value, cst.Name) and node.value.value == "self":
            return self._attribute(node)
        return None

    def constructor(self, node: cst.BaseExpression) -> cst.Call | None:
        """The call that made a callable: that of `nn.Softmax(dim=1)` for `m` after `m = nn.Softmax(dim=1).cuda()`."""
        for _ in range(FOLLOWED):
            if isinstance(node, cst.Call):
                if not isinstance(node.func, cst.Attribute) or node.func.attr.value not in MODULE_METHODS:
                    return node
                node = node.func.value
                continue
            following = self.assigned(node)
            if following is None:
                return None
            node = following
        return None

    def assignments(self, node: cst.Name) -> list[cst.CSTNode]:
        """Where a variable is bound: names on the left of assignments, parameters, imports, definitions."""
        scope = self.scopes.get(node)
        return [] if scope is None else [a.node for a in scope[node.value] if isinstance(a, Assignment)]

    def is_constant(self, node: cst.BaseExpression) -> bool:
        """Whether an expression is a variable that is bound once, so that it is the same wherever it is written."""
        return isinstance(node, cst.Name) and len(self.assignments(node)) == 1 and not self._is_mutated(node)

    def is_unchanged(self, variables: Collection[str], since: cst.CSTNode, until: cst.CSTNode) -> bool:
        """Whether variables surely stay as they are from one expression, once it is computed, to a later one.

        The later one follows whenever the first is computed, and in between the variables are only read.
        """
        block = self.enclosing(since, cst.IndentedBlock, cst.SimpleStatementSuite, cst.Module)
        repeats = self.enclosing(since, *REPEATED) is not self.enclosing(until, *REPEATED)
        if repeats or not any(outer is block for outer in self.ancestors(until)):
            return False
        nodes = list(self.parents)
        between = nodes[nodes.index(since) : nodes.index(until)]
        named = [n for n in between if isinstance(n, cst.Name) and n.value in variables]
        return bool(between) and all(since in self.ancestors(n) or self._is_read(n) for n in named)

    def _is_read(self, variable: cst.Name) -> bool:
        outer = self.parents.get(variable)
        match outer:
            case cst.BinaryOperation() | cst.Comparison() | cst.ComparisonTarget():
                return True
            case cst.Attribute(value=value, attr=cst.Name(value=name)):
                return value is not variable or name in READING
            case cst.Arg(keyword=keyword):
                call = self.parents.get(outer)
                return keyword is variable or (isinstance(call, cst.Call) and self._called(call) in READING)
        return False

    def _called(self, call: cst.Call) -> str:
        function = call.func
        return function.value if isinstance(function, cst.Name) else self.name(function).rpartition(".")[2]

    def uses(self, node: cst.Name) -> int:
        """How often a variable is read."""
        scope = self.scopes.get(node)
        return 0 if scope is None else sum(len(a.references) for a in scope[node.value])

    def _variable(self, node: cst.Name) -> cst.BaseExpression | None:
        if self._is_mutated(node):
            return None
        bound = self.assignments(node)
        # m = m.to(device) changes nothing that matters here
        bound = [b for b in bound if not self._is_self_update(b)]
        if len(bound) == 1:
            return self.nodes.values.get(bound[0])
        return self._reaching(node, bound)

    def _is_self_update(self, target: cst.CSTNode) -> bool:
        node = self.nodes.values.get(target)
        changed = False
        while isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
            if node.func.attr.value not in MODULE_METHODS:
                return False
            node, changed = node.func.value, True
        return changed and isinstance(node, cst.Name) and isinstance(target, cst.Name) and node.value == target.value

    def _is_mutated(self, node: cst.Name) -> bool:
        return (self.scopes.get(node), node.value) in self._mutated

    @cached_property
    def _mutated(self) -> set[tuple[Scope | None, str]]:
        """Variables changed in place: by x[...] =, by a method such as x.log_() or x.append(…), by out=x."""
        names = [arg.value for call in self.calls for arg in call.args if arg.keyword and arg.keyword.value == "out"]
        names += [
            call.func.value
            for call in self.calls
            if isinstance(call.func, cst.Attribute)
            and (call.func.attr.value.endswith("_") or call.func.attr.value in GROWING_METHODS)
            and call.func.attr.value not in MODULE_METHODS
        ]
        contexts = self.wrapper.resolve(ExpressionContextProvider)
        names += [s.value for s in self.nodes.subscripts if contexts.get(s) is not ExpressionContext.LOAD]
        return {(self.scopes.get(name), name.value) for name in names if isinstance(name, cst.Name)}

    def _reaching(self, node: cst.Name, bound: list[cst.CSTNode]) -> cst.BaseExpression | None:
        """The value from the nearest assignment before a use, where no branch or loop lets another one come between."""
        function = self.enclosing(node, *FUNCTIONS)
        if any(self.enclosing(target, *FUNCTIONS) is not function for target in bound):
            return None  # global and nonlocal variables change whenever another function runs
        places = {inner: target for target in bound for inner in self.ancestors(target)}
        below: cst.CSTNode = node
        for block in self.ancestors(node):
            if isinstance(block, cst.FunctionDef | cst.ClassDef | cst.Lambda | cst.CompFor):
                return None
            if isinstance(block, cst.IndentedBlock | cst.Module):
                for statement in reversed(block.body[: _index(block, below)]):
                    if statement in places:
                        return self._assigned_by(statement, node.value)
            elif (
                isinstance(block, cst.For | cst.While | cst.With | cst.Try | cst.TryStar | cst.Match)
                and block in places
            ):
                return None
            below = block
        return None

    def _assigned_by(self, statement: cst.CSTNode, name: str) -> cst.BaseExpression | None:
        if not isinstance(statement, cst.SimpleStatementLine) or len(statement.body) != 1:
            return None
        assign = statement.body[0]
        if isinstance(assign, cst.Assign) and len(assign.targets) == 1:
            target = assign.targets[0].target
            if isinstance(target, cst.Name) and target.value == name:
                return assign.value
        return None

    def _attribute(self, node: cst.Attribute) -> cst.BaseExpression | None:
        stored = self._stored.get((self.enclosing(node, cst.ClassDef), node.attr.value), [])
        return self.nodes.values.get(stored[0]) if len(stored) == 1 else None

    @cached_property
    def _stored(self) -> dict[tuple[cst.CSTNode | None, str], list[cst.Attribute]]:
        """Where attributes of self are written or grow, by class and name."""
        contexts = self.wrapper.resolve(ExpressionContextProvider)
        stored = defaultdict(list)
        for node in self.nodes.attributes:
            if isinstance(node.value, cst.Name) and node.value.value == "self":
                outer = self.parents.get(node)
                grows = isinstance(outer, cst.Attribute) and outer.attr.value in GROWING_METHODS
                if grows or contexts.get(node) is not ExpressionContext.LOAD:
                    stored[self.enclosing(node, cst.ClassDef), node.attr.value].append(node)
        return stored

    # Surroundings

    def ancestors(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """The nodes round a node, from the inside out."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def enclosing(self, node: cst.CSTNode, *kinds: type[cst.CSTNode]) -> cst.CSTNode | None:
        """The nearest node of some kinds round a node."""
        return next((a for a in self.ancestors(node) if isinstance(a, kinds)), None)

    def definition(self, node: cst.BaseExpression) -> cst.ClassDef | None:
        """The class of this module that a name stands for."""
        if not isinstance(node, cst.Name):
            return None
        bound = self.assignments(node)
        return bound[0] if len(bound) == 1 and isinstance(bound[0], cst.ClassDef) else None


class Sum(NamedTuple):
    """`target += added` or `target = target + added`."""

    target: cst.Name
    added: cst.BaseExpression


class _Nodes:
    """Nodes of a tree by what the rules look for."""

    def __init__(self) -> None:
        self.calls: list[cst.Call] = []
        self.attributes: list[cst.Attribute] = []
        self.subscripts: list[cst.Subscript] = []
        self.products: list[cst.BinaryOperation] = []
        self.sums: list[Sum] = []
        self.returns: list[cst.Return] = []
        self.imported: set[str] = set()
        self.values: dict[cst.CSTNode, cst.BaseExpression] = {}

    def add(self, node: cst.CSTNode) -> None:
        match node:
            case cst.Call():
                self.calls.append(node)
            case cst.Attribute():
                self.attributes.append(node)
            case cst.Subscript():
                self.subscripts.append(node)
            case cst.BinaryOperation(operator=cst.Multiply()):
                self.products.append(node)
            case cst.AugAssign(operator=cst.AddAssign(), target=cst.Name() as target, value=value):
                self.sums.append(Sum(target, value))
            case cst.Return():
                self.returns.append(node)
            case cst.Assign(targets=[cst.AssignTarget(target=target)], value=value):
                self.values[target] = value
                match target, value:
                    case cst.Name(value=name), cst.BinaryOperation(cst.Name(value=same), cst.Add(), added):
                        if name == same:
                            self.sums.append(Sum(target, added))
            case cst.AnnAssign(target=target, value=cst.BaseExpression() as value):
                self.values[target] = value
            case cst.ImportAlias(name=name):
                self.imported.add(_root(name))
            case cst.ImportFrom(module=cst.BaseExpression() as name, relative=[]):
                self.imported.add(_root(name))


def parents(module: cst.Module) -> dict[cst.CSTNode, cst.CSTNode]:
    """The node round each node, in the order of the source, without white space and punctuation.

    libcst's own provider visits those too, and takes several times as long.
    """
    found: dict[cst.CSTNode, cst.CSTNode] = {}
    left: list[tuple[cst.CSTNode, cst.CSTNode | None]] = [(module, None)]
    while left:
        node, parent = left.pop()
        if parent is not None:
            found[node] = parent
        inner: list[cst.CSTNode] = []
        for name in _parts(type(node)):
            value = getattr(node, name)
            if isinstance(value, cst.CSTNode):
                inner.append(value)
            elif isinstance(value, list | tuple):
                inner.extend(value)
        left.extend((child, node) for child in reversed(inner))
    return found


@cache
def _parts(kind: type[cst.CSTNode]) -> tuple[str, ...]:
    """The fields of a kind of node that hold code."""
    return tuple(field.name for field in fields(kind) if not field.name.startswith(LAYOUT))


def arguments(call: cst.Call) -> tuple[list[cst.Arg], dict[str, cst.Arg]] | None:
    """The positional arguments of a call and its keyword arguments; None where it unpacks any."""
    if any(arg.star for arg in call.args):
        return None
    return [a for a in call.args if a.keyword is None], {a.keyword.value: a for a in call.args if a.keyword}


def argument(call: cst.Call, position: int | None, *keywords: str) -> cst.BaseExpression | None:
    """The value of one argument, by the first of its names that is used or by its position."""
    given = arguments(call)
    if given is None:
        return None
    positional, named = given
    for keyword in keywords:
        if keyword in named:
            return named[keyword].value
    return positional[position].value if position is not None and position < len(positional) else None


def text(node: cst.CSTNode | None) -> str | None:
    """The characters of a plain string literal, as they are written."""
    return node.raw_value if isinstance(node, cst.SimpleString) else None


def number(node: cst.CSTNode | None) -> float | None:
    """The value of a number's literal."""
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Minus):
        inner = number(node.expression)
        return None if inner is None else -inner
    return float(node.evaluated_value) if isinstance(node, cst.Integer | cst.Float) else None


def is_word(node: cst.CSTNode | None, word: str) -> bool:
    """Whether an expression is a name such as True, False or None."""
    return isinstance(node, cst.Name) and node.value == word


def _is_dotted(node: cst.CSTNode) -> bool:
    while isinstance(node, cst.Attribute):
        node = node.value
    return isinstance(node, cst.Name)


def _root(node: cst.CSTNode) -> str:
    while isinstance(node, cst.Attribute):
        node = node.value
    return node.value if isinstance(node, cst.Name) else ""


def _index(block: cst.IndentedBlock | cst.Module, statement: cst.CSTNode) -> int:
    return next((i for i, s in enumerate(block.body) if s is statement), 0)
