"""The second process of `entrepot bench`: answers every ping with a pong."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import entrepot

__all__ = ["PING", "PONG"]

PING = "ping"
PONG = "pong"


def main() -> None:
    """Answer in the depot and the space that the command line names, until killed."""
    directory, data_directory, name, space_name = sys.argv[1:]
    with entrepot.open(
        name, directory=Path(directory), data_directory=Path(data_directory)
    ) as depot:
        space = depot.space(space_name, create=False)
        space.store(PONG, None)  # ready
        while True:
            space.store(PONG, space.fetch(PING))


if __name__ == "__main__":
    with suppress(entrepot.NotFoundError):  # the space went with its owner
        main()
