"""NetWorkSpaces: a program of its users, in this process; and the same over TCP, by a gateway.

Run me:

    python examples/09_networkspaces.py
"""

from __future__ import annotations

import entrepot
from entrepot.gateways.nws import NwsGateway
from entrepot.nws.client import SINGLE, NetWorkSpace
from entrepot.nws.sleigh import Sleigh


def main() -> None:
    """Store here, fetch there; then share work out to a sleigh."""
    with entrepot.temporary() as depot:
        gateway = NwsGateway(depot)
        gateway.start()
        here = NetWorkSpace("ring", f"depot:{depot.name}")
        there = NetWorkSpace("ring", gateway.host, gateway.port, useUse=True)
        here.declare("best", SINGLE)
        for number in (3, 1, 2):
            here.store("task", number)
            there.store("best", {"number": number})
        print("fetched over TCP:", [there.fetch("task") for _ in range(3)])
        print("found in the process:", here.find("best"))
        with Sleigh(workerCount=2, nwsHost=gateway.host, nwsPort=gateway.port) as sleigh:
            print("a sleigh's results:", sleigh.eachElem(abs, [range(-3, 3)]))
        there.server.close()
        here.server.close()
        gateway.close()


if __name__ == "__main__":
    main()
