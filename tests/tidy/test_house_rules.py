"""The house rules that no linter knows. Each message names the replacement."""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import entrepot.errors
from entrepot.engine import failpoints

ROOT = Path(__file__).parents[2]
PACKAGE = Path(entrepot.errors.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
OTHERS = sorted(
    path for folder in ("benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")
)

SHAPELESS = {"base", "common", "helpers", "misc", "util", "utils"}
LOGGING = {"critical", "debug", "error", "exception", "info", "log", "warn", "warning"}
IGNORE = re.compile(r"#\s*(noqa|type:\s*ignore|pyright:\s*ignore)(.*)", re.IGNORECASE)
IGNORE_WITH_REASON = re.compile(r"(:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*|\[[\w,\s-]+\])\s+\S.*")


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE.parent if path.is_relative_to(PACKAGE) else ROOT))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


each_source = pytest.mark.parametrize("path", SOURCES, ids=name_of)
each_file = pytest.mark.parametrize("path", [*SOURCES, *TESTS, *OTHERS], ids=name_of)
each_test_file = pytest.mark.parametrize("path", TESTS, ids=name_of)


@each_file
def test_every_file_is_named_by_its_one_concept(path: Path) -> None:
    if {"vineyard", "nws", "v3io", "syncstream", "proxystore"} & set(path.parts):
        return  # whose modules have these names
    for part in (path.stem, path.parent.name):
        assert part not in SHAPELESS, f"{part} says nothing: name the concept, and give it a room"


@each_source
def test_a_module_lists_what_it_offers_and_offers_what_it_lists(path: Path) -> None:
    if path.name == "__main__.py" or not tree_of(path).body[1:]:  # nothing but a docstring
        return
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    try:
        module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("entrepot"):
            raise
        pytest.skip(f"{error.name} is not installed")
    assert hasattr(module, "__all__"), "say what the module offers in __all__"
    listed = module.__all__
    assert len(listed) == len(set(listed)), "__all__ has a name twice: remove one"
    missing = [name for name in listed if not hasattr(module, name)]
    assert not missing, f"__all__ lists {missing}: define them or drop them"
    private = [name for name in listed if name.startswith("_") and not name.endswith("__")]
    assert not private, f"__all__ lists {private}: rename them or drop them"


@each_file
def test_a_blind_except_raises_again_or_logs_why(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler) and is_blind(node):
            if "noqa: BLE001" in lines[node.lineno - 1]:
                continue  # its reason is demanded below
            assert any(raises_or_logs(inner) for inner in ast.walk(node)), (
                f"line {node.lineno}: catch what you expect, or raise again, or log why not"
            )


def is_blind(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(
        name is None or (isinstance(name, ast.Name) and name.id in {"Exception", "BaseException"})
        for name in names
    )


def raises_or_logs(node: ast.AST) -> bool:
    return isinstance(node, ast.Raise) or (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {*LOGGING, "set_exception"}
    )


@each_test_file
def test_no_test_sleeps(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute) and node.attr == "sleep":
            assert not (isinstance(node.value, ast.Name) and node.value.id == "time"), (
                f"line {node.lineno}: wait for a condition (an event, a bell, a file), not a time"
            )
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            assert "sleep" not in {name.name for name in node.names}, (
                f"line {node.lineno}: wait for a condition (an event, a bell, a file), not a time"
            )


@each_test_file
def test_the_name_of_a_test_is_a_sentence_that_can_be_false(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[:5] == "test_":
            assert len(node.name.split("_")) >= 4, (
                f"line {node.lineno}: {node.name} names a topic; say what is true when it passes"
            )


@each_file
def test_every_ignore_names_its_rule_and_its_reason(path: Path) -> None:
    for line, comment in comments(path):
        for kind, rest in IGNORE.findall(comment):
            assert IGNORE_WITH_REASON.match(rest.strip() if rest[:1] == " " else rest), (
                f"line {line}: after `{kind}` write the rule, a space and the reason"
            )


def comments(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


@each_source
def test_every_failpoint_that_is_hit_is_known(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) == "failpoints.hit"
            and isinstance(node.args[0], ast.Constant)
        ):
            assert node.args[0].value in failpoints.KNOWN, (
                f"line {node.lineno}: add {node.args[0].value!r} to failpoints.KNOWN"
            )


@each_source
def test_a_warning_that_is_raised_says_where_it_comes_from(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
            given = {keyword.arg for keyword in node.keywords}
            assert given & {"stacklevel", "source"}, (
                f"line {node.lineno}: give stacklevel= or source=, or the user sees our line"
            )


def test_every_recipe_of_the_makefile_is_one_line() -> None:
    lines = (ROOT / "Makefile").read_text("utf-8").splitlines()
    for before, line in itertools.pairwise(lines):
        if before.startswith("\t") and line.startswith("\t") and not before.endswith("\\"):
            assert "&& break" in line, f"{line.strip()}: join it with && to the line before"
