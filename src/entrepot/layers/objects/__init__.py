"""Objects: immutable values by id, and trees of them."""

from __future__ import annotations

from entrepot.layers.objects.assembly import Assembly, Leaf, Node
from entrepot.layers.objects.core import OBJECT
from entrepot.layers.objects.info import ObjectId, ObjectInfo, Usage
from entrepot.layers.objects.objects import Objects

__all__ = [
    "OBJECT",
    "Assembly",
    "Leaf",
    "Node",
    "ObjectId",
    "ObjectInfo",
    "Objects",
    "Usage",
]
