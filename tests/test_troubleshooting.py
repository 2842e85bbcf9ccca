"""The page Troubleshooting, in both languages, against the diagnoses of `xent.check`."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from test_check import FAULTS

from xent.advisor.check.arrays import Lines
from xent.advisor.check.case import Case, Options
from xent.advisor.check.rules import RULES

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = {"English": DOCS / "troubleshooting.md", "Chinese": DOCS / "zh" / "troubleshooting.md"}
FIELDS = {
    "English": ["Symptom", "Cause", "How to tell", "Fix", "Severity"],
    "Chinese": ["现象", "原因", "判断", "解决", "严重程度"],
}
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


class Section(NamedTuple):
    anchor: str
    title: str
    text: str


def sections(language: str) -> dict[str, Section]:
    """By the number of the rule what the page says about it."""
    parts = re.split(r'^<a id="(x\d\d)"></a>\n\n### (X\d\d) (.+)\n', PAGES[language].read_text(), flags=re.M)
    numbers = parts[2::4]
    assert len(numbers) == len(set(numbers))
    return {n: Section(*of) for n, *of in zip(numbers, parts[1::4], parts[3::4], parts[4::4], strict=True)}


def fields(section: Section) -> dict[str, str]:
    """What stands behind each bold word at the beginning of a list's item."""
    items = section.text.partition("```")[0].partition("\n## ")[0]
    return {
        name: " ".join(text.split()) for name, text in re.findall(r"^- \*\*(.+?)\*\*[:：](.+(?:\n  .+)*)", items, re.M)
    }


def severity(rule: str) -> str:
    """Of the planted fault."""
    if rule in FAULTS:
        return FAULTS[rule].severity
    many = Lines("logits", np.broadcast_to(np.float32(0.5), (2**16, 2**15 + 1)))  # without the memory
    labels = Lines("labels", np.broadcast_to(0, (2**16,)))
    return RULES[rule].findings(Case(many, labels, Options()))[0].severity


@pytest.mark.parametrize("language", PAGES)
def test_the_page_has_the_rules_of_the_table(language: str) -> None:
    found = sections(language)
    assert sorted(found) == sorted(RULES)
    assert [section.anchor for section in found.values()] == [number.lower() for number in found]
    if language == "English":
        assert {number: section.title for number, section in found.items()} == {n: r.title for n, r in RULES.items()}


@pytest.mark.parametrize("language", PAGES)
def test_each_rule_is_explained_with_its_severity(language: str) -> None:
    for number, section in sections(language).items():
        told = fields(section)
        assert list(told) == FIELDS[language], number
        assert all(len(text) > 2 for text in told.values()), number
        stated = re.match(r"error|warning|info", told[FIELDS[language][-1]].strip())
        assert stated, number
        assert stated[0] == severity(number), number


@pytest.mark.parametrize("language", PAGES)
def test_symptoms_lead_to_rules_and_every_rule_has_a_symptom(language: str) -> None:
    text = PAGES[language].read_text()
    linked = re.findall(r"\[(X\d\d)\]\(#(x\d\d)\)", text)
    assert {number.lower() for number, _ in linked} == {anchor for _, anchor in linked}
    assert all(number.lower() == anchor for number, anchor in linked)
    assert set(re.findall(r'<a id="(x\d\d)">', text)) == {anchor for _, anchor in linked}
    rows = [line for line in text.splitlines() if re.search(r"^\| .+ \| .*\[X\d\d\]", line)]
    assert len(rows) > 30
    assert {number for row in rows for number in re.findall(r"\[(X\d\d)\]", row)} == set(RULES)


def test_both_languages_have_the_same_rules_links_and_code() -> None:
    english, chinese = (PAGES[language].read_text() for language in PAGES)
    assert list(sections("English")) == list(sections("Chinese"))
    assert BLOCK.findall(english) == BLOCK.findall(chinese)
    assert re.findall(r"\(#(x\d\d)\)", english) == re.findall(r"\(#(x\d\d)\)", chinese)
    assert re.search(r"[\u4e00-\u9fff]", english.replace("[简体中文]", "")) is None
    for number, section in sections("Chinese").items():
        assert re.search(r"[\u4e00-\u9fff]", section.title), number


def test_examples_plant_the_fault_and_mend_it() -> None:
    """The blocks themselves run with the other documentation."""
    for number, section in sections("English").items():
        code = "\n".join(BLOCK.findall(section.text))
        if number == "X46":  # takes 8 GiB
            assert code == ""
            continue
        assert f'"{number}" in rules(' in code, number
        assert f'"{number}" not in rules(' in code, number


@pytest.mark.parametrize("language", PAGES)
def test_the_report_on_the_page_is_what_the_code_prints(language: str) -> None:
    text = PAGES[language].read_text()
    first = BLOCK.findall(text)[0]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(first, language, "exec"), {})
    assert f"```text\n{out.getvalue()}```" in text
