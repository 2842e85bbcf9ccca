"""`xent.choose` and `xent choose`: every answer is reached, and every call that it shows gives the same value."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as torch_save_file

import xent
from xent import cli
from xent.advisor.choose.answers import LEAVES
from xent.advisor.choose.cost import SAMPLED
from xent.advisor.choose.facts import KNOWLEDGE, TASKS, Facts, byte_count
from xent.advisor.choose.recipe import LIBRARIES, Array, Leaf, Recipe
from xent.advisor.choose.tree import REMARKS, TREE, Fork, assume, decide
from xent.plan import linear_blocks

SIZES = {"N": 6, "C": 5, "D": 4, "k": 2, "B": 2, "T": 4, "H": 3, "W": 4, "1": 1}
F32 = np.float32


def arrays_of(leaf: Leaf) -> dict[str, Any]:
    """Small arrays for the names in a leaf's calls; those that say the same in two forms do."""
    made: dict[str, Any] = {}
    for name, array in leaf.arrays.items():
        made[name] = MAKERS[array.kind](np.random.default_rng([7, len(made)]), shape_of(array), made)
    return made


def shape_of(array: Array) -> tuple[int, ...]:
    return () if array.kind == "candidates" else tuple(SIZES[axis] for axis in array.shape)


def softmaxed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    e = np.exp(rng.normal(size=shape))
    return (e / e.sum(-1, keepdims=True)).astype(F32)


def some_void(labels: np.ndarray, label: int) -> np.ndarray:
    labels.flat[::5] = label
    return labels


def positives(rng: np.random.Generator, shape: tuple[int, ...], made: dict[str, Any]) -> np.ndarray:
    chosen = np.stack([rng.permutation(SIZES["C"])[: shape[1]] for _ in range(shape[0])])
    chosen[0, -1] = -1
    return chosen


def multi_hot(rng: np.random.Generator, shape: tuple[int, ...], made: dict[str, Any]) -> np.ndarray:
    return (made["positives"][:, :, None] == np.arange(shape[1])).any(1).astype(F32)


def top_dense(rng: np.random.Generator, shape: tuple[int, ...], made: dict[str, Any]) -> np.ndarray:
    dense = np.zeros(shape, F32)
    np.put_along_axis(dense, made["top_classes"], made["top_masses"], 1)
    return dense


def unit_vectors(rng: np.random.Generator, shape: tuple[int, ...], made: dict[str, Any]) -> np.ndarray:
    vectors = rng.normal(size=shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(F32)


MAKERS: dict[str, Any] = {
    "scores": lambda rng, shape, made: rng.normal(size=shape).astype(F32),
    "scores_last": lambda rng, shape, made: np.moveaxis(made["logits"], 1, -1).copy(),
    "index": lambda rng, shape, made: rng.integers(0, SIZES["C"], shape),
    "void_index": lambda rng, shape, made: some_void(rng.integers(0, SIZES["C"], shape), 255),
    "void_binary": lambda rng, shape, made: some_void(rng.integers(0, 2, shape).astype(F32), 255),
    "tokens": lambda rng, shape, made: some_void(rng.integers(0, SIZES["C"], shape), -100),
    "distribution": lambda rng, shape, made: softmaxed(rng, shape),
    "probabilities": lambda rng, shape, made: softmaxed(rng, shape),
    "probability": lambda rng, shape, made: rng.uniform(0.05, 0.95, shape).astype(F32),
    "binary": lambda rng, shape, made: rng.integers(0, 2, shape).astype(F32),
    "signs": lambda rng, shape, made: (2 * rng.integers(0, 2, shape) - 1).astype(F32),
    "weights": lambda rng, shape, made: rng.uniform(0.5, 3, shape).astype(F32),
    "weight": lambda rng, shape, made: 3.5,
    "temperature": lambda rng, shape, made: 2.5,
    "log_prior": lambda rng, shape, made: np.log(softmaxed(rng, shape)),
    "unit_vectors": unit_vectors,
    "positives": positives,
    "multi_hot": multi_hot,
    "top_classes": lambda rng, shape, made: positives(rng, (shape[0] + 1, shape[1]), made)[1:],
    "top_masses": lambda rng, shape, made: softmaxed(rng, shape),
    "top_dense": top_dense,
    "candidates": lambda rng, shape, made: tuple(
        xent.samplers.LogUniform(SIZES["C"], 3, seed=5).sample(made["labels"][:, None])
    ),
}
NAMES: dict[str, dict[str, Any]] = {
    "xent": {"xent": xent},
    "PyTorch": {"torch": torch, "F": torch.nn.functional},
    "TensorFlow": {"tf": tf},
    "Keras": {"keras": keras},
    "Optax": {"jax": jax, "jnp": jnp, "optax": optax},
}
TENSORS: dict[str, Any] = {
    "xent": np.asarray,
    "PyTorch": lambda array: torch.from_numpy(array.copy()),
    "TensorFlow": tf.constant,
    "Keras": keras.ops.convert_to_tensor,
    "Optax": jnp.asarray,
}


def value_of(code: str, names: dict[str, Any], arrays: dict[str, Any], make: Any) -> np.ndarray:
    """What a call gives on the arrays of one framework."""

    def tensors(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(tensors, value))
        return make(value) if isinstance(value, np.ndarray) else value

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tf.compat.v1
        value = eval(code, {**names, **{name: tensors(array) for name, array in arrays.items()}})
    return np.asarray(value.detach() if isinstance(value, torch.Tensor) else value, np.float64)


RECIPES = [(name, number) for name, leaf in LEAVES.items() for number in range(1 + len(leaf.also))]


def recipe_of(name: str, number: int) -> Recipe:
    return (LEAVES[name].recipe, *LEAVES[name].also)[number]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("name", "number"), RECIPES, ids=lambda x: str(x))
