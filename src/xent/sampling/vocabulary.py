"""Counts of words from a file."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import message, type_error, value_error


def read_counts(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """The last of the fields, separated by commas, of every line that is not empty."""
    if not isinstance(path, str | os.PathLike):
        raise type_error("path", "a path of a file", repr(path), "Pass a string or a pathlib.Path.")
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # the latter of a character that no path has
        kind = type(error) if isinstance(error, OSError) else FileNotFoundError
        reason = getattr(error, "strerror", None) or str(error) or kind.__name__
        raise kind(message("path", "a file that can be read", f"{path!r} ({reason})", "Check the path.")) from error
    counts = []
    for number, line in enumerate(content.removeprefix(codecs.BOM_UTF8).splitlines(), 1):
        if line:
            try:
                field = line[line.rfind(b",") + 1 :]
                if b"_" in field:  # which Python reads over
                    raise ValueError
                counts.append(float(field))
            except ValueError:
                raise value_error(
                    "path",
                    "lines that end in a count, after the last comma if there is one",
                    f"{line.decode(errors='replace')!r} in line {number} of {path}",
                    "Write the counts as the last column of a CSV file without a header.",
                ) from None
    return np.array(counts)
