"""NetWorkSpaces' client: workspaces of variables, in this depot or on a server.

::

    from entrepot.nws.client import NetWorkSpace

    nws = NetWorkSpace("test")  # in shared memory: there is nothing to start
    nws.store("answer", 42)
    nws.fetch("answer")

    NetWorkSpace("test", "host", 8765)  # a server: `entrepot serve --nws`, or an original
    NetWorkSpace("test", "depot:lab")  # another depot of this machine

The names and their meanings are those of nwsclient 1.6.3. Values from a server are unpickled:
connect only to one whose users you trust.
"""

from __future__ import annotations

import io
import weakref
from typing import Any, Final, Literal, overload

from entrepot.errors import TypeMismatchError
from entrepot.nws import _files, _listing, _wire
from entrepot.nws._errors import (
    NwsConnectException,
    NwsConnectionDroppedException,
    NwsDeclarationFailedException,
    NwsException,
    NwsNoWorkSpaceException,
    NwsOperationException,
    NwsPicklingException,
    NwsServerException,
    NwsUnpicklingException,
    NwsUnsupportedOperationException,
)
from entrepot.nws._link import Link, Retrieved
from entrepot.nws._local import LocalLink, delete_later
from entrepot.nws._remote import RemoteLink
from entrepot.nws._textfile import NwsTextFile

__all__ = [
    "DICT",
    "FIFO",
    "LIFO",
    "MULTI",
    "SINGLE",
    "STRING",
    "V_FETCHERS",
    "V_FINDERS",
    "V_MODE",
    "V_VALUES",
    "V_VARIABLE",
    "WS_MINE",
    "WS_NAME",
    "WS_NUMVARS",
    "WS_OWNER",
    "WS_PERSISTENT",
    "WS_VARLIST",
    "NetWorkSpace",
    "NwsConnectException",
    "NwsConnectionDroppedException",
    "NwsDeclarationFailedException",
    "NwsException",
    "NwsNoWorkSpaceException",
    "NwsOperationException",
    "NwsPicklingException",
    "NwsServer",
    "NwsServerException",
    "NwsTextFile",
    "NwsUnpicklingException",
    "NwsUnsupportedOperationException",
    "NwsValueIterator",
]

FIFO: Final = "fifo"
LIFO: Final = "lifo"
MULTI: Final = "multi"
SINGLE: Final = "single"

STRING: Final = "string"
DICT: Final = "dict"

WS_NAME, WS_MINE, WS_OWNER, WS_PERSISTENT, WS_NUMVARS, WS_VARLIST = range(6)
V_VARIABLE, V_VALUES, V_FETCHERS, V_FINDERS, V_MODE = range(5)

NWS_PORT: Final = 8765

Variables = dict[str, tuple[str, int, int, int, str]]
Workspaces = dict[str, tuple[str, bool, str, bool, int, list[str]]]


class _Host(str):
    """The host that is meant where none is named."""

    __slots__ = ()


class _Port(int):
    """The port that is meant where none is named."""


_HOST: Final = _Host("localhost")
_PORT: Final = _Port(NWS_PORT)
_DEPOT: Final = "depot:"
_OPTIONS: Final = frozenset({"persistent", "create"})


