"""What a transaction does to workspaces and to whole variables.

The name of a persistent workspace is in both tiers: in the volatile one it only says "look
in the durable one", so that nobody makes a volatile workspace of that name. It is written
there first, and removed last.

Deleting does what all must see at once in one transaction, and leaves the values as trash,
which is swept in batches: a variable may have millions.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from entrepot import settings
from entrepot.arena.bulk import Bulk
from entrepot.engine.held import held_key
from entrepot.engine.keys import Prefix, pack_int, pack_str
from entrepot.engine.protocol import Transaction
from entrepot.errors import ConflictError, NotFoundError
from entrepot.layers import values
from entrepot.layers.spaces import rules
from entrepot.layers.spaces.core import deliver, waiters
from entrepot.layers.spaces.records import (
    CLAIM,
    FETCH,
    FIND,
    INSTANCE,
    LEFT,
    MODES,
    NAME,
    NEVER_HAD,
    TRASH,
    UNKNOWN,
    VALUE,
    VARIABLE,
    WHEN_FULL,
    About,
    Mail,
    More,
    Owner,
    Variable,
    Workspace,
    about_key,
    decode_about,
    decode_claim,
    decode_held_waiter,
    decode_variable,
    decode_workspace,
    encode,
    new_variable,
    next_number,
    room_bell,
)
from entrepot.layers.tier import release_record

__all__ = ["SpaceInfo", "VariableInfo"]

TRASH_VARIABLE = Prefix("variable", of=TRASH)
TRASH_INSTANCE = Prefix("instance", of=TRASH)


@dataclass(frozen=True, slots=True)
class VariableInfo:
    """What is known of a variable."""

    name: str
    mode: str
    """fifo, lifo, multi, single; or unknown, while it was only waited for."""
    values: int
    fetchers: int
    """How many wait to take a value."""
    finders: int
    """How many wait to see one."""
    claimed: int
    """How many values are being worked on."""
    delayed: int = 0
    """How many values were given back and are shown later."""
    producers: int | None = None
    """How many have said that they will store values; None if nobody ever did."""
    max_values: int = 0
    max_bytes: int = 0
    when_full: str = "wait"
    ttl: float = 0
    max_tries: int = 0
    oldest: float | None = None
    """When the oldest value was stored, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ValueInfo:
    """What can be said of a value without loading it."""

    index: int
    typename: str
    nbytes: int
    fields: dict[str, Any]
    stored: float
    """Seconds since the epoch."""
    tries: int
    """How often it was claimed and given back."""
    reason: str
    """Why it was given back the last time."""
    expires: float | None
    """When it is dropped, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ClaimInfo:
    """Who works on a value."""

    variable: str
    index: int
    session: int
    since: float
    """Seconds since the epoch."""
    tries: int
    typename: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class WaiterInfo:
    """Who waits for a value."""

    variable: str
    kind: str
    """find or fetch."""
    session: int
    since: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class SpaceInfo:
    """What is known of a workspace."""

    name: str
    owner: int
    """The session with which it ends, or 0."""
    owner_pid: int
    persistent: bool
    variables: int
    values: int
    created: float
    """Seconds since the epoch."""


def look_up(tx: Transaction, name: str) -> Workspace | None:
    """Return what a name stands for."""
    raw = tx.get(NAME.str(name))
    return None if raw is None else decode_workspace(raw)


def open_workspace(
    tx: Transaction, name: str, owner: Owner | None, create: bool, kept: bool = False
) -> Workspace:
    """Return the workspace of a name, made if need be; give it `owner` if it never had one.

    With `kept`, one that is made stays when a client owned it meanwhile.

    Raises:
        NotFoundError: There is none, and `create` is not set.
    """
    workspace = look_up(tx, name)
    if workspace is None:
        if not create:
            raise NotFoundError(f"there is no workspace {name!r}", "pass create=True to make it")
        workspace = Workspace(next_number(tx), 0, 0, time.time(), is_kept=kept)
        tx.put(INSTANCE.int(workspace.instance), name.encode("utf-8", "surrogatepass"))
        tx.put(NAME.str(name), encode(workspace))
    if owner is not None and workspace.instance and not workspace.owner:
        was_kept = workspace.is_kept and owner.client != 0
        workspace.owner, workspace.client, workspace.label, workspace.is_kept = owner
        workspace.is_kept |= was_kept
        workspace.owner_pid = os.getpid()
        tx.put(NAME.str(name), encode(workspace))
        if owner.session != LEFT:
            tx.put(held_key(owner.session, "space", name), pack_int(workspace.instance))
    return workspace


def end_owner(tx: Transaction, name: str, instance: int) -> None:
    """Note that the owner of a workspace left: it ends, unless it was to be kept."""
    workspace = look_up(tx, name)
    if workspace is None or workspace.instance != instance:
        return
    if not workspace.is_kept:
        delete_workspace(tx, name)
        return
    tx.delete(held_key(workspace.owner, "space", name))
    workspace.owner = LEFT
    tx.put(NAME.str(name), encode(workspace))


def mark_persistent(tx: Transaction, name: str) -> None:
    """Note in the volatile tier that a name belongs to the durable one.

    Raises:
        ConflictError: There is a volatile workspace of that name.
    """
    workspace = look_up(tx, name)
    if workspace is not None and workspace.instance:
        raise ConflictError(
            f"the workspace {name!r} exists and is not persistent",
            "delete it, or take another name",
        )
    tx.put(NAME.str(name), encode(Workspace(0, 0, 0, time.time())))


def delete_workspace(tx: Transaction, name: str, instance: int | None = None) -> bool:
    """Delete a workspace, its variables by way of the trash; tell whether it was there."""
    workspace = look_up(tx, name)
    if workspace is None or instance not in (None, workspace.instance):
        return False
    tx.delete(NAME.str(name))
    if workspace.owner > 0:
        tx.delete(held_key(workspace.owner, "space", name))
    if workspace.instance:
        tx.delete(INSTANCE.int(workspace.instance))
        tx.put(TRASH_INSTANCE.int(workspace.instance), b"")
    return True


def declare(
    tx: Transaction, instance: int, key: bytes, mode: int, changes: Mapping[str, Any]
) -> None:
    """Give a variable its mode and its rules, making it if need be.

    Args:
        tx: The transaction.
        instance: Of the workspace.
        key: Of the variable.
        mode: UNKNOWN leaves it as it is.
        changes: Fields of `More` that are to be set.

    Raises:
        ConflictError: It has another mode.
    """
    raw = tx.get(key)
    variable = decode_variable(raw) if raw is not None else new_variable(tx, instance, mode)
    if changes:
        more = variable.more = variable.more or More()
        if "max_bytes" in changes:
            more.size = rules.count_bytes(tx, variable)
        for field, value in changes.items():
            setattr(more, field, value)
        tx.ring(room_bell(variable.id))
        if mode == UNKNOWN:
            tx.put(key, encode(variable))
            return
    if variable.mode not in (UNKNOWN, mode):
        raise ConflictError(
            f"the variable is {MODES[variable.mode]} and cannot become {MODES[mode]}",
            "delete it first, or take another name",
        )
    variable.mode = mode
    tx.put(key, encode(variable))


def mention(tx: Transaction, instance: int, key: bytes) -> None:
    """Make a variable of unknown mode, if there is none."""
    if tx.get(key) is None:
        tx.put(key, encode(new_variable(tx, instance, UNKNOWN)))


def delete_variable(tx: Transaction, key: bytes) -> bool:
    """Delete a variable, its values by way of the trash; whoever waits for it is told."""
    raw = tx.pop(key)
    if raw is None:
        return False
    variable = decode_variable(raw)
    news = encode(Mail(variable.id, 0, None))
    for kind in (FIND, FETCH):
        for line in waiters(tx, variable.id, kind):
            deliver(tx, variable.id, line, news)
    if variable.count or variable.claimed or variable.more is not None:
        tx.put(TRASH_VARIABLE.int(variable.id), b"")
    return True


def sweep(tx: Transaction, bulk: Bulk) -> bool:
    """Delete some of the trash; tell whether more is left."""
    instances = tx.range(TRASH_INSTANCE.begin, TRASH_INSTANCE.end, limit=1)
    if instances:
        instance = TRASH_INSTANCE.tail(instances[0][0])[0]
        assert isinstance(instance, int)
        variables = Prefix(instance, of=VARIABLE)
        found = tx.range(variables.begin, variables.end, limit=settings.BATCH_KEYS)
        for key, _ in found:
            delete_variable(tx, key)
        if len(found) < settings.BATCH_KEYS:
            tx.delete(instances[0][0])
        return True
    trash = tx.range(TRASH_VARIABLE.begin, TRASH_VARIABLE.end, limit=1)
    if not trash:
        return False
    id = TRASH_VARIABLE.tail(trash[0][0])[0]
    assert isinstance(id, int)
    values, claims = Prefix(id, of=VALUE), Prefix(id, of=CLAIM)
    found = tx.range(values.begin, values.end, limit=settings.BATCH_KEYS)
    for key, record in found:
        tx.delete(key)
        release_record(tx, bulk, record)
    claimed = tx.range(claims.begin, claims.end, limit=settings.BATCH_KEYS)
    for key, record in claimed:
        tx.delete(key)
        release_record(tx, bulk, decode_claim(record).record)
    has_more = rules.sweep(tx, bulk, id)
    if not has_more and max(len(found), len(claimed)) < settings.BATCH_KEYS:
        tx.delete(trash[0][0])
    return True


def has_any(tx: Transaction) -> bool:
    """Tell whether there is a workspace in this tier, not counting marks of persistent ones."""
    return bool(tx.range(INSTANCE.begin, INSTANCE.end, limit=1))


def count_workspaces(tx: Transaction) -> int:
    """Return how many workspaces this tier has, without a look at what is in them."""
    return len(tx.range(INSTANCE.begin, INSTANCE.end))


def has_trash(tx: Transaction) -> bool:
    """Tell whether there is something to sweep."""
    return bool(tx.range(TRASH.begin, TRASH.end, limit=1))


def list_workspaces(tx: Transaction, *, persistent: bool) -> list[SpaceInfo]:
    """Return the workspaces of one tier, by name."""
    found: list[SpaceInfo] = []
    for key, raw in tx.range(NAME.begin, NAME.end):
        workspace = decode_workspace(raw)
        if not workspace.instance:
            continue
        variables = list_variables(tx, workspace.instance)
        found.append(
            SpaceInfo(
                name=str(NAME.tail(key)[0]),
                owner=max(workspace.owner, 0),
                owner_pid=workspace.owner_pid,
                persistent=persistent,
                variables=len(variables),
                values=sum(variable.values for variable in variables),
                created=workspace.created_s,
            )
        )
    return found


def list_variables(tx: Transaction, instance: int) -> list[VariableInfo]:
    """Return the variables of a workspace, by name."""
    prefix = Prefix(instance, of=VARIABLE)
    found: list[VariableInfo] = []
    for key, raw in tx.range(prefix.begin, prefix.end):
        variable = decode_variable(raw)
        more = variable.more or More()
        oldest = tx.range(variable.values, VALUE.int(variable.id) + b"\xff", limit=1)
        found.append(
            VariableInfo(
                name=str(prefix.tail(key)[0]),
                mode=MODES[variable.mode],
                values=variable.count,
                fetchers=variable.fetchers,
                finders=variable.finders,
                claimed=variable.claimed,
                delayed=more.delayed,
                producers=None if more.producers == NEVER_HAD else more.producers,
                max_values=more.max_values,
                max_bytes=more.max_bytes,
                when_full=WHEN_FULL[more.when_full],
                ttl=more.ttl_s,
                max_tries=more.max_tries,
                oldest=values.made_at(oldest[0][1]) if oldest else None,
            )
        )
    return found


def list_values(tx: Transaction, key: bytes, limit: int) -> list[ValueInfo]:
    """Return what can be said of the oldest values of a variable."""
    raw = tx.get(key)
    if raw is None:
        return []
    variable = decode_variable(raw)
    if variable.more is not None:
        rules.check_due(tx, variable.more)
    prefix = Prefix(variable.id, of=VALUE)
    found: list[ValueInfo] = []
    for value_key, record in tx.range(prefix.begin, prefix.end, limit=limit):
        index = prefix.tail(value_key)[0]
        assert isinstance(index, int)
        told = tx.get(about_key(variable.id, index))
        about = decode_about(told) if told is not None else About()
        description = values.describe(record)
        found.append(
            ValueInfo(
                index=index,
                typename=description.typename,
                nbytes=description.nbytes,
                fields=description.fields,
                stored=values.made_at(record),
                tries=about.tries,
                reason=about.reason,
                expires=about.expires_us / 1e6 if about.expires_us else None,
            )
        )
    return found


def _each(tx: Transaction, instance: int, key: bytes | None) -> Iterator[tuple[str, Variable]]:
    """Yield name and record of one variable, or of all of a workspace."""
    prefix = Prefix(instance, of=VARIABLE)
    if key is not None:
        raw = tx.get(key)
        items = [(key, raw)] if raw is not None else []
    else:
        items = tx.range(prefix.begin, prefix.end)
    for at, raw in items:
        yield str(prefix.tail(at)[0]), decode_variable(raw)


def list_claims(tx: Transaction, instance: int, key: bytes | None) -> list[ClaimInfo]:
    """Return who works on which value, of one variable or of all of a workspace."""
    found: list[ClaimInfo] = []
    for name, variable in _each(tx, instance, key):
        prefix = Prefix(variable.id, of=CLAIM)
        for at, raw in tx.range(prefix.begin, prefix.end):
            index = prefix.tail(at)[0]
            assert isinstance(index, int)
            claim = decode_claim(raw)
            tries = claim.about.tries if claim.about is not None else 1
            said = values.describe(claim.record)
            found.append(
                ClaimInfo(
                    name, index, claim.session, claim.since_s, tries, said.typename, said.nbytes
                )
            )
    return found


def list_waiters(tx: Transaction, instance: int, key: bytes | None) -> list[WaiterInfo]:
    """Return who waits for a value, of one variable or of all of a workspace, by arrival."""
    found: list[WaiterInfo] = []
    for name, variable in _each(tx, instance, key):
        for kind, text in ((FETCH, "fetch"), (FIND, "find")):
            for line in waiters(tx, variable.id, kind):
                held = tx.get(held_key(line.session, "waiter", line.waiter))
                assert held is not None, "somebody waits who does not know it"
                since_s = decode_held_waiter(held).since_s
                found.append(WaiterInfo(name, text, line.session, since_s))
    return found


def list_names(tx: Transaction, instance: int) -> list[str]:
    """Return the names of the variables of a workspace, in order."""
    prefix = Prefix(instance, of=VARIABLE)
    return [str(prefix.tail(key)[0]) for key, _ in tx.range(prefix.begin, prefix.end)]


def exists(tx: Transaction, instance: int) -> bool:
    """Tell whether an instance of a workspace was not deleted."""
    return tx.get(INSTANCE.int(instance)) is not None


def variable_key(instance: int, name: str) -> bytes:
    """Return the key of a variable."""
    return VARIABLE.int(instance) + pack_str(name)


def check(tx: Transaction) -> list[str]:
    """Return what is wrong: the counts of each variable against what is there."""
    problems: list[str] = []
    for key, raw in tx.range(VARIABLE.begin, VARIABLE.end):
        instance, name = VARIABLE.tail(key)
        variable = decode_variable(raw)
        values, claims = Prefix(variable.id, of=VALUE), Prefix(variable.id, of=CLAIM)
        indexes = [values.tail(k)[0] for k, _ in tx.range(values.begin, values.end)]
        counts = {
            "values": (variable.count, len(indexes)),
            "claims": (variable.claimed, len(tx.range(claims.begin, claims.end))),
            "fetchers": (variable.fetchers, len(waiters(tx, variable.id, FETCH))),
            "finders": (variable.finders, len(waiters(tx, variable.id, FIND))),
        }
        if variable.more is not None:
            counts |= rules.counts(tx, variable)
        problems += [
            f"variable {name!r} of instance {instance} counts {counted} {what}, there are {there}"
            for what, (counted, there) in counts.items()
            if counted != there
        ]
        problems += [
            f"variable {name!r} of instance {instance} has value {index} outside "
            f"{variable.first}..{variable.last}"
            for index in indexes
            if not (isinstance(index, int) and variable.first <= index <= variable.last)
        ]
    return problems
