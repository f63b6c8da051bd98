"""Streams: records in shards, in a directory of a container."""

from entrepot.layers.streams.checks import check
from entrepot.layers.streams.consumer import Consumer, GroupInfo, release
from entrepot.layers.streams.core import Appended, New, Record, Stretch
from entrepot.layers.streams.stream import Since, Stream, StreamInfo, sweep

__all__ = [
    "Appended",
    "Consumer",
    "GroupInfo",
    "New",
    "Record",
    "Since",
    "Stream",
    "StreamInfo",
    "Stretch",
    "check",
    "release",
    "sweep",
]
