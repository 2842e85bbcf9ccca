"""TensorFlow's samplers by name on every framework's arrays, against TensorFlow itself: bits, streams, errors."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tensorflow_itself
import torch

from xent.compat import tf
from xent.compat.tf import streams

TF = tensorflow_itself
TRUE = np.array([[0, 3], [1, 1], [4, 2]])
COUNTS = [5.0, 0.5, 0.0, 17.0, 3.0, 8.0, 0.0, 40.0, 1.0, 2.0]
MAKE: dict[str, Callable[[Any], Any]] = {
    "numpy": np.asarray,
    "torch": lambda x: torch.tensor(np.asarray(x)),
    "jax": jnp.asarray,
    "tensorflow": lambda x: TF.constant(np.asarray(x)),
}
KIND = {"numpy": np.ndarray, "torch": torch.Tensor, "jax": jnp.ndarray, "tensorflow": TF.Tensor}

# A stream is one for equal attributes, so no two tests may share a seed.
fresh_seed = itertools.count(50_000).__next__

# name: the sampler and its arguments after the true classes and their number
CALLS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "uniform": ("uniform_candidate_sampler", (4, True, 10), {}),
    "uniform, repeating": ("uniform_candidate_sampler", (40, False, 10), {}),
    "log-uniform": ("log_uniform_candidate_sampler", (4, True, 10), {}),
    "log-uniform, many": ("log_uniform_candidate_sampler", (2000, True, 10**6), {}),
    "learned": ("learned_unigram_candidate_sampler", (4, True, 10), {}),
    "learned, repeating": ("learned_unigram_candidate_sampler", (40, False, 10), {}),
    "fixed": ("fixed_unigram_candidate_sampler", (4, True, 10), {"unigrams": COUNTS}),
    "fixed, distorted": (
        "fixed_unigram_candidate_sampler",
        (4, True, 12),
        {"unigrams": COUNTS, "distortion": 0.75, "num_reserved_ids": 2},
    ),
    "all": ("all_candidate_sampler", (10, True), {}),
}
RANDOM = [name for name in CALLS if name != "all"]


def both(name: str, true: Any, given: Any, **more: Any) -> tuple[Any, Any]:
    """What TensorFlow gives, and what xent gives for an array of a framework."""
    function, arguments, options = CALLS[name]
    theirs = getattr(TF.random, function)(TF.constant(true), 2, *arguments, **options, **more)
    return theirs, getattr(tf.random, function)(given, 2, *arguments, **options, **more)


def assert_same_bits(found: Any, expected: Any, framework: str) -> None:
    assert found._fields == expected._fields
    for name, ours, theirs in zip(found._fields, found, expected, strict=True):
        assert isinstance(ours, KIND[framework]), name
        ours, theirs = np.asarray(ours), theirs.numpy()
        if framework == "jax" and theirs.dtype == np.int64:  # which it has not
            assert ours.dtype == np.int32
            ours = ours.astype(np.int64)
        assert ours.dtype == theirs.dtype, name
        assert ours.shape == theirs.shape, name
        assert ours.tobytes() == theirs.tobytes(), name


@pytest.fixture(autouse=True)
def without_global_seed() -> Any:
    """As in a new process, and again so afterwards."""
    TF.random.set_seed(0)
    TF.random.set_seed(None)
    yield
    TF.random.set_seed(None)


@pytest.mark.parametrize("framework", MAKE)
@pytest.mark.parametrize("name", CALLS)
def test_successive_calls_have_tensorflows_bits(name: str, framework: str) -> None:
    seed, rng = fresh_seed(), np.random.default_rng(3)
    for _ in range(4):
        true = rng.integers(0, 10, (7, 2))
        expected, found = both(name, true, MAKE[framework](true), seed=seed)
        assert_same_bits(found, expected, framework)


@pytest.mark.parametrize("seed", [0, -3, 2**31 - 1, 2**70, 2.7, True, np.int64(5)])
def test_seeds_are_tensorflows(seed: Any) -> None:
    for framework in ("numpy", "tensorflow"):
        TF.random.set_seed(None)  # begins all streams of TensorFlow anew
        streams._kept.clear()
        expected, found = both("uniform", TRUE, MAKE[framework](TRUE), seed=seed)
        assert_same_bits(found, expected, framework)


@pytest.mark.parametrize("seed", [None, 12])
@pytest.mark.parametrize("name", CALLS)
def test_seeds_of_tensorflow_count_for_its_tensors(name: str, seed: int | None) -> None:
    """Set twice, and each time all streams start; without a seed of the operation each call has one of its own."""
    function, arguments, options = CALLS[name]
    drawn = []
    for module in (TF.random, tf.random):
        results = []
        for global_seed in (7, 7, 8):
            TF.random.set_seed(global_seed)
            for _ in range(3):
                call = getattr(module, function)
                results.append(call(TF.constant(TRUE), 2, *arguments, **options, seed=seed))
        drawn.append(results)
    for theirs, ours in zip(*drawn, strict=True):
        assert_same_bits(ours, theirs, "tensorflow")


def test_every_function_takes_a_seed_from_tensorflow() -> None:
    """So that the ones after it are TensorFlow's."""
    found = []
    for random, nn in ((TF.random, TF.nn), (tf.random, tf.nn)):
        TF.random.set_seed(3)
        nn.compute_accidental_hits(TF.constant(TRUE), TF.constant([1], TF.int64), 2)
        random.all_candidate_sampler(TF.constant(TRUE), 2, 5, True)
        found.append(random.uniform_candidate_sampler(TF.constant(TRUE), 2, 5, True, 100)[0].numpy().tolist())
    assert found[0] == found[1]


