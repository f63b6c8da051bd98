"""Events: what travels through a broker, small, of objects that are in a store."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeAlias

from entrepot.proxystore.serialize import deserialize, serialize
from entrepot.proxystore.store.config import StoreConfig, path_of

__all__ = [
    "EndOfStreamEvent",
    "Event",
    "EventBatch",
    "NewObjectEvent",
    "NewObjectKeyEvent",
    "bytes_to_event",
    "dict_to_event",
    "event_to_bytes",
    "event_to_dict",
]


@dataclass
class EndOfStreamEvent:
    """Nothing more comes on a topic."""

    kind: ClassVar[str] = "END_OF_STREAM"
    topic: str

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> EndOfStreamEvent:
        """Return the event that was made this."""
        return cls(**data)


@dataclass
class NewObjectEvent:
    """An object, which travels by itself."""

    kind: ClassVar[str] = "NEW_OBJECT"
    topic: str
    obj: Any
    metadata: dict[str, Any]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> NewObjectEvent:
        """Return the event that was made this."""
        return cls(**data)


@dataclass
class NewObjectKeyEvent:
    """An object that is in a store."""

    kind: ClassVar[str] = "NEW_OBJECT_KEY"
    topic: str
    key_type: str
    raw_key: list[Any]
    evict: bool
    metadata: dict[str, Any]
    store_config: StoreConfig

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> NewObjectKeyEvent:
        """Return the event that was made this."""
        return cls(**data)

    @classmethod
    def from_key(
        cls,
        key: tuple[Any, ...],
        *,
        evict: bool,
        metadata: dict[str, Any],
        store_config: StoreConfig,
        topic: str,
    ) -> NewObjectKeyEvent:
        """Return the event of an object, by its key."""
        return cls(topic, path_of(type(key)), list(key), evict, metadata, store_config)

    def get_key(self) -> Any:
        """Return the key of the object."""
        module, _, name = self.key_type.rpartition(".")
        return getattr(importlib.import_module(module), name)(*self.raw_key)


Event: TypeAlias = EndOfStreamEvent | NewObjectEvent | NewObjectKeyEvent


@dataclass
class EventBatch:
    """Events of one topic, in order."""

    kind: ClassVar[str] = "EVENT_BATCH"
    topic: str
    events: list[Event] = field(default_factory=list[Event])

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> EventBatch:
        """Return the events that were made this."""
        events: Any = [dict_to_event(event) for event in data["events"]]
        return cls(data["topic"], events)


_KINDS: dict[str, Any] = {
    kind.kind: kind for kind in (EndOfStreamEvent, EventBatch, NewObjectEvent, NewObjectKeyEvent)
}


def event_to_dict(event: Event | EventBatch) -> dict[str, Any]:
    """Return an event as a dict."""
    data: dict[str, Any] = {entry.name: getattr(event, entry.name) for entry in fields(event)}
    if isinstance(event, EventBatch):
        data["events"] = [event_to_dict(inner) for inner in event.events]
    return data | {"event_type": event.kind}


def dict_to_event(data: dict[str, Any]) -> Event | EventBatch:
    """Return the event that was made this.

    Raises:
        ValueError: It was made of no event.
    """
    data = dict(data)
    kind = _KINDS.get(data.pop("event_type", ""))
    if kind is None:
        raise ValueError(f"there is no such event: {data!r}")
    return kind.from_dict(data)


def event_to_bytes(event: Event | EventBatch) -> bytes:
    """Return an event as bytes."""
    return serialize(event_to_dict(event))


def bytes_to_event(s: bytes) -> Event | EventBatch:
    """Return the event that was made this.

    Raises:
        SerializationError: It was made of something else.
        ValueError: It was made of no event.
    """
    return dict_to_event(deserialize(s))
