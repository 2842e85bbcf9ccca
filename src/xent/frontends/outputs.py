"""What functions of a user return."""

from __future__ import annotations

from typing import Any

from ..errors import type_error


def loss_of(out: Any, has_aux: bool) -> Any:
    """The loss in what a function returned: all of it, or the first of a tuple."""
    if not has_aux:
        return out
    if isinstance(out, tuple) and out:
        return out[0]
    got = type(out).__name__
    raise type_error("loss_fn", "a tuple that starts with the loss, with has_aux", got, "Leave out has_aux=True.")
