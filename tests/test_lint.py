"""`xent lint`: each rule on faults and on healthy neighbours; the command on files, notebooks and bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from xent.advisor.lint import SourceError, lint_source
from xent.advisor.lint.documents import PythonFile
from xent.advisor.lint.linting import mend
from xent.advisor.lint.notebooks import without_magics
from xent.advisor.lint.page import all_explanations
from xent.advisor.lint.rule import Rule
from xent.advisor.lint.rules import RULES
from xent.cli import main

ROOT = Path(__file__).resolve().parent.parent
TORCH = "import torch\nfrom torch import nn\nimport torch.nn.functional as F\n"
TWICE = "import torch.nn.functional as F\nloss = F.cross_entropy(F.softmax(z, dim=1), y)\n"


def found(code: str) -> list[str]:
    return [finding.finding.rule for finding in lint_source(code)]


def mended(code: str) -> str:
    document, _, _ = mend(PythonFile(code, "utf-8"), "code.py", RULES)
    return document.text


# Rules


def test_rules_are_numbered_in_order() -> None:
    assert [rule.number for rule in RULES] == [f"L{i:02}" for i in range(1, 19)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.number)
def test_the_example_of_a_rule(rule: Rule) -> None:
    assert found(rule.bad) == [rule.number]
    assert found(rule.good) == []
    assert mended(rule.bad) == (rule.good if rule.mends else rule.bad)


def test_the_page_has_the_rules_as_they_are() -> None:
    page = (ROOT / "docs" / "lint.md").read_text()
    assert page.partition("## Rules\n\n")[2] == all_explanations()


FAULTS = {
    "a variable": ("L01", TORCH + "p = F.softmax(z, dim=1)\nloss = F.cross_entropy(p, y)"),
    "the nearest assignment": ("L01", TORCH + "x = f(z)\nx = F.softmax(x, dim=1)\nloss = F.cross_entropy(x, y)"),
    "a method": ("L01", TORCH + "loss = F.cross_entropy(z.softmax(-1), y)"),
    "log_softmax": ("L01", TORCH + "loss = F.cross_entropy(torch.log_softmax(z, 1), y)"),
    "a sequence of modules": (
        "L01",
        TORCH + "m = nn.Sequential(nn.Linear(2, 3), nn.Softmax(dim=1))\nm = m.to(d)\n"
        "c = nn.CrossEntropyLoss()\nout = m(x)\nloss = c(out, y)",
    ),
    "attributes of self": (
        "L01",
        TORCH + "class A(nn.Module):\n"
        "    def __init__(self):\n        self.act = nn.Softmax(dim=1)\n        self.loss = nn.CrossEntropyLoss()\n"
        "    def step(self, z, y):\n        return self.loss(self.act(z), y)",
    ),
    "a module of the file": (
        "L01",
        TORCH + "class Net(nn.Module):\n    def forward(self, x):\n        return F.softmax(self.last(x), dim=1)\n"
        "net = Net().cuda()\nloss = F.cross_entropy(net(x), y)",
    ),
    "Keras from logits": (
        "L01",
        "from tensorflow import keras\nimport tensorflow as tf\n"
        "loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, tf.nn.softmax(z))",
    ),
    "Optax": ("L01", "import optax, jax\nloss = optax.softmax_cross_entropy(jax.nn.softmax(z), t)"),
    "xent": ("L01", "import xent\nloss = xent.softmax_cross_entropy(xent.softmax(z), y)"),
    "TensorFlow": (
        "L02",
        "import tensorflow as tf\ntf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=tf.sigmoid(z))",
    ),
    "BCELoss": ("L03", TORCH + "m = nn.Sequential(nn.Linear(2, 1), nn.Sigmoid())\nloss = nn.BCELoss()(m(x), y)"),
    "log with an epsilon": ("L04", TORCH + "p = F.softmax(z, -1)\nloss = -torch.log(p + 1e-8)[0]"),
    "the other logarithm": ("L05", TORCH + "a = torch.log(1 - torch.sigmoid(z))"),
    "an alias": ("L05", "from jax.numpy import log as ln\nfrom jax.nn import sigmoid as s\na = ln(s(z))"),
    "methods": ("L06", TORCH + "def f(y, p):\n    return -(y * p.log()).sum(1).mean()"),
    "a mean": ("L06", "import numpy as np\ndef f(y_true, p):\n    return -np.mean(y_true * np.log(p))"),
    "clamped softmax": ("L07", TORCH + "p = F.softmax(z, 1).clamp(min=1e-7)\nloss = p.log()"),
    "layers added": (
        "L08",
        "import keras\nm = keras.Sequential()\nm.add(keras.layers.Dense(9))\n"
        "m.add(keras.layers.Dense(2, activation='softmax'))\n"
        "m.compile('adam', keras.losses.CategoricalCrossentropy(from_logits=True))",
    ),
    "a functional model": (
        "L09",
        "from tensorflow.keras import layers, Model\nout = layers.Dense(10)(h)\nm = Model(x, out)\n"
        "m.compile(optimizer='adam', loss='sparse_categorical_crossentropy')",
    ),
    "reduce": ("L10", TORCH + "loss = F.mse_loss(a, b, reduce=False)"),
    "version 1": (
        "L12",
        "import tensorflow.compat.v1 as tf\ntf.nn.softmax_cross_entropy_with_logits(labels=y, logits=z)",
    ),
    "Keras flipped": ("L14", "import keras\nkeras.losses.categorical_crossentropy(y_pred, y_true)"),
    "one-hot for Optax": (
        "L15",
        "import optax, jax\nt = jax.nn.one_hot(y, 9)\nloss = optax.softmax_cross_entropy(z, t)",
    ),
    "KLDivLoss": ("L16", TORCH + "c = nn.KLDivLoss()"),
    "a weighted sum": (
        "L17",
        TORCH + "total = 0\nfor x in data:\n    loss = f(x)\n    loss.backward()\n    total += loss * len(x)",
    ),
    "a sum written out": (
        "L17",
        TORCH + "total = 0\nfor x in data:\n    loss = f(x)\n    loss.backward()\n    total = total + loss",
    ),
    "astype": ("L18", "import xent, jax.numpy as jnp\nxent.softmax_cross_entropy(z.astype(jnp.float32), y)"),
}
HEALTHY = {
    "another function of this name": "def softmax(x, dim): return x\nfrom torch.nn.functional import cross_entropy\n"
    "cross_entropy(softmax(z, 1), y)",
    "a softmax target": TORCH + "F.cross_entropy(z, F.softmax(teacher, dim=1))",
    "a softmax over the batch": TORCH + "F.cross_entropy(F.softmax(z, dim=0), y)",
    "a softmax over the batch by position": TORCH + "F.cross_entropy(F.softmax(z, 0), y)",
    "a softmax method over the batch": TORCH + "F.cross_entropy(z.softmax(0), y)",
    "a softmax module over the batch": TORCH + "F.cross_entropy(nn.Softmax(dim=0)(z), y)",
    "a sequence that ends over the batch": TORCH + "F.cross_entropy(nn.Sequential(nn.Softmax(0))(z), y)",
    "a softmax over an unknown axis": TORCH + "F.cross_entropy(F.softmax(z, d), y)",
    "a loss over another axis": "import optax, jax\noptax.softmax_cross_entropy(jax.nn.softmax(z, -1), t, axis=0)",
    "a global variable": TORCH + "def f():\n    global p\n    p = z\np = F.softmax(z, 1)\nf()\nF.cross_entropy(p, y)",
    "a variable of the function round it": TORCH + "def g():\n    def f():\n        nonlocal p\n        p = z\n"
    "    p = F.softmax(z, 1)\n    f()\n    F.cross_entropy(p, y)",
    "one branch of two": TORCH + "p = z\nif a:\n    p = F.softmax(z, 1)\nF.cross_entropy(p, y)",
    "assigned again later in a loop": TORCH
    + "p = F.softmax(z, 1)\nfor i in r:\n    F.cross_entropy(p, y)\n    p = g(p)",
    "changed in place": TORCH + "p = F.softmax(z, 1)\np.log_()\nF.cross_entropy(p, y)",
    "a sequence that grows": TORCH
    + "m = nn.Sequential(nn.Softmax(1))\nm.append(nn.Linear(2, 2))\nF.cross_entropy(m(x), y)",
    "one return of two": TORCH + "class N(nn.Module):\n    def forward(self, x):\n        if a: return x\n"
    "        return F.softmax(x, 1)\nF.cross_entropy(N()(x), y)",
    "Keras from probabilities": "import keras\nkeras.losses.CategoricalCrossentropy()(y, keras.ops.softmax(z))",
    "a matching model": "import keras\nm = keras.Sequential([keras.layers.Dense(2, activation='softmax')])\n"
    "m.compile(loss='categorical_crossentropy')",
    "an unknown activation": "import keras\nm = keras.Sequential([keras.layers.Dense(2, activation=a)])\n"
    "m.compile(loss='categorical_crossentropy')",
    "an entropy": "import numpy as np\nh = -np.sum(p * np.log(p))",
    "a mean of returns": TORCH + "def f(returns, p):\n    return -(returns * torch.log(p)).mean()",
    "protected by an epsilon": "import numpy as np\ndef f(y, p):\n    return -np.sum(y * np.log(p + 1e-9))",
    "protected before": "import numpy as np\ndef f(y, p):\n    p = np.maximum(p, e)\n    return -np.sum(y*np.log(p))",
    "a clipped spectrum": TORCH + "mel = torch.log(torch.clamp(spectrum, min=1e-5))",
    "log odds": TORCH + "def f(p):\n    p = p.clamp(1e-6, 1 - 1e-6)\n    return p.log() - (1 - p).log()",
    "an argument passed on": TORCH + "def f(a, b, reduce=None):\n    return F.mse_loss(a, b, reduce=reduce)",
    "one-hot used twice": TORCH + "t = F.one_hot(y, 9).float()\nF.cross_entropy(z, t)\nprint(t)",
    "one-hot with weights": TORCH + "F.cross_entropy(z, F.one_hot(y, 9).float(), weight=w)",
    "one-hot with weights by position": TORCH + "F.cross_entropy(z, F.one_hot(y, 9).float(), w)",
    "one-hot with weights in the loss": TORCH + "nn.CrossEntropyLoss(w)(z, F.one_hot(y, 9).float())",
    "a total that is differentiated": TORCH
    + "total = 0\nfor x in d:\n    loss = f(x)\n    loss.backward()\n    total += loss\n"
    "total.backward()",
    "another sum written out": TORCH
    + "total = 0\nfor x in d:\n    loss = f(x)\n    loss.backward()\n    total = other + loss",
    "a sum of numbers written out": TORCH
    + "total = 0\nfor x in d:\n    loss = f(x)\n    loss.backward()\n    total = total + loss.item()",
    "the default written out": TORCH + "F.mse_loss(a, b, size_average=None)",
    "another package": "import numpy as np\ndef f(tracker):\n    tracker.reduce(size_average=False)",
    "PyTorch's own loss of a cast": TORCH + "F.cross_entropy(z.float(), y)",
    **{
        f"a cast of {logits}": TORCH + f"import xent\nxent.softmax_cross_entropy(({logits}).float(), y)"
        for logits in ("a == b", "a & b", "~a", "not a", "z.long()", "z.bool()", "z.to(torch.long)", "z.argmax(-1)")
    },
    **{
        f"a cast of {logits}": TORCH + f"import xent\nxent.softmax_cross_entropy({logits}.float(), y)"
        for logits in ("F.one_hot(z, 9)", "torch.eq(a, b)", "a.eq(b)[0]", "z.type(torch.int32)")
    },
    "a cast of a mask": TORCH + "import xent\nm = a > b\nxent.softmax_cross_entropy(m.float(), y)",
    "unpacked arguments": TORCH + "F.cross_entropy(*[F.softmax(z, 1), y])",
    "a star import": "from torch.nn.functional import *\ncross_entropy(softmax(z, 1), y)",
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault(name: str) -> None:
    rule, code = FAULTS[name]
    assert found(code) == [rule]


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_neighbour(name: str) -> None:
    assert found(HEALTHY[name]) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("F.cross_entropy(F.softmax(a + b, 1).view(-1, 3), y)", "F.cross_entropy((a + b).view(-1, 3), y)"),
        ("F.cross_entropy(F.softmax(\n    z, 1), y)  # why", "F.cross_entropy(z, y)  # why"),
        ("F.cross_entropy(F.softmax(z, 1, dtype=torch.float32), y)", None),
        ("F.cross_entropy(F.softmax(  # here\n    z, 1), y)", None),
        ("nn.BCELoss()(torch.sigmoid(z), y)", "nn.BCEWithLogitsLoss()(z, y)"),
        ("torch.log(torch.sigmoid(z))", "torch.nn.functional.logsigmoid(z)"),
        ("torch.log(F.softmax(z, -1) + 1e-9)", None),
        ("nn.MSELoss(reduce=True, size_average=False)", 'nn.MSELoss(reduction="sum")'),
        ("nn.MSELoss(size_average=flag)", None),
        ("torch.log(F.softmax(z, -1), out=o)", None),
        ("torch.log(torch.sigmoid(z), out=o)", None),
        ("z.softmax(-1).log()", "z.log_softmax(-1)"),
        ("F.sigmoid(z).log()", "F.logsigmoid(z)"),
        ("z.sigmoid().log()", None),
    ],
)
def test_a_fix(before: str, after: str | None) -> None:
    assert found(TORCH + before)
    assert mended(TORCH + before) == TORCH + (before if after is None else after)


@pytest.mark.parametrize("logits", ["z", "net(x)", "out.logits", "out['logits']"])
def test_a_cast_of_logits_of_unknown_type_is_found_and_not_mended(logits: str) -> None:
    code = f"import xent\nxent.softmax_cross_entropy({logits}.float(), y)\n"
    assert found(code) == ["L18"]
    assert mended(code) == code


@pytest.mark.parametrize("logits", ["z.half()", "z.to(torch.bfloat16)", "nn.Linear(2, 3)(x)", "torch.randn(2, 3)"])
def test_a_cast_of_floating_logits_is_mended(logits: str) -> None:
    code = TORCH + f"import xent\nxent.softmax_cross_entropy({logits}.float(), y)\n"
    assert mended(code) == code.replace(".float()", "")


@pytest.mark.parametrize(
    ("between", "is_mended"),
    [
        ("", True),
        ("hits = (p.argmax(1) == y).sum()", True),
        ("print(logits.shape, torch.max(p))", True),
        ("del logits", False),
        ("if y.any():\n        del logits", False),
        ("update_(p)", False),
        ("update(logits)", False),
        ("q = p", False),
        ("logits.data.zero_()", False),
        ("for i in y:\n      pass", True),
    ],
)
def test_logits_replace_a_variable_only_where_they_are_still_the_same(between: str, is_mended: bool) -> None:
    code = (
        TORCH + f"def f(logits, y):\n    p = F.softmax(logits, -1)\n    {between}\n    return F.cross_entropy(p, y)\n"
    )
    assert found(code) == ["L01"]
    expected = code.replace("cross_entropy(p", "cross_entropy(logits") if is_mended else code
    assert mended(code) == expected


@pytest.mark.parametrize(
    "body",
    [
        "p = F.softmax(logits, -1)\n    for i in y:\n        F.cross_entropy(p, i)\n        update(logits)",
        "p = F.softmax(logits, -1)\n    return lambda: F.cross_entropy(p, y)",
        "if y is None: p = F.softmax(logits, -1)\n    return F.cross_entropy(p, y)",
    ],
)
def test_logits_replace_no_variable_that_may_be_computed_at_another_time(body: str) -> None:
    code = TORCH + f"def f(logits, y):\n    {body}\n"
    assert found(code) == ["L01"]
    assert mended(code) == code


def test_noqa() -> None:
    for comment, rules in (("# noqa", []), ("# noqa: L01", []), ("#NOQA:E501,l01", []), ("# noqa: E501", ["L01"])):
        assert found(TWICE.rstrip() + f"  {comment}\n") == rules


def test_noqa_in_a_string_is_no_comment() -> None:
    assert found(TORCH + 'print("# noqa", F.cross_entropy(F.softmax(z, 1), y))') == ["L01"]
    assert mended(TORCH + 'F.cross_entropy(F.softmax(z["#"\n], 1), y)') == TORCH + 'F.cross_entropy(z["#"\n], y)'


# Files


def lint(*arguments: str | Path) -> int:
    return main(["lint", *map(str, arguments)])


def test_files_and_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.py", "deep/b.py", ".hidden/c.py", "venv/d.py", "__pycache__/e.py", "f.txt", "left_out.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(TWICE)
    assert lint(tmp_path, "--exclude", "left*") == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{tmp_path}/a.py:2:24", f"{tmp_path}/deep/b.py:2:24"]
    assert lint(tmp_path, "--ignore", "L01") == 0
    assert lint(tmp_path / "a.py", "--select", "L02,L03") == 0


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.py"
    path.write_text(TWICE)
    assert lint(path, "--json") == 1
    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["path"] == str(path)
    assert (finding["cell"], finding["line"], finding["column"]) == (None, 2, 24)
    assert (finding["rule"], finding["severity"], finding["mends"]) == ("L01", "error", True)


def test_fix_keeps_encoding_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    code = "# -*- coding: latin-1 -*-\n" + TWICE + "name = 'é'\n"
    path.write_bytes(code.replace("\n", "\r\n").encode("latin-1"))
    assert lint(path, "--fix") == 0
    expected = code.replace("F.softmax(z, dim=1)", "z").replace("\n", "\r\n")
    assert path.read_bytes() == expected.encode("latin-1")
    assert list(tmp_path.iterdir()) == [path]


def test_many_files_over_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(10):
        (tmp_path / f"{i}.py").write_text(TWICE if i % 2 else "")
    assert lint(tmp_path, "--jobs", "2") == 1
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_one_bad_file_among_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.py").write_text(TWICE)
    (tmp_path / "b.py").write_text("def f(:\n")
    assert lint(tmp_path) == 2
    out, err = capsys.readouterr()
    assert "a.py:2:24: L01" in out
    assert f"xent lint: {tmp_path}/b.py:1:7: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "data",
    [
        b"x = 1\0",
        b"\xff\xfe\xfa",
        b"# coding: nothing\n",
        b"x = " + b"(" * 500,
        b"x = " + b"-" * 50_000 + b"1",
        b"x" + b".a" * 50_000,
    ],
    ids=["null", "not UTF-8", "no such encoding", "parentheses", "minus", "attributes"],
)
def test_files_that_cannot_be_read(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(data)
    assert lint(path) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert errors[0].startswith(f"xent lint: {path}:")


def test_deep_code_with_a_loss_is_read_or_refused() -> None:
    with pytest.raises(SourceError, match="too deep"):
        lint_source(TWICE + "x = " + "a + " * 2000 + "a\n")


def test_an_empty_file_and_one_with_a_mark(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"")
    (tmp_path / "b.py").write_bytes(b"\xef\xbb\xbf" + TWICE.encode())
    assert lint(tmp_path / "a.py") == 0
    assert lint(tmp_path / "b.py", "--fix") == 0
    assert (tmp_path / "b.py").read_bytes().startswith(b"\xef\xbb\xbfimport")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected a file or a folder"),
        (("nowhere.py",), "nowhere.py does not exist"),
        (("/dev/null",), "neither a file nor a folder"),
        (("a.py", "--select", "L99"), "expected rules from L01 to L18, got L99"),
        (("a.py", "--jobs", "0"), "expected an integer"),
        (("--explain", "X01"), "expected rules from L01 to L18, got X01"),
    ],
)
def test_bad_arguments(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text(TWICE)
    assert lint(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert lint("--explain", "l03") == 0
    assert capsys.readouterr().out.startswith("### L03: ")


# Notebooks


def notebook(*sources: str, language: str = "python") -> str:
    cells = [{"cell_type": "markdown", "metadata": {}, "source": ["# Title"]}]
    cells += [
        {
            "cell_type": "code",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "source": s.splitlines(keepends=True),
        }
        for s in sources
    ]
    content = {"cells": cells, "metadata": {"language_info": {"name": language}}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def test_a_notebook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.ipynb"
    magics = "%matplotlib inline\nimport torch.nn.functional as F\n!pip install \\\n  xent\nfiles = !ls"
    bad = "%%time\nloss = F.cross_entropy(\n    F.softmax(z, dim=1), y)  # é"
    path.write_text(notebook(magics, "%%bash\nls | wc", bad))
    assert lint(path) == 1
    assert capsys.readouterr().out.startswith(f"{path}:cell 4:3:5: L01 ")
    assert lint(path, "--fix") == 0
    assert path.read_text() == notebook(magics, "%%bash\nls | wc", bad.replace("F.softmax(z, dim=1)", "z"))


@pytest.mark.parametrize(
    "source",
    [
        r'"source":["%s\n","x = \"\u00e9\""]',
        r'"source" : "%s\nx = 1"',
        r'"source": [ "%s" ]',
        r'"source": [ "x\r\n", "%s\r\n" ]',
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_fix_changes_nothing_of_a_notebook_but_the_code(source: str, mark: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    around = (
        mark + r'{"cells":[{"cell_type":"markdown","source":["a, [b"]},' + "\r\n\t"
        r'{"cell_type":"code","outputs":[{"source":["\u00e9\"]"],"cells":[{"source":"x"}],"n":[1.50,-1E5]}],'
    )
    ending = ' },{"cell_type":"code","source":[]}],"nbformat":4 ,"metadata":{}}'
    line = json.dumps(TWICE.strip().replace("\n", ";"))[1:-1]
    path.write_bytes((around + source % line + ending).encode())
    assert lint(path, "--fix") == 0
    mended_line = line.replace("F.softmax(z, dim=1)", "z")
    assert path.read_bytes() == (around + source % mended_line + ending).encode()


def test_fix_in_a_notebook_of_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    code = "import torch.nn.functional as F\n# \\u00e9\nloss = F.cross_entropy(\n    F.softmax(\n    z, 1), y)\nloss"
    path.write_text(notebook(code))
    assert lint(path, "--fix") == 0
    assert path.read_text() == notebook(code.replace("F.softmax(\n    z, 1)", "z"))


def test_a_notebook_with_a_cell_that_does_not_parse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text(notebook("x = (", TWICE))
    assert lint(path) == 2
    out, err = capsys.readouterr()
    assert "cell 3:2:24: L01" in out
    assert f"{path}:cell 2:1:5: " in err


def test_notebooks_of_other_languages_hold_no_python(tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_text(notebook("x <- 1", language="R"))
    assert lint(tmp_path) == 0


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"worksheets": []}', b"\xff"])
def test_files_that_are_no_notebooks(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.ipynb").write_bytes(data)
    assert lint(tmp_path) == 2
    assert "a.ipynb:not a notebook" in capsys.readouterr().err.replace(": ", ":")


def test_magics_and_percent_signs() -> None:
    assert without_magics("x = ('%d'\n  % 3)") == "x = ('%d'\n  % 3)"
    assert without_magics("if a:\n    !ls\nlen?") == "if a:\n    pass\npass"


# The command as a process


def test_output_that_nobody_reads_to_the_end(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(TWICE)
    code = "import sys; from xent.cli import main; sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", code, "lint", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert "Traceback" not in errors
    assert "Exception" not in errors