@pytest.mark.parametrize("framework", MAKE)
def test_no_seed_is_chance_but_learns(framework: str) -> None:
    true, classes = MAKE[framework](TRUE), 10**9 + fresh_seed()
    drawn = [tf.random.uniform_candidate_sampler(true, 2, 4, True, classes)[0] for _ in range(2)]
    assert np.asarray(drawn[0]).tolist() != np.asarray(drawn[1]).tolist()
    expected = [
        np.asarray(tf.random.learned_unigram_candidate_sampler(true, 2, 1, False, fresh).true_expected_count)[0, 0]
        for fresh in [fresh_seed()] * 2
    ]
    assert expected[1] > expected[0]


def test_attributes_tell_streams_apart() -> None:
    seed, call = fresh_seed(), tf.random.uniform_candidate_sampler
    first = call(TRUE, 2, 4, True, 10**6, seed)[0].tolist()
    assert call(TRUE[:, :1], 1, 4, True, 10**6, seed)[0].tolist() == first
    assert call(TRUE, 2, 4, False, 10**6, seed)[0].tolist() == first
    assert call(torch.tensor(TRUE), 2, 4, True, 10**6, seed)[0].tolist() != first  # goes on with the first


def test_streams_are_kept_up_to_a_bound() -> None:
    seed, call = fresh_seed(), tf.random.uniform_candidate_sampler
    first = call(TRUE, 2, 4, True, 10**6, seed)[0].tolist()
    for _ in range(streams.BOUND):
        call(TRUE, 2, 4, True, 10, fresh_seed())
    assert len(streams._kept) == streams.BOUND
    assert call(TRUE, 2, 4, True, 10**6, seed)[0].tolist() == first


def test_streams_that_nothing_goes_on_with_are_not_kept() -> None:
    TF.random.set_seed(5)
    before = len(streams._kept)
    tf.random.uniform_candidate_sampler(TF.constant(TRUE), 2, 4, True, 10)
    assert len(streams._kept) == before


def test_threads_share_streams() -> None:
    seeds = [fresh_seed() for _ in range(2)]

    def draw(seed: int) -> bytes:
        return tf.random.uniform_candidate_sampler(TRUE, 2, 4, True, 10**6, seed)[0].tobytes()  # type: ignore[no-any-return]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda _: draw(seeds[0]), range(100)))
    streams._kept.clear()
    assert sorted(together) == sorted(draw(seeds[0]) for _ in range(100))


# Fixed distributions


@pytest.mark.parametrize("reserved", [0, 1, 4, 5])
@pytest.mark.parametrize("shard", [0, 1, 2])
def test_shards_are_tensorflows(shard: int, reserved: int) -> None:
    """With the words that it leaves out of every shard."""
    counts = np.arange(1.0, 21.0).tolist()
    own = len(range(shard, reserved, 3))
    size = own + len(range((shard - own) % 3, 20, 3))
    options = {"num_reserved_ids": reserved, "num_shards": 3, "shard": shard, "unigrams": counts, "seed": fresh_seed()}
    for _ in range(2):
        expected = TF.random.fixed_unigram_candidate_sampler(TRUE, 2, 4, True, size, **options)
        found = tf.random.fixed_unigram_candidate_sampler(TRUE, 2, 4, True, size, **options)
        assert_same_bits(found, expected, "numpy")


