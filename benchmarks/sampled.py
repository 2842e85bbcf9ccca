"""Sampled softmax: xent's step on PyTorch and NumPy against TensorFlow's, and the samplers alone.

A step draws candidates and makes the loss and its gradients to the hidden states, the weight (sparse) and the bias.
Each contender runs in a process of its own, in turns, on the same data; first all results for the same candidates are
compared. TensorFlow's step is timed as its users write it, eager, and inside a tf.function.

    python benchmarks/sampled.py --json benchmarks/results/sampled.jsonl

Exit status 1 if a result of xent is not TensorFlow's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import xent
from xent.bench.machine import machine

WIDTH, BATCH, SAMPLED = 128, 256, 1024
STEPS = ("xent, PyTorch", "xent, NumPy", "tf.nn, eager", "tf.nn, tf.function")
SAMPLERS = ("xent's sampler", "TensorFlow's sampler")
CLASSES = (100_000, 10_000_000)
TOLERANCE = 1e-6


def data(classes: int) -> tuple[Any, ...]:
    """Hidden states, weight, bias and labels."""
    random = np.random.default_rng(0)
    weight = random.standard_normal((classes, WIDTH), dtype=np.float32) / WIDTH**0.5
    hidden = random.standard_normal((BATCH, WIDTH), dtype=np.float32)
    return hidden, weight, np.zeros(classes, np.float32), random.integers(0, classes, BATCH)


def source(classes: int, candidates: Any) -> dict[str, Any]:
    if candidates:
        return {"candidates": candidates}
    return {"sampler": xent.samplers.LogUniform(classes, SAMPLED, seed=1)}


def torch_step(classes: int, candidates: Any = None) -> Callable[[], list[Any]]:
    import torch

    *arrays, labels = map(torch.from_numpy, data(classes))
    hidden, weight, bias = (a.requires_grad_() for a in arrays)
    drawn = source(classes, candidates)

    def step() -> list[Any]:
        loss = xent.sampled_softmax_loss(hidden, weight, labels, bias=bias, sparse_gradient=True, **drawn)
        return [loss.detach(), *torch.autograd.grad(loss, (hidden, weight, bias))]

    return step


def numpy_step(classes: int, candidates: Any = None) -> Callable[[], list[Any]]:
    hidden, weight, bias, labels = data(classes)
    drawn = source(classes, candidates)
    gradients = xent.value_and_grad(
        lambda x, w, b: xent.sampled_softmax_loss(x, w, labels, bias=b, sparse_gradient=True, **drawn),
        argnums=(0, 1, 2),
    )

    def step() -> list[Any]:
        loss, found = gradients(hidden, weight, bias)
        return [loss, *found]

    return step


def tensorflow_step(classes: int, graph: bool, candidates: Any = None) -> Callable[[], list[Any]]:
    import tensorflow as tf

    hidden, weight, bias, labels = data(classes)
    x, w, b, y = tf.constant(hidden), tf.Variable(weight), tf.Variable(bias), tf.constant(labels[:, None])

    def step() -> list[Any]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            rows = tf.nn.sampled_softmax_loss(w, b, y, x, SAMPLED, classes, sampled_values=candidates)
            loss = tf.reduce_mean(rows)
        return [loss, *tape.gradient(loss, [x, w, b])]

    return tf.function(step) if graph else step  # type: ignore[no-any-return]


def sampler_alone(ours: bool) -> Callable[[], Any]:
    count, classes = 20_000, 1_000_000
    true = np.arange(BATCH)[:, None]
    if ours:
        sampler = xent.samplers.LogUniform(classes, count, seed=1)
        return lambda: sampler.sample(true)
    import tensorflow as tf

    labels = tf.constant(true)
    return lambda: tf.random.log_uniform_candidate_sampler(labels, 1, count, True, classes, seed=1)


def call_of(contender: str, classes: int, candidates: Any = None) -> Callable[[], Any]:
    if contender in SAMPLERS:
        return sampler_alone(contender == SAMPLERS[0])
    if contender == STEPS[0]:
        return torch_step(classes, candidates)
    if contender == STEPS[1]:
        return numpy_step(classes, candidates)
    return tensorflow_step(classes, contender == STEPS[3], candidates)


def measure(contender: str, classes: int, calls: int) -> None:
    """Prints the time of each call in seconds. Runs in a process of its own."""
    call = call_of(contender, classes)
    for _ in range(5):
        call()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    print(json.dumps(times))


def results(contender: str, classes: int) -> None:
    """Prints loss and gradients for fixed candidates. Runs in a process of its own."""
    labels = data(classes)[3]
    sample = xent.samplers.LogUniform(classes, SAMPLED, seed=3).sample(labels[:, None])
    loss, of_hidden, of_weight, of_bias = call_of(contender, classes, tuple(sample))()
    print(json.dumps([np.asarray(loss).tolist(), np.asarray(of_hidden).ravel().tolist()]
                     + [_dense(g).ravel().tolist() for g in (of_weight, of_bias)]))  # fmt: skip


def _dense(gradient: Any) -> Any:
    if isinstance(gradient, xent.SparseRows):
        return gradient.to_dense()
    if type(gradient).__name__ == "IndexedSlices":
        return xent.SparseRows(
            gradient.indices.numpy(), gradient.values.numpy(), int(gradient.dense_shape[0])
        ).to_dense()
    return gradient.to_dense().numpy()


def in_a_process(*arguments: str) -> Any:
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def difference(found: list[Any], expected: list[Any]) -> float:
    """The largest difference over the largest expected number of each result."""
    pairs = ((np.asarray(a), np.asarray(b)) for a, b in zip(found, expected, strict=True))
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="processes of each contender (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write one JSON object a row to FILE")
    parser.add_argument("--smoke", action="store_true", help="few classes, few calls: a test of this script")
    parser.add_argument("--measure", nargs=3, metavar=("CONTENDER", "CLASSES", "CALLS"), help=argparse.SUPPRESS)
    parser.add_argument("--results", nargs=2, metavar=("CONTENDER", "CLASSES"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        measure(options.measure[0], *map(int, options.measure[1:]))
        return 0
    if options.results:
        results(options.results[0], int(options.results[1]))
        return 0

    small = 2000
    expected = in_a_process("--results", STEPS[2], str(small))
    worst = {
        name: difference(in_a_process("--results", name, str(small)), expected)
        for name in STEPS[: 1 if options.smoke else 2]
    }
    status = 0
    for name, gap in worst.items():
        if not gap <= TOLERANCE:
            print(f"{name} and TensorFlow differ by {gap:.3g}")
            status = 1
    if options.smoke:
        cases = [(small, STEPS[0]), (small, STEPS[2])]
    else:
        cases = [*((CLASSES[0], name) for name in STEPS), (CLASSES[1], STEPS[0])]
    cases += [(1_000_000, name) for name in SAMPLERS]
    times: dict[tuple[int, str], list[float]] = {case: [] for case in cases}
    for _ in range(1 if options.smoke else options.rounds):
        for classes, name in cases:
            times[classes, name] += in_a_process("--measure", name, str(classes), "3" if options.smoke else "60")
    table = Table("classes", "contender", "ms", "IQR")
    lines = []
    for (classes, name), samples in times.items():
        low, middle, high = (1e3 * q for q in statistics.quantiles(samples, n=4))
        table.add_row(f"{classes}", name, f"{middle:.3g}", f"{high - low:.2g}")
        row = {
            "classes": classes,
            "contender": name,
            "milliseconds": middle,
            "quartiles": [low, high],
            "calls": len(samples),
            "difference": worst.get(name),
            "machine": machine(),
        }
        lines.append(json.dumps(row))
    Console(width=100).print(table)
    if options.json:
        options.json.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
