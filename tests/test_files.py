"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from pinntk.common.files import remove_unfinished, write_atomically, write_json


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")

    def half(unfinished: Path) -> None:
        unfinished.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, half)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.json"]


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, steps = tmp_path / "a.txt", []
    fsync, replace = os.fsync, os.replace

    def flushed(number: int) -> None:
        steps.append(("flushed", os.fstat(number).st_size))
        fsync(number)

    def named(source: Path, target: Path) -> None:
        steps.append(("named", Path(source).stat().st_size))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", named)
    write_atomically(path, lambda unfinished: unfinished.write_text("whole"))
    assert steps == [("flushed", 5), ("named", 5)]
    assert path.read_text() == "whole"


def test_two_at_a_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Both are half way before either goes on."""
    path, half_way = tmp_path / "cache.npz", threading.Barrier(2, timeout=20)

    def write(unfinished: Path, value: float) -> None:
        np.savez(unfinished, values=np.full(1000, value))
        half_way.wait()
        with np.load(unfinished) as stored:
            assert (stored["values"] == value).all()
        half_way.wait()

    failed: list[BaseException] = []

    def one(value: float) -> None:
        try:
            write_atomically(path, lambda unfinished: write(unfinished, value))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=one, args=(value,)) for value in (1.0, 2.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert os.listdir(tmp_path) == ["cache.npz"]
    with np.load(path) as stored:
        assert len(set(stored["values"])) == 1


def test_json_has_null_for_what_it_cannot_express(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": [1.5, math.nan, (math.inf,)], "y": {"z": -math.inf}, "i": 3})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1.5, None, [None]], "y": {"z": None}, "i": 3}


def test_only_what_is_unfinished_is_removed(tmp_path: Path) -> None:
    for name in (".lock", "notes.tmp", ".hidden.txt", "last.ckpt"):
        (tmp_path / name).touch()
    left: list[Path] = []

    def note(unfinished: Path) -> None:
        unfinished.touch()
        left.append(unfinished)

    write_atomically(tmp_path / "a.png", note)
    left[0].touch()
    remove_unfinished(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".hidden.txt", ".lock", "a.png", "last.ckpt", "notes.tmp"]
