"""Containers: objects of any size by path, in directories."""

from entrepot.layers.containers.container import Container, Data, ObjectReader, sweep
from entrepot.layers.containers.core import Info, delete_container

__all__ = ["Container", "Data", "Info", "ObjectReader", "delete_container", "sweep"]
