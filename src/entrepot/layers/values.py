"""Any Python object into a record of bytes, and back.

A record is what a catalog stores of a value::

    form (1) | body | made at (8, seconds since the epoch)

    SCALAR   msgpack                       None, bool, int of 64 bits, float, str
    BYTES    the bytes
    TENSOR   header | padding | data       a numpy array of a plain dtype, up to 16 kB
    PICKLE   pickle, protocol 5            anything else without buffers of its own
    PACKED   msgpack [head, [buffers]]     PICKLE with buffers, all of it up to 16 kB
    BULK     offset, size (8 + 8), msgpack [head, sizes]   any of these, its buffers in the arena
    TREE     msgpack [typename, fields, members]    an object made of other objects
    FOREIGN  descriptor, size of metadata (4 + 2), metadata, bytes     as `foreign` reads them

Pickle's out-of-band buffers (PEP 574) take the bytes of numpy, pandas and Arrow data out of
the pickle, wherever in an object they are: in the arena they come back without a copy.
Whatever is read back is a snapshot: arrays, inline or not, are read-only.
"""

from __future__ import annotations

import copyreg
import importlib
import io
import math
import pickle
import struct
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from entrepot import settings
from entrepot.arena.bulk import Ref
from entrepot.errors import CorruptError, LimitError, TypeMismatchError

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "Description",
    "Encoded",
    "Tree",
    "body_ref",
    "bulk_record",
    "bulk_ref",
    "decode",
    "describe",
    "encode",
]

SCALAR, BYTES, TENSOR, PICKLE, PACKED, TREE, FOREIGN = 1, 2, 3, 4, 5, 6, 7
BULK = 0x80

_stamp = struct.Struct("<d").pack
_read_stamp = struct.Struct("<d").unpack_from
_STAMP_BYTES = 8
_place = struct.Struct("<BQQ").pack
_read_place = struct.Struct("<BQQ").unpack_from
_PLACE_BYTES = 17
_SCALAR, _BYTES, _PICKLE, _TREE = bytes([SCALAR]), bytes([BYTES]), bytes([PICKLE]), bytes([TREE])
_encode = msgspec.msgpack.Encoder().encode
_decode_scalar = msgspec.msgpack.Decoder().decode
_time = time.time


class Encoded(NamedTuple):
    """A value that is too big for a catalog: its head, and the bytes that go to the arena."""

    form: int
    head: bytes
    buffers: list[memoryview]


class Tree(msgspec.Struct, array_like=True, frozen=True):
    """An object made of other objects: plain fields, and members by id."""

    typename: str
    fields: dict[str, Any]
    members: dict[str, int]


class _Bulk(msgspec.Struct, array_like=True):
    head: bytes
    sizes: list[int]


class _Packed(msgspec.Struct, array_like=True):
    head: bytes
    buffers: list[bytes]  # a copy each, so that what is on top of it is aligned


_decode_bulk = msgspec.msgpack.Decoder(_Bulk).decode
_decode_packed = msgspec.msgpack.Decoder(_Packed).decode
_decode_tree = msgspec.msgpack.Decoder(Tree).decode


def encode(value: object) -> bytes | Encoded:
    """Return the record of a small value, or what to make a record of for a big one.

    Raises:
        TypeMismatchError: The value cannot be pickled; the reason is its cause.
    """
    encoder = _encoders.get(type(value))
    if encoder is not None:
        return encoder(value)
    if type(value).__module__ == "numpy" and "numpy" in sys.modules:
        import numpy as np

        _encoders[np.ndarray] = _encode_array
        if type(value) is np.ndarray:
            return _encode_array(value)
    return _encode_object(value)


def encode_tree(tree: Tree) -> bytes:
    """Return the record of an object made of others.

    Raises:
        TypeMismatchError: A field is of a type that no other language could read.
    """
    for name in (tree.typename, *tree.fields, *tree.members):
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
            raise TypeMismatchError(f"an object has a part named {name!r}", "names are strings")
    try:
        for field in tree.fields.values():
            _check_field(field)
        return _TREE + _encode(tree) + _stamp(_time())
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeMismatchError(
            f"a field of {tree.typename} cannot be stored: {error}",
            "fields are None, bool, int, float, str, bytes, and lists and dicts of them",
        ) from error


