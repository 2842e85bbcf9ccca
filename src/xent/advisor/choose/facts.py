"""The facts that decide on a loss: what each means, what is assumed of one that is not known, and how one is read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from ...errors import type_error, value_error

TASKS = {
    "classification": "put each example into classes",
    "language-model": "predict the next token",
    "segmentation": "put each pixel into a class",
    "distillation": "imitate a teacher's logits",
    "retrieval": "match queries and items, a model for each (two towers)",
    "embeddings": "learn vectors whose nearness is all that counts",
    "scoring": "probabilities of single classes, without a softmax over all",
    "regression": "predict a number; too high costs not as much as too low",
}
FRAMEWORKS = {
    "numpy": "xent",
    "torch": "PyTorch",
    "tensorflow": "TensorFlow",
    "keras": "Keras",
    "jax": "Optax",
}
DTYPES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


@dataclass(frozen=True)
class Facts:
    """What is known of a problem; None where it is not. `KNOWLEDGE` says what each fact means."""

    task: str | None = None
    classes: int | None = None
    exclusive: bool | None = None
    soft: bool | None = None
    signed: bool | None = None
    probabilities: bool | None = None
    imbalance: float | None = None
    rows: int | None = None
    width: int | None = None
    memory: int | None = None
    dtype: str | None = None
    framework: str | None = None

    def known(self) -> dict[str, Any]:
        """The facts that are known, by name."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in every.items() if value is not None}

    def decides(self) -> bool:
        """Whether anything is known of the problem itself, not only of the arrays it comes in."""
        return bool(self.known().keys() - {"dtype", "framework"})


class Fact(NamedTuple):
    """One fact: the question that asks for it, why it matters, what is assumed without an answer, and its values."""

    question: str
    meaning: str
    assumed: Callable[[Facts], Any]
    read: Callable[[str, Any], Any]


