"""Samplers whose distribution is a formula."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.sampling import log_uniform, uniform
from . import arguments
from .arguments import Seed
from .sampler import Candidates, Sampler, State


class Uniform(Sampler):
    """Every class with the same probability, `p_k = 1 / range_max`.

    Args:
        range_max: the number of classes.
        num_sampled: how many to draw at a time.
        unique: distinct classes (drawn with rejection), or independent ones.
        seed: an integer, which gives the classes and counts that TensorFlow's sampler gives for it, in the order of the
            calls; a pair (seed of `tf.random.set_seed`, seed of the op), likewise; or None, for seeds of the system's.
        dtype: of the expected counts: `"float32"`, TensorFlow's to the bit, or `"float64"`.

    Raises:
        TypeError, ValueError: an argument that is not what is said here; more distinct classes than there are.

    Example:
        >>> import xent
        >>> sampler = xent.samplers.Uniform(10, 4, seed=1)
        >>> sampler.sample([2, 3]).sampled_ids
        array([1, 5, 4, 7])

    Source: the uniform candidate sampler of TensorFlow (range_sampler.cc); random words by Salmon et al. 2011, Philox.
    """

    def __init__(
        self, range_max: int, num_sampled: int, *, unique: bool = True, seed: Seed = None, dtype: str = "float32"
    ) -> None:
        super().__init__(arguments.integer("range_max", range_max, 1, arguments.INT64_MAX), num_sampled, unique, dtype)
        self._seeds = arguments.seeds(seed)
        self._native = uniform(self.range_max, self.num_sampled, self.unique, *self._seeds)


class LogUniform(Sampler):
    """Small classes more often: `p_k = log((k + 2) / (k + 1)) / log(range_max + 1)`, about Zipf's law.

    For classes that are sorted by falling frequency, as the words of most vocabularies.

    Args:
        range_max: the number of classes.
        num_sampled: how many to draw at a time.
        unique: distinct classes (drawn with rejection), or independent ones.
        seed: an integer, which gives the classes and counts that TensorFlow's sampler gives for it, in the order of the
            calls; a pair (seed of `tf.random.set_seed`, seed of the op), likewise; or None, for seeds of the system's.
        dtype: of the expected counts: `"float32"`, TensorFlow's to the bit, or `"float64"`.

    Raises:
        TypeError, ValueError: an argument that is not what is said here; more distinct classes than there are.

    Example:
        >>> import xent
        >>> sampler = xent.samplers.LogUniform(1000, 5, seed=1)
        >>> sampler.sample([[0], [999]]).sampled_ids
        array([545,  15, 111, 129,   1])

    Source: the log-uniform candidate sampler of TensorFlow (range_sampler.cc); Jean et al. 2015 (arXiv:1412.2007) for
    the use; random words by Salmon et al. 2011, Philox.
    """

    def __init__(
        self, range_max: int, num_sampled: int, *, unique: bool = True, seed: Seed = None, dtype: str = "float32"
    ) -> None:
        super().__init__(arguments.integer("range_max", range_max, 1, arguments.INT64_MAX), num_sampled, unique, dtype)
        self._seeds = arguments.seeds(seed)
        self._native = log_uniform(self.range_max, self.num_sampled, self.unique, *self._seeds)


class AllCandidates(Sampler):
    """Every class once, in order, with an expected count of 1: a sampled loss becomes the full one.

    Args:
        range_max: the number of classes, and of samples.
        dtype: of the expected counts: `"float32"` or `"float64"`.

    Raises:
        TypeError, ValueError: an argument that is not what is said here.

    Example:
        >>> import xent
        >>> xent.samplers.AllCandidates(3).sample([2]).sampled_ids
        array([0, 1, 2])

    Source: the candidate sampler of all classes of TensorFlow (range_sampler.cc).
    """

    def __init__(self, range_max: int, *, dtype: str = "float32") -> None:
        range_max = arguments.integer("range_max", range_max, 1, arguments.INT32_MAX)
        super().__init__(range_max, range_max, True, dtype)

    def sample(self, true_classes: ArrayLike) -> Candidates:
        """All classes.

        Args:
            true_classes: integers `[batch]` or `[batch, num_true]`, in `[0, range_max)`.

        Returns:
            `Candidates`: the classes in order, and ones.

        Raises:
            TypeError, ValueError, IndexError: true classes that are not what is said here.
        """
        trues = arguments.true_classes(true_classes, self.range_max)
        ids = np.arange(self.range_max, dtype=np.int64)
        return Candidates(ids, np.ones(trues.shape, self.dtype), np.ones(ids.shape, self.dtype))

    @property
    def state(self) -> State:
        """Nothing: there is no chance in it."""
        return State((0, 0), 0)

    def _set(self, *_: object) -> None:
        """Nothing to set."""

    def _arguments(self) -> dict[str, Any]:
        return {"range_max": self.range_max, "dtype": self.dtype}
