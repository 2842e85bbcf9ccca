"""How the plots look and how they are written. Colours are Okabe and Ito's, which colour-blind readers tell apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLACK, ORANGE, GREEN, BLUE, VERMILION = "#000000", "#E69F00", "#009E73", "#0072B2", "#D55E00"
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.15,
    "font.size": 10,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.8,
}
DOTS_PER_INCH = 150


def write(folder: Path, figures: Mapping[str, Callable[[], Figure]]) -> list[Path]:
    """Draws each figure in this style into the file of its name; the paths of the files."""
    with matplotlib.rc_context(STYLE):
        return [_save(draw(), folder / name) for name, draw in figures.items()]


def new_figure(width: float, height: float, columns: int) -> tuple[Figure, Any]:
    """A figure of so many inches, with its axes side by side."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def label_axes(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _save(figure: Figure, path: Path) -> Path:
    FigureCanvasAgg(figure)  # draws without a display, whatever backend is set
    figure.savefig(path, dpi=DOTS_PER_INCH)
    return path