@pytest.mark.parametrize("framework", MAKE)
def test_files(framework: str, tmp_path: Path) -> None:
    path, seed = tmp_path / "words.csv", fresh_seed()
    path.write_bytes(b"the,12,40\r\nof,3,0.5\n\nand, 7.25\n11")
    for _ in range(2):
        arguments = (2, 3, True, 5, str(path), 0.5, 1)
        expected = TF.random.fixed_unigram_candidate_sampler(TF.constant(TRUE), *arguments, seed=seed)
        assert_same_bits(
            tf.random.fixed_unigram_candidate_sampler(MAKE[framework](TRUE), *arguments, seed=seed), expected, framework
        )


# Accidental hits


@pytest.mark.parametrize("framework", MAKE)
@pytest.mark.parametrize(
    ("batch", "size", "num_true"), [(50, 40, 1), (50, 40, 3), (1, 1, 1), (0, 5, 2), (5, 0, 2), (4, 3, 0)]
)
def test_accidental_hits(batch: int, size: int, num_true: int, framework: str) -> None:
    """Classes drawn twice, and true twice, among them: the order and the last places are TensorFlow's."""
    rng = np.random.default_rng(batch)
    true, sampled = rng.integers(0, 30, (batch, num_true)), rng.integers(0, 30, size)
    expected = TF.nn.compute_accidental_hits(true, sampled, num_true)
    found = tf.nn.compute_accidental_hits(MAKE[framework](true), MAKE[framework](sampled), num_true)
    assert_same_bits(found, expected, framework)


def test_a_list_of_samples_goes_with_any_array() -> None:
    for framework, make in MAKE.items():
        expected = TF.nn.compute_accidental_hits(TRUE, [4, 1], 2)
        assert_same_bits(tf.nn.compute_accidental_hits(make(TRUE), [4, 1], 2), expected, framework)


# Arrays


GIVEN = [TRUE.tolist(), tuple(map(tuple, TRUE.tolist())), TRUE.astype(np.uint8), TRUE * 1.0, TRUE > 1, TRUE[::-1, ::-1]]


@pytest.mark.parametrize("given", GIVEN, ids=["list", "tuple", "uint8", "float64", "bool", "reversed"])
def test_what_tensorflow_converts(given: Any) -> None:
    seed = fresh_seed()
    expected = TF.random.uniform_candidate_sampler(given, 2, 3, True, 10, seed)
    assert_same_bits(tf.random.uniform_candidate_sampler(given, 2, 3, True, 10, seed), expected, "numpy")


def test_classes_that_jax_cannot_hold_are_refused() -> None:
    call = tf.random.uniform_candidate_sampler
    with pytest.raises(ValueError, match=r"range_max: expected classes that int32 holds.* Turn on jax_enable_x64"):
        call(jnp.asarray(TRUE), 2, 40, True, 2**40, fresh_seed())
    with jax.enable_x64(True):
        found = call(jnp.asarray(TRUE), 2, 40, True, 2**40, fresh_seed())
        assert found.sampled_candidates.dtype == jnp.int64
        assert found.sampled_candidates.max() > 2**31


def test_classes_without_values_are_refused() -> None:
    with pytest.raises(TypeError, match=r"[Tt]race"):
        jax.jit(lambda t: tf.random.uniform_candidate_sampler(t, 2, 3, True, 10)[0])(jnp.asarray(TRUE))


def test_variables() -> None:
    expected, found = both("uniform", TRUE, TF.Variable(TRUE), seed=fresh_seed())
    assert_same_bits(found, expected, "tensorflow")


@pytest.mark.parametrize("name", CALLS)
def test_graphs_record_tensorflows_operation(name: str) -> None:
    function, arguments, options = CALLS[name]
    seed = fresh_seed()
    drawn = []
    for module in (TF.random, tf.random):
        call = TF.function(lambda t, m=module: getattr(m, function)(t, 2, *arguments, **options, seed=seed))
        drawn += [[call(TF.constant(TRUE)) for _ in range(3)]]
        operations = {
            op.type for op in call.get_concrete_function(TF.TensorSpec([None, 2], TF.int64)).graph.get_operations()
        }
        assert any(op.endswith("CandidateSampler") for op in operations)
    for theirs, ours in zip(*drawn, strict=True):
        assert_same_bits(ours, theirs, "tensorflow")


def test_graphs_record_tensorflows_hits() -> None:
    call = TF.function(lambda t, s: tf.nn.compute_accidental_hits(t, s, 2))
    sampled = TF.constant([4, 1, 1], TF.int64)
    assert_same_bits(
        call(TF.constant(TRUE), sampled), TF.nn.compute_accidental_hits(TF.constant(TRUE), sampled, 2), "tensorflow"
    )


