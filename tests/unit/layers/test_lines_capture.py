"""Capture: what a process prints is in the buffer, still shown, and nothing of it is lost."""

from __future__ import annotations

import gc
import io
import logging
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest

import entrepot
from entrepot.layers.lines import Lines
from support.tiers import memory_tier


@pytest.fixture
def lines() -> Lines:
    return Lines(memory_tier(), "train")


class Terminal(io.StringIO):
    """Stands for the terminal, from `begin` on: before the test pytest sets its own streams."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._monkeypatch = monkeypatch

    def begin(self) -> None:
        self._monkeypatch.setattr(sys, "stdout", self)
        self._monkeypatch.setattr(sys, "stderr", self)
        self._monkeypatch.setattr(warnings, "showwarning", show_warning)


def show_warning(message: Any, *rest: Any, **__: Any) -> None:
    """Do as Python does where pytest does not record warnings."""
    category, filename, lineno, file, line = rest
    (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(monkeypatch)


def texts(lines: Lines) -> list[str]:
    return [entry.text for entry in lines.read().entries]


def test_what_is_printed_in_the_block_is_captured_and_still_shown(
    lines: Lines, terminal: Terminal
) -> None:
    terminal.begin()
    before = sys.stdout, sys.stderr
    with lines.capture():
        print("out")
        print("err", file=sys.stderr)
        print("half", end="")
    print("after")
    assert (sys.stdout, sys.stderr) == before
    assert texts(lines) == ["out", "err", "half"]
    assert terminal.getvalue() == "out\nerr\nhalfafter\n"


def test_nothing_is_shown_where_no_echo_is_wanted(lines: Lines, terminal: Terminal) -> None:
    terminal.begin()
    with lines.capture(echo=False):
        print("out")
        assert not sys.stdout.isatty()
        with pytest.raises(OSError, match="fileno"):
            sys.stdout.fileno()
    assert terminal.getvalue() == ""
    assert texts(lines) == ["out"]


def test_warnings_are_entries_of_their_own_and_shown_once(lines: Lines, terminal: Terminal) -> None:
    terminal.begin()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with lines.capture():
            warnings.warn("odd", UserWarning, stacklevel=1)
    (entry,) = lines.read().entries
    assert entry.kind == "warning"
    assert "UserWarning: odd" in entry.texts[0]
    assert terminal.getvalue().count("UserWarning: odd") == 1


def test_log_records_are_lines_where_they_are_asked_for(lines: Lines, terminal: Terminal) -> None:
    terminal.begin()
    with lines.capture(stdout=False, stderr=False, logging=True):
        logging.getLogger("a.b").warning("look %s", "here")
        print("not me")
    logging.getLogger("a.b").warning("not captured any more")
    assert texts(lines) == ["WARNING:a.b:look here"]
    assert "not me" in terminal.getvalue()


def test_a_handler_writes_records_and_their_tracebacks(lines: Lines) -> None:
    logger = logging.getLogger("lines.alone")
    handler = lines.handler("logs")
    logger.addHandler(handler)
    try:
        try:
            raise ValueError("bad")
        except ValueError:
            logger.exception("failed")
        handler.flush()
    finally:
        logger.removeHandler(handler)
        handler.close()
    found = texts(lines)
    assert (found[0], found[-1]) == ("failed", "ValueError: bad")
    assert lines.read().entries[0].writer == "logs"


def test_an_error_that_leaves_the_block_is_an_entry(lines: Lines, terminal: Terminal) -> None:
    terminal.begin()
    capture = lines.capture()

    def fail() -> None:
        with capture:
            print("before")
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        fail()
    assert [entry.kind for entry in lines.read().entries] == ["line", "error"]


def test_a_capture_without_a_block_goes_on_until_it_is_stopped(
    lines: Lines, terminal: Terminal
) -> None:
    terminal.begin()
    capture = lines.capture()
    print("one")
    capture.stop()
    capture.stop()
    print("two")
    assert texts(lines) == ["one"]
    assert capture.statistics().dropped == 0


def test_a_stream_that_was_kept_goes_on_showing_behind_the_end(
    lines: Lines, terminal: Terminal
) -> None:
    terminal.begin()
    with lines.capture():
        kept = sys.stdout
    print("later", file=kept)
    assert terminal.getvalue() == "later\n"
    assert texts(lines) == []


def test_progress_bars_are_one_line(lines: Lines, terminal: Terminal) -> None:
    terminal.begin()
    with lines.capture():
        for percent in range(0, 101, 10):
            print(f"\r{percent}%", end="", file=sys.stderr)
        print(file=sys.stderr)
    assert texts(lines) == ["100%"]


def test_a_print_goes_on_when_the_buffer_is_closed(lines: Lines, terminal: Terminal) -> None:
    terminal.begin()
    with lines.capture() as capture:
        lines.close()
        print("shown at least")
        assert capture.statistics().waiting > 0
        lines.reopen()
    assert texts(lines) == ["shown at least"]


PROGRAM = """
import os, subprocess, sys
import entrepot
depot = entrepot.open("capture")
depot.lines("all").capture(fds=True, label="p")
print("python")
subprocess.run(["echo", "child"], check=True)
os.write(2, b"raw \\xff\\n")
for number in range(5000):
    print(number)
