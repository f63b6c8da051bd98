"""Values of attributes: how they are sent, and what is read back."""

from __future__ import annotations

import base64
import decimal
import enum
import fractions
import json
import struct
from array import array
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.v3io.dataplane import Client, kv_array, kv_timestamp
from entrepot.v3io.dataplane.output import GetItemOutput
from entrepot.v3io.dataplane.transport import Actions, verifier
from support.data import TEXT_CODE


def sent(value: object) -> dict[str, Any]:
    """Return how a value is sent."""
    client = Client(transport_kind=verifier.Transport([]))
    request: Any = client.kv.put("b", "t", "k", {"a": value}, transport_actions=Actions.encode_only)
    return json.loads(request.body)["Item"]["a"]


def read(encoded: dict[str, Any]) -> Any:
    """Return what is read of an attribute."""
    return GetItemOutput({"Item": {"a": encoded}}).item["a"]


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 9


NUMBERS = [
    ("int", 10**30, str(10**30), int),
    ("negative", -5, "-5", int),
    ("float", 1.0, "1.0", float),
    ("huge", 1e300, "1e+300", float),
    ("nan", float("nan"), "nan", float),
    ("infinity", float("-inf"), "-inf", float),
    ("int_enum", Level.HIGH, "9", int),
    ("np_int8", np.int8(3), "3", int),
    ("np_uint64", np.uint64(2**64 - 1), str(2**64 - 1), int),
    ("np_float16", np.float16(1.5), "1.5", float),
    ("np_float32", np.float32(0.5), "0.5", float),
    ("np_float64", np.float64(1.5), "1.5", float),
    ("np_longdouble", np.longdouble(1.5), "1.5", float),
]


@pytest.mark.parametrize(
    ("value", "text", "kind"), [n[1:] for n in NUMBERS], ids=[n[0] for n in NUMBERS]
)
def test_a_number_keeps_its_text_and_its_kind(value: Any, text: str, kind: type) -> None:
    assert sent(value) == {"N": text}
    assert type(read({"N": text})) is kind


def test_numbers_of_other_writers_are_read() -> None:
    assert read({"N": "1e3"}) == 1000.0
    assert type(read({"N": "1e3"})) is float
    assert type(read({"N": "1.0"})) is float


OTHERS = [
    ("text", "ä\n", {"S": "ä\n"}),
    ("str_enum", Colour.RED, {"S": "red"}),
    ("np_str", np.str_("x"), {"S": "x"}),
    ("false", False, {"BOOL": False}),
    ("np_bool", np.bool_(True), {"BOOL": True}),
    ("np_bool_0d", np.array(True), {"BOOL": True}),
    ("bytes", b"q", {"B": "cQ=="}),
    ("bytearray", bytearray(b"q"), {"B": "cQ=="}),
    ("np_bytes", np.bytes_(b"q"), {"B": "cQ=="}),
]


@pytest.mark.parametrize(("value", "encoded"), [o[1:] for o in OTHERS], ids=[o[0] for o in OTHERS])
def test_a_value_is_sent_with_its_type(value: Any, encoded: dict[str, Any]) -> None:
    assert sent(value) == encoded
    assert read(encoded) == value


UNSUPPORTED = [
    ("none", None),
    ("dict", {}),
    ("tuple", (1,)),
    ("set", {1}),
    ("complex", 1j),
    ("decimal", decimal.Decimal("1.5")),
    ("fraction", fractions.Fraction(1, 3)),
    ("np_complex", np.complex64(1)),
    ("np_datetime", np.datetime64("2020-01-01T00:00:00", "ns")),
    ("np_timedelta", np.timedelta64(1, "s")),
    ("np_array", np.array([1, 2])),
    ("np_array_of_one", np.array([True])),
    ("array_of_text", array(TEXT_CODE, "x")),
]


@pytest.mark.parametrize("value", [u[1] for u in UNSUPPORTED], ids=[u[0] for u in UNSUPPORTED])
def test_a_value_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(AttributeError, match=r"^Attribute a has unsupported type <class '"):
        sent(value)


def test_a_name_that_is_no_text_is_not_sent() -> None:
    client = Client(transport_kind=verifier.Transport([]))
    attributes: Any = {"a": 1, 5: 1}
    for call in (client.kv.put, client.kv.update):
        with pytest.raises(TypeError, match=r"^an attribute is named 5, a int"):
            call("b", "t", "k", attributes=attributes)


