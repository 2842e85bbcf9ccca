"""The losses of single numbers, with the options that drive their tests, their oracle and their rival."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import elementwise_truth
import numpy as np
import registry
import torch
import truth
from registry import NUMPY_DTYPES, TORCH_DTYPES, accumulated, tensor
from torch.nn import functional

import xent

IGNORE = -100

# Of each loss: the kind of its formula, and its options in the oracle's words.
KINDS: dict[str, str] = {
    "sigmoid_cross_entropy": "sigmoid",
    "sigmoid_focal_cross_entropy": "modulated",
    "asymmetric_sigmoid_cross_entropy": "modulated",
    "logistic_loss": "signed",
    "pinball_loss": "pinball",
}


@dataclass(frozen=True)
class Case:
    """One combination of options."""

    name: str
    function: str = "sigmoid_cross_entropy"
    labels: str = "hard"  # or "soft", "signs", "real"
    options: dict[str, Any] = field(default_factory=dict)
    pos_weight: str = ""  # "number", "class" or "element"
    class_weight: bool = False
    sample_weight: str = ""  # "element", "row" or "ones"
    ignore: bool = False


CASES = (
    Case("hard"),
    Case("soft", labels="soft"),
    Case("smoothed", options={"label_smoothing": 0.1}),
    Case("soft-smoothed", labels="soft", options={"label_smoothing": 0.3}),
    Case("ignored", ignore=True),
    Case("pos-weight-number", pos_weight="number"),
    Case("pos-weight-class", labels="soft", pos_weight="class"),
    Case("pos-weight-element", pos_weight="element", ignore=True),
    Case("class-weight", class_weight=True),
    Case("element-weights", sample_weight="element", ignore=True),
    Case("row-weights", labels="soft", sample_weight="row"),
    Case("weights-with-ones", sample_weight="ones", class_weight=True),
    Case("normalizer", options={"normalizer": 123.5}),
    Case(
        "everything",
        labels="soft",
        options={"label_smoothing": 0.2},
        pos_weight="class",
        class_weight=True,
        sample_weight="element",
        ignore=True,
    ),
    Case("focal", "sigmoid_focal_cross_entropy"),
    Case("focal-unbalanced", "sigmoid_focal_cross_entropy", "soft", {"alpha": None, "gamma": 1.5}),
    Case("focal-below-one", "sigmoid_focal_cross_entropy", options={"alpha": 0.7, "gamma": 0.5}),
    Case(
        "focal-everything",
        "sigmoid_focal_cross_entropy",
        "soft",
        {"alpha": 0.4, "gamma": 3.0, "label_smoothing": 0.1},
        "class",
        True,
        "row",
        True,
    ),
    Case("asymmetric", "asymmetric_sigmoid_cross_entropy"),
    Case("asymmetric-unclipped", "asymmetric_sigmoid_cross_entropy", options={"clip": 0.0}),
    Case(
        "asymmetric-everything",
        "asymmetric_sigmoid_cross_entropy",
        "soft",
        {"gamma_pos": 0.5, "gamma_neg": 2.5, "clip": 0.1, "label_smoothing": 0.2},
        "element",
        True,
        "element",
        True,
    ),
    Case("signs", "logistic_loss", "signs"),
    Case("signs-weights", "logistic_loss", "signs", sample_weight="row"),
    Case("pinball", "pinball_loss", "real", {"over": 1.0, "under": 10.0}),
    Case("pinball-weights", "pinball_loss", "real", {"over": 0.3, "under": 0.7}, sample_weight="element"),
)
CASE_BY_NAME = {case.name: case for case in CASES}


@dataclass(frozen=True)
class Batch:
    """Arguments of one call, as NumPy arrays."""

    function: str
    logits: np.ndarray
    labels: Any
    options: dict[str, Any]

    @property
    def dtype(self) -> str:
        return self.logits.dtype.name

    def but(self, **options: Any) -> Batch:
        return replace(self, options={**self.options, **options})

    def on(self, logits: Any, labels: Any = None) -> Batch:
        return replace(self, logits=logits, labels=self.labels if labels is None else labels)


def make_batch(
    case: Case,
    shape: tuple[int, ...],
    *,
    dtype: str = "float32",
    scale: float = 3.0,
    seed: int = 0,
    label_dtype: str | None = None,
) -> Batch:
    """Random arguments for a case."""
    rng = np.random.default_rng([seed, *shape])
    kind = NUMPY_DTYPES[accumulated(dtype)]
    options = dict(case.options)
    logits = np.asarray(rng.normal(size=shape) * scale).astype(NUMPY_DTYPES[dtype])
    hard = rng.random(shape) < 0.3
    labels: np.ndarray = np.asarray(hard, np.int64)
    if case.labels == "soft":
        soft = np.where(rng.random(shape) < 0.2, hard, rng.random(shape))
        labels = soft.astype(NUMPY_DTYPES[label_dtype or dtype])
    if case.labels == "signs":
        labels = np.where(hard, 1, -1)
    if case.labels == "real":
        labels = (rng.normal(size=shape) * scale).astype(NUMPY_DTYPES[label_dtype or dtype])
        labels = np.where(hard, logits.astype(labels.dtype), labels)  # some predictions are exact
    if case.ignore:
        labels = np.where(rng.random(shape) < 0.2, labels.dtype.type(IGNORE), labels)
        options["ignore_index"] = IGNORE
    last = shape[-1:]
    if case.pos_weight:
        of = {"number": (), "class": last, "element": shape}[case.pos_weight]
        options["pos_weight"] = np.asarray(rng.uniform(0.2, 5.0, of)).astype(kind)
    if case.class_weight:
        options["class_weight"] = rng.uniform(0.2, 3.0, last or (1,)).astype(kind)
    if case.sample_weight:
        of = {"element": shape, "row": shape[:-1], "ones": (*shape[:-1], *(1 for _ in last))}[case.sample_weight]
        weights = np.asarray(rng.uniform(0.1, 2.0, of))
        options["sample_weight"] = np.where(rng.random(of) < 0.2, 0.0, weights).astype(kind)
    return Batch(case.function, logits, labels, options)


def upstream_of(batch: Batch, seed: int = 99) -> np.ndarray:
    """An upstream gradient for each element, exact in the dtype of the loss."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=batch.logits.shape).astype(NUMPY_DTYPES[accumulated(batch.dtype)])


