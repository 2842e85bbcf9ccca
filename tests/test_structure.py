"""How the project is put together: layers, imports, habits of the code and of its tests, documentation that runs."""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib
import importlib.metadata
import inspect
import io
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import registry

import xent

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src" / "xent"
TESTS = ROOT / "tests"

# Each layer imports only from layers before it, or from its own package.
LAYERS = (
    ("errors", "caching", "peak_memory", "_native"),
    ("options",),
    ("problem", "labels", "heads", "sparse"),
    ("formulas", "plan"),
    ("kernels",),
    ("losses", "sampling", "sharding"),
    ("frontends",),
    ("api", "samplers"),
    ("sampled_losses",),
    ("",),  # xent itself
    ("compat",),
    ("advisor",),
    ("cli", "demo", "bench", "__main__"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCES).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def modules() -> dict[str, Path]:
    return {module_name(path): path for path in SOURCES.rglob("*.py")}


def imports_of(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of the library that a module imports, anywhere in it, as names below `xent`."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    package = [part for part in package if part]
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = []  # is not imported
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "xent":
                    found.add(alias.name.partition(".")[2])
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1]
            elif (node.module or "").split(".")[0] == "xent":
                base = []
            else:
                continue
            rest = (node.module or "").split(".")
            target = base + [part for part in rest if part and not (part == "xent" and not node.level)]
            for alias in node.names:
                full = ".".join([*target, alias.name])
                found.add(full if full in known or alias.name == "_native" else ".".join(target))
    return found


def top(name: str) -> str:
    return name.split(".")[0]


def test_every_module_has_a_layer() -> None:
    unplaced = {top(name) for name in modules()} - set(RANK)
    assert not unplaced, f"give these modules a layer: {sorted(unplaced)}"
    assert {"api", "frontends", "kernels", "problem"} <= {top(name) for name in modules()}


def test_layers_import_only_what_is_below() -> None:
    known = modules()
    edges = {(name, other) for name, path in known.items() for other in imports_of(name, path, known)}
    assert ("api", "frontends") in edges
    assert ("kernels.native", "_native") in edges
    wrong = [
        f"{name or 'xent'} imports {other or 'xent'}"
        for name, other in sorted(edges)
        if top(name) != top(other) and RANK[top(other)] >= RANK[top(name)]
    ]
    assert wrong == []


def test_there_are_no_import_cycles() -> None:
    known = modules()
    graph = {name: imports_of(name, path, known) & set(known) for name, path in known.items()}
    # a package's own __init__ may gather its modules; those may not ask it for anything in return
    visiting, done = [], set()

    def visit(name: str) -> None:
        if name in done:
            return
        assert name not in visiting, " -> ".join([*visiting[visiting.index(name) :], name])
        visiting.append(name)
        for other in sorted(graph[name]):
            visit(other)
        visiting.pop()
        done.add(name)

    for name in sorted(graph):
        visit(name)
    assert done == set(known)


def test_frontends_do_not_know_each_others_framework() -> None:
    frameworks = {"torch", "jax", "tensorflow"}
    for path in SOURCES.rglob("*.py"):
        parts = path.relative_to(SOURCES).parts
        allowed = {parts[1].removesuffix(".py")} if parts[0] in ("frontends", "compat") else set()
        if parts[0] in ("bench", "demo", "cli"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            used = {n.split(".")[0] for n in names} & frameworks
            assert used <= allowed, f"{path.name} imports {used}"
    assert (SOURCES / "frontends" / "torch").exists() or (SOURCES / "frontends" / "torch.py").exists()


ARITHMETIC = {"exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "logaddexp", "tanh", "softplus", "pow", "sqrt"}


def test_frontends_contain_no_exp_and_no_log() -> None:
    """No mathematics: nothing there calls an elementary function. Naming one, for the reference, is no call."""
    called = []
    for path in (SOURCES / "frontends").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in ARITHMETIC:
                    called.append(f"{path.relative_to(SOURCES)}:{node.lineno} calls {name}")
    assert called == []


def test_kernels_know_no_options() -> None:
    files = [*(ROOT / "native").rglob("*.h"), *(ROOT / "native").rglob("*.cpp"), SOURCES / "kernels" / "native.py"]
    assert len(files) > 8
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "reduction" in line
    ]
    assert found == []


def test_native_code_knows_no_python_and_no_framework() -> None:
    words = re.compile(r"#include\s*[<\"](Python|nanobind|pybind|torch|ATen|numpy)")
    for path in [*(ROOT / "native").rglob("*.h"), *(ROOT / "native").rglob("*.cpp")]:
        assert not words.search(path.read_text()), path
    assert "nanobind" in (ROOT / "bindings" / "module.cpp").read_text()


def test_one_file_per_instruction_set() -> None:
    from xent import _native

    files = {path.stem for path in (ROOT / "native" / "isa").glob("*.cpp")}
    assert set(_native.instruction_sets()) <= files
    assert "portable" in _native.instruction_sets()
    assert not _native.use_instruction_set("no such set")
    best = _native.instruction_sets()[0]
    assert _native.use_instruction_set("")
    assert _native.instruction_set() == best


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = "('torch', 'jax', 'tensorflow', 'scipy', 'sklearn', 'matplotlib', 'rich', 'ml_dtypes', 'pandas')"


def test_import_xent_imports_no_framework() -> None:
    out = run(f"import json, sys, xent; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))")
    assert json.loads(out) == []


def test_a_framework_is_touched_only_if_the_array_came_from_it() -> None:
    out = run(
        "import json, sys, numpy as np, xent\n"
        "xent.value_and_grad(xent.softmax_cross_entropy)(np.zeros((2, 3)), np.array([0, 1]))\n"
        "xent.softmax([[1.0, 2.0]])\n"
        f"print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    )
    assert json.loads(out) == []


def test_import_xent_is_quick() -> None:
    """Less than half a second of the processor, NumPy included; the best of three, for other processes share it."""
    code = "import time; t = time.process_time(); import xent; print(time.process_time() - t)"
    assert min(float(run(code)) for _ in range(3)) < 0.5


def test_the_registry_is_complete() -> None:
    registered = [*registry.LOSSES, *registry.FUNCTIONS, *registry.ELSEWHERE, *registry.UTILITIES]
    assert len(registered) == len(set(registered))
    missing = set(xent.__all__) - set(registered)
    assert not missing, f"enter in tests/registry.py: {sorted(missing)}"
    assert set(registered) <= set(xent.__all__)
    for name, module in registry.ELSEWHERE.items():
        assert name in (TESTS / module).read_text(), f"{module} does not test {name}"


def test_all_is_all_there_is() -> None:
    public = {
        name for name, value in vars(xent).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    later = {name for name in xent._LATER if not isinstance(getattr(xent, name), ModuleType)}
    assert public | later == set(xent.__all__)
    assert list(xent.__all__) == sorted(xent.__all__)


def test_every_option_is_in_the_registry() -> None:
    """A new option of a loss comes with a case that uses it."""
    elsewhere = {"axis", "reduction", "return_stats", "validate", "normalizer", "ignore_index", "logits", "labels"}
    for name, loss in registry.LOSSES.items():
        used = {option for case in loss.cases for option in case.options}
        used |= {o for o in ("class_weight", "sample_weight") if any(getattr(case, o) for case in loss.cases)}
        options = set(inspect.signature(getattr(xent, name)).parameters) - elsewhere - loss.positional
        assert options <= used, f"{name}: {sorted(options - used)}"


# Documentation


def public_functions() -> list[str]:
    return [name for name in xent.__all__ if inspect.isfunction(getattr(xent, name))]


@pytest.mark.parametrize("name", public_functions())
def test_docstrings_of_functions(name: str) -> None:
    function = getattr(xent, name)
    text = inspect.getdoc(function)
    assert text
    parameters = inspect.signature(function).parameters
    assert text.splitlines()[0].endswith((".", ":")) or text.splitlines()[1] != ""
    for section in ("Example:", "Source:"):
        assert re.search(rf"^{section}", text, re.M), section
    assert ">>> " in text
    if parameters:
        for section in ("Args:", "Raises:"):
            assert re.search(rf"^{section}$", text, re.M), section
        if inspect.signature(function).return_annotation not in (None, "None"):
            assert re.search(r"^Returns:$", text, re.M)
        arguments = re.split(r"^(?:Returns|Raises):$", text.partition("Args:")[2], flags=re.M)[0]
        for parameter in parameters:
            assert re.search(rf"\b{parameter}\b", arguments), f"{parameter} is not explained"


@pytest.mark.parametrize("name", [n for n in xent.__all__ if inspect.isclass(getattr(xent, n))])
def test_docstrings_of_classes(name: str) -> None:
    kind = getattr(xent, name)
    text = inspect.getdoc(kind)
    assert text
    if "Returned" in text or name == "Stats":
        for fieldname in kind._fields:
            assert getattr(kind, fieldname).__doc__, fieldname
        return
    for section in ("Args:", "Raises", "Example:", "Source:"):
        assert re.search(rf"^{section}", text, re.M), section


def test_every_module_says_what_it_is() -> None:
    for path in [*SOURCES.rglob("*.py"), *TESTS.glob("*.py")]:
        assert ast.get_docstring(ast.parse(path.read_text())), path
    for path in (ROOT / "native").rglob("*.h"):
        assert path.read_text().startswith("//"), path


@pytest.mark.parametrize("name", ["xent", *sorted(m.name for m in pkgutil.walk_packages(xent.__path__, "xent."))])
def test_examples_in_docstrings(name: str) -> None:
    if name.endswith("__main__"):
        pytest.fail("importing this module would run it: keep the entry point in xent.cli")
    if ".kernels.triton." in name or ".device_" in name:
        pytest.skip("what imports Triton is tested in a process of its own")
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.failed == 0
    if name == "xent.api":
        assert result.attempted >= len(public_functions())


def code_blocks() -> list[tuple[str, str]]:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    blocks = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
    return [(page.relative_to(ROOT).as_posix(), "\n".join(blocks.findall(page.read_text()))) for page in pages]


@pytest.mark.parametrize(("page", "code"), code_blocks(), ids=lambda x: x if x.endswith(".md") else "")
def test_code_in_the_documentation_runs(page: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All Python blocks of a page, one after the other; `>>>` examples are compared with what they print."""
    monkeypatch.chdir(tmp_path)
    if ">>> " in code:
        examples = doctest.DocTestParser().get_doctest(code, {}, page, page, 0)
        runner = doctest.DocTestRunner()
        with contextlib.redirect_stdout(io.StringIO()) as out:
            runner.run(examples, out=out.write)
        assert runner.summarize(verbose=False).failed == 0, out.getvalue()
    else:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(code, page, "exec"), {"__name__": "__main__"})
    assert code or page != "README.md"


def test_links_in_the_documentation_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        text = page.read_text()
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
        for target in re.findall(r"`((?:src|tests|native|bindings|docs|benchmarks)/[\w./-]*)`", text):
            assert (ROOT / target).exists(), f"{page.name}: {target}"


def test_the_version_is_one() -> None:
    assert xent.__version__ == importlib.metadata.version("xent")
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert "## Unreleased" in changes or f"[{xent.__version__}]" in changes
    assert (SOURCES / "py.typed").exists()


# The tests themselves


def test_functions() -> list[tuple[Path, ast.FunctionDef]]:
    return [
        (path, node)
        for path in sorted(TESTS.glob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


test_functions.__test__ = False  # a helper, whatever its name


def asserts(node: ast.AST, helpers: set[str]) -> bool:
    for child in ast.walk(node):
        if isinstance(child, ast.Assert):
            return True
        if isinstance(child, ast.Call):
            text = ast.unparse(child.func)
            if (
                text in helpers
                or text.split(".")[-1] in helpers
                or text.startswith(("np.testing.", "torch.testing.", "torch.library.opcheck"))
            ):
                return True
            if text in ("pytest.raises", "pytest.warns", "pytest.fail"):
                return True
    return False


def test_every_test_asserts() -> None:
    definitions = [
        node
        for path in TESTS.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("test_")
    ]
    helpers: set[str] = set()
    while True:
        more = {node.name for node in definitions if asserts(node, helpers)} - helpers
        if not more:
            break
        helpers |= more
    found = test_functions()
    assert len(found) > 50
    idle = [f"{path.name}::{node.name}" for path, node in found if not asserts(node, helpers)]
    assert [name for name in idle if not name.endswith("::test_functions")] == []


def test_every_raises_has_a_match() -> None:
    count = 0
    for path in TESTS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("pytest.raises", "pytest.warns"):
                count += 1
                assert any(k.arg == "match" for k in node.keywords), f"{path.name}:{node.lineno}"
    assert count > 20


def test_no_test_is_skipped_without_a_reason() -> None:
    """A test that cannot run says why, in its mark; none is expected to fail."""
    for path in TESTS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.skipif":
                assert any(k.arg == "reason" for k in node.keywords), f"{path.name}:{node.lineno}"
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.skip":
                assert node.args, f"{path.name}:{node.lineno}"
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) not in ("pytest.mark." + "skip", "pytest.mark." + "xfail")
    assert (TESTS / "conftest.py").exists()


def test_the_linter_and_the_type_checker_pass() -> None:
    for command in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]):
        done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