def test_every_call_runs_and_gives_the_value_of_xents(name: str, number: int, library: str) -> None:
    leaf, recipe = LEAVES[name], recipe_of(name, number)
    arrays = arrays_of(leaf)
    own = recipe.calls["xent"].code
    assert own is not None
    expected = value_of(own, NAMES["xent"], arrays, np.asarray)
    assert expected.shape == ()
    assert expected > 0
    call = recipe.calls[library]
    if call.code is None:
        assert call.note.endswith(".")
        return
    found = value_of(call.code, NAMES[library], arrays, TENSORS[library])
    # a few roundings of float32; Keras' clipping of probabilities at 1e-7 lies below them
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("library", ["PyTorch", "TensorFlow", "Optax"])
@pytest.mark.parametrize(("name", "number"), RECIPES, ids=lambda x: str(x))
def test_xents_call_runs_on_every_framework(name: str, number: int, library: str) -> None:
    code = recipe_of(name, number).calls["xent"].code
    arrays = arrays_of(LEAVES[name])
    assert code is not None
    expected = value_of(code, NAMES["xent"], arrays, np.asarray)
    found = value_of(code, NAMES["xent"], arrays, TENSORS[library])
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("name", LEAVES)
def test_an_answer_is_complete(name: str) -> None:
    leaf = LEAVES[name]
    assert leaf.loss in xent.__all__
    assert f"xent.{leaf.loss}(" in (leaf.recipe.calls["xent"].code or "")
    assert leaf.why
    assert leaf.avoid
    recipes = (leaf.recipe, *leaf.also)
    assert all(tuple(recipe.calls) == LIBRARIES for recipe in recipes)
    code = "\n".join(call.code for recipe in recipes for call in recipe.calls.values() if call.code)
    unused = [array for array in leaf.arrays if not re.search(rf"\b{array}\b", code)]
    assert unused == []
    assert max(map(len, code.splitlines())) <= 76  # 80 columns with the margin
    assert len({(recipe.purpose) for recipe in recipes}) == len(recipes)


INLINE = re.compile(r"xent\.[\w.]+\((?:[^()]|\([^()]*\))*\)(?:\.\w+\([^()]*\))?|log\(counts / counts\.sum\(\)\)")


def test_code_in_the_text_of_an_answer_runs() -> None:
    names = {
        "xent": xent,
        "log": np.log,
        "C": 5000,
        "counts": np.arange(1, 21),
        "labels": np.array([3, 1, 4999]),
        "logits": np.zeros((2, 9), F32),
        "positives": np.array([[0, 3], [5, -1]]),
        "classes": np.array([[1, 2]]),
        "masses": np.array([[0.5, 0.5]]),
    }
    texts = [text for leaf in LEAVES.values() for text in (*leaf.why, *(a.because for a in leaf.avoid))]
    texts += [array.meaning for leaf in LEAVES.values() for array in leaf.arrays.values()]
    found = {code for text in texts for code in INLINE.findall(text)}
    assert len(found) >= 5
    for code in found:
        assert eval(code, dict(names)) is not None
    for name in {name for text in texts for name in re.findall(r"\bxent\.(\w+)", text)}:
        assert hasattr(xent, name), name


PAGES = Path(__file__).resolve().parent.parent / "docs"


def test_the_pages_name_what_there_is_and_hold_the_same_code() -> None:
    pages = [(PAGES / name).read_text(encoding="utf-8") for name in ("which-loss.md", "zh/which-loss.md")]
    assert all(hasattr(xent, name) for page in pages for name in re.findall(r"`xent\.(\w+)", page))
    code = [re.sub(r"  # .*", "", "".join(re.findall(r"^```python\n(.*?)^```", page, re.M | re.S))) for page in pages]
    assert code[0] == code[1]
    assert code[0].count("assert") > 15
    named = [set(re.findall(r"`(xent\.\w+)", page)) for page in pages]
    assert named[0] == named[1]
    table = pages[0].split("```")[0]
    assert {f"xent.{leaf.loss}" for name, leaf in LEAVES.items() if name not in ("embeddings", "scoring")} <= set(
        re.findall(r"`(xent\.\w+)", table)
    )


