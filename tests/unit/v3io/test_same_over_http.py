"""One program, in the process and over HTTP: it tells the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from entrepot.v3io.aio.dataplane import Client as AsyncClient
from entrepot.v3io.dataplane import Client
from support.homes import Home
from support.v3io_program import EXPECTED, run, run_awaited

pytest.importorskip("httptools", reason="pip install 'entrepot[serve]'")

from entrepot.gateways.http import HttpGateway


@pytest.fixture
def url(home: Home) -> Iterator[str]:
    """Return the address of a gateway to a depot with the containers that the program uses."""
    with home.open() as lab:
        for name in ("new", "users"):
            lab.create_container(name)
        gateway = HttpGateway(lab)
        gateway.start()
        yield f"http://{gateway.host}:{gateway.port}"
        gateway.close()


def test_a_program_tells_over_http_what_it_tells_in_the_process(url: str) -> None:
    with Client(endpoint=url, access_key="k") as client:
        assert run(client) == EXPECTED.read_text("utf-8").splitlines()


@pytest.mark.anyio
async def test_a_program_that_awaits_tells_it_too(url: str) -> None:
    async with AsyncClient(endpoint=url, access_key="k") as client:
        assert await run_awaited(client) == EXPECTED.read_text("utf-8").splitlines()