def _check_field(field: object) -> None:
    """Refuse what msgpack would store, and give back as something else."""
    if type(field) in (list, tuple):
        items: Any = field
    elif isinstance(field, dict):
        items = cast("dict[Any, Any]", field).values()
    else:
        if not isinstance(field, (bool, int, float, str, bytes, type(None))):
            raise TypeError(f"it holds a {type(field).__name__}")
        return
    for item in items:
        _check_field(item)


def bulk_record(encoded: Encoded, ref: Ref) -> bytes:
    """Return the record of a value whose buffers were written to the arena at `ref`."""
    sizes = [len(buffer) for buffer in encoded.buffers]
    place = _place(encoded.form | BULK, *ref)
    return place + _encode(_Bulk(encoded.head, sizes)) + _stamp(_time())


def bulk_ref(record: bytes) -> Ref | None:
    """Return where the buffers of a record are, or None if it has none outside."""
    if record[0] < BULK:
        return None
    return Ref(*_read_place(record)[1:])


def with_ref(record: bytes, ref: Ref) -> bytes:
    """Return a record whose bytes lie elsewhere now."""
    return _place(record[0], *ref) + record[_PLACE_BYTES:]


def made_at(record: bytes) -> float:
    """Return when the value of a record was stored, in seconds since the epoch."""
    return _read_stamp(record, len(record) - _STAMP_BYTES)[0]


def tree_of(record: bytes) -> Tree | None:
    """Return the tree of a record, or None if it is a value."""
    return _decode_tree(record[1:-_STAMP_BYTES]) if record[0] == TREE else None


def decode(record: bytes, view: memoryview | None = None) -> Any:
    """Return the value of a record; `view` are the bytes at its `bulk_ref`.

    Raises:
        TypeMismatchError: The value needs a module or a name that is not here.
        CorruptError: The record is damaged.
    """
    form = record[0]
    if form == SCALAR:
        return _decode_scalar(record[1:-8])
    if form == BYTES:
        return record[1:-8]
    if form == TENSOR:
        return _decode_array(record)
    if form == PICKLE:
        return _loads(record[1:], ())
    if form & BULK and view is not None and form != BULK | FOREIGN:
        bulk = _decode_bulk(record[_PLACE_BYTES:-_STAMP_BYTES])
        return _decode_bulk_value(form ^ BULK, bulk, view)
    if form == PACKED:
        packed = _decode_packed(record[1:-_STAMP_BYTES])
        return _loads(packed.head, packed.buffers)
    if form & ~BULK == FOREIGN:
        from entrepot.layers import foreign

        return foreign.load(record, view)
    raise CorruptError(f"a record begins with {form:#04x}, which no value does")


def _decode_bulk_value(form: int, bulk: _Bulk, view: memoryview) -> Any:
    if form == TENSOR:
        dtype, shape, order, count = _parsed.get(bulk.head) or _parse(bulk.head)
        # Not ndarray(): that would make the mapping itself its base, which is writeable.
        flat = _frombuffer(view, dtype, count)
        return flat if len(shape) == 1 else flat.reshape(shape, order=order)
    buffers = _parts(bulk, view)
    if form == BYTES:
        return bytes(buffers[0])
    if form == SCALAR:
        return _decode_scalar(buffers[0])
    if not bulk.head:  # a pickle that is itself big
        return _loads(buffers[0], buffers[1:])
    return _loads(bulk.head, buffers)


