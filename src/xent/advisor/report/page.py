"""The page: the measures in a template, with the words that go with each loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

import xent

from ..calibration import BINS, Reliability, equal_mass, equal_width
from ..findings import SEVERITIES, Report
from . import figures
from .measures import Measures
from .words import MOST_CLASSES, digits, notes_of, number, percent, reading, words_of

CLASSES_AT_ONCE = 25  # the rest of the table is folded away


@dataclass(frozen=True)
class Tile:
    """A number at the head of the page."""

    name: str
    value: str
    remark: str


def fraction(value: float) -> str:
    """A share as CSS has it."""
    return f"{value:.3f}" if math.isfinite(value) else "0"


def render(
    measures: Measures, findings: Report, names: Sequence[str], *, sigmoid: bool, title: str, source: str
) -> str:
    """The page as HTML.

    Args:
        measures: its numbers.
        findings: what `xent.check` says of the same rows.
        names: of the classes.
        sigmoid: whether the classes do not exclude each other.
        title: its heading.
        source: what the rows were read from.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, digits=digits, percent=percent, fraction=fraction)
    width = equal_width(measures.probabilities, measures.outcomes)
    mass = equal_mass(measures.probabilities, measures.outcomes)
    words = words_of(measures, sigmoid, source, width.error, mass.error)
    by_class = measures.by_class
    order = by_class.worst_first[:MOST_CLASSES]
    worst = float(by_class.loss[order[0]])
    return environment.get_template("page.html.j2").render(
        title=title,
        version=xent.__version__,
        sigmoid=sigmoid,
        names=names,
        words=words,
        notes=notes_of(measures, sigmoid),
        tiles=_tiles(measures, findings, sigmoid, width.error),
        findings=findings.findings,
        by_class=by_class,
        classes=order,
        at_once=CLASSES_AT_ONCE,
        worst_loss=worst if worst > 0 else 1.0,
        width=width,
        mass=mass,
        confusion=measures.confusion,
        temperature=measures.temperature,
        figures=_figures(measures, width, mass, words),
    )


def _figures(measures: Measures, width: Reliability, mass: Reliability, words: dict[str, Any]) -> dict[str, str]:
    (x, y), counted = words["axes"], words["count_axis"]
    drawn = {
        "calibration": figures.reliability("calibration", {"equal width": width, "equal mass": mass}, x, y),
        "confidence": figures.histogram("confidence", measures.probabilities, measures.right, x, counted),
    }
    fit = measures.temperature
    if fit.after:
        series = {"before": fit.before.reliability, "after": fit.after.reliability}
        drawn["temperature"] = figures.reliability("temperature", series, x, y)
    return drawn


def _tiles(measures: Measures, findings: Report, sigmoid: bool, error: float) -> list[Tile]:
    chance = math.log(2 if sigmoid else measures.classes)
    fit = measures.temperature.value
    counts = [(sum(f.severity == s for f in findings.findings), s) for s in SEVERITIES]
    tiles = [
        Tile("Mean loss", digits(measures.loss), f"nats; {digits(chance)} without any knowledge"),
        Tile("Accuracy", percent(measures.accuracy), "of all decisions" if sigmoid else "of all rows"),
        Tile("Calibration error", percent(error, 2), f"expected; {BINS} bins of equal width"),
        Tile("Temperature", digits(fit) if fit else "–", reading(measures.temperature)),
        Tile("Findings", number(len(findings.findings)), ", ".join(f"{n} {s}" for n, s in counts if n) or "none"),
    ]
    if measures.all_right is not None:
        tiles.insert(2, Tile("Faultless rows", percent(measures.all_right), "every class right"))
    return tiles
