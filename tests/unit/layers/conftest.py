"""Fixtures of these tests: a tier of each kind, and the layers on it."""

from __future__ import annotations

import pytest

from entrepot.layers.containers import Container
from entrepot.layers.entries import split
from entrepot.layers.objects import Objects
from entrepot.layers.spaces import Space
from entrepot.layers.streams import Stream
from entrepot.layers.tables import Table
from entrepot.layers.tier import Tier
from support.data import data_tier
from support.tiers import Rig, rig, tier

__all__ = ["data_tier", "rig", "tier"]


@pytest.fixture
def objects(rig: Rig) -> Objects:
    """Return the objects of the tier."""
    return rig.objects


@pytest.fixture
def space(rig: Rig) -> Space:
    """Return a workspace in the tier."""
    return rig.space()


@pytest.fixture
def table(data_tier: Tier) -> Table:
    """Return a table that is not there yet."""
    return Table(data_tier, "users", "people")


@pytest.fixture
def stream(data_tier: Tier) -> Stream:
    """Return a stream of three shards."""
    stream = Stream(data_tier, "users", split("logs/clicks"))
    stream.create(3)
    return stream


@pytest.fixture
def container(data_tier: Tier) -> Container:
    """Return a container that is not there yet."""
    return Container(data_tier, "users")