# Facts, the answer to them, and the facts that are asked for beyond them.
DECISIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"classes": 10}, "index", "task probabilities exclusive soft imbalance"),
    ({"classes": 2}, "binary", "task probabilities signed imbalance"),
    ({"classes": 1, "imbalance": 150}, "binary-imbalanced", "task probabilities signed"),
    ({"classes": 2, "exclusive": True}, "index", "task probabilities soft imbalance"),
    ({"classes": 2, "exclusive": False}, "multi-label", "task probabilities imbalance"),
    ({"classes": 2, "imbalance": 99.0}, "binary", "task probabilities signed"),
    ({"signed": True}, "signed", "task probabilities"),
    ({"classes": 10, "soft": True}, "soft", "task probabilities exclusive"),
    ({"classes": 10, "imbalance": 1000}, "imbalanced", "task probabilities exclusive soft"),
    ({"classes": 20, "exclusive": False}, "multi-label", "task probabilities imbalance"),
    ({"classes": 20, "exclusive": False, "imbalance": 200}, "multi-label-imbalanced", "task probabilities"),
    ({"classes": 500_000, "exclusive": False, "rows": 4096}, "multi-label-extreme", "task probabilities memory"),
    ({"classes": 50_000, "exclusive": True, "rows": 8192, "memory": "4GB"}, "linear", "task probabilities soft"),
    ({"classes": 50_000, "rows": 8192, "memory": "5GB"}, "index", "task probabilities exclusive soft imbalance"),
    ({"classes": 100, "rows": 10**6, "memory": "1GB"}, "linear", "task probabilities exclusive soft"),
    ({"classes": 200_000, "soft": True, "rows": 8192}, "soft-large", "task probabilities exclusive memory"),
    ({"classes": 3_000_000}, "sampled", "task probabilities exclusive soft"),
    ({"classes": 10, "probabilities": True}, "probabilities", "task exclusive soft"),
    ({"classes": 5, "soft": True, "probabilities": True}, "soft-probabilities", "task exclusive"),
    ({"classes": 2, "probabilities": True}, "binary-probabilities", "task"),
    ({"classes": 9, "exclusive": False, "probabilities": True}, "binary-probabilities", "task"),
    ({"task": "language-model", "classes": 32_000, "rows": 1024}, "language-model", "memory"),
    ({"task": "language-model", "rows": 65_536}, "language-model-large", "classes memory"),
    ({"task": "segmentation"}, "segmentation", "classes exclusive"),
    ({"task": "segmentation", "classes": 2, "exclusive": True}, "segmentation", ""),
    ({"task": "segmentation", "classes": 1}, "segmentation-binary", ""),
    ({"task": "segmentation", "classes": 2}, "segmentation-binary", ""),
    ({"task": "segmentation", "classes": 5, "exclusive": False}, "segmentation-several", ""),
    ({"task": "distillation"}, "distillation", "classes"),
    ({"task": "distillation", "classes": 128_256, "rows": 16_384}, "distillation-large", "memory"),
    ({"task": "distillation", "classes": 128_256, "rows": 16_384, "memory": "30GB"}, "distillation", ""),
    ({"task": "retrieval"}, "retrieval", ""),
    ({"task": "embeddings"}, "embeddings", ""),
    ({"task": "scoring"}, "scoring", ""),
    ({"task": "regression"}, "regression", ""),
]


@pytest.mark.parametrize(("facts", "answer", "asked"), DECISIONS, ids=lambda x: str(x) if isinstance(x, str) else "")
def test_facts_lead_to_an_answer_and_only_what_matters_is_asked(facts: dict[str, Any], answer: str, asked: str) -> None:
    choice = xent.choose(**facts)
    assert choice.answer == answer
    questions: list[str] = []

    def ask(name: str, known: Facts) -> Any:
        questions.append(name)
        return assume(name, known)

    known = Facts(**{name: KNOWLEDGE[name].read(name, value) for name, value in facts.items()})
    assert decide(known, ask)[0] == answer
    assert questions == asked.split()
    assert set(choice.assumed) >= set(questions)


def test_every_answer_is_reached_and_every_task_has_one() -> None:
    assert {answer for _, answer, _ in DECISIONS} == set(LEAVES)
    assert set(TREE.branches) == set(TASKS)
    named: set[str] = set()
    forks: list[Fork] = [TREE]
    while forks:
        for branch in forks.pop().branches.values():
            named |= {branch} if isinstance(branch, str) else set()
            forks += [branch] if isinstance(branch, Fork) else []
    assert named == set(LEAVES)


