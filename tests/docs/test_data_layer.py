"""The programs of the guides to the data layer run, in their order, in one depot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import entrepot
from entrepot.v3io.dataplane import Client

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Give a home of its own to the depots that the programs open."""
    monkeypatch.setenv("ENTREPOT_DIR", str(tmp_path / "memory"))
    monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ENTREPOT_MEMORY", "64M")
    for variable in ("V3IO_API", "V3IO_ACCESS_KEY", "ENTREPOT_DEPOT"):
        monkeypatch.delenv(variable, raising=False)
    return {}


def run_blocks(guide: str, names: dict[str, Any]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / guide).read_text("utf-8"), re.DOTALL)
    assert blocks, f"{guide} has no programs"
    for block in blocks:
        exec(block, names)


def test_the_guide_to_tables_does_what_it_says(names: dict[str, Any]) -> None:
    run_blocks("tables.md", names)
    assert names["people"].get("ann", ["age", "seen"]) == {"age": 43, "seen": True}
    assert names["people"].get("bob") == {"age": 16, "checked": True}
    assert names["youngest"] == ["guest.00", "guest.01", "guest.02"]
    assert names["files"].get("reports/today.txt", offset=5, count=4) == b"text"
    assert names["names"] == ["reports/today.txt"]
    names["depot"].close()


def test_the_guide_to_spaces_does_what_it_says(
    names: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run_blocks("spaces.md", {**names, "__name__": "guide"})
    assert capsys.readouterr().out == "{'rows': (0, 1000)}\n"
    with entrepot.open() as depot:
        assert depot.space("jobs").claims() == []


def test_the_guide_to_v3io_does_what_it_says(names: dict[str, Any]) -> None:
    run_blocks("v3io.md", names)
    assert [response.status_code for response in names["responses"]] == [200] * 64
    with Client() as client, entrepot.open("lab") as lab:
        assert client.kv.get("users", "people", "ann").output.item == {"age": 42}
        assert lab.table("users/people").count() == 64
