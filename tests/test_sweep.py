"""Sweeps under each launcher: what ends badly ends alone, and a sweep started again does what is left."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import FAST, Cli, result_of, spoken
from sweeping import LAUNCHERS, completed, kill, noted, results, rows, start, sweep, until

from pinntk.launch.cli import compose
from pinntk.launch.sweep import differing, exit_code
from pinntk.methods.adam import AdamMethod
from pinntk.runs.folder import RunFolder
from pinntk.runs.settings import RunSettings

pytestmark = pytest.mark.timeout(900)  # several processes, each of which imports torch, perhaps beside others
FAILING = ["method.adam.learning_rate=1e300,1e-3", "method.steps=3"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["local", "ray", "slurm"])
def test_what_ends_badly_ends_alone(launcher: str, tmp_path: Path) -> None:
    ends = {"killed": 1, "broken": 2, "terminated": 3}
    code, out, err = sweep(tmp_path, "seed=range(5)", "method.steps=10", *LAUNCHERS[launcher], **ends)
    assert code == 1, err
    assert "Traceback" not in err
    found = rows(out)
    assert [row[:2] for row in found] == [
        ["0", "completed"],
        ["1", "failed"],
        ["2", "failed"],
        ["3", "interrupted"],
        ["4", "completed"],
    ]
    assert found[2][3] == "seed=2  (ZeroDivisionError: a bug)"
    assert float(found[0][2]) == float(f"{json.loads(results(tmp_path)['seed0'])['l2re']:.2e}")
    assert "2 completed, 2 failed, 1 interrupted" in out
    assert sorted(int(seed) for (seed,) in noted(tmp_path, "finished")) == [0, 4]
    before = completed(tmp_path)
    # Nothing is in their way any more: what was cut goes on, what is finished is left alone.
    code, out, err = sweep(tmp_path, "seed=range(5)", "method.steps=10", *LAUNCHERS[launcher])
    assert code == 0, err
    assert {row[1] for row in rows(out)} == {"completed"}
    assert sorted(int(seed) for (seed,) in noted(tmp_path, "finished")) == [0, 1, 2, 3, 4]
    assert before.items() <= completed(tmp_path).items()
    assert result_of(next(tmp_path.glob("runs/**/seed3")))["threads"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "local", "ray", "slurm"])
def test_a_killed_sweep_is_started_again(launcher: str, tmp_path: Path) -> None:
    words = ["seed=range(4)", "checkpoint.every_seconds=1e-9", *LAUNCHERS[launcher]]
    first = start(tmp_path, *words, slow=0.1)
    until(lambda: len(completed(tmp_path)) >= 1)
    kill(first)  # what it has started may go on: the new one waits for it
    before = completed(tmp_path)
    assert len(before) < 4
    code, out, err = sweep(tmp_path, *words, slow=0.1)
    assert code == 0, err
    assert len(rows(out)) == len(completed(tmp_path)) == 4
    assert before.items() <= completed(tmp_path).items()
    ended = [f"seed{seed}" for (seed,) in noted(tmp_path, "finished")]
    assert set(ended) == {"seed0", "seed1", "seed2", "seed3"}
    # One that was killed after its training, before its result was written, ends twice; what had completed does not.
    assert all(ended.count(name) == 1 for name in before)


@pytest.mark.slow
def test_what_an_orphan_finishes_is_not_done_again(tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    first = start(tmp_path, "seed=0,1", *LAUNCHERS["local"])
    until(lambda: len(noted(tmp_path, "started")) == 2)
    kill(first)
    second = start(tmp_path, "seed=0,1", *LAUNCHERS["local"])
    until(lambda: (tmp_path / "out").read_text().count("another process is working in") == 2)
    (tmp_path / "hold").unlink()
    assert second.wait(timeout=400) == 0
    assert (tmp_path / "out").read_text().count("waiting for it to end") == 2
    assert len(completed(tmp_path)) == 2
    assert len(noted(tmp_path, "started")) == 2
    assert sorted(noted(tmp_path, "finished")) == [["0"], ["1"]]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_sweep_and_its_jobs(number: signal.Signals, tmp_path: Path) -> None:
    words = ["seed=range(4)", "method.log_every=1", *LAUNCHERS["local"]]
    process = start(tmp_path, *words, slow=0.2)
    until(lambda: len(noted(tmp_path, "started")) == 2)
    time.sleep(0.5)
    process.send_signal(number)
    assert process.wait(timeout=400) == 128 + number
    out = (tmp_path / "out").read_text()
    assert [row[1] for row in rows(out)] == ["interrupted", "interrupted", "not", "not"]
    assert "2 interrupted, 2 not run" in out
    assert {json.loads(text)["status"] for text in results(tmp_path).values()} == {"interrupted"}
    assert spoken((tmp_path / "err").read_text()) == ""


@pytest.mark.slow
def test_failed_runs_are_retried_only_when_asked(cli: Cli) -> None:
    assert cli(*FAST, "-m", *FAILING).code == 1
    (failed,) = (
        path for path in cli.folder.glob("runs/**/result.json") if result_of(path.parent)["status"] == "failed"
    )
    (other,) = (path for path in cli.folder.glob("runs/**/result.json") if path != failed)
    before, done = failed.stat().st_mtime_ns, other.stat().st_mtime_ns
    again = cli(*FAST, "-m", *FAILING)
    assert again.code == 1
    assert failed.stat().st_mtime_ns == before
    assert "retry_failed=true" in again.out
    retried = cli(*FAST, "-m", *FAILING, "retry_failed=true")
    assert retried.code == 1
    assert "training adam on poisson1d" in retried.out
    assert failed.stat().st_mtime_ns > before
    assert other.stat().st_mtime_ns == done


@pytest.mark.slow
def test_a_retried_run_starts_anew(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli(*FAST)
    whole = result_of(cli.run_folder())
    cli(*FAST, "overwrite=true")
    folder = cli.run_folder()
    (folder / "result.json").write_text(json.dumps({**whole, "status": "failed", "reason": "a dark night"}))
    assert "a dark night" in cli(*FAST).out
    ended = cli(*FAST, "retry_failed=true")
    assert ended.code == 0
    assert "resuming" not in ended.out
    assert result_of(folder)["l2re"] == whole["l2re"]
    assert os.listdir(folder.parent) == ["seed0"]
    assert "finished before" in cli(*FAST, "retry_failed=true").out


def test_retrying_is_no_setting_of_the_result() -> None:
    one, other = (RunSettings.read(compose([*FAST, *more])) for more in ([], ["retry_failed=true"]))
    assert one.settings_hash() == other.settings_hash()


def test_bad_input_that_shows_at_run_time_ends_one_job(cli: Cli) -> None:
    ended = cli(*FAST, "-m", "pde=burgers", "pde.nu=1e-9,1.0", "method.steps=2")
    assert ended.code == 2
    table = rows(ended.out)
    assert [row[1] for row in table] == ["failed", "completed"]
    assert "pde.nu=1e-09  (pde.nu=1e-09" in table[0][3]


def test_a_sweep_waits_for_whoever_has_the_folder(cli: Cli) -> None:
    folder = RunFolder(cli.folder / RunSettings.read(compose(FAST)).folder())
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with folder.locked():
            os.write(writer, b"x")
            until(lambda: any('"running"' in path.read_text() for path in cli.folder.glob("runs/.sweeps/*/job0.json")))
            time.sleep(2)
        os._exit(0)
    os.read(reader, 1)
    ended = cli(*FAST, "-m", "seed=0")
    os.waitpid(child, 0)
    assert ended.code == 0
    assert ended.out.count("waiting for it to end") == 1
    assert [row[1] for row in rows(ended.out)] == ["completed"]


def test_the_same_run_twice_in_one_sweep(cli: Cli) -> None:
    ended = cli(*FAST, "-m", "seed=1,1")
    assert ended.code == 0
    assert ended.out.count("training adam") == ended.out.count("finished before") == 1


def test_what_an_experiment_sweeps_is_checked_with_the_words(cli: Cli) -> None:
    (cli.folder / "mine/experiment").mkdir(parents=True)
    text = "# @package _global_\nhydra: {sweeper: {params: {method: adam, seed: '1,%s'}}}\n"
    for name, second in (("good", "2"), ("bad", "-2")):
        (cli.folder / f"mine/experiment/{name}.yaml").write_text(text % second)
    few = [word for word in FAST if not word.startswith(("pde=", "method=", "seed="))]
    words = ["--config-dir", "mine", *few, "pde=kovasznay"]  # has no discrete form: nothing for the default method
    ended = cli("-m", *words, "experiment=good")
    assert ended.code == 0, ended.err
    assert [row[1] for row in rows(ended.out)] == ["completed", "completed"]
    assert len(cli.run_folders()) == 2
    ended = cli("-m", *words, "experiment=bad")
    assert (ended.code, ended.out) == (2, "")
    assert spoken(ended.err).startswith("error: seed=-2: ")
    assert cli("-m", *words, "experiment=bad", "seed=3").code == 0  # a word takes the place of what the file sweeps


def test_ctrl_c_between_jobs_prints_the_table(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = AdamMethod.advance

    def interrupted(self: AdamMethod, end: int) -> None:
        if self.seed == 1:
            os.kill(os.getpid(), signal.SIGINT)
        advance(self, end)

    monkeypatch.setattr(AdamMethod, "advance", interrupted)
    ended = cli(*FAST, "-m", "seed=0,1,2")
    assert ended.code == 130
    assert [row[1] for row in rows(ended.out)] == ["completed", "interrupted", "not"]


def test_what_is_swept() -> None:
    assert differing([["a=1", "b=1", "c=1"], ["a=1", "b=2", "c=1"]]) == ["b=1", "b=2"]
    assert differing([["a=1", "b=2"]]) == ["a=1 b=2"]


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ([("completed", 0)] * 2, 0),
        ([("completed", 0), ("failed", 1)], 1),
        ([("completed", 0), ("failed", 2)], 2),
        ([("failed", 1), ("failed", 2)], 1),
        ([("completed", 0), ("not run", 1)], 1),
        ([("interrupted", 143)], 1),
    ],
)
def test_exit_codes(ends: list[tuple[str, int]], code: int) -> None:
    found: list[dict[str, Any]] = [{"status": status, "code": number} for status, number in ends]
    assert exit_code(found) == code
