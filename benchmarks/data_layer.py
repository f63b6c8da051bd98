"""What does v3io's API cost on a depot, beside what Redis does of the same?

The face in the process: items beside hashes, records beside streams, objects beside strings.
Redis is asked over a UNIX socket by redis-py. Reads are compared as they are. Writes are not
alike: ours are on the disk when they are acknowledged, so there are two of Redis, one that keeps
nothing on the disk, and one that waits for it too.

Then a scan with a filter, in items that a core looks at in a second of its time; a batch of writes
against single ones; and a table of many items against one of few.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count, cycle
from statistics import median
from typing import Any

import msgspec

import entrepot
from benchmarks.harness import Contestant, Plan, compare
from benchmarks.peers import NotInstalledError, redis_client, redis_server
from benchmarks.report import Bound, Check, at_least, at_most, duration
from entrepot.engine.keys import pack_str
from entrepot.engine.protocol import Transaction
from entrepot.layers import attributes
from entrepot.layers.entries import OBJECT, Entry, Place, encode_entry
from entrepot.v3io.dataplane import Client

__all__ = ["measure_data_layer"]

QUESTION = "data layer"
CONTAINER = "lab"
ITEMS, QUICK_ITEMS = 100_000, 2_000
FEW, MANY = 10_000, 10_000_000
QUICK_FEW, QUICK_MANY = 200, 3_000
DRAWN = 1_000
FILLED_AT_ONCE = 20_000
RECORDS = 100
BATCH = 64
BODY = bytes(1000)
RECORD = bytes(100)
SCATTERED = f"batch of {BATCH} puts all over the table"
"""Without a bound: in a large table each of these changes a page of its own, and all of them go
to the disk; in a small one they share pages."""
HALF = "age >= 50"
"""A filter that half of the items pass."""


def measure_data_layer(plan: Plan) -> list[Check]:
    """Return the operations of v3io's API against Redis, and against themselves."""
    with ExitStack() as stack:
        client = stack.enter_context(_client(QUICK_ITEMS if plan.quick else ITEMS))
        redis: Any = None
        durable: Any = None
        try:
            redis = redis_client(stack.enter_context(redis_server()))
            stack.callback(redis.close)
            durable = redis_client(stack.enter_context(redis_server(durable=True)))
            stack.callback(durable.close)
        except NotInstalledError as missing:
            plan.note(str(missing))
        checks = _reads(plan, client, redis)
        checks += _scan(plan, client, redis)
        checks += _writes(plan, client, redis, durable)
        checks += _batch(plan, client)
    return checks + _scale(plan)


@contextmanager
def _client(items: int) -> Generator[Client]:
    """Yield a client of a depot of its own, with a table of so many items."""
    with entrepot.temporary(memory="256M") as depot:
        _fill(depot, "people", items)
        with Client(endpoint=f"depot:{depot.name}", logger_verbosity="ERROR") as client:
            yield client


def _person(number: int) -> dict[str, Any]:
    return {"age": number % 100, "name": f"name {number}", "score": number / 2}


def _key(number: int) -> str:
    return f"user{number:08}"


def _fill(depot: entrepot.Depot, table: str, items: int) -> None:
    """Store items as puts would, but many in a transaction: ten million take a minute."""
    depot.create_container(CONTAINER, exist_ok=True)
    depot.table(f"{CONTAINER}/{table}").put(_key(0), _person(0))
    tier = depot.attached.durable()
    place = Place(CONTAINER, table)
    for first in range(0, items, FILLED_AT_ONCE):
        numbers = range(first, min(first + FILLED_AT_ONCE, items))
        tier.engine.write(_fill_some, place, numbers, [tier.ids.next() for _ in numbers])


def _fill_some(
    tx: Transaction, place: Place, numbers: Sequence[int], inodes: Sequence[int]
) -> None:
    begin, now_ns = place.begin(tx), time.time_ns()
    for number, inode in zip(numbers, inodes, strict=True):
        raw = msgspec.Raw(attributes.encode(_person(number)))
        entry = Entry(OBJECT, inode, now_ns, now_ns, attributes=raw)
        tx.put(begin + pack_str(_key(number)), encode_entry(entry))


def _drawn(items: int) -> Callable[[], str]:
    """Return what names one item of a random sample after another."""
    sample = random.Random(items).choices(range(items), k=DRAWN)
    return partial(next, cycle([_key(number) for number in sample]))


def _against(
    plan: Plan, name: str, ours: Contestant, rivals: Sequence[Contestant], bound: Bound | None
) -> list[Check]:
    """Return an operation against each rival; its own time where there is none."""
    mine, *theirs = compare([ours, *rivals], plan)
    if not theirs:
        return [Check(QUESTION, name, mine.median_s * 1e6, "µs", ours=duration(mine.median_s))]
    checks: list[Check] = []
    for rival in theirs:
        figure = rival.ratio(mine)
        missed = bound is not None and not bound.holds(figure)
        checks.append(
            Check(
                QUESTION,
                f"{name}, {rival.name}",
                figure,
                "x faster",
                bound,
                duration(mine.median_s),
                duration(rival.median_s),
                plan.explain(ours, missed=missed),
            )
        )
    return checks


