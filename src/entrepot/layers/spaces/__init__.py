"""Spaces: workspaces of named variables whose values are stored, found, fetched and claimed."""

from __future__ import annotations

from entrepot.layers.spaces.client import Client, Listed
from entrepot.layers.spaces.space import Claim, Space, Values
from entrepot.layers.spaces.spaces import Spaces
from entrepot.layers.spaces.workspaces import SpaceInfo, VariableInfo

__all__ = ["Claim", "Client", "Listed", "Space", "SpaceInfo", "Spaces", "Values", "VariableInfo"]
