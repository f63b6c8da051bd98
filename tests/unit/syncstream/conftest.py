"""A depot for the objects of the face, which have to leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import entrepot


@pytest.fixture
def depot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[entrepot.Depot]:
    """The default depot of this test."""
    monkeypatch.setenv("ENTREPOT_DIR", str(tmp_path / "memory"))
    monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path / "data"))
    with entrepot.open(memory="64M") as depot:
        yield depot
        assert depot.check() == []
        depot.destroy()
