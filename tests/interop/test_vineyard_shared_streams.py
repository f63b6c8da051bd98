"""Streams through our server: original clients and ours as writers and as readers.

Each side is a process of its own. Guaranteed, whoever writes and whoever reads:

1. All chunks come, in order, also of more bytes than the memory has: the writer waits for room.
2. A stream ends, fails and is dropped with the original's exceptions, also for who waits.
3. Who waits for somebody that was killed is told so.
4. A stream has one reader and one writer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import entrepot.vineyard
from support.conditions import wait_until
from support.peers import Peer

pytestmark = pytest.mark.interop

PAIRS = [("original", "original"), ("original", "ours"), ("ours", "original")]
MIB = 1 << 20
Start = Callable[[str], Peer]

each_pair = pytest.mark.parametrize(("writes", "reads"), PAIRS)


class Watch:
    """A look at the server from outside."""

    def __init__(self, path: str) -> None:
        self.local = entrepot.vineyard.connect(path)
        self.remote = entrepot.vineyard.connect(self.local.rpc_endpoint)

    def somebody_waits(self) -> bool:
        """Tell whether a request of some client waits in the server."""
        return self.remote.status.deferred_requests > 0

    def close(self) -> None:
        self.local.clear()
        self.remote.close()
        self.local.close()


@pytest.fixture
def watch(gateway_socket: str) -> Iterator[Watch]:
    found = Watch(gateway_socket)
    yield found
    found.close()


def join(here: Any, side: str, path: str) -> None:
    import importlib

    here.package = importlib.import_module(
        "vineyard" if side == "original" else "entrepot.vineyard"
    )
    here.io = importlib.import_module(f"{here.package.__name__}.io")
    here.client = here.package.connect(path)


@pytest.fixture
def start(gateway_socket: str, watch: Watch) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(side: str) -> Peer:
            peer = stack.enter_context(Peer())
            peer.run(join, side, gateway_socket)
            return peer

        yield begin


def new_stream(here: Any, kind: str = "ByteStream") -> int:
    module = {"ByteStream": "byte", "DataframeStream": "dataframe", "RecordBatchStream": "recordbatch"}[kind]  # fmt: skip
    here.stream = getattr(getattr(here.io, module), kind).new(here.client)
    return int(here.stream.id)


def oid(here: Any, id: int) -> Any:
    return here.package.ObjectID(id)


def opened(here: Any, id: int, mode: str) -> None:
    here.client.open_stream(oid(here, id), mode)


def told(call: Callable[[], Any]) -> str:
    """Return the name of what a call raises: classes of the original do not travel."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 the test judges it
        return type(error).__name__
    return "nothing"


def write(here: Any, id: int, count: int, size: int) -> str:
    """Write chunks that begin and end with their number; return what was raised."""

    def write_all() -> None:
        for number in range(count):
            chunk = here.client.new_buffer_chunk(oid(here, id), size)
            view = memoryview(chunk).cast("B")
            view[:8] = view[-8:] = number.to_bytes(8, "big")

    return told(write_all)


def read(here: Any, id: int, count: int) -> tuple[list[tuple[int, int, int]], str]:
    """Read up to `count` chunks; return what they begin and end with, and what was raised."""
    found: list[tuple[int, int, int]] = []

    def read_all() -> None:
        while len(found) < count:
            view = memoryview(here.client.next_buffer_chunk(oid(here, id))).cast("B")
            ends = (int.from_bytes(view[:8], "big"), int.from_bytes(view[-8:], "big"))
            found.append((*ends, len(view)))

    return found, told(read_all)


def stop(here: Any, id: int, failed: bool = False) -> str:
    return told(lambda: here.client.stop_stream(oid(here, id), failed))


