"""Tables: items with typed attributes, by key, in a directory of a container."""

from entrepot.layers.tables.scan import Page, Range
from entrepot.layers.tables.table import Table, TableBatch

__all__ = ["Page", "Range", "Table", "TableBatch"]
