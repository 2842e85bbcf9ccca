"""The figures, as SVG to stand in a page: scalable, with real text, in the page's own colours."""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..calibration import Reliability

# Colours that stand for those of the page, which differ between light and dark.
INK, FAINT, RIGHT, WRONG, ACCENT = "#010101", "#020202", "#030303", "#040404", "#050505"
COLOURS = {INK: "ink", FAINT: "faint", RIGHT: "right", WRONG: "wrong", ACCENT: "accent"}
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "font.size": 10,
    "grid.alpha": 0.35,
    "grid.color": FAINT,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "xent",
    "text.color": INK,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
}
SIZE = (5.0, 4.0)  # inches; a phone shows 10 points of this width as about 10 pixels
HISTOGRAM_BINS = 20
Array = NDArray[Any]


def reliability(name: str, series: dict[str, Reliability], x: str, y: str) -> str:
    """Curves of what was observed over what was predicted; the first as bars.

    Args:
        name: of the figure, unique in the page.
        series: the curves by their labels.
        x, y: what the axes say.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = _new(x, y)
        axes.plot([0, 1], [0, 1], "--", color=FAINT, linewidth=1.2, label="ideal")
        (label, bars), *others = series.items()
        axes.bar(
            bars.edges[:-1],
            np.nan_to_num(bars.observed),
            np.diff(bars.edges),
            align="edge",
            color=ACCENT,
            alpha=0.35,
            edgecolor=ACCENT,
            linewidth=0.8,
            label=label,
        )
        for (label, curve), colour in zip(others, (WRONG, RIGHT), strict=False):
            filled = curve.counts > 0
            axes.plot(curve.predicted[filled], curve.observed[filled], "o-", color=colour, markersize=4, label=label)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=np.linspace(0, 1, 6), yticks=np.linspace(0, 1, 6))
        return _svg(name, figure, axes)


def histogram(name: str, probabilities: Array, right: Array, x: str, y: str) -> str:
    """How many predictions were made with which probability, the right and the wrong ones side by side."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _new(x, y)
        edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
        width = edges[1] / 2
        for place, label, chosen, colour in ((0.0, "right", right, RIGHT), (width, "wrong", ~right, WRONG)):
            counts, _ = np.histogram(probabilities[chosen], edges)
            shown = counts > 0
            if not shown.any():
                continue
            axes.bar(edges[:-1][shown] + place, counts[shown], 0.9 * width, align="edge", color=colour, label=label)
        axes.set_yscale("log")
        axes.set(xlim=(0, 1), ylim=(0.7, None), xticks=np.linspace(0, 1, 6))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.minorticks_off()
        return _svg(name, figure, axes)


def _new(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE)
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _svg(name: str, figure: Figure, axes: Axes) -> str:
    """The figure without prologue and metadata, its names made its own, its colours the page's."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3, handlelength=1.6)
    FigureCanvasSVG(figure)  # draws without a display, whatever backend is set
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" aria-labelledby="{name}" role="img">', text
    )
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text).replace("xlink:href", "href")
    for colour, variable in COLOURS.items():
        text = text.replace(colour, f"var(--{variable})")
    return text
