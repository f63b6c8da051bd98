"""The original NetWorkSpaces: fetched from PyPI when a test or a benchmark wants it.

Its sources are Python 2's, under another license: nothing of them is in this repository. They
are converted by lib2to3, as their users do; `support.nws_adapter` bridges what that leaves,
namely that bytes are not text any more.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

__all__ = ["NotFetchedError", "environment", "fetch_originals"]

_CLIENT, _SERVER = "nwsclient==1.6.3", "nwsserver==1.5.1"


class NotFetchedError(Exception):
    """The originals cannot be had here."""


def fetch_originals(*, server: bool = False) -> Path:
    """Return the directory of the converted originals.

    Raises:
        NotFetchedError: They cannot be had; the message says why.
    """
    if sys.version_info >= (3, 13):
        raise NotFetchedError("lib2to3 converts the originals, and left Python with 3.13")
    home = Path(tempfile.gettempdir()) / f"entrepot-nws-originals-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers of the tests want it at once
        for wanted in (_CLIENT, _SERVER) if server else (_CLIENT,):
            mark = home / f"{wanted}.done"
            if not mark.exists():
                _fetch(wanted, home)
                mark.touch()
    return home


def _fetch(wanted: str, home: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", ":all:", "--dest", str(home), wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotFetchedError(f"{wanted} cannot be had: {done.stderr.strip()[-300:]}")
    name = wanted.replace("==", "-")
    with tarfile.open(home / f"{name}.tar.gz") as archive:
        archive.extractall(home, filter="data")
    parts = [str(path) for path in (home / name).iterdir() if path.name in ("nws", "nwss", "test")]
    convert = [sys.executable, "-W", "ignore", "-m", "lib2to3", "-w", "-n", "--no-diffs", *parts]
    subprocess.run(convert, capture_output=True, check=True)
    for part in parts:
        Path(part).rename(home / Path(part).name)


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return the environment in which the originals, and our own modules, are found."""
    paths = [str(home), *filter(None, sys.path)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"} | more
