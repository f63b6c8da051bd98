"""Lines: numbered entries of many writers, bounded, with partial lines that never mix."""

from __future__ import annotations

import io
import threading
import time
from typing import Any

import pytest

from entrepot import settings
from entrepot.engine.memory import MemoryEngine, MemoryStore
from entrepot.errors import (
    ClosedError,
    LimitError,
    NotFoundError,
    OutOfMemoryError,
    TypeMismatchError,
)
from entrepot.layers.lines import ERROR, LINE, WARNING, Lines, check
from entrepot.layers.lines.texts import shown, split
from entrepot.layers.tier import Tier
from support.tiers import memory_tier


@pytest.fixture
def lines(tier: Tier) -> Lines:
    return Lines(tier, "train")


def texts(lines: Lines, last: int | None = None) -> list[str]:
    return [entry.text for entry in lines.read(last).entries]


def partials(lines: Lines) -> list[str]:
    return [entry.text for entry in lines.read(0, partial=True).partials]


# Writing and reading.


def test_lines_are_numbered_from_one_and_say_where_they_come_from(lines: Lines) -> None:
    lines.write("one\ntwo\n")
    print("three", file=lines.writer("rank 0"))
    stretch = lines.read()
    assert [(e.number, e.kind, e.text, e.writer) for e in stretch.entries] == [
        (1, LINE, "one", ""),
        (2, LINE, "two", ""),
        (3, LINE, "three", "rank 0"),
    ]
    assert all(e.host and e.pid and e.arrived_ns for e in stretch.entries)
    assert (stretch.next, stretch.missed, stretch.left) == (4, 0, 0)


def test_the_last_ones_or_those_from_a_number_on_are_read(lines: Lines) -> None:
    lines.append([str(number) for number in range(1, 11)])
    assert texts(lines, 3) == ["8", "9", "10"]
    assert texts(lines, 0) == []
    assert texts(lines, 100) == texts(lines)
    some = lines.read(since=4, limit=2)
    assert [entry.text for entry in some.entries] == ["4", "5"]
    assert (some.next, some.left) == (6, 5)
    assert lines.read(since=11).entries == []
    assert lines.read(since=99).next == 11


def test_a_reader_is_told_how_many_entries_it_missed(tier: Tier) -> None:
    lines = Lines(tier, "few", max_lines=3)
    lines.append(list("abcdefgh"))
    stretch = lines.read(since=2)
    assert ([e.number for e in stretch.entries], stretch.missed) == ([6, 7, 8], 4)


def test_a_buffer_that_is_not_there_is_empty_and_made_by_the_first_write(lines: Lines) -> None:
    assert lines.read(partial=True).entries == []
    assert lines.info().count == 0
    lines.clear()
    lines.trim()
    lines.new_line()
    assert lines.engine.read(check) == []
    lines.write("x\n")
    assert texts(lines) == ["x"]


def test_warnings_and_errors_are_entries_with_their_reports(lines: Lines) -> None:
    lines.write("half")
    lines.warn(UserWarning("odd"))
    try:
        raise ValueError("bad")
    except ValueError as error:
        lines.fail(error)
    half, warning, error = lines.read().entries
    assert (half.text, half.kind) == ("half", LINE)
    assert (warning.texts, warning.kind) == (("UserWarning: odd",), WARNING)
    assert error.kind == ERROR
    assert (error.texts[0], error.texts[-1]) == (
        "Traceback (most recent call last):",
        "ValueError: bad",
    )


def test_an_error_that_cannot_say_what_it_is_has_a_report(lines: Lines) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    lines.fail(MuteError())
    assert "Mute" in texts(lines)[0]


@pytest.mark.parametrize(
    ("text", "finished", "rest"),
    [
        ("", [], ""),
        ("a", [], "a"),
        ("a\n", ["a"], ""),
        ("\n\n", ["", ""], ""),
        ("a\r\nb\rc\vd", ["a", "b", "c"], "d"),
        ("a\u2028b\x85", ["a", "b"], ""),
    ],
    ids=["nothing", "part", "line", "empty lines", "other breaks", "unicode breaks"],
)
def test_a_line_is_what_splitlines_says(text: str, finished: list[str], rest: str) -> None:
    assert split(text) == (finished, rest)


