"""The recorded lines of the benchmarks, and what they say about where they were made."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
NAMES = {
    "avx512": "AVX-512",
    "jax": "JAX",
    "numpy": "NumPy",
    "optax": "Optax",
    "python": "Python",
    "tensorflow": "TensorFlow",
    "torch": "PyTorch",
}

Record = dict[str, Any]


@cache
def records(name: str) -> tuple[Record, ...]:
    """All lines of `benchmarks/results/NAME.jsonl`, as they were recorded."""
    return tuple(json.loads(line) for line in (RESULTS / f"{name}.jsonl").read_text().splitlines())


def cases(name: str) -> dict[tuple[str, str], dict[str, Record]]:
    """The lines by case (and dtype, where a case has several), and in each by contender."""
    grouped: dict[tuple[str, str], dict[str, Record]] = {}
    for record in records(name):
        grouped.setdefault((record["case"], record.get("dtype", "")), {})[record["contender"]] = record
    return grouped


def shape(record: Record) -> str:
    """The shape of the logits.

    >>> shape({"shape": [8, 10]})
    '8×10'
    """
    return "×".join(map(str, record["shape"]))


def digits(value: float | None, unit: str = "") -> str:
    """A number with three significant digits; a dash for none.

    >>> digits(1234.5), digits(12.0, " ms"), digits(0.03667), digits(None)
    ('1234', '12.0 ms', '0.0367', '–')
    """
    if value is None:
        return "–"
    return (f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}") + unit


def origin(name: str) -> str:
    """Where the lines of a file come from: machine, versions and date, as far as they are recorded."""
    first = records(name)[0]
    machine = first["machine"]
    versions: dict[str, str] = {}
    for record in records(name):
        versions |= record.get("versions", {})
    said = [
        f"{machine['cpu'].replace('(R)', '®')}, {machine['threads']} of {machine['cores']} cores, "
        f"{NAMES.get(machine['instruction_set'], machine['instruction_set'])}",
        *(f"{NAMES.get(package, package)} {version}" for package, version in versions.items()),
    ]
    if dates := sorted({record["date"][:10] for record in records(name) if "date" in record}):
        said.append(dates[0])
    return f"`benchmarks/results/{name}.jsonl`: " + "; ".join(said) + "."
