"""The LMDB engine, in memory and on disk: the conformance suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.engine.lmdb import LmdbEngine
from entrepot.engine.protocol import Engine
from entrepot.testing import EngineSuite
from support.engines import die_holding, fresh_lmdb


class TestVolatileLmdbEngine(EngineSuite):
    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        with fresh_lmdb(volatile=True) as engine:
            yield engine

    def die_holding(self, engine: Engine, kind: str, count: int) -> int:
        assert isinstance(engine, LmdbEngine)
        return die_holding(engine, kind, count)


class TestDurableLmdbEngine(EngineSuite):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[Engine]:
        with fresh_lmdb(volatile=False, directory=tmp_path / "durable") as engine:
            yield engine

    def die_holding(self, engine: Engine, kind: str, count: int) -> int:
        assert isinstance(engine, LmdbEngine)
        return die_holding(engine, kind, count)
