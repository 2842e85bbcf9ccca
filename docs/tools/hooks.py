"""What MkDocs calls while it builds the site: figures and tables come out of data, formulas become MathML."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import benchmark_plots  # noqa: F401 - enters its figures
import loss_plots  # noqa: F401
from benchmark_tables import TABLES
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from pictures import FIGURES, row

PLACE = re.compile(r"^<!-- (figures?|tables?): ([\w -]+) -->$", re.M)
PROMPT = re.compile(r"^```python\n(?=>>> )", re.M)
# The ends of lines within Chinese text, which browsers would show as blanks.
CHINESE_LINES = re.compile(r"(?<=[\u3000-\u9fff\uff00-\uffef])\n(?=[\u3000-\u9fff\uff00-\uffef])")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)
NAMED = re.compile(r"<mi>(log|max|exp)</mi>")  # functions, which need space before their argument


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """`<!-- figure: NAME -->` and `<!-- table: NAME -->` become what they name; code with prompts is shown as such."""

    def made(place: re.Match[str]) -> str:
        kind, names = place[1].rstrip("s"), place[2].split()
        known = TABLES if kind == "table" else FIGURES
        if unknown := [name for name in names if name not in known]:
            raise PluginError(f"{page.file.src_path}: no {kind} {unknown[0]!r} among {', '.join(sorted(known))}")
        return row(names) if kind == "figure" else "\n\n".join(TABLES[name]() for name in names)

    if page.file.src_path.startswith("zh/"):
        markdown = CHINESE_LINES.sub("", markdown)
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
    written = convert(unescape(latex).strip(), display="block" if display else "inline")
    if "\\" in written:
        raise PluginError(f"latex2mathml does not know a command of: {latex}")
    return NAMED.sub(r'<mo lspace="0.17em" rspace="0.17em">\1</mo>', written)
