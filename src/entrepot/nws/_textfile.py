"""A variable as a text file: each value is a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from entrepot.nws.client import NetWorkSpace

__all__ = ["NwsTextFile"]

_MODES = ("r", "w", "a")


class NwsTextFile:
    """A variable as a text file; see `NetWorkSpace.makefile`.

    Each complete line that is written is a value, with its newline; reading leaves the values
    where they are.
    """

    def __init__(self, ws: NetWorkSpace, varName: str, mode: str = "r") -> None:
        if "b" in mode:
            raise ValueError(f"mode {mode!r} is not supported yet")
        if mode not in _MODES:
            raise ValueError(f"illegal mode specified: {mode!r}")
        self.name = varName
        self.mode = mode
        self.closed = False
        self.softspace = 0
        self._ws = ws
        self._text = ""
        self._has_ended = False
        if mode == "w":
            known = ws.listVars(format="dict")
            assert isinstance(known, dict)
            if varName in known:
                ws.deleteVar(varName)
        ws.declare(varName, "fifo")
        self._values = ws.ifindTry(varName) if mode == "r" else None

    def _check(self, direction: str) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if (self.mode == "r") != (direction == "r"):
            raise ValueError(f"the file is open with mode {self.mode!r}")

    # Writing.

    def write(self, text: str) -> None:
        """Write text; each line of it that is complete is stored."""
        self._check("w")
        *lines, self._text = (self._text + text).split("\n")
        for line in lines:
            self._ws.store(self.name, line + "\n")

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Store what was written of a line that is not complete."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if self.mode != "r" and self._text:
            text, self._text = self._text, ""
            self._ws.store(self.name, text)

    # Reading.

    def _more(self) -> bool:
        """Read one more value; tell whether there was one."""
        self._check("r")
        if self._has_ended or self._values is None:
            return False
        value = next(self._values, None)
        if value is None:
            self._has_ended = True
            return False
        if not isinstance(value, str):
            raise ValueError(f"{self.name} holds a {type(value).__name__}, which is no text")
        self._text += value
        return True

    def read(self, size: int = -1) -> str:
        """Return at most `size` characters; all that are left if it is negative."""
        self._check("r")
        while (size < 0 or len(self._text) < size) and self._more():
            pass
        end = len(self._text) if size < 0 else size
        found, self._text = self._text[:end], self._text[end:]
        return found

    def readline(self, size: int = -1) -> str:
        """Return the next line, or its first `size` characters."""
        self._check("r")
        while "\n" not in self._text and (size < 0 or len(self._text) < size) and self._more():
            pass
        end = self._text.find("\n") + 1 or len(self._text)
        if size >= 0:
            end = min(end, size)
        found, self._text = self._text[:end], self._text[end:]
        return found

    def readlines(self, sizehint: int = -1) -> list[str]:
        """Return the lines that are left."""
        return list(self)

    def __iter__(self) -> NwsTextFile:
        self._check("r")
        return self

    def __next__(self) -> str:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    next = __next__

    def isatty(self) -> bool:
        """Tell that it is no terminal."""
        return False

    def close(self) -> None:
        """Store what is left; may be repeated."""
        if not self.closed:
            self.flush()
            self.closed = True

    def __enter__(self) -> NwsTextFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
