"""syncstream's buffers of threads, processes and files."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import entrepot
from entrepot import syncstream
from entrepot.errors import ClosedError
from entrepot.syncstream import (
    GroupedMessage,
    LineBuffer,
    LineFileBuffer,
    LineProcBuffer,
    LineProcMirror,
)
from entrepot.syncstream.base import is_end_line_break, is_serialized_grouped_message


def shown(items: tuple[Any, ...]) -> list[str]:
    return [str(item) for item in items]


# Messages.


def test_a_message_is_made_of_texts_warnings_and_errors() -> None:
    assert GroupedMessage().data == ()
    assert GroupedMessage("a").data == ("a",)
    assert GroupedMessage(["a", 5]).data == ("a", "5")  # pyright: ignore[reportArgumentType] what this is about
    warning = GroupedMessage(UserWarning("odd"))
    assert (warning.type, warning.data) == ("warning", ("UserWarning: odd",))
    assert GroupedMessage(StopIteration()).type == "error"
    with pytest.raises(TypeError, match="5"):
        GroupedMessage(5)  # pyright: ignore[reportArgumentType] what this is about
    assert str(GroupedMessage(["a", "b"])) == "a\nb"


def test_a_message_comes_back_from_its_serial_form() -> None:
    message = GroupedMessage(ValueError("bad"))
    serial = message.serialize()
    assert serial == {
        "/is_syncsdata": True,
        "/type": "GroupedMessage",
        "type": "error",
        "data": ("ValueError: bad",),
    }
    assert is_serialized_grouped_message(serial)
    again = GroupedMessage.deserialize(serial)
    assert (again.type, again.data) == (message.type, message.data)
    assert GroupedMessage.deserialize("text") == "text"
    with pytest.raises(KeyError):
        GroupedMessage.deserialize({"/is_syncsdata": True, "/type": "GroupedMessage"})


def test_all_names_of_the_original_are_there() -> None:
    for name in syncstream.__all__:
        assert getattr(syncstream, name) is not None
    assert syncstream.version.__version__ == syncstream.__version__
    assert is_end_line_break("a\u2028")
    assert not is_end_line_break("")


# Threads.


def test_a_line_buffer_keeps_the_last_lines_and_the_partial_one() -> None:
    buffer = LineBuffer(3)
    assert len(buffer) == 0
    assert [buffer.write(text) for text in ("\n", "a\n", "a\nbc", "abc", "")] == [1, 0, 2, 3, 0]
    assert buffer.read() == ("a", "a", "bcabc")
    assert (buffer.read(1), buffer.read(0), buffer.read(-1)) == (("bcabc",), (), ())
    assert len(buffer) == 3
    buffer.new_line()
    buffer.new_line()
    assert buffer.read() == ("a", "a", "bcabc")
    buffer.clear()
    assert buffer.read() == ()


@pytest.mark.parametrize("maxlen", [0, -1, 1.5, "3", None], ids=repr)
@pytest.mark.parametrize("kind", [LineBuffer, LineProcBuffer], ids=lambda kind: kind.__name__)
def test_a_length_that_cannot_be_is_refused(kind: Any, maxlen: Any) -> None:
    with pytest.raises(TypeError):
        kind(maxlen)


def test_a_line_buffer_has_the_manners_of_a_stream() -> None:
    buffer = LineBuffer()
    assert (buffer.readable(), buffer.writable(), buffer.seekable()) == (True, True, False)
    assert not buffer.isatty()
    assert buffer.encoding == "utf-8"
    for call in (buffer.fileno, buffer.seek):
        with pytest.raises(OSError, match=r"fileno|seek"):
            call()
    with pytest.raises(TypeError):
        buffer.write(b"x")  # pyright: ignore[reportArgumentType] what this is about
    with pytest.raises(TypeError):
        buffer.read("3")  # pyright: ignore[reportArgumentType] what this is about
    with pytest.raises(TypeError):
        pickle.dumps(buffer)
    buffer.close()
    buffer.close()
    assert (buffer.readable(), buffer.writable(), buffer.seekable()) == (False, False, False)
    for call, error in (
        (buffer.read, OSError),
        (lambda: buffer.write("x"), OSError),
        (buffer.new_line, ValueError),
        (buffer.clear, ValueError),
    ):
        with pytest.raises(error):
            call()


def test_a_block_takes_both_streams_and_gives_them_back_also_nested() -> None:
    before = sys.stdout, sys.stderr
    buffer = LineBuffer()
    with buffer, buffer:
        print("out")
        print("err", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == before
    with contextlib.redirect_stdout(buffer), syncstream.redirect_stderr(buffer) as same:
        assert same is buffer
        print("again")
    assert buffer.read() == ("out", "err", "again")


def test_threads_write_whole_lines() -> None:
    buffer = LineBuffer(1000)

    def write(name: str) -> None:
        for number in range(100):
            buffer.write(f"{name}{number}\n")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, buffer.read())) == sorted(f"{n}{i}" for n in "abcd" for i in range(100))


# Processes.


def run_worker(mirror: LineProcMirror, program: str) -> subprocess.Popen[bytes]:
    code = "import os, pickle, sys; m = pickle.load(sys.stdin.buffer)\n" + program
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    assert process.stdin is not None
    with process.stdin as stdin:
        stdin.write(pickle.dumps(mirror))
    return process


def test_workers_write_and_say_goodbye(depot: entrepot.Depot) -> None:
    buffer = LineProcBuffer(10, depot=depot)
    programs = [
        "print('one', file=m); m.send_eof()",
        "m.send_warning(UserWarning('odd')); m.close()",
        "with m: print('in a block')",
    ]
    workers = [run_worker(buffer.mirror, program) for program in programs]
    assert buffer.n_mirrors == 3
    buffer.wait()
    assert buffer.n_mirrors == 0
    assert sorted(shown(buffer.read())) == ["UserWarning: odd", "in a block", "one"]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    buffer.close()
    assert depot.list_lines() == []


def test_a_wait_goes_on_when_a_worker_is_killed(depot: entrepot.Depot) -> None:
    buffer = LineProcBuffer(10, depot=depot)
    worker = run_worker(buffer.mirror, "print('last words', file=m); os.kill(os.getpid(), 9)")
    buffer.wait()
    assert worker.wait() == -9
    assert shown(buffer.read()) == ["last words"]
    buffer.close()


def test_threads_and_children_of_a_worker_are_no_workers(depot: entrepot.Depot) -> None:
    buffer = LineProcBuffer(10, depot=depot)
    worker = run_worker(
        buffer.mirror,
        "import threading\n"
        "m.write('half')\n"
        "thread = threading.Thread(target=print, args=('thread',), kwargs={'file': m})\n"
        "thread.start(); thread.join()\n"
        "child = os.fork()\n"
        "if not child: print('child', file=m); os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "m.close()",
    )
    other = buffer.mirror
    other.write("other\n")
    assert worker.wait() == 0
    depot.collect()
    while buffer.n_mirrors > 1:
        assert buffer.receive(), "all are said to have gone"
    assert sorted(shown(buffer.read())) == ["child", "half", "other", "thread"]
    other.write("goes on\n")
    other.close()
    buffer.wait()
    assert buffer.n_mirrors == 0
    assert shown(buffer.read(1)) == ["goes on"]
    buffer.close()


def test_threads_of_a_mirror_never_mix_their_lines(depot: entrepot.Depot) -> None:
    buffer = LineProcBuffer(10, depot=depot)
    mirror = buffer.mirror
    mirror.write("main ")
    for do in (lambda: mirror.write("left over"), lambda: print("thread", file=mirror)):
        thread = threading.Thread(target=do)
        thread.start()
        thread.join()
    assert mirror.read() == "main left over"
    mirror.write("thread\n")
    assert shown(buffer.read()) == ["thread", "main thread"]
    mirror.close()
    assert shown(buffer.read()) == ["thread", "main thread", "left over"]
    buffer.close()


def test_a_mirror_says_in_its_own_words_that_its_buffer_is_closed(depot: entrepot.Depot) -> None:
    buffer = LineProcBuffer(10, depot=depot)
    mirror, quiet = buffer.mirror, pickle.loads(pickle.dumps(buffer.mirror))
    mirror.write("x\n")

    def wait() -> None:
        with contextlib.suppress(OSError):  # it may be too late to begin
            buffer.wait()

    waiter = threading.Thread(target=wait)
    waiter.start()
    buffer.close()
    waiter.join()  # or this would never end
    calls = (
        lambda: mirror.write("y\n"),
        lambda: mirror.write("half"),
        mirror.check_states,
        mirror.send_eof,
        lambda: mirror.send_warning(UserWarning("odd")),
    )
    for call in calls:
        with pytest.raises(ClosedError, match="the buffer of this mirror was closed"):
            call()
    quiet.close()  # it has nothing to lose
    for ask in (buffer.receive, buffer.stop_all_mirrors, buffer.reset_states, buffer.force_stop):
        with pytest.raises(OSError, match="this LineProcBuffer is closed"):
            ask()


def test_mirrors_that_are_told_to_stop_raise(depot: entrepot.Depot) -> None:
    buffer = LineProcBuffer(10, depot=depot)
    mirror = buffer.mirror
    mirror.write("before\nhalf")
    buffer.stop_all_mirrors()
    with pytest.raises(StopIteration):
        mirror.write("x\n")
    with pytest.raises(TypeError, match="in use"):
        buffer.reset_states()
    buffer.force_stop()
    assert not buffer.receive()
    buffer.reset_states()
    fresh = buffer.mirror
    fresh.write("after\n")
    assert shown(buffer.read()) == ["before", "after", "half"]
    for one in (mirror, fresh):
        one.close()
    buffer.close()


def test_a_mirror_keeps_half_a_line_unless_it_is_aggressive(depot: entrepot.Depot) -> None:
    buffer = LineProcBuffer(10, depot=depot)
    mirror = buffer.mirror
    assert mirror.write("half") == 4
    assert (mirror.read(), mirror.read(2), buffer.read()) == ("half", "lf", ())
    mirror.new_line()
    mirror.aggressive = True
    mirror.write("at once")
    assert (mirror.read(), shown(buffer.read())) == ("", ["half", "at once"])
    with pytest.raises(TypeError):
        mirror.write(b"x")  # pyright: ignore[reportArgumentType] what this is about
    mirror.close(ValueError("bad"))
    mirror.close()
    mirror.send_eof()
    assert shown(buffer.read(1)) == ["ValueError: bad"]
    with pytest.raises(OSError, match="closed"):
        mirror.write("x")
    with pytest.raises(ValueError, match="closed"):
        mirror.new_line()
    with pytest.raises(NotImplementedError):
        buffer.write("x")
    assert not buffer.receive() or buffer.n_mirrors == 0 or buffer.wait() is None
    buffer.new_line()
    buffer.clear()
    assert len(buffer) == 0
    buffer.close()
    with pytest.raises(OSError, match="closed"):
        buffer.read()


def test_arguments_may_be_given_by_their_names(depot: entrepot.Depot, tmp_path: Path) -> None:
    for buffer in (LineBuffer(maxlen=3), LineFileBuffer(file_path=tmp_path / "log", maxlen=3)):
        assert buffer.write(data="a\nb\nhalf") == 4
        assert buffer.read(size=2) == ("b", "half")
        buffer.close()
    buffer = LineProcBuffer(maxlen=3, depot=depot)
    mirror = buffer.mirror
    assert mirror.write(data="half") == 4
    assert mirror.read(size=2) == "lf"
    mirror.send_data(data="whole\n")
    assert buffer.read(size=1) == ("whole",)
    buffer.close()


def test_the_parts_of_a_buffer_are_what_the_originals_are(depot: entrepot.Depot) -> None:
    buffer = LineProcBuffer(3, depot=depot)
    assert (buffer.storage.maxlen, buffer.last_line.tell()) == (3, 0)
    mirror = buffer.mirror
    mirror.write("a\nb\nhalf")
    assert list(buffer.storage) == ["a", "b"]
    assert (buffer.last_line.getvalue(), buffer.last_line.tell()) == ("half", 4)
    mirror.new_line()
    assert mirror.last_line.tell() == 0
    mirror.write("more")
    assert (mirror.last_line.getvalue(), mirror.last_line.tell()) == ("more", 4)
    buffer.close()
    assert (list(buffer.storage), buffer.last_line.tell()) == ([], 0)


@pytest.mark.parametrize("name", ["obj_err", "error"])
def test_the_last_words_arrive_behind_a_stop_by_either_name(
    name: str, depot: entrepot.Depot
) -> None:
    buffer = LineProcBuffer(depot=depot)
    mirror = buffer.mirror
    mirror.write("half")
    buffer.stop_all_mirrors()
    mirror.send_error(**{name: StopIteration("bye")})
    assert shown(buffer.read()) == ["half", "StopIteration: bye"]
    buffer.close()


def test_a_mirror_of_no_buffer_says_so() -> None:
    with pytest.raises(TypeError, match="no buffer"):
        LineProcMirror().write("x\n")


# Files.


def test_a_file_buffer_keeps_lines_in_files_that_others_read(tmp_path: Path) -> None:
    one = LineFileBuffer(tmp_path / "log.txt", maxlen=3)
    other = LineFileBuffer(tmp_path / "log.txt", maxlen=3, tmp_id="other")
    assert [one.write(text) for text in ("a\nb\nhalf", "", "\n")] == [4, 0, 1]
    other.write("theirs")
    assert one.read() == ("a", "b", "half")
    assert other.read() == ("b", "half", "theirs")
    assert (tmp_path / "log-0.log").read_text() == "half"
    other.new_line()
    assert one.read(2) == ("half", "theirs")
    with pytest.raises(ValueError, match="bad"), contextlib.redirect_stdout(io.StringIO()):
        fail_in(one)
    assert one.read(1)[0].endswith("ValueError: bad")
    one.clear()
    assert len(one) == 0
    one.close()
    with pytest.raises(OSError, match="closed"):
        one.write("x")
    assert {path.suffix for path in tmp_path.iterdir()} <= {".lock"}


def fail_in(buffer: LineFileBuffer) -> None:
    with buffer:
        raise ValueError("bad")


def test_processes_share_the_files_without_losing_lines(tmp_path: Path) -> None:
    program = (
        "import sys; from entrepot.syncstream import LineFileBuffer\n"
        "b = LineFileBuffer(sys.argv[1], 100, sys.argv[2])\n"
        "for i in range(20): print(sys.argv[2], i, file=b)\n"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "l"), name])
        for name in "ab"
    ]
    assert [worker.wait() for worker in workers] == [0, 0]
    lines = LineFileBuffer(os.fspath(tmp_path / "l"), 100).read()
    for name in "ab":
        assert [line for line in lines if line[0] == name] == [f"{name} {i}" for i in range(20)]


def test_a_file_buffer_bears_what_killed_writers_and_full_disks_leave(tmp_path: Path) -> None:
    buffer = LineFileBuffer(tmp_path / "log", 4)
    buffer.write("0\n1\n2\n")
    (tmp_path / "log-1.log").unlink()
    assert buffer.read() == ("0", "2")
    (tmp_path / "log-tmp.tmp").write_bytes("na\u00ef".encode()[:-1])
    buffer.write("\n")
    assert buffer.read() == ("0", "2", "na\ufffd")
    (tmp_path / "log-0.part").mkdir()  # nothing can be written there
    with pytest.raises(OSError, match="log-0"):
        buffer.write("lost\n")
    assert buffer.read() == ("0", "2", "na\ufffd")


def test_a_file_buffer_without_a_path_is_refused() -> None:
    with pytest.raises(TypeError, match="empty"):
        LineFileBuffer("")