class NetWorkSpace:
    """A workspace: operations on its variables.

    Args:
        wsName: Its name; who opens the same name on the same server shares it.
        serverHost: Where a server listens. If neither host nor port is given, it is this user's
            depot, in this process; `"depot:NAME"` is another depot of this machine.
        serverPort: Likewise.
        useUse: Only use the workspace; never own it.
        server: A connection to use instead of a new one. Nothing is opened then: that is what
            `NwsServer.openWs` and `useWs` do.
        persistent: Let the workspace stay when its owner leaves; if this makes us its owner.
        create: Make it if it is not there.

    Raises:
        NwsConnectException: The server cannot be reached.
        NwsNoWorkSpaceException: It is not there, and `create` is not set.
    """

    def __init__(
        self,
        wsName: str = "__default",
        serverHost: str = _HOST,
        serverPort: int = _PORT,
        useUse: bool = False,
        server: NwsServer | None = None,
        **opt: Any,
    ) -> None:
        _check_name(wsName, "workspace name")
        _check_options(opt)
        self.curWs = wsName
        self._options = opt
        self._uses = useUse
        if server is not None:
            self.server = server
            return
        self.server = NwsServer(serverHost, serverPort)
        try:
            if useUse:
                self.server.useWs(wsName, self, **opt)
            else:
                self.server.openWs(wsName, self, **opt)
        except BaseException:
            self.server.close()
            raise

    def __str__(self) -> str:
        return f"NetWorkspace '{self.curWs}' [{self.server}]"

    def __reduce__(self) -> Any:
        return _connect_again, (self.curWs, self.server, self._uses, self._options)

    @property
    def _link(self) -> Link:
        return self.server.link

    def currentWs(self) -> str:
        """Return the name of the workspace."""
        return self.curWs

    # Variables.

    def declare(self, varName: str, mode: str) -> None:
        """Give a variable its mode: `"fifo"`, `"lifo"`, `"multi"` or `"single"`.

        Raises:
            NwsDeclarationFailedException: It has another mode.
            ValueError: There is no such mode.
        """
        _check_name(varName, "variable name")
        if not isinstance(mode, str):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
            raise TypeError("variable mode must be a string")
        if mode not in (FIFO, LIFO, MULTI, SINGLE) and not mode.startswith("__"):
            raise ValueError(f"illegal mode: {mode}")
        if not self._link.declare(self.curWs, varName, mode):
            raise NwsDeclarationFailedException("variable declaration failed")

    def deleteVar(self, varName: str) -> None:
        """Delete a variable with its values; those who wait for it get an exception.

        Raises:
            NwsOperationException: It is not there.
        """
        _check_name(varName, "variable name")
        if not self._link.delete_variable(self.curWs, varName):
            raise NwsOperationException("deleteVar failed")

    @overload
    def listVars(self, wsName: str | None = None, format: Literal["string"] = "string") -> str: ...
    @overload
    def listVars(self, wsName: str | None = None, *, format: str) -> str | Variables: ...
    @overload
    def listVars(self, wsName: str | None, format: str) -> str | Variables: ...
    def listVars(self, wsName: str | None = None, format: str = "string") -> str | Variables:
        """Return the variables of a workspace, by default of this one.

        Args:
            wsName: Another workspace, that was opened on the same connection.
            format: `"string"`: a line for each, of fields with tabs between them: name, number
                of values, of those who wait to fetch, of those who wait to find, mode.
                `"dict"`: name -> a tuple of these; `V_VALUES` and so on are its indexes.

        Raises:
            NwsOperationException: The workspace is not there, or was not opened.
            ValueError: There is no such format.
        """
        _check_format(format)
        if wsName is not None:
            _check_name(wsName, "workspace name")
        text = self._link.list_variables(self.curWs if wsName is None else wsName)
        if text is None:
            raise NwsOperationException("listVars failed")
        return _listing.parse_variables(text) if format == DICT else text

    # Storing.

    def store(self, varName: str, val: object) -> None:
        """Store a value. Whoever waits for one gets it in the same step.

        Raises:
            NwsPicklingException: It cannot be pickled.
            NwsOperationException: The workspace was deleted.
        """
        _check_name(varName, "variable name")
        try:
            is_stored = self._link.store(self.curWs, varName, val)
        except TypeMismatchError as error:
            cause = error.__cause__ or error
            raise NwsPicklingException(self.curWs, varName, cause) from error
        if not is_stored:
            raise NwsOperationException("store failed")

    def storeFile(self, varName: str, fobj: Any, n: int = 0) -> int:
        """Store what is left of a file as a value; return how many bytes that was.

        Args:
            varName: Name of the variable.
            fobj: A binary file; also one in memory.
            n: Most bytes to read; 0 for no limit. At the end of the file nothing is stored and
                0 returned, so that a loop stores a file in parts.

        Raises:
            NwsOperationException: The workspace was deleted.
            TypeError: It cannot be read from.
        """
        _check_name(varName, "variable name")
        _files.check_readable(fobj)
        if isinstance(fobj, io.StringIO):  # text, and known to be
            text = fobj.read(n if n > 0 else -1)
            if text:
                self.store(varName, text)
            return len(text.encode("utf-8", "surrogateescape"))
        size, read = _files.reader(fobj, n)
        if not size:
            return 0
        if not self._link.store_pieces(self.curWs, varName, size, read):
            raise NwsOperationException("store file failed")
        return size

    # Finding and fetching.

    def find(self, varName: str) -> Any:
        """Return a value and leave it there; wait for one if there is none.

        Raises:
            NwsOperationException: The variable or the workspace was deleted.
        """
        return self._retrieve("find", varName)

    def fetch(self, varName: str) -> Any:
        """Take a value; wait for one if there is none. Nobody else gets it.

        Raises:
            NwsOperationException: The variable or the workspace was deleted.
        """
        return self._retrieve("fetch", varName)

    def findTry(self, varName: str, missing: Any = None) -> Any:
        """Return a value and leave it there; `missing` if there is none."""
        return self._retrieve_try("findTry", varName, missing)

    def fetchTry(self, varName: str, missing: Any = None) -> Any:
        """Take a value; `missing` if there is none."""
        return self._retrieve_try("fetchTry", varName, missing)

    def findFile(self, varName: str, fobj: Any) -> int:
        """Write the bytes of a value to a file; wait for one. Return how many they were."""
        return self._retrieve_file("find", varName, fobj)

    def fetchFile(self, varName: str, fobj: Any) -> int:
        """As `findFile`, taking the value."""
        return self._retrieve_file("fetch", varName, fobj)

    def findTryFile(self, varName: str, fobj: Any) -> int | Literal[False]:
        """Write the bytes of a value to a file; return how many, or False if there is no value."""
        return self._retrieve_file_try("findTry", varName, fobj)

    def fetchTryFile(self, varName: str, fobj: Any) -> int | Literal[False]:
        """As `findTryFile`, taking the value."""
        return self._retrieve_file_try("fetchTry", varName, fobj)

    def _retrieve(self, verb: str, variable: str) -> Any:
        _check_name(variable, "variable name")
        found = self._link.retrieve(verb, self.curWs, variable, None)
        if found is None:
            raise NwsOperationException("retrieval failed")
        return self.load(found, variable)

    def _retrieve_try(self, verb: str, variable: str, missing: Any) -> Any:
        _check_name(variable, "variable name")
        found = self._link.retrieve(verb, self.curWs, variable, None)
        if found is None or found.is_nothing:
            return missing
        return self.load(found, variable)

    def _retrieve_file(self, verb: str, variable: str, fobj: Any) -> int:
        count = self._retrieve_file_try(verb, variable, fobj)
        if count is False:
            raise NwsOperationException("retrieval failed")
        return count

    def _retrieve_file_try(self, verb: str, variable: str, fobj: Any) -> int | Literal[False]:
        _check_name(variable, "variable name")
        _files.check_writable(fobj)
        found = self._link.retrieve_into(verb, self.curWs, variable, None, _files.sink(fobj))
        return False if found is None else found[0]

    def load(self, found: Retrieved, variable: str) -> Any:
        """Return the value of what was retrieved: for the iterators, not for programs."""
        try:
            return found.load()
        except TypeMismatchError as error:
            cause = error.__cause__ or error
            raise NwsUnpicklingException(self.curWs, variable, cause, found.content()) from error

    # Iterators.

    def ifind(self, varName: str) -> NwsValueIterator:
        """Iterate over the values, each once, leaving them there; wait for more at the end."""
        return NwsValueIterator(self, varName, "ifind")

    def ifindTry(self, varName: str) -> NwsValueIterator:
        """As `ifind`, stopping where there is no further value."""
        return NwsValueIterator(self, varName, "ifindTry")

    def ifetch(self, varName: str) -> NwsValueIterator:
        """As `ifind`, taking the values."""
        return NwsValueIterator(self, varName, "ifetch")

    def ifetchTry(self, varName: str) -> NwsValueIterator:
        """As `ifindTry`, taking the values."""
        return NwsValueIterator(self, varName, "ifetchTry")

    def makefile(self, varName: str, mode: str = "r") -> NwsTextFile:
        """Return a variable as a text file, whose lines are the values.

        Args:
            varName: Name of the variable; it is declared fifo.
            mode: `"r"` to read without removing anything, `"w"` to begin anew, `"a"` to append.
        """
        _check_name(varName, "variable name")
        return NwsTextFile(self, varName, mode)


