"""Labels as lists of positive classes: the same bits as dense labels, and no dense label matrix."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import elementwise_cases as cases
import numpy as np
import pytest
import registry
import torch
from elementwise_cases import CASE_BY_NAME, Batch, make_batch, upstream_of
from registry import DTYPES

import xent


def padded(dense: np.ndarray, rng: np.random.Generator) -> xent.Positives:
    """Lists in any order, with the padding anywhere."""
    rows = dense.reshape(-1, dense.shape[-1])
    width = int(rows.sum(axis=1).max(initial=0)) + 2
    classes = np.full((len(rows), width), -1)
    for i, row in enumerate(rows):
        classes[i, : row.sum()] = np.flatnonzero(row)
        rng.shuffle(classes[i])
    return xent.Positives(classes.reshape(*dense.shape[:-1], width))


def csr(dense: np.ndarray, rng: np.random.Generator) -> xent.Positives:
    rows = dense.reshape(-1, dense.shape[-1])
    lists = [rng.permutation(np.flatnonzero(row)) for row in rows]
    starts = np.cumsum([0, *(len(one) for one in lists)])
    return xent.Positives(np.concatenate([np.zeros(0, np.int64), *lists]), starts)


FORMS = {"padded": padded, "csr": csr}
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("hard", {}),
    "smoothed": ("smoothed", {}),
    "pos-weight": ("pos-weight-class", {}),
    "weights": ("weights-with-ones", {"label_smoothing": 0.2}),
    "element-weights": ("pos-weight-element", {"ignore_index": None}),
    "row-weights": ("row-weights", {}),
    "normalizer": ("normalizer", {}),
    "focal": ("focal", {"pos_weight": 3.0}),
    "asymmetric": ("asymmetric", {}),
}


def dense_batch(name: str, shape: tuple[int, ...], dtype: str = "float32") -> Batch:
    case, more = OPTIONS[name]
    batch = make_batch(CASE_BY_NAME[case], shape, dtype=dtype)
    rng = np.random.default_rng(5)
    labels = rng.random(shape) < min(0.5, 20 / max(shape[-1], 1))
    if shape[:-1] and labels.size:
        labels.reshape(-1, shape[-1])[0] = False  # a row without positives
        labels.reshape(-1, shape[-1])[-1] = True  # and one of positives alone
    return batch.on(batch.logits, labels).but(**more)


def assert_same(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", OPTIONS)
def test_lists_equal_dense_labels_to_the_bit(instruction_set: str, name: str, form: str) -> None:
    for shape in ((1,), (33,), (4, 1), (3, 1023), (3, 1024), (3, 1025), (2, 5000), (2, 3, 5, 17)):
        dense = dense_batch(name, shape)
        lists = dense.on(dense.logits, FORMS[form](dense.labels, np.random.default_rng(1)))
        assert_same(cases.on_numpy(lists)[1:], cases.on_numpy(dense)[1:])
        assert_same(cases.on_torch(lists, 1.5)[1:], cases.on_torch(dense, 1.5)[1:])
        each, lists = (b.but(reduction="none", normalizer=None) for b in (dense, lists))
        upstream = upstream_of(each)
        assert_same(cases.on_torch(lists, upstream), cases.on_torch(each, upstream))
        assert_same([cases.value_on_numpy(lists)], [cases.value_on_numpy(each)])


@pytest.mark.parametrize("form", FORMS)
def test_means_of_lists_equal_those_of_dense_labels(instruction_set: str, form: str) -> None:
    """To an ulp: rows are walked one after the other with lists, and as a single line without."""
    for name in OPTIONS:
        for shape in ((33,), (3, 1023), (3, 1025), (401, 7), (2, 3, 5, 17)):
            dense = dense_batch(name, shape)
            lists = dense.on(dense.logits, FORMS[form](dense.labels, np.random.default_rng(1)))
            found, expected = cases.on_numpy(lists)[0], cases.on_numpy(dense)[0]
            assert abs(found - expected) <= np.spacing(expected), (name, shape)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_of_logits(instruction_set: str, dtype: str) -> None:
    for form in FORMS.values():
        dense = dense_batch("weights", (5, 1100), dtype)
        lists = dense.on(dense.logits, form(dense.labels, np.random.default_rng(1)))
        assert_same(cases.on_numpy(lists)[1:], cases.on_numpy(dense)[1:])
        assert_same(cases.on_torch(lists, 2.0)[1:], cases.on_torch(dense, 2.0)[1:])


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_every_dtype_of_classes(kind: str) -> None:
    dense = dense_batch("plain", (6, 100))
    expected = cases.on_numpy(dense)
    lists = csr(dense.labels, np.random.default_rng(2))
    narrow = xent.Positives(lists.classes.astype(kind), lists.starts.astype("int64" if kind[-1] == "8" else kind))
    for run in (cases.on_numpy, cases.on_torch):
        assert_same(run(dense.on(dense.logits, narrow))[1:], expected[1:])
    if kind[0] == "i":
        narrow = xent.Positives(padded(dense.labels, np.random.default_rng(3)).classes.astype(kind))
        for run in (cases.on_numpy, cases.on_torch):
            assert_same(run(dense.on(dense.logits, narrow))[1:], expected[1:])


LAYOUTS = {
    "transposed": lambda x: np.asfortranarray(x),
    "sliced": lambda x: np.repeat(np.repeat(x, 2, axis=0), 3, axis=-1)[::2, ..., ::3],
    "reversed": lambda x: x[::-1, ..., ::-1].copy()[::-1, ..., ::-1],
    "channels-last": lambda x: np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1) if x.ndim > 2 else x,
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_logits(instruction_set: str, layout: str) -> None:
    for shape in ((7, 90), (2, 3, 4, 65)):
        for name in ("plain", "element-weights", "row-weights"):
            dense = dense_batch(name, shape)
            lists = dense.on(LAYOUTS[layout](dense.logits), csr(dense.labels, np.random.default_rng(4)))
            each = cases.value_on_numpy(lists, reduction="none")
            assert_same([each], [np.asarray(cases.value_on_numpy(dense, reduction="none"))])
            assert_same([cases.on_numpy(lists)[1]], [cases.on_numpy(dense)[1]])


def test_lists_as_python_lists() -> None:
    logits = np.random.default_rng(6).normal(size=(3, 4)).astype(np.float32)
    labels = np.array([[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]])
    expected = xent.sigmoid_cross_entropy(logits, labels, reduction="none")
    lists = (xent.Positives([[3, 1], [-1, -1], [-1, 0]]), xent.Positives([3, 1, 0], [0, 2, 2, 3]))
    for one in lists:
        for x in (logits, torch.from_numpy(logits)):
            found = xent.sigmoid_cross_entropy(x, one, reduction="none")
            np.testing.assert_array_equal(np.asarray(found), expected)


def test_nothing_at_all() -> None:
    """Batches, lists and class axes of no extent."""
    for frontend in (np.asarray, lambda a: torch.from_numpy(np.asarray(a))):

        def loss(logits: Any, *lists: Any, to: Any = frontend) -> Any:
            return xent.sigmoid_cross_entropy(to(logits), xent.Positives(*map(to, lists)))

        assert loss(np.zeros((0, 5)), np.zeros((0, 3), int)) == 0
        assert loss(np.zeros((0, 5)), np.zeros(0, int), np.zeros(1, int)) == 0
        assert loss(np.zeros((0, 5)), np.zeros((0, 0), int)) == 0
        assert loss(np.zeros((3, 0)), np.zeros((3, 0), int)) == 0
        assert loss(np.zeros((3, 0)), np.zeros((3, 2), int) - 1) == 0
        assert float(loss(np.zeros((2, 5)), np.zeros((2, 0), int))) == pytest.approx(np.log(2))
        assert float(loss(np.zeros((2, 5)), np.zeros(0, int), np.zeros(3, int))) == pytest.approx(np.log(2))


def test_the_formula_of_lists() -> None:
    """Σ softplus(x) - Σ_positives x."""
    rng = np.random.default_rng(7)
    logits = rng.normal(size=(6, 1500)) * 4
    classes = np.stack([rng.permutation(1500)[:20] for _ in range(6)])
    found = xent.sigmoid_cross_entropy(logits, xent.Positives(classes), reduction="sum")
    expected = np.logaddexp(logits, 0).sum() - np.take_along_axis(logits, classes, 1).sum()
    assert float(found) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("ignore_index", [0, 1, -1, -100])
def test_lists_know_no_ignored_labels(ignore_index: int) -> None:
    dense = dense_batch("plain", (5, 40)).but(ignore_index=ignore_index)
    lists = dense.on(dense.logits, padded(dense.labels, np.random.default_rng(1)))
    for run in (cases.on_numpy, cases.on_torch):
        with pytest.raises(ValueError, match=r"^ignore_index: expected None with xent.Positives, got .*sample_weight"):
            run(lists)


@pytest.mark.parametrize("name", ["smoothed", "row-weights", "asymmetric"])
def test_double_backward(name: str) -> None:
    dense = dense_batch(name, (3, 7), "float64")
    for form in FORMS.values():
        lists = cases.torch_labels(form(dense.labels, np.random.default_rng(1)))
        leaf = registry.tensor(dense.logits).requires_grad_()
        options = cases.torch_options(dense)

        def loss(x: torch.Tensor, y: Any = lists, given: dict[str, Any] = options) -> torch.Tensor:
            return getattr(xent, dense.function)(x, y, **given)

        assert torch.autograd.gradcheck(loss, leaf)
        assert torch.autograd.gradgradcheck(loss, leaf)


def test_lists_are_not_written() -> None:
    classes, starts = np.array([5, 2, 0, 3]), np.array([0, 2, 4])
    before = classes.copy(), starts.copy()
    logits = np.zeros((2, 6), np.float32)
    for array in (classes, starts, logits):
        array.flags.writeable = False
    loss, _ = xent.value_and_grad(xent.sigmoid_cross_entropy)(logits, xent.Positives(classes, starts))
    assert loss == pytest.approx(np.log(2))
    np.testing.assert_array_equal(classes, before[0])
    np.testing.assert_array_equal(starts, before[1])


def test_one_list_serves_rows_and_threads_alike(instruction_set: str, keep_threads: None) -> None:
    dense = dense_batch("pos-weight", (64, 3000))
    lists = dense.on(dense.logits, padded(dense.labels, np.random.default_rng(8)))
    results = []
    for count in (1, 2, 3):
        xent.set_num_threads(count)
        loss, gradient = cases.on_numpy(lists)
        results.append((float(loss), gradient.tobytes()))
    assert results[0] == results[1] == results[2]


MEMORY = """
import gc, sys
import numpy as np
from xent.peak_memory import CLEAR, RESET_PEAK, status_bytes
import xent

