"""Files as streams, and streams as files; the streams themselves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import entrepot.vineyard as vineyard
from entrepot.vineyard import io
from entrepot.vineyard.core.client import Client
from support.conditions import PATIENCE_S, wait_until

C: Any = vineyard._C
FRAME = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})


def test_bytes_go_through_a_stream(client: Client) -> None:
    made = io.ByteStream.new(client, {"k": "v"})
    writer = made.open_writer(client)
    writer.write(b"hello ")
    writer.write(b"world")
    writer.next(3)[:] = b"abc"
    writer.write(b"!")
    writer.finish()
    found = client.get(made.id)
    assert (type(found), found.params, found.id) == (io.ByteStream, {"k": "v"}, made.id)
    assert b"".join(found.reader) == b"hello worldabc!"
    with pytest.raises(StopIteration):
        found.reader.next()
    with pytest.raises(C.InvalidStreamStateException):
        writer.finish()
    found.drop()
    assert client.list_objects("*") == []


def test_views_of_chunks_stay_as_they_are(client: Client) -> None:
    made = io.ByteStream.new(client)
    for number in range(5):
        made.writer.next(50_000)[:] = bytes([number]) * 50_000
    made.writer.finish()
    views = list(made.reader)
    assert [bytes(set(view)) for view in views] == [bytes([number]) for number in range(5)]
    made.drop()


def test_a_failure_reaches_the_reader(client: Client) -> None:
    made = io.ByteStream.new(client)
    made.writer.write(b"x")
    made.writer.fail()
    assert bytes(made.reader.next()) == b"x"
    with pytest.raises(C.StreamFailedException):
        made.reader.next()
    made.drop()


def test_batches_go_through_a_stream(client: Client) -> None:
    made = io.DataframeStream.new(client)
    table = pa.Table.from_pandas(FRAME)
    made.writer.write_table(table)
    made.writer.write(table.slice(1).to_batches()[0])
    made.writer.write_table(table.slice(0, 0))
    made.writer.finish()
    found = made.reader.read_table()
    assert found.num_rows == 5
    assert found.schema.equals(table.schema)
    made.drop()
    empty = io.DataframeStream.new(client)
    empty.writer.finish()
    assert empty.reader.read_table() is None
    empty.drop()


def test_objects_go_through_a_stream(client: Client) -> None:
    made = io.RecordBatchStream.new(client)
    made.writer.append(client.put(FRAME))
    made.writer.append(client.put("text"))
    made.writer.finish()
    with pytest.raises(TypeError):
        made.writer.append("o5")
    pd.testing.assert_frame_equal(made.reader.next(), FRAME)
    assert made.reader.next_metadata().typename == "vineyard::Scalar<std::string>"
    made.drop()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_file_is_read_written_and_read_again(client: Client, tmp_path: Path, form: str) -> None:
    source = tmp_path / f"in.{form}"
    FRAME.to_csv(source, index=False) if form == "csv" else pq.write_table(
        pa.Table.from_pandas(FRAME), source
    )
    handlers: list[Any] = []
    id = io.open(f"file://{source}", vineyard_ipc_socket=client, handlers=handlers)
    streams = client.get(id)
    assert [type(stream) for stream in streams] == [io.DataframeStream]
    io.write(f"file://{tmp_path}/out.{form}", id, vineyard_ipc_socket=client)
    for handler in handlers:
        handler.join()
    whole = io.read(
        f"file://{tmp_path}/out.{form}_0#format={form}", vineyard_ipc_socket=client, accumulate=True
    )
    pd.testing.assert_frame_equal(pd.concat(client.get(whole)).reset_index(drop=True), FRAME)
    streams[0].drop()
    client.clear()


def test_options_of_csv_and_hooks(client: Client, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1;2\n3;4\n")
    path = f"{tmp_path}/x.csv#delimiter=;"
    whole = io.open(
        path, vineyard_ipc_socket=client, accumulate=True, read_options={"header_row": False}
    )
    assert client.get(whole)[0].to_numpy().tolist() == [[1, 2], [3, 4]]
    id = io.open(
        path, vineyard_ipc_socket=client, read_options={"header_row": False},
        chunk_hook=lambda batch: batch.slice(1),
    )  # fmt: skip
    stream = client.get(id)[0]
    assert stream.params["header_row"] == "0"
    assert stream.reader.read_table().num_rows == 1
    stream.drop()
    client.clear()


def test_any_other_file_is_bytes(client: Client, tmp_path: Path) -> None:
    body = bytes(range(256)) * 20_000
    (tmp_path / "x.bin").write_bytes(body)
    id = io.read(f"file://{tmp_path}/x.bin", vineyard_ipc_socket=client)
    io.write(f"file://{tmp_path}/y.bin", id, vineyard_ipc_socket=client)
    assert (tmp_path / "y.bin_0").read_bytes() == body
    blob = io.read(f"file://{tmp_path}/x.bin", vineyard_ipc_socket=client, accumulate=True)
    assert bytes(client.get(blob)) == body
    client.get(id)[0].drop()
    client.clear()


def test_any_file_system_of_fsspec_is_reached(client: Client) -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://dir/x.csv", "w") as file:
        FRAME.to_csv(file, index=False)
    whole = io.read("memory://dir/x.csv", vineyard_ipc_socket=client, accumulate=True)
    pd.testing.assert_frame_equal(client.get(whole)[0], FRAME)
    client.clear()


def test_names_are_places_too(client: Client) -> None:
    id = client.put(5)
    io.write("vineyard://five", id, vineyard_ipc_socket=client)
    assert io.read("vineyard://five", vineyard_ipc_socket=client) == id
    with pytest.raises(RuntimeError, match="no object has the name 'six'"):
        io.read("vineyard://six", vineyard_ipc_socket=client)


def test_readers_of_ones_own_come_first(client: Client) -> None:
    calls: list[str] = []

    def passes(path: str, socket: Any, **_: Any) -> None:
        calls.append(path)

    io.read.register("mine", lambda path, socket, **_: 5)
    io.read.register("mine", passes)
    assert io.read("mine://x", vineyard_ipc_socket=client) == 5
    assert calls == ["mine://x"]


def test_what_cannot_be_opened_is_said(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No IO driver registered for foo://x"):
        io.read("foo://x")
    for call in (io.read, lambda path: io.write(path, None)):
        with pytest.raises(ValueError, match="no scheme"):
            call("x.csv")
    with pytest.raises(RuntimeError, match="mode a is not supported"):
        io.open("x.csv", mode="a")
    with pytest.raises(RuntimeError, match="No such file") as caught:
        io.read(f"file://{tmp_path}/nothing.csv", vineyard_ipc_socket=client)
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    assert client.list_objects("*") == []


def test_a_file_that_breaks_off_fails_its_stream(client: Client, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3\n")
    handlers: list[Any] = []
    id = io.open(f"{tmp_path}/x.csv", vineyard_ipc_socket=client, handlers=handlers)
    with pytest.raises(C.StreamFailedException):
        client.get(id)[0].reader.read_table()
    with pytest.raises(pa.ArrowInvalid):
        handlers[0].join()
    client.get(id)[0].drop()


def write_parts(directory: Path, count: int) -> list[pd.DataFrame]:
    frames = [FRAME.assign(part=number) for number in range(count)]
    for number, frame in enumerate(frames):
        frame.to_csv(directory / f"x.csv_{number}", index=False)
    return frames


def test_a_pattern_or_a_directory_is_read_in_order(client: Client, tmp_path: Path) -> None:
    whole = pd.concat(write_parts(tmp_path, 11), ignore_index=True)
    (tmp_path / "_SUCCESS").touch()
    for path in (f"file://{tmp_path}", f"{tmp_path}/x.csv_*"):
        id = io.open(path, vineyard_ipc_socket=client, accumulate=True)
        pd.testing.assert_frame_equal(pd.concat(client.get(id)), whole)
        handlers: list[Any] = []
        streams = client.get(
            io.open(path, vineyard_ipc_socket=client, num_workers=3, handlers=handlers)
        )
        assert len(streams) == len(handlers) == 3
        tables = [stream.reader.read_table() for stream in streams]
        pd.testing.assert_frame_equal(pa.concat_tables(tables).to_pandas(), whole)
        for end in [handler.join for handler in handlers] + [stream.drop for stream in streams]:
            end()
        client.clear()
    with pytest.raises(RuntimeError, match="there is no file"):
        io.open(f"{tmp_path}/z*", vineyard_ipc_socket=client)


def test_what_is_larger_than_the_depot_passes_through(client: Client, tmp_path: Path) -> None:
    """Each of several streams leaves room for the others, in whatever order they are read."""
    table = pa.table({"a": range(3_000_000)})
    for number in range(4):
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=200_000)
    handlers: list[Any] = []
    id = io.read(f"file://{tmp_path}", vineyard_ipc_socket=client, handlers=handlers)
    streams = client.get(id)
    assert len(streams) == 4
    for stream in reversed(streams):
        assert sum(len(batch) for batch in stream.reader) == 3_000_000
    for handler in handlers:
        handler.join()
    for stream in streams:
        stream.drop()


def test_a_table_larger_than_the_depot_is_read(client: Client, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": range(10_000_000)}), tmp_path / "x.parquet")
    handlers: list[Any] = []
    id = io.read(f"file://{tmp_path}/x.parquet", vineyard_ipc_socket=client, handlers=handlers)
    assert client.get(id)[0].reader.read_table().nbytes == 80_000_000
    handlers[0].join()
    client.get(id)[0].drop()


def test_compressed_csv_and_what_its_readers_are_told(client: Client, tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "x.csv.gz", index=False, sep=";")
    options = {"delimiter": ";", "header_row": True, "column_types": {"a": "double"}}
    handlers: list[Any] = []
    id = io.open(
        f"{tmp_path}/x.csv.gz", vineyard_ipc_socket=client, read_options=options,
        storage_options={"secret": "s"}, handlers=handlers,
    )  # fmt: skip
    stream = client.get(id)[0]
    assert stream.params["header_line"] == "a;b\n"
    assert (stream.params["header_row"], stream.params["delimiter"]) == ("1", ";")
    assert "secret" not in str(stream.params)
    assert stream.reader.read_table().to_pydict() == {"a": [1.0, 2.0, 3.0], "b": ["x", "y", "z"]}
    handlers[0].join()
    stream.drop()


@pytest.mark.parametrize("form", ["csv", "parquet", "orc", "csv.gz"])
def test_frames_and_global_frames_are_written(client: Client, tmp_path: Path, form: str) -> None:
    path = f"file://{tmp_path}/x.{form}"
    io.write(path, client.put(FRAME), vineyard_ipc_socket=client)
    io.write(path.replace("x.", "y."), [FRAME, FRAME], vineyard_ipc_socket=client)
    assert sorted(of.name for of in tmp_path.iterdir()) == [
        f"x.{form}_0", f"y.{form}_0", f"y.{form}_1",
    ]  # fmt: skip
    both = io.read(f"file://{tmp_path}/y.*", vineyard_ipc_socket=client, accumulate=True)
    pd.testing.assert_frame_equal(
        pd.concat(client.get(both)), pd.concat([FRAME, FRAME], ignore_index=True)
    )
    client.clear()


def test_an_empty_frame_keeps_its_columns(client: Client, tmp_path: Path) -> None:
    io.write(f"file://{tmp_path}/x.parquet", FRAME[:0], vineyard_ipc_socket=client)
    id = io.read(f"file://{tmp_path}/x.parquet_0", vineyard_ipc_socket=client, accumulate=True)
    assert [list(part.columns) for part in client.get(id)] in ([["a", "b"]], [])
    client.clear()


def test_what_could_not_be_written_leaves_no_file(client: Client, tmp_path: Path) -> None:
    made = io.DataframeStream.new(client)
    made.writer.write_table(pa.Table.from_pandas(FRAME))
    made.writer.fail("the disk is on fire")
    with pytest.raises(RuntimeError, match="the disk is on fire"):
        io.write(f"file://{tmp_path}/x.csv", made, vineyard_ipc_socket=client)
    assert list(tmp_path.iterdir()) == []
    made.drop()
    for wrong in (5, [1, 2]):
        with pytest.raises(RuntimeError, match="streams and frames can be written"):
            io.write(f"file://{tmp_path}/x.csv", wrong, vineyard_ipc_socket=client)
    with pytest.raises(RuntimeError, match="format is 'doc'"):
        io.write(f"file://{tmp_path}/x#format=doc", FRAME, vineyard_ipc_socket=client)


def test_a_reader_is_told_why_the_file_could_not_be_read(client: Client, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3\n")
    handlers: list[Any] = []
    id = io.open(f"{tmp_path}/x.csv", vineyard_ipc_socket=client, handlers=handlers)
    stream = client.get(id)[0]
    with pytest.raises(C.StreamFailedException, match="Expected 2 columns, got 1"):
        stream.reader.next()
    stream.drop()
    with pytest.raises(pa.ArrowInvalid):
        handlers[0].join()


def test_frames_have_names_that_are_places(client: Client) -> None:
    made = io.DataframeStream.new(client)
    made.writer.write_table(pa.Table.from_pandas(FRAME))
    made.writer.write_table(pa.Table.from_pandas(FRAME))
    made.writer.finish()
    io.write("vineyard://frame", made.id, vineyard_ipc_socket=client)
    id = io.read("vineyard://frame", vineyard_ipc_socket=client, accumulate=True)
    assert id == client.get_name("frame")
    assert client.get_meta(id).typename == "vineyard::GlobalDataFrame"
    whole = pd.concat([FRAME, FRAME], ignore_index=True)
    pd.testing.assert_frame_equal(pd.concat(client.get(id)), whole)
    handlers: list[Any] = []
    streams = client.get(io.read("vineyard://frame", vineyard_ipc_socket=client, handlers=handlers))
    assert streams[0].reader.read_table().to_pandas().equals(whole)
    handlers[0].join()
    streams[0].drop()
    made.drop()


def test_drivers_of_ones_own_get_all_they_need(client: Client) -> None:
    seen: list[Any] = []

    def reads(*arguments: Any, **options: Any) -> int:
        seen.append((arguments, options))
        return 5

    io.read.register("own", reads)
    io.write.register("own", reads)
    assert io.open("own://x", 1, vineyard_ipc_socket="s", vineyard_endpoint="e", more=2) == 5
    assert io.write("own://x", "stream", 1, vineyard_ipc_socket="s") == 5
    keywords = {"handlers": None, "accumulate": False, "chunk_hook": None}
    assert seen == [
        (("own://x", "s", 1), {**keywords, "vineyard_endpoint": "e", "more": 2}),
        (("own://x", "stream", "s", 1), {}),
    ]


def test_a_missing_extra_is_named(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fsspec", "fsspec.core", "fsspec.registry"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RuntimeError, match=r"pip install 'entrepot\[vineyard\]'") as caught:
        io.read("s3://x", vineyard_ipc_socket=client)
    assert isinstance(caught.value.__cause__, ImportError)


VALUES = [
    FRAME, 5, 2**70, float("inf"), None, "text", b"bytes", b"", [1, [b"x", "y", (FRAME,)]], {"a": [2]},
    np.arange(6).reshape(2, 3), np.asfortranarray(np.ones((2, 3))), np.zeros(0),
    FRAME["a"], FRAME.index, pa.table({"a": [1, None]}),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_objects_are_written_to_files_and_read_back(
    client: Client, tmp_path: Path, value: Any
) -> None:
    path = f"file://{tmp_path}/value"
    id = client.put(value)
    io.serialize(path, id, vineyard_ipc_socket=client)
    expected = shown(client.get(id))
    client.clear()
    again = io.deserialize(path, vineyard_ipc_socket=client)
    assert shown(client.get(again)) == expected
    client.delete(again)
    assert client.list_objects("*") == []


def shown(value: Any) -> str:
    """Return a text that is the same for equal values."""
    if isinstance(value, tuple):
        return str([shown(item) for item in value])
    body = value.tobytes() if isinstance(value, (np.ndarray, memoryview)) else str(value)
    return f"{type(value)} {getattr(value, 'dtype', '')} {getattr(value, 'shape', '')} {body!r}"


def test_what_is_shared_stays_shared_and_global_objects_global(
    client: Client, tmp_path: Path
) -> None:
    from entrepot.vineyard.data.dataframe import make_global_dataframe

    part = client.put(FRAME)
    id = make_global_dataframe(client, [part, part]).id
    io.serialize(f"{tmp_path}/x", id, vineyard_ipc_socket=client)
    client.clear()
    again = io.deserialize(f"{tmp_path}/x", vineyard_ipc_socket=client)
    meta = client.get_meta(again)
    assert (meta.isglobal, client.get_object(again).ispersist) == (True, True)
    assert meta["partitions_-0"].id == meta["partitions_-1"].id
    pd.testing.assert_frame_equal(client.get(again)[1], FRAME)


def test_a_file_that_is_damaged_stores_nothing(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "value"
    io.serialize(str(path), client.put([1, np.arange(1000), "x"]), vineyard_ipc_socket=client)
    client.clear()
    body = path.read_bytes()
    for damaged in (body[:-1], body[:30], b"", b"no" + body):
        path.write_bytes(damaged)
        with pytest.raises(RuntimeError, match="Unable to deserialize"):
            io.deserialize(str(path), vineyard_ipc_socket=client)
        assert client.list_objects("*", limit=100) == []
    with pytest.raises(RuntimeError, match="Unable to deserialize"):
        io.deserialize(f"{path}-nothing", vineyard_ipc_socket=client)
    with pytest.raises(RuntimeError, match="Unable to serialize"):
        io.serialize(str(path), vineyard.ObjectID(5), vineyard_ipc_socket=client)
    stream = io.ByteStream.new(client)
    with pytest.raises(RuntimeError, match="it cannot be kept"):
        io.serialize(str(path), stream.id, vineyard_ipc_socket=client)
    stream.drop()


def test_helpers_do_what_their_names_say(monkeypatch: pytest.MonkeyPatch) -> None:
    class Executor:
        def __init__(self, number: int) -> None:
            self.number = number

        def execute(self) -> int:
            return 10 // self.number

    assert io.utils.ThreadStreamExecutor(Executor, parallism=3, number=5).execute() == [2, 2, 2]
    with pytest.raises(ZeroDivisionError):
        io.utils.ThreadStreamExecutor(Executor, number=0).execute()
    assert io.utils.parse_readable_size("128k") == 128 << 10
    assert io.utils.parse_readable_size("1.5Gi") == 3 << 29
    with pytest.raises(RuntimeError):
        io.utils.parse_readable_size("")
    monkeypatch.setenv("WHERE", "/a")
    assert io.utils.expand_full_path("$WHERE/../b") == "/b"
    assert io.utils.expand_full_path("~") == str(Path.home())
    assert io.utils.capture_exception(Executor(2).execute)() == (True, 5)
    is_good, trace = io.utils.capture_exception(Executor(0).execute)()
    assert not is_good
    assert "ZeroDivisionError" in str(trace)


def test_streams_that_belong_together(client: Client) -> None:
    streams = [io.ByteStream.new(client) for _ in range(2)]
    made = io.StreamCollection.new(client, {"__path": "dir"}, [stream.id for stream in streams])
    found = client.get(made.id)
    assert (found.streams, found.meta["__path"]) == ([stream.id for stream in streams], "dir")
    for stream in streams:
        stream.drop()
    wait_until(lambda: len(client.list_objects("*")) == 1, "streams are gone", PATIENCE_S)
