"""Patterns that vineyard's clients send: what they match, and what is refused."""

from __future__ import annotations

import sys

import pytest

from entrepot.errors import LimitError
from entrepot.gateways.vineyard import patterns
from entrepot.gateways.vineyard.patterns import NAME_BYTES_MAX, bounded_matcher
from entrepot.vineyard._errors import InvalidException, NotImplementedException


def with_re2() -> None:
    """Skip the test where the package is not installed."""
    pytest.importorskip("re2", reason="pip install 'entrepot[serve]'")


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("vineyard::(Tensor|Blob)<.*>", "vineyard::Tensor<double>"),
        (r"vineyard::\w+(<[a-z\d]+>)?", "vineyard::Table"),
        ("[[:alpha:]]+", "abc"),
        (r"\d{2,3}", "12"),
        (".*?::.+?", "a::b"),
        ("(?:a|b)*", "abba"),
        ("^a$", "a"),
        ("a.c", "aäc"),
        (r"a\/b", "a/b"),
        ("(?i)ABC", "abc"),
        (".*", "\n"),
    ],
    ids=[
        "choice",
        "classes",
        "posix",
        "counts",
        "lazy",
        "group",
        "anchors",
        "unicode",
        "escape",
        "case",
        "line",
    ],
)
def test_a_pattern_matches_a_whole_name(pattern: str, name: str) -> None:
    with_re2()
    matches = bounded_matcher(pattern, regex=True)
    assert matches(name) == (name != "\n")
    assert not matches(f"{name}\n!")
    assert not matches(f"\n{name}")


def test_a_glob_matches_a_whole_name() -> None:
    matches = bounded_matcher("a*[0-9]?", regex=False)
    assert matches("a/x1y")
    assert matches("a\ud8001y")
    assert not matches("ba1y")
    assert bounded_matcher("*", regex=False)("\n")


@pytest.mark.parametrize(
    "pattern", ["(a|aa)+$", "(a+)+", "(a|a)*b", "(.*)*x"], ids=["choice", "plus", "same", "all"]
)
def test_an_exponential_pattern_is_answered(pattern: str) -> None:
    with_re2()
    assert not bounded_matcher(pattern, regex=True)("a" * 4000 + "!")


@pytest.mark.parametrize(
    "pattern",
    [
        "(?=a)b",
        "(?!a)b",
        "(?<=a)b",
        r"(a)\1",
        "a{2000}",
        "a++",
        "(?:(?:a{1000}){1000}){1000}",
        ".{500}" * 100,
        "a" * 4097,
        "ä" * 2049,
        "(" * 4097,
    ],
    ids=[
        "ahead",
        "not ahead",
        "behind",
        "reference",
        "count",
        "possessive",
        "counts",
        "large",
        "long",
        "long in bytes",
        "long and malformed",
    ],
)
def test_a_pattern_that_costs_too_much_is_refused(pattern: str) -> None:
    with_re2()
    with pytest.raises(InvalidException, match="pattern"):
        bounded_matcher(pattern, regex=True)


@pytest.mark.parametrize(
    "pattern",
    ["(", "*", "[a", "a)", "\\", "(" * 4096],
    ids=["open", "star", "set", "close", "escape", "all open"],
)
def test_a_malformed_pattern_is_told_from_a_costly_one(pattern: str) -> None:
    with_re2()
    with pytest.raises(LimitError, match="no regular expression"):
        bounded_matcher(pattern, regex=True)


def test_a_long_glob_is_refused() -> None:
    with pytest.raises(InvalidException, match="5000 bytes"):
        bounded_matcher("*" * 5000, regex=False)


def test_a_name_beyond_the_bound_matches_nothing() -> None:
    assert bounded_matcher("a*", regex=False)("a" * NAME_BYTES_MAX)
    assert not bounded_matcher("a*", regex=False)("a" * (NAME_BYTES_MAX + 1))


def test_names_that_take_too_long_together_end_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    matches = bounded_matcher("a*", regex=False)
    assert matches("a")
    monkeypatch.setattr(patterns, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(patterns, "_NAME_S", 0.0)
    late = bounded_matcher("a*", regex=False)
    with pytest.raises(InvalidException, match="seconds"):
        late("a")


def test_without_re2_globs_are_matched_and_who_asks_for_more_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    assert bounded_matcher("a*", regex=False)("ab")
    with pytest.raises(NotImplementedException, match=r"entrepot\[serve\]"):
        bounded_matcher("a.*", regex=True)