class NwsServer:
    """A connection: to a server, or to the depot of this process.

    Workspaces that it owns end with it, unless they are persistent.

    Args:
        host: As `NetWorkSpace`'s `serverHost`.
        port: As its `serverPort`.
        pickleProtocol: Of the values that are sent over TCP. By default the newest that holds
            arrays well; Python 2 reads up to 2.

    Raises:
        NwsConnectException: Nobody listens there.
    """

    def __init__(self, host: str = _HOST, port: int = _PORT, *, pickleProtocol: int = 5) -> None:
        self._protocol = pickleProtocol
        if isinstance(host, _Host) and isinstance(port, _Port):
            link = LocalLink(None)
        elif host.startswith(_DEPOT):
            link = LocalLink(host.removeprefix(_DEPOT) or None)
        else:
            link = RemoteLink(host, port, pickleProtocol)
        self.link: Link = link
        self.serverHost = f"{_DEPOT}{link.name}" if isinstance(link, LocalLink) else host
        self.serverPort = port
        self.nwsSocket = link.socket if isinstance(link, RemoteLink) else None
        self._handshake = link.handshake
        if isinstance(link, LocalLink):  # a socket closes by itself
            weakref.finalize(self, delete_later, link.close).atexit = False

    def __str__(self) -> str:
        if self.serverHost.startswith(_DEPOT):
            return f"NwsServer {self.serverHost}"
        return f"NwsServer {self.serverHost}:{self.serverPort}"

    def __reduce__(self) -> Any:
        return _server_again, (self.serverHost, int(self.serverPort), self._protocol)

    def openWs(self, wsName: str, space: NetWorkSpace | None = None, **opt: Any) -> NetWorkSpace:
        """Open a workspace, and own it if nobody does.

        Args:
            wsName: Its name.
            space: What stands for it; made if it is not given.
            opt: `persistent` and `create`, as for `NetWorkSpace`.

        Raises:
            NwsNoWorkSpaceException: It is not there, and `create` is not set.
            ValueError: `space` stands for another one.
        """
        return self._enter(wsName, space, opt, uses=False)

    def useWs(self, wsName: str, space: NetWorkSpace | None = None, **opt: Any) -> NetWorkSpace:
        """As `openWs`, without ever owning it."""
        return self._enter(wsName, space, opt, uses=True)

    def _enter(
        self, name: str, space: NetWorkSpace | None, opt: dict[str, Any], *, uses: bool
    ) -> NetWorkSpace:
        _check_name(name, "workspace name")
        _check_options(opt)
        if space is None:
            space = NetWorkSpace(name, server=self, useUse=uses, **opt)
        elif space.curWs != name:
            raise ValueError("name of the specified workspace is incorrect")
        is_open = self.link.open(
            name,
            owned=not uses,
            persistent=bool(opt.get("persistent", False)),
            create=bool(opt.get("create", True)),
        )
        if not is_open:
            raise NwsNoWorkSpaceException(f"workspace '{name}' doesn't exist")
        return space

    def mktempWs(self, wsName: str = "__pyws__%d") -> str:
        """Make a workspace of a new name, and return it. Nobody owns it until it is opened.

        Args:
            wsName: Template of the name, with one integer specifier.

        Raises:
            NwsOperationException: The template has not just one.
        """
        _check_name(wsName, "workspace name")
        name = self.link.make_temporary(wsName)
        if name is None:
            raise NwsOperationException("mktempWs failed")
        return name

    def deleteWs(self, wsName: str) -> None:
        """Delete a workspace, whoever owns it; those who wait there get an exception.

        Raises:
            NwsOperationException: It is not there.
        """
        _check_name(wsName, "workspace name")
        if not self.link.delete_workspace(wsName):
            raise NwsOperationException("deleteWs failed")

    @overload
    def listWss(self, format: Literal["string"] = "string") -> str: ...
    @overload
    def listWss(self, format: str) -> str | Workspaces: ...
    def listWss(self, format: str = "string") -> str | Workspaces:
        """Return the workspaces of the server.

        Args:
            format: `"string"`: a line for each, of fields with tabs between them: name, behind
                `>` if this connection owns it and a blank if not; owner; whether it is
                persistent; number of variables; their names. `"dict"`: name -> a tuple of
                these; `WS_NAME` and so on are its indexes.

        Raises:
            NwsOperationException: The server refused.
            ValueError: There is no such format.
        """
        _check_format(format)
        text = self.link.list_workspaces()
        if text is None:
            raise NwsOperationException("listWss failed")
        return _listing.parse_workspaces(text) if format == DICT else text

    def close(self) -> None:
        """End the connection; may be repeated."""
        self.link.close()


