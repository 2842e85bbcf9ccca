"""How every command says that it cannot use what it was given."""

from __future__ import annotations

import sys


def refuse(command: str, reason: Exception | str) -> int:
    """Prints one line on standard error.

    Returns:
        The exit status of bad input, 2.

    Example:
        >>> from xent.cli.refusal import refuse
        >>> refuse("check", "cut.npz: expected an .npz file")
        2
    """
    text = " ".join(str(reason).split()) or "not enough memory"  # a MemoryError has no text
    print(f"xent {command}: {text}", file=sys.stderr)
    return 2
