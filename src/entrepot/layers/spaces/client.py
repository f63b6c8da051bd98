"""One of several users that a process works for: what it opened, and what it owns.

A process that works for itself needs none: what it owns ends with its session. A gateway, or
a program with several connections, has a client for each.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

from entrepot.engine.protocol import Transaction
from entrepot.layers.spaces import workspaces
from entrepot.layers.spaces.records import LEFT, NAME, Owner, decode_workspace
from entrepot.layers.spaces.space import Space
from entrepot.layers.spaces.spaces import Spaces, sweep

__all__ = ["Client", "Listed"]

_numbers = itertools.count(1)


class Listed(NamedTuple):
    """A workspace, as a client sees it."""

    name: str
    is_mine: bool
    owner: str
    """What its owner says of itself, also when it has left; empty if it never had one."""
    is_kept: bool
    """It stays when its owner leaves."""
    variables: list[str]


class Client:
    """Opens workspaces; those that it owns end with it, unless they are to be kept."""

    def __init__(self, spaces: Spaces, label: str, note: Callable[[Space], None]) -> None:
        """Begin; `note` is told of each space that is opened."""
        self.label = label
        self.opened: dict[str, Space] = {}
        """By name: the instances that were there when they were opened."""
        self._spaces = spaces
        self._note = note
        self._number = next(_numbers)
        self.owned: dict[str, tuple[int, int]] = {}
        """By name: the session under which it is owned, and the instance."""

    @property
    def _me(self) -> tuple[int, int]:
        """Who owns what this client opens; a forked child is somebody else."""
        return self._spaces.volatile.engine.session.id, self._number

    def open(
        self,
        name: str,
        *,
        owned: bool = True,
        kept: bool = False,
        create: bool = True,
        label: str | None = None,
    ) -> Space:
        """Open a workspace.

        Args:
            name: Which one.
            owned: Own it, if nobody ever did.
            kept: If it is owned by this call: let it stay when this client ends.
            create: Make it if it is not there.
            label: What is told of the owner, if not the client's label.

        Raises:
            NotFoundError: It is not there, and `create` is not set.
        """
        label = self.label if label is None else label
        me = self._me
        owner = Owner(*me, label, kept) if owned else None
        space, workspace = self._spaces.open_for(owner, name, create=create)
        if (workspace.owner, workspace.client) == me:
            self.owned[name] = me[0], workspace.instance
        self._note(space)
        self.opened[name] = space
        return space

    def reserve(self, name: str, label: str) -> None:
        """Make a workspace that nobody can own, if there is none of this name."""
        self._spaces.open_for(Owner(LEFT, 0, label), name)

    def list(self) -> list[Listed]:
        """Return all workspaces, by name."""
        volatile, me = self._spaces.volatile, self._me
        volatile.notice_dead()
        found = [
            listed
            for tier in self._spaces.tiers()
            for listed in tier.engine.read(self._list, me, tier is not volatile)
        ]
        return sorted(found)

    def _list(self, tx: Transaction, me: tuple[int, int], is_durable: bool) -> list[Listed]:
        found: list[Listed] = []
        for key, raw in tx.range(NAME.begin, NAME.end):
            workspace = decode_workspace(raw)
            if not workspace.instance:
                continue
            owner = workspace.label
            if not owner and workspace.owner > 0:
                owner = f"process {workspace.owner_pid}"
            found.append(
                Listed(
                    str(NAME.tail(key)[0]),
                    (workspace.owner, workspace.client) == me,
                    owner,
                    workspace.is_kept or is_durable,
                    workspaces.list_names(tx, workspace.instance),
                )
            )
        return found

    def delete(self, name: str) -> None:
        """Delete a workspace, whoever owns it.

        Raises:
            NotFoundError: There is none of this name.
        """
        self._spaces.delete(name)

    def close(self) -> None:
        """End: what is owned and not kept goes; may be repeated, and does nothing in a child."""
        if self.leave():
            self.sweep()

    def sweep(self) -> None:
        """Delete what is left of workspaces that have ended."""
        sweep(self._spaces.volatile)

    def leave(self) -> bool:
        """End, quickly: what is owned is gone, and `sweep` is needed if this returns True."""
        owned, self.owned = self.owned, {}
        self.opened.clear()
        if not owned:
            return False
        tier, session = self._spaces.volatile, self._me[0]
        for name, (owner, instance) in owned.items():
            if owner == session:
                tier.engine.write(workspaces.end_owner, name, instance)
        return True