class NwsValueIterator:
    """Iterates over the values of a variable. Made by `NetWorkSpace.ifind` and its like.

    After its end it stays ended until `restart` or `reset`.
    """

    def __init__(self, ws: NetWorkSpace, varName: str, op: str) -> None:
        _check_name(varName, "variable name")
        self._ws = ws
        self._variable = varName
        self._verb = op
        self._cookie = _wire.START
        self._has_ended = False

    def __iter__(self) -> NwsValueIterator:
        return self

    def __next__(self) -> Any:
        if not self._has_ended:
            found = self._ws.server.link.retrieve(
                self._verb, self._ws.curWs, self._variable, self._cookie
            )
            if found is not None and not found.is_nothing:
                self._cookie = found.cookie
                return self._ws.load(found, self._variable)
            self._has_ended = True
        raise StopIteration

    def next(self) -> Any:
        """Return the next value."""
        return self.__next__()

    def writeTo(self, fobj: Any) -> int:
        """Write the bytes of the next value to a file; return how many, 0 at the end."""
        _files.check_writable(fobj)
        if self._has_ended:
            return 0
        found = self._ws.server.link.retrieve_into(
            self._verb, self._ws.curWs, self._variable, self._cookie, _files.sink(fobj)
        )
        if found is None:
            self._has_ended = True
            return 0
        count, self._cookie = found
        return count

    def reset(self) -> None:
        """Begin anew: with the oldest value that is there then."""
        self._cookie = _wire.START
        self._has_ended = False

    def restart(self) -> None:
        """Go on behind the last value, after the end was reached."""
        self._has_ended = False


def _check_name(name: object, what: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{what} must be a string")
    if "\t" in name or "\n" in name:
        raise ValueError(f"{what} {name!r} has a tab or a newline, which listings cannot show")


def _check_format(format: object) -> None:
    if not isinstance(format, str):
        raise TypeError("format must be a string")
    if format not in (STRING, DICT):
        raise ValueError(f"illegal format: {format}")


def _check_options(options: dict[str, Any]) -> None:
    for name in options:
        if name not in _OPTIONS:
            raise TypeError(f"__init__() got an unexpected keyword argument {name!r}")


def _server_again(host: str, port: int, protocol: int) -> NwsServer:
    return NwsServer(host, port, pickleProtocol=protocol)


def _connect_again(
    name: str, server: NwsServer, uses: bool, options: dict[str, Any]
) -> NetWorkSpace:
    enter = server.useWs if uses else server.openWs
    return enter(name, **options)
