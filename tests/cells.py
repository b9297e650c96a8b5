"""A notebook without one: cells that are executed in a module ``__main__`` of their own."""

from __future__ import annotations

import linecache
import sys
from types import ModuleType
from typing import Any

import pytest


class Cells:
    """Executes texts as IPython does: each is a file that only `linecache` knows, and ``In`` lists them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.main = ModuleType("__main__")
        self.names = vars(self.main)
        self.names["In"] = []
        monkeypatch.setitem(sys.modules, "__main__", self.main)

    def __call__(self, text: str) -> Any:
        """Execute a cell; the module's names."""
        cells = self.names["In"]
        name = f"<cell {id(self)} {len(cells)}>"
        linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
        cells.append(text)
        exec(compile(text, name, "exec"), self.names)
        return self.main
