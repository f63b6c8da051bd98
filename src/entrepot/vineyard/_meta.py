"""Metadata and objects: what vineyard's API shows of what is stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from entrepot.vineyard._errors import MetaTreeInvalidException
from entrepot.vineyard._ids import BLOB_BIT, EMPTY_BLOB, ObjectID, number_of, text_id

if TYPE_CHECKING:
    from entrepot.vineyard._store import Store

__all__ = ["NewBlob", "Object", "ObjectBuilder", "ObjectMeta", "is_signature", "plain_of_numpy"]

BLOB = "vineyard::Blob"
_SYSTEM = frozenset(
    ("id", "typename", "instance_id", "signature", "transient", "global", "nbytes", "__timestamp")
)
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 64) - 1


class NewBlob(NamedTuple):
    """Bytes that become a blob when the metadata that holds them is stored."""

    buffers: list[memoryview]
    """Contiguous ones; they are stored one after the other."""

    @property
    def nbytes(self) -> int:
        """How many bytes there are."""
        return sum(buffer.nbytes for buffer in self.buffers)


Member = "ObjectMeta | ObjectID | NewBlob"


class ObjectMeta:
    """The metadata of an object: plain values, and the metadata of its members, by name.

    Made by a program, it describes an object to be stored by `create_metadata`. Got from a
    client, it is a copy of what is stored: changing it changes nothing there.

    Args:
        global_: The object is one of the whole cluster, not of one instance.
    """

    def __init__(self, global_: bool = False, **_ignored: object) -> None:
        self._plain: dict[str, Any] = {"global": bool(global_)}
        self._members: dict[str, Any] = {}
        self._store: Store | None = None
        self._bytes: memoryview | None = None
        """Of a blob that was fetched: its bytes."""
        self._size = 0
        self._load: Callable[[], Any] | None = None
        """Of a value that was put whole: what makes it again."""
        self.whole: Any = _NOTHING
        """Of metadata to be stored: the value, if a depot may store it whole."""
        self._complete: Callable[[ObjectMeta], None] | None = None

    @classmethod
    def fetched(cls, plain: dict[str, Any], members: dict[str, Any], store: Store) -> ObjectMeta:
        """Return metadata as a store has it."""
        meta = cls.__new__(cls)
        meta._plain, meta._members, meta._store = plain, members, store
        meta._bytes, meta._size, meta._load, meta.whole = None, 0, None, _NOTHING
        meta._complete = None
        return meta

    @classmethod
    def of_whole(cls, value: object, complete: Callable[[ObjectMeta], None]) -> ObjectMeta:
        """Return new metadata of a value that a depot may store whole.

        Args:
            value: The value.
            complete: Sets what other stores need: typename, plain values and members. Called
                when somebody looks.
        """
        meta = cls()
        meta.whole, meta._complete = value, complete
        return meta

    def load(self) -> Any:
        """Return a value that was put whole; `has_load` tells whether it was."""
        assert self._load is not None
        return self._load()

    @property
    def has_load(self) -> bool:
        """Whether this is the metadata of a value that was put whole."""
        return self._load is not None

    # As a dict.

    def __getitem__(self, key: str) -> Any:
        """Return a plain value, or the metadata of a member.

        Raises:
            KeyError: There is no such key.
        """
        _check_key(key)
        if key in self._plain:
            return self._plain[key]
        if key in self._members:
            return self._member_meta(key)
        raise KeyError(f"key {key!r} does not exist")

    def get(self, key: str, default: Any = None) -> Any:
        """Return a plain value, or the metadata of a member; `default` if there is none."""
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        return key in self._plain or key in self._members

    def __iter__(self) -> Iterator[str]:
        yield from sorted([*self._plain, *self._members])

    def keys(self) -> list[str]:
        """Return the names of all plain values and members."""
        return list(self)

    def items(self) -> list[tuple[str, Any]]:
        """Return (name, value or metadata of a member)."""
        return [(key, self[key]) for key in self]

    def __len__(self) -> int:
        return len(self._plain) + len(self._members)

    def __bool__(self) -> bool:
        return True

    def __setitem__(self, key: str, value: Any) -> None:
        """Set a plain value, or add a member.

        Lists, tuples and dicts are kept as JSON text.

        Raises:
            TypeError: The value is of another type, or a number of more than 64 bits.
        """
        _check_key(key)
        member = _as_member(value)
        if member is not None:
            self._plain.pop(key, None)
            self._members[key] = member
            return
        self._members.pop(key, None)
        self._plain[key] = _as_plain(key, value)

    def add_member(self, name: str, member: Any) -> None:
        """Add an object, its metadata or its id as a member.

        Raises:
            RuntimeError: There is something of this name already.
            TypeError: It is none of these.
        """
        _check_key(name)
        if name in self:
            raise RuntimeError(f"{name!r} is there already")
        found = _as_member(member)
        if found is None:
            raise TypeError(f"{member!r} cannot be a member: give an object, metadata or an id")
        self._members[name] = found

    def get_member(self, key: str) -> Object | None:
        """Return a member; None if there is none of this name.

        Raises:
            RuntimeError: It is a plain value.
        """
        if key in self._plain:
            raise RuntimeError(f"The value is not a member, but a meta: {key!r}")
        if key not in self._members:
            return None
        return Object.from_(self._member_meta(key))

    member = get_member

    def _member_meta(self, key: str) -> ObjectMeta:
        found = self._members[key]
        if isinstance(found, ObjectMeta):
            return found
        meta = ObjectMeta.fetched({}, {}, self._store)  # pyright: ignore[reportArgumentType] None until it is stored
        if isinstance(found, ObjectID):
            if self._store is not None:
                return self._store.fetch_one(int(found))
            meta._plain["id"] = text_id(int(found))
            return meta
        meta._plain |= {"typename": BLOB, "length": found.nbytes, "nbytes": found.nbytes}
        meta._bytes = memoryview(b"".join(found.buffers)).toreadonly()
        meta._size = found.nbytes
        return meta

    # What the system knows.

    @property
    def id(self) -> ObjectID:
        """The id of the object.

        Raises:
            RuntimeError: It was not stored yet.
        """
        return ObjectID(number_of(self._system("id")))

    @id.setter
    def id(self, id: ObjectID | int | str) -> None:
        self._plain["id"] = text_id(int(ObjectID(id)))

    @property
    def typename(self) -> str:
        """The type of the object, as C++ would write it."""
        return self._system("typename")

    @typename.setter
    def typename(self, typename: str) -> None:
        self._plain["typename"] = str(typename)

    @property
    def signature(self) -> int:
        """A number that an object shares with its shallow copies."""
        return self._system("signature")

    @property
    def instance_id(self) -> int:
        """The instance where the object is."""
        return self._system("instance_id")

    @property
    def nbytes(self) -> int:
        """How many bytes the object says that it has; 0 if it does not say."""
        return int(self._plain.get("nbytes", 0) or 0)

    @nbytes.setter
    def nbytes(self, nbytes: int) -> None:
        self._plain["nbytes"] = int(nbytes)

    @property
    def isglobal(self) -> bool:
        """Whether the object is one of the whole cluster."""
        return bool(self._plain.get("global", False))

    @property
    def islocal(self) -> bool:
        """Whether the object is in the instance that the client is connected to."""
        return not self.isglobal and (
            self._store is None or self._plain.get("instance_id") == self._store.instance_id
        )

    @property
    def timestamp(self) -> int:
        """When the object was made, in milliseconds since the epoch."""
        return int(self._plain.get("__timestamp", 0))

    @property
    def labels(self) -> dict[str, str]:
        """Labels that were given to the object."""
        return json.loads(self._plain.get("__labels", "{}"))

    def label(self, key: str) -> str:
        """Return one label, or the empty string."""
        return self.labels.get(key, "")

    @property
    def meta(self) -> ObjectMeta:
        """This metadata."""
        return self

    @property
    def memory_usage(self) -> int:
        """How many bytes all blobs of the object have."""
        sizes: dict[int, int] = {}
        _count_blobs(self, sizes)
        return sum(sizes.values())

    def memory_usage_details(self) -> dict[str, Any]:
        """Return how many bytes each member has, for reading."""
        details: dict[str, Any] = {}
        for name in self._members:
            meta = self._member_meta(name)
            blob = meta._plain.get("typename") == BLOB
            details[name] = _readable(meta._size) if blob else meta.memory_usage_details()
        details["summary"] = _readable(self.memory_usage)
        return details

    def _system(self, key: str) -> Any:
        try:
            return self._plain[key]
        except KeyError:
            raise RuntimeError(f"this metadata has no {key!r}: it was not stored yet") from None

    # Building.

    def set_global(self, global_: bool = True) -> None:
        """Say that the object is one of the whole cluster."""
        self._plain["global"] = bool(global_)

    def reset(self) -> None:
        """Forget everything."""
        self._plain, self._members = {"global": False}, {}

    def reset_key(self, key: str) -> None:
        """Forget one plain value or member."""
        self._plain.pop(key, None)
        self._members.pop(key, None)

    def reset_signature(self) -> None:
        """Forget the signature: the store gives a new one."""
        self._plain.pop("signature", None)

    def force_local(self) -> None:
        """Take the object for one of the instance that the client is connected to."""
        if self._store is not None:
            self._plain["instance_id"] = self._store.instance_id

    def get_buffer(self, id: int | ObjectID) -> memoryview | None:
        """Return the bytes of a blob that the object is made of; None if it is not."""
        wanted = int(id)
        for meta in _walk(self):
            if meta._plain.get("id") == text_id(wanted):
                return meta._bytes
        return None

    def all_blobs(self) -> list[ObjectMeta]:
        """Return the metadata of all blobs that the object is made of, itself included."""
        return [meta for meta in _walk(self) if meta.fields().get("typename") == BLOB]

    def fields(self) -> Mapping[str, Any]:
        """Return the plain values: for stores, not for programs."""
        self._be_complete()
        return self._plain

    def _be_complete(self) -> None:
        if self._complete is not None:
            complete, self._complete = self._complete, None
            complete(self)

    def members(self) -> Mapping[str, Any]:
        """Return the members as they were added: for stores, not for programs."""
        self._be_complete()
        return self._members

    def stored(self, store: Store, number: int) -> None:
        """Take over what a store gave an object that it has made of this metadata."""
        self._store = store
        self._plain |= {
            "id": text_id(number),
            "instance_id": store.instance_id,
            "transient": True,
        }
        self._plain.setdefault("signature", number)
        self._plain.setdefault("nbytes", 0)

    def is_stored(self) -> bool:
        """Tell whether the object is in a store."""
        return "id" in self._plain

    def check(self) -> None:
        """Refuse what cannot be stored.

        Raises:
            MetaTreeInvalidException: It has no typename, or that of a blob.
        """
        if not has_whole(self) and not self._plain.get("typename"):
            raise MetaTreeInvalidException("No 'typename' field in incoming metadata")

    def own_fields(self) -> dict[str, Any]:
        """Return the plain values that are not the system's, and those that were given to it."""
        own = {key: value for key, value in self._plain.items() if key not in _SYSTEM}
        if self.isglobal:
            own["global"] = True
        if self._plain.get("nbytes"):
            own["nbytes"] = self._plain["nbytes"]
        if is_signature(self._plain.get("signature")):
            own["signature"] = self._plain["signature"]  # else it is the id
        return own

    def tree(self) -> dict[str, Any]:
        """Return the metadata with that of all members, as nested dicts: the wire's form."""
        self._be_complete()
        tree = dict(self._plain)
        for name in self._members:
            found = self._members[name]
            if isinstance(found, ObjectID):
                tree[name] = {"id": text_id(int(found))}
            else:
                tree[name] = self._member_meta(name).tree()
        return tree

    def __repr__(self) -> str:
        return json.dumps(self.tree(), indent=4, sort_keys=True, default=str)

    def __str__(self) -> str:
        return f"ObjectMeta {self!r}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_tree, (self.tree(),)

    def __copy__(self) -> ObjectMeta:
        return _from_tree(self.tree())


