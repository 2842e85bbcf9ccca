"""What the advisor found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One diagnosis.

    Attributes:
        rule: its number, as in the documentation's troubleshooting page: "X01" to "X46" for data, "L01" on for code.
        severity: "error" where the loss is wrong, "warning" where it probably is, "info" where it could be better.
        message: what is the case, with the evidence: rows, counts, values.
        fix: what to do about it, with the code to write.
    """

    rule: str
    severity: Severity
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.rule} {self.severity}: {self.message}\n    {self.fix}"


@dataclass(frozen=True)
class Report:
    """The findings of one check, the worst first.

    Attributes:
        findings: what was found; none where all is well.
        rows, classes: of the logits that were looked at.
    """

    findings: tuple[Finding, ...]
    rows: int
    classes: int

    @property
    def ok(self) -> bool:
        """Whether nothing is worse than "info"."""
        return all(finding.severity == "info" for finding in self.findings)

    def to_json(self) -> str:
        """The report as a JSON object: {"rows", "classes", "findings": [{"rule", "severity", "message", "fix"}]}."""
        return json.dumps(asdict(self), indent=2)

    def __str__(self) -> str:
        head = f"{self.rows} rows, {self.classes} classes: "
        if not self.findings:
            return f"{head}nothing to report."
        counts = [(sum(f.severity == s for f in self.findings), s) for s in SEVERITIES]
        words = [f"{n} {s}{'s' if n > 1 and s != 'info' else ''}" for n, s in counts if n]
        return "\n".join([head + ", ".join(words), *map(str, self.findings)])