rows, classes, training, form, framework = 256, 131072, sys.argv[1] == "training", sys.argv[2], sys.argv[3]
rng = np.random.default_rng(0)
x = rng.standard_normal((rows, classes), dtype=np.float32)
lists = rng.integers(0, classes // 20, (rows, 20)) + np.arange(20) * (classes // 20)
starts = np.arange(rows + 1) * 20
if framework == "torch":
    import torch
    leaf = torch.from_numpy(x).requires_grad_(training)
    lists, starts = torch.from_numpy(lists), torch.from_numpy(starts)
labels = xent.Positives(lists) if form == "padded" else xent.Positives(lists.reshape(-1), starts)

def step():
    if framework == "numpy":
        if training:
            return xent.value_and_grad(xent.sigmoid_cross_entropy)(x, labels, pos_weight=2.0)
        return xent.sigmoid_cross_entropy(x, labels, pos_weight=2.0)
    loss = xent.sigmoid_cross_entropy(leaf, labels, pos_weight=2.0)
    return torch.autograd.grad(loss, leaf) if training else loss

step()
xent.clear_cache()
gc.collect()
CLEAR.write_text(RESET_PEAK)
before = status_bytes("VmRSS")
result = step()
print((status_bytes("VmHWM") - before) / x.nbytes)
"""


@pytest.mark.parametrize(
    ("what", "form", "framework"),
    [("training", "padded", "torch"), ("training", "csr", "numpy"), ("inference", "padded", "torch")],
)
def test_no_dense_label_matrix_ever_exists(what: str, form: str, framework: str) -> None:
    """Peak memory of a step beyond its inputs: the gradient, and 5 percent of the logits at most."""
    from xent.peak_memory import CLEAR, ENVIRONMENT

    if not CLEAR.exists():
        pytest.skip("peak memory is measured on Linux")
    import os

    done = subprocess.run(
        [sys.executable, "-c", MEMORY, what, form, framework],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= (1.05 if what == "training" else 0.05)
