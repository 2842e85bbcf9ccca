"""The data that come with scikit-learn, split for training and testing: handwritten digits, and tumours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

Array = NDArray[Any]

CLASSES = 10
TEST_IMAGES_PER_DIGIT = 60
FEATURES = ("mean radius", "mean texture")  # in which the two kinds of tumours overlap


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


@dataclass(frozen=True)
class Tumours:
    """Features are [N, 2] float64, standardised by those to learn from; labels [N] bool: malignant is positive.

    `mean` and `scale` [2] turn standardised features back into measurements: scale·x + mean.
    """

    features: Array
    malignant: Array
    test_features: Array
    test_malignant: Array
    mean: Array
    scale: Array


def load_tumours(seed: int) -> Tumours:
    """569 tumours of the breast, measured under the microscope; half of each kind, at random, are held out."""
    bundled = datasets.load_breast_cancer()
    columns = [list(bundled.feature_names).index(name) for name in FEATURES]
    order = np.random.default_rng(seed).permutation(len(bundled.target))
    features, malignant = bundled.data[order][:, columns], bundled.target[order] == 0
    test = rank_in_class(malignant) % 2 == 1
    mean, scale = features[~test].mean(0), features[~test].std(0)
    features = (features - mean) / scale
    return Tumours(features[~test], malignant[~test], features[test], malignant[test], mean, scale)


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