_NOTHING: Any = object()


def is_signature(value: Any) -> bool:
    """Tell whether a value can be an object's signature."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64


def has_whole(meta: ObjectMeta) -> bool:
    """Tell whether a depot may store the value of this metadata whole."""
    return meta.whole is not _NOTHING


class Object:
    """An object of a store: immutable, shared by all who look at it."""

    _meta: ObjectMeta

    def __init__(self) -> None:
        raise TypeError("an Object comes from a client: get_object(), or Object.from_(meta)")

    @staticmethod
    def from_(meta: ObjectMeta) -> Object:
        """Return the object of metadata that a client returned."""
        from entrepot.vineyard._blob import blob_of

        if meta.fields().get("typename") == BLOB:
            return blob_of(meta)
        made = object.__new__(Object)
        made._meta = meta
        return made

    @property
    def meta(self) -> ObjectMeta:
        """The metadata of this object."""
        return self._meta

    @property
    def id(self) -> ObjectID:
        """The id of this object."""
        return self._meta.id

    @property
    def typename(self) -> str:
        """The type of this object, as C++ would write it."""
        return self._meta.typename

    @property
    def nbytes(self) -> int:
        """How many bytes this object says that it has."""
        return self._meta.nbytes

    @property
    def signature(self) -> int:
        """A number that this object shares with its shallow copies."""
        return self._meta.signature

    @property
    def islocal(self) -> bool:
        """Whether this object is in the instance that the client is connected to."""
        return self._meta.islocal

    @property
    def isglobal(self) -> bool:
        """Whether this object is one of the whole cluster."""
        return self._meta.isglobal

    @property
    def ispersist(self) -> bool:
        """Whether this object was persisted: clients of other instances can see it."""
        meta = self._meta
        if not meta.get("transient", True):
            return True
        store = meta._store  # pyright: ignore[reportPrivateUsage] of the same family
        return store is not None and store.is_persistent(int(self.id))

    def member(self, name: str) -> Object:
        """Return a member.

        Raises:
            RuntimeError: There is no member of this name.
        """
        found = self._meta.get_member(name)
        if found is None:
            raise RuntimeError(f"Failed to get member: {name!r}")
        return found

    __getitem__ = member

    def __repr__(self) -> str:
        return f'Object <"{self.id!r}": {self.typename}>'

    __str__ = __repr__


class ObjectBuilder:
    """The base of what builds objects step by step."""


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise TypeError(f"a key of metadata is a str, not {key!r}")


def _as_member(value: Any) -> Any:
    if isinstance(value, (ObjectMeta, ObjectID, NewBlob)):
        return value
    return value.meta if isinstance(value, Object) else None


def _as_plain(key: str, value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, float)):
        return value if not isinstance(value, str) else str(value)
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, separators=(",", ":"), default=plain_of_numpy)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "surrogateescape")
    try:
        number = int(value.__index__())
    except (AttributeError, TypeError):  # an array has it, too
        number = None
    if number is not None:
        if not _INT_MIN <= number <= _INT_MAX:
            raise TypeError(f"{key!r} is {number}, metadata holds ints of at most 64 bits")
        return number
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return _as_plain(key, plain_of_numpy(value))
    raise TypeError(f"{key!r} is {value!r}, a {type(value).__name__}: metadata cannot hold that")


def plain_of_numpy(value: Any) -> Any:
    """Return an array as a list, and a number of numpy's as one of Python's."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} is a {type(value).__name__}: metadata cannot hold that")


