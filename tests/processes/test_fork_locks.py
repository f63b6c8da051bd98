"""LMDB knows by record locks who lives. A process that drops them by accident loses its
snapshots to other writers: closing any descriptor of the lock file does that.
"""

import os
import sys
from pathlib import Path

import pytest

import entrepot

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/locks")


def _locks(path: Path) -> set[str]:
    """Return which record locks this process has on a file: READ of byte 0, WRITE of its pid."""
    inode, pid = path.stat().st_ino, str(os.getpid())
    rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return {row[3] for row in rows if row[4] == pid and row[5].endswith(f":{inode}")}


def _locks_after_use(depot: entrepot.Depot) -> set[str]:
    assert not depot.objects.exists(1)
    return _locks(depot.path / "catalog" / "lock.mdb")


def test_a_forked_child_has_all_record_locks_of_its_own(tmp_path):
    with entrepot.open("locks", directory=tmp_path / "memory", memory="64M") as depot:
        assert _locks_after_use(depot) == {"READ", "WRITE"}
        child = os.fork()
        if child == 0:
            os._exit(0 if _locks_after_use(depot) == {"READ", "WRITE"} else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert _locks_after_use(depot) == {"READ", "WRITE"}


def test_a_depot_opened_again_has_all_record_locks(tmp_path):
    depot = entrepot.open("locks", directory=tmp_path / "memory", memory="64M")
    key = depot.objects.put(1)
    depot.close()
    with entrepot.open("locks", directory=tmp_path / "memory") as depot:
        assert depot.objects.get(key) == 1
        assert _locks_after_use(depot) == {"READ", "WRITE"}