if len(sys.argv) > 1:
    raise SystemExit(3)
print("no end of line", end="")
"""


@pytest.mark.parametrize("arguments", [[], ["exit"]], ids=["end", "exit"])
def test_descriptors_are_captured_whole_until_the_program_ends(
    arguments: list[str], tmp_path: Path
) -> None:
    roots = {"ENTREPOT_DIR": str(tmp_path / "memory"), "ENTREPOT_DATA": str(tmp_path / "data")}
    with entrepot.open(
        "capture", directory=roots["ENTREPOT_DIR"], data_directory=roots["ENTREPOT_DATA"]
    ) as depot:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(PROGRAM), *arguments],
            env={**os.environ, **roots},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == (3 if arguments else 0), done.stderr
        entries = depot.lines("all").read().entries
        out = [entry.text for entry in entries if entry.text != "raw \\xff"]
        rest = [] if arguments else ["no end of line"]
        assert out == ["python", "child", *map(str, range(5000)), *rest]
        assert done.stdout.decode().splitlines() == out
        assert done.stderr == b"raw \xff\n"
        assert {entry.writer for entry in entries} == {"p"}
        assert depot.check() == []
        depot.destroy()


OUTLIVED = """
with lines.capture(fds=True):
    child = subprocess.Popen(["sh", "-c", "echo early; read x; echo late; echo later"], stdin=PIPE)
    wait_until(lambda: texts() == ["early"], "the child")
child.communicate(b"go\\n")
sys.exit(child.returncode)
"""
ENDLESS = """
with lines.capture(fds=True, echo=False):
    children = [subprocess.Popen(["yes", "no end"]) for _ in range(3)]
    wait_until(texts, "the children")
for child in children:
    child.kill()
    child.wait()
lines.clear()
print("stopped")
"""
CROSSED = """
first, second = lines.capture(fds=True), lines.capture(fds=True)
print("both")
wait_until(lambda: len(texts()) == 2, "what goes through both")
first.stop()
print("second")
second.stop()
print("none")
"""
FORKED = """
with lines.capture(fds=True):
    print("in")
    wait_until(texts, "the line")
    child = os.fork()
if child:
    os.waitpid(child, 0)
print("child" if not child else "parent", flush=True)
"""
LOGS = """
with lines.capture(logging=True, stdout=False):
    logging.warning("careful")
    logging.info("not shown where nobody asks for it")
logging.getLogger("own").addHandler(logging.StreamHandler(sys.stdout))
with lines.capture(logging=True, stdout=False):
    logging.getLogger("own").warning("shown once")