# Errors

A = TRUE
RANGE = "uniform_candidate_sampler"
FIXED = "fixed_unigram_candidate_sampler"
HITS = "compute_accidental_hits"
# the function, its arguments (the first one an array), and its options
REFUSED: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    (RANGE, (A[0], 2, 3, True, 10), {}),
    (RANGE, (A[None], 2, 3, True, 10), {}),
    (RANGE, (A, 3, 3, True, 10), {}),
    (RANGE, (A, 0, 3, True, 10), {}),
    (RANGE, (A, 2, 0, True, 10), {}),
    (RANGE, (A, 2, -1, True, 10), {}),
    (RANGE, (A, 2, 3, True, 0), {}),
    (RANGE, (A, 2, 11, True, 10), {}),
    (RANGE, (A, 2, 3, True, 4), {}),
    (RANGE, (A - 1, 2, 3, True, 4), {}),
    (RANGE, (A, None, 3, True, 10), {}),
    (RANGE, (A, 2, "3", True, 10), {}),
    (RANGE, (A, 2, 3, 1, 10), {}),
    (RANGE, (A, 2, 3, np.True_, 10), {}),
    (RANGE, (A, 2, 3, None, 10), {}),
    (RANGE, (A, 2, 3, True, "a"), {}),
    (RANGE, (A, 2, 3, True, 10, "a"), {}),
    (RANGE, (A, 2, 3, True, 10, [1]), {}),
    (RANGE, (A, 2, 3, True, 10, np.array([3])), {}),
    ("log_uniform_candidate_sampler", (A, 2, 11, True, 10), {}),
    ("learned_unigram_candidate_sampler", (A, 2, 11, True, 10), {}),
    ("learned_unigram_candidate_sampler", (A, 2, 3, True, 2**31), {}),
    ("learned_unigram_candidate_sampler", (A, 2, 3, True, "a"), {}),
    ("all_candidate_sampler", (A, 2, 3, True), {}),
    ("all_candidate_sampler", (A, 2, 0, True), {}),
    ("all_candidate_sampler", (A, 2, 3, 1), {}),
    (FIXED, (A, 2, 3, True, 10), {}),
    (FIXED, (A, 2, 3, True, 10), {"unigrams": COUNTS, "vocab_file": "x"}),
    (FIXED, (A, 2, 3, True, 11), {"unigrams": COUNTS}),
    (FIXED, (A, 2, 3, True, 10), {"unigrams": COUNTS, "num_reserved_ids": 1}),
    (FIXED, (A, 2, 3, True, 10), {"unigrams": COUNTS, "num_shards": 2, "shard": 2}),
    (FIXED, (A, 2, 3, True, 10), {"unigrams": COUNTS, "num_shards": 0}),
    (FIXED, (A, 2, 3, True, 10), {"unigrams": COUNTS, "shard": -1}),
    (FIXED, (A, 2, 11, True, 10), {"unigrams": COUNTS}),
    (FIXED, (A, 2, 3, True, 10), {"unigrams": 5.0}),
    (FIXED, (A, 2, 3, True, 10), {"unigrams": ["a"] * 10}),
    (FIXED, (A, 2, 3, True, 10), {"unigrams": COUNTS, "distortion": "a"}),
    (FIXED, (A, 2, 3, True, 10), {"unigrams": COUNTS, "vocab_file": 3}),
    (FIXED, (A, 2, 3, True, 10), {"vocab_file": "/nowhere/words.csv"}),
    (HITS, (A, [1], 3), {}),
    (HITS, (A, [1], -1), {}),
    (HITS, (A, [[1]], 2), {}),
    (HITS, (A[0], [1], 2), {}),
    (HITS, (A, [1.5], 2), {}),
    (HITS, (A, None, 2), {}),
    (HITS, (A, [1], 2, "a"), {}),
]


def raised(call: Callable[[], Any]) -> Exception:
    """What TensorFlow raises."""
    try:
        call()
    except (TypeError, ValueError, TF.errors.OpError) as error:
        return error
    raise AssertionError("TensorFlow raised nothing")


def essence(error: Exception) -> str:
    """The text without the places in graphs and the list of attributes."""
    text = getattr(error, "message", None) or str(error)
    return re.sub(r"{{.*?}} | \[Op.*", "", text.split("\n\t;")[0], flags=re.S)


