"""The workspaces of a depot, in both tiers."""

from __future__ import annotations

from collections.abc import Callable

from entrepot.arena.bulk import Bulk
from entrepot.engine.keys import unpack
from entrepot.engine.protocol import Transaction
from entrepot.errors import ConflictError, NotFoundError
from entrepot.layers import values
from entrepot.layers.spaces import core, workspaces
from entrepot.layers.spaces.core import Waiter
from entrepot.layers.spaces.records import Owner, Workspace
from entrepot.layers.spaces.space import Space
from entrepot.layers.spaces.workspaces import SpaceInfo
from entrepot.layers.tier import Tier

__all__ = ["Spaces", "register"]


def register(tier: Tier) -> None:
    """Tell a tier's engine how to give back what the dead held of spaces."""
    bulk = tier.bulk
    tier.engine.on_release("waiter", _end_wait(bulk))
    tier.engine.on_release("claim", _end_claim(bulk))
    tier.engine.on_release("producer", _end_producer)
    tier.engine.on_release("space", _end_space)


def _end_wait(bulk: Bulk) -> Callable[[Transaction, int, bytes, bytes], None]:
    def release(tx: Transaction, session: int, rest: bytes, value: bytes) -> None:
        core.end_wait(tx, bulk, Waiter(session, _int(unpack(rest)[0])), value)

    return release


def _end_claim(bulk: Bulk) -> Callable[[Transaction, int, bytes, bytes], None]:
    def release(tx: Transaction, session: int, rest: bytes, value: bytes) -> None:
        id, index = unpack(rest)
        core.release_claim(tx, bulk, value, _int(id), _int(index), _DIED)

    return release


def _end_producer(tx: Transaction, session: int, rest: bytes, value: bytes) -> None:
    core.release_producer(tx, value)


_DIED = core.Ending(reason="the process that worked on it ended")


def _end_space(tx: Transaction, session: int, rest: bytes, value: bytes) -> None:
    workspaces.end_owner(tx, str(unpack(rest)[0]), _int(unpack(value)[0]))


def _int(element: object) -> int:
    assert isinstance(element, int)
    return element


class Spaces:
    """Opens, lists and deletes workspaces."""

    def __init__(
        self, volatile: Tier, durable: Callable[[], Tier], has_durable: Callable[[], bool]
    ) -> None:
        """Take the tiers; the durable one is opened when it is first needed."""
        self.volatile = volatile
        self._durable = durable
        self._has_durable = has_durable

    def open(self, name: str, *, owned: bool, persistent: bool, create: bool) -> Space:
        """Open a workspace; see `Depot.space`."""
        if owned and persistent:
            raise ConflictError(
                f"the workspace {name!r} cannot be persistent and end with a process",
                "leave owned out, or persistent",
            )
        owner = Owner(self.volatile.engine.session.id) if owned else None
        # What a program made for itself does not go when a client of NetWorkSpaces leaves it.
        return self.open_for(owner, name, persistent=persistent, create=create, kept=True)[0]

    def open_for(
        self,
        owner: Owner | None,
        name: str,
        *,
        persistent: bool = False,
        create: bool = True,
        kept: bool = False,
    ) -> tuple[Space, Workspace]:
        """Open a workspace; give it `owner` if it is volatile, and never had one.

        With `kept`, one that is made stays when a client owned it meanwhile.

        Raises:
            NotFoundError: It is not there, and `create` is not set.
            ConflictError: `persistent` is set, and it exists and is not.
        """
        values.check_name(name, "workspace name")
        if not self._is_persistent(name):
            if not persistent:
                engine = self.volatile.engine
                workspace = engine.write(
                    workspaces.open_workspace, name, owner, create, kept and owner is None
                )
                if workspace.instance:
                    space = Space(name, self.volatile, workspace.instance, persistent=False)
                    return space, workspace
            elif create:
                self.volatile.engine.write(workspaces.mark_persistent, name)
            else:
                raise NotFoundError(
                    f"there is no persistent workspace {name!r}", "pass create=True to make it"
                )
        tier = self._durable()
        workspace = tier.engine.read(workspaces.look_up, name)
        if workspace is None:
            workspace = tier.engine.write(workspaces.open_workspace, name, None, create)
        return Space(name, tier, workspace.instance, persistent=True), workspace

    def delete(self, name: str) -> None:
        """Delete a workspace with all that is in it; those who wait are told.

        Raises:
            NotFoundError: There is no such workspace.
        """
        values.check_name(name, "workspace name")
        was_there = False
        if self._is_persistent(name):
            tier = self._durable()
            was_there = tier.engine.write(workspaces.delete_workspace, name)
            sweep(tier)
        was_there |= self.volatile.engine.write(workspaces.delete_workspace, name)
        sweep(self.volatile)
        if not was_there:
            raise NotFoundError(f"there is no workspace {name!r}")

    def list(self) -> list[SpaceInfo]:
        """Return the workspaces of both tiers, by name."""
        self.volatile.notice_dead()
        found = [
            info
            for tier in self.tiers()
            for info in tier.engine.read(_list, tier is not self.volatile)
        ]
        return sorted(found, key=lambda info: info.name)

    def tiers(self) -> tuple[Tier, ...]:
        """Return the tiers that there are: the volatile one first."""
        return (self.volatile, self._durable()) if self._has_durable() else (self.volatile,)

    def count(self) -> int:
        """Return how many workspaces both tiers have, without a look at what is in them."""
        return sum(tier.engine.read(workspaces.count_workspaces) for tier in self.tiers())

    def _is_persistent(self, name: str) -> bool:
        marked = self.volatile.engine.read(workspaces.look_up, name)
        if marked is not None:
            return marked.instance == 0
        if not self._has_durable():
            return False
        return self._durable().engine.read(workspaces.look_up, name) is not None


def sweep(tier: Tier) -> None:
    """Delete the trash of a tier, in batches."""
    while tier.engine.write(workspaces.sweep, tier.bulk):
        pass


def _list(tx: Transaction, persistent: bool) -> list[SpaceInfo]:
    return workspaces.list_workspaces(tx, persistent=persistent)
