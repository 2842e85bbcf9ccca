"""Calls of linear losses on plain tensors: checked, and ready to run."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...losses.elementwise import check_labels
from ...losses.linear import LinearElementwise, LinearSoftmax
from ...losses.softmax import RowTargets
from ...losses.weights import kept_mass
from ...options import ElementwiseOptions, SoftmaxOptions
from ...plan import Blocks, linear_blocks
from ...problem import SoftmaxProblem
from .arrays import cotangent, numpy_of
from .elementwise_call import ElementwiseCall
from .linear_products import Products, Tensors
from .softmax_call import SoftmaxCall, flat_labels

NAMES = ("logits", "labels")


class LinearCall:
    """What all calls of linear losses have."""

    options: Any

    def makes_gradient_ahead(self, dtype: torch.dtype) -> bool:
        """Whether the forward pass makes the gradients for an upstream gradient of 1."""
        return bool(self.options.reduction != "none")

    def scaled(self, gradients: list[Any], upstream: Tensor, dtype: torch.dtype) -> list[Any] | None:
        """Those for another upstream gradient; None where they have to be made again, lest they are rounded twice.

        `dtype`: of the inputs.
        """
        factor = float(upstream)
        if not _is_exact(factor, dtype):
            return None
        return [g if g is None or factor == 1.0 else g.mul_(factor) for g in gradients]


def _is_exact(factor: float, dtype: torch.dtype) -> bool:
    """Whether a gradient that was made and rounded may be scaled: half precision would round twice. And what float16
    has lost below its range no scaling of the loss brings back."""
    if dtype is torch.bfloat16:
        return math.frexp(factor)[0] in (0.5, -0.5)
    return factor == 1.0 or dtype is not torch.float16


class LinearSoftmaxCall(LinearCall):
    """One call of a linear loss."""

    dense_call: type[SoftmaxCall] = SoftmaxCall

    def __init__(
        self, problem: SoftmaxProblem, options: SoftmaxOptions, arguments: tuple[Any, ...], budget: int | None
    ) -> None:
        """`arguments`: labels, class weight, sample weight and normalizer, as the dense loss takes them."""
        self.dense = self.dense_call(problem, options, arguments)
        self.problem, self.options, self.budget = problem, options, budget
        self.return_stats = False
        self.uncounted: Tensor | None = None  # rows that may hold anything

    def prepare(self, inputs: Tensor, validate: bool) -> None:
        apart = self.return_stats or self.options.softcap is not None
        self._blocks(inputs.itemsize, apart)  # refuses what the backward pass would
        labels, class_weight, sample_weight, normalizer = self.dense.arguments
        self.soft = labels.detach().reshape(-1, self.problem.classes) if self.problem.target == "dense" else None
        self.targets = RowTargets(
            self.problem,
            self.options,
            flat_labels(labels, self.problem, validate),
            class_weight=numpy_of(class_weight),
            sample_weight=numpy_of(sample_weight),
            normalizer=normalizer,
            validate=validate,
        )

    @property
    def others(self) -> tuple[Tensor, ...]:
        return self.dense.tensors

    def run(self, tensors: Tensors, wanted: tuple[bool, ...]) -> tuple[tuple[Tensor, ...], list[Any]]:
        """The results, and the gradients that are wanted."""
        products, loss = self.sweep(tensors, wanted, False)
        results = self.results(loss.run(gradient=any(wanted), statistics=self.return_stats))
        return results, products.finished()

    def vjp(self, tensors: Tensors, wanted: tuple[bool, ...], upstream: tuple[Tensor | None, ...]) -> list[Any]:
        loss, lse, entropy = (*upstream, None, None)[:3]
        products, sweep = self.sweep(tensors, wanted, entropy is not None)
        sweep.vjp(
            0.0 if loss is None else cotangent(loss),
            None if lse is None else cotangent(lse),
            None if entropy is None else cotangent(entropy),
        )
        return products.finished()  # type: ignore[no-any-return]

    def sweep(self, tensors: Tensors, wanted: tuple[bool, ...], apart: bool) -> Any:
        """The products and the loss on them."""
        apart = any(wanted) and (apart or self.options.softcap is not None)
        blocks = self._blocks(tensors[0].itemsize, apart)
        products = Products(tensors, wanted, blocks, apart)
        return products, LinearSoftmax(self.problem, self.targets, products, blocks, self.soft)

    def _blocks(self, itemsize: int, apart: bool) -> Blocks:
        whole_rows = itemsize >= 4  # a product with half as large numbers takes a third of the time
        size = self.problem.rows, self.problem.classes, itemsize * (1 + apart)
        return linear_blocks(*size, self.budget, whole_rows)

    def results(self, found: Any) -> tuple[Tensor, ...]:
        per_row, dtype = self.dense.per_row, self.dense.dtype
        if self.options.reduction == "none":
            loss = per_row(found.loss)
        else:
            loss = torch.scalar_tensor(found.total, dtype=dtype, device="cpu")
        if not self.return_stats:
            return (loss,)
        argmax = torch.from_numpy(found.argmax.reshape(self.problem.batch_shape))
        return loss, per_row(found.lse), per_row(found.entropy), argmax

    def reference(self, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        return self.dense.reference(all_logits(tensors, self.uncounted).view(self.problem.shape))


def without_rows(x: Tensor, rows: Tensor) -> Tensor:
    """x with zeros in some rows, whatever they held."""
    return torch.where(rows[:, None], torch.zeros((), dtype=x.dtype, device=x.device), x)


def all_logits(tensors: Tensors, uncounted: Tensor | None = None) -> Tensor:
    """All logits at once, in torch's operations; of rows that do not count nothing is read."""
    *pairs, bias = tensors
    if uncounted is not None:
        pairs[::2] = [without_rows(x, uncounted) for x in pairs[::2]]
    logits = torch.nn.functional.linear(pairs[0], pairs[1], bias)
    for x, w in zip(pairs[2::2], pairs[3::2], strict=True):
        logits = logits + torch.nn.functional.linear(x, w)
    return logits


