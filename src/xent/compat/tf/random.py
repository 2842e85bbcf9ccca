"""`tf.random`: samplers of classes, with TensorFlow's classes and counts to the bit for the same seeds.

As in TensorFlow's eager mode, calls with equal attributes (the sampler, sizes, `unique`, and seeds) go on with one
stream of random numbers, and a learned distribution goes on learning. The samplers are kept for this: the 128 that were
in use last. With tensors of TensorFlow, `tf.random.set_seed` counts, and starts all streams anew; in a graph the
operation is TensorFlow's own. With all other arrays a seed alone determines the stream, and no seed means a stream of
the system's. That TensorFlow records a graph is not seen where no argument is its tensor: such classes are drawn once.

Without a seed after `tf.random.set_seed` each call has a stream of its own, which nothing continues and none is kept.
From 2^20 samples a call on, TensorFlow's own count of the numbers that it used overflows: there only first calls agree.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...sampling.arguments import INT32_MAX
from ...sampling.ranges import AllCandidates, LogUniform, Uniform
from ...sampling.sampler import Sampler
from ...sampling.unigram import LearnedUnigram, Unigram
from ...sampling.vocabulary import read_counts
from ..arrays import namespace_of
from . import operations
from .errors import invalid_argument, not_found
from .streams import sampler_of

__all__ = [
    "all_candidate_sampler",
    "fixed_unigram_candidate_sampler",
    "learned_unigram_candidate_sampler",
    "log_uniform_candidate_sampler",
    "uniform_candidate_sampler",
]


class SampledCandidates(NamedTuple):
    """Returned by the samplers."""

    sampled_candidates: Any
    """[num_sampled], int64: the classes drawn. (JAX without `jax_enable_x64` has int32 only.)"""
    true_expected_count: Any
    """The shape of true_classes, float32: how often each true class is expected in a sample of this size."""
    sampled_expected_count: Any
    """[num_sampled], float32: how often each class drawn is expected in a sample of this size."""


class _Call(NamedTuple):
    """The arguments that all samplers have."""

    operation: str
    true_classes: Any
    num_true: Any
    num_sampled: Any
    unique: Any
    range_max: Any
    seed: Any

    def sample(
        self, make: Callable[..., Sampler], *key: Hashable, check: Callable[[], None] | None = None
    ) -> SampledCandidates:
        """Checked in TensorFlow's order, and drawn.

        Args:
            make: a sampler of the sizes and a seed. key: what tells it from others of its kind.
            check: of the other attributes, where a sampler has any.
        """
        xp = namespace_of(self.true_classes, ())
        seeds, generation = operations.seeds_of(xp, self.seed)
        num_true, num_sampled = (operations.integer(name, getattr(self, name)) for name in ("num_true", "num_sampled"))
        unique = operations.flag("unique", self.unique)
        range_max = operations.integer("range_max", self.range_max)
        true = operations.class_ids(self.true_classes, self.operation, 0)
        operations.at_least(xp, 1, num_true=num_true, num_sampled=num_sampled, range_max=range_max)
        operations.in_int32(xp, num_sampled=num_sampled, num_true=num_true)
        if check is not None:
            check()
        _check_classes(xp, true, num_true, range_max, unique and num_sampled > range_max)

        def made() -> Sampler:
            return make(range_max=range_max, num_sampled=num_sampled, unique=unique, seed=seeds)

        # the seed that follows from a global one is new in each call
        passing = seeds is not None and self.seed is None
        attributes = (self.operation, num_true, num_sampled, unique, range_max, seeds, generation, *key)
        drawn = (made() if passing else sampler_of(attributes, made)).sample(true)
        return SampledCandidates(*(xp.placed(part, self.true_classes) for part in drawn))


def _check_classes(xp: Any, true: NDArray[np.int64], num_true: int, range_max: int, too_small: bool) -> None:
    if true.ndim != 2:
        raise invalid_argument(xp, "true_classes must be a matrix")
    if true.shape[1] != num_true:
        columns = f"expected: {true.shape[1]} was: {num_true}"
        raise invalid_argument(xp, f"true_classes must have num_true columns, {columns}")
    if too_small:
        raise invalid_argument(xp, "Sampler's range is too small.")
    outside = true[(true < 0) | (true >= range_max)]
    if outside.size:
        text = f"`true_candidate` out of range [0, {range_max}), received {outside[0]}"
        raise invalid_argument(xp, text)


def _recorded(name: str, true_classes: Any) -> Any:
    """TensorFlow's own function where it records a graph, else None."""
    xp = namespace_of(true_classes, ())
    return xp.original("random", name) if getattr(xp, "in_graph", bool)() else None


