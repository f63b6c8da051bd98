"""NetWorkSpaces' protocol, spoken to original clients."""

from __future__ import annotations

from entrepot.gateways.nws.server import NwsGateway

__all__ = ["NwsGateway"]
