"""`entrepot top`, `gc` and `doctor`: who holds what, and whether all is well."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import entrepot

HOLDER = """
import sys, entrepot
depot = entrepot.open()
value = depot.objects.get(depot.objects.get_name("big"))
space = depot.space("jobs", create=False)
claim = space.claim("task", timeout=10)
print("holding", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def full(home) -> None:
    with entrepot.open() as depot:
        depot.objects.put("that the depot is not empty")
        depot.objects.put(np.zeros(1_000_000), name="big")
        depot.space("jobs", persistent=True).store("task", 1)


@pytest.fixture
def holder(full):
    """A process that looks at a big object and claims a job."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holding\n"
        yield process
        process.kill()


def test_top_shows_the_processes_and_what_they_hold(run, holder) -> None:
    said = run("top", "--once")
    for word in ("memory", str(holder.pid), str(os.getpid()), "this one", "jobs"):
        assert word in said.out
    document = run("top", "--json").document
    mine = {info["pid"]: info for info in document["sessions"]}
    assert mine[holder.pid]["pinned_bytes"] >= 8_000_000
    assert document["statistics"]["objects"] == 2


def test_gc_takes_back_what_a_killed_process_held(run, holder) -> None:
    holder.kill()
    holder.wait()
    assert run("stat", "--json").document["arena"]["pinned"] == 0
    document = run("gc", "--json").document
    assert set(document) >= {"sessions", "reclaimed_bytes", "readers", "trimmed_bytes"}
    assert run("get", "jobs/task").out.strip() == "1", "its claimed job is back"


def test_gc_trims_memory_when_asked(run, full) -> None:
    run("rm", "big")
    assert "memory back to the system" in run("gc", "--trim").out


def test_doctor_finds_a_sound_depot_sound(run, full) -> None:
    assert "no problems found" in run("doctor").out
    document = run("doctor", "--json").document
    assert document["sound"] is True
    assert document["problems"] == []


def test_doctor_exits_with_1_when_there_are_problems(run, full, monkeypatch) -> None:
    monkeypatch.setattr(entrepot.Depot, "check", lambda self: ["extent 7 overlaps extent 8"])
    said = run("doctor", status=1)
    assert "extent 7 overlaps extent 8" in said.out
    assert "entrepot rm --all --depot default" in said.out
    assert run("doctor", "--json", status=1).document["problems"] == ["extent 7 overlaps extent 8"]


STOPPED = """
import os, signal, entrepot
depot = entrepot.open()
depot.attached.engine.write(lambda tx: os.kill(os.getpid(), signal.SIGSTOP))
"""


@pytest.fixture
def stopped(full):
    """A process that was stopped while it held the write lock."""
    with subprocess.Popen([sys.executable, "-c", STOPPED]) as process:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        yield process
        process.kill()


def test_doctor_names_a_stopped_lock_holder_and_what_to_do(run, stopped) -> None:
    said = run("doctor", status=1)
    assert f"process {stopped.pid} is stopped" in said.err
    assert f"kill -CONT {stopped.pid}" in said.err


def test_doctor_names_a_stopped_lock_holder_in_json_too(run, stopped) -> None:
    document = run("doctor", "--json", status=1).document
    assert document["sound"] is False
    assert f"process {stopped.pid} is stopped" in document["problems"][0]


def test_a_wait_ends_at_ctrl_c_with_130(full) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "entrepot", "get", "jobs/never", "--timeout", "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for_a_second_session()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"Traceback" not in out + err


def wait_for_a_second_session() -> None:
    with entrepot.open() as depot:
        while sum(info.alive for info in depot.sessions()) < 2:
            pass
