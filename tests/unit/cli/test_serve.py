"""`entrepot serve` where it cannot listen: what it says, and that it leaves others alone."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("file", "a file is there"),
        (".", "a directory is there"),
        ("none/v.sock", "there is no directory"),
        ("x" * 120, "the path is longer than 107 bytes"),
    ],
)
def test_a_path_where_no_socket_can_be_is_named_with_the_reason(
    run, tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "file").write_text("mine")
    words = ("--ipc", str(tmp_path / name), "--rpc", "127.0.0.1:0")
    err = "".join(run("serve", *words, status=1).err.split())
    assert "".join(f"cannot listen on {tmp_path / name}: {said}".split()) in err
    assert "anotherprogram" not in err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_socket_in_use_is_named_and_not_the_port_before_it(run, tmp_path: Path) -> None:
    path = tmp_path / "v.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as taken:
        taken.bind(str(path))
        taken.listen()
        said = run("serve", "--rpc", "127.0.0.1:0", "--ipc", str(path), status=1).err
    assert "".join(f"cannot listen on {path}: somebody listens there".split()) in "".join(
        said.split()
    )
    assert path.is_socket()


def test_a_host_that_is_not_this_machine_is_told_from_a_port_in_use(run) -> None:
    assert "name an address of this machine" in run("serve", "--rpc", "192.0.2.1:0", status=1).err
