"""The registry that drives the tests: every public loss with its options, its oracle and its rival.

A new loss is entered in `LOSSES` (or, with the module that has its cases, in `ELSEWHERE`); a test fails for a public
name that is not registered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import torch
import torch.nn.functional as torch_functional
import truth

import xent

DTYPES = ("float32", "float64", "bfloat16", "float16")
NUMPY_DTYPES = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
}
TORCH_DTYPES = {name: getattr(torch, name) for name in DTYPES}


def accumulated(dtype: str) -> str:
    """The dtype of the loss."""
    return "float64" if dtype == "float64" else "float32"


@dataclass(frozen=True)
class Case:
    """One combination of options."""

    name: str
    target: str = "index"  # "index", "dense", "one-hot" or "topk"
    options: dict[str, Any] = field(default_factory=dict)
    class_weight: bool = False
    sample_weight: bool = False
    ignore: bool = False


CASES = (
    Case("index"),
    Case("index-ignored", ignore=True),
    Case("index-class-weights", class_weight=True),
    Case("index-sample-weights", sample_weight=True, ignore=True),
    Case("index-smoothed", options={"label_smoothing": 0.1}),
    Case("index-smoothed-class-weights", options={"label_smoothing": 0.3}, class_weight=True, ignore=True),
    Case("index-uniform", options={"label_smoothing": 1.0}),
    Case("index-temperature", options={"temperature": 0.7}),
    Case("index-softcap", options={"softcap": 5.0}),
    Case("index-z-loss", options={"z_loss": 0.01}),
    Case("index-normalizer", options={"normalizer": 123.5}, ignore=True),
    Case(
        "index-everything",
        options={"label_smoothing": 0.2, "temperature": 1.7, "softcap": 4.0, "z_loss": 0.03},
        class_weight=True,
        sample_weight=True,
        ignore=True,
    ),
    Case("dense", "dense"),
    Case("dense-class-weights", "dense", class_weight=True, sample_weight=True),
    Case("dense-smoothed", "dense", options={"label_smoothing": 0.15}),
    Case(
        "dense-everything",
        "dense",
        options={"label_smoothing": 0.2, "temperature": 0.6, "softcap": 6.0, "z_loss": 0.02},
        class_weight=True,
        sample_weight=True,
    ),
    Case("one-hot-smoothed", "one-hot", options={"label_smoothing": 0.1}),
    Case("topk", "topk"),
    Case(
        "topk-everything",
        "topk",
        options={"label_smoothing": 0.25, "temperature": 1.3, "softcap": 3.0, "z_loss": 0.01},
        class_weight=True,
        sample_weight=True,
    ),
)
CASE_BY_NAME = {case.name: case for case in CASES}


@dataclass(frozen=True)
class Batch:
    """Arguments of one call, as NumPy arrays. Labels are indices, soft targets, or a pair (indices, values)."""

    logits: np.ndarray
    labels: Any
    options: dict[str, Any]

    @property
    def dtype(self) -> str:
        return self.logits.dtype.name

    @property
    def axis(self) -> int:
        return int(self.options.get("axis", -1))

    def but(self, **options: Any) -> Batch:
        return replace(self, options={**self.options, **options})

    def on(self, logits: np.ndarray) -> Batch:
        return replace(self, logits=logits)


IGNORE = -100


def make_batch(
    case: Case,
    batch: tuple[int, ...],
    classes: int,
    *,
    dtype: str = "float32",
    axis: int = -1,
    scale: float = 3.0,
    seed: int = 0,
    target_dtype: str | None = None,
) -> Batch:
    """Random arguments for a case."""
    rng = np.random.default_rng([seed, classes, *batch])
    options: dict[str, Any] = {"axis": axis, **case.options}
    logits = np.moveaxis(rng.normal(size=(*batch, classes)) * scale, -1, axis)
    logits = np.ascontiguousarray(logits).astype(NUMPY_DTYPES[dtype])
    labels: Any = rng.integers(0, classes, batch)
    if case.ignore:
        labels = np.where(rng.random(batch) < 0.3, IGNORE, labels)
        options["ignore_index"] = IGNORE
    if case.target == "dense":
        soft = rng.dirichlet(np.full(classes, 0.5), batch) if classes > 1 else np.ones((*batch, 1))
        soft = soft * (rng.random(soft.shape) < 0.8)  # some classes without mass; rows need not sum to 1
        labels = np.ascontiguousarray(np.moveaxis(soft, -1, axis)).astype(NUMPY_DTYPES[target_dtype or dtype])
    if case.target == "one-hot":
        hot = labels[..., None] == np.arange(classes)
        labels = np.ascontiguousarray(np.moveaxis(hot, -1, axis)).astype(NUMPY_DTYPES[target_dtype or dtype])
    if case.target == "topk":
        k = min(classes, 5)
        order = rng.random((int(np.prod(batch)), classes)).argpartition(k - 1, axis=-1)[:, :k]
        values = rng.random((*batch, k)).astype(NUMPY_DTYPES[target_dtype or accumulated(dtype)])
        labels = (np.ascontiguousarray(order.reshape(*batch, k)), values)
    if case.class_weight:
        options["class_weight"] = rng.uniform(0.2, 3.0, classes).astype(NUMPY_DTYPES[accumulated(dtype)])
    if case.sample_weight:
        weights = rng.uniform(0.1, 2.0, batch)
        options["sample_weight"] = np.where(rng.random(batch) < 0.2, 0.0, weights).astype(
            NUMPY_DTYPES[accumulated(dtype)]
        )
    return Batch(logits, labels, options)


def tensor(array: Any) -> torch.Tensor:
    """A torch tensor of an array; bfloat16 too."""
    array = np.array(array, order="C")
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def array(t: torch.Tensor) -> np.ndarray:
    """A NumPy array of a tensor; bfloat16 too."""
    t = t.detach()
    if t.dtype is torch.bfloat16:
        return t.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return t.numpy()


def torch_options(batch: Batch) -> dict[str, Any]:
    return {k: tensor(v) if isinstance(v, np.ndarray) else v for k, v in batch.options.items()}


def numpy_labels(batch: Batch) -> Any:
    return xent.TopK(*batch.labels) if isinstance(batch.labels, tuple) else batch.labels


def torch_labels(batch: Batch) -> Any:
    if isinstance(batch.labels, tuple):
        return xent.TopK(tensor(batch.labels[0]), tensor(batch.labels[1]))
    return tensor(batch.labels)


def on_numpy(batch: Batch) -> tuple[Any, np.ndarray]:
    """Loss and gradient of xent on NumPy arrays; the loss must be reduced."""
    loss_and_grad = xent.value_and_grad(xent.softmax_cross_entropy)
    return loss_and_grad(batch.logits, numpy_labels(batch), **batch.options)


def value_on_numpy(batch: Batch, **options: Any) -> Any:
    return xent.softmax_cross_entropy(batch.logits, numpy_labels(batch), **{**batch.options, **options})


def on_torch(batch: Batch, upstream: Any = 1.0, logits: torch.Tensor | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Loss and gradient of xent on torch tensors, with an upstream gradient."""
    leaf = (tensor(batch.logits) if logits is None else logits).detach().requires_grad_()
    loss = xent.softmax_cross_entropy(leaf, torch_labels(batch), **torch_options(batch))
    (gradient,) = torch.autograd.grad(loss, leaf, torch.as_tensor(upstream, dtype=loss.dtype))
    return array(loss), array(gradient)


