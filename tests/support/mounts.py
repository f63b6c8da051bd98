"""Small file systems, for tests that fill them. Import `small_memory` into a conftest."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

__all__ = ["small_memory"]


@pytest.fixture
def small_memory(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return what mounts a memory file system of some size."""
    if os.getuid() != 0:
        pytest.skip("needs root: mount")
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        at = tmp_path / f"mount{len(mounted)}"
        at.mkdir(mode=0o700)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", at],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"cannot mount a tmpfs: {done.stderr.decode().strip()}")
        mounted.append(at)
        return at

    yield mount
    for at in mounted:
        subprocess.run(["umount", "--lazy", at], check=True)
