"""Every bad argument gives an error that names it, what was expected, what came, and the remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import registry
import torch

import xent

LOGITS = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]], np.float32)
LABELS = np.array([2, 0])


@dataclass(frozen=True)
class Bad:
    """A call that must fail; arrays are made tensors for PyTorch. In the message, … stands for anything."""

    id: str
    error: type[Exception] | tuple[type[Exception], ...]
    message: str
    options: dict[str, Any]
    on: str = "both"  # or "numpy", "torch"

    @property
    def match(self) -> str:
        return "^" + ".*".join(re.escape(part) for part in self.message.split("…"))


def options(**given: Any) -> dict[str, Any]:
    return given


def topk(indices: Any, values: Any) -> Any:
    return xent.TopK(np.asarray(indices), np.asarray(values))


BAD = [
    # labels out of range
    Bad(
        "label-too-large",
        IndexError,
        "labels: expected class indices in [0, 3), got label 3 in row 1. …ignore_index",
        options(labels=np.array([0, 3])),
    ),
    Bad(
        "label-negative",
        IndexError,
        "labels: expected class indices in [0, 3), got label -1 in row 0. …ignore_index",
        options(labels=np.array([-1, 3])),
    ),
    Bad(
        "label-first-of-several",
        IndexError,
        "labels: expected class indices in [0, 3), got label 7 in row 3. …Map the labels",
        options(logits=np.zeros((3, 2, 3), np.float32), labels=np.array([[0, 1], [2, 7], [-5, 9]])),
    ),
    Bad(
        "label-far-away",
        IndexError,
        "labels: expected class indices in [0, 3), got label -9223372036854775808 in row 1. …Map the labels",
        options(labels=np.array([0, -(2**63)])),
    ),
    Bad(
        "label-not-the-ignored",
        IndexError,
        "labels: expected class indices in [0, 3), got label -100 in row 0. …ignore_index",
        options(labels=np.array([-100, -1]), ignore_index=-1),
    ),
    Bad(
        "label-of-a-dropped-row",
        IndexError,
        "labels: expected class indices in [0, 3), got label 5 in row 1. …ignore_index",
        options(labels=np.array([0, 5]), reduction="none", ignore_index=-1),
    ),
    Bad(
        "label-int8",
        IndexError,
        "labels: expected class indices in [0, 3), got label -3 in row 1. …ignore_index",
        options(labels=np.array([0, -3], np.int8)),
    ),
    Bad(
        "label-uint8",
        IndexError,
        "labels: expected class indices in [0, 3), got label 255 in row 0. …ignore_index",
        options(labels=np.array([255, 1], np.uint8)),
    ),
    # shapes of labels
    Bad(
        "labels-too-many",
        ValueError,
        "labels: expected shape (2,) for integer labels, got shape (3,). …without the class axis",
        options(labels=np.array([0, 1, 2])),
    ),
    Bad(
        "labels-scalar",
        ValueError,
        "labels: expected shape (2,) for integer labels, got shape (). …without the class axis",
        options(labels=np.array(1)),
    ),
    Bad(
        "labels-column",
        ValueError,
        "labels: expected shape (2,) for integer labels, got shape (2, 1). …labels[..., 0]",
        options(labels=LABELS[:, None]),
    ),
    Bad(
        "labels-one-hot",
        ValueError,
        "labels: expected shape (2,) for integer labels, got shape (2, 3). …argmax",
        options(labels=np.eye(3, dtype=np.int64)[:2]),
    ),
    Bad(
        "labels-of-another-axis",
        ValueError,
        "labels: expected shape (3,) for integer labels, got shape (2,). …class axis 0",
        options(labels=LABELS, axis=0),
    ),
    Bad(
        "soft-labels-too-wide",
        ValueError,
        "labels: expected shape (2, 3) for soft targets, got shape (2, 4). …shape of the logits",
        options(labels=np.zeros((2, 4), np.float32)),
    ),
    Bad(
        "soft-labels-of-index-shape",
        ValueError,
        "labels: expected shape (2, 3) for soft targets, got shape (2,). …integer dtype",
        options(labels=np.array([0.0, 1.0])),
    ),
    # dtypes of labels
    Bad(
        "labels-bool",
        TypeError,
        "labels: expected an integer dtype…or a float dtype…, got bool. …Convert the labels",
        options(labels=np.array([True, False])),
    ),
    Bad(
        "labels-bool-one-hot",
        TypeError,
        "labels: expected an integer dtype…or a float dtype…, got bool. …Convert the labels",
        options(labels=np.eye(3, dtype=bool)[:2]),
    ),
    Bad(
        "labels-complex",
        TypeError,
        "labels: expected an integer dtype…or a float dtype…, got complex64. …Convert the labels",
        options(labels=np.zeros((2, 3), np.complex64)),
    ),
    Bad(
        "labels-strings",
        TypeError,
        "labels: expected …, got …. …",
        options(labels=np.array(["cat", "dog"])),
        on="numpy",
    ),
    Bad("labels-strings", TypeError, "labels: expected …, got …. …", options(labels=["cat", "dog"]), on="torch"),
    Bad("labels-none", TypeError, "labels: expected …, got …. …", options(labels=None)),
    # logits
    Bad(
        "logits-integers",
        TypeError,
        "logits: expected float32…, got int64. …Convert logits",
        options(logits=np.zeros((2, 3), np.int64)),
    ),
    Bad(
        "logits-bool",
        TypeError,
        "logits: expected float32…, got bool. …Convert logits",
        options(logits=np.zeros((2, 3), bool)),
    ),
    Bad(
        "logits-complex",
        TypeError,
        "logits: expected float32…, got complex64. …Convert logits",
        options(logits=np.zeros((2, 3), np.complex64)),
    ),
    Bad(
        "logits-strings",
        TypeError,
        "logits: expected float32…, got …. …Convert logits",
        options(logits=np.array([["a"]])),
        on="numpy",
    ),
    Bad(
        "logits-objects",
        TypeError,
        "logits: expected float32…, got object. …Convert logits",
        options(logits=np.array([[None]])),
        on="numpy",
    ),
    Bad(
        "logits-scalar",
        ValueError,
        "logits: expected at least one axis, got a scalar. …class axis",
        options(logits=np.float32(1), labels=LABELS),
    ),
    Bad("logits-none", TypeError, "logits: expected …, got …. …Convert", options(logits=None), on="numpy"),
    Bad("logits-a-set", TypeError, "logits: expected …, got …. …Convert", options(logits={1.0, 2.0}), on="numpy"),
    Bad(
        "logits-ragged",
        (TypeError, ValueError),
        "logits: expected …, got …. …",
        options(logits=[[1.0, 2.0], [1.0]]),
        on="numpy",
    ),
    Bad(
        "logits-masked",
        TypeError,
        "logits: expected a plain array, got a masked array. …ignore_index",
        options(logits=np.ma.masked_array(LOGITS, LOGITS > 2)),
        on="numpy",
    ),
    Bad(
        "zero-classes",
        ValueError,
        "logits: expected at least one class, got shape (2, 0)…. …class axis",
        options(logits=np.zeros((2, 0), np.float32)),
    ),
    Bad(
        "zero-classes-first",
        ValueError,
        "logits: expected at least one class, got shape (0, 2)…. …class axis",
        options(logits=np.zeros((0, 2), np.float32), axis=0),
    ),
    # axis
    Bad(
        "axis-too-large", ValueError, "axis: expected an axis in [-2, 2)…(2, 3), got 2. …Name an axis", options(axis=2)
    ),
    Bad(
        "axis-too-small",
        ValueError,
        "axis: expected an axis in [-2, 2)…(2, 3), got -3. …Name an axis",
        options(axis=-3),
    ),
    Bad("axis-float", TypeError, "axis: expected an integer, got float. …plain Python integer", options(axis=1.0)),
    Bad("axis-bool", TypeError, "axis: expected an integer, got bool. …plain Python integer", options(axis=True)),
    Bad("axis-none", TypeError, "axis: expected an integer, got NoneType. …plain Python integer", options(axis=None)),
    Bad("axis-list", TypeError, "axis: expected an integer, got list. …plain Python integer", options(axis=[0])),
    # weights
    Bad(
        "class-weight-too-long",
        ValueError,
        "class_weight: expected …(3,)…, got shape (4,). …one weight per class",
        options(class_weight=np.ones(4)),
    ),
    Bad(
        "class-weight-scalar",
        ValueError,
        "class_weight: expected …(3,)…, got shape (). …one weight per class",
        options(class_weight=np.array(2.0)),
    ),
    Bad(
        "class-weight-square",
        ValueError,
        "class_weight: expected …(3,)…, got shape (3, 1). …one weight per class",
        options(class_weight=np.ones((3, 1))),
    ),
    Bad(
        "class-weight-nan",
        ValueError,
        "class_weight: expected finite numbers, got …NaN…. …weight 0",
        options(class_weight=np.array([1.0, np.nan, 1.0])),
    ),
    Bad(
        "class-weight-inf",
        ValueError,
        "class_weight: expected finite numbers, got …inf…. …weight 0",
        options(class_weight=np.array([1.0, np.inf, 1.0])),
    ),
    Bad(
        "class-weight-complex",
        (TypeError, ValueError),
        "class_weight: expected real numbers, got …complex…. …Convert",
        options(class_weight=np.ones(3, np.complex128)),
    ),
    Bad(
        "class-weight-strings",
        (TypeError, ValueError),
        "class_weight: expected …, got …. …",
        options(class_weight=["a", "b", "c"]),
    ),
    Bad(
        "class-weight-a-dict",
        (TypeError, ValueError),
        "class_weight: expected …, got …. …",
        options(class_weight={0: 1.0}),
    ),
    Bad(
        "sample-weight-too-long",
        ValueError,
        "sample_weight: expected …(2,)…, got shape (3,). …one weight per row",
        options(sample_weight=np.ones(3)),
    ),
    Bad(
        "sample-weight-scalar",
        ValueError,
        "sample_weight: expected …(2,)…, got shape (). …one weight per row",
        options(sample_weight=np.array(2.0)),
    ),
    Bad(
        "sample-weight-of-classes",
        ValueError,
        "sample_weight: expected …(2,)…, got shape (2, 3). …one weight per row",
        options(sample_weight=np.ones((2, 3))),
    ),
    Bad(
        "sample-weight-nan",
        ValueError,
        "sample_weight: expected finite numbers, got …NaN…. …weight 0",
        options(sample_weight=np.array([1.0, np.nan])),
    ),
    Bad(
        "sample-weight-inf",
        ValueError,
        "sample_weight: expected finite numbers, got …inf…. …weight 0",
        options(sample_weight=np.array([-np.inf, 1.0])),
    ),
    Bad(
        "sample-weight-complex",
        (TypeError, ValueError),
        "sample_weight: expected real numbers, got …complex…. …Convert",
        options(sample_weight=np.ones(2, np.complex64)),
    ),
    # numbers
    Bad(
        "smoothing-negative",
        ValueError,
        "label_smoothing: expected a number in [0, 1], got -0.1. …Usual",
        options(label_smoothing=-0.1),
    ),
    Bad(
        "smoothing-above-one",
        ValueError,
        "label_smoothing: expected a number in [0, 1], got 1.5. …Usual",
        options(label_smoothing=1.5),
    ),
    Bad(
        "smoothing-nan",
        ValueError,
        "label_smoothing: expected a number in [0, 1], got nan. …Usual",
        options(label_smoothing=float("nan")),
    ),
    Bad(
        "smoothing-string",
        TypeError,
        "label_smoothing: expected a real number, got str. …plain Python number",
        options(label_smoothing="0.1"),
    ),
    Bad(
        "smoothing-none",
        TypeError,
        "label_smoothing: expected a real number, got NoneType. …plain Python number",
        options(label_smoothing=None),
    ),
    Bad(
        "smoothing-bool",
        TypeError,
        "label_smoothing: expected a real number, got bool. …plain Python number",
        options(label_smoothing=True),
    ),
    Bad(
        "smoothing-array",
        TypeError,
        "label_smoothing: expected a real number, got …. …plain Python number",
        options(label_smoothing=np.array([0.1])),
    ),
    Bad(
        "smoothing-complex",
        TypeError,
        "label_smoothing: expected a real number, got complex. …plain Python number",
        options(label_smoothing=0.1j),
    ),
    Bad(
        "temperature-zero",
        ValueError,
        "temperature: expected a positive number…, got 0.0. ",
        options(temperature=0.0),
    ),
    Bad(
        "temperature-negative",
        ValueError,
        "temperature: expected a positive number…, got -1. ",
        options(temperature=-1),
    ),
    Bad(
        "temperature-inf",
        ValueError,
        "temperature: expected a positive number…, got inf. ",
        options(temperature=float("inf")),
    ),
    Bad(
        "temperature-nan",
        ValueError,
        "temperature: expected a positive number…, got nan. ",
        options(temperature=float("nan")),
    ),
    Bad(
        "temperature-none",
        TypeError,
        "temperature: expected a real number, got NoneType. …plain Python number",
        options(temperature=None),
    ),
    Bad(
        "softcap-zero",
        ValueError,
        "softcap: expected …a positive number…, got 0.0. …None",
        options(softcap=0.0),
    ),
    Bad(
        "softcap-negative",
        ValueError,
        "softcap: expected …a positive number…, got -30.0. …None",
        options(softcap=-30.0),
    ),
    Bad(
        "softcap-inf",
        ValueError,
        "softcap: expected …a positive number…, got inf. …None",
        options(softcap=float("inf")),
    ),
    Bad(
        "temperature-beyond-float32",
        ValueError,
        "temperature: expected a positive number…, got 1e-40. ",
        options(temperature=1e-40),
    ),
    Bad(
        "softcap-beyond-float32",
        ValueError,
        "softcap: expected …a positive number…, got 1e+40. ",
        options(softcap=1e40),
    ),
    Bad(
        "softcap-string",
        TypeError,
        "softcap: expected a real number, got str. …plain Python number",
        options(softcap="30"),
    ),
    Bad(
        "z-loss-negative",
        ValueError,
        "z_loss: expected a finite number of at least 0, got -0.1. …usual",
        options(z_loss=-0.1),
    ),
    Bad(
        "z-loss-inf",
        ValueError,
        "z_loss: expected a finite number of at least 0, got inf. …usual",
        options(z_loss=float("inf")),
    ),
    Bad(
        "z-loss-none",
        TypeError,
        "z_loss: expected a real number, got NoneType. …plain Python number",
        options(z_loss=None),
    ),
    Bad(
        "reduction-unknown",
        ValueError,
        "reduction: expected 'mean', 'sum' or 'none', got 'avg'. …one of the three",
        options(reduction="avg"),
    ),
    Bad(
        "reduction-none",
        ValueError,
        "reduction: expected 'mean', 'sum' or 'none', got None. …one of the three",
        options(reduction=None),
    ),
    Bad(
        "reduction-list",
        ValueError,
        "reduction: expected 'mean', 'sum' or 'none', got ['mean']. …one of the three",
        options(reduction=["mean"]),
    ),
    Bad(
        "ignore-index-float",
        TypeError,
        "ignore_index: expected an integer, got float. …plain Python integer",
        options(ignore_index=-1.0),
    ),
    Bad(
        "ignore-index-string",
        TypeError,
        "ignore_index: expected an integer, got str. …plain Python integer",
        options(ignore_index="-100"),
    ),
    Bad(
        "ignore-index-bool",
        TypeError,
        "ignore_index: expected an integer, got bool. …plain Python integer",
        options(ignore_index=False),
    ),
    Bad(
        "ignore-index-huge",
        ValueError,
        "ignore_index: expected …, got 1180591620717411303424. …",
        options(ignore_index=2**70),
    ),
    Bad(
        "normalizer-zero",
        ValueError,
        "normalizer: expected a positive finite number, got 0. …number of rows",
        options(normalizer=0),
    ),
    Bad(
        "normalizer-negative",
        ValueError,
        "normalizer: expected a positive finite number, got -2.0. …number of rows",
        options(normalizer=-2.0),
    ),
    Bad(
        "normalizer-nan",
        ValueError,
        "normalizer: expected a positive finite number, got nan. …number of rows",
        options(normalizer=float("nan")),
    ),
    Bad(
        "normalizer-inf",
        ValueError,
        "normalizer: expected a positive finite number, got inf. …number of rows",
        options(normalizer=float("inf")),
    ),
    Bad("normalizer-string", (TypeError, ValueError), "normalizer: expected …, got …. …", options(normalizer="8")),
    Bad("normalizer-list", (TypeError, ValueError), "normalizer: expected …, got …. …", options(normalizer=[1.0, 2.0])),
    Bad(
        "normalizer-array", (TypeError, ValueError), "normalizer: expected …, got …. …", options(normalizer=np.ones(3))
    ),
    Bad(
        "normalizer-of-a-sum",
        ValueError,
        "normalizer: expected None with reduction='sum', got 3.0. …denominator",
        options(normalizer=3.0, reduction="sum"),
    ),
    Bad(
        "normalizer-of-rows",
        ValueError,
        "normalizer: expected None with reduction='none', got 3.0. …denominator",
        options(normalizer=3.0, reduction="none"),
    ),
    # top-k targets
    Bad(
        "topk-repeated",
        ValueError,
        "labels.indices: expected classes of a row that differ, got class 2 more than once in row 1. …Add up",
        options(labels=topk([[0, 1], [2, 2]], np.ones((2, 2)))),
    ),
    Bad(
        "topk-too-large",
        IndexError,
        "labels.indices: expected class indices in [0, 3), got label 3 in row 1. …Map the labels",
        options(labels=topk([[0, 1], [2, 3]], np.ones((2, 2)))),
    ),
    Bad(
        "topk-negative",
        IndexError,
        "labels.indices: expected class indices in [0, 3), got label -1 in row 0. …Map the labels",
        options(labels=topk([[0, -1], [2, 3]], np.ones((2, 2)))),
    ),
    Bad(
        "topk-values-shape",
        ValueError,
        "labels.values: expected the shape of labels.indices…, got shape (2, 1). …one mass per class",
        options(labels=topk([[0, 1], [2, 1]], np.ones((2, 1)))),
    ),
    Bad(
        "topk-float-indices",
        TypeError,
        "labels.indices: expected an integer dtype, got float64. …integers",
        options(labels=topk([[0.0], [1.0]], np.ones((2, 1)))),
    ),
    Bad(
        "topk-another-batch",
        ValueError,
        "labels.indices: expected shape (2, 'k')…, got shape (3, 1). …length k",
        options(labels=topk([[0], [1], [2]], np.ones((3, 1)))),
    ),
    Bad(
        "topk-without-k",
        ValueError,
        "labels.indices: expected shape (2, 'k')…, got shape (2,). …length k",
        options(labels=topk([0, 1], np.ones(2))),
    ),
    Bad(
        "topk-empty",
        ValueError,
        "labels.indices: expected shape … with k >= 1, got shape (2, 0). …length k",
        options(labels=topk(np.zeros((2, 0), int), np.ones((2, 0)))),
    ),
    Bad(
        "topk-complex-values",
        (TypeError, ValueError),
        "labels.values: expected …, got …complex…. …Convert",
        options(labels=topk([[0], [1]], np.ones((2, 1), np.complex128))),
    ),
    Bad("topk-none", TypeError, "labels.…: expected …, got …. …", options(labels=xent.TopK(None, None))),
]


def as_tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiubc":
        return registry.tensor(value)
    if isinstance(value, xent.TopK):
        return xent.TopK(as_tensors(value.indices), as_tensors(value.values))
    return value


def check(case: Bad, convert: Callable[[Any], Any]) -> None:
    arguments = {"logits": LOGITS, "labels": LABELS, **case.options}
    arguments = {name: convert(value) for name, value in arguments.items()}
    logits, labels = arguments.pop("logits"), arguments.pop("labels")
    with pytest.raises(case.error, match=case.match):
        xent.softmax_cross_entropy(logits, labels, **arguments)


@pytest.mark.parametrize("case", [b for b in BAD if b.on != "torch"], ids=lambda b: b.id)
def test_bad_input_on_numpy(case: Bad) -> None:
    check(case, lambda value: value)


@pytest.mark.parametrize("case", [b for b in BAD if b.on != "numpy"], ids=lambda b: b.id)
def test_bad_input_on_torch(case: Bad) -> None:
    check(case, as_tensors)


@pytest.mark.parametrize("case", [b for b in BAD if b.on != "numpy" and "logits" not in b.options], ids=lambda b: b.id)
def test_bad_input_where_a_gradient_is_wanted(case: Bad) -> None:
    """The same checks where weights or soft targets want a gradient, which another path computes."""
    arguments = {"logits": LOGITS, "labels": LABELS, **case.options}
    arguments = {name: as_tensors(value) for name, value in arguments.items()}
    logits, labels = arguments.pop("logits").requires_grad_(), arguments.pop("labels")
    weight = arguments.setdefault("class_weight", torch.ones(3))
    if isinstance(weight, torch.Tensor) and (weight.is_floating_point() or weight.is_complex()):
        weight.requires_grad_()
    with pytest.raises(case.error, match=case.match):
        xent.softmax_cross_entropy(logits, labels, **arguments)


def test_every_message_has_its_four_parts() -> None:
    """`match` above allows wildcards; here each message is argument, expected, got, remedy, as one line."""
    for case in BAD:
        if case.on == "torch":
            continue
        arguments = {"logits": LOGITS, "labels": LABELS, **case.options}
        logits, labels = arguments.pop("logits"), arguments.pop("labels")
        with pytest.raises(case.error, match=r"^[a-z_.]+: expected .+, got .+\. [A-Z].+[.)]$") as info:
            xent.softmax_cross_entropy(logits, labels, **arguments)
        assert "\n" not in str(info.value), case.id


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_bad_input_of_functions(name: str) -> None:
    function = getattr(xent, name)
    for convert in (lambda x: x, as_tensors):
        with pytest.raises(TypeError, match=r"^logits: expected float32.*, got int64\. Convert logits"):
            function(convert(np.zeros((2, 3), np.int64)))
        with pytest.raises(TypeError, match=r"^logits: expected float32.*, got complex64\. Convert logits"):
            function(convert(np.zeros((2, 3), np.complex64)))
        with pytest.raises(ValueError, match=r"^logits: expected at least one axis, got a scalar\. "):
            function(convert(np.float64(1)))
        for axis in (2, -3):
            with pytest.raises(ValueError, match=rf"^axis: expected an axis in \[-2, 2\).*, got {axis}\. "):
                function(convert(np.zeros((2, 3))), axis)
        for axis in (1.0, "1", None, True, [0]):
            with pytest.raises(TypeError, match=r"^axis: expected an integer, got (float|str|NoneType|bool|list)\. "):
                function(convert(np.zeros((2, 3))), axis)
        for shape, axis in (((2, 0), 1), ((0, 2), 0), ((0, 0), 0)):
            with pytest.raises(ValueError, match=r"^logits: expected at least one class, got shape .*\. "):
                function(convert(np.zeros(shape)), axis)
    with pytest.raises(TypeError, match=r"^logits: expected .*, got .*(set|object)\. Convert"):
        function({1.0})
    with pytest.raises(TypeError, match=r"^logits: expected a plain array, got a masked array\. "):
        function(np.ma.masked_array([1.0, 2.0], [True, False]))


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'weight'"):
        xent.softmax_cross_entropy(LOGITS, LABELS, weight=np.ones(3))
    with pytest.raises(TypeError, match="positional arguments"):
        xent.softmax_cross_entropy(LOGITS, LABELS, -1)


def test_dtypes_that_torch_alone_has() -> None:
    for dtype in (torch.float8_e4m3fn, torch.complex128, torch.uint8):
        with pytest.raises(
            TypeError, match=r"^logits: expected float32.*, got .*(float8|complex|uint8).*\. Convert logits"
        ):
            xent.softmax_cross_entropy(torch.zeros(2, 3).to(dtype), torch.tensor([0, 1]))
    with pytest.raises(TypeError, match=r"^labels: expected .*, got .*float8.*\. Convert"):
        xent.softmax_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 3).to(torch.float8_e5m2))


@pytest.mark.parametrize("n", [0, -1, 10**6])
def test_numbers_of_threads_out_of_range(n: int) -> None:
    with pytest.raises(ValueError, match=rf"^n: expected an integer in \[1, \d+\], got {n}\. "):
        xent.set_num_threads(n)


@pytest.mark.parametrize("n", [1.0, True, "2", None])
def test_numbers_of_threads_of_another_type(n: Any) -> None:
    with pytest.raises(TypeError, match=r"^n: expected an integer, got (float|bool|str|NoneType)\. "):
        xent.set_num_threads(n)


def variants(array: np.ndarray) -> dict[str, np.ndarray]:
    """The same numbers in unusual arrays."""
    locked = array.copy()
    locked.flags.writeable = False
    wide = np.repeat(array, 2, axis=-1)
    foreign = array.astype(array.dtype.newbyteorder(">"))
    assert not foreign.dtype.isnative
    return {
        "read-only": locked,
        "reversed": np.ascontiguousarray(array[..., ::-1])[..., ::-1],
        "strided": wide[..., ::2],
        "foreign-bytes": foreign,
        "list": array.tolist(),
        "memmap": array.view(np.memmap),
    }


@pytest.mark.parametrize("kind", variants(LOGITS))
@pytest.mark.parametrize("argument", ["labels", "soft", "class_weight", "sample_weight", "topk"])
def test_unusual_arrays_are_right(argument: str, kind: str) -> None:
    """Read-only, reversed, strided and foreign arrays, and lists, beside NumPy and beside torch logits."""
    plain = {
        "labels": LABELS,
        "soft": np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]], np.float32),
        "class_weight": np.array([0.5, 1.0, 2.0]),
        "sample_weight": np.array([0.25, 3.0]),
        "topk": np.array([[2, 1], [0, 2]]),
    }[argument]
    values = np.array([[0.75, 0.25], [0.5, 0.125]])
    unusual = variants(plain)[kind]

    def arguments(value: Any, more: Any) -> dict[str, Any]:
        if argument in ("labels", "soft"):
            return {"labels": value}
        if argument == "topk":
            return {"labels": xent.TopK(value, more)}
        return {"labels": LABELS, argument: value}

    for logits in (LOGITS, torch.from_numpy(LOGITS)):
        expected = xent.softmax_cross_entropy(logits, **arguments(plain, values), label_smoothing=0.1)
        found = xent.softmax_cross_entropy(logits, **arguments(unusual, variants(values)[kind]), label_smoothing=0.1)
        assert found == expected
        assert found != xent.softmax_cross_entropy(logits, LABELS[::-1].copy(), label_smoothing=0.1)


@pytest.mark.parametrize("kind", variants(LOGITS))
def test_unusual_logits_are_right(kind: str) -> None:
    expected, gradient = xent.value_and_grad(xent.softmax_cross_entropy)(LOGITS, LABELS)
    found, found_gradient = xent.value_and_grad(xent.softmax_cross_entropy)(variants(LOGITS)[kind], LABELS)
    exact = registry.truth_of(registry.Batch(LOGITS, LABELS, {}))
    assert registry.worst(found, exact.loss, "float32") <= registry.worst(expected, exact.loss, "float32") + 1
    errors, plain = (registry.gradient_errors(g, exact, "float32").max() for g in (found_gradient, gradient))
    assert errors <= plain + 1


def test_labels_from_the_other_framework() -> None:
    expected = xent.softmax_cross_entropy(LOGITS, LABELS, class_weight=np.array([1.0, 2.0, 3.0]))
    weight = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    assert xent.softmax_cross_entropy(LOGITS, torch.from_numpy(LABELS), class_weight=weight.detach()) == expected
    assert xent.softmax_cross_entropy(torch.from_numpy(LOGITS), LABELS, class_weight=[1.0, 2.0, 3.0]) == expected
    with pytest.raises((TypeError, ValueError), match=r"^class_weight: expected .*, got .*requires.*grad"):
        xent.softmax_cross_entropy(LOGITS, LABELS, class_weight=weight)
    with pytest.raises((TypeError, ValueError), match=r"^labels: expected .*, got .*requires.*grad"):
        xent.softmax_cross_entropy(LOGITS, torch.zeros(2, 3, requires_grad=True))


def test_overlapping_rows_are_right() -> None:
    """Rows that share memory, of logits and of soft targets: nothing is written, so nothing can go wrong."""
    line = np.random.default_rng(0).normal(size=30).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(line, 20)
    soft = np.lib.stride_tricks.sliding_window_view(np.abs(line), 20)
    before = line.copy()
    exact = registry.truth_of(registry.Batch(windows, soft, {}))
    found = xent.value_and_grad(xent.softmax_cross_entropy)(windows, soft)
    apart = xent.value_and_grad(xent.softmax_cross_entropy)(windows.copy(), soft.copy())
    assert registry.worst(found[0], exact.loss, "float32") <= registry.worst(apart[0], exact.loss, "float32") + 1
    errors, plain = (registry.gradient_errors(x[1], exact, "float32").max() for x in (found, apart))
    assert errors <= plain + 1
    np.testing.assert_array_equal(line, before)
