"""The warning of every function of `tf.contrib`."""

from __future__ import annotations

import warnings


def deprecated(name: str, today: str) -> None:
    """Warns the caller of a deprecated function."""
    warnings.warn(f"tf.contrib.{name} is deprecated. Call {today} instead.", DeprecationWarning, stacklevel=3)