def uniform_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    seed: Any = None,
    name: str | None = None,
) -> SampledCandidates:
    """Draws classes that are all equally probable.

    Args:
        true_classes: integers `[batch, num_true]` in `[0, range_max)`; TensorFlow's tensors must be int64.
        num_true: the number of columns of `true_classes`.
        num_sampled: how many classes to draw.
        unique: distinct classes, or independent ones.
        range_max: the number of classes.
        seed: of the operation; see the module for how streams go on.
        name: ignored outside TensorFlow's graphs.

    Returns:
        `SampledCandidates`, as arrays of the framework of `true_classes`.

    Raises:
        TypeError: an argument of another type.
        InvalidArgumentError: true classes of another shape or out of range, more distinct classes than there are.

    Example:
        >>> import numpy as np
        >>> from xent.compat import tf
        >>> true = np.array([[2], [3]])
        >>> drawn = tf.random.uniform_candidate_sampler(true, 1, num_sampled=4, unique=True, range_max=10, seed=1)
        >>> drawn.sampled_candidates
        array([1, 5, 4, 7])

    Source: `tf.random.uniform_candidate_sampler`.
    """
    if own := _recorded("uniform_candidate_sampler", true_classes):
        return own(true_classes, num_true, num_sampled, unique, range_max, seed, name)  # type: ignore[no-any-return]
    call = _Call("UniformCandidateSampler", true_classes, num_true, num_sampled, unique, range_max, seed)
    return call.sample(Uniform)


def log_uniform_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    seed: Any = None,
    name: str | None = None,
) -> SampledCandidates:
    """Draws small classes more often: `p_k = log((k + 2) / (k + 1)) / log(range_max + 1)`.

    Args:
        true_classes, num_true, num_sampled, unique, range_max, seed, name: as in `uniform_candidate_sampler`.

    Returns:
        `SampledCandidates`, as there.

    Raises:
        TypeError, InvalidArgumentError: as there.

    Example:
        >>> import numpy as np
        >>> from xent.compat import tf
        >>> true = np.array([[0], [999]])
        >>> tf.random.log_uniform_candidate_sampler(true, 1, 5, True, range_max=1000, seed=1).sampled_candidates
        array([545,  15, 111, 129,   1])

    Source: `tf.random.log_uniform_candidate_sampler`.
    """
    if own := _recorded("log_uniform_candidate_sampler", true_classes):
        return own(true_classes, num_true, num_sampled, unique, range_max, seed, name)  # type: ignore[no-any-return]
    call = _Call("LogUniformCandidateSampler", true_classes, num_true, num_sampled, unique, range_max, seed)
    return call.sample(LogUniform)


