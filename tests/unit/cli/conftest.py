"""A private home for every test, and commands run in it as a person would."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from entrepot.cli.application import application


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed."""

    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Said]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Depots and durable data live under this directory, also for child processes."""
    monkeypatch.setenv("ENTREPOT_DIR", str(tmp_path / "memory"))
    monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ENTREPOT_MEMORY", "256M")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("ENTREPOT_DEPOT", raising=False)
    return tmp_path


@pytest.fixture
def run(home: Path) -> Run:
    """Run a command and check its exit status; a crash is raised as it is."""

    def run(*arguments: object, status: int = 0, given: bytes | None = None) -> Said:
        words = [str(argument) for argument in arguments]
        result = CliRunner().invoke(application(words), words, input=given)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return Said(result.stdout, result.stderr)

    return run
