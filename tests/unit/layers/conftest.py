"""Fixtures of these tests: a tier of each kind, and the layers on it."""

from __future__ import annotations

import pytest

from entrepot.layers.objects import Objects
from entrepot.layers.spaces import Space
from support.tiers import Rig, rig, tier

__all__ = ["rig", "tier"]


@pytest.fixture
def objects(rig: Rig) -> Objects:
    """Return the objects of the tier."""
    return rig.objects


@pytest.fixture
def space(rig: Rig) -> Space:
    """Return a workspace in the tier."""
    return rig.space()
