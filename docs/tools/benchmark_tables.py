"""Tables of the recorded benchmarks, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from records import NAMES, Record, cases, digits, origin, records, shape


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers.

    >>> print(markdown(["case", "ms"], [["one", "1.5"]]))
    | case | ms |
    |---|--:|
    | one | 1.5 |
    """
    head, *body = (f"| {' | '.join(row)} |" for row in (headings, *rows))
    return "\n".join([head, "|---|" + "--:|" * (len(headings) - 1), *body])


def title(record: Record) -> str:
    """A case of the dense losses in words."""
    return f"{record['about']}, {shape(record)}" + (f", {record['dtype']}" if record["dtype"] != "float32" else "")


def step(record: Record) -> str:
    """A case of another framework in words.

    >>> step({"case": "jax-1k", "shape": [8, 10]})
    'JAX, 8×10'
    """
    framework = record["case"].split("-")[0]
    return f"{NAMES[framework]}, {shape(record)}"


def dense(pass_: str) -> str:
    """The dense losses on the CPU: times of all contenders, in ms, and the ratios."""
    rows = []
    for contenders in cases("cpu").values():
        ours, theirs = contenders["xent (torch)"], contenders["torch"]
        if ours["pass"] != pass_:
            continue
        numpy = [contenders.get(name, {}).get("milliseconds") for name in ("xent (NumPy)", "NumPy")]
        rows.append(
            [
                title(ours),
                *(digits(record["milliseconds"]) for record in (ours, theirs)),
                digits(ours["faster_than"]["torch"]),
                *map(digits, numpy),
                digits(contenders["memcpy"]["milliseconds"]),
                *(digits(record["memory"]) for record in (ours, theirs)),
            ]
        )
    headings = [pass_, "xent, ms", "torch, ms", "torch ÷ xent", "xent on NumPy, ms", "textbook NumPy, ms", "copy, ms"]
    return markdown([*headings, "xent, memory", "torch, memory"], rows)


def frameworks() -> str:
    """JAX and TensorFlow."""
    rows = []
    for contenders in cases("frameworks").values():
        ours = contenders["xent"]
        peer = next(iter(ours["faster_than"]))
        products = contenders.get("products alone", {}).get("milliseconds")
        rows.append(
            [
                step(ours),
                NAMES.get(peer, peer),
                digits(ours["milliseconds"]),
                digits(contenders[peer]["milliseconds"]),
                digits(ours["faster_than"][peer]),
                digits(products),
                digits(ours["temporary_mib"]),
                digits(contenders[peer]["temporary_mib"]),
            ]
        )
    headings = ["case", "theirs", "xent, ms", "theirs, ms", "theirs ÷ xent", "products alone, ms"]
    return markdown([*headings, "xent, MiB", "theirs, MiB"], rows)


def linear() -> str:
    """A projection and its loss."""
    rows = [
        [
            f"{shape(record)}, {record['dtype']}",
            record["contender"],
            digits(record["milliseconds"]),
            digits(record["over_products"]),
            digits(record["beyond_gradients_mib"]),
        ]
        for record in records("linear")
    ]
    return markdown(["N×D×C", "contender", "ms", "÷ products alone", "MiB beyond the gradients"], rows)


def sampled() -> str:
    """Sampled softmax and the samplers."""
    rows = [
        [record["contender"], f"{record['classes']:,}", digits(record["milliseconds"])] for record in records("sampled")
    ]
    return markdown(["contender", "classes", "ms"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "dense": partial(dense, "forward+backward"),
    "dense-forward": partial(dense, "forward"),
    "frameworks": frameworks,
    "linear": linear,
    "sampled": sampled,
    **{f"origin-{name}": partial(origin, name) for name in ("cpu", "frameworks", "linear", "sampled")},
}