def test_halves_of_characters_are_written_as_escapes(lines: Lines) -> None:
    lines.write("a\udc80é\n")
    assert texts(lines) == ["a\\udc80é"]


def test_what_is_no_error_is_not_reported_as_one(lines: Lines) -> None:
    for report in (lines.fail, lines.warn):
        with pytest.raises(TypeMismatchError, match="an error or a warning is wanted, not 'boom'"):
            report("boom")  # pyright: ignore[reportArgumentType] what this is about
    assert texts(lines) == []


def test_a_line_of_a_batch_that_is_too_long_becomes_several(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "LINE_CHARS_MAX", 4)
    lines.append(["123456789", "ab\n"])
    assert texts(lines) == ["1234", "5678", "9", "ab"]


def test_a_line_that_is_too_long_becomes_several(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "LINE_CHARS_MAX", 4)
    writer = lines.writer()
    writer.write("abcdefghij\nkl")
    writer.write("mnopq")
    assert texts(lines) == ["abcd", "efgh", "ij", "klmn"]
    assert partials(lines) == ["opq"]
    writer.write("r\n")
    writer.close()
    assert texts(lines)[-1] == "opqr"


def test_a_text_that_is_too_long_for_one_write_is_several(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "LINES_WRITE_CHARS_MAX", 5)
    lines.write("abc\ndefg\nh\n")
    assert texts(lines) == ["abc", "defg", "h"]
    with pytest.raises(LimitError, match="at once"):
        lines.append(["abcdef"])


def test_lines_that_come_together_are_kept_in_blocks(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "BLOCK_BYTES_MAX", 20)
    lines.append([f"line {number}" for number in range(10)])
    assert texts(lines) == [f"line {number}" for number in range(10)]
    assert [e.text for e in lines.read(since=4, limit=3).entries] == ["line 3", "line 4", "line 5"]


# Partial lines.


def test_partial_lines_of_writers_never_mix(lines: Lines) -> None:
    one, other = lines.writer("one"), lines.writer("other")
    one.write("a1\na2")
    other.write("b1\nb2")
    one.write(" and more")
    assert texts(lines) == ["a1", "b1"]
    assert partials(lines) == ["b2", "a2 and more"]
    one.write("\n")
    other.close()
    one.close()
    assert texts(lines) == ["a1", "b1", "a2 and more", "b2"]
    assert lines.info().partials == 0


def test_threads_of_one_writer_have_a_partial_line_each(lines: Lines) -> None:
    writer = lines.writer()
    writer.write("main")
    thread = threading.Thread(target=lambda: print("thread", file=writer))
    thread.start()
    thread.join()
    writer.write(" goes on\n")
    assert texts(lines) == ["thread", "main goes on"]


def test_a_batch_comes_after_the_partial_line_of_its_writer(lines: Lines) -> None:
    lines.write("half")
    lines.append(["whole", "two\nlines", ""])
    assert texts(lines) == ["half", "whole", "two", "lines", ""]


def test_new_line_finishes_the_lines_of_all_writers(lines: Lines) -> None:
    writers = [lines.writer(str(number)) for number in range(3)]
    for number, writer in enumerate(writers):
        writer.write(f"w{number}")
    lines.new_line()
    assert sorted(texts(lines)) == ["w0", "w1", "w2"]
    assert {entry.writer for entry in lines.read().entries} == {"0", "1", "2"}
    for writer in writers:
        writer.write("x")
        writer.new_line()
        writer.new_line()
    assert texts(lines, 3) == ["x", "x", "x"]


def test_the_partial_line_of_a_dead_process_becomes_a_line() -> None:
    store = MemoryStore()
    here, there = memory_tier(store), memory_tier(store)
    lines, theirs = Lines(here, "l"), Lines(there, "l")
    writer = theirs.writer("theirs")
    writer.write("whole\nlast words")
    lines.write("mine")
    assert isinstance(there.engine, MemoryEngine)
    there.engine.end_session()
    assert here.engine.reap() == 1
    lines.write(" too\n")
    assert texts(lines) == ["whole", "last words", "mine too"]
    assert lines.read().entries[1].writer == "theirs"
    assert here.engine.read(check) == []


