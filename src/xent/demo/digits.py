"""The digits, learned five times: what labels, smoothing, soft labels and class weights do to one model."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import xent

from .data import CLASSES, Digits, keep_few
from .metrics import Scores, score
from .model import Adam, Classifier, Progress

Array = NDArray[Any]

HIDDEN_UNITS = 32
BATCH = 32
LEARNING_RATE = 0.003
SMOOTHING = 0.1
TEMPERATURE = 2.0
RARE = (3, 8, 9)
RARE_KEPT = 0.05


@dataclass(frozen=True)
class Training:
    """One trained model: its losses epoch by epoch in nats, and its scores on the balanced test set.

    No model can bring the training loss below `floor`, the mean entropy of the targets.
    """

    name: str
    model: Classifier
    floor: float
    train_losses: list[float]
    test_losses: list[float]
    scores: Scores
    seconds: float

    @property
    def rare_recall(self) -> float:
        """Share of the test images of the rare digits that are recognised."""
        return float(self.scores.recall[list(RARE)].mean())


@dataclass(frozen=True)
class Trainings:
    """The five trainings; `imbalanced` and `weighted` saw `images_per_digit` [10], the others all images."""

    index_labels: Training
    smoothed: Training
    soft_labels: Training
    imbalanced: Training
    weighted: Training
    images_per_digit: Array

    def all(self) -> tuple[Training, ...]:
        """In the order of the table."""
        return (self.index_labels, self.smoothed, self.soft_labels, self.imbalanced, self.weighted)


def train_all(digits: Digits, epochs: int, seed: int, progress: Progress) -> Trainings:
    """Trains one model five times, from the same first weights: only the targets and the options of the loss differ."""

    def fit(name: str, images: Array, targets: Array, **options: Any) -> Training:
        return train(name, images, targets, options, digits, epochs, seed, progress)

    images, labels = digits.images, digits.labels
    index_labels = fit("index labels", images, labels)
    smoothed = fit(f"label smoothing {SMOOTHING}", images, labels, label_smoothing=SMOOTHING)

    # Distillation: the first model's probabilities, softened, are the only labels that this one sees.
    softened = xent.softmax(index_labels.model.logits(images) / np.float32(TEMPERATURE))
    soft_labels = fit("soft labels", images, softened, temperature=TEMPERATURE)

    kept = keep_few(labels, RARE, RARE_KEPT)
    few_images, few_labels = images[kept], labels[kept]
    counts = np.bincount(few_labels, minlength=CLASSES)
    imbalanced = fit("imbalanced", few_images, few_labels)
    weighted = fit("imbalanced, weighted", few_images, few_labels, class_weight=balancing_weights(counts))
    return Trainings(index_labels, smoothed, soft_labels, imbalanced, weighted, counts)


def balancing_weights(counts: Array) -> Array:
    """Weights [C] that give every class the same total: N / (C·counts); 0 for a class without images."""
    weights: Array = counts.sum() / (len(counts) * np.maximum(counts, 1)) * (counts > 0)
    return weights


def entropy(targets: Array, label_smoothing: float = 0.0) -> float:
    """Mean of -Σ_k t_k·log t_k over the targets, [N] class indices or [N, 10] probabilities, after smoothing; nats."""
    rows = np.eye(CLASSES)[targets] if targets.ndim == 1 else targets
    rows = (1 - label_smoothing) * rows + label_smoothing / CLASSES
    return float(-(rows * np.log(rows, where=rows > 0, out=np.zeros_like(rows))).sum(1).mean())


def train(
    name: str,
    images: Array,
    targets: Array,
    options: dict[str, Any],
    digits: Digits,
    epochs: int,
    seed: int,
    progress: Progress,
) -> Training:
    """Fits a classifier to targets, [N] class indices or [N, 10] probabilities, and scores it on the test images."""
    started = time.perf_counter()
    rng = np.random.default_rng(seed)
    model = Classifier(images.shape[1], HIDDEN_UNITS, CLASSES, rng)
    adam = Adam(model.parameters, LEARNING_RATE)
    train_losses, test_losses = [], []
    for epoch in range(epochs):
        order = rng.permutation(len(images))
        train_losses.append(run_epoch(model, adam, images[order], targets[order], options))
        scores = score(model.logits(digits.test_images), digits.test_labels)
        test_losses.append(scores.loss)
        progress(name, epoch + 1, epochs, scores.loss)
    seconds = time.perf_counter() - started
    floor = entropy(targets, options.get("label_smoothing", 0.0))
    return Training(name, model, floor, train_losses, test_losses, scores, seconds)


def run_epoch(model: Classifier, adam: Adam, images: Array, targets: Array, options: dict[str, Any]) -> float:
    """One step a batch, in the order given; the mean loss over the images, each taken before its step."""
    loss_and_grad = xent.value_and_grad(xent.softmax_cross_entropy)
    total = 0.0
    for start in range(0, len(images), BATCH):
        x, target = images[start : start + BATCH], targets[start : start + BATCH]
        hidden = model.hidden(x)
        loss, d_logits = loss_and_grad(model.logits_from(hidden), target, **options)
        adam.step(model.gradients(x, hidden, d_logits))
        total += float(loss) * len(x)
    return total / len(images)
