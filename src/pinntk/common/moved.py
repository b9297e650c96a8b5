"""Modules under the names that they had before: files of users that import them go on working."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

_PACKAGES = {
    "common": "errors fingerprint plots",
    "network": "streams",
    "residual": "points collocation residuals loss ntk hessian spectra",
    "discrete": "difference preconditioner discretization conditioning theorem1",
    "pdes": "declaration references",
    "runs": "checkpoints elsewhere finished folder published record run settings stopping trained trainer validation",
    "launch": "cli clusters composition devices launchers overrides",
    "report": "reading",
}
MOVED = {
    **{name: f"{package}.{name}" for package, names in _PACKAGES.items() for name in names.split()},
    "pdes.line": "discrete.line",
    "effect": "common.settings",
}
"""Former name inside pinntk -> the present one."""


def present(name: str) -> str | None:
    """The present name of a module under its former one, or below it; None where it has not moved."""
    former = name.removeprefix("pinntk.")
    if former == name:
        return None
    head, _, tail = former.partition(".")
    found = MOVED.get(former) or (f"{MOVED[head]}.{tail}" if head in MOVED else None)
    return found and f"pinntk.{found}"


class Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a former name as the module that it is now, the same object."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        now = present(name)
        return None if now is None else importlib.machinery.ModuleSpec(name, self, loader_state=now)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        found = importlib.import_module(spec.loader_state)
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
