"""The exceptions of vineyard's API: one class for each status code of its protocol."""

from __future__ import annotations

from typing import ClassVar

from entrepot import errors

__all__ = ["CODES", "VineyardException", "from_code", "translated"]


class VineyardException(RuntimeError):
    """The base of all that vineyard raises on purpose."""

    kind: ClassVar[str] = "Unknown error"

    def __init__(self, detail: str = "") -> None:
        text = f"{self.kind}: {detail}" if detail else self.kind
        super().__init__(text)
        self.detail = detail

    def __reduce__(self) -> tuple[type[VineyardException], tuple[str]]:
        return type(self), (self.detail,)

    def __str__(self) -> str:  # a KeyError would put quotes around it
        return str(self.args[0]) if self.args else self.kind


_KINDS: dict[int, tuple[str, str, type[Exception] | None]] = {
    1: ("Invalid", "Invalid", ValueError),
    2: ("KeyError", "Key error", KeyError),
    3: ("TypeError", "Type error", TypeError),
    4: ("IOError", "IOError", OSError),
    5: ("EndOfFile", "End of file", EOFError),
    6: ("NotImplemented", "Not implemented", NotImplementedError),
    7: ("AssertionFailed", "Assertion failed", AssertionError),
    8: ("UserInputError", "User input error", ValueError),
    11: ("ObjectExists", "Object exists", None),
    12: ("ObjectNotExists", "Object not exists", KeyError),
    13: ("ObjectSealed", "Object sealed", None),
    14: ("ObjectNotSealed", "Object not sealed", None),
    15: ("ObjectIsBlob", "Object is blob", None),
    16: ("ObjectTypeError", "Object type error", TypeError),
    17: ("ObjectSpilled", "Object spilled", None),
    18: ("ObjectNotSpilled", "Object not spilled", None),
    21: ("MetaTreeInvalid", "Metatree invalid", ValueError),
    22: ("MetaTreeTypeInvalid", "Metatree type invalid", None),
    23: ("MetaTreeTypeNotExists", "Metatree type not exists", None),
    24: ("MetaTreeNameInvalid", "Metatree name invalid", None),
    25: ("MetaTreeNameNotExists", "Metatree name not exists", None),
    26: ("MetaTreeLinkInvalid", "Metatree link invalid", None),
    27: ("MetaTreeSubtreeNotExists", "Metatree subtree not exists", KeyError),
    31: ("VineyardServerNotReady", "Vineyard server not ready", None),
    32: ("ArrowError", "Arrow error", None),
    33: ("ConnectionFailed", "Connection failed", ConnectionError),
    34: ("ConnectionError", "Connection error", ConnectionError),
    35: ("EtcdError", "Etcd error", None),
    36: ("AlreadyStopped", "Already stopped", None),
    37: ("RedisError", "Redis error", None),
    41: ("NotEnoughMemory", "Not enough memory", MemoryError),
    42: ("StreamDrained", "Stream drained", None),
    43: ("StreamFailed", "Stream failed", None),
    44: ("InvalidStreamState", "Invalid stream state", None),
    45: ("StreamOpened", "Stream opened", None),
    51: ("GlobalObjectInvalid", "Global object invalid", None),
    255: ("UnknownError", "Unknown error", None),
}


def _make(code: int, name: str, kind: str, builtin: type[Exception] | None) -> type:
    # OSError and ConnectionError want a constructor of their own: left out where it clashes.
    bases = (VineyardException,) if builtin is None else (VineyardException, builtin)
    body = {
        "kind": kind,
        "code": code,
        "__module__": "entrepot.vineyard._C",
        "__doc__": f"Status {code} of vineyard's protocol.",
    }
    return type(f"{name}Exception", bases, body)


CODES: dict[int, type[VineyardException]] = {
    code: _make(code, name, kind, builtin) for code, (name, kind, builtin) in _KINDS.items()
}
"""Exception classes by status code."""

InvalidException = CODES[1]
TypeErrorException = CODES[3]
IOErrorException = CODES[4]
NotImplementedException = CODES[6]
AssertionFailedException = CODES[7]
UserInputErrorException = CODES[8]
ObjectExistsException = CODES[11]
ObjectNotExistsException = CODES[12]
ObjectSealedException = CODES[13]
ObjectNotSealedException = CODES[14]
MetaTreeInvalidException = CODES[21]
MetaTreeSubtreeNotExistsException = CODES[27]
ConnectionFailedException = CODES[33]
ConnectionErrorException = CODES[34]
NotEnoughMemoryException = CODES[41]
StreamDrainedException = CODES[42]
StreamFailedException = CODES[43]
InvalidStreamStateException = CODES[44]
StreamOpenedException = CODES[45]
GlobalObjectInvalidException = CODES[51]


def from_code(code: int, message: str) -> VineyardException:
    """Return the exception for a status code that a server sent."""
    return CODES.get(code, CODES[255])(message)


_TRANSLATIONS: tuple[tuple[type[errors.EntrepotError], int], ...] = (
    (errors.OutOfMemoryError, 41),
    (errors.NotFoundError, 12),
    (errors.ClosedError, 34),
    (errors.UnavailableError, 34),
    (errors.TypeMismatchError, 3),
    (errors.LimitError, 1),
    (errors.ConflictError, 1),
    (errors.ExistsError, 11),
)


def translated(error: errors.EntrepotError) -> Exception:
    """Return vineyard's exception for one of ours; ours itself where it has none."""
    for ours, code in _TRANSLATIONS:
        if isinstance(error, ours):
            return CODES[code](str(error))
    return error