def _from_tree(tree: dict[str, Any]) -> ObjectMeta:
    plain = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    members = {
        key: _from_tree(cast("dict[str, Any]", value))
        for key, value in tree.items()
        if isinstance(value, dict)
    }
    return ObjectMeta.fetched(plain, members, None)  # pyright: ignore[reportArgumentType] it is in no store here


def _walk(meta: ObjectMeta) -> Iterator[ObjectMeta]:
    waiting = [meta]
    while waiting:
        at = waiting.pop()
        yield at
        waiting += [of for of in at.members().values() if isinstance(of, ObjectMeta)]


def _count_blobs(meta: ObjectMeta, sizes: dict[int, int]) -> None:
    for at in _walk(meta):
        number = number_of(at.fields().get("id", text_id(EMPTY_BLOB)))
        if number & BLOB_BIT:
            sizes[number] = at._size  # pyright: ignore[reportPrivateUsage] of the same family


def _readable(size: int) -> str:
    number = float(size)
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1024:
            return f"{number:g} {unit}" if unit == "B" else f"{number:.2f} {unit}"
        number /= 1024
    return f"{number:.2f} TB"


def blob_meta(
    number: int, view: memoryview | None, size: int, store: Store, *, length: int | None = None
) -> ObjectMeta:
    """Return the metadata of a blob."""
    shown = 0 if length is None else length
    meta = ObjectMeta.fetched(
        {
            "id": text_id(number),
            "typename": BLOB,
            "length": shown,
            "nbytes": shown,
            "transient": True,
            "instance_id": store.instance_id,
        },
        {},
        store,
    )
    meta._bytes, meta._size = view, size  # pyright: ignore[reportPrivateUsage] of the same family
    return meta
