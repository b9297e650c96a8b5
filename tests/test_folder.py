"""A run's folder: the lock, what killed processes leave, putting runs aside."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pinntk.common.errors import BadInput
from pinntk.common.files import write_atomically
from pinntk.runs.folder import FolderInUse, RunFolder, check_writable, write_yaml


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "p" / "seed0")


def finish(folder: RunFolder, status: str, mark: str) -> None:
    folder.checkpoint.write_text(mark)
    folder.complete({"status": status, "mark": mark})


def test_yaml_keeps_order_and_values(tmp_path: Path) -> None:
    content = {"b": 1e-3, "a": [1, 2.5, None, True, "no", "1e-3"], "c": {}}
    write_yaml(tmp_path / "c.yaml", content)
    read = OmegaConf.to_container(OmegaConf.load(tmp_path / "c.yaml"))
    assert read == content
    assert isinstance(read, dict)
    assert list(read) == list(content)


def test_two_at_once_are_kept_apart(folder: RunFolder) -> None:
    other = RunFolder(folder.path)
    with folder.locked(), pytest.raises(FolderInUse, match="seed0"), other.locked():
        pass
    with other.locked():
        pass


def test_the_lock_of_a_dead_process_is_free(folder: RunFolder) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        folder._acquire()
        os.write(writer, b"x")
        signal.pause()
    os.read(reader, 1)
    with pytest.raises(FolderInUse), RunFolder(folder.path).locked():
        pass
    os.kill(child, 9)
    os.waitpid(child, 0)
    with RunFolder(folder.path).locked():
        pass


def test_a_finished_run_is_kept_until_its_successor_has_completed(folder: RunFolder) -> None:
    with folder.locked():
        finish(folder, "completed", "old")
    with folder.locked():
        folder.set_aside()
        assert not folder.checkpoint.exists()
        assert folder.result() is None
        assert json.loads((folder.previous / "result.json").read_text())["mark"] == "old"
        finish(folder, "interrupted", "half")
        assert folder.previous.exists()
    with folder.locked():  # started over once more: the half run goes, the finished one stays
        folder.set_aside()
        assert folder.result() is None
        assert not folder.checkpoint.exists()
        assert json.loads((folder.previous / "result.json").read_text())["mark"] == "old"
        finish(folder, "completed", "new")
        assert not folder.previous.exists()
    assert folder.result() == {"status": "completed", "mark": "new"}


def test_what_a_killed_process_has_left_half_written_goes(folder: RunFolder) -> None:
    def half(unfinished: Path) -> None:
        unfinished.write_text("ha")
        os.kill(os.getpid(), 9)

    child = os.fork()
    if child == 0:
        with folder.locked():
            finish(folder, "interrupted", "state")
            write_atomically(folder.checkpoint, half)
    os.waitpid(child, 0)
    (left,) = (name for name in os.listdir(folder.checkpoint.parent) if name.startswith("."))
    (folder.path / left).with_suffix(".png").touch()  # of a picture
    with folder.locked():
        assert os.listdir(folder.checkpoint.parent) == ["last.ckpt"]
        assert folder.checkpoint.read_text() == "state"
        assert sorted(os.listdir(folder.path)) == [".lock", "checkpoints", "result.json"]


def test_the_folder_stays_locked_while_its_content_is_put_aside(folder: RunFolder) -> None:
    with folder.locked():
        finish(folder, "completed", "old")
        folder.set_aside()
        with pytest.raises(FolderInUse), RunFolder(folder.path).locked():
            pass


def test_putting_aside_nothing_leaves_nothing(folder: RunFolder) -> None:
    with folder.locked():
        folder.set_aside()
    assert not folder.previous.exists()


def test_an_unreadable_result_is_named(folder: RunFolder) -> None:
    with folder.locked():
        others = ["[]", "3", "null", '{"status": null}', '{"status": "completed", "loggers": 3}', "[" * 10**5]
        others += ['{"status": "completed", "l2re": true}', '{"status": "failed", "callbacks": []}']
        for text in ('{"status": ', *others):
            (folder.path / "result.json").write_text(text)
            with pytest.raises(BadInput, match=r"result\.json cannot be read"):
                folder.result()
        folder.set_aside()
        assert folder.result() is None


def test_writability_is_checked_without_creating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    assert check_writable(tmp_path / "a" / "b") is None
    assert "is not a folder" in str(check_writable(tmp_path / "file"))
    assert "is not a folder" in str(check_writable(tmp_path / "file" / "runs"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert "cannot write" in str(check_writable(tmp_path / "a"))
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_made_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = RunFolder(tmp_path / "file" / "seed0")
    with pytest.raises(BadInput, match=r"runs_dir: cannot write in .*file/seed0"), folder.locked():
        pass
