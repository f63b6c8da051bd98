"""Running programs of the originals: `import vineyard` finds `entrepot.vineyard`.

A finder at the head of `sys.meta_path` gives a module of a face under its original's name
too. It is the same module: what one part of a program registers, all parts see.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from entrepot.errors import NotFoundError

__all__ = ["FACES", "VARIABLE", "bind", "bind_from_environment"]

FACES = {
    name: f"entrepot.{name}" for name in ("vineyard", "nws", "v3io", "syncstream", "proxystore")
}
"""Original's name -> our face."""
VARIABLE = "ENTREPOT_RUN_AS"
"""Names the faces for child processes, whose interpreters read it when they start."""


def bind(names: Iterable[str]) -> None:
    """Bind originals' names to our faces, in this process and in Python processes that it starts.

    Raises:
        NotFoundError: There is no such face.
    """
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in FACES:
            raise NotFoundError(
                f"there is no face {name!r}", f"there are: {', '.join(sorted(FACES))}"
            )
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for name in wanted:
        _bound.add(name)
        for loaded in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
            del sys.modules[loaded]
    os.environ[VARIABLE] = ",".join(sorted(_bound))
    hook = str(Path(__file__).parent / "_hook")
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if hook not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([hook, *filter(None, paths)])


def bind_from_environment() -> None:
    """Bind what the parent process had bound."""
    names = [name for name in os.environ.get(VARIABLE, "").split(",") if name]
    if names:
        bind(names)


_bound: set[str] = set()


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of originals among ours."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        root, dot, rest = fullname.partition(".")
        if root not in _bound:
            return None
        ours = f"{FACES[root]}{dot}{rest}"
        try:
            if importlib.util.find_spec(ours) is None:
                return None
        except ModuleNotFoundError:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=ours)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        assert spec.origin is not None
        return importlib.import_module(spec.origin)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: it was executed under its own name, whose spec it keeps."""
        module.__spec__ = importlib.util.find_spec(module.__name__)