def _parts(bulk: _Bulk, view: memoryview) -> list[memoryview]:
    parts: list[memoryview] = []
    at = 0
    for size in bulk.sizes:
        parts.append(view[at : at + size])
        at += -(-size // settings.ARENA_ALIGNMENT_BYTES) * settings.ARENA_ALIGNMENT_BYTES
    return parts


# Plain values.


def _encode_scalar(value: object) -> bytes | Encoded:
    try:
        body = _encode(value)
    except (OverflowError, ValueError, UnicodeEncodeError):
        return _encode_object(value)  # an int of more than 64 bits, a str with lone surrogates
    if len(body) > settings.INLINE_BYTES_MAX:
        return Encoded(SCALAR, b"", [memoryview(body)])
    return _SCALAR + body + _stamp(_time())


def encode_blob(body: memoryview) -> bytes | Encoded:
    """Return the record of contiguous bytes, or what to make a record of for many."""
    if len(body) > settings.INLINE_BYTES_MAX:
        return Encoded(BYTES, b"", [body])
    return b"".join((_BYTES, body, _stamp(_time())))


def blob_of(record: bytes) -> bytes:
    """Return the record of an array's bytes, in the same place.

    Raises:
        TypeMismatchError: It is the record of something else.
    """
    if record[0] == BULK | TENSOR and is_in_c_order(record):
        _, at, size = _read_place(record)
        bulk = _decode_bulk(record[_PLACE_BYTES:-_STAMP_BYTES])
        again = _Bulk(b"", bulk.sizes)
        return _place(BULK | BYTES, at, size) + _encode(again) + record[-_STAMP_BYTES:]
    if record[0] == TENSOR:
        array = _decode_array(record)
        return b"".join((_BYTES, array.tobytes("C"), record[-_STAMP_BYTES:]))
    raise TypeMismatchError("only arrays in C order have bytes that can be part of something else")


class ArrayParts(NamedTuple):
    """An array, as its bytes and what they mean."""

    dtype: str
    """As numpy's `dtype.str`."""
    shape: tuple[int, ...]
    fortran: bool
    body: memoryview


def is_array(record: bytes) -> bool:
    """Tell whether a record is that of a plain array."""
    return record[0] & ~BULK == TENSOR


def is_tensor(record: bytes) -> bool:
    """Tell whether a record is that of an array of a dtype that other programs know too."""
    return is_array(record) and _is_common(_array_header(record))


def is_in_c_order(record: bytes) -> bool:
    """Tell whether the bytes of an array are in the order that other programs expect."""
    return _form_of(_array_header(record))[2] == "C"


def _is_common(header: bytes) -> bool:
    dtype = _form_of(header)[0]
    return dtype.isnative and dtype.kind not in "SV"


def _form_of(header: bytes) -> tuple[np.dtype[Any], tuple[int, ...], Any, int]:
    return _parsed.get(header) or _parse(header)


def c_ordered(parts: ArrayParts) -> memoryview:
    """Return the bytes of an array in C order: a copy, if they are in Fortran's."""
    if not parts.fortran:
        return parts.body
    import numpy as np

    array = np.frombuffer(parts.body, parts.dtype).reshape(parts.shape, order="F")
    return memoryview(array.tobytes("C"))


def array_parts(record: bytes, view: memoryview | None) -> ArrayParts:
    """Return what is in the record of a plain array, without making one."""
    if record[0] & BULK:
        assert view is not None
        bulk = _decode_bulk(record[_PLACE_BYTES:-_STAMP_BYTES])
        header, body = bulk.head, view[: bulk.sizes[0]]
    else:
        header = record[2 : 2 + record[1]]
        body = memoryview(record)[(2 + record[1] + 15) & -16 : -_STAMP_BYTES]
    text, shape, fortran = _decode_scalar(header)
    return ArrayParts(text, tuple(shape), fortran, body)


def array_form(record: bytes) -> tuple[str, tuple[int, ...], bool]:
    """Return dtype, shape and whether it is in Fortran's order, from the record of an array."""
    text, shape, fortran = _decode_scalar(_array_header(record))
    return text, tuple(shape), fortran


def _array_header(record: bytes) -> bytes:
    if record[0] & BULK:
        return _decode_bulk(record[_PLACE_BYTES:-_STAMP_BYTES]).head
    return record[2 : 2 + record[1]]


def is_blob(record: bytes) -> bool:
    """Tell whether a record is that of plain bytes."""
    return record[0] & ~BULK == BYTES


def blob_body(record: bytes, view: memoryview | None) -> memoryview:
    """Return the bytes of a record of bytes, without a copy."""
    if view is None:
        return memoryview(record)[1:-_STAMP_BYTES]
    bulk = _decode_bulk(record[_PLACE_BYTES:-_STAMP_BYTES])
    return view[: bulk.sizes[0]]


def body_ref(record: bytes) -> Ref | None:
    """Return where the bytes of an array or of plain bytes lie, for other programs.

    None if they lie in the record, or are not as other programs read them.
    """
    if record[0] not in (BULK | TENSOR, BULK | BYTES):
        return None
    bulk = _decode_bulk(record[_PLACE_BYTES:-_STAMP_BYTES])
    if record[0] == BULK | TENSOR and not (_is_common(bulk.head) and _form_of(bulk.head)[2] == "C"):
        return None
    return Ref(_read_place(record)[1], bulk.sizes[0])


def is_pickle(record: bytes) -> bool:
    """Tell whether a record is that of a pickled value."""
    return record[0] & ~BULK in (PICKLE, PACKED)


def in_band(record: bytes, view: memoryview | None) -> list[bytes | memoryview]:
    """Return the pickle of a record with its buffers inside, as programs without an arena read it.

    It comes in pieces, to be sent one after the other. Nothing is loaded or copied: the places
    where the pickle refers to a buffer are filled with its bytes.
    """
    if record[0] == PICKLE:
        head, buffers = record[1:-_STAMP_BYTES], list[memoryview | bytes]()
    elif record[0] == PACKED:
        packed = _decode_packed(record[1:-_STAMP_BYTES])
        head, buffers = packed.head, list[memoryview | bytes](packed.buffers)
    else:
        assert view is not None
        bulk = _decode_bulk(record[_PLACE_BYTES:-_STAMP_BYTES])
        parts = _parts(bulk, view)
        if not bulk.head and len(parts) == 1:
            return [parts[0]]
        head, buffers = bulk.head, parts
    return filled(head, buffers)


def filled(head: bytes, buffers: Sequence[memoryview | bytes]) -> list[bytes | memoryview]:
    """Return a pickle with its buffers at the places where it refers to them."""
    import pickletools

    if not head:  # it is itself a buffer, since it is big
        head, buffers = bytes(buffers[0]), buffers[1:]
    if not buffers:
        return [head]
    out: list[bytes | memoryview] = []
    left = iter(buffers)
    begin = 0
    for opcode, _, at in pickletools.genops(head):
        assert at is not None
        if opcode.name == "NEXT_BUFFER":
            buffer = next(left)
            out += [head[begin:at] + b"\x96" + len(buffer).to_bytes(8, "little"), buffer]
            begin = at + 1
        elif opcode.name == "FRAME":  # its length is wrong now, and it may be left out
            out.append(head[begin:at])
            begin = at + 9
    out.append(head[begin:])
    return out


# Values of other languages: see `foreign`.

_foreign_head = struct.Struct("<IH")


def encode_foreign(descriptor: int, metadata: bytes, body: memoryview | bytes) -> bytes | Encoded:
    """Return the record of bytes that only `descriptor` explains, or what to make it of."""
    head = _foreign_head.pack(descriptor, len(metadata)) + metadata
    if len(body) > settings.INLINE_BYTES_MAX:
        return Encoded(FOREIGN, head, [memoryview(body)])
    return b"".join((bytes([FOREIGN]), head, body, _stamp(_time())))


def foreign_parts(record: bytes, view: memoryview | None) -> tuple[int, bytes, memoryview]:
    """Return the descriptor, the metadata and the bytes of such a record."""
    if view is None:
        head = memoryview(record)[1:-_STAMP_BYTES]
    else:
        bulk = _decode_bulk(record[_PLACE_BYTES:-_STAMP_BYTES])
        head, view = memoryview(bulk.head), view[: bulk.sizes[0]]
    descriptor, size = _foreign_head.unpack_from(head)
    end = _foreign_head.size + size
    body = head[end:] if view is None else view
    return descriptor, bytes(head[_foreign_head.size : end]), body


def pickled(value: object) -> list[bytes | memoryview]:
    """Return the pickle of a value, in pieces.

    Raises:
        TypeMismatchError: The value cannot be pickled; the reason is its cause.
    """
    record = _encode_object(value)
    if isinstance(record, bytes):
        return in_band(record, None)
    return filled(record.head, list(record.buffers))


def _encode_bytes(value: bytes) -> bytes | Encoded:
    if len(value) > settings.INLINE_BYTES_MAX:
        return Encoded(BYTES, b"", [memoryview(value)])
    return _BYTES + value + _stamp(_time())


# Arrays.
#
# Header: length of the header (1) | msgpack [dtype, shape, Fortran order]; the data begins at
# the next multiple of 16 of the record, so that an array on top of it is aligned.

_headers: dict[tuple[str, tuple[int, ...], bool], bytes] = {}
_parsed: dict[bytes, tuple[np.dtype[Any], tuple[int, ...], Any, int]] = {}
_ndarray: Any = None
_frombuffer: Any = None
"""numpy's, once a header was parsed."""
_HEADERS_MAX = 1024
_PLAIN_KINDS = frozenset("biufcSUmM")


def _encode_array(array: np.ndarray[Any, np.dtype[Any]]) -> bytes | Encoded:
    dtype = array.dtype
    if dtype.kind not in _PLAIN_KINDS or dtype.itemsize == 0 or dtype.metadata:
        return _encode_object(array)
    flags = array.flags
    fortran = flags.f_contiguous and not flags.c_contiguous
    key = (dtype.str, array.shape, fortran)
    header = _headers.get(key)
    if header is None:
        header = _encode(key)
        if len(_headers) >= _HEADERS_MAX:
            _headers.clear()
        _headers[key] = header
    if array.nbytes > settings.INLINE_BYTES_MAX or len(header) > 255:
        contiguous = array if fortran or flags.c_contiguous else array.copy(order="C")
        flat = contiguous.reshape(-1, order="A").view("u1")
        return Encoded(TENSOR, header, [memoryview(flat.data)])
    begin = bytes((TENSOR, len(header)))
    padding = bytes(-(2 + len(header)) % 16)
    data = array.tobytes("F" if fortran else "C")
    return b"".join((begin, header, padding, data, _stamp(_time())))


def _decode_array(record: bytes) -> np.ndarray[Any, np.dtype[Any]]:
    size = record[1]
    header = record[2 : 2 + size]
    dtype, shape, order, _ = _parsed.get(header) or _parse(header)
    return _ndarray(shape, dtype, record, (2 + size + 15) & -16, None, order)


def _parse(header: bytes) -> tuple[np.dtype[Any], tuple[int, ...], Any, int]:
    global _ndarray, _frombuffer
    import numpy as np

    text, shape, fortran = _decode_scalar(header)
    parsed = (np.dtype(text), tuple(shape), "F" if fortran else "C", math.prod(shape))
    if len(_parsed) >= _HEADERS_MAX:
        _parsed.clear()
    _parsed[header] = parsed
    _ndarray, _frombuffer = np.ndarray, np.frombuffer
    return parsed


# Everything else.


def _encode_object(value: object) -> bytes | Encoded:
    picked: list[pickle.PickleBuffer] = []
    head = _pickle(value, picked)
    if not picked:
        if len(head) > settings.INLINE_BYTES_MAX:
            return Encoded(PICKLE, b"", [memoryview(head)])
        return _PICKLE + head + _stamp(_time())
    buffers = [buffer.raw() for buffer in picked]
    size = len(head) + sum(map(len, buffers))
    if size <= settings.INLINE_BYTES_MAX:
        return bytes([PACKED]) + _encode((head, buffers)) + _stamp(_time())
    if len(head) > settings.INLINE_BYTES_MAX:
        return Encoded(PICKLE, b"", [memoryview(head), *buffers])
    return Encoded(PICKLE, head, buffers)


def _pickle(value: object, picked: list[pickle.PickleBuffer]) -> bytes:
    try:
        head = _dumps(value, picked)
    except MemoryError:
        raise  # nothing is wrong with the value
    except RecursionError as error:
        raise _too_deep(f"a {type(value).__name__} cannot be pickled") from error
    except Exception as error:  # noqa: BLE001 whatever a user's __reduce__ raises; re-raised below
        head = _cloudpickle(value, picked, error)
    else:
        if b"__main__" in head and sys.modules.get("cloudpickle") is not None:
            # Another process has another __main__: send the definitions along if we can.
            head = _cloudpickle(value, picked, None)
    return head


def dump(value: object) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """Return the pickle of a value, and the buffers that are not in it.

    For who stores it inside of something else, so that what is wrong with loading it is known
    when it is wanted, not before.

    Raises:
        TypeMismatchError: The value cannot be pickled; the reason is its cause.
    """
    picked: list[pickle.PickleBuffer] = []
    return _pickle(value, picked), picked


def undump(head: bytes, buffers: Sequence[memoryview | bytes]) -> Any:
    """Return the value that `dump` made this of.

    Raises:
        TypeMismatchError: It needs a module or a name that is not here.
    """
    return _loads(head, buffers)


def _dumps(value: object, picked: list[pickle.PickleBuffer]) -> bytes:
    if "numpy" not in sys.modules:
        return pickle.dumps(value, protocol=5, buffer_callback=picked.append)
    import numpy as np

    out = io.BytesIO()
    pickler = pickle.Pickler(out, protocol=5, buffer_callback=picked.append)
    pickler.dispatch_table = copyreg.dispatch_table | {np.ndarray: _reduce_array}
    pickler.dump(value)
    return out.getvalue()


def _reduce_array(array: np.ndarray[Any, np.dtype[Any]]) -> Any:
    """Pickle an array; its bytes out of band also where numpy copies them into the pickle.

    numpy does that for datetime64 and timedelta64, which have no buffer format, and for what
    is not contiguous, which also loses its byte order there.
    """
    dtype = array.dtype
    if dtype.hasobject or not dtype.itemsize:
        return array.__reduce_ex__(5)
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    if not (fortran or array.flags.c_contiguous):
        array = array.copy(order="C")
    if dtype.kind not in "mMV":
        return array.__reduce_ex__(5)
    flat = array.reshape(-1, order="A").view("u1")
    # No function of ours: original clients, which have only numpy, are to read it too.
    return type(flat), (array.shape, dtype, flat, 0, None, "F" if fortran else "C")


def _cloudpickle(
    value: object, picked: list[pickle.PickleBuffer], cause: Exception | None
) -> bytes:
    picked.clear()
    try:
        cloudpickle: Any = importlib.import_module("cloudpickle")  # an extra
    except ImportError:
        hint = "pip install 'entrepot[cloudpickle]' stores lambdas and local classes too"
        raise TypeMismatchError(
            f"a {type(value).__name__} cannot be pickled: {cause}", hint
        ) from cause
    pickler_class = cloudpickle.Pickler
    if "numpy" in sys.modules:
        import numpy as np

        table = pickler_class.dispatch_table.new_child({np.ndarray: _reduce_array})
        # A class of its own: a pickler written in C looks at its table only when it is made.
        pickler_class = type("Pickler", (pickler_class,), {"dispatch_table": table})
    out = io.BytesIO()
    try:
        pickler_class(out, protocol=5, buffer_callback=picked.append).dump(value)
        return out.getvalue()
    except MemoryError:
        raise
    except Exception as error:
        raise TypeMismatchError(f"a {type(value).__name__} cannot be pickled: {error}") from error


def _loads(head: bytes | memoryview, buffers: Sequence[memoryview | bytes]) -> Any:
    try:
        return pickle.loads(head, buffers=buffers)  # noqa: S301 within one user's depot; see the guide
    except MemoryError:
        raise  # nothing is wrong with the value
    except RecursionError as error:
        raise _too_deep("a stored value cannot be loaded here") from error
    except Exception as error:
        raise TypeMismatchError(
            f"a stored value cannot be loaded here: {type(error).__name__}: {error}",
            "the module that defines its class must be importable in this process",
        ) from error


def _too_deep(what: str) -> TypeMismatchError:
    return TypeMismatchError(
        f"{what}: it is nested deeper than calls may be",
        "sys.setrecursionlimit() raises the bound",
    )


# What is in a record, without loading it.


class Description(NamedTuple):
    """What can be said of a record without loading the value."""

    typename: str
    nbytes: int
    fields: dict[str, Any]


_SCALAR_TYPES = {
    type(None): "entrepot::None",
    bool: "vineyard::Scalar<bool>",
    int: "vineyard::Scalar<int>",
    float: "vineyard::Scalar<double>",
    str: "vineyard::Scalar<std::string>",
}
_ITEM_TYPES = {
    "b1": "bool", "i1": "int8", "i2": "int16", "i4": "int", "i8": "int64",
    "u1": "uint8", "u2": "uint16", "u4": "uint", "u8": "uint64", "f4": "float", "f8": "double",
}  # fmt: skip


def describe(record: bytes) -> Description:
    """Say what a record holds: vineyard's type name where it has one, the size, the fields."""
    form = record[0]
    body = record[1:-_STAMP_BYTES]
    if form == SCALAR:
        value = _decode_scalar(body)
        return Description(_SCALAR_TYPES[type(value)], len(body), {"value_": value})
    if form == BYTES:
        return Description("vineyard::Blob", len(body), {"length": len(body)})
    if form == TENSOR:
        return _describe_array(record[2 : 2 + record[1]])
    if form == TREE:
        tree = _decode_tree(body)
        return Description(tree.typename, 0, dict(tree.fields))
    if form == FOREIGN:
        descriptor, _, rest = foreign_parts(record, None)
        return Description("nws::Value", len(rest), {"descriptor": descriptor})
    if form & BULK:
        bulk = _decode_bulk(record[_PLACE_BYTES:-_STAMP_BYTES])
        size = len(bulk.head) + sum(bulk.sizes)
        if form == BULK | TENSOR:
            return _describe_array(bulk.head)
        if form == BULK | BYTES:
            return Description("vineyard::Blob", size, {"length": size})
        if form == BULK | SCALAR:
            return Description("vineyard::Scalar<std::string>", size, {})
        if form == BULK | FOREIGN:
            return Description(
                "nws::Value", size, {"descriptor": _foreign_head.unpack_from(bulk.head)[0]}
            )
        return Description("vineyard::PickleBuffer", size, {"buffers": len(bulk.sizes)})
    return Description("vineyard::PickleBuffer", len(body), {})


def _describe_array(header: bytes) -> Description:
    text, shape, fortran = _decode_scalar(header)
    item = _ITEM_TYPES.get(text[1:], text)
    count = 1
    for length in shape:
        count *= length
    size = count * _parse(header)[0].itemsize
    fields = {"shape_": list(shape), "value_type_": item, "order_": "F" if fortran else "C"}
    return Description(f"vineyard::Tensor<{item}>", size, fields)


def check_name(name: object, what: str) -> str:
    """Return a name that can be part of a key.

    Raises:
        TypeMismatchError: It is not a string.
        LimitError: It is too long.
    """
    if not isinstance(name, str):
        raise TypeMismatchError(f"{what} is {name!r}, a {type(name).__name__}", "give a string")
    size = len(name.encode("utf-8", "surrogatepass"))
    if size > settings.NAME_BYTES_MAX:
        raise LimitError(
            f"{what} is {size} bytes long, at most {settings.NAME_BYTES_MAX} are allowed"
        )
    return name


_encoders: dict[type, Callable[[Any], bytes | Encoded]] = {
    type(None): _encode_scalar,
    bool: _encode_scalar,
    int: _encode_scalar,
    float: _encode_scalar,
    str: _encode_scalar,
    bytes: _encode_bytes,
}