def learned_unigram_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    seed: Any = None,
    name: str | None = None,
) -> SampledCandidates:
    """Draws classes in proportion to how often they have been true in calls with the same attributes, and once more.

    Args:
        true_classes, num_true, num_sampled, unique, seed, name: as in `uniform_candidate_sampler`.
        range_max: the number of classes, less than 2^31 - 1.

    Returns:
        `SampledCandidates`, as there.

    Raises:
        TypeError, InvalidArgumentError: as there.
        ValueError: more classes than int32 can count.

    Example:
        >>> import numpy as np
        >>> from xent.compat import tf
        >>> true = np.array([[1, 1]])
        >>> for _ in range(2):
        ...     drawn = tf.random.learned_unigram_candidate_sampler(true, 2, 3, False, range_max=4, seed=1)
        ...     drawn.true_expected_count[0]
        array([0.75, 0.75], dtype=float32)
        array([1.5, 1.5], dtype=float32)

    Source: `tf.random.learned_unigram_candidate_sampler`.
    """
    if own := _recorded("learned_unigram_candidate_sampler", true_classes):
        return own(true_classes, num_true, num_sampled, unique, range_max, seed, name)  # type: ignore[no-any-return]
    if range_max > INT32_MAX:
        raise ValueError(f"Value of range_max:{range_max} is too large to handle")
    if range_max == INT32_MAX:
        text = f"range_max must be less than {INT32_MAX} for unigram samplers, got {range_max}"
        raise invalid_argument(namespace_of(true_classes, ()), text)
    call = _Call("LearnedUnigramCandidateSampler", true_classes, num_true, num_sampled, unique, range_max, seed)
    return call.sample(LearnedUnigram)


def fixed_unigram_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    vocab_file: Any = "",
    distortion: float = 1.0,
    num_reserved_ids: int = 0,
    num_shards: int = 1,
    shard: int = 0,
    unigrams: Any = (),
    seed: Any = None,
    name: str | None = None,
) -> SampledCandidates:
    """Draws classes in proportion to counts, given or in a file, raised to a power.

    With shards, words are counted from the number of this shard's reserved ids on, as TensorFlow does: with reserved
    ids and shards together some words are in no shard. `xent.samplers.Unigram` counts from all reserved ids on.

    Args:
        true_classes, num_true, num_sampled, unique, seed, name: as in `uniform_candidate_sampler`.
        range_max: the number of classes that remain in the shard, reserved ones included.
        vocab_file: a CSV file, the counts in its last column; read once for calls with the same attributes.
        distortion: the exponent of the counts.
        num_reserved_ids: ids before the first class that has a count; they are never drawn.
        num_shards: how many samplers share the classes. `shard`: which of them this is.
        unigrams: the counts, a sequence of numbers, where there is no file.

    Returns:
        `SampledCandidates`, as there.

    Raises:
        TypeError, InvalidArgumentError: as there; and where the counts are not `range_max`, or are given twice.
        NotFoundError: TensorFlow's, and `FileNotFoundError` for the arrays of others: no such file.
        ValueError: counts that are negative, not finite or all 0, or too few for distinct classes (with which
            TensorFlow draws NaN or without end, or stops the process).

    Example:
        >>> import numpy as np
        >>> from xent.compat import tf
        >>> true, counts = np.array([[0]]), [10, 0, 30, 60]
        >>> drawn = tf.random.fixed_unigram_candidate_sampler(
        ...     true, 1, 3, unique=False, range_max=4, distortion=0.5, unigrams=counts, seed=1
        ... )
        >>> drawn.sampled_candidates
        array([3, 2, 2])

    Source: `tf.random.fixed_unigram_candidate_sampler`.
    """
    if own := _recorded("fixed_unigram_candidate_sampler", true_classes):
        shards = (num_reserved_ids, num_shards, shard)
        sizes = (num_true, num_sampled, unique, range_max)
        return own(true_classes, *sizes, vocab_file, distortion, *shards, unigrams, seed, name)  # type: ignore[no-any-return]
    table = _Table(
        _path(vocab_file),
        operations.real("distortion", 1.0 if distortion is None else distortion),
        operations.integer("num_reserved_ids", num_reserved_ids),
        operations.integer("num_shards", num_shards),
        operations.integer("shard", shard),
        _counts(unigrams).tobytes(),
    )
    call = _Call("FixedUnigramCandidateSampler", true_classes, num_true, num_sampled, unique, range_max, seed)
    xp = namespace_of(true_classes, ())
    return call.sample(lambda **sizes: table.sampler(xp, **sizes), *table, check=lambda: table.check(xp, range_max))


