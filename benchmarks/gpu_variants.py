"""The calls whose kernels `gpu_resources.py` lists: a family of them is a function here, with its entries in FAMILIES
and QUICK.

They are calls of xent's public functions, on tensors of zeros; nothing but their kernels is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

import xent

MOST, FEWER = ("float32", "bfloat16"), ("float16", "float64")  # dtypes by how many variants they have
DTYPES = {name: getattr(torch, name) for name in MOST + FEWER}
ROWS = 300  # enough that no row is cut into parts where there are as many processors as rows


class Variant(NamedTuple):
    """A call."""

    about: str
    dtype: str
    call: Callable[[], None]


def differentiate(found: Any) -> None:
    """The backward pass of a loss, or of one with its statistics."""
    loss, stats = found if isinstance(found, tuple) else (found, None)
    wanted = loss.sum() if stats is None else loss.sum() + (stats.lse + stats.entropy).sum()
    if wanted.requires_grad:
        wanted.backward()


def labels_for(target: str, logits: Tensor, axis: int) -> Any:
    """Class 0, the same as soft targets, or five classes a row."""
    index = torch.zeros(logits.movedim(axis, -1).shape[:-1], dtype=torch.int64)
    if target == "dense":
        return torch.zeros_like(logits, requires_grad=False)
    if target == "top-k":
        classes = torch.arange(5).expand(*index.shape, 5).contiguous()
        return xent.TopK(classes, torch.zeros(classes.shape))
    return index


def softmax(
    target: str, shape: tuple[int, ...], about: str, dtype: str, *, gradient: bool = True, **options: Any
) -> Variant:
    """Softmax cross-entropy of logits; the classes are on axis 1."""

    def call() -> None:
        logits = torch.zeros(shape, dtype=DTYPES[dtype], requires_grad=gradient)
        weights: Any = {"class_weight": torch.ones(shape[1])} if "class weights" in about else {}
        labels = labels_for(target, logits, 1)
        differentiate(xent.softmax_cross_entropy(logits, labels, axis=1, **weights, **options))

    return Variant(f"{target}, {'×'.join(map(str, shape))}, {about}", dtype, call)


def linear(about: str, dtype: str, blocks: str, **options: Any) -> Variant:
    """Linear losses: blocks of rows with all classes; or, in little memory, of classes."""

    def call() -> None:
        x, w = (torch.zeros(n, 16, dtype=DTYPES[dtype], requires_grad=True) for n in (ROWS, 50257))
        budget = 1 << 23 if blocks == "classes" else None
        labels = torch.zeros(ROWS, dtype=torch.int64)
        differentiate(xent.linear_softmax_cross_entropy(x, w, labels, memory_budget=budget, **options))

    return Variant(f"linear, blocks of {blocks}, {about}", dtype, call)


def elementwise(about: str, dtype: str, loss: str, labels: str = "dense", **options: Any) -> Variant:
    """A loss of single numbers: in one long row, along rows because of class weights, or with lists of positives."""

    def call() -> None:
        x = torch.zeros(ROWS, 1000, dtype=DTYPES[dtype], requires_grad=True)
        y: Any = torch.zeros(ROWS, 1000, dtype=DTYPES[dtype])
        if labels == "lists":
            y = xent.Positives(torch.zeros(ROWS, 1, dtype=torch.int64))
        elif labels == "signs":
            y = y + 1
        weights = {k: torch.ones(1000) if v is ... else v for k, v in options.items()}
        differentiate(getattr(xent, loss)(x, y, **weights))

    return Variant(f"{loss}, {about}", dtype, call)


def linear_sigmoid(dtype: str, labels: str) -> Variant:
    """Blocks of all rows and some classes."""

    def call() -> None:
        x, w = (torch.zeros(n, 16, dtype=DTYPES[dtype], requires_grad=True) for n in (ROWS, 5000))
        dense = torch.zeros(ROWS, 5000, dtype=DTYPES[dtype])
        y = xent.Positives(torch.zeros(ROWS, 1, dtype=torch.int64)) if labels == "lists" else dense
        differentiate(xent.linear_sigmoid_cross_entropy(x, w, y, memory_budget=1 << 21))

    return Variant(f"linear sigmoid, {labels}", dtype, call)


def labels_of(integers: str) -> Variant:
    """Labels of a dtype; and rows weighed, some of them left out."""

    def call() -> None:
        logits, labels = torch.zeros(ROWS, 10), torch.zeros(ROWS, dtype=getattr(torch, integers))
        xent.softmax_cross_entropy(logits, labels)
        xent.softmax_cross_entropy(logits, labels, ignore_index=0, sample_weight=torch.ones(ROWS))

    return Variant(f"labels of {integers}", "float32", call)


# What is asked of a loss, and so which kernels make it: gradient in the forward pass, apart, with statistics; none.
ASKED: dict[str, dict[str, Any]] = {
    "mean": {},
    "each row": {"reduction": "none"},
    "statistics": {"return_stats": True},
    "no gradient": {"gradient": False},
    "statistics, no gradient": {"return_stats": True, "gradient": False},
}
# What else may be computed with a row.
EXTRAS: dict[str, dict[str, Any]] = {
    "smoothing": {"label_smoothing": 0.1},
    "smoothing, class weights": {"label_smoothing": 0.1},
    "class weights": {},
    "temperature": {"temperature": 2.0},
    "softcap": {"softcap": 30.0},
    "z-loss": {"z_loss": 1e-4},
    "ignored rows": {"ignore_index": -100},
}
TARGETS = ("index", "dense", "top-k")


def softmax_variants() -> Iterator[Variant]:
    """Targets × numbers of classes × what is asked; few rows of many classes; classes that lie apart."""
    for dtype in MOST:
        for classes in (10, 1000, 32000):
            for about, options in ASKED.items():
                yield softmax("index", (ROWS, classes), about, dtype, **options)
            for target, about in product(("dense", "top-k"), ("mean", "statistics")):
                yield softmax(target, (ROWS, classes), about, dtype, **ASKED[about])
            yield softmax("index", (ROWS, classes), "smoothing", dtype, **EXTRAS["smoothing"])
        for about, options in EXTRAS.items():
            yield softmax("index", (ROWS, 32000), about, dtype, **options)
        for shape in ((ROWS, 16384), (ROWS, 50257), (40, 32000), (2, 32000, 8, 8)):
            yield softmax("index", shape, "mean", dtype)
        yield softmax("index", (70_000, 2), "mean", dtype)  # more losses than one program adds up
        for shape in ((2, 1_000_000), (2, 19, 128, 128), (2, 150, 128, 128)):
            yield softmax("index", shape, "statistics", dtype, **ASKED["statistics"])
            for target in TARGETS:
                yield softmax(target, shape, "mean", dtype)
    for dtype in FEWER:
        for target in TARGETS:
            for shape in ((ROWS, 1000), (ROWS, 32000), (2, 1_000_000), (2, 19, 128, 128)):
                yield softmax(target, shape, "mean", dtype)
        yield softmax("index", (ROWS, 32000), "smoothing", dtype, **EXTRAS["smoothing"])
        yield softmax("index", (ROWS, 32000), "statistics", dtype, **ASKED["statistics"])


def linear_variants() -> Iterator[Variant]:
    """Kinds of blocks × what is asked."""
    for blocks in ("rows", "classes"):
        for dtype in MOST:
            for about in ("mean", "each row", "statistics"):
                yield linear(about, dtype, blocks, **ASKED[about])
            yield linear("smoothing", dtype, blocks, **EXTRAS["smoothing"])
        for dtype in FEWER:
            yield linear("mean", dtype, blocks)


# The losses of single numbers; `...` stands for weights, one a class.
ELEMENTWISE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "plain": ("sigmoid_cross_entropy", "dense", {}),
    "each element": ("sigmoid_cross_entropy", "dense", {"reduction": "none"}),
    "weighed": ("sigmoid_cross_entropy", "dense", {"pos_weight": ..., "class_weight": ...}),
    "ignored elements": ("sigmoid_cross_entropy", "dense", {"ignore_index": -1}),
    "lists": ("sigmoid_cross_entropy", "lists", {}),
    "focal": ("sigmoid_focal_cross_entropy", "dense", {}),
    "asymmetric": ("asymmetric_sigmoid_cross_entropy", "dense", {}),
    "signs": ("logistic_loss", "signs", {}),
}


def elementwise_variants() -> Iterator[Variant]:
    """Losses × dtypes, and blocks of linear ones."""
    for dtype in (*MOST, *FEWER):
        for about, (loss, labels, options) in ELEMENTWISE.items():
            yield elementwise(about, dtype, loss, labels, **options)
        for labels in ("dense", "lists"):
            yield linear_sigmoid(dtype, labels)


def label_variants() -> Iterator[Variant]:
    """Every integer dtype."""
    for integers in ("int8", "uint8", "int16", "int32", "int64"):
        yield labels_of(integers)


FAMILIES: dict[str, Callable[[], Iterator[Variant]]] = {
    "softmax": softmax_variants,
    "linear": linear_variants,
    "elementwise": elementwise_variants,
    "labels": label_variants,
}
# Of each family a few, as a test.
QUICK: dict[str, list[Variant]] = {
    "softmax": [
        softmax("index", (ROWS, 10), "mean", "bfloat16"),
        softmax("index", (ROWS, 32000), "mean", "bfloat16"),
        softmax("index", (ROWS, 32000), "smoothing", "bfloat16", **EXTRAS["smoothing"]),
        softmax("index", (2, 1_000_000), "mean", "float32"),
        softmax("top-k", (2, 19, 128, 128), "mean", "float32"),
    ],
    "linear": [linear("mean", "bfloat16", "rows")],
    "elementwise": [
        elementwise("plain", "bfloat16", "sigmoid_cross_entropy"),
        elementwise("lists", "float32", "sigmoid_cross_entropy", "lists"),
        elementwise("ignored elements", "float32", "sigmoid_cross_entropy", ignore_index=-1),
    ],
    "labels": [labels_of("int32")],
}
