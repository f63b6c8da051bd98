"""Processes that speak the protocols of other systems, on the layers of a depot."""
