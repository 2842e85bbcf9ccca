"""Samplers whose distribution is a table: given, or learned from the true classes."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import type_error, value_error
from ..kernels import sampling as kernels
from ..kernels.sampling import NativeLearnedUnigram, Seeds
from . import arguments
from .arguments import Seed
from .sampler import Sampler, State
from .vocabulary import read_counts


class Unigram(Sampler):
    """Classes in proportion to their counts: `p_k = w_k / Σw` with `w = counts^distortion`.

    Ids are those of the counts after `num_reserved_ids` reserved ones: class `num_reserved_ids + i` has `counts[i]`. A
    reserved class has weight 0 and is never drawn; its expected count is 0 and the logarithm of that -inf, so a loss
    that corrects logits by it is infinite or NaN where a reserved class is a true one. So it is for a count of 0.

    With shards, this sampler draws from the classes with `id % num_shards == shard` only, and numbers them by their
    place among those, `id // num_shards`, in what it returns and in `true_classes`. (TensorFlow starts to count words
    after the shard's reserved ids, not after all, so that with both some words are in no shard; this is not imitated.)

    Args:
        counts: how often each class occurs, or its probability: non-negative numbers `[n]`, used in float32.
        num_sampled: how many to draw at a time.
        unique: distinct classes (drawn with rejection), or independent ones.
        distortion: the exponent: 1 draws by the counts, 0.75 is word2vec's, 0 uniform (classes of count 0 too).
        num_reserved_ids: ids before the first class of `counts`.
        num_shards: how many samplers share the classes. `shard`: which of them this is.
        range_max: the number of classes that remain, where it is to be checked.
        seed: an integer, which gives the classes that TensorFlow's sampler gives for it, in the order of the calls; a
            pair (seed of `tf.random.set_seed`, seed of the op), likewise; or None, for seeds of the system's.
        dtype: of the expected counts: `"float32"`, TensorFlow's to the bit, whose sum of weights is a running one in
            float32 and off for tens of millions of classes, or `"float64"`.

    Raises:
        TypeError, ValueError: an argument that is not what is said here; fewer classes of positive weight than distinct
            ones are asked for, or ones that are too rare to be found.

    Example:
        >>> import xent
        >>> sampler = xent.samplers.Unigram([10, 0, 30, 60], 3, unique=False, distortion=0.5, seed=1)
        >>> ids, _, expected = sampler.sample([0])
        >>> ids
        array([3, 2, 2])
        >>> [round(float(x), 4) for x in expected]
        [1.4182, 1.0028, 1.0028]

    Source: the fixed unigram candidate sampler of TensorFlow (range_sampler.cc), with Walker's alias method; Mikolov et
    al. 2013 (arXiv:1310.4546) for the distortion.
    """

    _weights: NDArray[np.float32]

    def __init__(
        self,
        counts: ArrayLike,
        num_sampled: int,
        *,
        unique: bool = True,
        distortion: float = 1.0,
        num_reserved_ids: int = 0,
        num_shards: int = 1,
        shard: int = 0,
        range_max: int | None = None,
        seed: Seed = None,
        dtype: str = "float32",
    ) -> None:
        weights = _distorted(_check_counts(counts), distortion)
        weights = _own_shard(weights, num_reserved_ids, num_shards, shard)
        if range_max is not None and range_max != weights.size:
            raise value_error(
                "range_max", f"{weights.size}, the classes of counts and reserved ids", str(range_max), "Leave it out."
            )
        super().__init__(weights.size, num_sampled, unique, dtype)
        if self.unique:
            _check_findable(weights, self.num_sampled)
        self._weights = weights
        self._seeds = arguments.seeds(seed)
        self._native = kernels.unigram(weights, self.num_sampled, self.unique, self._seeds)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], num_sampled: int, **options: Any) -> Unigram:
        """A sampler of the counts in a file: the last column of a CSV file, a line for each class.

        Args:
            path: of the file. Empty lines are passed over.
            num_sampled: how many to draw at a time.
            options: the other arguments of `Unigram`.

        Raises:
            OSError: the file cannot be read.
            ValueError: a line that does not end in a number; and what `Unigram` raises.

        Example:
            >>> import pathlib, tempfile, xent
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = pathlib.Path(folder) / "words.csv"
            ...     _ = path.write_text("the,30\\nof,10\\n")
            ...     xent.samplers.Unigram.from_file(path, 2, num_reserved_ids=1)
            Unigram(range_max=3, num_sampled=2, unique=True, dtype='float32')
        """
        return cls(read_counts(path), num_sampled, **options)

    def _arguments(self) -> dict[str, Any]:
        return {"counts": self._weights, "num_sampled": self.num_sampled, "unique": self.unique, "dtype": self.dtype}


def _check_counts(given: ArrayLike) -> NDArray[np.float32]:
    counts = arguments.array_of("counts", given)
    if counts.dtype.kind not in "iuf":
        raise type_error("counts", "an array of numbers", f"dtype {counts.dtype}", "Convert counts to float32.")
    if counts.ndim != 1 or not counts.size:
        raise value_error("counts", "an array [n], n > 0", f"shape {list(counts.shape)}", "Pass one number a class.")
    with np.errstate(over="ignore"):
        weights = counts.astype(np.float32)
    bad = np.flatnonzero(~((weights >= 0) & (weights < np.inf)))
    if bad.size:
        raise value_error(
            "counts",
            "finite numbers that are not negative",
            f"{counts[bad[0]]} for class {bad[0]}",
            "Pass how often each class occurs.",
        )
    return weights


def _distorted(weights: NDArray[np.float32], distortion: float) -> NDArray[np.float32]:
    remedy = "Pass a number from 0 to 1."
    try:
        exponent = float(distortion)
    except (TypeError, ValueError):
        raise type_error("distortion", "a number", repr(distortion), remedy) from None
    distorted = kernels.distort(weights, exponent) if abs(exponent) < 1e30 else np.full(1, np.nan, np.float32)
    if not np.isfinite(distorted).all():
        raise value_error("distortion", "an exponent that leaves all counts finite", repr(distortion), remedy)
    return distorted


def _own_shard(weights: NDArray[np.float32], num_reserved_ids: int, num_shards: int, shard: int) -> NDArray[np.float32]:
    """The weights of this shard's classes, reserved ones included."""
    reserved = arguments.integer("num_reserved_ids", num_reserved_ids, 0, arguments.INT32_MAX - weights.size)
    shards = arguments.integer("num_shards", num_shards, 1, arguments.INT32_MAX)
    first = arguments.integer("shard", shard, 0, shards - 1)
    zeros = len(range(first, reserved, shards))
    own = np.concatenate([np.zeros(zeros, np.float32), weights[first + zeros * shards - reserved :: shards]])
    if not own.any():
        raise value_error("counts", "a positive one", "none in this shard", "Pass counts that are not all 0.")
    if (bound := float(own.max()) * own.size) > float(np.finfo(np.float32).max):  # of the sum, and of a step on the way
        raise value_error(
            "counts",
            "numbers whose largest, times the number of classes, float32 can hold",
            f"{bound:.3g}",
            "Divide the counts by a constant.",
        )
    return own


def _check_findable(weights: NDArray[Any], num_sampled: int) -> None:
    """Refuses distinct classes that no draw, or no reasonable number of draws, would find."""
    arguments.distinct(num_sampled, int(np.count_nonzero(weights)), "classes with a positive count")
    p = weights / weights.sum(dtype=np.float64)
    with np.errstate(divide="ignore"):  # of a class that has all the weight
        found = -np.expm1(arguments.INT32_MAX * np.log1p(-p)).sum()
    if found < num_sampled - 0.5:
        raise value_error(
            "num_sampled",
            f"at most {int(found)} distinct classes, which 2147483647 draws would find",
            str(num_sampled),
            "Pass a smaller num_sampled or distortion, or unique=False.",
        )


class LearnedUnigram(Sampler):
    """Classes in proportion to how often they have been true: `p_k = w_k / Σw`, where all weights start at 1.

    Each `sample` draws, and then adds 1 to the weight of each of its true classes, for every time it is given. Weights
    and their sum are int32; when the sum has reached 2^31 - 1 nothing more is learned.

    Args:
        range_max: the number of classes, less than 2^31 - 1.
        num_sampled: how many to draw at a time.
        unique: distinct classes (drawn with rejection), or independent ones.
        seed: an integer, which gives the classes that TensorFlow's sampler gives for it, in the order of the calls; a
            pair (seed of `tf.random.set_seed`, seed of the op), likewise; or None, for seeds of the system's.
        dtype: of the expected counts: `"float32"`, TensorFlow's to the bit, or `"float64"`.

    Raises:
        TypeError, ValueError: an argument that is not what is said here; more distinct classes than there are.

    Example:
        >>> import xent
        >>> sampler = xent.samplers.LearnedUnigram(4, 2, seed=1)
        >>> ids = sampler.sample([1, 1, 3]).sampled_ids
        >>> sampler.counts
        array([1, 3, 1, 2], dtype=int32)
        >>> later = xent.samplers.LearnedUnigram(4, 2)
        >>> later.restore(sampler.state)
        >>> bool((later.sample([0]).sampled_ids == sampler.sample([0]).sampled_ids).all())
        True

    Source: the learned unigram candidate sampler of TensorFlow (range_sampler.cc, weighted_picker.cc).
    """

    _native: NativeLearnedUnigram
    _learns: ClassVar[bool] = True

    def __init__(
        self, range_max: int, num_sampled: int, *, unique: bool = True, seed: Seed = None, dtype: str = "float32"
    ) -> None:
        classes = arguments.integer("range_max", range_max, 1, arguments.INT32_MAX - 1)
        super().__init__(classes, num_sampled, unique, dtype)
        self._seeds = arguments.seeds(seed)
        self._native = NativeLearnedUnigram(self.range_max, self.num_sampled, self.unique, *self._seeds)

    @property
    def counts(self) -> NDArray[np.int32]:
        """The weights, [range_max]: 1 and how often each class has been true. A copy."""
        return kernels.save(self._native, self.range_max)[1]

    @property
    def state(self) -> State:
        """Where the sampler stands, with what it has learned; `restore` leads back to it."""
        return State(self._seeds, *kernels.save(self._native, self.range_max))

    def _check(self, state: State) -> State:
        seeds, calls, given = super()._check(state)
        counts = arguments.classes("state.counts", given, (1,), "[range_max]")  # type: ignore[arg-type]
        total = counts.sum(dtype=np.float64)
        if counts.size != self.range_max or counts.min() < 0 or not 1 <= total <= arguments.INT32_MAX:
            raise value_error(
                "state.counts",
                f"{self.range_max} counts that are not negative, with a sum from 1 to 2147483647",
                f"{counts.size} counts from {counts.min(initial=0)}, with a sum of {total:.0f}",
                "Pass the `state` of a sampler made with the same range_max.",
            )
        if self.unique:
            _check_findable(counts, self.num_sampled)
        return State(seeds, calls, np.ascontiguousarray(counts, np.int32))

    def _set(self, seeds: Seeds, calls: int, counts: NDArray[np.int32] | None) -> None:
        self._seeds = seeds
        if counts is not None:
            kernels.restore(self._native, seeds, calls, counts)
