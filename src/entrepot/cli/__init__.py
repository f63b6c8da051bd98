"""The command line: `entrepot COMMAND`, one file per command.

::

    application   the table of commands; loads the module of the one that was asked for
    options       --depot, --directory, --json, and opening a depot that exists
    targets       what a person types: an id, a name, SPACE, SPACE/VARIABLE
    files         files of a kind that is known by the ending, to values and back
    present       values and numbers as a person, or as JSON, reads them
    groups        commands that have commands of their own: table, stream, container
    items         items of tables as text: in JSON, and as a person types them
    row_files     CSV, JSON lines and Parquet (parquet_rows) to items and back; imports
    demo/         the main job on real data, with worker processes

Importing this package costs nothing: the worker processes of `demo` and `bench` live in
it too, and need neither typer nor rich.
"""

from __future__ import annotations

import io
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command that `sys.argv` names, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names need not be text
    try:
        from entrepot.cli.application import application  # typer: 50 ms that workers save

        application(sys.argv[1:])(prog_name="entrepot")
    except KeyboardInterrupt:
        sys.exit(130)
