"""What the runs in a folder are doing, as ``python -m pinntk.status`` shows it."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import FAST, Cli
from filelock import FileLock
from handmade import make_run

from pinntk.report import status


def shown(root: Path, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The words of each line."""
    assert status.main([str(root)]) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def progress(folder: Path, **more: object) -> None:
    content = {
        "iteration": 1200,
        "total_iterations": 5000,
        "loss": 1.0,
        "fresh_loss": 2.0,
        "l2re": 0.25,
        "seconds_left": 100.0,
    }
    (folder / "progress.json").write_text(json.dumps({**content, "written": time.time(), **more}))


def test_every_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path, seed=0, l2re=0.0123, fresh_loss=0.004, seconds=125.0, steps=5000)
    make_run(tmp_path, seed=1, status="failed", reason="the loss is not finite", l2re=None, steps=40)
    progress(make_run(tmp_path, seed=2, status="interrupted", l2re=0.3, steps=1300))
    progress(make_run(tmp_path, seed=3, ended=False))  # killed: nobody has its lock
    working = make_run(tmp_path, seed=4, ended=False)
    progress(working)
    resumed = make_run(tmp_path, seed=5, status="interrupted", steps=10)
    progress(resumed, seconds_left=7000.0, written=time.time() - 60)
    starting = make_run(tmp_path, seed=6, ended=False)
    with FileLock(working / ".lock"), FileLock(resumed / ".lock"), FileLock(starting / ".lock"):
        head, names, *lines = shown(tmp_path, capsys)
    assert " ".join(head) == f"3 running, 1 failed, 2 interrupted, 1 finished: {tmp_path}"
    setting = ["w50", "laptop", "aaaaaaaaaaaa"]
    assert names == "state problem method iteration L2RE loss fresh left trained seed setting".split()
    problem, measured = ["burgers", "nu=0.003183", "adam"], ["2.50e-01", "1.00e+00", "2.00e+00"]
    assert lines == [
        ["running", *problem, "1,200", "/", "5,000", *measured, "1:40", "–", "4", *setting],
        ["running", *problem, "1,200", "/", "5,000", *measured, "1:55:40", "12", "s", "5", *setting],
        ["running", *problem, "starting", "–", "–", "–", "–", "–", "6", *setting],
        [
            "failed",
            *problem,
            "40",
            "–",
            "1.00e-03",
            "–",
            "–",
            "12",
            "s",
            "1",
            *setting,
            *"the loss is not finite".split(),
        ],
        ["interrupted", *problem, "1,300", "/", "5,000", "3.00e-01", "1.00e-03", "–", "–", "12", "s", "2", *setting],
        ["interrupted", *problem, "1,200", "/", "5,000", *measured, "–", "–", "3", *setting],
        ["finished", *problem, "5,000", "1.23e-02", "1.00e-03", "4.00e-03", "–", "2:05", "0", *setting],
    ]


def test_looking_takes_no_lock_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path, ended=False)
    before = sorted(os.listdir(folder))
    shown(tmp_path, capsys)
    assert sorted(os.listdir(folder)) == before
    with FileLock(folder / ".lock", timeout=0):
        assert status.at_work(folder)
    assert not status.at_work(folder)
    with FileLock(folder / ".lock", timeout=0):
        pass


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.4, "0 s"), (59.4, "59 s"), (60, "1:00"), (3599.6, "1:00:00"), (90061, "25:01:01")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert status.duration(seconds) == text


def test_a_small_terminal_shows_the_first(tmp_path: Path) -> None:
    for seed in range(8):
        make_run(tmp_path, seed=seed)
    assert len(status.table(tmp_path).splitlines()) == 2 + 8
    cut = status.table(tmp_path, height=8).splitlines()
    assert len(cut) == 7  # the cursor stands on the eighth
    assert cut[-1] == "and 4 more"


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path, seed=0)
    (make_run(tmp_path, seed=1) / "result.json").write_text("{")
    *_, last = shown(tmp_path, capsys)
    assert "seed1:" in last[0]
    assert "cannot be read" in " ".join(last)


@pytest.mark.parametrize("text", ["", "[]", "3", '{"iteration": "ten", "total_iterations": [], "loss": "1"}'])
def test_progress_of_another_kind_is_none(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (make_run(tmp_path, ended=False) / "progress.json").write_text(text)
    *_, last = shown(tmp_path, capsys)
    assert last[0] == "interrupted"
    assert "ten" not in last


@pytest.mark.parametrize(
    ("words", "named"), [(["nowhere"], "nowhere"), (["."], "no runs"), ([], "runs"), ([".", "-x"], "-x")]
)
def test_bad_input(
    words: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert status.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert named in err
    assert "allowed: " in err


def test_a_run_of_train_is_understood(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    cli(*FAST)
    _, _, line = shown(Path("runs"), capsys)
    assert line[:5] == ["finished", "poisson1d", "a=4", "adam", "40"]
    written = json.loads((cli.run_folder() / "progress.json").read_text())
    assert (written["iteration"], written["total_iterations"], written["seconds_left"]) == (40, 40, 0)


def test_a_terminal_is_kept_up_to_date_until_ctrl_c(tmp_path: Path) -> None:
    """In a process with a terminal of its own."""
    make_run(tmp_path, seed=0)
    screen, terminal = pty.openpty()
    command = [sys.executable, "-c", "import sys; from pinntk import status; sys.exit(status.main())", str(tmp_path)]
    child = subprocess.Popen(command, stdin=terminal, stdout=terminal, start_new_session=True)
    os.close(terminal)
    seen = b""

    def wait_for(text: bytes) -> None:
        nonlocal seen
        while text not in seen:
            assert select.select([screen], [], [], 60)[0], seen
            seen += os.read(screen, 4096)

    try:
        wait_for(b"1 finished")
        make_run(tmp_path, seed=1)
        wait_for(b"2 finished")
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=60) == 0
    finally:
        child.kill()
        child.wait()
        os.close(screen)
    assert seen.startswith(b"\x1b[H")
