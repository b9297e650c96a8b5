"""What Windows lacks, taken away here: single runs and sweeps must still start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import FAST, result_of
from filelock import FileLock

from pinntk.runs import folder as folders
from pinntk.runs.folder import RunFolder

LACKING = """
import fcntl, multiprocessing, multiprocessing.context, os, signal, sys
for module, names in (
    (signal, ["SIGHUP", "SIGALRM", "pthread_sigmask"]),
    (os, ["setsid", "fork", "sched_getaffinity", "killpg", "getuid", "mkfifo"]),
    (multiprocessing.context, ["ForkContext", "ForkServerContext", "ForkProcess", "ForkServerProcess"]),
):
    for name in names:
        delattr(module, name)
multiprocessing.get_all_start_methods = lambda: ["spawn"]
get_context = multiprocessing.get_context
def of_windows(method=None):
    if method in ("fork", "forkserver"):
        raise ValueError(f"cannot find context for {method!r}")
    return get_context(method)
multiprocessing.get_context = of_windows
fsync = os.fsync
def only_written(number):  # as there, of files that are open for writing
    if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(9, "Bad file descriptor")
    fsync(number)
os.fsync = only_written
"""
PROGRAM = f"""{LACKING}
import pinntk.launch.cli
single = pinntk.launch.cli.main(sys.argv[1:])
swept = pinntk.launch.cli.main([*sys.argv[1:], "-m", "seed=0,1"])
sys.modules["fcntl"] = None
import pinntk.report.status
print("codes", single, swept, pinntk.report.status.at_work(__import__("pathlib").Path(".")))
"""


@pytest.mark.slow
def test_runs_and_sweeps_one_after_another(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, *FAST, "method.steps=2"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "codes 0 0 False"
    assert [path.parent.name for path in sorted(tmp_path.glob("runs/**/result.json"))] == ["seed0", "seed1"]
    for path in tmp_path.rglob("*"):
        assert not set('<>:"|?*') & set(path.name), path


@pytest.mark.slow
def test_several_at_once(tmp_path: Path) -> None:
    program = (
        f"{LACKING}\nfrom pinntk.launch.cli import main\nif __name__ == '__main__':\n    sys.exit(main(sys.argv[1:]))\n"
    )
    (tmp_path / "main.py").write_text(program)
    words = [*FAST, "method.steps=2", "-m", "seed=0,1", "hydra/launcher=local", "hydra.launcher.jobs=2"]
    command = [sys.executable, "main.py", *words]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "2 completed" in ended.stdout


def test_a_run_is_put_aside_where_no_open_file_may_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path / "seed0")
    rename = os.rename

    def of_windows(source: Any, target: Any) -> None:
        assert folder._lock is not None
        if folder._lock.is_locked:
            raise PermissionError(13, "used by another process")
        rename(source, target)

    monkeypatch.setattr(os, "rename", of_windows)
    monkeypatch.setattr(folders, "MOVES_OPEN_FILES", False)
    with folder.locked():
        folder.checkpoint.write_text("old")
        folder.complete({"status": "completed", "mark": "old"})
        folder.set_aside()
        assert folder._lock is not None
        assert folder._lock.is_locked
        assert folder.result() is None
    assert result_of(folder.previous)["mark"] == "old"


def test_who_is_at_work_without_flock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pinntk.report import status

    monkeypatch.setattr(status, "fcntl", None)
    assert not status.at_work(tmp_path)
    assert os.listdir(tmp_path) == []
    with FileLock(tmp_path / ".lock"):
        assert status.at_work(tmp_path)
    assert not status.at_work(tmp_path)
