"""docs/vineyard.md: each name of the API document exists, and so does the test that shows it."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `([\w.]+)` \| `([\w/]+\.py)::(\w+)` \|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "docs" / "vineyard.md").read_text())
NAMES_MIN = 117


def test_the_table_has_all_its_rows() -> None:
    assert len(ROWS) >= NAMES_MIN
    assert len({name for name, _, _ in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("name", "file", "test"), ROWS, ids=[name for name, _, _ in ROWS])
def test_a_name_exists_and_is_shown_by_a_test(name: str, file: str, test: str) -> None:
    found: Any = importlib.import_module("entrepot.vineyard")
    for part in name.split("."):
        found = getattr(found, part)
    tree = ast.parse((ROOT / file).read_text())
    assert test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
