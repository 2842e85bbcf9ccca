"""Images of handwritten digits, split for training and testing, and an imbalanced part of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

Array = NDArray[Any]

CLASSES = 10
TEST_IMAGES_PER_DIGIT = 60


@dataclass(frozen=True)
class Digits:
    """Images are [N, 64] float32 brightnesses in [0, 1], labels [N] int64. The test set holds as many of each digit."""

    images: Array
    labels: Array
    test_images: Array
    test_labels: Array


def load_digits(seed: int) -> Digits:
    """The 1797 images of 8×8 pixels that come with scikit-learn, split at random."""
    bundled = datasets.load_digits()
    order = np.random.default_rng(seed).permutation(len(bundled.target))
    images, labels = (bundled.data[order] / 16).astype(np.float32), bundled.target[order].astype(np.int64)
    test = rank_in_class(labels) < TEST_IMAGES_PER_DIGIT
    return Digits(images[~test], labels[~test], images[test], labels[test])


def keep_few(labels: Array, rare: tuple[int, ...], fraction: float) -> Array:
    """A mask [N] that keeps the first `fraction` of the images of each rare class, and all others."""
    counts = np.bincount(labels, minlength=CLASSES)
    return ~np.isin(labels, rare) | (rank_in_class(labels) < np.round(fraction * counts)[labels])


def rank_in_class(labels: Array) -> Array:
    """For each label, how many labels before it are the same.

    >>> rank_in_class(np.array([7, 4, 7, 7, 4])).tolist()
    [0, 0, 1, 2, 1]
    """
    ranks = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        ranks[labels == label] = np.arange(np.count_nonzero(labels == label))
    return ranks