@pytest.mark.parametrize(
    ("facts", "start"),
    [
        ({"classes": 10, "imbalance": 30}, "At this imbalance"),
        ({"classes": 10, "dtype": "bfloat16"}, "Half precision"),
        ({"classes": 100_000, "rows": 30_000, "memory": "100TB"}, "More than 2³¹"),
        ({"classes": 2, "exclusive": True}, "With two classes"),
        ({"classes": 10, "framework": "numpy"}, "On NumPy"),
    ],
)
def test_remarks(facts: dict[str, Any], start: str) -> None:
    assert [remark for remark in xent.choose(**facts).remarks if remark.startswith(start)]
    assert len(REMARKS) == 5
    assert xent.choose(classes=10).remarks == ()


@pytest.mark.parametrize(
    ("facts", "takes", "then"),
    [
        ({"task": "segmentation", "classes": 150, "rows": 8 * 1024**2}, "15.1 GB, with xent 10.1 GB", "crops"),
        ({"task": "segmentation", "classes": 1, "rows": 10**9}, "12 GB, with xent 8 GB", "crops"),
        ({"task": "segmentation", "classes": 30, "exclusive": False, "rows": 10**8}, "36 GB, with xent 24 GB", "crops"),
        ({"task": "retrieval", "rows": 65_536}, "51.5 GB, with xent 34.4 GB", "fewer items"),
        ({"classes": 10**5, "probabilities": True, "rows": 8192}, "9.83 GB, with xent 6.55 GB", "fewer rows"),
    ],
)
def test_logits_that_do_not_fit_are_told(facts: dict[str, Any], takes: str, then: str) -> None:
    remarks = xent.choose(**facts, memory="1GB").remarks
    assert remarks[0].startswith("Logits, log-probabilities and gradient do not fit: " + takes + ", of 1 GB.")
    assert then in remarks[0]
    between = xent.choose(**facts, memory=1.01 * byte_count("memory", takes.split("xent ")[1])).remarks
    assert between[0].startswith("Logits, log-probabilities and gradient fit with xent only: " + takes)
    for enough in ({"memory": "100GB"}, {}):
        assert not any("do not fit" in remark for remark in xent.choose(**facts, **enough).remarks)


def test_facts_that_go_together_are_not_refused() -> None:
    assert xent.choose(task="language-model", probabilities=False, exclusive=True).loss == "softmax_cross_entropy"
    assert xent.choose(task="classification", signed=True).loss == "logistic_loss"
    assert xent.choose(task="scoring", classes=1025).loss == "nce_loss"
    assert xent.choose(np.array([2, 0, 1]), task="scoring").loss == "nce_loss"  # a sample, not all classes


@pytest.mark.parametrize(
    ("facts", "logits"),
    [
        ({"task": "retrieval", "classes": 10**6, "rows": 4096}, 4096**2),
        ({"task": "retrieval", "rows": 50_000}, 50_000**2),
        ({"task": "scoring", "classes": 10**7, "rows": 4096}, 4096 * (SAMPLED + 1)),
        ({"task": "regression", "classes": 10**7, "rows": 4096}, 4096),
        ({"task": "language-model", "classes": 10**5, "rows": 10**5}, 10**10),
    ],
)
def test_the_logits_that_are_counted_are_those_of_the_loss(facts: dict[str, Any], logits: int) -> None:
    choice = xent.choose(**facts)
    assert choice.cost.logits == logits
    assert any(remark.startswith("More than 2³¹") for remark in choice.remarks) == (logits > 2**31)


# Sample arrays

RNG = np.random.default_rng(3)
LOGITS = RNG.normal(size=(40, 7)).astype(F32)
INDEX = np.arange(40) % 7
FEW = np.array([0] * 900 + [1] * 3 + [2] * 97)
MULTI = (RNG.random((40, 7)) < 0.4).astype(F32)
YES = (np.arange(40) % 2).astype(F32)
IMAGES = RNG.normal(size=(2, 5, 8, 9)).astype(F32)
PIXELS = np.where(np.arange(2 * 8 * 9).reshape(2, 8, 9) % 11 == 0, 255, 3)