@pytest.mark.parametrize("framework", MAKE)
@pytest.mark.parametrize(("name", "arguments", "options"), REFUSED, ids=range(len(REFUSED)))
def test_errors_have_tensorflows_class_and_text(
    name: str, arguments: tuple[Any, ...], options: dict[str, Any], framework: str
) -> None:
    places = (TF.nn, tf.nn) if name == HITS else (TF.random, tf.random)
    true, *rest = arguments
    theirs = raised(lambda: getattr(places[0], name)(TF.constant(true), *rest, **options))
    kind: type[Exception] = type(theirs)
    if framework != "tensorflow" and isinstance(theirs, TF.errors.OpError):
        missing = isinstance(theirs, TF.errors.NotFoundError)
        kind = FileNotFoundError if missing else tf.InvalidArgumentError
    with pytest.raises(kind, match=re.escape(essence(theirs))):
        getattr(places[1], name)(MAKE[framework](true), *rest, **options)


@pytest.mark.parametrize("dtype", ["int32", "float32", "float64"])
def test_tensors_of_tensorflow_must_be_int64(dtype: str) -> None:
    true, sampled = TF.cast(TRUE, dtype), TF.constant([1], TF.int64)
    for nn, random in ((TF.nn, TF.random), (tf.nn, tf.random)):
        with pytest.raises(TF.errors.InvalidArgumentError, match=r"cannot compute Uni.* expected to be a int64 tensor"):
            random.uniform_candidate_sampler(true, 2, 3, True, 10)
        with pytest.raises(TF.errors.InvalidArgumentError, match=r"cannot compute Comp.* #1.* to be a int64 tensor"):
            nn.compute_accidental_hits(TF.constant(TRUE), TF.cast(sampled, dtype), 2)


@pytest.mark.parametrize("given", [None, [[1.0, 2.0]]], ids=repr)
def test_what_is_no_array_of_classes(given: Any) -> None:
    theirs = raised(lambda: TF.random.uniform_candidate_sampler(given, 2, 3, True, 10))
    with pytest.raises(type(theirs), match=re.escape(str(theirs))):
        tf.random.uniform_candidate_sampler(given, 2, 3, True, 10)


def test_a_file_without_counts(tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text("word,count\n")
    for module, kind in ((TF.random, TF.errors.InvalidArgumentError), (tf.random, tf.InvalidArgumentError)):
        with pytest.raises(kind, match=r"Wrong vocabulary format at line: .*word,count"):
            module.fixed_unigram_candidate_sampler(TRUE, 2, 1, True, 5, str(path))


@pytest.mark.parametrize("counts", [[0.0] * 5, [1.0, -1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0, 0.0]])
def test_counts_with_which_tensorflow_never_ends_are_refused(counts: list[float]) -> None:
    with pytest.raises(ValueError, match=r"counts|num_sampled"):
        tf.random.fixed_unigram_candidate_sampler(TRUE, 2, 3, True, 5, unigrams=counts)


def test_errors_draw_nothing() -> None:
    seed = fresh_seed()
    for module in (TF.random, tf.random):
        with pytest.raises((TF.errors.InvalidArgumentError, tf.InvalidArgumentError), match="out of range"):
            module.uniform_candidate_sampler(TRUE + 99, 2, 4, True, 10, seed=seed)
    expected, found = both("uniform", TRUE, TRUE, seed=seed)
    assert_same_bits(found, expected, "numpy")


# Names


def test_names_are_where_tensorflow_has_them() -> None:
    names = [name for name in dir(TF.compat.v1.random) if name.endswith("candidate_sampler")]
    assert len(names) == 5
    for theirs, ours in ((TF.random, tf.random), (TF.compat.v1.random, tf.v1.random), (TF.compat.v1.nn, tf.v1.nn)):
        for name in names:
            assert hasattr(ours, name) == hasattr(theirs, name)
    for name in (*names, HITS):
        assert hasattr(tf.nn, name) == hasattr(TF.nn, name)
    assert tf.v1.nn.compute_accidental_hits is tf.nn.compute_accidental_hits


def test_no_framework_is_imported() -> None:
    code = (
        "import sys, numpy as np\n"
        "from xent.compat import tf\n"
        "drawn = tf.random.log_uniform_candidate_sampler(np.array([[1]]), 1, 2, True, 10, seed=1)\n"
        "tf.nn.compute_accidental_hits(np.array([[1]]), drawn.sampled_candidates, 1)\n"
        "print({'tensorflow', 'torch', 'jax', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "set()", done.stderr
