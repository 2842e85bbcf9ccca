"""The native samplers seen from Python: NumPy arrays in and out, nothing checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .native import address

# Exported, so that samplers are made in one way: (range, size, unique, *seeds).
Seeds = tuple[int, int]
NativeSampler = _native.Sampler
NativeLearnedUnigram = _native.LearnedUnigramSampler
uniform: Callable[..., NativeSampler] = _native.uniform_sampler
log_uniform: Callable[..., NativeSampler] = _native.log_uniform_sampler


class Drawn(NamedTuple):
    """What one call draws, in the order of its meaning for a loss."""

    ids: NDArray[np.int64]
    true_expected: NDArray[Any]
    sampled_expected: NDArray[Any]


def draw(sampler: NativeSampler, size: int, true_classes: NDArray[np.int64], dtype: str) -> Drawn | None:
    """A sample, and how often its classes and the true ones are expected; None if distinct classes took too many tries.

    Args:
        size: what the sampler was made for. true_classes: contiguous and in range. dtype: float32 or float64.
    """
    ids = np.empty(size, np.int64)
    true_expected, sampled_expected = np.empty(true_classes.shape, dtype), np.empty(size, dtype)
    done = sampler.draw(
        dtype == "float64",
        address(ids),
        address(sampled_expected),
        address(true_classes),
        true_classes.size,
        address(true_expected),
    )
    return Drawn(ids, true_expected, sampled_expected) if done else None


def log_counts(counts: NDArray[Any]) -> tuple[NDArray[np.float64], int]:
    """Logarithms of contiguous float32 or float64; where the first is that is not positive and finite, or -1."""
    out = np.empty(counts.shape)
    return out, _native.log_counts(address(counts), counts.itemsize == 8, counts.size, address(out))


def unigram(weights: NDArray[np.float32], size: int, unique: bool, seeds: Seeds) -> NativeSampler:
    """Of contiguous weights, which are copied."""
    return _native.unigram_sampler(address(weights), weights.size, size, unique, *seeds)


def distort(weights: NDArray[np.float32], distortion: float) -> NDArray[np.float32]:
    """weights^distortion, by the C library's function for floats, whose bits are those of TensorFlow's weights."""
    weights = np.ascontiguousarray(weights)
    out = np.empty(weights.shape, np.float32)
    _native.distort(address(weights), weights.size, distortion, address(out))
    return out


def save(sampler: NativeLearnedUnigram, classes: int) -> tuple[int, NDArray[np.int32]]:
    """Calls and weights that belong together."""
    weights = np.empty(classes, np.int32)
    return sampler.save(address(weights)), weights


def restore(sampler: NativeLearnedUnigram, seeds: Seeds, calls: int, weights: NDArray[np.int32]) -> None:
    sampler.restore(*seeds, calls, address(weights))


def accidental_hits(true_classes: NDArray[np.int64], sampled: NDArray[np.int64]) -> tuple[Any, Any]:
    """Rows and columns where contiguous sampled classes [S] are among the true ones of a row [N, ...]."""
    rows = len(true_classes)
    per_row = true_classes.size // max(rows, 1)
    found = _native.accidental_hits(address(true_classes), rows, per_row, address(sampled), sampled.size)
    return tuple(np.frombuffer(bytearray(part), np.int64) for part in found)  # type: ignore[return-value]


def first_outside(classes: NDArray[np.int64], range_max: int) -> int:
    """Where contiguous classes first leave [0, range_max), or -1."""
    return _native.resolve_labels(address(classes), classes.size, range_max, False, 0)[1]
