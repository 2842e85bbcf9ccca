"""What a loss costs at a size: bytes and operations that are counted, no times that would be guessed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ...plan import linear_blocks
from .facts import DTYPES, Facts, size

# A sampled loss draws this many classes where nothing else is said.
SAMPLED = 1024


@dataclass(frozen=True)
class Cost:
    """The cost of one forward and backward pass.

    Attributes:
        logits: how many numbers the loss is computed from, all together, stored or not.
        memory: bytes that exist at the same time with xent: logits and their gradient, or the pieces of them.
        elsewhere: bytes where a library stores logits, log-probabilities and gradient at once, as PyTorch does.
        traffic: bytes of logits and gradient that xent's kernel reads and writes.
        multiplications: of the products of the output layer, forward and backward; 0 where it is not part of the loss.
        lines: the same in words, with the formulas.
    """

    logits: int
    memory: int
    elsewhere: int
    traffic: int
    multiplications: int
    lines: tuple[str, ...]


Sizes = dict[str, Any]
SIZES = {"rows": "N = {:,} rows", "classes": "C = {:,} classes", "width": "D = {:,}", "dtype": "{}"}


@dataclass(frozen=True)
class Costing:
    """How a loss is costed.

    Attributes:
        needs: the facts that it needs, all known.
        count: the cost at these sizes.
    """

    needs: tuple[str, ...]
    count: Callable[[Sizes], Cost]

    def __call__(self, facts: Facts) -> Cost:
        sizes = {name: getattr(facts, name) for name in self.needs}
        head = ", ".join(SIZES[name].format(value) for name, value in sizes.items())
        counted = self.count(sizes | {"bytes": DTYPES[sizes["dtype"]]})
        return replace(counted, lines=(f"For {head}:", *counted.lines, _time(counted.traffic)))


def _time(traffic: int) -> str:
    return (
        f"Logits and gradient move {size(traffic)}: at least {traffic / 1e9:.3g} / B seconds "
        "where memory has a bandwidth of B GB/s."
    )


def _stored(formula: str, elements: int, number_bytes: int, products: int = 0) -> Cost:
    """All logits at once: xent keeps them and their gradient, others log-probabilities, too."""
    logits = elements * number_bytes
    return Cost(
        elements,
        2 * logits,
        3 * logits,
        2 * logits,
        products,
        (
            f"Logits {formula}: {size(logits)}; their gradient as much: {size(2 * logits)} with xent.",
            f"Where the library keeps the log-probabilities, too: 3 × {size(logits)} = {size(3 * logits)}.",
            f"The logits are read once and the gradient is written once; {size(elements, '')} exponentials.",
        ),
    )


def _matrix(s: Sizes) -> Cost:
    return _stored("N·C·bytes", s["rows"] * s["classes"], s["bytes"])


def _distributions(s: Sizes) -> Cost:
    stored = _matrix(s)
    line = f"Labels with a number for every class take as much as the logits again: {size(stored.memory / 2)}."
    return replace(stored, lines=(*stored.lines, line))


def _column(s: Sizes) -> Cost:
    return _stored("N·bytes", s["rows"], s["bytes"])


def _square(s: Sizes) -> Cost:
    stored = _stored("N·N·bytes", s["rows"] ** 2, s["bytes"])
    products = 3 * s["rows"] ** 2 * s["width"]
    line = f"Three products of N·N·D multiplications: {size(products, '')}; no weight of the items is touched."
    return replace(stored, multiplications=products, lines=(*stored.lines, line))


def _linear(s: Sizes) -> Cost:
    rows, classes, number_bytes = s["rows"], s["classes"], s["bytes"]
    blocks = linear_blocks(rows, classes, max(number_bytes, 4), None, number_bytes >= 4)
    held = blocks.rows * blocks.classes * max(number_bytes, 4)
    stored = rows * classes * number_bytes
    passes = 3 if blocks.classes >= classes else 4  # in blocks of classes the logits are made twice
    others = "as many" if passes == 3 else "3"
    products = passes * rows * classes * s["width"]
    return Cost(
        rows * classes,
        held,
        3 * stored,
        (passes - 1) * stored,
        products,
        (
            f"Logits in blocks of {blocks.rows:,} rows × {blocks.classes:,} classes: {size(held)} at a time.",
            f"Stored, with log-probabilities and gradient: 3·N·C·bytes = {size(3 * stored)}.",
            f"{passes} products of N·D·C multiplications: {size(products, '')}; stored logits take {others}.",
        ),
    )


def _sampled(s: Sizes) -> Cost:
    elements = s["rows"] * (SAMPLED + 1)
    logits = elements * s["bytes"]
    products = 3 * elements * s["width"]
    full = s["rows"] * s["classes"] * s["bytes"]
    return Cost(
        elements,
        2 * logits,
        3 * full,
        2 * logits,
        products,
        (
            f"With S = {SAMPLED:,} sampled classes: logits N·(S+1)·bytes = {size(logits)}, their gradient as much.",
            f"All classes, with log-probabilities and gradient: 3·N·C·bytes = {size(3 * full)}.",
            f"Three products of N·(S+1)·D multiplications: {size(products, '')}, however many classes there are.",
            "With sparse_gradient=True the gradient holds only the lines of the weight that were used.",
        ),
    )


matrix = Costing(("rows", "classes", "dtype"), _matrix)
distributions = Costing(("rows", "classes", "dtype"), _distributions)
column = Costing(("rows", "dtype"), _column)
square = Costing(("rows", "width", "dtype"), _square)
linear = Costing(("rows", "classes", "width", "dtype"), _linear)
sampled = Costing(("rows", "classes", "width", "dtype"), _sampled)
