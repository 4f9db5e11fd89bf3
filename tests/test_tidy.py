"""What of the house's style a machine can check, so that nobody has to remember it."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("specs", "planner", "executor")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
BANNED_NAMES = {"utils", "util", "common", "helper", "helpers", "manager", "misc"}

# Who may not import whom: see the design of the layers in README.md.
FORBIDDEN_IMPORTS = {
    "specs": {"planner", "executor", "ortools", "z3", "networkx", "torch", "transformers", "numpy", "typer", "rich"},
    "planner": {"executor", "torch", "transformers", "pyverbs"},
    "executor": {"planner", "ortools", "z3", "networkx"},
}
# The pure core may not reach for the world.
PURE = ("executor/machine.py", "executor/messages.py", "specs/protocols")
IMPURE = {"torch", "socket", "time", "asyncio", "threading", "random", "os", "pyverbs"}


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def everything() -> list[Path]:
    extra = [path for folder in ("tests", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    return sorted([*sources(), *extra])


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported_roots(tree: ast.AST) -> set[str]:
    roots = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            roots.add(node.module.split(".")[0])
    return roots


def length_without_docstring(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    length = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        length -= (first.end_lineno or first.lineno) - first.lineno + 1
    return length


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_imports_point_the_right_way(path):
    roots = imported_roots(ast.parse(path.read_text()))
    package = path.relative_to(ROOT).parts[0]
    allowed = {"z3"} if name_of(path).startswith("specs/proofs/") else set()
    assert not roots & FORBIDDEN_IMPORTS[package] - allowed
    if name_of(path).startswith(PURE):
        assert not roots & IMPURE
    if name_of(path) != "executor/transport/rdma/verbs.py":
        assert "pyverbs" not in roots


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert text.count("\n") <= FILE_LINES_MAX
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert length_without_docstring(node) <= FUNCTION_LINES_MAX, node.name


def test_no_file_has_a_name_that_says_nothing():
    assert not {path.stem for path in everything()} & BANNED_NAMES


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_the_environment_is_read_in_main_only(path):
    text = path.read_text()
    if path.name != "__main__.py":
        assert not re.search(r"os\.environ|getenv", text)
    assert not re.search(r"import pickle|pickle\.load|\beval\(|\bexec\(|except:|except BaseException: *pass", text)


@pytest.mark.parametrize("path", everything(), ids=name_of)
def test_nothing_is_left_for_later(path):
    text = path.read_text()
    markers = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]
    assert not [marker for marker in markers if re.search(rf"\b{marker}\b", text)]
    assert not re.search(r"/(home|root|work)/", text), "a path of one machine"


def test_importing_the_packages_changes_nothing():
    program = (
        "import logging, sys, threading; before = threading.active_count();"
        "import specs.checker, planner, executor.machine;"
        "assert not logging.getLogger().handlers and threading.active_count() == before;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=["ruff", "format", "mypy"]
)
def test_linters_are_content(command):
    result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
