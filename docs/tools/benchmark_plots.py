"""Plots of the recorded benchmarks; every number in them is one of `benchmarks/results`."""

from __future__ import annotations

import numpy as np
from benchmark_tables import step, title
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator
from pictures import BLUE, GREY, ORANGE, VERMILION, figure, label, tall_figure
from records import Record, cases, digits, records


def trainings() -> list[dict[str, Record]]:
    """The cases of the dense losses with their gradients, the first at the bottom of a plot."""
    return [case for case in cases("cpu").values() if case["torch"]["pass"] == "forward+backward"][::-1]


@tall_figure
def dense_times(axes: Axes) -> None:
    """Loss and gradient through PyTorch, medians and the middle half of the samples, beside a copy of the logits."""
    chosen = trainings()
    for shift, name, colour in ((0.22, "torch", VERMILION), (0.0, "xent (torch)", BLUE), (-0.22, "memcpy", GREY)):
        found = [case[name] for case in chosen]
        middle = np.array([record["milliseconds"] for record in found])
        low, high = np.array([record["quartiles"] for record in found]).T
        spread = np.maximum([middle - low, high - middle], 0)
        at = np.arange(len(chosen)) + shift
        axes.errorbar(middle, at, xerr=spread, fmt="o", markersize=4.5, color=colour, label=name)
    axes.set_yticks(
        range(len(chosen)), [title(case["torch"]).replace("class indices, label", "label") for case in chosen]
    )
    axes.set_xscale("log")
    axes.margins(y=0.03)
    label(axes, "ms, logarithmic", "")
    axes.legend(loc="lower center", bbox_to_anchor=(0.3, 1.0), ncols=3)


@tall_figure
def dense_memory(axes: Axes) -> None:
    """Bytes added at the peak of a training step over the bytes of the logits; a gradient alone is 1."""
    chosen = [case for case in trainings() if case["torch"]["memory"] is not None]
    for shift, name, colour in ((0.2, "torch", VERMILION), (-0.2, "xent (torch)", BLUE)):
        memory = [case[name]["memory"] for case in chosen]
        axes.barh(np.arange(len(chosen)) + shift, memory, 0.38, color=colour, label=name)
    axes.set_yticks(range(len(chosen)), [title(case["torch"]) for case in chosen])
    axes.margins(y=0.03)
    label(axes, "sizes of the logits", "")
    axes.legend(loc="lower center", bbox_to_anchor=(0.3, 1.0), ncols=2)


@figure
def framework_steps(axes: Axes) -> None:
    """A jitted step of JAX (projection, loss, gradient to the weights) against Optax, and an eager step of TensorFlow
    against tf.nn: how many times faster it is with xent."""
    found = [record for record in records("frameworks") if record["contender"] == "xent"][::-1]
    ratios = [next(iter(record["faster_than"].values())) for record in found]
    bars = axes.barh(range(len(found)), ratios, 0.6, color=BLUE)
    axes.bar_label(bars, [digits(ratio) for ratio in ratios], padding=3)
    axes.set_yticks(range(len(found)), [step(record) for record in found])
    axes.margins(x=0.12)
    axes.axvline(1, color=GREY, linewidth=1)
    label(axes, "time of theirs ÷ time of xent", "")


@figure
def linear_losses(axes: Axes) -> None:
    """A projection and its loss: time against memory beyond the gradients. Further left and further down is better."""
    colours = {"xent": BLUE, "eager": VERMILION, "torch chunked": ORANGE}
    for (_, dtype), contenders in cases("linear").items():
        for name, colour in colours.items():
            if "eager" in contenders and name in contenders:
                record = contenders[name]
                axes.plot(
                    record["beyond_gradients_mib"],
                    record["milliseconds"],
                    "o" if dtype == "float32" else "^",
                    color=colour,
                    label=f"{name}, {dtype}",
                )
    axes.loglog()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    label(axes, "MiB beyond the gradients", "ms")


@figure
def sampled_steps(axes: Axes) -> None:
    """A step of sampled softmax with sparse gradients, and the log-uniform samplers alone."""
    found = records("sampled")[::-1]
    colours = [BLUE if record["contender"].startswith("xent") else VERMILION for record in found]
    bars = axes.barh(range(len(found)), [record["milliseconds"] for record in found], 0.6, color=colours)
    axes.bar_label(bars, [digits(record["milliseconds"], " ms") for record in found], padding=3)
    axes.set_yticks(range(len(found)), [f"{record['contender']}, {record['classes']:,} classes" for record in found])
    axes.margins(x=0.15)
    label(axes, "ms", "")


TRAININGS = {"torch": VERMILION, "xent": BLUE}


@figure
def training_curves(axes: Axes) -> None:
    """A small language model trained twice from one seed: the two curves lie on each other."""
    for record, line, width in zip(records("training"), ("-", "--"), (3.0, 1.4), strict=True):
        axes.plot(record["losses"], line, color=TRAININGS[record["loss"]], linewidth=width, label=record["loss"])
    label(axes, "step", "loss, nats")


@figure
def training_times(axes: Axes) -> None:
    """Time of each step of the same two trainings, and the median."""
    for record in records("training"):
        times = 1e3 * np.array(record["seconds"])
        said = f"median {digits(float(np.median(times)))} ms, peak {digits(record['peak_bytes'] / 2**20)} MiB"
        name = record["loss"]
        axes.plot(times, ".", markersize=4, color=TRAININGS[name], label=f"{name}: {said}")
    axes.set_ylim(bottom=0)
    label(axes, "step", "ms")
