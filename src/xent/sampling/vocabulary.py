"""Counts of words from a file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import message, value_error


def read_counts(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """The last of the fields, separated by commas, of every line that is not empty."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise type(error)(
            message("path", "a file that can be read", f"{path} ({reason})", "Check the path.")
        ) from error
    lines = content.replace(b"\r", b"").split(b"\n")
    counts = []
    for number, line in enumerate(lines, 1):
        if line:
            try:
                counts.append(float(line[line.rfind(b",") + 1 :]))
            except ValueError:
                raise value_error(
                    "path",
                    "lines that end in a count, after the last comma if there is one",
                    f"{line.decode(errors='replace')!r} in line {number} of {path}",
                    "Write the counts as the last column of a CSV file without a header.",
                ) from None
    return np.array(counts)
