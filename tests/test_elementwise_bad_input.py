"""Every bad argument of the losses of single numbers gives an error that names it, what was expected, what came, and
the remedy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import registry
import torch

import xent

X = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]], np.float32)
Y = np.array([[1, 0, 1], [0, 0, 1]])
SIGNS = 2 * Y - 1


@dataclass(frozen=True)
class Bad:
    """A call that must fail; arrays are made tensors for PyTorch. In the message, … stands for anything."""

    id: str
    error: type[Exception]
    message: str
    labels: Any = field(default_factory=lambda: Y)
    options: dict[str, Any] = field(default_factory=dict)
    function: str = "sigmoid_cross_entropy"
    logits: Any = field(default_factory=lambda: X)
    on: str = "both"

    @property
    def match(self) -> str:
        return "^" + ".*".join(re.escape(part) for part in self.message.split("…"))


def pos(classes: Any, starts: Any = None) -> xent.Positives:
    return xent.Positives(np.asarray(classes), None if starts is None else np.asarray(starts))


LABELS = "labels: expected numbers in [0, 1], got "
SOFT = "Scale soft labels to this range, or pass validate=False"
CLASSES = "labels.classes: expected class indices in [0, 3), got "
BAD = [
    # labels outside [0, 1]
    Bad("above", ValueError, LABELS + "1.5 at (0, 1). " + SOFT, np.array([[0, 1.5, 0], [0, 0, 0]])),
    Bad("below", ValueError, LABELS + "-0.5 at (1, 2). " + SOFT, np.array([[0, 1, 0], [0, 0, -0.5]])),
    Bad("nan", ValueError, LABELS + "nan at (0, 0). " + SOFT, np.array([[np.nan, 1, 0], [0, 0, 0]])),
    Bad("inf", ValueError, LABELS + "inf at (1, 0). " + SOFT, np.array([[0, 1, 0], [np.inf, 0, 0]])),
    Bad("half", ValueError, LABELS + "1.5 at (0, 1). " + SOFT, np.array([[0, 1.5, 0], [0, 0, 0]], np.float16)),
    Bad("first-of-several", ValueError, LABELS + "3.0 at (0, 2). " + SOFT, np.array([[0, 1, 3.0], [2, -1, 0]])),
    Bad(
        "index",
        ValueError,
        LABELS + "2 at (1, 1). Class indices…softmax_cross_entropy…xent.Positives",
        np.array([[0, 1, 0], [0, 2, 0]]),
    ),
    Bad("int8", ValueError, LABELS + "-1 at (0, 0). ", np.array([[-1, 1, 0], [0, 0, 0]], np.int8)),
    Bad(
        "uint64",
        ValueError,
        LABELS + "18446744073709551615 at (0, 0). ",
        np.array([[2**64 - 1, 1, 0], [0, 0, 0]], np.uint64),
    ),
    Bad(
        "not-the-ignored",
        ValueError,
        LABELS + "-2 at (0, 0). ",
        np.array([[-2, -1, 0], [0, 0, 0]]),
        {"ignore_index": -1},
    ),
    Bad(
        "inexact-ignored",
        ValueError,
        "ignore_index: expected a whole number below 2**24, got 16777217. ",
        options={"ignore_index": 16777217},
    ),
    Bad(
        "reduction-none",
        ValueError,
        LABELS + "1.5 at (0, 1). ",
        np.array([[0, 1.5, 0], [0, 0, 0]]),
        {"reduction": "none"},
    ),
    Bad(
        "in-a-tail",
        ValueError,
        LABELS + "7 at (1029,). ",
        np.arange(1030) // 1029 * 7,
        logits=np.zeros(1030, np.float32),
    ),
    Bad("scalar", ValueError, LABELS + "2 at (). ", np.array(2), logits=np.array(1.0, np.float32)),
    Bad("transposed", ValueError, LABELS + "5.0 at (2, 0). ", np.array([[0, 1], [0, 1], [5.0, 0]]), logits=X.T),
    Bad(
        "focal",
        ValueError,
        LABELS + "1.5 at (0, 1). ",
        np.array([[0, 1.5, 0], [0, 0, 0]]),
        {},
        "sigmoid_focal_cross_entropy",
    ),
    Bad(
        "asymmetric",
        ValueError,
        LABELS + "-0.1 at (0, 1). ",
        np.array([[0, -0.1, 0], [0, 0, 0]]),
        {},
        "asymmetric_sigmoid_cross_entropy",
    ),
    # dtypes and shapes of labels
    Bad(
        "complex",
        TypeError,
        "labels: expected real numbers or booleans, got complex128. Convert labels to a float dtype.",
        Y * 1j,
    ),
    Bad("text", TypeError, "labels: expected …", np.full((2, 3), "a")),
    Bad("none", TypeError, "labels: expected …", None),
    Bad(
        "rows",
        ValueError,
        "labels: expected the shape of logits, (2, 3), got shape (2,). Class indices…softmax_cross_entropy",
        np.array([0, 1]),
    ),
    Bad(
        "float-rows",
        ValueError,
        "labels: expected the shape of logits, (2, 3), got shape (2,). Reshape",
        np.array([0.0, 1]),
    ),
    Bad("broadcast", ValueError, "labels: expected the shape of logits, (2, 3), got shape (1, 3). Reshape", Y[:1]),
    Bad(
        "column",
        ValueError,
        "labels: expected the shape of logits, (2, 3), got shape (2, 3, 1). Squeeze…labels[..., 0]",
        Y[..., None],
    ),
    Bad(
        "logits-column",
        ValueError,
        "labels: expected the shape of logits, (2, 1), got shape (2,). …[..., 0]",
        np.array([0.0, 1]),
        logits=X[:, :1],
    ),
    Bad("topk", TypeError, "labels: expected …", xent.TopK(np.array([[0], [1]]), np.ones((2, 1)))),
    # logits
    Bad("integer-logits", TypeError, "logits: expected float32 or…got int64. Convert logits", logits=Y),
    Bad("boolean-logits", TypeError, "logits: expected float32 or…got bool. Convert logits", logits=Y > 0),
    Bad(
        "integer-scores",
        TypeError,
        "scores: expected float32 or…got int64. Convert scores",
        SIGNS,
        {},
        "logistic_loss",
        Y,
    ),
    # pos_weight
    Bad(
        "pos-weight-length",
        ValueError,
        "pos_weight: expected a number or shape (3,): one weight a class, got shape (4,). Pass one number",
        options={"pos_weight": np.ones(4)},
    ),
    Bad(
        "pos-weight-rows",
        ValueError,
        "pos_weight: expected a number or shape (3,): one weight a class, got shape "
        "(2,). It fits axis 0: pass pos_weight.reshape((2, 1)).",
        options={"pos_weight": np.ones(2)},
    ),
    Bad(
        "pos-weight-channels",
        ValueError,
        "pos_weight: expected a number or shape (5,): one weight a class, got shape "
        "(3,). It fits axis 1: pass pos_weight.reshape((3, 1, 1)).",
        np.zeros((2, 3, 4, 5)),
        {"pos_weight": np.ones(3)},
        logits=np.zeros((2, 3, 4, 5)),
    ),
    Bad(
        "pos-weight-rank",
        ValueError,
        "pos_weight: expected a number or shape (3,)…got shape (1, 2, 3). ",
        options={"pos_weight": np.ones((1, 2, 3))},
    ),
    Bad(
        "pos-weight-nan",
        ValueError,
        "pos_weight: expected finite numbers, got inf or NaN. ",
        options={"pos_weight": np.array([1, np.nan, 1])},
    ),
    Bad(
        "pos-weight-inf",
        ValueError,
        "pos_weight: expected finite numbers, got inf or NaN. ",
        options={"pos_weight": np.inf},
    ),
    Bad(
        "pos-weight-complex",
        ValueError,
        "pos_weight: expected real numbers, got dtype complex",
        options={"pos_weight": np.array([1j, 1, 1])},
    ),
    Bad("pos-weight-text", Exception, "pos_weight: expected ", options={"pos_weight": "2"}),
    # other weights
    Bad(
        "class-weight-length",
        ValueError,
        "class_weight: expected shape (3,): one weight a class, got shape (2,). ",
        options={"class_weight": np.ones(2)},
    ),
    Bad(
        "class-weight-scalar",
        ValueError,
        "class_weight: expected shape (3,): one weight a class, got shape (). ",
        options={"class_weight": 2.0},
    ),
    Bad(
        "class-weight-nan",
        ValueError,
        "class_weight: expected finite numbers, got inf or NaN. ",
        options={"class_weight": np.array([1, np.nan, 1])},
    ),
    Bad(
        "sample-weight-shape",
        ValueError,
        "sample_weight: expected shape (2, 3) (one an element, or 1 in place of an "
        "axis) or (2,) (one a row), got shape (3,). Reshape",
        options={"sample_weight": np.ones(3)},
    ),
    Bad(
        "sample-weight-matrix",
        ValueError,
        "sample_weight: expected …got shape (3, 2). ",
        options={"sample_weight": np.ones((3, 2))},
    ),
    Bad(
        "sample-weight-inf",
        ValueError,
        "sample_weight: expected finite numbers, got inf or NaN. ",
        options={"sample_weight": np.array([1, np.inf])},
    ),
    Bad(
        "sample-weight-signs",
        ValueError,
        "sample_weight: expected finite numbers, got inf or NaN. ",
        SIGNS,
        {"sample_weight": np.array([1, np.inf])},
        "logistic_loss",
    ),
    # options
    Bad(
        "smoothing-range",
        ValueError,
        "label_smoothing: expected a number in [0, 1], got 1.5. ",
        options={"label_smoothing": 1.5},
    ),
    Bad(
        "smoothing-nan",
        ValueError,
        "label_smoothing: expected a number in [0, 1], got nan. ",
        options={"label_smoothing": float("nan")},
    ),
    Bad(
        "smoothing-array",
        TypeError,
        "label_smoothing: expected a real number, got ",
        options={"label_smoothing": np.ones(2)},
    ),
    Bad(
        "ignore-fraction", ValueError, "ignore_index: expected a whole number…got 0.5. ", options={"ignore_index": 0.5}
    ),
    Bad("ignore-text", TypeError, "ignore_index: expected a real number, got str. ", options={"ignore_index": "-1"}),
    Bad("ignore-bool", TypeError, "ignore_index: expected a real number, got bool. ", options={"ignore_index": True}),
    Bad(
        "reduction",
        ValueError,
        "reduction: expected 'mean', 'sum' or 'none', got 'avg'. ",
        options={"reduction": "avg"},
    ),
    Bad(
        "reduction-none",
        ValueError,
        "reduction: expected 'mean', 'sum' or 'none', got None. ",
        options={"reduction": None},
    ),
    Bad(
        "reduction-list",
        ValueError,
        "reduction: expected 'mean', 'sum' or 'none', got ['mean']. ",
        options={"reduction": ["mean"]},
    ),
    Bad(
        "normalizer-zero",
        ValueError,
        "normalizer: expected a positive finite number, got 0. ",
        options={"normalizer": 0},
    ),
    Bad(
        "normalizer-sum",
        ValueError,
        "normalizer: expected None with reduction='sum', got 3. ",
        options={"normalizer": 3, "reduction": "sum"},
    ),
    Bad(
        "gamma",
        ValueError,
        "gamma: expected a finite number of at least 0, got -1. ",
        options={"gamma": -1},
        function="sigmoid_focal_cross_entropy",
    ),
    Bad(
        "gamma-inf",
        ValueError,
        "gamma: expected a finite number of at least 0, got inf. ",
        options={"gamma": np.inf},
        function="sigmoid_focal_cross_entropy",
    ),
    Bad(
        "gamma-text",
        TypeError,
        "gamma: expected a real number, got str. ",
        options={"gamma": "2"},
        function="sigmoid_focal_cross_entropy",
    ),
    Bad(
        "alpha",
        ValueError,
        "alpha: expected a number in [0, 1], got 1.5. ",
        options={"alpha": 1.5},
        function="sigmoid_focal_cross_entropy",
    ),
    Bad(
        "alpha-nan",
        ValueError,
        "alpha: expected a number in [0, 1], got nan. ",
        options={"alpha": float("nan")},
        function="sigmoid_focal_cross_entropy",
    ),
    Bad(
        "gamma-pos",
        ValueError,
        "gamma_pos: expected a finite number of at least 0, got -1. ",
        options={"gamma_pos": -1},
        function="asymmetric_sigmoid_cross_entropy",
    ),
    Bad(
        "gamma-neg",
        ValueError,
        "gamma_neg: expected a finite number of at least 0, got nan. ",
        options={"gamma_neg": float("nan")},
        function="asymmetric_sigmoid_cross_entropy",
    ),
    Bad(
        "clip",
        ValueError,
        "clip: expected a number in [0, 1], got 2. ",
        options={"clip": 2},
        function="asymmetric_sigmoid_cross_entropy",
    ),
    # signs
    Bad(
        "zero-one",
        ValueError,
        "signs: expected -1 or 1, got 0 at (0, 1). Map labels in {0, 1} with 2*y - 1.",
        Y,
        {},
        "logistic_loss",
    ),
    Bad(
        "booleans",
        ValueError,
        "signs: expected -1 or 1, got False at (0, 1). Map labels in {0, 1} with 2*y - 1.",
        Y > 0,
        {},
        "logistic_loss",
    ),
    Bad("half-signs", ValueError, "signs: expected -1 or 1, got 0.5 at (0, 0). ", SIGNS * 0.5, {}, "logistic_loss"),
    Bad(
        "unsigned",
        ValueError,
        "signs: expected -1 or 1, got 255 at (0, 1). ",
        SIGNS.astype(np.uint8),
        {},
        "logistic_loss",
    ),
    Bad(
        "signs-shape",
        ValueError,
        "signs: expected the shape of scores, (2, 3), got shape (3,). ",
        SIGNS[0],
        {},
        "logistic_loss",
    ),
    Bad("signs-lists", TypeError, "signs: expected ", pos([[0], [1]]), {}, "logistic_loss"),
    # pinball
    Bad(
        "over",
        ValueError,
        "over: expected a finite number of at least 0, got -1. ",
        X,
        {"over": -1, "under": 1},
        "pinball_loss",
    ),
    Bad(
        "under",
        TypeError,
        "under: expected a real number, got NoneType. ",
        X,
        {"over": 1, "under": None},
        "pinball_loss",
    ),
    Bad(
        "target-shape",
        ValueError,
        "target: expected the shape of pred, (2, 3), got shape (3,). ",
        X[0],
        {"over": 1, "under": 1},
        "pinball_loss",
    ),
    Bad("target-lists", TypeError, "target: expected ", pos([[0], [1]]), {"over": 1, "under": 1}, "pinball_loss"),
    Bad(
        "integer-pred",
        TypeError,
        "pred: expected float32 or…got int64. ",
        X,
        {"over": 1, "under": 1},
        "pinball_loss",
        Y,
    ),
    # lists of positives
    Bad("too-large", IndexError, CLASSES + "label 3 in row 1. ", pos([[0, -1], [1, 3]])),
    Bad("negative", IndexError, CLASSES + "label -2 in row 0. ", pos([[0, -2], [1, -1]])),
    Bad("padding-in-csr", IndexError, CLASSES + "label -1 in row 1. ", pos([0, -1], [0, 1, 2])),
    Bad("csr-too-large", IndexError, CLASSES + "label 7 in row 1. ", pos([0, 1, 7], [0, 1, 3])),
    Bad("csr-after-empty", IndexError, CLASSES + "label 7 in row 1. ", pos([7], [0, 0, 1])),
    Bad("uint64-class", IndexError, CLASSES + "label …in row 0. ", pos(np.array([[2**64 - 5], [0]], np.uint64))),
    Bad("uint64-padding", IndexError, CLASSES + "label …in row 0. ", pos(np.array([[2**64 - 1], [0]], np.uint64))),
    Bad(
        "repeated",
        ValueError,
        "labels.classes: expected classes of a row that differ, got class 2 more than once in row 1. Name each",
        pos([[0, 1, -1], [2, 0, 2]]),
    ),
    Bad(
        "csr-repeated",
        ValueError,
        "labels.classes: expected classes of a row that differ, got class 1 more than once in row 0. Name each",
        pos([1, 1, 1], [0, 2, 3]),
    ),
    Bad(
        "padded-rows",
        ValueError,
        "labels.classes: expected shape (2, 'k'), got shape (3, 1). Pad",
        pos([[0], [1], [2]]),
    ),
    Bad("padded-rank", ValueError, "labels.classes: expected shape (2, 'k'), got shape (2,). Pad", pos([0, 1])),
    Bad("float-classes", ValueError, "labels.classes: expected integers, got dtype float64. ", pos([[0.0], [1.0]])),
    Bad("float-starts", ValueError, "labels.starts: expected integers, got dtype float64. ", pos([0, 1], [0.0, 1, 2])),
    Bad(
        "few-starts",
        ValueError,
        "labels.starts: expected …offsets that rise from 0 to 2, got shape (2,). Row r",
        pos([0, 1], [0, 2]),
    ),
    Bad(
        "falling-starts",
        ValueError,
        "labels.starts: expected …offsets that rise from 0 to 2, got [0, 3, 2]. ",
        pos([0, 1], [0, 3, 2]),
    ),
    Bad(
        "late-starts",
        ValueError,
        "labels.starts: expected …offsets that rise from 0 to 2, got [1, 1, 2]. ",
        pos([0, 1], [1, 1, 2]),
    ),
    Bad(
        "short-starts",
        ValueError,
        "labels.starts: expected …offsets that rise from 0 to 2, got [0, 1, 1]. ",
        pos([0, 1], [0, 1, 1]),
    ),
    Bad("scalar-starts", ValueError, "labels.starts: expected ", pos([0, 1], 3)),
    Bad("matrix-starts", ValueError, "labels.starts: expected …got shape (1, 3). ", pos([0, 1], [[0, 1, 2]])),
    Bad(
        "no-class-axis",
        ValueError,
        "logits: expected a class axis for labels given as Positives, got a scalar. ",
        pos([0]),
        logits=np.array(1.0, np.float32),
    ),
    Bad("softmax-lists", TypeError, "labels: expected ", pos([[0], [1]]), {}, "softmax_cross_entropy"),
]


def arguments(bad: Bad, frontend: str) -> tuple[Any, Any, dict[str, Any]]:
    if frontend == "numpy":
        return bad.logits, bad.labels, bad.options

    def to(a: Any) -> Any:
        if isinstance(a, xent.Positives):
            return xent.Positives(to(a.classes), to(a.starts))
        if isinstance(a, xent.TopK):
            return xent.TopK(to(a.indices), to(a.values))
        return registry.tensor(a) if isinstance(a, np.ndarray) and a.dtype.kind not in "U" else a

    return to(bad.logits), to(bad.labels), {k: to(v) for k, v in bad.options.items()}


@pytest.mark.parametrize("frontend", ["numpy", "torch"])
@pytest.mark.parametrize("bad", BAD, ids=lambda b: b.id)
def test_bad_input(frontend: str, bad: Bad) -> None:
    logits, labels, options = arguments(bad, frontend)
    with pytest.raises(bad.error, match=bad.match) as caught:
        getattr(xent, bad.function)(logits, labels, **options)
    assert str(caught.value).endswith(".")
    assert "torch.Size" not in str(caught.value)


@pytest.mark.parametrize(
    "bad", [b for b in BAD if b.id in ("above", "too-large", "repeated", "zero-one")], ids=lambda b: b.id
)
def test_bad_labels_where_gradients_are_wanted(bad: Bad) -> None:
    """One pass, one gradient an element, and the reference: the check is the same."""
    logits, labels, _ = arguments(bad, "torch")
    for reduction in ("mean", "none"):
        with pytest.raises(bad.error, match=bad.match):
            getattr(xent, bad.function)(logits.clone().requires_grad_(), labels, reduction=reduction)
        weight = torch.ones(2, requires_grad=True)
        with pytest.raises(bad.error, match=bad.match):
            getattr(xent, bad.function)(logits, labels, sample_weight=weight, reduction=reduction)


def test_without_validation_the_formula_takes_labels_as_they_are() -> None:
    """-y·x + log(1 + e^x), for any y; and log(1 + e^(-s·x)) written with shares (1 + s)/2."""
    x = np.linspace(-4, 4, 37)
    y = np.linspace(-3, 3, 37)
    expected = np.logaddexp(0, x) - y * x
    for to in (np.asarray, torch.from_numpy):
        found = xent.sigmoid_cross_entropy(to(x), to(y), validate=False, reduction="none")
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12, atol=1e-14)
        found = xent.logistic_loss(to(x), to(y), validate=False, reduction="none")
        np.testing.assert_allclose(np.asarray(found), np.logaddexp(0, x) - (1 + y) / 2 * x, rtol=1e-12, atol=1e-14)
        nan = np.array([np.nan, 1.0])
        found = xent.sigmoid_cross_entropy(to(np.zeros(2)), to(nan), validate=False, reduction="none")
        np.testing.assert_array_equal(np.isnan(np.asarray(found)), [True, False])


def test_lists_are_always_checked() -> None:
    """They are small, and a kernel needs them sorted, in range and distinct."""
    for to in (np.zeros, torch.zeros):
        with pytest.raises(
            ValueError, match=r"^labels.classes: expected classes of a row that differ, got class 1 more"
        ):
            xent.sigmoid_cross_entropy(to((2, 5)), xent.Positives([[1, 1], [2, 0]]), validate=False)
        with pytest.raises(
            IndexError, match=r"^labels.classes: expected class indices in \[0, 5\), got label 7 in row 0"
        ):
            xent.sigmoid_cross_entropy(to((2, 5)), xent.Positives([[7, 1], [2, 0]]), validate=False)


def test_targets_that_are_not_numbers_give_nan() -> None:
    """A NaN target is no label out of range: as with any other arithmetic, the result is NaN."""
    for to in (np.asarray, torch.from_numpy):
        found = xent.pinball_loss(
            to(np.zeros(3)), to(np.array([1.0, np.nan, -1.0])), over=1.0, under=2.0, reduction="none"
        )
        np.testing.assert_array_equal(np.asarray(found), [2.0, np.nan, 1.0])


def test_masked_and_sparse_arrays_are_refused() -> None:
    masked = np.ma.masked_array([1.0, 0.0], [True, False])
    with pytest.raises(TypeError, match=r"^labels: expected a plain array, got a masked array. Mask"):
        xent.sigmoid_cross_entropy(np.zeros(2), masked)
    with pytest.raises(TypeError, match=r"^logits: expected a plain array, got a masked array. Mask"):
        xent.sigmoid(masked)
    for function in (xent.sigmoid, xent.log_sigmoid):
        with pytest.raises(TypeError, match=r"^logits: expected float32 or .*, got int64. Convert"):
            function(np.arange(3))
        with pytest.raises(TypeError, match=r"^logits: expected float32 or .*, got int64. Convert"):
            function(torch.arange(3))


def test_weights_in_a_reduction_that_has_no_mean_are_fine() -> None:
    assert xent.sigmoid_cross_entropy(np.zeros((2, 3)), Y, sample_weight=np.ones(2), reduction="sum") == pytest.approx(
        6 * np.log(2)
    )
