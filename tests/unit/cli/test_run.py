"""`entrepot run`: programs of vineyard's users, unmodified."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import multiprocessing, subprocess, sys
import vineyard
from vineyard._C import ObjectMeta
from vineyard.core import default_builder_context
import vineyard.data.tensor
import vineyard.shared_memory

def child(queue):
    import vineyard
    queue.put(vineyard.connect().get(name="x"))

if __name__ == "__main__":
    assert vineyard.data.tensor is sys.modules["entrepot.vineyard.data.tensor"]
    assert ObjectMeta is vineyard.ObjectMeta
    assert sys.argv[1:] == ["a", "-b"], sys.argv
    client = vineyard.connect()
    id = client.put([1, 2], persist=True, name="x")
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    assert queue.get() == (1, 2)
    process.join()
    code = "import vineyard; print(vineyard.connect().get(name='x'))"
    print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
    client.delete(id)
"""


DATA_LAYER = """
import asyncio, subprocess, sys
import v3io.dataplane
import v3io.aio.dataplane
from v3io.dataplane.transport import verifier

client = v3io.dataplane.Client()
assert v3io.__name__ == "entrepot.v3io"
assert verifier is sys.modules["entrepot.v3io.dataplane.transport.verifier"]
client.kv.put("users", "t", "bob", {"age": 42})

async def main():
    async with v3io.aio.dataplane.Client() as awaited:
        return (await awaited.kv.get("users", "t", "bob")).output.item

assert asyncio.run(main()) == {"age": 42}
code = "import v3io; print(v3io.Client().kv.get('users', 't', 'bob').output.item)"
print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
client.close()
"""


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": "/usr/bin:/bin",
        "ENTREPOT_DIR": str(home),
        "ENTREPOT_DATA": str(home / "d"),
    }
    return subprocess.run(
        [sys.executable, "-m", "entrepot", "run", *words],
        capture_output=True, text=True, check=False, env=environment, cwd=home,
    )  # fmt: skip


def test_a_script_and_its_children_run_on_the_face(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    tmp_path.chmod(0o700)
    done = run(tmp_path, "--as", "vineyard", str(script), "a", "-b")
    assert (done.returncode, done.stdout.strip()) == (0, "(1, 2)"), done.stderr


@pytest.mark.parametrize("words", [[], ["--as", "v3io"]], ids=["by_default", "as_asked"])
def test_a_program_of_v3io_runs_on_the_face(tmp_path: Path, words: list[str]) -> None:
    script = tmp_path / "script.py"
    script.write_text(DATA_LAYER)
    tmp_path.chmod(0o700)
    done = run(tmp_path, *words, str(script))
    assert (done.returncode, done.stdout.strip()) == (0, "{'age': 42}"), done.stderr


def test_a_module_runs_on_the_face(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import vineyard; print(vineyard.__name__)")
    tmp_path.chmod(0o700)
    done = run(tmp_path, "-m", "program")
    assert (done.returncode, done.stdout.strip()) == (0, "entrepot.vineyard"), done.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [(["--as", "redis", "x.py"], "no face 'redis'"), (["nothing.py"], "no script 'nothing.py'")],
    ids=["face", "script"],
)
def test_what_cannot_be_run_is_said(tmp_path: Path, words: list[str], text: str) -> None:
    done = run(tmp_path, *words)
    assert done.returncode == 1
    assert text in done.stderr
    assert "Traceback" not in done.stderr


PROXYSTORE = """
import pickle
import subprocess
import sys

from proxystore.connectors.file import FileConnector
from proxystore.proxy import Proxy
from proxystore.store import Store

with Store("run", FileConnector(sys.argv[1]), register=True) as store:
    proxy = pickle.loads(pickle.dumps(store.proxy([1, 2])))
    print(type(proxy).__module__, proxy, Proxy.__module__, flush=True)
    code = "import pickle, sys; print(len(pickle.loads(bytes.fromhex(sys.argv[1]))))"
    subprocess.run([sys.executable, "-c", code, pickle.dumps(proxy).hex()], check=True)
"""


def test_a_program_of_proxystore_runs_on_the_face(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROXYSTORE)
    tmp_path.chmod(0o700)
    done = run(tmp_path, "--as", "proxystore", "program.py", str(tmp_path / "store"))
    assert done.returncode == 0, done.stderr
    ours = "entrepot.proxystore.proxy"
    assert done.stdout.split("\n")[:2] == [f"{ours} [1, 2] {ours}", "2"]
