"""The texts that `help()` shows for operations.

An operation's docstring says what it does. `operation` adds each parameter, whether it is
required, its type from the annotation and its meaning, which is the same wherever a parameter
has that name, and what is returned.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

__all__ = ["NOTHING", "alike", "operation"]

NOTHING: Final = "A Response object, without output."

_Function = TypeVar("_Function", bound=Callable[..., Any])

_MEANINGS: Final = {
    "access_key": "Who asks; the client's access key by default.",
    "alternate_expression": "Update expression to run if the condition is false.",
    "append": "Add the body to the end of the object instead of replacing it.",
    "attribute_names": (
        "Names of the attributes to return, or one name. '*' stands for those of users, '**' for "
        "those of the system as well."
    ),
    "attributes": (
        "Attributes by name. Values are str, int, float, bool, bytes, datetime, lists or arrays "
        "of numbers, or numbers of numpy."
    ),
    "body": "Contents: text (sent as UTF-8), bytes, a file to read them from, or pieces; none by "
    "default. A dict is sent as JSON.",
    "condition": "Expression that must be true of the item, or nothing is changed.",
    "container": "Name of the container.",
    "directories_only": "Leave out files.",
    "expression": "Update expression, such as 'age = age + 1'.",
    "fields": "Attributes of the table's items: a dict with name, type and nullable for each.",
    "filter_expression": "Expression that must be true of an item for it to be returned.",
    "get_all_attributes": "Tell of each entry also its times, owner and mode.",
    "items": "Attributes by name, by the item's name.",
    "key": "Name of the item.",
    "limit": "Most entries to return.",
    "location": "Where to read from: of seek, or where the previous records ended.",
    "marker": "Where to go on: next_marker of the previous output.",
    "num_bytes": "How many bytes to read; to the end by default.",
    "offset": "First byte to read, counted from 0.",
    "path": "Path in the container.",
    "raise_for_status": (
        "Statuses of the reply that do not raise; or 'never' or 'always' (see RaiseForStatus). "
        "By default those below 300 do not."
    ),
    "records": (
        "A dict for each record: data (str or bytes), and if wanted client_info (str or bytes), "
        "shard_id and partition_key. Records of one partition_key go to one shard."
    ),
    "retention_period_hours": "How long records are kept at least; 24 by default.",
    "seek_type": "'EARLIEST', 'LATEST', 'SEQUENCE' or 'TIME'.",
    "segment": "Which part of the table to scan, from 0; with total_segments.",
    "shard_count": "How many shards the stream has from now on.",
    "shard_id": "Number of the shard, from 0.",
    "sharding_key": "Scan only the items whose names begin with it and a dot.",
    "sort_key_range_end": "Name after the dot before which to stop; with sharding_key.",
    "sort_key_range_start": "Name after the dot to begin with; with sharding_key.",
    "starting_sequence_number": "Number of the record to begin with, for 'SEQUENCE'.",
    "stream_path": "Path of the stream in the container.",
    "table_name": "Path of the table in the container, with a table_path of '/' or ''.",
    "table_path": "Path of the table in the container.",
    "timestamp_nsec": "Nanoseconds after timestamp_sec.",
    "timestamp_sec": "Seconds since 1970, for 'TIME': begin with the first record since then.",
    "total_segments": "How many parts the table is scanned in, each by a call of its own.",
    "transport_actions": "How far to go (see Actions); 1 returns the request and does not send it.",
    "update_mode": (
        "'CreateOrReplaceAttributes' (by default), 'OverWriteAttributes' to remove the others, "
        "or 'CreateNewItemOnly'."
    ),
}


class _Text(NamedTuple):
    summary: str
    returns: str
    meanings: dict[str, str]


_texts: dict[Callable[..., Any], _Text] = {}


def operation(returns: str = NOTHING, **meanings: str) -> Callable[[_Function], _Function]:
    """Complete the docstring of an operation.

    Args:
        returns: What it returns.
        **meanings: Of parameters that mean something else than elsewhere.
    """

    def complete(function: _Function) -> _Function:
        text = _Text(inspect.cleandoc(function.__doc__ or ""), returns, meanings)
        _texts[function] = text
        _describe(function, text)
        return function

    return complete


def alike(other: Callable[..., Any], summary: str = "{}") -> Callable[[_Function], _Function]:
    """Give an operation the docstring of another, for the parameters that it has itself.

    Args:
        other: An operation with a docstring.
        summary: What comes before its parameters; `{}` is what the other has there.
    """
    text = _texts[other]
    text = text._replace(summary=summary.format(text.summary))

    def complete(function: _Function) -> _Function:
        _texts[function] = text
        _describe(function, text)
        return function

    return complete


def _describe(function: Callable[..., Any], text: _Text) -> None:
    lines = [text.summary, "", "Parameters:"]
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self":
            continue
        needed = "Required" if parameter.default is inspect.Parameter.empty else "Optional"
        kind = str(parameter.annotation).removesuffix(" | None")
        lines.append(f"    {name} ({needed}) : {_KINDS.get(kind, kind)}")
        lines += _wrap(text.meanings.get(name) or _MEANINGS[name], " " * 8)
    lines += ["", "Returns:", *_wrap(text.returns, " " * 4)]
    function.__doc__ = "\n".join(lines)


def _wrap(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, 92, initial_indent=indent, subsequent_indent=indent)


_KINDS: Final = {
    "Attributes": "dict",
    "Content": "str, bytes or file",
    "Expected": "list of int, or str",
    "Names": "list of str, or str",
    "Records": "list of dict",
}
