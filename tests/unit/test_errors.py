"""Errors: one tree, each with the builtin to catch it by, whole after pickling."""

from __future__ import annotations

import copy
import errno
import pickle
import queue
import re

import pytest

import entrepot
from entrepot import errors
from entrepot.errors import EntrepotError

BUILTINS = {
    "AccessDeniedError": PermissionError,
    "ClosedError": RuntimeError,
    "ConditionError": ValueError,
    "ConflictError": ValueError,
    "CorruptError": OSError,
    "DiskFullError": OSError,
    "ExistsError": ValueError,
    "ExpressionError": ValueError,
    "FormatError": ValueError,
    "LimitError": ValueError,
    "FullError": queue.Full,
    "ProducersGoneError": EOFError,
    "NotFoundError": KeyError,
    "OutOfMemoryError": MemoryError,
    "TypeMismatchError": TypeError,
    "UnavailableError": ConnectionError,
    "WaitTimeoutError": TimeoutError,
}
NUMBERS = {
    "AccessDeniedError": errno.EACCES,
    "CorruptError": errno.EIO,
    "DiskFullError": errno.ENOSPC,
    "UnavailableError": errno.EBUSY,
    "WaitTimeoutError": errno.ETIMEDOUT,
}

ALL = [getattr(errors, name) for name in errors.__all__]
every_error = pytest.mark.parametrize("error", ALL, ids=errors.__all__)


def test_every_error_of_the_file_is_in_the_tree_and_has_its_builtin() -> None:
    assert {cls.__name__ for cls in ALL} == {*BUILTINS, "EntrepotError"}
    drawn = dict(re.findall(r"[├└]── (\w+) +\((\w+)\)", errors.__doc__ or ""))
    assert drawn == {name: builtin.__name__ for name, builtin in BUILTINS.items()}


def test_every_error_is_a_name_of_the_package() -> None:
    assert {name for name in entrepot.__all__ if name.endswith("Error")} == set(errors.__all__)
    assert all(getattr(entrepot, name) is getattr(errors, name) for name in errors.__all__)


@pytest.mark.parametrize(("name", "builtin"), BUILTINS.items())
def test_an_error_is_caught_as_its_builtin_and_as_ours(name: str, builtin: type[Exception]) -> None:
    error = getattr(errors, name)
    assert error.__bases__ == (EntrepotError, builtin)
    with pytest.raises(builtin, match="what happened"):
        raise error("what happened", "what to do")


@every_error
def test_the_text_is_the_message_and_the_hint_without_quotes(error: type[EntrepotError]) -> None:
    assert str(error("no 'x' here")) == "no 'x' here"
    assert str(error("no 'x' here", "make one")) == "no 'x' here (make one)"
    assert str(error()) == ""


@every_error
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickling_and_copying(error: type[EntrepotError], protocol: int) -> None:
    original = error("message \N{SNOWMAN}", "hint")
    original.add_note("a note")
    for twin in (
        pickle.loads(pickle.dumps(original, protocol)),
        copy.copy(original),
        copy.deepcopy(original),
    ):
        assert type(twin) is error
        assert (twin.message, twin.hint, str(twin)) == (
            "message \N{SNOWMAN}",
            "hint",
            str(original),
        )
        assert twin.args == original.args
        assert twin.__notes__ == ["a note"]


@pytest.mark.parametrize("name", BUILTINS)
def test_an_os_error_carries_the_number_that_its_handlers_look_at(name: str) -> None:
    error = getattr(errors, name)("message", "hint")
    assert isinstance(error, OSError) == (name in NUMBERS)
    if isinstance(error, OSError):
        for twin in (error, pickle.loads(pickle.dumps(error))):
            assert twin.errno == NUMBERS[name]
            assert twin.strerror == "message"
            assert twin.filename is None
