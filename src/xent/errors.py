"""How every error of the library reads: argument, what was expected, what came, and the remedy."""

from __future__ import annotations


def message(argument: str, expected: str, got: str, remedy: str) -> str:
    """The one wording of all errors.

    >>> message("temperature", "a positive number", "-1.0", "Pass temperature > 0.")
    'temperature: expected a positive number, got -1.0. Pass temperature > 0.'
    """
    return f"{argument}: expected {expected}, got {got}. {remedy}"


def value_error(argument: str, expected: str, got: str, remedy: str) -> ValueError:
    """A value of the right type that cannot be used."""
    return ValueError(message(argument, expected, got, remedy))


def type_error(argument: str, expected: str, got: str, remedy: str) -> TypeError:
    """A value of a type or dtype that cannot be used."""
    return TypeError(message(argument, expected, got, remedy))


def label_error(
    argument: str,
    row: int,
    label: int,
    classes: int,
    remedy: str = "Map the labels into the range, or name the label to skip with ignore_index.",
) -> IndexError:
    """A class index outside [0, classes), with the first row that holds one."""
    return IndexError(message(argument, f"class indices in [0, {classes})", f"label {label} in row {row}", remedy))
