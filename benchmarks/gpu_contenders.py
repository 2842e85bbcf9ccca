"""What `gpu.py` compares: inputs that are drawn anew for each call, and the losses that it times on them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

import xent

IGNORED = -100  # what every contender takes for an ignored label without being told
Loss = Callable[..., Any]


class Case(NamedTuple):
    """A loss of so many rows and classes, in a dtype; `width` of the hidden states, 0 where the logits are given."""

    loss: str
    rows: int
    width: int
    classes: int
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rows, self.width, self.classes) if self.width else (self.rows, self.classes)


class Inputs:
    """Tensors of a case: logits, or hidden states and weight, with labels; every `draw` fills them with new numbers."""

    def __init__(self, case: Case, device: torch.device) -> None:
        dtype = getattr(torch, case.dtype)
        shapes = [(case.rows, case.width), (case.classes, case.width)] if case.width else [(case.rows, case.classes)]
        self.case, self.random = case, torch.Generator(device)
        self.tensors = [torch.empty(shape, dtype=dtype, device=device, requires_grad=True) for shape in shapes]
        self.labels = torch.empty(case.rows, dtype=torch.int64, device=device)

    @torch.no_grad()
    def draw(self) -> None:
        """Logits, given or made, vary by about 1."""
        for at, tensor in enumerate(self.tensors):
            tensor.normal_(std=self.case.width**-0.5 if at else 1.0, generator=self.random)
        self.labels.random_(0, self.case.classes, generator=self.random)

    def draw_to_check(self) -> None:
        """The same numbers each time, with a row that is ignored."""
        self.random.manual_seed(0)
        self.draw()
        self.labels[1] = IGNORED


class Step:
    """A call of a loss, and its backward pass."""

    def __init__(self, loss: Loss, inputs: Inputs, upstream: float = 1.0) -> None:
        self._loss, self._inputs, self._upstream = loss, inputs, upstream

    def forward(self) -> Any:
        return self._loss(*self._inputs.tensors, self._inputs.labels)

    def backward(self, loss: Any) -> tuple[Tensor, ...]:
        upstream = None if self._upstream == 1.0 else torch.full_like(loss, self._upstream)
        return torch.autograd.grad(loss, self._inputs.tensors, upstream)


class Floor(Step):
    """What nobody can do without, and is no loss."""

    @torch.no_grad()
    def forward(self) -> Any:
        return self._loss(*self._inputs.tensors)

    def backward(self, loss: Any) -> tuple[Tensor, ...]:
        return ()


class Contender(NamedTuple):
    """Who is compared: `make` returns the loss; what it imports, and the interpreter does not have, is in `package`."""

    name: str
    make: Callable[[], Loss]
    package: str = ""
    kind: type[Step] = Step


# Distributions of the peers, by the package that they install.
PEERS = {"liger_kernel": "liger-kernel", "cut_cross_entropy": "cut-cross-entropy", "quack": "quack-kernels"}


def missing_peers() -> list[str]:
    return [name for package, name in PEERS.items() if find_spec(package) is None]


def contenders(loss: str, on_device: bool) -> list[Contender]:
    """Who can be had here; in the interpreter only those that need no device."""
    everyone = DENSE if loss == "dense" else LINEAR
    return [c for c in everyone if not c.package or (on_device and find_spec(c.package))]


def compiled(loss: Loss) -> Loss:
    torch.compiler.reset()
    return torch.compile(loss, dynamic=False)


# Logits and labels


def xent_dense() -> Loss:
    return lambda logits, labels: xent.softmax_cross_entropy(logits, labels, ignore_index=IGNORED)


def liger_dense() -> Loss:
    from liger_kernel.transformers import LigerCrossEntropyLoss

    return LigerCrossEntropyLoss()  # type: ignore[no-any-return]


def quack_dense() -> Loss:
    from quack.cross_entropy import cross_entropy

    return cross_entropy  # type: ignore[no-any-return]


DENSE = [
    Contender("xent", xent_dense),
    Contender("torch eager", lambda: functional.cross_entropy),
    Contender("torch.compile", lambda: compiled(functional.cross_entropy), "triton"),
    Contender("Liger", liger_dense, "liger_kernel"),
    Contender("quack", quack_dense, "quack"),
    Contender("copy", lambda: torch.clone, kind=Floor),
]


# Hidden states, weight and labels


def xent_linear() -> Loss:
    return lambda x, w, labels: xent.linear_softmax_cross_entropy(x, w, labels, ignore_index=IGNORED)


def eager_linear(x: Tensor, w: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(functional.linear(x, w), labels)


def chunked_linear() -> Loss:
    options = torch.nn.LinearCrossEntropyOptions()  # of newer versions
    return lambda x, w, labels: functional.linear_cross_entropy(x, w, labels, options=options)


def liger_linear() -> Loss:
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    loss = LigerFusedLinearCrossEntropyLoss()
    return lambda x, w, labels: loss(w, x, labels)


def cut_linear() -> Loss:
    from cut_cross_entropy import linear_cross_entropy

    return linear_cross_entropy  # type: ignore[no-any-return]


def quack_linear() -> Loss:
    from quack.linear_cross_entropy import chunked_linear_cross_entropy

    return chunked_linear_cross_entropy  # type: ignore[no-any-return]


def products(x: Tensor, w: Tensor) -> list[Tensor]:
    logits = x @ w.T
    return [logits @ w, logits.T @ x]


LINEAR = [
    Contender("xent", xent_linear),
    Contender("torch eager", lambda: eager_linear),
    Contender("torch.compile", lambda: compiled(eager_linear), "triton"),
    Contender("torch chunked", chunked_linear),
    Contender("Liger", liger_linear, "liger_kernel"),
    Contender("Cut Cross-Entropy", cut_linear, "cut_cross_entropy"),
    Contender("quack", quack_linear, "quack"),
    Contender("products alone", lambda: products, kind=Floor),
]
