"""Configurations: what makes the same store again, elsewhere."""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self, cast

from entrepot.proxystore.connectors.protocols import Connector
from entrepot.proxystore.serialize import DeserializerT, SerializerT

__all__ = ["ConnectorConfig", "StoreConfig", "path_of"]

_KNOWN = {
    "container": "entrepot.proxystore.connectors.container.ContainerConnector",
    "depot": "entrepot.proxystore.connectors.depot.DepotConnector",
    "file": "entrepot.proxystore.connectors.file.FileConnector",
    "local": "entrepot.proxystore.connectors.local.LocalConnector",
}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(kw_only=True)
class ConnectorConfig:
    """What makes the same connector again."""

    kind: str
    """Where its class is imported from; or a short name: container, depot, file, local."""
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    """The arguments of its class."""

    def get_connector_type(self) -> type[Connector[Any]]:
        """Return the class.

        Raises:
            ValueError: There is no such class.
        """
        kind = _KNOWN.get(self.kind.removesuffix("Connector").lower(), self.kind)
        module, _, name = kind.rpartition(".")
        if not module:
            known = ", ".join(sorted(_KNOWN))
            raise ValueError(
                f"there is no connector {self.kind!r}: give the path of its class, or {known}"
            )
        try:
            return _found(module, name)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"connector {self.kind!r} cannot be imported: {error}") from error

    def get_connector(self) -> Connector[Any]:
        """Return such a connector."""
        return self.get_connector_type()(**self.options)


@dataclass(kw_only=True)
class StoreConfig:
    """What makes the same store again."""

    name: str
    connector: ConnectorConfig
    serializer: SerializerT | None = None
    deserializer: DeserializerT | None = None
    cache_size: int = 16
    metrics: bool = False
    populate_target: bool = True
    auto_register: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.connector, Mapping):
            self.connector = _made(ConnectorConfig, cast("Mapping[str, Any]", self.connector))
        if self.cache_size < 0:
            raise ValueError(f"Cache size cannot be negative. Got {self.cache_size}.")

    def write_toml(self, filepath: str | Path) -> None:
        """Write the configuration to a TOML file.

        Raises:
            TypeError: It holds something that TOML cannot.
        """
        plain = {
            entry.name: getattr(self, entry.name)
            for entry in fields(self)
            if entry.name != "connector"
            and not (entry.name.endswith("serializer") and getattr(self, entry.name) is None)
        }
        connector = self.connector
        lines = [
            *_toml(plain),
            "",
            "[connector]",
            *_toml({"kind": connector.kind}),
            "",
            "[connector.options]",
            *_toml(connector.options),
        ]
        Path(filepath).write_text("\n".join(lines) + "\n", encoding="utf-8")

    @classmethod
    def from_toml(cls, filepath: str | Path) -> Self:
        """Return the configuration of a TOML file.

        Raises:
            ValueError: It is no TOML, or an entry is unknown or missing.
        """
        return _made(cls, tomllib.loads(Path(filepath).read_text(encoding="utf-8")))


def path_of(cls: type[Any]) -> str:
    """Return where a class is imported from."""
    return f"{cls.__module__}.{cls.__qualname__}"


def _found(module: str, name: str) -> Any:
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        outer, _, inner = module.rpartition(".")
        if not outer or error.name != module:
            raise
        found = _found(outer, inner)  # a class in a class
    return getattr(found, name)


def _made(cls: type[Any], entries: Mapping[str, Any]) -> Any:
    unknown = sorted(set(entries) - {entry.name for entry in fields(cls)})
    if unknown:
        raise ValueError(f"{cls.__name__} has no {', '.join(unknown)}")
    try:
        return cls(**entries)
    except TypeError as error:
        raise ValueError(f"{cls.__name__}: {error}") from error


def _toml(entries: Mapping[str, Any]) -> list[str]:
    return [f"{_toml_key(name)} = {_toml_value(value)}" for name, value in entries.items()]


def _toml_key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _toml_value(name)


def _toml_value(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml_value, cast('list[Any]', value)))}]"
    if isinstance(value, dict):
        entries = _toml(cast("dict[str, Any]", value))
        return "{" + ", ".join(entries) + "}"
    raise TypeError(f"TOML holds no {type(value).__name__}: {value!r}")
