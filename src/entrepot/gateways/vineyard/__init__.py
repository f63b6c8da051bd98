"""vineyard's protocol on a depot: for its original clients, and for other machines."""

from __future__ import annotations

from entrepot.gateways.vineyard.server import Server

__all__ = ["Server"]
