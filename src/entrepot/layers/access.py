"""Access keys: who may read and write which containers through a gateway.

Keys::

    ("access-key", id)  -> AccessKey
    ("access-keys",)    -> how often they were changed, 8 bytes; not there before the first

A key is a text `ID-SECRET`, shown once. What is stored is its SHA-256: the secret has 256
random bits, so a slow hash would add nothing. Whoever checks keys looks at one record, the
count of changes, and reads them all when it is another one.

Bell: ("access-keys",), rung by each change.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, cast

import msgspec

from entrepot.engine.keys import Prefix
from entrepot.engine.protocol import Engine, Transaction
from entrepot.errors import LimitError, NotFoundError
from entrepot.layers import entries

__all__ = ["OPEN", "AccessKey", "Grant", "Guard", "Right", "add", "list_keys", "new_key", "remove"]

Right: TypeAlias = Literal["r", "rw"]

KEY = Prefix("access-key")
CHANGES: Final = Prefix("access-keys").begin
_ID_BYTES: Final = 4
_SECRET_BYTES: Final = 32
_LABEL_CHARS_MAX: Final = 255


class AccessKey(msgspec.Struct, array_like=True, frozen=True):
    """What is stored of a key."""

    id: str
    digest: bytes
    created_ns: int
    label: str = ""
    """Whose it is, or what for."""
    rights: dict[str, Right] = {}
    """By container."""
    everything: bool = False
    """Whether all containers may be read, written and made with it."""


_decode = msgspec.msgpack.Decoder(AccessKey).decode
_encode = msgspec.msgpack.Encoder().encode


def new_key(
    label: str = "", rights: Mapping[str, str] | None = None, *, everything: bool = False
) -> tuple[str, AccessKey]:
    """Make a key; it is nowhere but in what is returned.

    Args:
        label: Whose it is.
        rights: By container `r`, to read it, or `rw`, to write it too.
        everything: All containers may be read, written and made with it.

    Returns:
        The key as its owner uses it, and what is stored of it.

    Raises:
        LimitError: A right or the name of a container cannot be, or there is no right at all.
    """
    for container, right in (rights or {}).items():
        entries.check_container_name(container)
        if right not in ("r", "rw"):
            raise LimitError(f"the right to {container!r} is {right!r}", "r or rw")
    if not rights and not everything:
        raise LimitError("a key without rights is good for nothing", "name a container, or all")
    if len(label) > _LABEL_CHARS_MAX:
        raise LimitError(f"a label of {len(label)} characters, at most {_LABEL_CHARS_MAX}")
    id = secrets.token_hex(_ID_BYTES)
    text = f"{id}-{secrets.token_urlsafe(_SECRET_BYTES)}"
    given = cast("dict[str, Right]", dict(rights or {}))
    return text, AccessKey(id, _digest(text), time.time_ns(), label, given, everything)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


# In transactions.


def add(tx: Transaction, key: AccessKey) -> None:
    """Store a key."""
    assert tx.insert(KEY.str(key.id), _encode(key)), "ids are random"
    _changed(tx)


def remove(tx: Transaction, id: str) -> AccessKey:
    """Remove a key: it is refused from now on.

    Raises:
        NotFoundError: There is no such key.
    """
    raw = tx.pop(KEY.str(id))
    if raw is None:
        raise NotFoundError(f"there is no access key {id!r}", "'entrepot keys ls' lists them")
    _changed(tx)
    return _decode(raw)


def list_keys(tx: Transaction) -> list[AccessKey]:
    """Return the keys, by when they were made."""
    found = [_decode(raw) for _, raw in tx.range(KEY.begin, KEY.end)]
    return sorted(found, key=lambda key: key.created_ns)


def _changed(tx: Transaction) -> None:
    raw = tx.get(CHANGES)
    count = int.from_bytes(raw, "big") if raw else 0
    tx.put(CHANGES, (count + 1).to_bytes(8, "big"))
    tx.ring(CHANGES)


# Checking.


class Grant:
    """What somebody may do."""

    __slots__ = ("_rights", "everything", "id")

    def __init__(self, id: str, rights: Mapping[str, Right], everything: bool) -> None:
        self.id = id
        """Of the key; empty if none was needed."""
        self._rights = rights
        self.everything = everything

    def may_read(self, container: str) -> bool:
        """Tell whether a container may be read."""
        return self.everything or container in self._rights

    def may_write(self, container: str) -> bool:
        """Tell whether a container may be written."""
        return self.everything or self._rights.get(container) == "rw"


OPEN: Final = Grant("", {}, everything=True)
"""What everybody may do where no key is needed."""
_NOBODY: Final = bytes(32)


class Guard:
    """Checks keys; sees at once when one is added or removed, by whatever process."""

    def __init__(self, engine: Engine, *, required: bool) -> None:
        """Begin.

        Args:
            engine: Where the keys are.
            required: Also where there is none yet; else everybody may do all until there is one.
        """
        self._engine = engine
        self._required = required
        self._changes: bytes | None = None
        self._keys: dict[str, tuple[bytes, Grant]] = {}
        self._is_open = not required

    def grant(self, text: str) -> Grant | None:
        """Return what may be done with a key; None if it is not one.

        Takes as long for a wrong key as for a right one. Cost: one look at a record.
        """
        changes = self._engine.get(CHANGES)
        if changes != self._changes:
            self._read(changes)
        if self._is_open:
            return OPEN
        expected, grant = self._keys.get(text.partition("-")[0], (_NOBODY, None))
        return grant if hmac.compare_digest(_digest(text), expected) else None

    def _read(self, changes: bytes | None) -> None:
        found = self._engine.read(list_keys)
        self._keys = {
            key.id: (key.digest, Grant(key.id, key.rights, key.everything)) for key in found
        }
        self._is_open = not self._required and not found
        self._changes = changes
