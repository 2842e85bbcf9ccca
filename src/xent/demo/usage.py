"""What the user of the demo got wrong: told in one line, where any other error is ours and keeps its traceback."""

from __future__ import annotations

from ..errors import message


class UsageError(ValueError):
    """An option that cannot be used."""

    def __init__(self, option: str, expected: str, got: str, remedy: str) -> None:
        super().__init__(message(option, expected, got, remedy))
