"""Samplers of classes: TensorFlow's bits, frequencies, expected counts, threads, states, bad input."""

from __future__ import annotations

import copy
import inspect
import itertools
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import xent
from xent import samplers

GRAPH_SEED = 87654321  # TensorFlow's, where none is set
TRUE = np.array([[0, 3], [1, 1], [4, 2]])
COUNTS = np.array([5.0, 0.5, 0.0, 17.0, 3.0, 8.0, 0.0, 40.0, 1.0, 2.0])

# In eager mode TensorFlow keeps one stream for each set of attributes, so no two tests may share a seed.
fresh_seed = itertools.count(1000).__next__


def make(kind: str, num_sampled: int = 4, **options: Any) -> samplers.Sampler:
    """A sampler of each kind, of ten classes."""
    if kind == "AllCandidates":
        return samplers.AllCandidates(10, dtype=options.get("dtype", "float32"))
    if kind == "Unigram":
        return samplers.Unigram(COUNTS, num_sampled, **options)
    return getattr(samplers, kind)(10, num_sampled, **options)


KINDS = ("Uniform", "LogUniform", "Unigram", "LearnedUnigram", "AllCandidates")
RANDOM = KINDS[:4]


# The same bits as TensorFlow


def assert_same_bits(found: samplers.Candidates, expected: Any) -> None:
    for name, ours, theirs in zip(found._fields, found, expected, strict=True):
        theirs = theirs if isinstance(theirs, np.ndarray) else theirs.numpy()
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape, name
        assert ours.tobytes() == theirs.tobytes(), name


SIZES = (
    (1, 1),
    (5, 3),
    (5, 5),
    (64, 64),
    (1000, 1000),
    (1000, 7),
    (1023, 300),
    (1_000_000, 20_000),
    (2**40 + 7, 2_000),
)


@pytest.mark.parametrize("unique", [True, False], ids=["unique", "repeating"])
@pytest.mark.parametrize(("classes", "size"), SIZES)
@pytest.mark.parametrize("kind", ["Uniform", "LogUniform"])
def test_same_bits_as_tensorflow(kind: str, classes: int, size: int, unique: bool) -> None:
    seed, rng = fresh_seed(), np.random.default_rng(size)
    sampler = getattr(samplers, kind)(classes, size, unique=unique, seed=seed)
    theirs = getattr(tf.raw_ops, f"{kind}CandidateSampler")
    for _ in range(4):  # calls of one stream
        true = rng.integers(0, classes, (17, 3))
        expected = theirs(
            true_classes=true,
            num_true=3,
            num_sampled=size,
            unique=unique,
            range_max=classes,
            seed=GRAPH_SEED,
            seed2=seed,
        )
        assert_same_bits(sampler.sample(true), expected)


