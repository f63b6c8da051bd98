"""Files as streams, and streams as files; the streams themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def test_objects_are_written_to_files_and_read_back(client: Client, tmp_path: Path) -> None:
    for value in (FRAME, [1, {"a": 2}], "text"):
        path = f"file://{tmp_path}/value"
        io.serialize(path, client.put(value), vineyard_ipc_socket=client)
        found = client.get(io.deserialize(path, vineyard_ipc_socket=client))
        assert str(found) == str(tuple(value) if isinstance(value, list) else value)
    with pytest.raises(RuntimeError, match="Unable to serialize"):
        io.serialize(path, vineyard.ObjectID(5), vineyard_ipc_socket=client)
    with pytest.raises(RuntimeError, match="Unable to deserialize"):
        io.deserialize(f"{path}-nothing", vineyard_ipc_socket=client)


def test_streams_that_belong_together(client: Client) -> None:
    streams = [io.ByteStream.new(client) for _ in range(2)]
    made = io.StreamCollection.new(client, {"__path": "dir"}, [stream.id for stream in streams])
    found = client.get(made.id)
    assert (found.streams, found.meta["__path"]) == ([stream.id for stream in streams], "dir")
    for stream in streams:
        stream.drop()
    wait_until(lambda: len(client.list_objects("*")) == 1, "streams are gone", PATIENCE_S)
