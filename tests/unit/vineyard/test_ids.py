"""ObjectID and ObjectName."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import entrepot.vineyard as vineyard
from entrepot.vineyard import ObjectID, ObjectName


def test_the_documents_example() -> None:
    id = ObjectID("000043c5c6d5e646")
    assert repr(id) == "000043c5c6d5e646"
    assert str(id) == f"{id}" == 'ObjectID <"000043c5c6d5e646">'
    assert int(id) == 74516723525190


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ("o000043c5c6d5e646", 74516723525190),
        ("43c5c6d5e646", 74516723525190),
        (0, 0),
        (2**64 - 1, 2**64 - 1),
        (True, 1),
        (np.uint64(7), 7),
        (ObjectID(9), 9),
    ],
    ids=repr,
)
def test_what_an_id_is_made_of(given: Any, number: int) -> None:
    assert int(ObjectID(given)) == int(ObjectID(id=given)) == number


def test_an_id_of_nothing_is_all_ones() -> None:
    assert int(ObjectID()) == 2**64 - 1


@pytest.mark.parametrize("wrong", [-1, 2**64, 1.5, None, b"43", [1]], ids=repr)
def test_what_is_no_id(wrong: Any) -> None:
    with pytest.raises(TypeError):
        ObjectID(wrong)


@pytest.mark.parametrize("wrong", ["", "o", "xyz", "0" * 17, "o 1", "0x1"])
def test_a_text_that_is_no_id(wrong: str) -> None:
    with pytest.raises(ValueError, match="no object id"):
        ObjectID(wrong)


def test_ids_are_equal_to_ids_only_and_can_be_keys() -> None:
    assert ObjectID(5) == ObjectID("5") != ObjectID(6)
    assert ObjectID(5) != 5
    assert ObjectID(5) != "5"
    assert len({ObjectID(5), ObjectID(5), ObjectID(6)}) == 2
    assert hash(ObjectID(5)) == hash(5)


def test_ids_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        ObjectID(5).number = 6


@pytest.mark.parametrize("kind", [ObjectID(5), ObjectName("a b")], ids=repr)
def test_ids_and_names_can_be_copied_and_pickled(kind: Any) -> None:
    assert pickle.loads(pickle.dumps(kind)) == copy.copy(kind) == copy.deepcopy(kind) == kind


def test_uris_name_ids_and_names() -> None:
    id = ObjectID("000043c5c6d5e646")
    assert id.uri == "vineyard://o000043c5c6d5e646"
    assert ObjectID.from_uri(id.uri) == id
    name = ObjectName("abc")
    assert name.uri == "vineyard://abc"
    assert ObjectName.from_uri(name.uri) == name
    with pytest.raises(vineyard._C.UserInputErrorException):
        ObjectID.from_uri("http://abc")


def test_names_are_equal_to_names_only() -> None:
    name = ObjectName("abc")
    assert (repr(name), str(name), hash(name)) == ("'abc'", "abc", hash("abc"))
    assert name != "abc"
    with pytest.raises(TypeError):
        ObjectName(5)
