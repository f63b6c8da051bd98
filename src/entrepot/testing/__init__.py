"""For whoever writes an engine: the suite that it must pass, and strategies for its input.

Needs pytest and hypothesis, which entrepot itself does not. A new engine is tested by::

    class TestMyEngine(EngineSuite):
        @pytest.fixture
        def engine(self) -> Iterator[Engine]: ...

        def die_holding(self, engine: Engine, kind: str, count: int) -> int: ...
"""

from __future__ import annotations

import pytest

# Before the import: a suite outside of the tests' own files explains its failures only so.
pytest.register_assert_rewrite("entrepot.testing.engine_suite")

from entrepot.testing import strategies  # noqa: E402 the line above must come first
from entrepot.testing.engine_suite import EngineSuite  # noqa: E402 the same

__all__ = ["EngineSuite", "strategies"]
