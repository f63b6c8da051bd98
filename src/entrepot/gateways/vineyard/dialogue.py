"""A dialogue: a client's requests, answered one by one until it leaves."""

from __future__ import annotations

import logging
from typing import Any

from entrepot.errors import EntrepotError
from entrepot.gateways.vineyard import commands, remote, shared
from entrepot.gateways.vineyard.requests import error_reply, field, is_vineyards
from entrepot.gateways.vineyard.session import Session
from entrepot.vineyard._errors import (
    InvalidException,
    NotImplementedException,
    VineyardException,
)
from entrepot.vineyard._wire import FrameError

__all__ = ["serve"]

_log = logging.getLogger(__name__)


def serve(session: Session) -> None:
    """Answer requests until the client leaves."""
    try:
        while _answer_next(session):
            pass
    except (FrameError, OSError) as error:
        _log.debug("a connection ended: %s", error)
    finally:
        session.connection.close()
        try:
            session.leave()
        except (EntrepotError, VineyardException):
            _log.exception("what a client held could not be given back")
        finally:
            session.instance.forget(session)


def _answer_next(session: Session) -> bool:
    try:
        request = session.connection.receive()
        if request is None or request.get("type") == "exit_request":
            return False
        _answer(session, request)
    except Exception as error:
        is_told = is_vineyards(error)
        if isinstance(error, (FrameError, OSError)) and not is_told:
            raise  # of the connection itself
        if not is_told:  # the client is told of it, and others notice nothing
            _log.exception("a request failed")
        session.connection.send(error_reply(error))
    return True


def _answer(session: Session, request: dict[str, Any]) -> None:
    kind = field(request, "type", str)
    name = kind.removesuffix("_request")
    if not session.is_registered and name != "register":
        raise InvalidException(f"The connection is not registered yet, command is: {kind}")
    command = commands.COMMANDS.get(name) or shared.ANSWERS.get(name)
    if command is not None and (name != kind or name in commands.BARE):
        session.connection.send({"type": f"{name}_reply", **command(session, request)})
        session.is_registered = True
        return
    sends = remote.COMMANDS.get(name) or shared.COMMANDS.get(name)
    if sends is None or name == kind:
        raise InvalidException(f"Got unexpected command: {kind}")
    if session.is_tcp and name in shared.COMMANDS:
        raise NotImplementedException(
            f"{kind} is for clients on the same machine: connect to the IPC socket"
        )
    sends(session, request)
