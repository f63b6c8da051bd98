"""Errors of streams."""

from __future__ import annotations

__all__ = ["TopicClosedError"]


class TopicClosedError(Exception):
    """Something is sent to a topic that was closed."""
