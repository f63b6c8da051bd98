"""A gateway for programs that speak the web API of v3io: containers, tables and streams."""

from __future__ import annotations

from entrepot.gateways.http.server import HttpGateway

__all__ = ["HttpGateway"]