"""
BYTES = """
for echo in (True, False):
    with lines.capture(echo=echo, stderr=False):
        sys.stdout.buffer.write(b"Andr\\xc3")
        sys.stdout.buffer.write(b"\\xa9 \\xff\\n")
        sys.stdout.buffer.flush()
"""
LEAKS = """
def count():
    return len(os.listdir("/proc/self/fd")), threading.active_count()
with lines.capture(fds=True, echo=False):
    pass
before = count()
for echo in (True, False):
    with lines.capture(fds=True, echo=echo):
        print("x")
print(count() == before)
"""
BEGIN = """
import logging, os, subprocess, sys, threading
from subprocess import PIPE
import entrepot
from support.conditions import wait_until
lines = entrepot.open("capture").lines("all")
def texts():
    return [entry.text for entry in lines.read().entries]
"""


@pytest.mark.parametrize(
    ("program", "shown", "captured"),
    [
        pytest.param(OUTLIVED, ["early", "late", "later"], ["early"], id="child-goes-on"),
        pytest.param(ENDLESS, ["stopped"], [], id="child-without-end"),
        pytest.param(CROSSED, ["both", "second", "none"], ["both", "both", "second"], id="crossed"),
        pytest.param(FORKED, ["in", "child", "parent"], ["in"], id="forked"),
        pytest.param(
            LOGS,
            ["careful", "shown once"],
            ["WARNING:root:careful", "WARNING:own:shown once"],
            id="logs",
        ),
        pytest.param(BYTES, ["André \\xff"], ["André \\xff"] * 2, id="bytes"),
        pytest.param(LEAKS, ["x", "True"], ["x", "x"], id="leaks"),
    ],
)
def test_a_program_and_its_children_go_on_behind_the_end(
    program: str, shown: list[str], captured: list[str], tmp_path: Path
) -> None:
    roots = {"ENTREPOT_DIR": str(tmp_path / "memory"), "ENTREPOT_DATA": str(tmp_path / "data")}
    with entrepot.open(
        "capture", directory=roots["ENTREPOT_DIR"], data_directory=roots["ENTREPOT_DATA"]
    ) as depot:
        done = subprocess.run(
            # Threads look after a capture: newer Pythons warn of a fork beside them.
            [sys.executable, "-W", "ignore:This process", "-c", BEGIN + program],
            env={**os.environ, **roots, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        assert done.stdout.decode(errors="backslashreplace").splitlines() == shown
        assert done.returncode == 0
        assert texts(depot.lines("all")) == captured
        assert depot.check() == []
        depot.destroy()


def test_what_a_record_logs_while_it_is_formatted_is_a_line(lines: Lines) -> None:
    logger = logging.Logger("train")  # noqa: LOG001 a logger of its own, not one of the program
    logger.addHandler(lines.handler())

    class Talkative:
        def __str__(self) -> str:
            logger.info("inner")
            return "outer"

    logger.info("%s", Talkative())
    assert texts(lines) == ["inner", "outer"]


def test_what_finalizers_print_in_the_midst_of_a_write_is_not_lost(tmp_path: Path) -> None:
    class Last:
        me: Any = None

        def __del__(self) -> None:
            sys.stdout.write("end\n")

    with entrepot.open("gc", directory=tmp_path / "m", data_directory=tmp_path / "d") as depot:
        for name in ("memory", "disk"):
            lines = depot.lines(name, persistent=name == "disk")
            with lines.capture(stderr=False, echo=False):
                for number in range(1000):
                    last = Last()
                    last.me = last
                    sys.stdout.write(f"row {number}\n")
                del last
                gc.collect()
            found = texts(lines)
            assert [line for line in found if line != "end"] == [f"row {i}" for i in range(1000)]
            assert found.count("end") == 1000
            assert depot.check() == []
        depot.destroy()