def truth_of(batch: Batch, upstream: Any = 1.0) -> elementwise_truth.Truth:
    options = dict(batch.options)
    if batch.function == "sigmoid_focal_cross_entropy":
        gamma = options.pop("gamma", 2.0)
        options = {"alpha": 0.25, **options, "gamma_pos": gamma, "gamma_neg": gamma}
    if batch.function == "asymmetric_sigmoid_cross_entropy":
        options = {"gamma_pos": 1.0, "gamma_neg": 4.0, "clip": 0.05, **options}
    return elementwise_truth.elementwise(
        KINDS[batch.function], batch.logits, batch.labels, **options, upstream=upstream
    )


def value_on_numpy(batch: Batch, **options: Any) -> Any:
    return getattr(xent, batch.function)(batch.logits, batch.labels, **{**batch.options, **options})


def on_numpy(batch: Batch) -> tuple[Any, np.ndarray]:
    """Loss and gradient of xent on NumPy arrays; the loss must be reduced."""
    loss_and_grad = xent.value_and_grad(getattr(xent, batch.function))
    return loss_and_grad(batch.logits, batch.labels, **batch.options)


def torch_options(batch: Batch) -> dict[str, Any]:
    return {k: tensor(v) if isinstance(v, np.ndarray) else v for k, v in batch.options.items()}


def torch_labels(labels: Any) -> Any:
    if isinstance(labels, xent.Positives):
        return xent.Positives(tensor(labels.classes), None if labels.starts is None else tensor(labels.starts))
    return tensor(labels)