def test_a_dead_writer_of_a_buffer_that_was_deleted_leaves_nothing() -> None:
    store = MemoryStore()
    here, there = memory_tier(store), memory_tier(store)
    Lines(there, "l").writer().write("last words")
    Lines(here, "l").delete()
    assert isinstance(there.engine, MemoryEngine)
    there.engine.end_session()
    here.engine.reap()
    assert Lines(here, "l").info().count == 0


def test_buffers_that_are_owned_go_with_their_process() -> None:
    store = MemoryStore()
    here, there = memory_tier(store), memory_tier(store)
    owned = Lines(there, "l")
    owned.own()
    owned.append(["x"] * 2000)
    assert isinstance(there.engine, MemoryEngine)
    there.engine.end_session()
    here.engine.reap()
    assert here.engine.read(lambda tx: tx.range(b"\x02lines", b"\x02lines\xff")) == []


def test_an_interrupt_right_behind_a_write_loses_no_partial_line(
    tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = tier.engine.write
    interrupts: list[bool] = [False]

    def interrupted(*arguments: Any) -> Any:
        found = write(*arguments)
        if interrupts.pop() if interrupts else False:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(tier.engine, "write", interrupted)
    lines = Lines(tier, "l")
    lines.write("first\n")
    interrupts.append(True)
    with pytest.raises(KeyboardInterrupt):
        lines.write("ha")
    lines.write("lf")
    lines.write("\n")
    assert texts(lines) == ["first", "half"]
    assert tier.engine.read(check) == []


def test_too_many_partial_lines_finish_the_oldest(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "PARTIAL_LINES_MAX", 2)
    writers = [lines.writer() for _ in range(4)]
    for number, writer in enumerate(writers):
        writer.write(f"w{number}")
    assert texts(lines) == ["w0", "w1"]
    for writer in writers:
        writer.close()
    assert texts(lines) == ["w0", "w1", "w2", "w3"]


# Bounds.


def test_the_oldest_go_when_there_are_too_many(tier: Tier) -> None:
    lines = Lines(tier, "few", max_lines=5)
    for number in range(50):
        lines.write(f"{number}\n")
    lines.append(["x", "y", "z"])
    assert texts(lines) == ["48", "49", "x", "y", "z"]
    info = lines.info()
    assert (info.first, info.next, info.count) == (49, 54, 5)
    found = lines.engine.read(lambda tx: tx.range(b"\x02lines-block", b"\x02lines-block\xff"))
    assert len(found) == 3, "what nobody sees is dropped"


def test_the_oldest_go_when_they_are_too_large(tier: Tier) -> None:
    lines = Lines(tier, "small", max_bytes=1000)
    for number in range(100):
        lines.write(f"{number:0100}\n")
    assert 5 <= lines.info().count <= 9
    assert lines.info().bytes <= 1000
    lines.write("x" * 5000 + "\n")
    assert texts(lines) == ["x" * 5000], "the latest one stays, however large"


def test_entries_that_are_too_old_are_not_seen_and_go(
    tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Lines(tier, "brief", max_age=10)
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now)
    lines.append(["a", "b"])
    monkeypatch.setattr(time, "time_ns", lambda: now + 6 * 10**9)
    lines.append(["c"])
    assert texts(lines) == ["a", "b", "c"]
    monkeypatch.setattr(time, "time_ns", lambda: now + 12 * 10**9)
    assert texts(lines) == ["c"]
    assert lines.read(since=1).missed == 2
    monkeypatch.setattr(time, "time_ns", lambda: now + 20 * 10**9)
    assert texts(lines) == []
    lines.trim()
    assert lines.info().bytes == 0
    lines.write("d\n")
    assert [entry.number for entry in lines.read().entries] == [4]


def test_bounds_that_are_given_replace_those_that_were(tier: Tier) -> None:
    lines = Lines(tier, "l")
    lines.append(list("abcde"))
    assert lines.info().max_lines == settings.LINES_DEFAULT
    Lines(tier, "l", max_lines=2)
    assert texts(lines) == ["d", "e"]
    assert Lines(tier, "l").info().max_lines == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"max_lines": 0}, LimitError),
        ({"max_lines": "5"}, TypeMismatchError),
        ({"max_bytes": -1}, LimitError),
        ({"max_bytes": True}, TypeMismatchError),
        ({"max_age": 0}, LimitError),
        ({"max_age": float("nan")}, LimitError),
        ({"max_age": "1h"}, TypeMismatchError),
        ({"name": ""}, LimitError),
        ({"name": "x" * 5000}, LimitError),
        ({"name": 5}, TypeMismatchError),
    ],
    ids=str,
)
def test_names_and_bounds_that_cannot_be_are_refused(
    tier: Tier, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        Lines(tier, **{"name": "l", **arguments})


def test_what_is_no_text_is_refused(lines: Lines) -> None:
    with pytest.raises(TypeMismatchError, match="string"):
        lines.write(b"bytes")  # pyright: ignore[reportArgumentType] what this is about
    with pytest.raises(TypeMismatchError, match="list"):
        lines.append("a text")
    with pytest.raises(LimitError):
        lines.read(-1)
    with pytest.raises(TypeMismatchError):
        lines.read("3")  # pyright: ignore[reportArgumentType] what this is about


# The buffer.


def test_numbers_go_on_behind_a_clear(lines: Lines) -> None:
    writer = lines.writer()
    writer.write("a\nb\nhalf")
    lines.clear()
    assert lines.read(partial=True)[0] == []
    assert lines.info().partials == 0
    writer.write("c\n")
    assert [(e.number, e.text) for e in lines.read().entries] == [(3, "c")]
    writer.close()


def test_many_blocks_are_cleared_in_steps(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "BATCH_KEYS", 3)
    for number in range(10):
        lines.write(f"{number}\n")
    lines.clear()
    assert lines.info().bytes == 0


def test_a_closed_buffer_refuses_lines_until_it_is_opened_again(lines: Lines) -> None:
    writer = lines.writer()
    writer.write("half")
    lines.close()
    assert texts(lines) == ["half"]
    assert lines.read().is_closed
    with pytest.raises(ClosedError, match="train"):
        lines.write("x\n")
    with pytest.raises(ClosedError):
        writer.write("x\n")
    lines.reopen()
    writer.write("y\n")
    assert texts(lines) == ["half", "y"]


def test_the_stop_signal_is_seen_by_all(lines: Lines) -> None:
    assert not lines.info().stopped
    lines.stop()
    assert lines.read().is_stopped
    lines.write("last words\n")
    lines.resume()
    assert not lines.info().stopped
    assert texts(lines) == ["last words"]


def test_a_deleted_buffer_is_made_anew_by_the_next_write(lines: Lines) -> None:
    lines.append(list("abc"))
    lines.delete()
    assert lines.engine.read(lambda tx: tx.range(b"\x02lines", b"\x02lines\xff")) == []
    lines.delete()
    with pytest.raises(NotFoundError):
        lines.writer(makes=False).write("x")
    lines.write("x\n")
    assert [entry.number for entry in lines.read().entries] == [1]


def test_following_ends_when_the_buffer_is_closed(lines: Lines) -> None:
    lines.append(["old", "older"])
    got: list[str] = []
    follows = threading.Event()

    def follow() -> None:
        for entry in lines.tail(1):
            got.append(entry.text)
            follows.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert follows.wait(30)
    for number in range(5):
        lines.write(f"{number}\n")
    lines.write("half")
    lines.close()
    thread.join(30)
    assert got == ["older", "0", "1", "2", "3", "4", "half"]


def test_following_goes_on_in_the_buffer_that_stands_in_a_deleted_ones_place(lines: Lines) -> None:
    lines.append(["1", "2", "3"])
    following = lines.following(1, None)
    assert [entry.text for entry in following.take()] == ["3"]
    lines.delete()
    lines.append(["new 1", "new 2"])
    assert [entry.text for entry in following.take()] == ["new 1", "new 2"]


def test_following_begins_with_a_number_and_ends_after_a_silence(lines: Lines) -> None:
    lines.append(list("abcd"))
    assert [e.text for e in lines.tail(since=3, timeout=0)] == ["c", "d"]
    assert [e.text for e in lines.tail(timeout=0)] == []


# Writers as files.


def test_a_writer_has_the_manners_of_a_text_stream(lines: Lines) -> None:
    with lines.writer() as writer:
        assert isinstance(writer, io.TextIOBase)
        assert (writer.encoding, writer.writable(), writer.readable()) == ("utf-8", True, False)
        assert not writer.isatty()
        assert "train" in writer.name
        writer.writelines(["a\n", "b"])
        writer.flush()
        with pytest.raises(OSError, match="fileno"):
            writer.fileno()
    assert texts(lines) == ["a", "b"]
    assert writer.closed
    writer.close()
    with pytest.raises(ClosedError):
        writer.write("x")
    with pytest.raises(ClosedError):
        writer.warn(UserWarning("x"))


@pytest.mark.parametrize(
    ("pieces", "finished", "partial"),
    [
        (["\r 10%", "\r 20%", "\r100%\n"], ["100%"], []),
        ([" 10%\r", " 20%\r"], [], [" 20%"]),
        (["a\r\nb\r", "\n"], ["a", "b"], []),
        (["\r"], [], []),
        (["a\rbc\r\r", "d", "\n"], ["d"], []),
    ],
    ids=["tqdm", "return behind", "both", "alone", "several"],
)
def test_a_return_replaces_the_line_where_progress_is_shown(
    lines: Lines, pieces: list[str], finished: list[str], partial: list[str]
) -> None:
    writer = lines.writer(progress=True)
    for piece in pieces:
        writer.write(piece)
    assert texts(lines) == finished
    assert partials(lines) == partial
    writer.close()
    assert shown("a\rb\r") == "b"


class Refusing:
    """Has the writes of a tier refused for a while."""

    def __init__(self, tier: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_on = False
        write = tier.engine.write

        def refuse(*arguments: Any) -> Any:
            if self.is_on:
                raise OutOfMemoryError("no room")
            return write(*arguments)

        monkeypatch.setattr(tier.engine, "write", refuse)


def test_a_patient_writer_keeps_what_cannot_be_written_in_its_order(
    tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = Refusing(tier, monkeypatch)
    lines = Lines(tier, "l")
    lines.write("before\n")
    writer = lines.writer(patient=True)
    writer.write("0\n")
    refusing.is_on = True
    for number in range(1, 4):
        writer.write(f"{number}\n")
    assert writer.statistics().waiting == 3
    writer.flush()
    refusing.is_on = False
    writer.flush()
    writer.write("4\n")
    assert texts(lines) == ["before", "0", "1", "2", "3", "4"]
    assert (writer.statistics().waiting, writer.statistics().dropped) == (0, 0)


def test_a_patient_writer_counts_what_it_drops(tier: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = Refusing(tier, monkeypatch)
    monkeypatch.setattr(settings, "LINES_QUEUE_CHARS_MAX", 10)
    lines = Lines(tier, "l")
    writer = lines.writer(patient=True)
    writer.write("0\n")
    refusing.is_on = True
    for _ in range(10):
        writer.write("123\n")
    assert (writer.statistics().waiting, writer.statistics().dropped) == (2, 8)
    refusing.is_on = False
    writer.close()
    assert texts(lines) == ["0", "123", "123"]


def test_what_a_patient_writer_drops_never_joins_two_lines(
    tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = Refusing(tier, monkeypatch)
    monkeypatch.setattr(settings, "LINES_QUEUE_CHARS_MAX", 10)
    lines = Lines(tier, "l")
    writer = lines.writer(patient=True)
    writer.write("0\n")
    refusing.is_on = True
    for piece in ("123456", "7890", "\n", "lost", "\n", "lost", " too "):
        writer.write(piece)
    assert (writer.statistics().waiting, writer.statistics().dropped) == (2, 4)
    refusing.is_on = False
    writer.flush()
    writer.write("and its end\nwhole\n")
    writer.close()
    assert texts(lines) == ["0", "1234567890", "whole"]
    assert tier.engine.read(check) == []


def test_a_patient_writer_finishes_a_line_of_which_parts_wait(
    tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = Refusing(tier, monkeypatch)
    lines = Lines(tier, "l")
    writer = lines.writer(patient=True)
    writer.write("0\n")
    refusing.is_on = True
    writer.write("one")
    writer.new_line()
    refusing.is_on = False
    writer.write("two\n")
    writer.close()
    assert texts(lines) == ["0", "one", "two"]
