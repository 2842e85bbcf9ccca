"""The files below the paths of a command line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

SUFFIXES = (".py", ".pyw", ".ipynb")
SKIPPED = frozenset(("__pycache__", "node_modules", "site-packages", "venv"))


def files_below(paths: Sequence[str], exclude: Sequence[str], errors: list[str]) -> list[str]:
    """The Python files and notebooks that paths stand for, each once.

    A folder is searched without hidden folders, virtual environments and what `SKIPPED` names; a path that is given
    itself is always read. Folders that cannot be read are added to `errors`.
    """
    found: dict[str, None] = {}
    for path in paths:
        for name in _below(path, exclude, errors) if os.path.isdir(path) else [path]:
            found[name] = None
    return list(found)


def _below(root: str, exclude: Sequence[str], errors: list[str]) -> Iterator[str]:
    def unreadable(error: OSError) -> None:
        errors.append(f"{error.filename}: {error.strerror}")

    for folder, folders, names in os.walk(root, onerror=unreadable):
        folders[:] = sorted(f for f in folders if not _is_skipped(os.path.join(folder, f), f, exclude))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name.endswith(SUFFIXES) and not _matches(path, name, exclude) and os.path.isfile(path):
                yield path


def _is_skipped(path: str, name: str, exclude: Sequence[str]) -> bool:
    is_environment = os.path.exists(os.path.join(path, "pyvenv.cfg"))
    return name.startswith(".") or name in SKIPPED or is_environment or _matches(path, name, exclude)


def _matches(path: str, name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) or fnmatch(Path(path).as_posix(), pattern) for pattern in patterns)