# Reading.


def _reads(plan: Plan, client: Client, redis: Any) -> list[Check]:
    items = QUICK_ITEMS if plan.quick else ITEMS
    kv, stream, objects = client.kv, client.stream, client.object
    objects.put(CONTAINER, "o", body=BODY)
    stream.create(CONTAINER, "read", 1)
    stream.put_records(CONTAINER, "read", [{"data": RECORD} for _ in range(RECORDS)])
    location = stream.seek(CONTAINER, "read", 0, "EARLIEST").output.location
    key, names = _drawn(items), ["age", "name"]
    ours: dict[str, Callable[[], object]] = {
        "kv.get": lambda: kv.get(CONTAINER, "people", key()).output.item,
        "kv.get of two attributes": lambda: (
            kv.get(CONTAINER, "people", key(), attribute_names=names).output.item
        ),
        "object.get of 1 kB": lambda: objects.get(CONTAINER, "o").body,
        f"stream.get_records of {RECORDS}": lambda: (
            stream.get_records(CONTAINER, "read", 0, location).output.records
        ),
    }
    theirs: dict[str, Callable[[], object]] = {}
    if redis is not None:
        with redis.pipeline(transaction=False) as pipeline:
            for number in range(items):
                pipeline.hset(_key(number), mapping=_person(number))
            pipeline.set("o", BODY)
            for _ in range(RECORDS):
                pipeline.xadd("read", {"data": RECORD})
            pipeline.execute()
        their_key = _drawn(items)
        theirs = {
            "kv.get": lambda: redis.hgetall(their_key()),
            "kv.get of two attributes": lambda: redis.hmget(their_key(), names),
            "object.get of 1 kB": lambda: redis.get("o"),
            f"stream.get_records of {RECORDS}": lambda: redis.xrange("read", count=RECORDS),
        }
    checks: list[Check] = []
    for name, call in ours.items():
        rivals = [Contestant("Redis", theirs[name])] if name in theirs else []
        checks += _against(plan, name, Contestant("ours", call), rivals, at_least(5))
    return checks


def _scan(plan: Plan, client: Client, redis: Any) -> list[Check]:
    items = QUICK_ITEMS if plan.quick else ITEMS

    def scan() -> None:
        cursor = client.kv.new_cursor(CONTAINER, "people", filter_expression=HALF)
        found = len(cursor.all())
        assert found == items // 2, f"{found} of {items} items passed the filter"

    def scan_redis() -> None:
        # As users do it: the filter is theirs, and the hashes come in batches.
        keys = redis.scan_iter(match="user*", count=1000)
        found = 0
        while batch := [key for key, _ in zip(keys, range(1000), strict=False)]:
            with redis.pipeline(transaction=False) as pipeline:
                for key in batch:
                    pipeline.hgetall(key)
                found += sum(int(person[b"age"]) >= 50 for person in pipeline.execute())
        assert found, "half of the hashes pass the filter"

    contestant = Contestant("ours", scan)
    cpu_s = _processor_time(scan, plan)
    figure, bound = items / cpu_s, at_least(500_000)
    checks = [
        Check(
            QUESTION,
            f"scan of {items:,} items with a filter, per core",
            figure,
            "items/s",
            None if plan.quick else bound,
            duration(cpu_s),
            profile=plan.explain(contestant, missed=not bound.holds(figure)),
        )
    ]
    if redis is not None:
        ours, theirs = compare(
            [contestant, Contestant("Redis", scan_redis)], plan, rounds_min=1, rounds_max=2
        )
        checks.append(
            Check(
                QUESTION,
                f"scan of {items:,} items with a filter, Redis",
                theirs.ratio(ours),
                "x faster",
                at_least(5),
                duration(ours.median_s),
                duration(theirs.median_s),
            )
        )
    return checks


def _processor_time(call: Callable[[], object], plan: Plan) -> float:
    """Return the seconds that a core works on a call: long ones share it with others."""
    found: list[float] = []
    ends_at = time.perf_counter() + plan.seconds
    while len(found) < 3 or time.perf_counter() < ends_at:
        begin = time.thread_time()
        call()
        found.append(time.thread_time() - begin)
    return median(found)


# Writing.