def one_of(values: Mapping[str, Any]) -> Callable[[str, Any], str]:
    """A reader of words."""

    def read(name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in values:
            raise value_error(name, "one of " + ", ".join(values), repr(value), "Choose one of them.")
        return value

    return read


def yes_or_no(name: str, value: Any) -> bool:
    """A truth value, or the words yes and no."""
    words = {"yes": True, "y": True, "no": False, "n": False}
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    if not isinstance(value, bool | np.bool_):
        raise type_error(name, "yes or no", repr(value), "Pass True or False.")
    return bool(value)


def count(name: str, value: Any) -> int:
    """A whole number of at least 1; as text also with separators: 50,000 or 50_000."""
    if isinstance(value, str) and re.fullmatch(r"\d+([,_]\d{3})*", value.strip()):
        value = int(re.sub("[,_]", "", value))
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < 1:
        raise value_error(name, "a whole number of at least 1", repr(value), "Count them, or leave it out.")
    return int(value)


def ratio(name: str, value: Any) -> float:
    """A number of at least 1; as text also 100:1."""
    try:
        number = float(value.strip().removesuffix(":1")) if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not 1.0 <= number < math.inf:
        remedy = "Divide the count of the most frequent class by that of the rarest."
        raise value_error(name, "a number of at least 1", repr(value), remedy)
    return number


UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def byte_count(name: str, value: Any) -> int:
    """A number of bytes; as text also with a unit: 8GB, 8 GiB, 500M."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?", value.strip().upper()) if isinstance(value, str) else None
    size: Any = float(found[1]) * UNITS[found[2]] if found and found[2] in UNITS else value
    if isinstance(size, bool) or not isinstance(size, int | float | np.integer) or not 1 <= size < math.inf:
        raise value_error(name, "a number of bytes, as 8GB or 500MiB", repr(value), "Say how much is free.")
    return int(size)


def _by_task(otherwise: int, **of: int) -> Callable[[Facts], int]:
    return lambda facts: of.get((facts.task or "").replace("-", "_"), otherwise)


# In the order in which they are said. A question is only asked where its answer decides something.
KNOWLEDGE: dict[str, Fact] = {
    "task": Fact(
        "What is the model to do?",
        "Most losses follow from the labels; a few follow from what the model is for.",
        lambda facts: "classification",
        one_of(TASKS),
    ),
    "classes": Fact(
        "How many classes are there?",
        "1 or 2 for a yes or no; for a language model the size of its vocabulary.",
        _by_task(10, language_model=50_000, segmentation=21, distillation=1000, embeddings=100_000, scoring=1_000_000),
        count,
    ),
    "exclusive": Fact(
        "Is exactly one class right for each example?",
        "If so, the classes compete (softmax); if several may be right, each is a yes or no (sigmoid).",
        lambda facts: True,
        yes_or_no,
    ),
    "soft": Fact(
        "Are the labels distributions (a probability for each class)?",
        "They are after mixup, from several annotators, or from a teacher; else they are the numbers of classes.",
        lambda facts: False,
        yes_or_no,
    ),
    "signed": Fact(
        "Are the labels -1 and 1, not 0 and 1?",
        "The loss is the same, its formula is not.",
        lambda facts: False,
        yes_or_no,
    ),
    "probabilities": Fact(
        "Are probabilities all you get from the model?",
        "If its logits (the scores before softmax or sigmoid) can be had, use them: they are exact.",
        lambda facts: False,
        yes_or_no,
    ),
    "imbalance": Fact(
        "How many times as frequent is the most frequent class as the rarest?",
        "From about 100 a plain loss may never predict the rare class.",
        lambda facts: 1.0,
        ratio,
    ),
    "rows": Fact(
        "How many rows has a batch?",
        "Rows are what has a loss each: examples, tokens (batch × length) or pixels.",
        _by_task(1024, language_model=8192, segmentation=8 * 256 * 256),
        count,
    ),
    "width": Fact(
        "How wide is the input of the output layer (the hidden size)?",
        "The arithmetic of the output layer grows with it.",
        lambda facts: 512,
        count,
    ),
    "memory": Fact(
        "How much memory is free for the loss?",
        "Logits that do not fit have to be made in pieces.",
        lambda facts: 8 * 10**9,
        byte_count,
    ),
    "dtype": Fact(
        "Of which dtype are the logits?",
        "It decides what they take.",
        lambda facts: "float32",
        one_of(DTYPES),
    ),
    "framework": Fact(
        "Which framework do you use?",
        "Its call is shown next to xent's, which takes the arrays of all of them.",
        lambda facts: "numpy",
        one_of(FRAMEWORKS),
    ),
}


def facts_of(**given: Any) -> Facts:
    """Checked facts; those that are None are not known.

    Raises:
        ValueError, TypeError: a value that the fact cannot have.
    """
    return Facts(**{name: KNOWLEDGE[name].read(name, value) for name, value in given.items() if value is not None})


def in_words(name: str, value: Any) -> str:
    """A fact as it is printed.

    >>> in_words("memory", 8_000_000_000), in_words("exclusive", True), in_words("rows", 1024)
    ('memory: 8 GB', 'exclusive: yes', 'rows: 1,024')
    """
    if isinstance(value, bool):
        return f"{name}: {'yes' if value else 'no'}"
    if name == "memory":
        return f"{name}: {size(value)}"
    if name == "imbalance":
        return f"{name}: {value:,.4g}:1"
    return f"{name}: {value:,}" if isinstance(value, int) else f"{name}: {value}"


def size(number: float, unit: str = "B") -> str:
    """A large number in three digits.

    >>> size(204_800_000), size(8e9), size(12), size(78_643_200_000, "")
    ('205 MB', '8 GB', '12 B', '78.6 G')
    """
    for prefix, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * factor:
            return f"{float(f'{number / factor:.3g}'):g} {prefix}{unit}"
    return f"{number:g} {unit}".strip()
