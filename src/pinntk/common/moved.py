"""Modules under the names that they had before: files of users that import them go on working."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

MOVED = {
    **dict.fromkeys(("errors", "fingerprint", "plots"), "common"),
    "streams": "network",
    **dict.fromkeys(("points", "collocation", "residuals", "loss", "ntk", "hessian", "spectra"), "residual"),
    **dict.fromkeys(("difference", "preconditioner", "discretization", "conditioning", "theorem1"), "discrete"),
    "pdes.line": "discrete",
    **dict.fromkeys(("declaration", "references"), "pdes"),
    **dict.fromkeys(("folder", "record", "run", "settings", "trained", "published"), "runs"),
    **dict.fromkeys(("cli", "launchers", "sweep"), "launch"),
    "reading": "report",
}
"""Former name inside pinntk -> the package in which it is now."""


class Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a former name as the module that it is now, the same object."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        former = name.removeprefix("pinntk.")
        return importlib.machinery.ModuleSpec(name, self) if former != name and former in MOVED else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        former = spec.name.removeprefix("pinntk.")
        found = importlib.import_module(f"pinntk.{MOVED[former]}.{former.rpartition('.')[2]}")
        spec.loader_state = found.__spec__
        return found

    def exec_module(self, module: ModuleType) -> None:
        """It has been executed under its own name: give it its own spec back, which is all that the import changed."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def find_moved() -> None:
    """Ask `Moved` for what is found nowhere else."""
    if not any(isinstance(finder, Moved) for finder in sys.meta_path):
        sys.meta_path.append(Moved())
