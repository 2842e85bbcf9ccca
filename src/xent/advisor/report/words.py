"""What the page says around its numbers, which differs between the two losses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..calibration import BINS, TEMPERATURES
from .measures import MOST_SHOWN, Measures, Temperature

NO_BREAK = "\u00a0"
MOST_CLASSES = 100  # in the table of classes
ABOUT_RIGHT = (0.95, 1.05)  # temperatures that change next to nothing


def number(value: float) -> str:
    return f"{value:,}"


def digits(value: float, count: int = 4) -> str:
    """So many significant digits."""
    return f"{value:#.{count}g}".rstrip(".") if math.isfinite(value) else "–"


def percent(value: float, decimals: int = 1) -> str:
    return f"{100 * value:.{decimals}f}{NO_BREAK}%" if math.isfinite(value) else "–"


EIGHTY = percent(0.8, 0)


def notes_of(measures: Measures, sigmoid: bool) -> list[str]:
    """What a reader must know to take the numbers for what they are."""
    unit = "decisions" if sigmoid else "rows"
    notes = []
    if measures.floor is not None:
        notes.append(
            f"The labels are shares, not classes. The loss cannot fall below their own entropy, "
            f"{digits(measures.floor)} nats; "
            + (
                "a class counts as there from a share of 0.5 on, and calibration compares with the shares themselves."
                if sigmoid
                else "a row counts to the class with the largest share, and is right where that has the largest logit; "
                "calibration compares the confidence with the share of the predicted class."
            )
        )
    if measures.ignored:
        notes.append(f"{number(measures.ignored)} {unit} are ignored by their label and counted nowhere.")
    if measures.broken:
        notes.append(
            f"{number(measures.broken)} {unit} have no finite loss and are left out of every number on this page."
        )
    return notes


def words_of(measures: Measures, sigmoid: bool, source: str, width_error: float, mass_error: float) -> dict[str, Any]:
    """What the page says, by place."""
    unit = "decisions" if sigmoid else "rows"
    judged, shown = len(measures.probabilities), min(MOST_CLASSES, measures.classes)
    part = "" if judged == measures.counted else f" on {number(judged)} {unit} drawn at random"
    classes = number(measures.classes)
    error = (
        f"Expected calibration error{part}: {percent(width_error, 2)} in {BINS} bins of equal width, "
        f"{percent(mass_error, 2)} in bins of equal mass."
    )
    fit = measures.temperature
    after = f", {percent(fit.after.reliability.error, 2)} after" if fit.after else ""
    return {
        "decisions": unit,
        "subtitle": f"{'Sigmoid' if sigmoid else 'Softmax'} cross-entropy, {number(measures.rows)} rows of {classes} "
        f"{'independent' if sigmoid else 'exclusive'} classes, from {source}.",
        "classes_shown": f"The {shown} of {classes} classes with the highest mean loss, the worst first"
        if shown < measures.classes
        else "All classes, the worst first",
        "count_axis": f"{unit.capitalize()} (logarithmic)",
        "calibration_caption": error,
        "calibration_alt": f"Reliability diagram. {error}",
        "confidence_alt": f"Histogram of the probabilities, right and wrong {unit} apart; "
        f"{percent(float(measures.right.mean()))} are right.",
        "confidence_caption": f"{unit.capitalize()}{part} by their probability, in steps of {percent(0.05, 0)}.",
        "temperature": _temperature_words(fit),
        "temperature_alt": "Reliability diagram before and after dividing the logits by the temperature: calibration "
        f"error {percent(fit.before.reliability.error, 2)} before{after}.",
        "temperature_caption": "Before (bars) and after (line) dividing the logits by the temperature.",
    } | (_sigmoid_words(measures, part) if sigmoid else _softmax_words(measures))


def _softmax_words(measures: Measures) -> dict[str, Any]:
    soft, few = measures.floor is not None, measures.classes <= MOST_SHOWN
    confidence, outcome = percent(float(measures.probabilities.mean())), percent(float(measures.outcomes.mean()))
    if soft:
        rule = f"Rows predicted with a confidence of {EIGHTY} should have labels that give that class {EIGHTY}"
        y, means = "Share of the predicted class in the label", f"mean share {outcome}"
    else:
        rule = f"Of the rows predicted with a confidence of {EIGHTY}, {EIGHTY} should be right"
        y, means = "Accuracy (share that is right)", f"accuracy {outcome}"
    return {
        "axes": ("Confidence (probability of the predicted class)", y),
        "counts": "Rows",
        "by_class": "Accuracy is the share of the rows of a class that are predicted to be of it, precision the share "
        "of the rows predicted to be of it that are.",
        "calibration": f"{rule}: bars below the diagonal are too confident. Mean confidence is {confidence}, {means}.",
        "confidence": "Wrong predictions at high confidence are the ones to look at: mislabelled rows, or classes that "
        "cannot be told apart.",
        "confusion": f"{number(int(np.count_nonzero(~measures.right)))} of {number(measures.counted)} rows are "
        "predicted to be of another class.",
        "matrix": ("" if few else f"The {len(measures.confusion.shown)} classes of the most frequent mistakes. ")
        + "Lines: the class of the row; columns: the class predicted.",
        "corner": "class",
        "pairs": "The pairs most often confused",
        "pair": ("Class", "Taken for"),
        "no_confusion": "Every row is predicted right.",
    }


def _sigmoid_words(measures: Measures, part: str) -> dict[str, Any]:
    few = measures.classes <= MOST_SHOWN
    return {
        "axes": ("Predicted probability of the class", "Share of rows that have it"),
        "counts": "Rows with it",
        "by_class": "The mean loss of all decisions on a class, with or without it. Recall is the share of rows "
        "with the class that are found, precision the share of the found that have it; found is a logit above 0.",
        "calibration": f"Of the decisions with a predicted probability of {EIGHTY}, {EIGHTY} should be positive.",
        "confidence": "Wrong decisions left of one half are classes that were missed, right of it false alarms.",
        "confusion": "How often a class was missed in a row where another was raised falsely. "
        f"Counted{part or ' on all rows'}.",
        "matrix": ("" if few else f"The {MOST_SHOWN} classes with the most wrong decisions. ")
        + "Lines: the class missed; columns: the class raised falsely; on the diagonal, times found.",
        "corner": "missed",
        "pairs": "The most frequent pairs",
        "pair": ("Missed", "Raised falsely"),
        "no_confusion": "In no row was a class missed and another raised falsely.",
    }


def _temperature_words(fit: Temperature) -> str:
    if fit.value is None:
        low, high = TEMPERATURES
        return (
            f"No temperature from {low:g} to {high:g} minimises the loss: either every prediction is right, and "
            "sharper is always better, or the logits say nothing about the labels."
        )
    return (
        f"Dividing the logits by {digits(fit.value)} minimises the loss: the model is {reading(fit)}."
        if not ABOUT_RIGHT[0] <= fit.value <= ABOUT_RIGHT[1]
        else f"The best temperature is {digits(fit.value)}: the logits can be taken as they are."
    ) + " Predicted classes do not change."


def reading(fit: Temperature) -> str:
    """What a temperature says of the model."""
    if fit.value is None:
        return "none fits"
    if ABOUT_RIGHT[0] <= fit.value <= ABOUT_RIGHT[1]:
        return "confidence is about right"
    return "too confident" if fit.value > 1 else "not confident enough"
