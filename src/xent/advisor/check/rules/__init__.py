"""The rules, by number. Each looks at a case and says what it finds."""

from __future__ import annotations

from ...findings import SEVERITIES, Finding
from ..case import Case
from .table import RULES, Rule

# importing a module of rules enters them in the table
from . import form, gradients, labels, progress, scale, values  # isort: skip

__all__ = ["RULES", "Rule", "findings"]

del form, gradients, labels, progress, scale, values


def findings(case: Case) -> list[Finding]:
    """What all rules find, the worst first; of arrays that do not belong together, only why.

    Raises:
        ValueError, TypeError: they do not belong together, and no rule says why.
    """
    found: list[Finding] = []
    for stage in ("form", "content"):
        for rule in RULES.values():
            if rule.stage == stage:
                found += rule.findings(case)
        if stage == "form":
            if any(finding.severity == "error" for finding in found):
                break  # nothing can be computed
            case.refuse_others()
    return sorted(found, key=lambda finding: (SEVERITIES.index(finding.severity), finding.rule))
