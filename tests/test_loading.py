"""Importing without the garbage collector."""

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinntk.common.loading import load

MANY = "kept = [[] for _ in range(100_000)]\n"
"""More objects than the collector waits for."""


@pytest.fixture
def collections() -> Iterator[list[int]]:
    """Generations that the collector has looked through, as it tells itself."""
    seen: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            seen.append(info["generation"])

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)
    gc.unfreeze()


def make(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)


def test_nothing_is_collected_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collections: list[int]
) -> None:
    make(tmp_path, "module_with_much", MANY, monkeypatch)
    __import__("module_with_much")
    assert collections  # as Python does it
    monkeypatch.delitem(sys.modules, "module_with_much")
    collections.clear()
    frozen = gc.get_freeze_count()
    load("module_with_much")
    assert collections == []
    assert len(sys.modules["module_with_much"].kept) == 100_000
    assert gc.get_freeze_count() >= frozen + 100_000
    assert gc.isenabled()


def test_what_is_there_is_not_loaded_again(collections: list[int]) -> None:
    frozen = gc.get_freeze_count()
    load("json")
    assert gc.get_freeze_count() == frozen  # a second run of a process freezes none of the first one's objects


@pytest.mark.parametrize("before", [True, False])
def test_the_collector_is_as_before_also_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collections: list[int], before: bool
) -> None:
    make(tmp_path, "module_that_fails", "raise RuntimeError('no')\n", monkeypatch)
    if not before:
        gc.disable()
    try:
        with pytest.raises(RuntimeError, match="no"):
            load("module_that_fails")
        assert gc.isenabled() == before
    finally:
        gc.enable()