def test_a_text_has_at_most_61199_characters() -> None:
    assert sent("x" * 61199) == {"S": "x" * 61199}
    text = r"Attribute a is too long\(61200 bytes\) when max is 61199 bytes"
    with pytest.raises(AttributeError, match=text):
        sent("x" * 61200)


LISTS = [
    ("ints", [1, -2], [1, -2]),
    ("floats", [1.0, 2], [1.0, 2.0]),
    ("empty", [], []),
    ("np_ints", [np.int32(4)], [4]),
    ("np_floats", [np.float32(0.5), 1], [0.5, 1.0]),
    ("long_array", array("l", [1, 2]), [1, 2]),
    ("byte_array", array("B", [1, 255]), [1, 255]),
    ("double_array", array("d", [1.5]), [1.5]),
    ("float_array", array("f", [1.5]), [1.5]),
]


@pytest.mark.parametrize(
    ("value", "back"), [row[1:] for row in LISTS], ids=[row[0] for row in LISTS]
)
def test_a_list_of_numbers_is_read_as_a_list(value: Any, back: list[float]) -> None:
    again = read(sent(value))
    assert again == back
    assert [type(number) for number in again] == [type(number) for number in back]


@pytest.mark.parametrize("value", [[1, 2.5], ["a"], [2**63]], ids=["mixed", "text", "too_large"])
def test_a_list_of_other_things_is_refused(value: list[Any]) -> None:
    with pytest.raises(struct.error):
        sent(value)


def test_an_array_is_little_endian_on_every_machine() -> None:
    assert kv_array.encode_list([1, 2, 3])[:8] == b"MEGrAAEA"
    raw = base64.b64decode(kv_array.encode_array([1], "l"))
    assert raw == bytes.fromhex("3041ab00 01000000 08000000 03010000 0100000000000000")
    assert (kv_array.OPERAND_TYPE_LONG, kv_array.OPERAND_TYPE_DOUBLE) == (259, 261)
    with pytest.raises(ValueError, match="type code 'u'"):
        kv_array.encode_array([1], "u")


HEAD = struct.pack("<II", 11223344, 1)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"other bytes of some length",
        HEAD,
        HEAD + b"\0",
        HEAD + struct.pack("<II", 8, 259),
        HEAD + struct.pack("<II", 7, 259) + b"1234567",
        HEAD + struct.pack("<II", 8, 260) + b"12345678",
        HEAD + struct.pack("<II", 2**32 - 8, 259) + b"12345678",
    ],
    ids=["empty", "other", "head", "short", "missing", "odd", "unknown", "lying"],
)
def test_bytes_that_are_no_array_stay_bytes(blob: bytes) -> None:
    with pytest.raises(ValueError, match="Not an encoded array"):
        kv_array.decode(blob)
    assert read({"B": base64.b64encode(blob).decode()}) == blob


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1)) | st.lists(st.floats(allow_nan=False), min_size=1)
)
def test_every_list_comes_back(numbers: list[float]) -> None:
    assert kv_array.decode(base64.b64decode(kv_array.encode_list(numbers))) == numbers


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (datetime(2020, 1, 2, 3, 4, 5, 678901, UTC), "1577934245:678900957"),
        (datetime(2020, 1, 2, 4, 4, 5, tzinfo=timezone(timedelta(hours=1))), "1577934245:0"),
        (datetime(1969, 12, 31, 23, 59, 59, 500000, UTC), "-1:500000000"),
    ],
    ids=["microseconds", "other_zone", "before_1970"],
)
def test_a_time_is_seconds_and_nanoseconds(time: datetime, text: str) -> None:
    assert kv_timestamp.encode(time) == text
    assert sent(time) == {"TS": text}
    assert read({"TS": text}) == time
    assert read({"TS": text}).tzinfo is UTC


def test_a_time_without_a_zone_is_local() -> None:
    local = datetime(2020, 1, 2, 3, 4, 5)  # noqa: DTZ001 local on purpose
    assert kv_timestamp.decode(kv_timestamp.encode(local)) == local.astimezone(UTC)


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 the zone comes next
def test_every_time_comes_back(time: datetime) -> None:
    time = time.replace(tzinfo=UTC)
    assert kv_timestamp.decode(kv_timestamp.encode(time)) == time


@pytest.mark.parametrize("text", ["", "5", "a:b", "1:2:3"], ids=["empty", "one", "text", "three"])
def test_a_time_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        kv_timestamp.decode(text)
