"""Sixteen processes print into one buffer while some are killed.

What is guaranteed: a line is never mixed with another one; the lines of a writer are in their
order, without a gap; none is lost that was acknowledged.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from support.conditions import wait_until
from support.homes import Home
from support.line_storm import text_of

PROCESSES = 16
LINES = int(os.environ.get("ENTREPOT_STORM_LINES", "400"))


@pytest.mark.parametrize("kills", [0, 8], ids=["all live", "half are killed"])
def test_no_line_is_mixed_or_lost_and_the_order_is_kept(
    kills: int, home: Home, tmp_path: Path, chance: random.Random
) -> None:
    acknowledged = tmp_path / "acknowledged"
    acknowledged.write_bytes(bytes(4 * PROCESSES))

    def counts() -> list[int]:
        raw = acknowledged.read_bytes()
        return [int.from_bytes(raw[at : at + 4], "big") for at in range(0, len(raw), 4)]

    with home.open("512M") as depot:
        lines = depot.lines("storm", max_lines=100_000_000, max_bytes=1 << 40)
        depot.lines("rolls", max_lines=1000)
        sizes = [str(home.root), str(home.data), str(PROCESSES), str(LINES)]
        storm = subprocess.Popen(
            [sys.executable, "-m", "support.line_storm", *sizes, str(acknowledged)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with storm:
            assert storm.stdin is not None
            assert storm.stdout is not None
            pids = json.loads(storm.stdout.readline())
            storm.stdin.write("go\n")
            storm.stdin.flush()
            for victim in chance.sample(range(PROCESSES), kills):
                moment = chance.randrange(LINES)
                wait_until(lambda v=victim, m=moment: counts()[v] >= m, "a process prints")
                if counts()[victim] < LINES:
                    os.kill(pids[victim], signal.SIGKILL)
        assert storm.returncode == 0
        depot.collect()
        found: dict[int, list[str]] = defaultdict(list)
        by: dict[int, set[int]] = defaultdict(set)
        for entry in lines.tail(since=1, timeout=0):
            process = int(entry.text.split(" ", 1)[0])
            found[process].append(entry.text)
            by[process].add(entry.pid)
        for process, known in enumerate(counts()):
            written = found[process]
            assert written == [text_of(process, number) for number in range(len(written))]
            assert known <= len(written) <= known + 1
            assert kills or known == LINES
            assert by[process] <= {pids[process]}
        assert depot.check() == []
        lines.delete()
        depot.lines("rolls").delete()