@each_pair
def test_more_than_the_memory_goes_through_in_order(start: Start, writes: str, reads: str) -> None:
    writer, reader = start(writes), start(reads)
    id = writer.run(new_stream)
    writer.run(opened, id, "w")
    reader.run(opened, id, "r")
    asked = writer.begin(write, id, 40, 4 * MIB)  # of 64 MiB
    found, error = reader.run(read, id, 35)
    assert (asked.result(), writer.run(stop, id)) == ("nothing", "nothing")
    rest, end = reader.run(read, id, 10)
    assert found + rest == [(number, number, 4 * MIB) for number in range(40)]
    assert (error, end) == ("nothing", "StreamDrainedException")


@each_pair
def test_a_writer_waits_while_nobody_reads(
    start: Start, watch: Watch, writes: str, reads: str
) -> None:
    writer, reader = start(writes), start(reads)
    id = writer.run(new_stream)
    writer.run(opened, id, "w")
    asked = writer.begin(write, id, 20, 8 * MIB)
    if writes == "original":
        wait_until(watch.somebody_waits, "the writer waits for room")
        assert watch.local.status.memory_usage < 64 * MIB
    assert not asked.is_done()
    reader.run(opened, id, "r")
    found, _ = reader.run(read, id, 19)
    assert asked.result() == "nothing"
    writer.run(stop, id)
    assert len(found) == 19
    assert reader.run(read, id, 2) == ([(19, 19, 8 * MIB)], "StreamDrainedException")


@each_pair
def test_tables_go_through_the_classes_of_streams(start: Start, writes: str, reads: str) -> None:
    def write_table(here: Any) -> None:
        import pyarrow as pa

        writer = here.stream.open_writer(here.client)
        writer.write_table(pa.table({"a": [1, 2], "b": ["x", None]}))
        writer.write_table(pa.table({"a": [3], "b": ["y"]}))
        writer.finish()

    def read_table(here: Any, id: int) -> Any:
        stream = here.client.get(here.package.ObjectID(id))
        return type(stream).__name__, stream.open_reader(here.client).read_table().to_pydict()

    writer, reader = start(writes), start(reads)
    id = writer.run(new_stream, "DataframeStream")
    writer.run(write_table)
    assert reader.run(read_table, id) == (
        "DataframeStream", {"a": [1, 2, 3], "b": ["x", None, "y"]},
    )  # fmt: skip


@each_pair
def test_objects_go_through_streams_of_batches(start: Start, writes: str, reads: str) -> None:
    def write_batches(here: Any) -> None:
        import pyarrow as pa

        writer = here.stream.open_writer(here.client)
        for number in range(3):
            writer.append(here.client.put(pa.record_batch({"a": [number, number]})))
        writer.finish()

    def read_batches(here: Any, id: int) -> list[list[int]]:
        reader = here.client.get(here.package.ObjectID(id)).open_reader(here.client)
        return [reader.next().column(0).to_pylist() for _ in range(3)]

    writer, reader = start(writes), start(reads)
    id = writer.run(new_stream, "RecordBatchStream")
    writer.run(write_batches)
    assert reader.run(read_batches, id) == [[0, 0], [1, 1], [2, 2]]


@each_pair
def test_a_reader_that_waits_is_told_that_the_stream_fails(
    start: Start, writes: str, reads: str
) -> None:
    writer, reader = start(writes), start(reads)
    id = writer.run(new_stream)
    writer.run(opened, id, "w")
    reader.run(opened, id, "r")
    asked = reader.begin(read, id, 2)
    writer.run(write, id, 1, 100)
    writer.run(stop, id, True)
    assert asked.result() == ([], "StreamFailedException")
    assert writer.run(stop, id) == "InvalidStreamStateException"


@each_pair
def test_who_waits_is_told_that_the_stream_is_dropped(
    start: Start, watch: Watch, writes: str, reads: str
) -> None:
    writer, reader = start(writes), start(reads)
    id = writer.run(new_stream)
    reader.run(opened, id, "r")
    asked = reader.begin(read, id, 1)
    if reads == "original":
        wait_until(watch.somebody_waits, "the reader waits")
    writer.run(lambda here, id: here.client.drop_stream(here.package.ObjectID(id)), id)
    assert asked.result() == ([], "ObjectNotExistsException")
    assert writer.run(write, id, 1, 100) == "ObjectNotExistsException"


