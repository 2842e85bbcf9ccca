"""Figures as SVG in the page itself, so that their text takes the colour and the fonts of the page, dark or light."""

from __future__ import annotations

import inspect
import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xent.demo.figures import BLACK, STYLE, label_axes

# Okabe and Ito's colours, as in xent.demo, but those that are hard to see on black are lighter.
BLUE, ORANGE, GREEN, VERMILION, GREY = "#4C9BD6", "#E69F00", "#00A37A", "#E0662B", "#8A8F98"
PAGE = BLACK  # becomes the colour of the page's text

Draw = Callable[[Axes], None]

FIGURES: dict[str, Draw] = {}
TALL: set[str] = set()


def figure(draw: Draw) -> Draw:
    """Enters a function that draws on axes in `FIGURES`; its docstring is the caption."""
    FIGURES[draw.__name__.replace("_", "-")] = draw
    return draw


def tall_figure(draw: Draw) -> Draw:
    """The same for a figure with many lines."""
    TALL.add(draw.__name__.replace("_", "-"))
    return figure(draw)


def label(axes: Axes, x: str, y: str) -> None:
    """Names both axes; a legend, where there are labels to show."""
    label_axes(axes, x, y)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def svg(name: str) -> str:
    """A `<figure>` with the drawing of this name and its caption."""
    draw, tall = FIGURES[name], name in TALL
    style: dict[Any, Any] = STYLE | {"svg.fonttype": "none", "svg.hashsalt": name}
    caption = escape(" ".join((inspect.getdoc(draw) or "").split()))
    with matplotlib.rc_context(style):
        canvas = Figure(figsize=(7.2, 7.6) if tall else (5.6, 3.6))
        draw(canvas.subplots())
        out = io.StringIO()
        canvas.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    kind = ' class="wide"' if tall else ""
    return f"<figure{kind}>{_inline(out.getvalue(), caption)}<figcaption>{caption}</figcaption></figure>"


def row(names: Sequence[str]) -> str:
    """Figures side by side, or below each other where the screen is narrow."""
    return f'<div class="plots">{"".join(map(svg, names))}</div>'


def _inline(text: str, caption: str) -> str:
    """The `<svg>` alone, on one line, scalable, in the page's colour, without ids that several figures would share."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    text = text.replace(PAGE, "currentColor").replace("<svg", f'<svg role="img" aria-label="{caption}"', 1)
    return " ".join(text.split())
