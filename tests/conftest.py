"""What all tests share: hypothesis profiles and printed seeds."""

from __future__ import annotations

import gc
import os
import random
import sys
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, Phase, settings

pytest.register_assert_rewrite("entrepot.testing.engine_suite")

# No deadlines: on a shared machine they fail tests that are right. Each failure prints the
# blob that replays it.
_SHARED = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
# To shrink what a machine found may outlast a test's bound, and then nothing of it is told.
_BOUNDED = {**_SHARED, "phases": (Phase.explicit, Phase.reuse, Phase.generate)}
settings.register_profile("quick", max_examples=30, stateful_step_count=25, **_BOUNDED)
settings.register_profile("ci", max_examples=100, stateful_step_count=50, **_BOUNDED)
settings.register_profile("long", max_examples=3000, stateful_step_count=100, **_SHARED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "quick"))


_modules_passed_over = 0


def pytest_collection_finish() -> None:
    """Let the collector pass over the tests and all that their modules brought."""
    _pass_over()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None]:
    """Let it pass over what a test imported, too: pandas, for instance."""
    yield
    if len(sys.modules) != _modules_passed_over:
        _pass_over()


def _pass_over() -> None:
    """Let the collector pass over what lives now.

    Nearly every test collects garbage before it looks for leaks. A quarter of a second went
    by each time, for a walk over what lives to the end anyway.
    """
    global _modules_passed_over
    gc.collect()
    gc.freeze()
    _modules_passed_over = len(sys.modules)


SEED_VARIABLE = "ENTREPOT_TEST_SEED"


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio, the only loop that entrepot knows."""
    return "asyncio"


@pytest.fixture
def chance() -> random.Random:
    """Return a source of randomness whose seed is printed, and shown when the test fails."""
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(1 << 32))
    print(f"{SEED_VARIABLE}={seed} repeats this", file=sys.stderr)
    return random.Random(seed)