def _path(vocab_file: Any) -> str:
    if not isinstance(vocab_file, str | bytes | type(None)):
        raise TypeError(f"Expected string for argument 'vocab_file' not {vocab_file!r}.")
    return vocab_file.decode() if isinstance(vocab_file, bytes) else vocab_file or ""


def _counts(unigrams: Any) -> NDArray[np.float32]:
    given = np.asarray(() if unigrams is None else unigrams)
    if given.ndim != 1:
        operation = "'unigrams' argument to 'fixed_unigram_candidate_sampler' Op"
        raise TypeError(f"Expected list for {operation}, not {unigrams!r}.")
    if given.dtype.kind not in "biuf":
        raise TypeError(f"Expected float for argument 'unigrams' not {given.tolist()[0]!r}.")
    with np.errstate(over="ignore"):
        return given.astype(np.float32)


class _Table(NamedTuple):
    """The attributes of a fixed distribution."""

    path: str
    distortion: float
    reserved: int
    num_shards: int
    shard: int
    counts: bytes

    def check(self, xp: Any, range_max: int) -> None:
        """In TensorFlow's order; a file is read, and its size compared, when the sampler is made."""
        operations.at_least(xp, 1, num_shards=self.num_shards)
        operations.at_least(xp, 0, shard=self.shard)
        if not self.path and not self.counts:
            raise invalid_argument(xp, "Must provide either vocab_file or unigrams.")
        if self.path and self.counts:
            raise invalid_argument(xp, "Must only provide one of vocab_file and unigrams.")
        if not self.path:
            reserved, own = self.of_shard(np.frombuffer(self.counts, np.float32))
            _check_size(xp, range_max, reserved + own.size)

    def of_shard(self, counts: NDArray[Any]) -> tuple[int, NDArray[Any]]:
        """The shard's reserved ids and counts: TensorFlow numbers words from the former on."""
        reserved = len(range(self.shard, self.reserved, self.num_shards)) if self.shard < self.num_shards else 0
        first = (self.shard - reserved) % self.num_shards
        return reserved, counts[first :: self.num_shards] if self.shard < self.num_shards else counts[:0]

    def sampler(self, xp: Any, range_max: int, **sizes: Any) -> Sampler:
        reserved, own = self.of_shard(self.read(xp) if self.path else np.frombuffer(self.counts, np.float32))
        _check_size(xp, range_max, reserved + own.size)
        return Unigram(own, distortion=self.distortion, num_reserved_ids=reserved, **sizes)

    def read(self, xp: Any) -> NDArray[np.float64]:
        try:
            return read_counts(self.path)
        except FileNotFoundError as error:
            raise not_found(xp, f"{self.path}; No such file or directory") from error
        except ValueError as error:
            raise invalid_argument(xp, f"Wrong vocabulary format at line: {error}") from error


def _check_size(xp: Any, range_max: int, size: int) -> None:
    if size != range_max:
        raise invalid_argument(xp, f"range is {range_max} must be equal to weights size  {size}")


def all_candidate_sampler(
    true_classes: Any, num_true: int, num_sampled: int, unique: bool, seed: Any = None, name: str | None = None
) -> SampledCandidates:
    """All classes in order, each with an expected count of 1.

    Args:
        true_classes, num_true, name: as in `uniform_candidate_sampler`.
        num_sampled: the number of classes.
        unique, seed: of no effect.

    Returns:
        `SampledCandidates`, as there.

    Raises:
        TypeError, InvalidArgumentError: as there.

    Example:
        >>> import numpy as np
        >>> from xent.compat import tf
        >>> tf.random.all_candidate_sampler(np.array([[2]]), 1, 3, True).sampled_candidates
        array([0, 1, 2])

    Source: `tf.random.all_candidate_sampler`.
    """
    if own := _recorded("all_candidate_sampler", true_classes):
        return own(true_classes, num_true, num_sampled, unique, seed, name)  # type: ignore[no-any-return]
    call = _Call("AllCandidateSampler", true_classes, num_true, num_sampled, unique, num_sampled, seed)
    return call.sample(lambda range_max, **_: AllCandidates(range_max))
