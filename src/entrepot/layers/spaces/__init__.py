"""Spaces: workspaces of named variables whose values are stored, found, fetched and claimed."""

from __future__ import annotations

from entrepot.layers.spaces.claim import Claim
from entrepot.layers.spaces.client import Client, Listed
from entrepot.layers.spaces.iterator import Values
from entrepot.layers.spaces.producer import Producer
from entrepot.layers.spaces.space import Space
from entrepot.layers.spaces.spaces import Spaces
from entrepot.layers.spaces.workspaces import (
    ClaimInfo,
    SpaceInfo,
    ValueInfo,
    VariableInfo,
    WaiterInfo,
)

__all__ = [
    "Claim",
    "ClaimInfo",
    "Client",
    "Listed",
    "Producer",
    "Space",
    "SpaceInfo",
    "Spaces",
    "ValueInfo",
    "Values",
    "VariableInfo",
    "WaiterInfo",
]