@each_pair
def test_a_reader_of_a_killed_writer_is_told(
    start: Start, watch: Watch, writes: str, reads: str
) -> None:
    writer, reader = start(writes), start(reads)
    id = writer.run(new_stream)
    writer.run(opened, id, "w")
    reader.run(opened, id, "r")
    writer.run(write, id, 3, 1000)  # the last of them is not handed over
    writer.kill()
    assert reader.run(read, id, 5) == (
        [(0, 0, 1000), (1, 1, 1000)], "StreamFailedException",
    )  # fmt: skip


@each_pair
def test_a_writer_whose_reader_was_killed_is_told(
    start: Start, watch: Watch, writes: str, reads: str
) -> None:
    writer, reader = start(writes), start(reads)
    id = writer.run(new_stream)
    writer.run(opened, id, "w")
    reader.run(opened, id, "r")
    asked = writer.begin(write, id, 1000, 8 * MIB)
    reader.run(read, id, 3)
    reader.kill()
    assert asked.result() == "InvalidStreamStateException"


@each_pair
def test_a_stream_has_one_reader_and_one_writer(start: Start, writes: str, reads: str) -> None:
    first, second = start(writes), start(reads)
    id = first.run(new_stream)
    for mode in ("w", "r"):
        first.run(opened, id, mode)
        refused = second.run(lambda here, *of: told(lambda: opened(here, *of)), id, mode)
        assert refused == "StreamOpenedException"
    again = first.run(
        lambda here, id: told(lambda: here.client.create_stream(here.package.ObjectID(id))), id
    )
    assert again == "ObjectExistsException"


# Files, by the programs of the package vineyard-io.


@pytest.fixture
def drivers() -> None:
    if find_spec("vineyard") is None or find_spec("vineyard.drivers.io") is None:
        pytest.skip("pip install vineyard-io")


def open_file(here: Any, address: str, *of: Any, **options: Any) -> int | None:
    here.handlers = []
    client = here.client
    id = here.io.open(
        address,
        *of,
        handlers=here.handlers,
        vineyard_ipc_socket=client.ipc_socket,
        vineyard_endpoint=client.rpc_endpoint,
        **options,
    )
    return None if id is None else int(id)


def join_handlers(here: Any) -> None:
    for handler in here.handlers:
        handler.join()


@pytest.mark.usefixtures("drivers")
def test_a_file_that_the_original_opens_is_a_stream_for_ours(start: Start, tmp_path: Path) -> None:
    def read_batches(here: Any, id: int) -> list[Any]:
        stream = here.client.get(here.package.ObjectID(id))[0]
        return [batch.to_pydict() for batch in stream.open_reader(here.client)]

    (tmp_path / "x.csv").write_text("a,b\n1,x\n2,y\n")
    opener, reader = start("original"), start("ours")
    id = opener.run(open_file, f"file://{tmp_path}/x.csv")
    assert reader.run(read_batches, id) == [{"f0": ["a", "1", "2"], "f1": ["b", "x", "y"]}]
    opener.run(join_handlers)


@pytest.mark.usefixtures("drivers")
def test_the_original_copies_a_file_through_our_streams(start: Start, tmp_path: Path) -> None:
    def copy_file(here: Any, source: str, target: str) -> None:
        id = here.package.ObjectID(open_file(here, source))
        reading = here.handlers
        open_file(here, target, id, mode="w")
        here.handlers += reading
        join_handlers(here)

    (tmp_path / "x.csv").write_text("a,b\n1,x\n2,y\n")
    start("original").run(copy_file, f"file://{tmp_path}/x.csv", f"file://{tmp_path}/y.csv")
    assert [path.read_text() for path in tmp_path.glob("y.csv*")] == ["a,b\n1,x\n2,y\n"]
