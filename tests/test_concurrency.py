"""Forked workers, several threads at once, and the interpreter's lock. What may hang runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import registry
from registry import CASE_BY_NAME, make_batch

import xent

FORK = """
import multiprocessing, os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # fork of a process with threads: the very thing under test
import numpy as np
if "torch" in sys.argv[1]:
    import torch
import xent

x = np.random.default_rng(0).normal(size=(400, 3000)).astype(np.float32)
y = np.arange(400)

def work(i=0):
    loss, gradient = xent.value_and_grad(xent.softmax_cross_entropy)(x, y)
    return float(loss), gradient.tobytes()

def work_on_torch(i=0):
    leaf = torch.from_numpy(x).requires_grad_()
    loss = xent.softmax_cross_entropy(leaf, torch.from_numpy(y))
    (gradient,) = torch.autograd.grad(loss, leaf)
    return float(loss), gradient.numpy().tobytes()

xent.set_num_threads(2)
if sys.argv[1] == "torch-busy":  # the framework's own threads have run
    torch.set_num_threads(2)
    assert torch.softmax(torch.from_numpy(x), 1).sum() > 0
expected = work()
context = multiprocessing.get_context("fork")
with context.Pool(2) as pool:
    assert pool.map(work, range(6)) == [expected] * 6
    assert work() == expected
with context.Pool(1) as pool:
    assert pool.apply(xent.get_num_threads) == 2
    assert pool.apply(xent.show_config) == xent.show_config()
if "torch" in sys.argv[1]:
    with context.Pool(2) as pool:
        results = pool.map(work_on_torch, range(2))
    assert results == [expected] * 2
else:
    pid = os.fork()
    if pid == 0:  # a child that forks once more
        child = os.fork()
        if child == 0:
            os._exit(0 if work() == expected else 1)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or (0 if work() == expected else 1))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

# fork while other threads are inside the kernels and the pool of buffers
stop = threading.Event()
def busy():
    while not stop.is_set():
        work()
threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(15):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if work() == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
stop.set()
for thread in threads:
    thread.join()
assert work() == expected
print("done")
"""


@pytest.mark.parametrize("process", ["numpy", "torch", "torch-busy"])
def test_forked_workers(process: str) -> None:
    """Workers of a process that has used threads, its own and the framework's, give the same bits and do not hang."""
    done = subprocess.run(
        [sys.executable, "-c", FORK, process], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["done"]


def test_several_threads_at_once_give_the_same_bits(instruction_set: str) -> None:
    batches = [
        make_batch(CASE_BY_NAME[name], shape[:-1], shape[-1], dtype=dtype, seed=i)
        for i, (name, shape, dtype) in enumerate(
            (name, shape, dtype)
            for name in ("index-everything", "dense-everything", "topk")
            for shape in ((70, 9), (300, 700), (3, 40_000))
            for dtype in ("float32", "bfloat16")
        )
    ]
    expected = [registry.on_numpy(batch) for batch in batches]
    failures: list[str] = []
    start = threading.Barrier(4)

    def work(first: int) -> None:
        start.wait()
        for i in range(3 * len(batches)):
            at = (first + i) % len(batches)
            run = registry.on_numpy if (i + first) % 2 else registry.on_torch
            loss, gradient = run(batches[at])
            if loss != expected[at][0] or gradient.tobytes() != expected[at][1].tobytes():
                failures.append(f"batch {at} in thread {first}")

    threads = [threading.Thread(target=work, args=(5 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(batches) == 18


def test_threads_may_change_the_number_of_threads_meanwhile(keep_threads: None) -> None:
    batch = make_batch(CASE_BY_NAME["index"], (200,), 900)
    expected = registry.on_numpy(batch)[1].tobytes()
    done = threading.Event()

    def flicker() -> None:
        n = 0
        while not done.is_set():
            n += 1
            xent.set_num_threads(1 + n % 4)

    thread = threading.Thread(target=flicker)
    thread.start()
    try:
        results = {registry.on_numpy(batch)[1].tobytes() for _ in range(300)}
    finally:
        done.set()
        thread.join()
    assert results == {expected}


def test_the_interpreter_runs_on_during_a_kernel(keep_threads: None) -> None:
    """The lock is released: another thread counts while one long call lasts."""
    row = np.random.default_rng(1).normal(size=2**16).astype(np.float32)
    logits = np.broadcast_to(row, (2**13, 2**16))  # 2^29 elements, and the memory of one row
    labels = np.zeros(len(logits), np.int64)
    xent.set_num_threads(1)
    counted, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            counted[0] += 1

    def progress(work: object) -> tuple[int, float]:
        before, began = counted[0], time.perf_counter()
        work()
        return counted[0] - before, time.perf_counter() - began

    thread = threading.Thread(target=count)
    thread.start()
    try:
        during, seconds = progress(lambda: xent.softmax_cross_entropy(logits, labels))
        free, free_seconds = progress(lambda: time.sleep(0.2))
    finally:
        stop.set()
        thread.join()
    assert seconds > 0.05  # long enough to tell
    # with the lock held, the thread would have come to a switch or two at the ends of the call
    assert during / seconds > free / free_seconds / 10


def test_the_environment_may_ask_for_fewer_threads() -> None:
    code = "import xent; print(xent.get_num_threads())"
    environment = {**os.environ, "OMP_NUM_THREADS": "1,1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "1"
