"""The language of conditions, filters and updates."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from entrepot import settings
from entrepot.errors import ExpressionError, LimitError, TypeMismatchError
from entrepot.layers.attributes import MISSING, Timestamp
from entrepot.layers.expressions import condition, updating

BOB: dict[str, Any] = {
    "age": 42,
    "name": "bob",
    "height": 1.5,
    "ok": True,
    "ints": array("q", [1, 2, 3]),
    "doubles": array("d", [1.5, 2.5]),
    "blob": b"xy",
    "when": Timestamp(5, 6),
    "exists": True,
    "odd name": 7,
    "Age": 1,
}


def resolve(name: str) -> Any:
    return lambda item: item.get(name, MISSING)


def holds(text: str, **parameters: object) -> bool:
    found = condition(text, parameters)
    return found is None or found.compile(resolve)(dict(BOB))


def updated(text: str, item: dict[str, Any] | None = None, **parameters: object) -> dict[str, Any]:
    attributes = {
        name: value[:] if isinstance(value, array) else value
        for name, value in (BOB if item is None else item).items()
    }
    updating(text, parameters).compile(resolve)(attributes, attributes)
    return attributes


TRUE = [
    "",
    "   ",
    "age > 15",
    "age>15 and name=='bob'",
    "AGE != 3 or Age == 1",
    "not (missing == 1)",
    "NOT missing != 1",
    "NOT NOT age == 42",
    "ok == true",
    "ok == True",
    "ok",
    "age",
    "(ok == TRUE) * 4 + 1 == 5",
    "starts(name, 'b') and ends(name, 'ob') and contains(name, 'o')",
    "length(ints) == 3 and length(name) == 3 and length(ints[0..1]) == 2",
    "ints[2] == ints[0] + ints[1]",
    "max(ints[0..1]) == 2 and min(ints) == 1 and max(doubles) == 2.5",
    "max(1.0, 9) == 9.0 and min('a', 'b') == 'a'",
    "name IN ('al', \"bob\")",
    "age in (42.0)",
    "age in (missing, age)",
    "when < 5:7 and when > -5:0",
    "height == 3 / 2.0",
    "7 / 2 == 3 and -7 / 2 == -3 and 7 / -2 == -3",
    "2 + 3 * 4 == 14 and (2 + 3) * 4 == 20 and 10 - 3 - 2 == 5",
    "1 << 3 | 1 == 9",
    "(6 & 3) == 2 and (6 ^ 3) == 5 and (6 | 1) == 7 and ~0 == -1",
    ".5 == 0.5 and 1e3 == 1000 and 5. == 5",
    "`exists` == true and `odd name` == 7",
    "exists(age) and not exists(nope)",
    "length('abc' + 'efg') == 6",
    "'it''s' == \"it's\" and 'a\"b' != 'x'",
    "blob == blob('eHk=')",
    "if_not_exists(nope, 5) == 5 and if_not_exists(age, 5) == 42",
    "if_else(age > 40, 1, nope) == 1 and if_else(age < 40, nope[0], 2) == 2",
    "not isnan(height)",
    "true and not false",
    "age >= 42 and age <= 42 and 42 == age and 41 < age",
    "psum(ints, ints) == psum(ints, ints)",
    "pmax(ints[0..1], ints[1..2]) == ints[1..2]",
]
FALSE = [
    "age > 42",
    "missing == 1",
    "missing != 1",
    "missing == missing",
    "missing + 1 > 0",
    "-missing < 0",
    "missing[0] == 1 or ints[missing] == 1 or length(missing) == 0",
    "max(missing, 1) == 1 or pmax(missing, ints) == ints",
    "age == '42'",
    "age != '42'",
    "ok == 1",
    "starts(age, '4')",
    "name IN (1, 2)",
    "ints IN (1)",
    "ints < ints",
    "missing",
    "isnan(name)",
    "BOB == 1",
]


@pytest.mark.parametrize("text", TRUE)
def test_these_conditions_hold_for_bob(text: str):
    assert holds(text) is True or holds(text) == 1


@pytest.mark.parametrize("text", FALSE)
def test_these_conditions_are_false_and_no_error(text: str):
    assert not holds(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("temp=age; age=height; height=temp; REMOVE temp", {"age": 1.5, "height": 42}),
        ("SET ctr = if_not_exists(ctr,0) + 1;", {"ctr": 1}),
        ("remove age", {"age": None}),
        ("DELETE(age); delete(nope)", {"age": None}),
        ("ints[1]=ints[1]*2", {"ints": array("q", [1, 4, 3])}),
        ("arr=init_array(3, 'int'); arr[1]=1; arr[2]=arr[1]+1;", {"arr": array("q", [0, 1, 2])}),
        ("a=init_array(2,'double',1.5); a[0..1]=psum(a[0..1], a)", {"a": array("d", [3, 3])}),
        ("x = ints; x[0] = 9", {"x": array("q", [9, 2, 3])}),
        ("b = ints[0..1]", {"b": array("q", [1, 2])}),
        ("ints[0..1] = 7", {"ints": array("q", [7, 7, 3])}),
        ("ints[0] = 2.9", {"ints": array("q", [2, 2, 3])}),
        ("doubles[0] = 2", {"doubles": array("d", [2.0, 2.5])}),
        (
            "res=(1 in (1,2,3))*10 + (starts('abc','xx'))*100 + (ends('abc','bc'))*1000;",
            {"res": 1010},
        ),
        ("v=if_not_exists(v,blob('')) + blob('YWI=')", {"v": b"ab"}),
        ("old = age > 40", {"old": True}),
        (
            "a=if_else((if_not_exists(_a,0:0)<1594289596:0),init_array(1,'double',0.0),a)",
            {"a": array("d", [0.0])},
        ),
        (" ; ;; ", {}),
        ("", {}),
        ("when = 7:8", {"when": Timestamp(7, 8)}),
        ("`set` = 1", {"set": 1}),
    ],
)
def test_an_update_does_its_actions_from_left_to_right(text: str, expected: dict[str, Any]):
    found = updated(text)
    for name, value in expected.items():
        assert found.get(name) == value
        assert type(found.get(name)) is type(value)
    rest = {name: value for name, value in BOB.items() if name not in expected}
    assert {name: found[name] for name in rest} == rest


@pytest.mark.parametrize(
    "text",
    [
        "z = missing",
        "z = missing + 1",
        "z = 1 / 0",
        "z = 1.5 / 0",
        "z = 'a' + 1",
        "z = 'a' * 2",
        "z = -name",
        "z = ~height",
        "z = 1 << 64",
        "z = 1.0 | 1",
        "z = 9223372036854775807 * 9223372036854775807",
        "ints[3] = 1",
        "ints[-1] = 1",
        "ints[0..3] = 1",
        "ints[2..1] = 1",
        "ints[ok] = 1",
        "age[0] = 1",
        "nope[0] = 1",
        "ints[0] = 'a'",
        "ints[0] = 1e300",
        "ints[0..1] = ints",
        "z = max(age)",
        "z = max(init_array(0, 'int'))",
        "z = max(age, name)",
        "z = length(age)",
        "z = init_array(-1, 'int')",
        "z = init_array(1, 'text')",
        "z = psum(ints, ints[0..1])",
        "z = if_else(name, 1, 2)",
    ],
)
def test_an_update_that_cannot_be_worked_out_says_so(text: str):
    with pytest.raises(ExpressionError):
        updated(text)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("age >", 5),
        ("age > > 1", 6),
        ("age = 1", 4),
        ("(age > 1", 8),
        ("age > 1)", 7),
        ("nope(1)", 0),
        ("1 + length(1, 2)", 4),
        ("exists(1)", 0),
        ("name == 'bob", 8),
        ("age ? 1", 4),
        ("blob('?')", 0),
        ("a[1", 3),
        ("1:9999999999 == a", 0),
        ("age in ()", 8),
    ],
)
def test_an_error_in_the_text_names_its_place(text: str, position: int):
    with pytest.raises(ExpressionError, match=f"character {position + 1}") as raised:
        condition(text, {})
    assert raised.value.position == position


@pytest.mark.parametrize(
    "text", ["age == 1", "age", "5 = age", "remove", "drop(age)", "a = 1 b = 2"]
)
def test_what_is_no_update_is_refused(text: str):
    with pytest.raises(ExpressionError):
        updating(text, {})


def test_parameters_stand_for_values_and_never_for_text():
    assert holds("name == :n and age > :least", n="bob", least=15)
    assert not holds("name == :n", n="' or true or '")
    assert updated("x = :x", x="it's")["x"] == "it's"
    assert updated("x = :x", x=[1, 2])["x"] == array("q", [1, 2])
    with pytest.raises(ExpressionError, match=":nope"):
        holds("age == :nope")
    with pytest.raises(TypeMismatchError):
        holds("age == :n", n=None)


def test_the_size_of_a_text_is_bounded_and_not_its_length_in_actions():
    many = 1500
    assert len(updated(";".join(f"a{n}=1" for n in range(many)), {})) == many
    assert holds(" or ".join(["age == 1"] * 2000 + ["age == 42"]))
    deep = settings.EXPRESSION_NESTING_MAX
    assert holds("(" * deep + "true" + ")" * deep)
    with pytest.raises(LimitError):
        holds("(" * (deep + 1) + "true" + ")" * (deep + 1))
    with pytest.raises(LimitError):
        holds("'" + "x" * settings.EXPRESSION_CHARS_MAX + "'")
    with pytest.raises(TypeMismatchError):
        condition(5, {})  # pyright: ignore[reportArgumentType] on purpose


def test_a_number_that_is_negated_twice_is_true_or_false():
    assert updated("x = (not not age)")["x"] is True
    assert updated("x = (not not not age)")["x"] is False
    assert updated("x = (not not not not missing)")["x"] is False
    assert holds("not " * 2001 + "missing")
