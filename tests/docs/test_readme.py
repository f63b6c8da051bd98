"""The README's programs run, in its order, in one depot."""

import asyncio
import re
import threading
from pathlib import Path

import numpy as np
import pytest

import entrepot
from support.tasks import square

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture
def names(tmp_path, monkeypatch):
    """Give what a reader would have: a depot of the default name, data, and work to do."""
    monkeypatch.setenv("ENTREPOT_DIR", str(tmp_path / "memory"))
    monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ENTREPOT_MEMORY", "64M")
    with entrepot.open() as depot:
        yield {
            "depot": depot,
            "entrepot": entrepot,
            "frame": np.arange(100_000.0),
            "array": np.ones(10),
            "done": [],
        }


def _block(text: str) -> str:
    found = [block for block in BLOCKS if text in block]
    assert len(found) == 1, f"{text!r} stands in {len(found)} blocks of the README"
    return found[0]


def test_what_one_program_puts_the_other_gets(names):
    exec(_block('put(frame, name="prices")'), names)
    other = {}
    exec(_block('get(name="prices"'), other)
    assert (other["frame"] == names["frame"]).all()
    assert not other["frame"].flags.owndata
    names["depot"].close()
    other["depot"].close()


def test_objects_are_put_got_named_and_deleted(names):
    exec(_block("depot.objects.delete(key)"), names)
    assert names["value"]["epoch"] == 3
    assert not names["depot"].objects.exists(names["key"])


def test_spaces_hand_out_each_value_once(names):
    space = names["depot"].space("jobs")
    space.store("best", 7)
    space.store("log", "a line")
    names["work"] = names["done"].append

    def delete_when_waited_for():
        while not any(v.name == "log" and v.fetchers for v in space.variables()):
            threading.Event().wait(0.01)
        space.delete("log")

    ender = threading.Thread(target=delete_when_waited_for)
    ender.start()
    exec(_block("with jobs.claim"), names)
    ender.join()
    assert names["done"] == [{"rows": (0, 1000)}]
    assert names["best"] == 7
    assert names["line"] == "a line"
    assert space.try_fetch("task") is None


def test_a_pool_of_workers_calls_functions(names):
    names["square"] = square
    exec(_block("entrepot.SpaceExecutor"), names)
    assert names["squares"] == [number * number for number in range(100)]


def test_the_async_twin_does_the_same(names):
    names["depot"].space("jobs").store("task", 1)
    lines = "".join(f"    {line}\n" for line in _block("entrepot.aio.open").splitlines())
    exec(f"async def main():\n{lines}    return task", names)
    assert asyncio.run(names["main"]()) == 1


def test_the_commands_that_the_readme_names_exist():
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z]+)", readme)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no make {target}"
    links = re.findall(r"\]\(([\w./-]+)\)", readme)
    assert [link for link in links if not (ROOT / link).exists()] == []
