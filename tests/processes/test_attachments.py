"""How a process holds on to a depot, and lets go of it: also when something goes wrong midway.

Guaranteed:

1. Whatever fails while a depot is closed, the process ends its session, and can open it again.
2. A process whose views outlive its depot holds on to their memory, and to nothing else.
3. What others left half done (a removal, trash, a lock held by a stopped process) is finished,
   or named.
4. Two memory tiers never share a durable one.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import entrepot
from entrepot import attachment, settings
from entrepot.arena import extents
from entrepot.layers.spaces import workspaces
from support.conditions import PATIENCE_S, wait_until
from support.homes import Home
from support.peers import Peer

Start = Callable[..., Peer]


# Letting go.


def test_an_error_while_closing_does_not_keep_the_process_in(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = home.open("64M")
    first.objects.put(1, name="kept")
    descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())

    def fail() -> None:
        raise OSError("no good")

    with monkeypatch.context() as patch:
        patch.setattr(first.attached.arena, "drop_chunks", fail)
        with pytest.raises(OSError, match="no good"):
            first.close()
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) < descriptors
    with home.open() as again:
        assert again.objects.get(name="kept") == 1
        assert [session.pid for session in again.sessions()] == [os.getpid()]


def test_one_close_that_fails_does_not_keep_the_others_open(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with home.open("64M") as bad, home.open_beside(tmp_path) as good:
        good.objects.put(1)
        closed: list[Path] = []
        close = attachment.Attachment.close

        def note(attached: attachment.Attachment) -> None:
            if attached is bad.attached:
                raise OSError("no good")
            closed.append(attached.directory)
            close(attached)

        with monkeypatch.context() as patch:
            patch.setattr(attachment.Attachment, "close", note)
            for attached in (bad.attached, good.attached):
                patch.setattr(attached, "handles", 0)
            here = good.attached.directory
            with pytest.raises(OSError, match="no good"):
                attachment.close_unused()
            assert closed == [here]
        close(bad.attached)


def test_claims_and_owned_workspaces_end_with_the_depot_though_a_view_lives(
    home: Home, peers: Start
) -> None:
    with home.open("64M") as depot:
        space = depot.space("s")
        space.store("task", 1)

        def leave(here: Any) -> None:
            here.view = here.depot.objects.get(
                here.depot.objects.put(np.full(300_000, 7, np.uint8), name="seen")
            )
            here.depot.space("mine", owned=True).store("v", 1)
            here.claim = here.depot.space("s").claim("task")
            here.depot.close()

        peer = peers()
        peer.run(leave)
        assert space.fetch("task", timeout=0) == 1
        assert [info.name for info in depot.spaces()] == ["s"]
        depot.objects.delete(depot.objects.get_name("seen"))
        assert depot.statistics().arena.pinned > 0
        assert peer.run(lambda here: bool((here.view == 7).all()))


def test_a_thread_that_waits_is_told_when_the_depot_is_closed_though_a_view_lives(
    home: Home,
) -> None:
    depot = home.open("64M")
    view = depot.objects.get(depot.objects.put(np.zeros(300_000, np.uint8)))
    told: list[BaseException] = []

    def wait() -> None:
        try:
            depot.space("s").fetch("v", timeout=PATIENCE_S)
        except entrepot.EntrepotError as error:
            told.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: depot.space("s").variables() != [], "somebody waits")
    depot.close()
    thread.join(PATIENCE_S)
    assert [type(error) for error in told] == [entrepot.ClosedError]
    del view
    gc.collect()
    attachment.close_unused()


def test_a_view_that_dies_after_the_end_touches_no_pin_of_a_later_session(home: Home) -> None:
    first = home.open("64M")
    id = first.objects.put(np.full(300_000, 7, np.uint8), name="seen")
    old = first.objects.get(id)
    attachment._close_all()  # pyright: ignore[reportPrivateUsage] what happens at exit
    with home.open() as depot:
        seen = depot.objects.get(name="seen")
        assert depot.statistics().arena.pinned > 0
        assert (old == 7).all()
        del old
        gc.collect()
        assert depot.statistics().arena.pinned > 0
        assert (seen == 7).all()
        del seen
        depot.objects.delete(depot.objects.get_name("seen"))


# What others left.


def test_what_is_left_of_a_removal_is_removed(home: Home) -> None:
    left = home.root / f".{home.name}.123.456"
    (left / "catalog").mkdir(parents=True)
    other = home.root / f".{home.name}er.123.456"
    other.mkdir()
    with home.open("64M"):
        assert not left.exists()
        assert other.exists()
    other.rmdir()


def test_trash_is_swept_also_when_nobody_died(home: Home) -> None:
    with home.open("64M") as depot:
        space = depot.space("s")
        for _ in range(3):
            space.store("v", bytes(20_000))
        engine = depot.attached.engine
        instance = depot.attached.engine.read(workspaces.look_up, "s")
        assert instance is not None
        key = workspaces.variable_key(instance.instance, "v")
        engine.write(workspaces.delete_variable, key)  # and killed before the sweep
        assert engine.read(workspaces.has_trash)
        depot.attached.reap()
        assert not engine.read(workspaces.has_trash)
        depot.collect()
        assert depot.statistics().arena.used == 0


def test_deleted_bytes_behind_pinned_ones_are_reclaimed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with home.open("64M") as depot:
        monkeypatch.setattr(settings, "BATCH_KEYS", 4)
        ids = [depot.objects.put(np.full(20_000, n, np.uint8)) for n in range(20)]
        views = [depot.objects.get(id) for id in ids[:10]]
        for id in ids:
            depot.objects.delete(id)
        while depot.attached.arena.reclaim():
            pass
        assert len(depot.attached.engine.read(extents.limbo)) == 10
        assert all((view == n).all() for n, view in enumerate(views))
        del views


def test_memory_is_found_behind_more_deletions_than_one_batch(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with home.open("64M") as depot:
        monkeypatch.setattr(settings, "BATCH_KEYS", 4)
        size = 200_000
        ids: list[entrepot.ObjectId] = []
        with contextlib.suppress(entrepot.OutOfMemoryError):
            while True:
                ids.append(depot.objects.put(np.zeros(size, np.uint8)))
        depot.objects.delete(ids)
        depot.objects.put(np.zeros(size * len(ids) // 2, np.uint8))
        depot.objects.delete([info.id for info in depot.objects.list()])


@pytest.mark.parametrize("which", ["root", "growth"])
def test_a_stopped_holder_of_a_lock_is_named(home: Home, peers: Start, which: str) -> None:
    with home.open("64M") as depot:

        def hold(here: Any) -> None:
            from entrepot.engine.lmdb.locks import root_lock

            here.held = contextlib.ExitStack()
            path = here.depot.path.parent
            guard = here.depot.attached._growth.guard(0, 0)
            here.held.enter_context(root_lock(path) if which == "root" else guard)

        peer = peers()
        peer.run(hold)
        peer.stop()
        refused = depot.destroy if which == "root" else depot.attached.engine.environment.grow
        try:
            with pytest.raises(entrepot.UnavailableError, match=f"process {peer.pid} is stopped"):
                refused()
        finally:
            peer.resume()
        peer.run(lambda here: here.held.close())


# The durable tier.


def test_two_memory_tiers_never_share_a_durable_one(
    home: Home, tmp_path: Path, peers: Start
) -> None:
    with home.open("64M") as depot:
        depot.space("s", persistent=True).store("task", 1)
        claim = depot.space("s").claim("task")
        with home.open_beside(tmp_path, data=home.data) as other:
            refusal = pytest.raises(entrepot.ConflictError, match="in use by the depot in")
            with refusal:
                other.space("s", persistent=True)
        claim.release()

        def look(here: Any) -> list[str]:
            with entrepot.open(
                home.name, directory=tmp_path / "beside", data_directory=home.data
            ) as d:
                return [info.name for info in d.spaces()]

        with pytest.raises(entrepot.ConflictError, match="in use by the depot in"):
            peers().run(look)
    with home.open_beside(tmp_path, data=home.data) as other:
        assert other.space("s").fetch("task", timeout=0) == 1


def test_a_forked_child_uses_the_durable_tier_too(home: Home, peers: Start) -> None:
    def fork(here: Any) -> int:
        depot = here.depot
        depot.space("s", persistent=True).store("v", 1)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                depot.space("s").store("v", 2)
                code = 0
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    peer = peers()
    assert peer.run(fork) == 0
    with home.open() as depot:
        assert sorted(depot.space("s").fetch("v", timeout=0) for _ in range(2)) == [1, 2]
        depot.delete_space("s")


def test_a_temporary_depot_goes_when_its_maker_was_killed_and_nobody_uses_it(
    home: Home, peers: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENTREPOT_DIR", str(home.root))
    monkeypatch.setenv("ENTREPOT_DATA", str(home.data))
    maker, user, living = peers(), peers(), peers()

    def make(here: Any) -> str:
        here.block = entrepot.temporary(memory="64M")
        depot = here.block.__enter__()
        depot.table("users/people").put("ann", {"age": 42})
        return depot.name

    name, kept = maker.run(make), living.run(make)

    def look(here: Any) -> None:
        here.other = entrepot.open(name)

    user.run(look)
    maker.kill()
    (home.root / "temporary-1-but-not-ours").mkdir(mode=0o700)
    with entrepot.temporary(memory="64M") as own, entrepot.temporary(memory="64M") as second:
        assert {name, kept, own.name, second.name} <= set(entrepot.names())
        assert own.sessions()[0].pid == os.getpid()
    user.kill()
    with entrepot.temporary(memory="64M"):
        assert name not in entrepot.names()
        assert kept in entrepot.names()
    assert not (home.data / name).exists()
    (home.root / "temporary-1-but-not-ours").rmdir()  # it stayed
    living.run(lambda here: here.block.__exit__(None, None, None))
    assert kept not in entrepot.names()
