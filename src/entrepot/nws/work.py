"""The command that runs a worker of a sleigh; `entrepot.nws.sleigh` makes it."""

from __future__ import annotations

import sys

from entrepot.nws._sleigh_worker import main

__all__ = ["main"]

if __name__ == "__main__":
    main(sys.argv[1:])
