"""Fixtures for the tests of programs that use entrepot.

pytest finds them by itself where entrepot is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import entrepot

__all__ = ["entrepot_depot", "vineyard_client"]


@pytest.fixture
def entrepot_depot() -> Iterator[entrepot.Depot]:
    """Yield a depot of the test's own, gone when the test ends.

    While it runs, other processes open it by its `name`.
    """
    import entrepot

    with entrepot.temporary(memory="256M") as depot:
        yield depot


@pytest.fixture
def vineyard_client(entrepot_depot: entrepot.Depot, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a client of vineyard's API on a depot of the test's own.

    `vineyard.connect()`, here and in processes that the test starts, goes there too.
    """
    import entrepot.vineyard

    socket = f"depot:{entrepot_depot.name}"
    monkeypatch.setenv("VINEYARD_IPC_SOCKET", socket)
    return entrepot.vineyard.connect(socket)
