"""Streams of proxies: the bulk in a store, a small event for each object in a broker."""

from __future__ import annotations

from entrepot.proxystore.stream.consumer import StreamConsumer
from entrepot.proxystore.stream.producer import StreamProducer

__all__ = ["StreamConsumer", "StreamProducer"]
