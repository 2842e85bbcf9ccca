"""`xent lint`: what is wrong with losses, seen in the source code.

A rule is an entry of a table in `rules/`: what it looks for, why, the code before and after, and what finds it.
`source` answers what names and variables stand for, `activations` which softmax or sigmoid an array comes from.
"""

from __future__ import annotations

from .checker import SourceError, lint_source
from .located import LintFinding

__all__ = ["LintFinding", "SourceError", "lint_source"]