def rival(batch: Batch, upstream: Any = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Loss and gradient by torch's own operations, half precision converted to float32 first."""
    leaf = tensor(batch.logits).requires_grad_()
    options = torch_options(batch)
    compute = TORCH_DTYPES[accumulated(batch.dtype)]
    classes = leaf.shape[batch.axis]
    x = leaf.to(compute).movedim(batch.axis, -1)
    shape = x.shape[:-1]
    x = x.reshape(-1, classes)
    if options.get("softcap") is not None:
        x = options["softcap"] * torch.tanh(x / options["softcap"])
    if options.get("temperature", 1.0) != 1.0:
        x = x / options["temperature"]
    weight = options.get("class_weight")
    v = torch.ones(classes, dtype=compute) if weight is None else weight.to(compute)
    s = torch.ones(shape, dtype=compute)
    if options.get("sample_weight") is not None:
        s = options["sample_weight"].to(compute).expand(shape)
    smoothing = options.get("label_smoothing", 0.0)
    kept = torch.ones(shape, dtype=torch.bool)
    if isinstance(batch.labels, tuple):
        indices, values = tensor(batch.labels[0]).reshape(len(x), -1), tensor(batch.labels[1]).reshape(len(x), -1)
        target: Any = torch.zeros_like(x).scatter_add(1, indices, values.to(compute))
        mass = (target * v).sum(-1)
    elif batch.labels.dtype.kind in "iu":
        target = tensor(batch.labels).reshape(-1).long()
        if options.get("ignore_index") is not None:
            kept = (target != options["ignore_index"]).reshape(shape)
        mass = v[target.clamp(0, classes - 1)]
    else:
        target = tensor(batch.labels).to(compute).movedim(batch.axis, -1).reshape(-1, classes)
        mass = (target * v).sum(-1)
    ignore = {} if options.get("ignore_index") is None else {"ignore_index": options["ignore_index"]}
    rows = torch_functional.cross_entropy(
        x, target, weight=None if weight is None else v, reduction="none", label_smoothing=smoothing, **ignore
    ).reshape(shape)
    if options.get("z_loss"):
        rows = rows + options["z_loss"] * torch.logsumexp(x, -1).reshape(shape) ** 2 * kept
    rows = rows * s
    reduction = options.get("reduction", "mean")
    loss = rows
    if reduction != "none":
        loss = rows.sum()
    if reduction == "mean":
        divisor = options.get("normalizer") or (s * kept * mass.reshape(shape)).sum()
        loss = loss / divisor
    (gradient,) = torch.autograd.grad(loss, leaf, torch.as_tensor(upstream, dtype=loss.dtype))
    return array(loss), array(gradient)


def truth_of(batch: Batch, upstream: Any = 1.0) -> truth.Truth:
    return truth.softmax_cross_entropy(batch.logits, batch.labels, **batch.options, upstream=upstream)


@dataclass(frozen=True)
class Loss:
    """A public loss: the options that drive its tests, its oracle and its rival."""

    cases: tuple[Case, ...]
    truth: Callable[..., Any]
    rival: Callable[..., Any]
    positional: frozenset[str] = frozenset({"logits", "labels"})


LOSSES = {"softmax_cross_entropy": Loss(CASES, truth.softmax_cross_entropy, rival)}

# Functions that are no losses: oracle and rival.
FUNCTIONS = {
    "softmax": (truth.softmax, torch.softmax),
    "log_softmax": (truth.log_softmax, torch.log_softmax),
    "logsumexp": (truth.logsumexp, torch.logsumexp),
}

# Losses whose cases, oracle and rival stand in a module of their own.
ELSEWHERE = {
    "asymmetric_sigmoid_cross_entropy": "elementwise_cases.py",
    "binary_cross_entropy_from_probs": "test_probabilities.py",
    "check": "test_check.py",
    "choose": "test_choose.py",
    "cross_entropy_from_probs": "test_probabilities.py",
    "focal_cross_entropy": "test_row_functions.py",
    "kl_divergence": "test_probabilities.py",
    "linear_sigmoid_cross_entropy": "test_linear.py",
    "linear_softmax_cross_entropy": "test_linear.py",
    "selective_log_softmax": "test_linear.py",
    "LowRank": "test_linear.py",
    "SparseRows": "test_sampled_losses.py",
    "in_batch_softmax_loss": "test_sampled_losses.py",
    "nce_loss": "test_sampled_losses.py",
    "negative_sampling_loss": "test_sampled_losses.py",
    "rank_sampled_softmax_loss": "test_sampled_losses.py",
    "sampled_softmax_loss": "test_sampled_losses.py",
    "log_sigmoid": "test_sigmoid_accuracy.py",
    "logistic_loss": "elementwise_cases.py",
    "pinball_loss": "elementwise_cases.py",
    "poly_cross_entropy": "test_row_functions.py",
    "row_loss": "test_row_functions.py",
    "sigmoid": "test_sigmoid_accuracy.py",
    "sigmoid_cross_entropy": "elementwise_cases.py",
    "sigmoid_focal_cross_entropy": "elementwise_cases.py",
    "watch": "test_watch.py",
}

UTILITIES = {
    "Positives",
    "Stats",
    "TopK",
    "clear_cache",
    "get_num_threads",
    "set_num_threads",
    "show_config",
    "value_and_grad",
}


def worst(result: Any, exact: Any, dtype: str) -> float:
    """The largest error of the entries of `result`, in ulps of its dtype."""
    return float(truth.ulps(result, exact, dtype).max(initial=0))


def typical(errors: np.ndarray) -> float:
    """The root of the mean square: the norm in which two errors are compared, robust against one lucky entry."""
    return float(np.sqrt(np.mean(errors**2))) if errors.size else 0.0


def gradient_errors(gradient: Any, exact: truth.Truth, dtype: str) -> np.ndarray:
    """Errors of the entries of a gradient, in ulps of the terms whose differences they are.

    Where p and the target nearly agree their difference is smaller than either, and no computation from rounded terms
    can be right to an ulp of it.
    """
    return np.abs(truth.extended(gradient) - exact.logits_grad) / truth.ulp(exact.logits_grad_terms, dtype)


class Errors(NamedTuple):
    """Typical errors of a loss and of its gradient, in ulps."""

    loss: float
    gradient: float


def errors_of(batch: Batch, found: tuple[Any, Any], exact: truth.Truth) -> Errors:
    return Errors(
        typical(truth.ulps(found[0], exact.loss, accumulated(batch.dtype))),
        typical(gradient_errors(found[1], exact, batch.dtype)),
    )


def assert_no_worse(
    batch: Batch, found: tuple[Any, Any], rivals: tuple[Any, Any] | Errors, exact: truth.Truth, what: str
) -> None:
    """Loss and gradient are no further from the truth than the rival's, plus an ulp."""
    rival_errors = rivals if isinstance(rivals, Errors) else errors_of(batch, rivals, exact)
    for name, error, rival_error in zip(Errors._fields, errors_of(batch, found, exact), rival_errors, strict=True):
        assert error <= rival_error + 1, f"{what}: {name} off by {error} ulps, torch's by {rival_error}"
