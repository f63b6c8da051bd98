"""v3io: the client's own first examples, with one changed import and nothing to start.

Run me:

    python examples/10_v3io_tables_and_streams.py
"""

from __future__ import annotations

import entrepot
import entrepot.v3io as v3io  # was: import v3io.dataplane

BURGERS = {
    "bob": {"age": 42, "feature": "mustache"},
    "linda": {"age": 41, "feature": "singing"},
    "louise": {"age": 9, "feature": "bunny ears"},
}
RECORDS = [
    {"shard_id": 1, "data": "first shard record #1"},
    {"shard_id": 1, "data": "first shard record #2"},
    {"shard_id": 2, "data": "second shard record #1"},
    {"data": "some shard record #1"},
]


def main() -> None:
    """Keep objects, items and records; all of it is on the disk when a call returns."""
    with entrepot.temporary() as depot:  # Client() without an endpoint takes your own depot
        client = v3io.dataplane.Client(endpoint=f"depot:{depot.name}")

        for number in range(16):  # 16 writes, one commit
            client.batch.object.put("bigdata", f"/object{number}", body=f"object-{number}")
        print("objects written:", len(client.batch.wait()))
        print(client.object.get(container="bigdata", path="/object7").body.decode())

        table = {"container": "users", "table_path": "/bobs-burgers"}
        for key, attributes in BURGERS.items():
            client.kv.put(**table, key=key, attributes=attributes)
        client.kv.update(**table, key="louise", attributes={"height": 130, "quip": "boo"})
        client.kv.update(**table, key="bob", expression="age = age + 1", condition="age == 42")
        response = client.kv.get(
            **table, key="louise", attribute_names=["__size", "age", "quip", "height"]
        )
        print(response.output.item)
        cursor = client.kv.new_cursor(**table, filter_expression="age > 15")
        print("older than 15:", [(item["__name"], item["age"]) for item in cursor.all()])

        stream = {"container": "users", "stream_path": "/my-test-stream"}
        client.stream.create(**stream, shard_count=8)
        client.stream.put_records(**stream, records=RECORDS)
        response = client.stream.seek(**stream, shard_id=1, seek_type="EARLIEST")
        response = client.stream.get_records(
            **stream, shard_id=1, location=response.output.location
        )
        for record in response.output.records:
            print(record.data.decode())
        client.stream.delete(**stream)

        print("the same by the depot's own API:", depot.table("users/bobs-burgers").get("bob"))
        client.close()


if __name__ == "__main__":
    main()