SAMPLES: dict[str, tuple[Any, Any, str, dict[str, Any], str]] = {
    "index": (INDEX, LOGITS, "index", {"rows": 40, "classes": 7}, "number of a class"),
    "index alone": (INDEX, None, "index", {"rows": 40}, "at least 7 classes"),
    "floats of indices": (INDEX.astype(F32), LOGITS, "index", {}, "convert them to integers"),
    "a last axis of 1": (INDEX[:, None], LOGITS, "index", {}, "drop it"),
    "ignored": (np.where(INDEX == 3, -100, INDEX), LOGITS, "index", {}, r"labels \(-100\) are no classes"),
    "imbalanced": (FEW, None, "imbalanced", {}, "imbalance 300:1"),
    "sequences": (INDEX.reshape(8, 5), LOGITS.reshape(8, 5, 7), "index", {"rows": 40}, "axis 2"),
    "one-hot": (np.eye(7, dtype=F32)[INDEX], LOGITS, "index", {}, "one-hot"),
    "soft": (softmaxed(RNG, (40, 7)), LOGITS, "soft", {}, "distributions"),
    "soft alone": (softmaxed(RNG, (40, 7)), None, "soft", {"classes": 7}, "distributions"),
    "several": (MULTI, LOGITS, "multi-label", {"classes": 7}, "several may be right"),
    "several, alone": (MULTI.astype(int), None, "multi-label", {"classes": 7}, "several may be right"),
    "yes or no": (YES, LOGITS[:, 0], "binary", {"classes": 1}, "a yes or no"),
    "yes or no, columns": (YES[:, None], LOGITS[:, :1], "binary", {"classes": 1}, "a yes or no"),
    "yes or no, a column of logits": (YES, LOGITS[:, :1], "binary", {"classes": 1}, "one score a row; drop it"),
    "booleans": (YES.astype(bool), None, "binary", {}, "a yes or no"),
    "rare yes": (np.arange(1000) < 2, None, "binary-imbalanced", {}, "imbalance 499:1"),
    "fractions of yes": (YES * 0.5 + 0.2, LOGITS[:, 0], "binary", {}, "soft yes or no"),
    "two logits": (YES.astype(int), LOGITS[:, :2], "index", {"classes": 2}, "number of a class"),
    "signed": (2 * YES - 1, LOGITS[:, 0], "signed", {}, "-1 and 1"),
    "numbers": (LOGITS[:, 1], LOGITS[:, 0], "regression", {}, "real numbers"),
    "segmentation": (PIXELS, IMAGES, "segmentation", {"classes": 5, "rows": 144}, r"labels \(255\)"),
    "a mask": (np.where(PIXELS == 3, 1, 255), IMAGES[:, :1], "segmentation-binary", {"rows": 144}, r"labels \(255\)"),
    "probabilities": (INDEX, softmaxed(RNG, (40, 7)), "probabilities", {}, "these are probabilities"),
    "soft, from probabilities": (
        softmaxed(RNG, (40, 7)),
        softmaxed(RNG, (40, 7)),
        "soft-probabilities",
        {},
        "these are",
    ),
    "probabilities of yes": (YES, RNG.random(40).astype(F32), "binary-probabilities", {}, "taken for probabilities"),
    "logits alone": (None, LOGITS, "index", {"classes": 7}, "7 classes along axis 1"),
}
FRAMEWORKS = {"NumPy": np.asarray, "torch": TENSORS["PyTorch"], "TF": tf.constant, "JAX": jnp.asarray}


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", SAMPLES)
def test_facts_are_read_off_arrays(name: str, framework: str) -> None:
    labels, logits, answer, costs, said = SAMPLES[name]
    make = FRAMEWORKS[framework]
    choice = xent.choose(*(None if a is None else make(np.asarray(a)) for a in (labels, logits)))
    assert choice.answer == answer
    assert re.search(said, " ".join(choice.deduced))
    for fact, value in costs.items():
        assert fact not in choice.assumed
        assert f"{value:,} {fact}" in choice.cost.lines[0] or fact not in " ".join(choice.cost.lines)


def test_lists_of_labels_are_read() -> None:
    several = xent.choose(xent.Positives(np.array([[1, -1], [0, 2]])), LOGITS[:2])
    assert several.answer == "multi-label"
    assert "xent.Positives" in several.deduced[0]
    teacher = xent.choose(xent.TopK(np.array([[1, 2]]), np.array([[0.5, 0.5]])), LOGITS[:1])
    assert teacher.answer == "soft"


def test_a_fact_that_is_given_counts_more_than_an_array() -> None:
    assert xent.choose(YES, RNG.random(40), probabilities=False).answer == "binary"
    assert xent.choose(INDEX, LOGITS, imbalance=500).answer == "imbalanced"
    assert xent.choose(INDEX, task="distillation").answer == "distillation"


def test_logits_that_are_no_probabilities_are_not_taken_for_some() -> None:
    assert "probabilities" not in xent.choose(INDEX, LOGITS).assumed
    assert "probabilities" in xent.choose(INDEX, 0 * LOGITS).assumed  # of zeros nobody knows
    assert xent.choose(INDEX, RNG.random(LOGITS.shape)).answer == "index"
    images = softmaxed(RNG, (2, 8, 9, 9))
    assert xent.choose(PIXELS, np.moveaxis(images, -1, 1)[..., :9], task="classification").answer == "probabilities"


