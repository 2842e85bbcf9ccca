"""The registry of cases: one entry each. Adding a case is adding an entry; `families` has what a loss is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

ITEM_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}


@dataclass(frozen=True)
class Case:
    """One loss on one shape.

    Attributes:
        name: what `--cases` matches.
        shape: of the logits; the class axis is axis 1, where torch has it.
        dtype: of the logits: "float32", "bfloat16" or "float16".
        loss: "softmax", "sigmoid", or "soft margin", which is torch's name of the sigmoid's for several labels a row.
        soft: whether labels are one probability a class, not a class index.
        label_smoothing: in [0, 1].
        class_weight: whether classes carry weights.
        ignored: the share of rows whose label is ignored.
        pos_weight: whether the positive labels of each class carry a weight.
        positives: how many classes of a row are positive; xent takes them as a list, all others a dense array of 0 and
            1. With 0, every label is 0 or 1 at random, and all take the dense array.
        backward: whether the gradient to the logits is made too, or the loss alone.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    loss: str = "softmax"
    soft: bool = False
    label_smoothing: float = 0.0
    class_weight: bool = False
    ignored: float = 0.0
    pos_weight: bool = False
    positives: int = 0
    backward: bool = True

    @property
    def logits_bytes(self) -> int:
        nbytes = ITEM_BYTES[self.dtype]
        for size in self.shape:
            nbytes *= size
        return nbytes

    @property
    def pass_name(self) -> str:
        return "forward+backward" if self.backward else "forward"

    @property
    def about(self) -> str:
        """The loss in words."""
        if self.loss != "softmax":
            said = [self.loss, f"lists of {self.positives} positives" if self.positives else "0/1 labels"]
        else:
            said = ["soft targets" if self.soft else "class indices"]
        if self.label_smoothing:
            said.append(f"label smoothing {self.label_smoothing:g}")
        if self.class_weight:
            said.append("class weights")
        if self.pos_weight:
            said.append("positive weights")
        if self.ignored:
            said.append(f"{self.ignored:.0%} of the rows ignored")
        return ", ".join(said)


CASES = (
    Case("index-32k", (1024, 32000)),
    Case("index-32k-forward", (1024, 32000), backward=False),
    Case("index-128k", (256, 128256)),
    Case("index-1k", (8192, 1000)),
    Case("index-10", (65536, 10)),
    Case("small", (32, 10)),
    Case("bfloat16-32k", (1024, 32000), dtype="bfloat16"),
    Case("soft-32k", (1024, 32000), soft=True),
    Case("smoothed-weighted-32k", (1024, 32000), label_smoothing=0.1, class_weight=True),
    Case("segmentation", (8, 21, 256, 256)),
    Case("ignored-32k", (1024, 32000), ignored=0.9),
    Case("ignored-32k-forward", (1024, 32000), ignored=0.9, backward=False),
    Case("bce-32k", (1024, 32000), loss="sigmoid"),
    Case("bce-32k-weighted", (1024, 32000), loss="sigmoid", pos_weight=True),
    Case("bce-128k", (256, 128256), loss="sigmoid"),
    Case("bce-128k-weighted", (256, 128256), loss="sigmoid", pos_weight=True),
    Case("bce-1k", (8192, 1000), loss="sigmoid"),
    Case("bce-1k-weighted", (8192, 1000), loss="sigmoid", pos_weight=True),
    Case("positives-128k", (256, 131072), loss="sigmoid", positives=20),
    Case("soft-margin-32k", (1024, 32000), loss="soft margin"),
)


def matching(case: Case, pattern: str) -> bool:
    """Whether a case's name is the pattern, in which * and ? match any text."""
    return fnmatchcase(case.name, pattern)


def shrunk(case: Case) -> Case:
    """The same loss on a few rows and classes, for a test of the runner."""
    rows, classes, *positions = case.shape
    shape = (min(rows, 20), min(classes, 50), *(min(size, 5) for size in positions))
    return replace(case, shape=shape, positives=min(case.positives, 10))
