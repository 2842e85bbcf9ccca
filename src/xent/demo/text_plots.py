"""The plot of `xent demo --text`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .figures import BLACK, BLUE, VERMILION, label_axes, write
from .text import Comparison

EQUAL = 1e-9  # where steps without a difference are drawn


def write_all(folder: Path, found: Comparison) -> list[Path]:
    """Draws the plot into the folder; the path of the file."""
    return write(folder, {"text-model.png": lambda: text_model(found)})


def text_model(found: Comparison) -> Figure:
    """Both curves and their difference; peak memory, where it was measured, and time."""
    dense, fused = found.both()
    measured = [one.peak_bytes / 2**20 for one in found.both() if one.peak_bytes is not None]
    bars = (["memory"] if measured else []) + ["time"]
    figure = Figure(figsize=(13, 5.2))
    panels = figure.subplot_mosaic(
        [["curves", *bars], ["gaps", *bars]], width_ratios=[2.2] + [1] * len(bars), height_ratios=[2, 1]
    )
    curves, gaps = panels["curves"], panels["gaps"]
    steps = np.arange(1, len(dense.losses) + 1)
    curves.plot(steps, dense.losses, color=VERMILION, linewidth=5, alpha=0.5, label="dense: all logits at once")
    curves.plot(steps, fused.losses, color=BLACK, linewidth=1.2, label="fused: logits some rows at a time")
    curves.set_title("Two ways to compute the loss, one curve")
    curves.set_ylabel("training loss (nats a piece)")
    curves.sharex(gaps)
    curves.tick_params(labelbottom=False)
    curves.legend()
    gaps.semilogy(steps, np.maximum(found.gaps, EQUAL), ".", color=BLACK)
    largest = found.gaps.max()
    gaps.set_title(f"They differ by at most {largest:.0e} of the loss" if largest else "They are equal at every step")
    gaps.set_ylim(EQUAL / 3, max(1e-5, 3 * largest))
    gaps.set_yticks([EQUAL, 1e-7, 1e-5], ["equal", "$10^{-7}$", "$10^{-5}$"])
    label_axes(gaps, "step", "relative difference\n(log scale)")
    if measured:
        _bars(panels["memory"], measured, "{:.0f}")
        panels["memory"].set_title(f"Peak memory: {measured[0] / measured[1]:.1f} times\nas much with the dense loss")
        panels["memory"].set_ylabel("beyond what was there before the step (MiB)")
    times = [1e3 * one.step_time for one in found.both()]
    _bars(panels["time"], times, "{:.0f}", lower=[1e3 * one.loss_time for one in found.both()])
    panels["time"].set_title(f"Time: {times[1] / times[0]:.2f} times as\nlong with the fused loss")
    panels["time"].set_ylabel("a step, median (ms)")
    return figure


def _bars(axes: Axes, heights: list[float], form: str, lower: list[float] | None = None) -> None:
    """A bar for the dense loss and one for the fused, with their numbers; `lower` parts of them are told apart."""
    at, colours = np.arange(2), [VERMILION, BLUE]
    axes.bar(at, heights, 0.6, color=colours, alpha=1 if lower is None else 0.45)
    if lower is not None:
        axes.bar(at, lower, 0.6, color=colours)
        for x, height in zip(at, lower, strict=True):
            axes.annotate(
                f"loss and\ngradients\n{form.format(height)}", (x, height / 2), ha="center", va="center", color="white"
            )
    for x, height in zip(at, heights, strict=True):
        axes.annotate(
            form.format(height), (x, height), (0, 3), textcoords="offset points", ha="center", fontweight="bold"
        )
    axes.set_xticks(at, ["dense", "fused"])
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.1)
