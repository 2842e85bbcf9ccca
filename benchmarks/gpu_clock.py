"""How `gpu.py` measures a step: on the device by its own events, in Triton's interpreter by the processor's clock."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from gpu_contenders import Step

WRITES = 8  # of half a GiB or more: a millisecond at 4 TB/s
WARM_UP = 1.0  # seconds of work before the first sample: clocks rise under load


class Sample(NamedTuple):
    """Seconds of one step, of its forward part, and of the processor's that it took to start it."""

    whole: float
    forward: float
    host: float


class Clock(Protocol):
    """Where steps run, and how they are measured there."""

    device: torch.device
    interpreted: bool

    def describe(self) -> dict[str, Any]:
        """The device, for the rows."""

    def sample(self, step: Step) -> Sample:
        """Times a step once."""

    def peak_bytes(self, step: Step) -> int | None:
        """What a step adds at its peak to the memory in use before it."""

    def release(self) -> None:
        """Gives back what a step that failed has left behind."""


class DeviceClock:
    """CUDA events. Before each step a buffer larger than the second-level cache is written several times: inputs come
    from memory, and the device is busy while the processor queues the step, as in training, where it runs ahead."""

    interpreted = False

    def __init__(self) -> None:
        self.device = torch.device("cuda", torch.cuda.current_device())
        cache = getattr(torch.cuda.get_device_properties(self.device), "L2_cache_size", 0)
        self._other = torch.empty(max(4 * cache, 1 << 29), dtype=torch.int8, device=self.device)

    def describe(self) -> dict[str, Any]:
        properties = torch.cuda.get_device_properties(self.device)
        return {
            "name": properties.name,
            "capability": [properties.major, properties.minor],
            "multiprocessors": properties.multi_processor_count,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "driver": driver_version(),
            "cuda": torch.version.cuda,
        }

    def sample(self, step: Step) -> Sample:
        begin, middle, end = (torch.cuda.Event(enable_timing=True) for _ in range(3))
        for _ in range(WRITES):
            self._other.zero_()
        start = time.perf_counter()
        begin.record()
        loss = step.forward()
        middle.record()
        gradients = step.backward(loss)
        end.record()
        host = time.perf_counter() - start
        torch.cuda.synchronize()
        del gradients
        return Sample(1e-3 * begin.elapsed_time(end), 1e-3 * begin.elapsed_time(middle), host)

    def peak_bytes(self, step: Step) -> int | None:
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        gradients = step.backward(step.forward())
        torch.cuda.synchronize()
        del gradients
        return torch.cuda.max_memory_allocated() - before

    def release(self) -> None:
        torch.cuda.empty_cache()


class InterpreterClock:
    """The processor's clock around Triton's interpreter: it shows that a step runs, not how long it would take."""

    interpreted = True
    device = torch.device("cpu")

    def describe(self) -> dict[str, Any]:
        return {"name": "Triton's interpreter"}

    def sample(self, step: Step) -> Sample:
        start = time.perf_counter()
        loss = step.forward()
        middle = time.perf_counter()
        step.backward(loss)
        end = time.perf_counter()
        return Sample(end - start, middle - start, end - start)

    def peak_bytes(self, step: Step) -> int | None:
        return None

    def release(self) -> None:
        pass


def warm_up(step: Step, draw: Callable[[], None], clock: Clock) -> None:
    """Repeats a step until clocks have risen, and allocators and libraries have what they need."""
    deadline = time.perf_counter() + WARM_UP
    for _ in range(1 if clock.interpreted else 1000):
        draw()
        clock.sample(step)
        if time.perf_counter() >= deadline:
            return


def driver_version() -> str | None:
    """The version of the driver, if its tool is there."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.split()), None)
