"""The documentation's site: it is built without a warning, needs no network, and takes its numbers from the records."""

from __future__ import annotations

import ast
import doctest
import importlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from matplotlib.figure import Figure
from mkdocs.exceptions import PluginError

import xent

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
RECORDS = ROOT / "benchmarks" / "results"
LOADED = {"src", "srcset", "data", "poster", "action", "background"}  # and href, but for links that a reader follows


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING -" not in done.stderr, done.stderr
    return folder


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of docs/tools by its name."""
    monkeypatch.syspath_prepend(DOCS / "tools")
    return importlib.import_module


class Page(HTMLParser):
    """What a page loads, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.text: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = LOADED if tag == "a" else LOADED | {"href", "xlink:href"}
        self.loads += [value or "" for name, value in attrs if name in names]
        self.loads += re.findall(r"url\(([^)]*)\)", " ".join(value or "" for name, value in attrs if name == "style"))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def leaves(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for item in (nav.values() if isinstance(nav, dict) else nav) for page in leaves(item)]


def exported(source: Path) -> list[str]:
    """The names in a module's `__all__`, without importing it and its framework."""
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"{source} has no __all__")


def test_the_navigation_is_all_there_is(site: Path) -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    nav = leaves(yaml.safe_load(text)["nav"])
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert len(nav) == len(set(nav)) > 15
    assert set(nav) == pages
    for page in nav:
        assert (site / page).with_suffix(".html").exists(), page


def test_nothing_comes_from_the_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for path in pages:
        for address in Page(path).loads:
            assert not re.match(r"\s*['\"]?(?:https?:|//)", address), f"{path.name} loads {address}"
        # the theme's script would fetch a renderer of diagrams, and the facts of a repository
        assert 'class="mermaid"' not in path.read_text()
        assert 'data-md-component="source"' not in path.read_text()
    sheets = list(site.rglob("*.css"))
    assert sheets
    for path in sheets:
        assert not re.search(r"(?:@import|url\()\s*['\"]?(?:https?:|//)", path.read_text()), path


def test_a_page_that_loads_something_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<a href="https://a"></a><link href="https://b"><img src="https://c"><p style="x:url(https://d)">')
    assert Page(page).loads == ["https://b", "https://c", "https://d"]


