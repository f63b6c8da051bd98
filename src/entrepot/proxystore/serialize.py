r"""Objects into bytes, and back.

Two letters and a newline say how; what follows is, for the original's forms::

    BS\n bytes          PD\n pickle of a pandas object
    US\n UTF-8          PL\n polars' IPC
    NP\n numpy.save     PK\n pickle
                        CP\n pickle by cloudpickle

and for objects whose arrays are large, wherever in them they are, one of ours::

    EV\n flags (1) | size of the pickle, count of buffers (4 + 4) | their sizes (8 each) |
    pickle | padding | buffers, each at a multiple of 64

Arrays are written so that their data begins at a multiple of 64, and are read as views: of
what a connector gives without a copy, there is none at all. Such arrays are read-only.
"""

from __future__ import annotations

import ast
import importlib
import io
import pickle
import struct
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, cast

from entrepot.errors import EntrepotError
from entrepot.layers import values
from entrepot.proxystore.connectors.protocols import BytesLike

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "DeserializerT",
    "SerializationError",
    "SerializerT",
    "deserialize",
    "is_bytes_like",
    "serialize",
    "serialize_parts",
]

SerializerT: TypeAlias = Callable[[Any], BytesLike]
DeserializerT: TypeAlias = Callable[[BytesLike], Any]

_ID_BYTES = 3
_ALIGNMENT = 64
_OUT_OF_BAND_MIN = 16 << 10
"""Fewer bytes of arrays stay inside the pickle, which the original can read."""
_HEADERS_MAX = 1024
_MAGIC = b"\x93NUMPY"
_VERSIONS = {1: "<H", 2: "<I", 3: "<I"}
"""Of numpy's file format, and how long the length of the header is there."""
_FLAGS = b"\x00"
_COUNTS = struct.Struct("<II")


class SerializationError(Exception):
    """An object cannot be made bytes, or bytes no object."""


def serialize(obj: Any) -> bytes:
    """Return an object as bytes.

    Raises:
        SerializationError: It cannot be pickled.
    """
    return b"".join(serialize_parts(obj))


def serialize_parts(obj: Any) -> list[bytes | memoryview]:
    """Return an object as bytes in pieces, without a copy of its arrays.

    Raises:
        SerializationError: It cannot be pickled.
    """
    if type(obj) is bytes:
        return [b"BS\n", obj]
    if type(obj) is str:
        try:
            return [b"US\n", obj.encode()]
        except UnicodeEncodeError:  # lone surrogates
            return _pickled(obj, b"PK\n")
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and type(obj) is numpy.ndarray and not obj.dtype.hasobject:
        return _array_parts(obj)
    return _pickled(obj, b"PD\n" if _is_pandas(obj) else b"PK\n")


def deserialize(buffer: BytesLike) -> Any:
    """Return the object of bytes that `serialize`, or the original's, made.

    Raises:
        SerializationError: They were made by something else, or are damaged.
        ValueError: `buffer` is no bytes.
    """
    if not is_bytes_like(buffer):
        raise ValueError(f"Expected data to be a bytes-like type, not {type(buffer)}.")
    view = memoryview(buffer)
    how = bytes(view[:_ID_BYTES])
    read = _READERS.get(how)
    if read is None:
        cut = f" {len(how)} bytes are no object." if len(how) < _ID_BYTES else ""
        raise SerializationError(f"Unknown identifier {how.strip()!r} for deserialization.{cut}")
    try:
        return read(view[_ID_BYTES:])
    except MemoryError:
        raise  # nothing is wrong with the bytes
    except Exception as error:
        raise SerializationError(
            f"{view.nbytes} bytes of form {how.strip().decode()} make no object here: {error}"
        ) from error


def is_bytes_like(obj: Any) -> TypeGuard[BytesLike]:
    """Tell whether an object is bytes, a bytearray or a memoryview."""
    return isinstance(obj, (bytes, bytearray, memoryview))


# Arrays.


def _array_parts(array: np.ndarray[Any, np.dtype[Any]]) -> list[bytes | memoryview]:
    import numpy as np

    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    if not (fortran or array.flags.c_contiguous):
        array = array.copy(order="C")
    described: Any = np.lib.format.header_data_from_array_1_0(array)
    text = "".join(f"'{name}': {described[name]!r}, " for name in sorted(described))
    header = f"{{{text}}}".encode()
    major, kind = (1, "<H") if len(header) < (1 << 16) - 2 * _ALIGNMENT else (3, "<I")
    start = _ID_BYTES + len(_MAGIC) + 2 + struct.calcsize(kind)
    header += b" " * (-(start + len(header) + 1) % _ALIGNMENT) + b"\n"
    head = b"".join((b"NP\n", _MAGIC, bytes([major, 0]), struct.pack(kind, len(header)), header))
    if not array.nbytes:
        return [head]
    flat = array.reshape(-1, order="A").view(np.uint8)
    return [head, memoryview(cast("Any", flat))]