def _writes(plan: Plan, client: Client, redis: Any, durable: Any) -> list[Check]:
    items = QUICK_ITEMS if plan.quick else ITEMS
    kv, stream, objects = client.kv, client.stream, client.object
    stream.create(CONTAINER, "written", 1)
    records = [{"data": RECORD} for _ in range(RECORDS)]
    key, numbers, new = _drawn(items), count(), _person(7)
    ours: dict[str, Callable[[], object]] = {
        "kv.put": lambda: kv.put(CONTAINER, "new", _key(next(numbers)), new),
        "kv.update of a counter": lambda: kv.update(
            CONTAINER, "people", key(), expression="age = age + 1"
        ),
        "object.put of 1 kB": lambda: objects.put(CONTAINER, f"o{next(numbers)}", body=BODY),
        f"stream.put_records of {RECORDS}": lambda: stream.put_records(
            CONTAINER, "written", records
        ),
    }
    servers = [("Redis, not on disk", redis), ("Redis, on disk", durable)]
    checks: list[Check] = []
    for name, call in ours.items():
        rivals = [
            Contestant(title, _write_to_redis(server, name, _drawn(items)))
            for title, server in servers
            if server is not None
        ]
        checks += _against(plan, name, Contestant("ours", call), rivals, None)
    return checks


def _write_to_redis(redis: Any, name: str, key: Callable[[], str]) -> Callable[[], object]:
    """Return what Redis does for the operation of this name."""
    numbers, new = count(), _person(7)

    def append() -> None:
        with redis.pipeline(transaction=False) as pipeline:
            for _ in range(RECORDS):
                pipeline.xadd("written", {"data": RECORD})
            pipeline.execute()

    calls: dict[str, Callable[[], object]] = {
        "kv.put": lambda: redis.hset(f"new{next(numbers)}", mapping=new),
        "kv.update of a counter": lambda: redis.hincrby(key(), "age", 1),
        "object.put of 1 kB": lambda: redis.set(f"o{next(numbers)}", BODY),
    }
    return calls.get(name, append)


def _batch(plan: Plan, client: Client) -> list[Check]:
    numbers, person = count(), _person(7)
    batch = client.create_batch()

    def one() -> None:
        client.kv.put(CONTAINER, "single", _key(next(numbers)), person)

    def many() -> None:
        for _ in range(BATCH):
            batch.kv.put(CONTAINER, "batched", _key(next(numbers)), person)
        batch.wait()

    together = Contestant("batch", many)
    single, batched = compare([Contestant("single", one), together], plan)
    figure, bound = single.ratio(batched) * BATCH, at_least(10)
    return [
        Check(
            QUESTION,
            f"a put in a batch of {BATCH}, a single one",
            figure,
            "x cheaper",
            bound,
            duration(batched.median_s / BATCH),
            duration(single.median_s),
            plan.explain(together, missed=not bound.holds(figure)),
        )
    ]


# Many items.


def _scale(plan: Plan) -> list[Check]:
    few, many = (QUICK_FEW, QUICK_MANY) if plan.quick else (FEW, MANY)
    with _client(few) as small, _client(many) as large:
        return [
            _compare_sizes(plan, name, (make(small, few), few), (make(large, many), many))
            for name, make in _sized().items()
        ]


def _compare_sizes(
    plan: Plan, name: str, small: tuple[Contestant, int], large: tuple[Contestant, int]
) -> Check:
    few, many = compare([small[0], large[0]], plan)
    figure = many.ratio(few)
    bound = None if name == SCATTERED else at_most(1.5)
    missed = bound is not None and not bound.holds(figure)
    return Check(
        f"{QUESTION}: {large[1]:,} items against {small[1]:,}",
        name,
        figure,
        "x",
        bound,
        duration(many.median_s),
        duration(few.median_s),
        plan.explain(large[0], missed=missed),
    )


def _sized() -> dict[str, Callable[[Client, int], Contestant]]:
    """Return operations by name, each as a function that aims it at a table of some size."""

    def calling(make: Callable[[Any, Callable[[], str]], Callable[[], object]]) -> Any:
        return lambda client, items: Contestant("sized", make(client.kv, _drawn(items)))

    table = (CONTAINER, "people")
    return {
        "kv.get": calling(lambda kv, key: lambda: kv.get(*table, key())),
        "kv.get of nothing": calling(
            lambda kv, key: lambda: kv.get(*table, f"{key()}-", raise_for_status="never")
        ),
        "kv.put": calling(lambda kv, key: lambda: kv.put(*table, key(), _person(7))),
        "kv.update": calling(
            lambda kv, key: lambda: kv.update(*table, key(), expression="age = age + 1")
        ),
        "kv.scan of 100": calling(lambda kv, key: lambda: kv.scan(*table, limit=100)),
        f"batch of {BATCH} puts side by side": partial(_batching, is_scattered=False),
        SCATTERED: partial(_batching, is_scattered=True),
    }


def _batching(client: Client, items: int, *, is_scattered: bool) -> Contestant:
    batch, key = client.create_batch(), _drawn(items)
    first = cycle(range(0, items - BATCH, items // 100))

    def call() -> None:
        begin = next(first)
        for number in range(begin, begin + BATCH):
            batch.kv.put(CONTAINER, "people", key() if is_scattered else _key(number), _person(7))
        batch.wait()

    return Contestant("batch", call)