def test_half_precision_is_read_off_the_array() -> None:
    choice = xent.choose(torch.from_numpy(INDEX), torch.from_numpy(LOGITS).bfloat16())
    assert choice.cost.memory == 2 * 40 * 7 * 2
    assert "bfloat16" in choice.cost.lines[0]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({}, ValueError, "facts: expected at least one, or sample arrays, got none"),
        ({"framework": "torch"}, ValueError, "facts: expected at least one"),
        ({"classes": 0}, ValueError, "classes: expected a whole number of at least 1, got 0"),
        ({"classes": True}, ValueError, "classes: expected a whole number"),
        ({"task": "chess"}, ValueError, "task: expected one of classification, .*, got 'chess'"),
        ({"exclusive": "perhaps"}, TypeError, "exclusive: expected yes or no, got 'perhaps'"),
        ({"signed": True, "classes": 5}, ValueError, "classes: expected 1 or 2 for labels of -1 and 1, got 5"),
        (
            {"task": "language-model", "probabilities": True},
            ValueError,
            "probabilities: expected no for any task but 'classification', .*, got yes with task='language-model'",
        ),
        (
            {"task": "language-model", "exclusive": False},
            ValueError,
            "exclusive: expected yes for task='language-model', .*, got no with",
        ),
        (
            {"task": "distillation", "signed": True},
            ValueError,
            "signed: expected no for any task but 'classification', .*, got yes with task='distillation'",
        ),
        (
            {"task": "scoring", "classes": 3},
            ValueError,
            "classes: expected more than the 1,024 that are sampled for task='scoring', got 3",
        ),
        ({"imbalance": 0.5}, ValueError, "imbalance: expected a number of at least 1, got 0.5"),
        ({"imbalance": "often"}, ValueError, "imbalance: expected a number of at least 1"),
        ({"memory": "much"}, ValueError, "memory: expected a number of bytes, as 8GB or 500MiB, got 'much'"),
        ({"memory": -1}, ValueError, "memory: expected a number of bytes"),
        ({"dtype": "int8"}, ValueError, "dtype: expected one of float16"),
        ({"labels": "cats"}, TypeError, "labels: expected an array"),
        ({"labels": np.array(["cat"])}, TypeError, "labels: expected an array of numbers"),
        ({"labels": np.array([])}, ValueError, "labels: expected at least one row"),
        ({"labels": np.array([1.0, np.nan])}, ValueError, "labels: expected finite numbers"),
        ({"labels": np.array([-1, -100, -1])}, ValueError, "labels: expected at least one label in range"),
        ({"labels": INDEX[:3], "logits": LOGITS}, ValueError, "labels: expected the shape of the logits"),
        ({"labels": LOGITS, "logits": LOGITS}, ValueError, "labels: expected numbers from 0 to 1"),
        ({"labels": INDEX + 0.5, "logits": LOGITS}, ValueError, "labels: expected class indices"),
        ({"labels": INDEX, "logits": np.float32(1)}, ValueError, "logits: expected at least one row, got a single"),
        ({"labels": np.int64(3)}, ValueError, "labels: expected at least one row, got a single number"),
        ({"logits": np.float32(3)}, ValueError, "logits: expected at least one row, got a single number"),
    ],
)
def test_bad_facts_are_refused(arguments: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        xent.choose(**arguments)


def test_an_array_that_is_traced_has_no_values() -> None:
    with pytest.raises(TypeError, match="labels: expected an array with values"):
        jax.jit(lambda y: xent.choose(y) and y)(INDEX)


# Cost


def test_costs_are_counted() -> None:
    dense = xent.choose(classes=1000, rows=500).cost
    assert (dense.memory, dense.elsewhere, dense.traffic) == (4_000_000, 6_000_000, 4_000_000)
    binary = xent.choose(classes=1, rows=500, dtype="float64").cost
    assert (binary.memory, binary.multiplications) == (8000, 0)
    pairs = xent.choose(task="retrieval", rows=100, width=8).cost
    assert (pairs.memory, pairs.multiplications) == (80_000, 3 * 100 * 100 * 8)
    few = xent.choose(task="embeddings", rows=10, classes=10**6, width=8).cost
    many = xent.choose(task="embeddings", rows=10, classes=10**7, width=8).cost
    assert few.multiplications == many.multiplications == 3 * 10 * (SAMPLED + 1) * 8
    assert many.elsewhere == 3 * 10 * 10**7 * 4


def test_the_cost_of_a_linear_loss_is_that_of_its_blocks() -> None:
    cost = xent.choose(task="language-model", classes=50_257, rows=65_536, width=64).cost
    blocks = linear_blocks(65_536, 50_257, 4, None, True)
    assert cost.memory == blocks.rows * blocks.classes * 4 < 41 << 20
    assert cost.multiplications == 3 * 65_536 * 50_257 * 64
    wide = xent.choose(classes=900_000, rows=65_536, width=64).cost
    assert wide.multiplications == 4 * 65_536 * 900_000 * 64


@pytest.mark.parametrize(
    ("text", "number"), [("8GB", 8e9), ("8 GiB", 2**33), ("500m", 5e8), ("1.5k", 1500), ("12", 12), ("3 MiB", 3 << 20)]
)
def test_bytes_with_units(text: str, number: float) -> None:
    assert byte_count("memory", text) == number


# What is printed


@pytest.mark.parametrize("name", LEAVES)
def test_an_answer_is_readable_in_80_columns(name: str) -> None:
    facts = next(facts for facts, answer, _ in DECISIONS if answer == name)
    choice = xent.choose(**facts, framework="keras")
    text = str(choice)
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith(LEAVES[name].title)
    first, second = re.findall(r"^  (\S+?)(?: \(|: —)", text, re.M)[:2]
    assert (first, second) == ("xent", "Keras")
    for part in ("Assumed", "Why", "The call", "Where", "What it costs", "What not to use"):
        assert f"\n{part}\n" in text or (part == "Assumed" and not choice.assumed)
    read = json.loads(choice.to_json())
    assert read["calls"]["xent"]["code"] == choice.calls["xent"].code
    assert read["cost"]["memory"] == choice.cost.memory
    assert all(call["code"] or call["note"] for call in read["calls"].values())


# The command


def command(*arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = cli.main(["choose", *arguments])
    return status, out.getvalue(), err.getvalue()


def test_the_command_prints_the_choice() -> None:
    status, out, err = command("--classes", "50,000", "--labels", "soft", "--memory", "8GB", "--framework", "torch")
    assert (status, err) == (0, "")
    assert "\x1b" not in out
    expected = xent.choose(classes=50_000, exclusive=True, soft=True, memory="8GB", framework="torch")
    assert [line.rstrip() for line in out.rstrip().splitlines()] == str(expected).splitlines()


def test_the_command_prints_json() -> None:
    status, out, _ = command("--classes", "7", "--labels", "multi", "--imbalance", "200:1", "--json")
    assert status == 0
    assert json.loads(out)["answer"] == "multi-label-imbalanced"


def test_the_command_reads_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "both.npz", labels=INDEX, logits=LOGITS)
    status, out, _ = command("--file", str(tmp_path / "both.npz"), "--json")
    assert status == 0
    assert json.loads(out)["answer"] == "index"
    np.savez(tmp_path / "labels.npz", labels=MULTI)
    assert json.loads(command("--file", str(tmp_path / "labels.npz"), "--json")[1])["answer"] == "multi-label"


@pytest.mark.parametrize("kind", [".npz", ".safetensors", ".parquet"])
@pytest.mark.parametrize("names", [("labels",), ("logits",), ("labels", "logits")], ids="+".join)
def test_the_command_reads_every_kind_of_file(tmp_path: Path, kind: str, names: tuple[str, ...]) -> None:
    arrays = {name: {"labels": INDEX, "logits": LOGITS}[name] for name in names}
    path = tmp_path / f"sample{kind}"
    if kind == ".npz":
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    elif kind == ".safetensors":
        save_file(arrays, path)
    else:
        pq.write_table(pa.table({name: list(array) for name, array in arrays.items()}), path)
    status, out, err = command("--file", str(path), "--json")
    assert (status, err) == (0, "")
    expected = xent.choose(arrays.get("labels"), arrays.get("logits"))
    assert json.loads(out) == json.loads(expected.to_json())


@pytest.mark.parametrize(("array", "told"), [(INDEX, "at least 7 classes"), (LOGITS, "7 classes along axis 1")])
def test_an_array_without_a_name_is_labels_or_logits_by_its_dtype(tmp_path: Path, array: Any, told: str) -> None:
    np.save(tmp_path / "only.npy", array)
    status, out, _ = command("--file", str(tmp_path / "only.npy"))
    assert status == 0
    assert told in out


def test_lists_of_classes_and_half_precision_are_read_off_files(tmp_path: Path) -> None:
    pq.write_table(pa.table({"labels": [[1, 4], [], [2]], "logits": list(LOGITS[:3])}), tmp_path / "lists.parquet")
    assert json.loads(command("--file", str(tmp_path / "lists.parquet"), "--json")[1])["answer"] == "multi-label"
    torch_save_file({"logits": torch.from_numpy(LOGITS).bfloat16()}, tmp_path / "half.safetensors")
    assert "Half precision" in command("--file", str(tmp_path / "half.safetensors"))[1]


def npy_that_claims(path: Path, shape: str) -> None:
    header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64))