@pytest.mark.parametrize("classes", [3, 1000, 2**31, 2**45, 2**51, 2**52 + 1, 2**62])
def test_same_bits_on_every_instruction_set(instruction_set: str, classes: int) -> None:
    """Ids and counts that vectors cannot tell for sure come from the C library."""
    seed, edge = fresh_seed(), np.array([0, 1, classes // 2, classes - 2, classes - 1])
    true = np.concatenate([edge, np.arange(40) * (classes // 40), 2 ** np.arange(62) - 1])
    true = true[true < classes].reshape(-1, 1)
    expected = tf.raw_ops.LogUniformCandidateSampler(
        true_classes=true,
        num_true=1,
        num_sampled=5003,
        unique=False,
        range_max=classes,
        seed=GRAPH_SEED,
        seed2=seed,
    )
    assert_same_bits(samplers.LogUniform(classes, 5003, unique=False, seed=seed).sample(true), expected)


@pytest.mark.parametrize("unique", [True, False], ids=["unique", "repeating"])
@pytest.mark.parametrize(("classes", "size"), [(1, 1), (5, 5), (64, 20), (1000, 7), (100_003, 5_000)])
def test_same_bits_as_tensorflow_of_learned_unigrams(classes: int, size: int, unique: bool) -> None:
    seed, rng = fresh_seed(), np.random.default_rng(size)
    sampler = samplers.LearnedUnigram(classes, size, unique=unique, seed=seed)
    for _ in range(5):
        true = np.minimum(rng.geometric(0.3, (50, 2)) - 1, classes - 1)
        expected = tf.raw_ops.LearnedUnigramCandidateSampler(
            true_classes=true,
            num_true=2,
            num_sampled=size,
            unique=unique,
            range_max=classes,
            seed=GRAPH_SEED,
            seed2=seed,
        )
        assert_same_bits(sampler.sample(true), expected)


def fixed_unigram(true: Any, size: int, classes: int, seed: int, **options: Any) -> Any:
    return tf.raw_ops.FixedUnigramCandidateSampler(
        true_classes=true,
        num_true=np.shape(true)[1],
        num_sampled=size,
        range_max=classes,
        seed=GRAPH_SEED,
        seed2=seed,
        **options,
    )


@pytest.mark.parametrize("unique", [True, False], ids=["unique", "repeating"])
@pytest.mark.parametrize(
    ("classes", "size", "reserved", "distortion"),
    [(6, 3, 0, 1.0), (6, 2, 2, 0.75), (1000, 50, 1, 0.5), (1000, 900, 10, 0.0), (50_000, 3_000, 3, 0.75)],
)
def test_same_bits_as_tensorflow_of_unigrams(
    classes: int, size: int, reserved: int, distortion: float, unique: bool
) -> None:
    seed, rng = fresh_seed(), np.random.default_rng(classes)
    counts = rng.zipf(1.5, classes - reserved).clip(max=10**6).astype(float)
    options = {"num_reserved_ids": reserved, "distortion": distortion}
    sampler = samplers.Unigram(counts, size, unique=unique, seed=seed, **options)
    for _ in range(3):
        true = rng.integers(0, classes, (9, 2))
        expected = fixed_unigram(true, size, classes, seed, unique=unique, unigrams=counts.tolist(), **options)
        assert_same_bits(sampler.sample(true), expected)


@pytest.mark.parametrize("shard", [0, 1, 2])
def test_same_bits_as_tensorflow_of_shards(shard: int) -> None:
    seed, counts = fresh_seed(), np.arange(1.0, 21.0)
    classes = len(range(shard, 20, 3))
    sampler = samplers.Unigram(counts, 4, num_shards=3, shard=shard, range_max=classes, seed=seed)
    expected = fixed_unigram(TRUE, 4, classes, seed, unique=True, unigrams=counts.tolist(), num_shards=3, shard=shard)
    assert_same_bits(sampler.sample(TRUE), expected)


def test_same_bits_as_tensorflow_of_a_file(tmp_path: Path) -> None:
    path, seed = tmp_path / "words.csv", fresh_seed()
    path.write_bytes(b"the,12,40\r\nof,3,0.5\n\nand, 7.25\n11")
    sampler = samplers.Unigram.from_file(path, 3, num_reserved_ids=1, seed=seed)
    assert sampler.range_max == 5
    expected = fixed_unigram(TRUE, 3, 5, seed, unique=True, vocab_file=str(path), num_reserved_ids=1)
    assert_same_bits(sampler.sample(TRUE), expected)


def test_same_bits_as_tensorflow_of_all_candidates() -> None:
    expected = tf.random.all_candidate_sampler(TRUE, num_true=2, num_sampled=10, unique=True)
    assert_same_bits(samplers.AllCandidates(10).sample(TRUE), expected)


@pytest.mark.parametrize("graph_seed", [0, 3, 2**31 + 5])
@pytest.mark.parametrize("seed", [0, 11, 2**31 + 1])
def test_seeds_of_graph_and_op(graph_seed: int, seed: int) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.random.set_seed(graph_seed)
        op = tf.random.log_uniform_candidate_sampler(tf.constant(TRUE, tf.int64), 2, 20, True, 1000, seed=seed)
        sampler = samplers.LogUniform(1000, 20, seed=(graph_seed, seed))
        for _ in range(3):
            assert_same_bits(sampler.sample(TRUE), session.run(op))


def test_successive_eager_calls_are_one_stream() -> None:
    seed = fresh_seed()
    sampler = samplers.Uniform(777, 30, seed=tf.compat.v1.random.get_seed(seed))  # a global seed may be set
    for _ in range(3):
        expected = tf.random.uniform_candidate_sampler(TRUE, 2, 30, True, 777, seed=seed)
        assert_same_bits(sampler.sample(TRUE), expected)


# Distributions


def probabilities(kind: str, classes: int) -> np.ndarray:
    k = np.arange(classes, dtype=np.longdouble)
    if kind == "LogUniform":
        return np.log1p(1 / (k + 1)) / np.log1p(np.longdouble(classes))
    weights = {"Uniform": k * 0 + 1, "LearnedUnigram": k * 0 + 1, "Unigram": np.sqrt(COUNTS.astype(np.longdouble))}
    return weights[kind] / weights[kind].sum()


def options_of(kind: str) -> dict[str, Any]:
    return {"distortion": 0.5} if kind == "Unigram" else {}


@pytest.mark.parametrize("kind", RANDOM)
def test_frequencies(kind: str) -> None:
    """A chi-square test of each sampler's draws against its probabilities."""
    sampler = make(kind, 200_000, unique=False, seed=5, **options_of(kind))
    found = np.bincount(sampler.sample(np.zeros(0, int)).sampled_ids, minlength=10)
    p = probabilities(kind, 10).astype(float)
    assert (found[p == 0] == 0).all()
    test = scipy.stats.chisquare(found[p > 0], 200_000 * p[p > 0])
    assert test.pvalue > 1e-3


def test_frequencies_of_learned_counts() -> None:
    sampler = samplers.LearnedUnigram(3, 100_000, unique=False, seed=5)
    sampler.sample([0] * 4 + [2] * 2)
    assert sampler.counts.tolist() == [5, 1, 3]
    found = np.bincount(sampler.sample([0]).sampled_ids, minlength=3)
    assert scipy.stats.chisquare(found, 100_000 * np.array([5, 1, 3]) / 9).pvalue > 1e-3


@pytest.mark.parametrize("kind", RANDOM)
def test_counts_of_independent_draws(kind: str) -> None:
    """p·S, to the rounding of float64 (Unigram's weights are float32)."""
    sampler = make(kind, 7, unique=False, seed=1, dtype="float64", **options_of(kind))
    ids, true, sampled = sampler.sample(np.arange(10))
    expected = 7 * probabilities(kind, 10)
    ulp = 2.0**-24 if kind == "Unigram" else 2.0**-53
    assert true.dtype == sampled.dtype == np.float64
    assert (np.abs(true - expected) <= 4 * ulp * expected).all()
    assert (sampled == true[ids]).all()


@pytest.mark.parametrize("kind", RANDOM)
def test_counts_of_distinct_classes(kind: str) -> None:
    """A whole number of tries explains the counts of all classes: 1 - (1 - p)^tries, or p·S where nothing repeated."""
    size, ulp = 6, 2.0**-24 if kind == "Unigram" else 2.0**-53
    sampler = make(kind, size, seed=1, dtype="float64", **options_of(kind))
    p, all_tries = probabilities(kind, 10), set()
    for _ in range(5):
        ids, true, sampled = sampler.sample(np.arange(10))  # which LearnedUnigram learns in equal parts
        assert (sampled == true[ids]).all()
        fitting = []
        for tries in range(size, 200):
            expected = -np.expm1(tries * np.log1p(-p)) if tries > size else size * p
            if (np.abs(true - expected) <= 4 * tries * ulp * expected).all():
                fitting.append(tries)
        assert len(fitting) == 1
        all_tries |= {*fitting}
    assert max(all_tries) > size


@pytest.mark.parametrize("kind", ["Uniform", "LogUniform"])
def test_counts_of_large_classes_are_accurate(kind: str) -> None:
    """float64 counts of classes whose probabilities differ in late digits only."""
    classes = 10**12
    true = np.array([0, 10, 10**6, 10**9, classes - 1])
    sampler = getattr(samplers, kind)(classes, 5, unique=False, seed=1, dtype="float64")
    k = true.astype(np.longdouble)
    p = np.log1p(1 / (k + 1)) / np.log1p(np.longdouble(classes)) if kind == "LogUniform" else 1 / (k * 0 + classes)
    assert (np.abs(sampler.sample(true).true_expected_count - 5 * p) <= 4 * 2.0**-53 * 5 * p).all()


@pytest.mark.parametrize("kind", ["Uniform", "LogUniform", "Unigram"])
def test_counts_predict_how_often_classes_are_drawn(kind: str) -> None:
    """In many samples; the formula takes the number of tries for given, so it is right to about 1 / size."""
    classes, size, calls = 300, 60, 3000
    if kind == "Unigram":
        counts = 1 / np.arange(1.0, classes + 1)
        sampler: samplers.Sampler = samplers.Unigram(counts, size, distortion=0.5, seed=9, dtype="float64")
    else:
        sampler = getattr(samplers, kind)(classes, size, seed=9, dtype="float64")
    found, predicted = np.zeros(classes), np.zeros(classes)
    for _ in range(calls):
        ids, true, _ = sampler.sample(np.arange(classes))
        found[ids] += 1 / calls
        predicted += true / calls
    deviations = (found - predicted) / np.sqrt(predicted * (1 - predicted) / calls)
    assert abs(predicted.sum() - size) < 1
    assert np.mean(deviations**2) < scipy.stats.chi2.ppf(0.999, classes) / classes


@pytest.mark.parametrize("kind", RANDOM)
def test_distinct_classes_are_distinct(kind: str) -> None:
    sampler = make(kind, 8, seed=3)
    for _ in range(20):
        ids = sampler.sample([3]).sampled_ids
        assert len(set(ids.tolist())) == 8
        assert ids.min() >= 0
        assert ids.max() < 10


@pytest.mark.parametrize("classes", [10**6, 2**62])
def test_distinct_classes_by_bits_and_by_a_table(classes: int) -> None:
    ids = samplers.LogUniform(classes, 50_000, seed=3).sample([3]).sampled_ids
    assert np.unique(ids).size == 50_000
    assert ids.min() >= 0
    assert ids.max() < classes


def test_reserved_classes_are_never_drawn_and_expected_zero_times() -> None:
    sampler = samplers.Unigram(np.ones(20_000), 20_000, num_reserved_ids=3, seed=1)
    ids, true, _ = sampler.sample([[0, 2], [3, 4]])
    assert ids.min() == 3
    assert true[0].tolist() == [0, 0]
    assert (true[1] > 0).all()
    with np.errstate(divide="ignore"):
        assert np.log(true[0]).tolist() == [-np.inf, -np.inf]


def test_shards_share_all_classes() -> None:
    """With reserved ids too: class i is in shard i % 3, at i // 3."""
    counts = np.arange(1.0, 18.0)
    weights = np.concatenate([np.zeros(4), counts])
    for shard in range(3):
        own = weights[shard::3]
        sampler = samplers.Unigram(
            counts, 2, num_reserved_ids=4, num_shards=3, shard=shard, dtype="float64", unique=False
        )
        expected = sampler.sample(np.arange(own.size)).true_expected_count
        np.testing.assert_array_almost_equal_nulp(expected, 2 * own / own.sum(), 2)


def test_shapes_and_dtypes() -> None:
    for kind in KINDS:
        for true in ([1, 2, 3], TRUE, TRUE.astype(np.uint8), TRUE.astype(">i2"), np.zeros((0, 2), int), TRUE[:, ::-1]):
            for dtype in ("float32", "float64"):
                found = make(kind, dtype=dtype).sample(true)
                assert found.sampled_ids.dtype == np.int64
                assert found.true_expected_count.shape == np.shape(true)
                assert found.sampled_expected_count.shape == found.sampled_ids.shape
                assert found.true_expected_count.dtype == found.sampled_expected_count.dtype == dtype


def test_true_classes_may_have_any_strides() -> None:
    wide = np.arange(10)[::-1].reshape(5, 2).T
    first, second = make("LogUniform", seed=1), make("LogUniform", seed=1)
    assert_same_bits(first.sample(wide), second.sample(np.ascontiguousarray(wide)))


def test_seeds() -> None:
    first, second = (make("Uniform", 5, seed=None).sample([1]).sampled_ids.tolist() for _ in range(2))
    third = samplers.Uniform(10**9, 5).sample([1]).sampled_ids.tolist()
    fourth = samplers.Uniform(10**9, 5).sample([1]).sampled_ids.tolist()
    assert len(first) == len(second) == 5
    assert third != fourth
    same = [
        samplers.Uniform(10**9, 5, seed=s).sample([1]).sampled_ids.tolist() for s in (7, (GRAPH_SEED, 7), np.int64(7))
    ]
    assert same[0] == same[1] == same[2]


# States and threads


@pytest.mark.parametrize("again", [copy.deepcopy, copy.copy, lambda s: pickle.loads(pickle.dumps(s))])
@pytest.mark.parametrize("kind", KINDS)
def test_copies_continue_on_their_own(kind: str, again: Callable[[Any], Any]) -> None:
    sampler = make(kind, seed=1)
    sampler.sample(TRUE)
    other = again(sampler)
    assert repr(other) == repr(sampler)
    for _ in range(3):
        assert_same_bits(other.sample(TRUE), sampler.sample(TRUE))


@pytest.mark.parametrize("kind", KINDS)
def test_states_restore(kind: str) -> None:
    sampler, other = make(kind, seed=1), make(kind, seed=2)
    sampler.sample(TRUE)
    state = sampler.state
    first = sampler.sample(TRUE)
    for target in (sampler, other):
        target.restore(state)
        assert_same_bits(target.sample(TRUE), first)
    if kind == "LearnedUnigram":
        assert state.counts.tolist() == [2, 3, 2, 2, 2, 1, 1, 1, 1, 1]
        assert sampler.counts.sum() == 10 + 2 * TRUE.size


def test_unigrams_keep_reserved_ids_and_distortion_in_copies() -> None:
    sampler = samplers.Unigram(COUNTS, 3, num_reserved_ids=2, distortion=0.75, num_shards=2, shard=1, seed=1)
    assert_same_bits(pickle.loads(pickle.dumps(sampler)).sample(TRUE), sampler.sample(TRUE))


def test_learning_ends_where_int32_does() -> None:
    sampler = samplers.LearnedUnigram(2, 1, seed=1)
    state = sampler.state
    sampler.restore(state._replace(counts=np.array([2**31 - 4, 1])))
    sampler.sample([0, 1, 1, 1])
    assert sampler.counts.tolist() == [2**31 - 3, 2]
    sampler.sample([1])
    assert sampler.counts.tolist() == [2**31 - 3, 2]


def as_bytes(found: samplers.Candidates) -> tuple[bytes, ...]:
    return tuple(part.tobytes() for part in found)


@pytest.mark.parametrize("kind", RANDOM)
def test_threads_that_share_a_sampler_lose_and_repeat_nothing(kind: str) -> None:
    calls = 200
    shared, alone = (make(kind, 8, seed=1) for _ in range(2))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: as_bytes(shared.sample(TRUE)), range(calls)))
    assert sorted(found) == sorted(as_bytes(alone.sample(TRUE)) for _ in range(calls))
    assert shared.state.calls == calls
    if kind == "LearnedUnigram":
        assert shared.counts.tolist() == alone.counts.tolist()


@pytest.mark.parametrize("kind", ["LogUniform", "Unigram"])
def test_counts_do_not_depend_on_the_number_of_threads(kind: str, keep_threads: None) -> None:
    found = []
    for threads in (1, 3):
        xent.set_num_threads(threads)
        weights = np.arange(1.0, 50_001.0)
        sampler = (
            samplers.LogUniform(50_000, 9_000, seed=1)
            if kind == "LogUniform"
            else samplers.Unigram(weights, 9_000, seed=1)
        )
        found.append(as_bytes(sampler.sample(np.arange(30_000))))
    assert found[0] == found[1]


def test_a_long_draw_can_be_interrupted() -> None:
    """All of many classes, the last of which are rare, take minutes."""

    def give_up(*_: object) -> None:
        raise TimeoutError("enough")

    sampler = samplers.LogUniform(10**7, 10**7, seed=1)
    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(TimeoutError, match="enough"):
            sampler.sample([0])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert sampler.state.calls == 1


def test_too_many_tries_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xent.sampling.sampler.draw", lambda *_: None)
    with pytest.raises(RuntimeError, match=r"num_sampled: expected distinct classes .* Pass a smaller num_sampled"):
        make("LogUniform").sample([0])


# Accidental hits


def hits_by_hand(true: np.ndarray, sampled: np.ndarray) -> list[tuple[int, int]]:
    rows = true if true.ndim == 2 else true[:, None]
    return [(i, j) for i in range(len(rows)) for j in range(sampled.size) if sampled[j] in rows[i]]


@pytest.mark.parametrize("num_true", [None, 1, 3])
@pytest.mark.parametrize(("batch", "size"), [(50, 40), (1, 1), (5, 0), (0, 5), (200, 3)])
def test_accidental_hits(batch: int, size: int, num_true: int | None) -> None:
    """Classes drawn twice, and true twice, among them."""
    rng = np.random.default_rng(batch + size)
    true = rng.integers(0, 30, (batch,) if num_true is None else (batch, num_true))
    sampled = rng.integers(0, 30, size)
    rows, columns = samplers.accidental_hits(true, sampled)
    assert rows.dtype == columns.dtype == np.int64
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == hits_by_hand(true, sampled)


def test_accidental_hits_agree_with_tensorflow_on_distinct_ids() -> None:
    rng = np.random.default_rng(1)
    true, sampled = np.argsort(rng.random((60, 30)))[:, :2].astype(np.int64), rng.permutation(30)[:12]
    indices, ids, _ = tf.nn.compute_accidental_hits(true, sampled, num_true=2)
    found = samplers.accidental_hits(true, sampled)
    assert sorted(zip(*map(np.ndarray.tolist, found), strict=True)) == sorted(
        zip(indices.numpy().tolist(), ids.numpy().tolist(), strict=True)
    )


# Bad input

NAN = float("nan")
REFUSED: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: samplers.Uniform(3, 4), ValueError, "num_sampled: expected at most 3, the number of classes.* got 4"),
    (lambda: samplers.LearnedUnigram(3, 4), ValueError, "num_sampled: expected at most 3"),
    (lambda: samplers.LogUniform(0, 1), ValueError, r"range_max: expected an integer in \[1, .* got 0"),
    (lambda: samplers.LogUniform(2**63, 1), ValueError, "range_max: expected an integer in"),
    (lambda: samplers.LearnedUnigram(2**31 - 1, 1), ValueError, r"range_max: expected an integer in \[1, 2147483646\]"),
    (lambda: samplers.LogUniform(10.0, 1), TypeError, "range_max: expected an integer, got 10.0"),  # type: ignore[arg-type]
    (lambda: samplers.LogUniform(10, True), TypeError, "num_sampled: expected an integer, got True"),
    (lambda: samplers.LogUniform(10, 0), ValueError, "num_sampled: expected an integer in"),
    (lambda: samplers.LogUniform(10, 2**31, unique=False), ValueError, "num_sampled: expected an integer in"),
    (lambda: samplers.LogUniform(10, 1, unique=1), TypeError, "unique: expected True or False, got 1"),  # type: ignore[arg-type]
    (lambda: samplers.LogUniform(10, 1, seed="a"), TypeError, "seed: expected an integer, got 'a'"),  # type: ignore[arg-type]
    (lambda: samplers.LogUniform(10, 1, seed=(1, 2, 3)), TypeError, "seed: .* a pair of integers"),  # type: ignore[arg-type]
    (lambda: samplers.LogUniform(10, 1, seed=2**70), ValueError, "seed: expected an integer in"),
    (lambda: samplers.LogUniform(10, 1, dtype="float16"), TypeError, "dtype: expected float32 or float64, got float16"),
    (lambda: samplers.LogUniform(10, 1, dtype="x"), TypeError, "dtype: expected float32 or float64, got 'x'"),
    (lambda: samplers.AllCandidates(0), ValueError, "range_max: expected an integer in"),
    (lambda: samplers.Unigram([], 1), ValueError, r"counts: expected an array \[n\], n > 0, got shape \[0\]"),
    (lambda: samplers.Unigram([[1.0]], 1), ValueError, r"counts: expected an array \[n\].* got shape \[1, 1\]"),
    (lambda: samplers.Unigram(["a"], 1), TypeError, "counts: expected an array of numbers"),
    (lambda: samplers.Unigram([1.0, NAN], 1), ValueError, "counts: expected finite numbers.* got nan for class 1"),
    (lambda: samplers.Unigram([1.0, -2.0], 1), ValueError, "counts: .* not negative, got -2.0 for class 1"),
    (lambda: samplers.Unigram([1.0, 1e39], 1), ValueError, "counts: expected finite numbers"),
    (lambda: samplers.Unigram([3e38, 1e38], 1), ValueError, "counts: expected numbers whose largest.* got 6e"),
    (lambda: samplers.Unigram([0.0, 0.0], 1), ValueError, "counts: expected a positive one, got none"),
    (lambda: samplers.Unigram([1, 0, 1], 3), ValueError, "num_sampled: expected at most 2, the number of classes with"),
    (lambda: samplers.Unigram([1, 1e-25, 1], 3), ValueError, "num_sampled: expected at most 2 distinct classes"),
    (lambda: samplers.Unigram([1, 2], 1, range_max=3), ValueError, "range_max: expected 2, .* got 3"),
    (lambda: samplers.Unigram([1, 2], 1, distortion=NAN), ValueError, "distortion: expected an exponent"),
    (lambda: samplers.Unigram([1, 0], 1, distortion=-1), ValueError, "distortion: expected an exponent"),
    (lambda: samplers.Unigram([1], 1, distortion="x"), TypeError, "distortion: expected a number, got 'x'"),  # type: ignore[arg-type]
    (lambda: samplers.Unigram([1], 1, num_reserved_ids=-1), ValueError, "num_reserved_ids: expected an integer in"),
    (lambda: samplers.Unigram([1], 1, num_shards=0), ValueError, "num_shards: expected an integer in"),
    (
        lambda: samplers.Unigram([1], 1, num_shards=2, shard=2),
        ValueError,
        r"shard: expected an integer in \[0, 1\], got 2",
    ),
    (lambda: samplers.Unigram([1], 1, num_shards=2, shard=1), ValueError, "counts: expected a positive one"),
    (lambda: make("Uniform").sample(3), ValueError, r"true_classes: expected an array \[batch\] or .* got shape \[\]"),
    (lambda: make("Uniform").sample(np.zeros((1, 1, 1), int)), ValueError, "true_classes: expected an array"),
    (lambda: make("Uniform").sample([1.0]), TypeError, "true_classes: expected an integer array, got dtype float64"),
    (lambda: make("Uniform").sample([True]), TypeError, "true_classes: expected an integer array, got dtype bool"),
    (
        lambda: make("Uniform").sample([[1, 2], [3, 10]]),
        IndexError,
        r"true_classes: .* \[0, 10\), got label 10 in row 1",
    ),
    (lambda: make("Unigram").sample([-1]), IndexError, "true_classes: .* got label -1 in row 0"),
    (lambda: make("LearnedUnigram").sample([-1]), IndexError, "true_classes: .* got label -1 in row 0"),
    (lambda: make("AllCandidates").sample([10]), IndexError, "true_classes: .* got label 10 in row 0"),
    (
        lambda: make("Uniform").sample(np.array([2**63], np.uint64)),
        IndexError,
        "got label 9223372036854775808 in row 0",
    ),
    (lambda: make("Uniform").restore((1, 2)), TypeError, "state: expected a State, got 'tuple'"),  # type: ignore[arg-type]
    (lambda: make("Uniform").restore(((1, -2), 0, None)), ValueError, "state: expected an integer in"),  # type: ignore[arg-type]
    (
        lambda: make("Uniform").restore(make("LearnedUnigram").state),
        ValueError,
        "state: expected no counts, got counts",
    ),
    (lambda: make("LearnedUnigram").restore(make("Uniform").state), ValueError, "state: expected counts, got None"),
    (lambda: restore_counts([1, 2]), ValueError, r"state.counts: expected 10 counts .* got 2 counts"),
    (lambda: restore_counts([-1] + [1] * 9), ValueError, r"state.counts: expected 10 counts .* from -1"),
    (lambda: restore_counts([2**31] + [1] * 9), ValueError, r"state.counts: .* with a sum of 2147483657"),
    (lambda: restore_counts([1] * 3 + [0] * 7), ValueError, "num_sampled: expected at most 3"),
    (lambda: restore_counts([1.5] * 10), TypeError, "state.counts: expected an integer array"),
    (lambda: samplers.accidental_hits([1.0], [1]), TypeError, "true_classes: expected an integer array"),
    (lambda: make("Uniform").sample([[1], [2, 3]]), TypeError, "true_classes: expected an array of numbers, got list"),
    (lambda: samplers.Unigram([[1], [2, 3]], 1), TypeError, "counts: expected an array of numbers, got list"),  # type: ignore[list-item]
    (lambda: samplers.Unigram.from_file(None, 1), TypeError, "path: expected a path of a file, got None"),  # type: ignore[arg-type]
    (lambda: samplers.Unigram.from_file(b"x", 1), TypeError, "path: expected a path of a file, got b'x'"),  # type: ignore[arg-type]
    (lambda: samplers.Unigram.from_file("a\0b", 1), FileNotFoundError, "path: expected a file that can be read"),
    (lambda: samplers.accidental_hits([1], [[1]]), ValueError, r"sampled_ids: expected an array \[num_sampled\]"),
]


def restore_counts(counts: Any) -> None:
    sampler = make("LearnedUnigram")
    sampler.restore(sampler.state._replace(counts=np.array(counts)))


@pytest.mark.parametrize(("call", "error", "words"), REFUSED, ids=range(len(REFUSED)))
def test_bad_input(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as raised:
        call()
    assert re.fullmatch(r"[\w.]+: expected .*, got .*\. .*\.", str(raised.value), re.S)


@pytest.mark.parametrize("kind", RANDOM)
def test_refused_true_classes_leave_the_sampler_as_it_was(kind: str) -> None:
    sampler = make(kind, seed=1)
    with pytest.raises(IndexError, match="label 99"):
        sampler.sample([99])
    assert sampler.state.calls == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_native_sampler_was_made_for_cannot_be_set(kind: str) -> None:
    """It would write beyond arrays made for other numbers."""
    sampler = make(kind)
    for name in ("range_max", "num_sampled", "unique", "dtype"):
        before = getattr(sampler, name)
        with pytest.raises(AttributeError, match=f"'{name}' of .* has no setter"):
            setattr(sampler, name, 10**9)
        assert getattr(sampler, name) == before


def test_empty_lists_are_integers() -> None:
    for empty in ([], np.zeros(0, int), [[]]):
        assert make("Uniform").sample(empty).sampled_ids.shape == (4,)
    assert samplers.accidental_hits([], []).rows.size == 0


def test_shards_of_many_reserved_ids_take_no_more_than_their_own() -> None:
    shards = 2**20
    for shard in (0, 1, 2, shards - 1):
        sampler = samplers.Unigram(
            np.ones(2 * shards), 1, num_reserved_ids=2**30 + 1, num_shards=shards, shard=shard, seed=1
        )
        reserved = 2**10 + (shard < 1)
        assert sampler.range_max == len(range(shard, 2**30 + 1 + 2 * shards, shards))
        expected = sampler.sample(np.arange(sampler.range_max)).true_expected_count
        assert np.flatnonzero(expected).tolist() == [reserved, reserved + 1]


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf5\nb,7\n", b"5\r7\r", b"5\r\n\r\nx,7"])
def test_files_of_other_systems(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_bytes(content)
    expected = samplers.Unigram.from_file(path, 1, unique=False).sample([0, 1]).true_expected_count
    np.testing.assert_allclose(expected, [5 / 12, 7 / 12], rtol=1e-6)


def test_counts_with_underscores(tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text("the,1_000\n")
    with pytest.raises(ValueError, match=r"path: expected lines that end in a count.* got 'the,1_000' in line 1"):
        samplers.Unigram.from_file(path, 1)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"path: expected a file that can be read, got .*nowhere.* Check the path"
    ):
        samplers.Unigram.from_file(tmp_path / "nowhere", 1)
    with pytest.raises(IsADirectoryError, match="path: expected a file that can be read"):
        samplers.Unigram.from_file(tmp_path, 1)
    path = tmp_path / "words.csv"
    path.write_text("word,count\nthe,3\n")
    with pytest.raises(ValueError, match=r"path: expected lines that end in a count.* got 'word,count' in line 1"):
        samplers.Unigram.from_file(path, 1)
    path.write_text("")
    with pytest.raises(ValueError, match="counts: expected an array"):
        samplers.Unigram.from_file(path, 1)


# The module


def test_samplers_are_imported_when_asked_for_and_bring_no_framework() -> None:
    code = (
        "import sys, xent\n"
        "assert 'xent.samplers' not in sys.modules\n"
        "xent.samplers.LogUniform(9, 2).sample([1])\n"
        "assert not {'torch', 'jax', 'tensorflow', 'scipy'} & set(sys.modules)\n"
        "print('fine')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.parametrize("name", samplers.__all__)
def test_docstrings(name: str) -> None:
    thing = getattr(samplers, name)
    text = inspect.getdoc(thing)
    assert text
    if hasattr(thing, "_fields"):
        assert all(getattr(thing, field).__doc__ for field in thing._fields)
    elif name != "Sampler":
        for section in ("Args:", "Raises:", "Example:", "Source:"):
            assert re.search(rf"^{section}", text, re.M), section
        for parameter in inspect.signature(thing).parameters:
            assert re.search(rf"\b{parameter}\b", text), parameter
