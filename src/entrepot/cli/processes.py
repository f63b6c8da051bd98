"""The processes that have a depot open, as `top` and `doctor` show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from entrepot.cli.present import age, row, size, table

if TYPE_CHECKING:
    from rich.table import Table

    from entrepot.depot import SessionInfo

__all__ = ["processes"]

SHOWN = 15
COMMAND_CHARACTERS = 60


def processes(sessions: list[SessionInfo]) -> Table:
    """Return a table of processes, the greatest holders first."""
    made = table("Processes", ">PID", "State", ">Open for", ">Pinned", "Holds", "Command")
    made.columns[-1].no_wrap = True
    made.columns[-1].overflow = "ellipsis"
    for info in sorted(sessions, key=lambda info: (-info.pinned_bytes, info.pid))[:SHOWN]:
        state = Text("alive", "green") if info.alive else Text("dead", "red")
        if info.is_self:
            state = Text("this one", "dim")
        held = sorted(info.held.items())
        row(
            made,
            *(str(info.pid), state, age(info.started), size(info.pinned_bytes)),
            ", ".join(f"{number} {kind}" for kind, number in held if number) or "·",
            info.command[:COMMAND_CHARACTERS],
        )
    if len(sessions) > SHOWN:
        made.caption = f"… and {len(sessions) - SHOWN} more"
    return made