def on_torch(batch: Batch, upstream: Any = 1.0, logits: torch.Tensor | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Loss and gradient of xent on torch tensors, with an upstream gradient."""
    leaf = (tensor(batch.logits) if logits is None else logits).detach().requires_grad_()
    loss = getattr(xent, batch.function)(leaf, torch_labels(batch.labels), **torch_options(batch))
    (gradient,) = torch.autograd.grad(loss, leaf, torch.as_tensor(upstream, dtype=loss.dtype))
    return registry.array(loss), registry.array(gradient)


def rival_parts(batch: Batch, x: torch.Tensor, y: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    """Loss of each element by torch's own operations, without weights."""
    compute = x.dtype
    pos = options.get("pos_weight")
    pos = None if pos is None else pos.to(compute)
    smoothing = options.get("label_smoothing", 0.0)
    t = y * (1 - smoothing) + smoothing / 2 if smoothing else y
    if batch.function == "sigmoid_cross_entropy":
        return functional.binary_cross_entropy_with_logits(x, t, pos_weight=pos, reduction="none")
    if batch.function == "logistic_loss":
        return -functional.logsigmoid(y * x)
    if batch.function == "pinball_loss":
        d = x - y
        slope = torch.where(d > 0, options["over"], -options["under"])
        return torch.where(d == 0, 0.0, slope) * d
    p, wrong = torch.sigmoid(x), torch.sigmoid(-x)
    a = t if pos is None else t * pos
    if batch.function == "sigmoid_focal_cross_entropy":
        gamma, alpha = options.get("gamma", 2.0), options.get("alpha", 0.25)
        positive = a * wrong**gamma * -functional.logsigmoid(x)
        negative = (1 - t) * p**gamma * -functional.logsigmoid(-x)
        return positive + negative if alpha is None else alpha * positive + (1 - alpha) * negative
    clip = options.get("clip", 0.05)
    positive = a * wrong ** options.get("gamma_pos", 1.0) * -functional.logsigmoid(x)
    gamma = options.get("gamma_neg", 4.0)
    if clip == 0:
        return positive + (1 - t) * p**gamma * -functional.logsigmoid(-x)
    live = p > clip
    q = torch.where(live, p - clip, 1.0)
    return positive + (1 - t) * torch.where(live, q**gamma * -torch.log(wrong + clip), 0.0)


def rival(batch: Batch, upstream: Any = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Loss and gradient by torch's own operations, half precision converted to float32 first."""
    leaf = tensor(batch.logits).requires_grad_()
    options = torch_options(batch)
    compute = TORCH_DTYPES[accumulated(batch.dtype)]
    x, y = leaf.to(compute), tensor(batch.labels).to(compute)
    kept = torch.ones_like(x)
    if options.get("ignore_index") is not None:
        ignored = y == options["ignore_index"]
        kept, x, y = torch.where(ignored, 0.0, kept), torch.where(ignored, 0.0, x), torch.where(ignored, 0.0, y)
    each = rival_parts(batch, x, y, options)
    if options.get("class_weight") is not None:
        each = each * options["class_weight"].to(compute)
    s = options.get("sample_weight")
    if s is not None:
        s = s.to(compute) if s.ndim == x.ndim else s.to(compute)[..., None]
        each, kept = each * s, kept * s
    each = torch.where(kept == 0, 0.0, each)
    reduction = options.get("reduction", "mean")
    loss = each if reduction == "none" else each.sum()
    if reduction == "mean":
        loss = loss / (options.get("normalizer") or kept.sum())
    (gradient,) = torch.autograd.grad(loss, leaf, torch.as_tensor(upstream, dtype=loss.dtype))
    return registry.array(loss), registry.array(gradient)


def loss_errors(found: Any, exact: elementwise_truth.Truth, dtype: str) -> np.ndarray:
    return truth.ulps(found, exact.loss, accumulated(dtype))


def gradient_errors(gradient: Any, exact: elementwise_truth.Truth, dtype: str) -> np.ndarray:
    """In ulps of the terms whose differences a gradient's entries are."""
    found = truth.extended(gradient)
    with np.errstate(invalid="ignore"):
        error = np.abs(found - exact.logits_grad) / truth.ulp(exact.logits_grad_terms, dtype)
    return np.where(np.isnan(error) & ~(np.isnan(found) & np.isnan(exact.logits_grad)), np.inf, error)


def assert_no_worse(
    batch: Batch, found: tuple[Any, Any], rivals: tuple[Any, Any], exact: elementwise_truth.Truth, what: str
) -> None:
    """Loss and gradient are no further from the truth than the rival's, plus an ulp."""
    for name, errors, index in (("loss", loss_errors, 0), ("gradient", gradient_errors, 1)):
        error, rival_error = (registry.typical(errors(r[index], exact, batch.dtype)) for r in (found, rivals))
        assert error <= rival_error + 1, f"{what}: {name} off by {error} ulps, torch's by {rival_error}"
