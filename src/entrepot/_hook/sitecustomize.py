"""Read by child interpreters of a program that runs as another system's: binds the same names."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path

__all__: list[str] = []


def _run_the_other_one() -> None:
    """Run the `sitecustomize` that this one stands in front of, if there is one."""
    here = Path(__file__).parent
    others = [path for path in sys.path if path and Path(path).resolve() != here.resolve()]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


_run_the_other_one()
if os.environ.get("ENTREPOT_RUN_AS"):
    from entrepot.faces import bind_from_environment

    bind_from_environment()
