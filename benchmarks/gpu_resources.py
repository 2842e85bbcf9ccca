"""What the Triton kernels take of a GPU: registers, shared memory and spills of each, compiled without a device.

The variants are calls of xent's public functions, so that what is listed is what they launch, with the shapes and the
types that they launch it with: a stand-in for Triton's driver names the target, and each launch compiles instead.
A kernel that several calls share is listed once, for the first of them; one that Triton compiles anew for integers that
are 1, or divisible by 16, several times.

    python benchmarks/gpu_resources.py --json benchmarks/results/gpu_resources.jsonl
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from gpu_variants import FAMILIES, QUICK
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from xent.bench import _file
from xent.cli import OneLineParser

# Targets, with the multiprocessors of a device of each: A100, H200, B200. They decide how few rows are cut into parts.
PROCESSORS = {80: 108, 90: 132, 100: 148}
# Warps and registers of a multiprocessor; registers are given to a warp in lots.
WARPS, REGISTERS, LOT = 64, 65536, 256


class Kernel(NamedTuple):
    """A compiled kernel: what it is called, how it was launched, and what it takes of a multiprocessor."""

    name: str
    warps: int
    registers: int
    shared_bytes: int
    stack_bytes: int  # a thread, as local_bytes; some reserve a few that they never use
    local_bytes: int
    spill_instructions: int  # loads from there and stores; no kernel has an array of its own to keep there

    @property
    def spills(self) -> bool:
        return self.spill_instructions > 0

    @property
    def resident_warps(self) -> int:
        """How many warps a multiprocessor has registers for."""
        of_warp = -(-32 * self.registers // LOT) * LOT
        return min(WARPS, REGISTERS // (of_warp * self.warps) * self.warps)


class StandInDriver:
    """What Triton asks a driver for while it compiles. Devices are named after their compute capability."""

    def __init__(self) -> None:
        self.capability = 0

    def get_current_device(self) -> int:
        return self.capability

    def get_current_stream(self, device: int = 0) -> int:
        return 0

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")


class Compiler:
    """Stands between xent and its kernels: what would be launched is compiled and noted."""

    def __init__(self) -> None:
        # xent takes tensors of the CPU for a device's where Triton's interpreter is on; Triton itself compiles
        os.environ["TRITON_INTERPRET"] = "1"
        from xent.frontends.torch import device

        del os.environ["TRITON_INTERPRET"]
        from triton.runtime import driver, jit

        self._device, self._driver = device, StandInDriver()
        driver.set_active(self._driver)
        self._launched: list[tuple[str, Any]] = []
        compiler = self

        def compile_only(kernel: Any, grid: Any) -> Callable[..., Any]:
            def launch(*arguments: Any, **options: Any) -> Any:
                for argument in arguments:
                    # what is not written may still be an index in one of torch's own operations
                    if isinstance(argument, Tensor) and not argument.is_floating_point():
                        argument.data.zero_()
                compiled = kernel.warmup(*arguments, grid=grid, **options)
                compiler._launched.append((kernel.__name__, compiled))
                return compiled

            return launch

        jit.JITFunction.__getitem__ = compile_only

    def target(self, capability: int) -> None:
        """Compiles for this one from now on."""
        self._driver.capability = capability
        self._device._INTERPRETED_PROCESSORS = PROCESSORS[capability]

    def launched_by(self, call: Callable[[], None]) -> list[tuple[str, Any]]:
        """(name, compiled kernel) of all that a call launches."""
        self._launched = []
        call()
        return self._launched


def usage(name: str, compiled: Any) -> Kernel:
    """What a kernel takes, from the tool that comes with Triton."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(compiled.asm["cubin"])

        def output(option: str) -> str:
            return subprocess.run([tool, option, cubin], capture_output=True, text=True, check=True).stdout

        found = {key: int(number) for key, number in re.findall(r"(REG|STACK|LOCAL):(\d+)", output("-res-usage"))}
        spilled = len(re.findall(r"\b(?:LDL|STL)\b", output("-sass"))) if found["STACK"] or found["LOCAL"] else 0
    metadata = compiled.metadata
    return Kernel(name, metadata.num_warps, found["REG"], metadata.shared, found["STACK"], found["LOCAL"], spilled)


def rows(targets: Iterable[int], families: Iterable[str], quick: bool) -> Iterator[dict[str, Any]]:
    """One row for each kernel and target."""
    compiler = Compiler()
    versions = {name: version(name) for name in ("triton", "torch", "xent")}
    variants = [(f, variant) for f in families for variant in (QUICK[f] if quick else FAMILIES[f]())]
    console = Console(stderr=True)
    for capability in targets:
        compiler.target(capability)
        seen = set()
        for family, variant in track(variants, f"sm_{capability}", console=console, disable=not console.is_terminal):
            for name, compiled in compiler.launched_by(variant.call):
                if compiled.hash in seen:
                    continue
                seen.add(compiled.hash)
                kernel = usage(name, compiled)
                yield {
                    "target": f"sm_{capability}",
                    "family": family,
                    "kernel": name,
                    "dtype": variant.dtype,
                    "variant": variant.about,
                    **{key: value for key, value in kernel._asdict().items() if key != "name"},
                    "resident_warps": kernel.resident_warps,
                    "spills": kernel.spills,
                    "versions": versions,
                }


def table_of(found: list[dict[str, Any]]) -> Table:
    numbers = {
        "registers": "registers",
        "shared, B": "shared_bytes",
        "stack, B": "stack_bytes",
        "local, B": "local_bytes",
        "spill instructions": "spill_instructions",
        "warps": "warps",
        "resident warps": "resident_warps",
    }
    table = Table("target", "kernel", "dtype", "variant")
    for title in numbers:
        table.add_column(title, justify="right")
    for row in found:
        words = (row["target"], row["kernel"], row["dtype"], row["variant"])
        table.add_row(*words, *(str(row[n]) for n in numbers.values()), style="bold red" if row["spills"] else "")
    return table


def summary(found: list[dict[str, Any]]) -> str:
    spilling = [row["stack_bytes"] + row["local_bytes"] for row in found if row["spills"]]
    at_most = f", {max(spilling)} bytes a thread at most" if spilling else ""
    return f"{len(spilling)} of {len(found)} kernels spill registers{at_most}."


def main(arguments: list[str] | None = None) -> int:
    parser = OneLineParser(prog="gpu_resources.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--targets", nargs="+", type=int, choices=PROCESSORS, default=list(PROCESSORS), metavar="CAPABILITY",
        help="compute capabilities times ten (default: 80 90 100)",
    )  # fmt: skip
    parser.add_argument(
        "--families", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="NAME",
        help=f"only these kernels, of {', '.join(FAMILIES)} (default: all)",
    )  # fmt: skip
    parser.add_argument("--json", type=_file, metavar="FILE", help="also write one JSON object a row to FILE")
    parser.add_argument("--quick", action="store_true", help="a few variants: a test of this script")
    options = parser.parse_args(arguments)
    if os.environ.get("TRITON_INTERPRET"):
        parser.error("TRITON_INTERPRET is set, and the interpreter compiles nothing: unset it")
    if find_spec("triton") is None:
        parser.error("Triton is not installed: run pip install triton")

    found = []
    with options.json.open("w", encoding="utf-8") if options.json else nullcontext() as file:
        for row in rows(options.targets, options.families, options.quick):
            found.append(row)
            if file:
                print(json.dumps(row), file=file, flush=True)
    Console(width=None if sys.stdout.isatty() else 180).print(table_of(found))
    print(summary(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