_headers: dict[bytes, tuple[np.dtype[Any], tuple[int, ...], bool, int]] = {}


def _array_of(view: memoryview) -> Any:
    import numpy as np

    if bytes(view[: len(_MAGIC)]) != _MAGIC:
        raise ValueError("there is no array")
    kind = _VERSIONS[view[len(_MAGIC)]]
    begin = len(_MAGIC) + 2
    (size,) = struct.unpack_from(kind, view, begin)
    begin += struct.calcsize(kind)
    header = bytes(view[begin : begin + size])
    parsed = _headers.get(header)
    if parsed is None:
        parsed = _parsed(header)
    dtype, shape, fortran, count = parsed
    if dtype.hasobject:
        return np.load(io.BytesIO(view), allow_pickle=True)
    at = begin + size
    if count and dtype.itemsize:
        flat: Any = np.frombuffer(view, dtype, count, at)
        if not flat.flags.aligned:  # it lay in a catalog: it is small
            flat = flat.copy()
            flat.flags.writeable = False
    else:
        flat = np.empty(count, dtype)
        flat.flags.writeable = False
    return flat.reshape(shape, order="F" if fortran else "C")


def _parsed(header: bytes) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    import numpy as np

    described: Any = ast.literal_eval(header.decode().strip())
    shape = tuple(described["shape"])
    count = 1
    for length in shape:
        count *= length
    dtype: Any = np.lib.format.descr_to_dtype(described["descr"])
    parsed = (dtype, shape, bool(described["fortran_order"]), count)
    if len(_headers) >= _HEADERS_MAX:
        _headers.clear()
    _headers[header] = parsed
    return parsed


# Everything else.


def _is_pandas(obj: object) -> bool:
    pandas: Any = sys.modules.get("pandas")
    # Not isinstance(), which would fetch what a proxy stands for.
    return pandas is not None and issubclass(type(obj), pandas.DataFrame)


def _pickled(obj: Any, form: bytes) -> list[bytes | memoryview]:
    try:
        head, picked = values.dump(obj)
    except EntrepotError as error:
        raise SerializationError(f"Object of type {type(obj)} is not supported: {error}") from error
    buffers = [buffer.raw() for buffer in picked]
    if sum(map(len, buffers)) < _OUT_OF_BAND_MIN:
        return [form, *values.filled(head, buffers)]
    sizes = [len(buffer) for buffer in buffers]
    begin = b"".join(
        (
            b"EV\n",
            _FLAGS,
            _COUNTS.pack(len(head), len(sizes)),
            struct.pack(f"<{len(sizes)}Q", *sizes),
            head,
        )
    )
    parts: list[bytes | memoryview] = [begin]
    before = len(begin)
    for buffer in buffers:
        parts += [bytes(-before % _ALIGNMENT), buffer]
        before = len(buffer)
    return parts


def _object_of(view: memoryview) -> Any:
    at = len(_FLAGS)
    if bytes(view[:at]) != _FLAGS:
        raise ValueError("a later version wrote it")
    size, count = _COUNTS.unpack_from(view, at)
    at += _COUNTS.size
    sizes: Sequence[int] = struct.unpack_from(f"<{count}Q", view, at)
    at += 8 * count
    head = view[at : at + size]
    at += _ID_BYTES + size  # from the identifier on, which alignment counts from
    buffers: list[memoryview] = []
    for length in sizes:
        at += -at % _ALIGNMENT
        buffers.append(view[at - _ID_BYTES : at - _ID_BYTES + length])
        at += length
    if at - _ID_BYTES > len(view):
        raise ValueError(f"the last {at - _ID_BYTES - len(view)} bytes are missing")
    return values.undump(bytes(head), [buffer.toreadonly() for buffer in buffers])


def _polars_of(view: memoryview) -> Any:
    polars: Any = importlib.import_module("polars")
    return polars.read_ipc(io.BytesIO(view))


_READERS: dict[bytes, Callable[[memoryview], Any]] = {
    b"BS\n": bytes,
    b"US\n": lambda view: str(view, "utf-8"),
    b"NP\n": _array_of,
    b"PD\n": pickle.loads,
    b"PL\n": _polars_of,
    b"PK\n": pickle.loads,
    b"CP\n": pickle.loads,
    b"EV\n": _object_of,
}
