"""Messages of several lines, and redirections: what all buffers share."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict, TypeGuard, cast

from entrepot.errors import TypeMismatchError
from entrepot.layers.lines import ERROR, WARNING, Entry
from entrepot.layers.lines.texts import report_of

__all__ = [
    "GroupedMessage",
    "SerializedMessage",
    "is_end_line_break",
    "is_serialized_grouped_message",
    "item_of",
    "redirect_stderr",
    "redirect_stdout",
]

redirect_stdout = contextlib.redirect_stdout
redirect_stderr = contextlib.redirect_stderr

_BREAKS: Final = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")

SerializedMessage = TypedDict(
    "SerializedMessage",
    {"/is_syncsdata": bool, "/type": str, "type": str, "data": Sequence[str]},
)
"""A `GroupedMessage` as it goes over the wire."""


def is_end_line_break(text: str) -> bool:
    """Tell whether a text ends with a line break."""
    return bool(text) and text[-1] in _BREAKS


def is_serialized_grouped_message(data: object) -> TypeGuard[SerializedMessage]:
    """Tell whether an object is a `GroupedMessage` as it goes over the wire."""
    if not isinstance(data, Mapping):
        return False
    found = cast("Mapping[str, Any]", data)
    return bool(found.get("/is_syncsdata")) and found.get("/type") == "GroupedMessage"


@dataclasses.dataclass(init=False, repr=False, eq=False)
class GroupedMessage:
    """A message of several lines: a warning or an error with its traceback, or just lines.

    Flask makes JSON of it, as of any dataclass.

    Args:
        data: None, a text, several texts, or an error or warning.

    Raises:
        TypeError: It is none of these.
    """

    type: str
    """`str`, `warning` or `error`."""
    data: tuple[str, ...]

    def __init__(
        self, data: str | Sequence[str] | BaseException | GroupedMessage | None = None
    ) -> None:
        self.type = "str"
        self.data = ()
        if data is None:
            return
        if isinstance(data, GroupedMessage):
            self.type, self.data = data.type, data.data
        elif isinstance(data, str):
            self.data = (data,)
        elif isinstance(data, BaseException):
            self.type = "warning" if isinstance(data, Warning) else "error"
            self.data = tuple(report_of(data))
        elif isinstance(data, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
            self.data = tuple(str(item) for item in data)
        else:
            raise TypeMismatchError(
                f"a message is made of texts, a warning or an error, not {data!r:.50}"
            )

    def serialize(self) -> SerializedMessage:
        """Return the message as it goes over the wire."""
        return {
            "/is_syncsdata": True,
            "/type": "GroupedMessage",
            "type": self.type,
            "data": self.data,
        }

    @staticmethod
    def deserialize(data: Any) -> Any:
        """Return the message that was serialized; anything else as it is.

        Raises:
            KeyError: `type` or `data` is missing.
        """
        if not is_serialized_grouped_message(data):
            return data
        message = GroupedMessage()
        message.type, message.data = data["type"], tuple(data["data"])
        return message

    def __json__(self) -> SerializedMessage:
        """Return what some web frameworks make JSON of."""
        return self.serialize()

    def __str__(self) -> str:
        return "\n".join(self.data)

    def __repr__(self) -> str:
        last = self.data[-1] if self.data else ""
        return f"<GroupedMessage {self.type} of {len(self.data)} lines: {last!r:.80}>"


def item_of(entry: Entry) -> str | GroupedMessage:
    """Return an entry of a buffer of lines as `read` returns it."""
    if entry.kind not in (WARNING, ERROR):
        return entry.text
    message = GroupedMessage(entry.texts)
    message.type = entry.kind
    return message