def test_the_search_works_on_files(site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text()
    assert index.startswith("var __index = ")
    addresses = {entry["location"] for entry in json.loads(index.removeprefix("var __index = "))["docs"]}
    assert "api/softmax.html#xent.softmax_cross_entropy" in addresses
    assert any(load.endswith("javascripts/iframe-worker.js") for load in Page(site / "index.html").loads)


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    text = "".join(path.read_text() for path in (site / "api").glob("*.html"))
    names = [*xent.__all__, *(f"samplers.{name}" for name in xent.samplers.__all__)]
    missing = [name for name in names if f'id="xent.{name}"' not in text]
    assert not missing, f"enter in docs/api: {missing}"
    compat = ROOT / "src" / "xent" / "compat"
    for library, source in (("torch", "torch/__init__"), ("keras", "keras/__init__"), ("optax", "optax")):
        page = "".join(Page(site / "api" / f"compat-{library}.html").text)
        for name in exported(compat / f"{source}.py"):
            assert re.search(rf"\b{name}\b", page), f"xent.compat.{library}.{name}"
    assert len(names) > 40


def test_docstrings_are_rendered(site: Path) -> None:
    for path in (site / "api").glob("*.html"):
        text = path.read_text()
        assert not re.search(r"<p>(?:Args|Attributes|Example|Raises|Returns|Source):", text), path.name
        assert "<p>&gt;&gt;&gt;" not in text, path.name
    text = (site / "api" / "softmax.html").read_text()
    assert "<strong><code>label_smoothing</code></strong>: ε in [0, 1]." in text


def test_figures_formulas_and_tables_are_made(site: Path) -> None:
    for page in DOCS.glob("*.md"):
        source, made = page.read_text(), page.with_suffix(".html").name
        text = (site / made).read_text()
        figures = [name for names in re.findall(r"^<!-- figures?: (.+) -->$", source, re.M) for name in names.split()]
        tables = re.findall(r"^<!-- table: (?!origin)", source, re.M)
        assert text.count("<svg role=") == len(figures), made
        assert text.count("<table>") >= len(tables), made
        assert "<!-- figure" not in text
        assert "<!-- table" not in text
        assert "arithmatex" not in text
        if "\n$$\n" in source:
            assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">' in text


def test_what_does_not_exist_is_refused(tools: Any) -> None:
    hooks = tools("hooks")
    page = type("Page", (), {"file": type("File", (), {"src_path": "page.md"})})
    with pytest.raises(PluginError, match=r"page\.md: no figure 'nonsense' among "):
        hooks.on_page_markdown("<!-- figure: nonsense -->", page)
    with pytest.raises(PluginError, match=r"does not know a command of: \\nonsense"):
        hooks.on_page_content(r'<span class="arithmatex">\(\nonsense\)</span>')


def test_chinese_pages_say_so(tools: Any) -> None:
    hooks = tools("hooks")
    for url, language in (("zh/page.html", "zh-Hans"), ("page.html", "en")):
        written = hooks.on_post_page('<html lang="en" class="no-js">', type("Page", (), {"url": url}))
        assert written == f'<html lang="{language}" class="no-js">'


def test_benchmark_page_has_the_recorded_times(site: Path) -> None:
    """Every recorded time is in a cell, with three digits, but for what is not a contender."""
    text = (site / "benchmarks.html").read_text()
    cells = set(re.findall(r"<td[^>]*>([^<]+)</td>", text))
    count = 0
    for name in ("cpu", "frameworks", "linear", "sampled"):
        for line in (RECORDS / f"{name}.jsonl").read_text().splitlines():
            record = json.loads(line)
            if record["contender"] == "xent, all kept":
                continue
            time = record["milliseconds"]
            assert (f"{time:.0f}" if time >= 100 else f"{time:#.3g}") in cells, line
            assert str(record["machine"]["cores"]) in text
            for version in record.get("versions", {}).values():
                assert version in text
            count += 1
    assert count > 100


def test_other_records_give_other_figures(tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, tables, plots = (tools(name) for name in ("records", "benchmark_tables", "benchmark_plots"))
    pictures = tools("pictures")
    before = pictures.svg("sampled-steps")
    for path in RECORDS.glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        planted = [line | {"milliseconds": 98765.0} for line in lines]
        (tmp_path / path.name).write_text("\n".join(map(json.dumps, planted)))
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    records.records.cache_clear()
    try:
        for name in ("dense", "dense-forward", "frameworks", "linear", "sampled"):
            assert "98765" in tables.TABLES[name](), name
        assert before != pictures.svg("sampled-steps")
        axes = Figure().subplots()
        plots.dense_times(axes)
        drawn = {x for line in axes.lines for x in line.get_xdata()}
        assert 98765.0 in drawn
    finally:
        records.records.cache_clear()


def test_plots_show_the_recorded_times(tools: Any) -> None:
    axes = Figure().subplots()
    tools("benchmark_plots").dense_times(axes)
    drawn = {x for line in axes.lines for x in line.get_xdata()}
    for line in (RECORDS / "cpu.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["pass"] == "forward+backward" and record["contender"] in ("torch", "xent (torch)", "memcpy"):
            assert record["milliseconds"] in drawn


@pytest.mark.parametrize("name", sorted(path.stem for path in (DOCS / "tools").glob("*.py")))
def test_examples_in_the_tools(name: str, tools: Any) -> None:
    module: ModuleType = tools(name)
    assert module.__doc__
    assert doctest.testmod(module).failed == 0