def bad_files(folder: Path) -> dict[str, str]:
    np.savez(folder / "other.npz", x=INDEX)
    np.savez(folder / "whole.npz", labels=INDEX, logits=LOGITS)
    np.savez(folder / "apart.npz", labels=INDEX[:5], logits=LOGITS)
    np.savez(folder / "objects.npz", labels=np.array([{}], object))
    np.savez(folder / "scalar.npz", labels=np.int64(3))
    np.save(folder / "scalar.npy", np.float32(3))
    np.savez(folder / "rowless.npz", labels=INDEX[:0])
    npy_that_claims(folder / "long.npy", f"({10**15},)")
    npy_that_claims(folder / "endless.npy", f"({10**25},)")
    for kind in (".parquet", ".safetensors", ".npy"):
        (folder / f"text{kind}").write_text("not what its name says")
    pq.write_table(pa.table({"labels": ["cat"]}), folder / "words.parquet")
    (folder / "text.npz").write_text("not an archive")
    (folder / "empty.npz").write_bytes(b"")
    (folder / "cut.npz").write_bytes((folder / "whole.npz").read_bytes()[:300])
    return {
        "other.npz": "an array called logits or labels, got arrays called 'x'",
        "apart.npz": "labels for the 40 rows of",
        "objects.npz": "Python objects, which only unpickling would read",
        "scalar.npz": "a single number",
        "scalar.npy": "a single number",
        "rowless.npz": "at least one row",
        "long.npy": "64: it is truncated",
        "endless.npy": "64: it is truncated",
        "text.npz": "no archive or half of one",
        "text.npy": "an .npy header",
        "text.parquet": "expected a Parquet file",
        "text.safetensors": "expected a safetensors file",
        "words.parquet": "got string",
        "empty.npz": "an empty file",
        "cut.npz": "no archive or half of one",
        "missing.npz": "No such file",
        "missing.txt": "the extension '.txt'",
        ".": "a folder",
    }


