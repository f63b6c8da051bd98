"""Instances on several machines, which etcd makes one cluster."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Generator, Sequence

__all__ = ["start_vineyardd"]


@contextlib.contextmanager
def start_vineyardd(
    hosts: Sequence[str] | None = None,
    etcd_endpoints: str | None = None,
    vineyardd_path: str | None = None,
    size: int | str = "",
    socket: str = "/var/run/vineyard.sock",
    rpc_socket_port: int = 9600,
    debug: bool = False,
) -> Generator[tuple[list[subprocess.Popen[bytes]], str, str | None]]:
    """Start an instance on each of several hosts. Not possible yet.

    Raises:
        RuntimeError: Always: depots of several machines need the etcd engine, which this
            version does not have.
    """
    named = ", ".join(hosts or ()) or "no hosts"
    raise RuntimeError(
        f"instances on several machines ({named}) need etcd, which this version cannot use yet. "
        "Start one with deploy.local.start_vineyardd() on one machine, and connect to its port "
        "from the others: vineyard.connect(host, port)"
    )
    yield [], socket, etcd_endpoints