class LinearSigmoidCall(LinearCall):
    """One call of a linear loss of single numbers."""

    def __init__(
        self, shape: torch.Size, options: ElementwiseOptions, arguments: tuple[Any, ...], budget: int | None
    ) -> None:
        """`arguments`: labels, positive weight, class weight, sample weight and normalizer."""
        self.shape, self.options, self.arguments, self.budget = shape, options, arguments, budget
        self.matrix = (shape[:-1].numel(), shape[-1])

    def prepare(self, inputs: Tensor, validate: bool | None) -> None:
        """Checks the arguments against logits that are not there, and makes the denominator."""
        labels, *weights, normalizer = self.arguments
        nowhere = self.nowhere(inputs)
        call = ElementwiseCall(nowhere, labels, self.options, NAMES, *weights)
        call.check_weights()
        self.dtype = call.dtype
        self.others = [t for _, t in call.named]
        if call.lists is not None:
            self.labels: Any = call.read_lists(nowhere)
        else:
            self.labels = labels.detach().reshape(self.matrix)
            if validate:
                check_labels("labels", self.labels, self.options, numpy_of)
        self.pos_weight = None if call.pos_weight is None else self.matrix_of(call.pos_weight)
        self.weights = [self.matrix_of(weight) for weight in call.weights]
        self.denominator: float = 1.0
        if normalizer is not None:
            self.denominator = normalizer
        elif self.options.reduction == "mean":
            given = None if call.lists is not None else numpy_of(labels)
            self.denominator = kept_mass(tuple(self.shape), given, numpy_of(call.sample), self.options.ignore_index)

    def nowhere(self, inputs: Tensor) -> Tensor:
        """Logits without memory."""
        return inputs.new_empty(()).expand(self.shape)

    def matrix_of(self, weight: Tensor) -> Tensor:
        """A weight that broadcasts to the logits as rows and classes; no class is copied that shares its number."""
        last = weight.shape[-1] if weight.ndim else 1
        return weight.detach().expand(*self.shape[:-1], last).reshape(-1, last).expand(self.matrix)

    def _loss(self, tensors: Tensors, wanted: tuple[bool, ...]) -> tuple[Products, LinearElementwise]:
        blocks = linear_blocks(*self.matrix, tensors[0].itemsize, self.budget, False)
        products = Products(tensors, wanted, blocks, False)
        loss = LinearElementwise(
            self.options,
            self.matrix,
            products,
            blocks,
            self.labels,
            pos_weight=self.pos_weight,
            weights=self.weights,
            denominator=self.denominator,
        )
        return products, loss

    def run(self, tensors: Tensors, wanted: tuple[bool, ...]) -> tuple[tuple[Tensor, ...], list[Any]]:
        products, loss = self._loss(tensors, wanted)
        each = torch.empty(self.matrix, dtype=self.dtype, device="cpu") if self.options.reduction == "none" else None
        total = loss.run(gradient=any(wanted), each=each)
        value = torch.scalar_tensor(total, dtype=self.dtype, device="cpu") if each is None else each.view(self.shape)
        return (value,), products.finished()

    def vjp(self, tensors: Tensors, wanted: tuple[bool, ...], upstream: tuple[Tensor | None, ...]) -> list[Any]:
        products, loss = self._loss(tensors, wanted)
        g: Any = upstream[0]
        scalar = self.options.reduction != "none"
        loss.vjp(float(g) if scalar else g.detach().to(self.dtype).reshape(self.matrix))
        return products.finished()

    def reference(self, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        labels, *weights, normalizer = self.arguments
        logits = all_logits(tensors).view(self.shape)
        call = ElementwiseCall(logits, labels, self.options, NAMES, *weights)
        call.normalizer = normalizer
        return call.reference(logits)
