"""Logging with fields beside the message."""

from __future__ import annotations

from entrepot.v3io.logger.logger import HumanReadableFormatter, Logger

__all__ = ["HumanReadableFormatter", "Logger"]