def test_bad_files_are_one_line_and_status_2(tmp_path: Path) -> None:
    for name, said in bad_files(tmp_path).items():
        status, out, err = command("--file", str(tmp_path / name))
        assert (status, out) == (2, ""), name
        assert said in err, err
        assert err.count("\n") == 1
        assert err.startswith("xent choose: ")


def test_an_array_beyond_memory_is_one_line_and_status_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("xent.cli.choose.read_arrays", too_large)
    assert command("--file", str(tmp_path / "any.npz")) == (2, "", "xent choose: not enough memory\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "facts: expected at least one option, got none"),
        (["--framework", "jax", "--dtype", "float64"], "facts: expected at least one option, got none"),
        (["--classes", "0"], "argument --classes: expected a whole number of at least 1, got 0"),
        (["--classes", "many"], "argument --classes: expected a whole number"),
        (["--labels", "signed", "--classes", "5"], "classes: expected 1 or 2 for labels of -1 and 1"),
        (["--memory", "8 apples"], "argument --memory: expected a number of bytes"),
        (["--memory", "2XB"], "got '2XB'. Say how much is free. See xent choose --help.\n"),
        (["--imbalance", "nan"], "argument --imbalance: expected a number of at least 1"),
        (["--task", "chess"], "argument --task: expected one of classification"),
        (["--labels", "hard"], "argument --labels: invalid choice: 'hard'"),
        (["--framework", "caffe"], "argument --framework: expected one of numpy"),
    ],
)
def test_bad_options_are_one_line_and_status_2(arguments: list[str], said: str) -> None:
    status, out, err = command(*arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def talk(monkeypatch: pytest.MonkeyPatch, *answers: str) -> tuple[int, str, str]:
    """The command on a terminal, with these answers."""
    out, err = Terminal(), Terminal()
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stdin", Terminal("".join(f"{answer}\n" for answer in answers)))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(["choose"])
    return status, out.getvalue(), re.sub(r"\x1b\[[\d;]*m", "", err.getvalue())


def test_on_a_terminal_it_asks_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, asked = talk(monkeypatch, "2", "", "no", "2", "", "300")
    assert status == 0
    assert "xent.sigmoid_cross_entropy" in out
    assert "pos_weight" in out
    assert "Given\n  • framework: torch, task: classification, classes: 2," in out
    assert out.index("  PyTorch") < out.index("  TensorFlow")
    said = [name for name, fact in KNOWLEDGE.items() if fact.question in asked]
    assert said == ["task", "classes", "signed", "probabilities", "imbalance", "framework"]
    assert all(KNOWLEDGE[name].meaning in " ".join(asked.split()) for name in said)


def test_a_task_may_be_chosen_by_number_and_mistakes_are_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, asked = talk(monkeypatch, "", "nonsense", "2", "some", "50257", "16384", "2GB")
    assert status == 0
    assert "xent.linear_softmax_cross_entropy" in out
    assert "task: expected one of" in asked
    assert "classes: expected a whole number" in asked
    assert KNOWLEDGE["exclusive"].question not in asked


def test_the_end_of_input_ends_the_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, err = talk(monkeypatch)
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].endswith("xent choose: the questions ended before the answer")


def test_options_have_help() -> None:
    parser = argparse.ArgumentParser()
    from xent.cli import choose

    choose.add_arguments(parser)
    text = parser.format_help()
    assert all(f"--{name}" in text for name in KNOWLEDGE if name not in ("exclusive", "soft", "signed"))
    assert "--file" in text
