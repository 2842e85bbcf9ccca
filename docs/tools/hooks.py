"""What MkDocs calls while it builds the site: figures and tables come out of data, formulas become MathML."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import benchmark_plots
import benchmark_tables
import loss_plots
import pictures
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

FIGURES = {
    name.replace("_", "-"): function
    for module in (loss_plots, benchmark_plots)
    for name, function in vars(module).items()
    if getattr(function, "__module__", "") == module.__name__ and getattr(function, "is_figure", False)
}
TABLES: dict[str, Callable[[], str]] = benchmark_tables.TABLES

PLACE = re.compile(r"^<!-- (figures?|table): ([\w -]+) -->$", re.M)
PROMPT = re.compile(r"^```python\n(?=>>> )", re.M)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """`<!-- figure: NAME -->` and `<!-- table: NAME -->` become what they name; code with prompts is shown as such."""

    def made(place: re.Match[str]) -> str:
        makers: dict[str, Any] = TABLES if place[1] == "table" else FIGURES
        names = place[2].split()
        if unknown := [name for name in names if name not in makers]:
            raise PluginError(f"{page.file.src_path}: no {place[1]} {unknown[0]!r} among {', '.join(sorted(makers))}")
        if place[1] == "table":
            return str(makers[names[0]]())
        return pictures.row([pictures.svg(name, makers[name]) for name in names])

    return PROMPT.sub("```pycon\n", PLACE.sub(made, markdown))


def on_page_content(html: str, **_: Any) -> str:
    """LaTeX becomes MathML, which browsers draw without help."""
    return FORMULA.sub(lambda found: mathml(found[2], display=found[1] == "div"), html)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Chinese pages say that they are Chinese, for the choice of fonts."""
    return output.replace('<html lang="en"', '<html lang="zh-Hans"', 1) if page.url.startswith("zh/") else output


def mathml(latex: str, *, display: bool) -> str:
    """A formula as MathML, escaped as HTML has it.

    >>> mathml("p - t", display=False).startswith("<math")
    True
    """
    return convert(unescape(latex).strip(), display="block" if display else "inline")
