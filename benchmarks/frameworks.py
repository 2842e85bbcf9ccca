"""xent on JAX and TensorFlow against what their users have: Optax in a jitted step, and tf.nn in eager mode.

The step of JAX is a projection to the logits, the loss, and the gradient to the projection's weights, compiled as one
program; that of TensorFlow is the loss under a `GradientTape` and its gradient to the logits. All results are compared
before anything is timed; then the contenders take turns, as in `xent bench`.

    python benchmarks/frameworks.py --json benchmarks/results/frameworks.jsonl

Exit status 1 if a result of xent is not its rival's.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import xent
from xent.bench.machine import machine
from xent.bench.timing import interleave

TOLERANCE = 1e-5
Step = Callable[[], tuple[Any, Any]]


@dataclass(frozen=True)
class Contender:
    name: str
    step: Step  # returns loss and gradient
    temporaries: int | None = None  # bytes, as XLA plans them


def jax_contenders(rows: int, classes: int, width: int) -> list[Contender]:
    """`width`: of the hidden layer that is projected to the logits."""
    random = np.random.default_rng(0)
    hidden = jnp.asarray(random.normal(size=(rows, width)), jnp.float32)
    weight = jnp.asarray(random.normal(size=(width, classes)) / 8, jnp.float32)
    labels = jnp.asarray(random.integers(0, classes, rows), jnp.int32)
    losses: dict[str, Callable[[Any, Any], Any]] = {
        "xent": xent.softmax_cross_entropy,
        "optax": lambda z, y: optax.softmax_cross_entropy_with_integer_labels(z, y).mean(),
    }

    def contender(name: str, loss: Callable[[Any, Any], Any]) -> Contender:
        step = jax.jit(jax.value_and_grad(lambda w, h, y: loss(h @ w, y)))
        planned = step.lower(weight, hidden, labels).compile().memory_analysis().temp_size_in_bytes
        return Contender(name, lambda: jax.block_until_ready(step(weight, hidden, labels)), planned)

    project = jax.jit(lambda w, h: (h @ w, h.T @ (h @ w)))  # the products of the step, without a loss between them
    products = Contender("products alone", lambda: jax.block_until_ready(project(weight, hidden)))
    return [*(contender(name, loss) for name, loss in losses.items()), products]


def tensorflow_contenders(rows: int, classes: int) -> list[Contender]:
    random = np.random.default_rng(0)
    logits = tf.constant(random.normal(size=(rows, classes)), tf.float32)
    labels = tf.constant(random.integers(0, classes, rows), tf.int64)
    losses: dict[str, Callable[[Any, Any], Any]] = {
        "xent": xent.softmax_cross_entropy,
        "tf.nn": lambda z, y: tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, z)),
    }

    def contender(name: str, loss: Callable[[Any, Any], Any]) -> Contender:
        def step() -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                tape.watch(logits)
                value = loss(logits, labels)
            return value, tape.gradient(value, logits)

        return Contender(name, step)

    return [contender(name, loss) for name, loss in losses.items()]


def difference(found: Any, expected: Any) -> float:
    """The largest difference over the largest expected value."""
    a, b = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return float(np.abs(a - b).max() / (np.abs(b).max() or 1.0))


# What makes the contenders, and the sizes it takes: rows, classes and, in JAX, the width of the projection.
CASES: dict[str, tuple[Callable[..., list[Contender]], tuple[int, ...]]] = {
    "jax-32k": (jax_contenders, (1024, 32000, 64)),
    "jax-32k-wide": (jax_contenders, (1024, 32000, 256)),
    "jax-1k": (jax_contenders, (8192, 1000, 64)),
    "jax-1k-wide": (jax_contenders, (8192, 1000, 256)),
    "tensorflow-32k": (tensorflow_contenders, (1024, 32000)),
    "tensorflow-1k": (tensorflow_contenders, (8192, 1000)),
    "tensorflow-small": (tensorflow_contenders, (32, 10)),
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="spent on timing each case (default: 8)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write one JSON object a row to FILE")
    parser.add_argument("--smoke", action="store_true", help="shrink every case: a test of this script")
    namespace = parser.parse_args(arguments)
    table = Table("case", "contender", "ms", "IQR", "× faster than the rival", "temporaries, MiB")
    lines, status = [], 0
    for case, (make, full) in CASES.items():
        sizes = [min(n, most) for n, most in zip(full, (20, 50, 8), strict=False)] if namespace.smoke else full
        contenders = make(*sizes)
        ours, rival = contenders[:2]
        worst = max(difference(a, b) for a, b in zip(ours.step(), rival.step(), strict=True))
        if not worst <= TOLERANCE:
            print(f"{case}: xent and {rival.name} differ by {worst:.3g}, expected at most {TOLERANCE:g}")
            status = 1
        timings = interleave({c.name: c.step for c in contenders}, 0.0 if namespace.smoke else namespace.seconds)
        for c in contenders:
            timing = timings[c.name]
            low, high = timing.quartiles
            faster = timings[rival.name].median / timing.median
            planned = None if c.temporaries is None else c.temporaries / 2**20
            shown = "" if planned is None else f"{planned:.1f}"
            table.add_row(
                case, c.name, f"{1e3 * timing.median:.3g}", f"{1e3 * (high - low):.2g}", f"{faster:.2f}", shown
            )
            row = {
                "case": case,
                "shape": sizes,
                "contender": c.name,
                "milliseconds": 1e3 * timing.median,
                "quartiles": [1e3 * low, 1e3 * high],
                "rounds": len(timing.samples),
                "faster_than": {rival.name: faster},
                "temporary_mib": planned,
                "difference": worst,
                "machine": machine(),
                "versions": {"jax": jax.__version__, "optax": optax.__version__, "tensorflow": tf.__version__},
            }
            lines.append(json.dumps(row))
    Console(width=110).print(table)
    if namespace.json:
        namespace.json.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
