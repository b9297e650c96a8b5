"""Trainings on two processes: what they find, how they stop and go on, and what becomes of one that is left alone."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli, arrays_of, assert_same_network, result_of
from matplotlib.figure import Figure
from systems import swinging
from training import trained_in

import pinntk
from pinntk import load
from pinntk.common.errors import BadInput
from pinntk.common.processes import ProcessLost
from pinntk.launch.cli import compose
from pinntk.methods.plan import Plan
from pinntk.runs import team
from pinntk.runs.run import attempt, run
from pinntk.runs.settings import RunSettings

pytestmark = pytest.mark.timeout(900)  # every second process imports all there is, beside whatever else is at work
TWO = "trainer.devices=2"
SMALL = (
    "budget=smoke threads=1 width=6 network.depth=2 tuned=null points.interior=300 points.initial=20 points.boundary=20"
    " trainer.accelerator=cpu checkpoint.every_seconds=1e9 evaluate_every=20"
).split()
DRAWN = "points.resample_every=7"
METHODS = {
    "adam": ["method.steps=25", DRAWN],
    "adam_lbfgs": ["method.adam.steps=12", "method.lbfgs.steps=15", "method.lbfgs.resample_every=8", DRAWN],
    "pinn_ntk": ["method.steps=25", "method.update_every=3", DRAWN],
    "gauss_newton": [
        *["method.adam.steps=8", "method.ssbroyden.steps=10", "method.ssbroyden.resample_every=5"],
        *["method.ssbroyden.restart=gauss_newton", "method.gauss_newton.steps=8", "method.gauss_newton.balance=rows"],
        "method.gauss_newton.resample_every=3",
    ],
}


@pytest.fixture(autouse=True)
def nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinntk.callbacks.solution.plot", lambda *arguments: Figure(figsize=(1, 1)))


@pytest.fixture(autouse=True)
def none_is_left() -> Iterator[None]:
    yield
    assert not torch.distributed.is_initialized()


def config_of(problem: str, method: str, *words: str) -> dict[str, Any]:
    words = f"method={method}", *METHODS[method], "method.log_every=5", *words
    if problem == "swinging":
        return swinging(*words, "evaluate_every=20", "trainer.accelerator=cpu")
    return compose([*SMALL, f"pde={problem}", *words])


def assert_alike(one: Path, other: Path, tolerance: float = 1e-10) -> None:
    """The same run to rounding."""
    first, second = (load(folder).method.network.vector() for folder in (one, other))
    assert float((first - second).abs().max()) <= tolerance * float(first.abs().max())
    results = result_of(one), result_of(other)
    for key in ("steps", "function_evaluations", "status", "parameters"):
        assert results[0][key] == results[1][key], key
    for key in ("loss", "l2re", "fresh_loss"):
        assert results[0][key] == pytest.approx(results[1][key], rel=1e-7), key
    phases = [[(p["phase"], p["iterations"]) for p in r["method_figures"]["phases"]] for r in results]
    assert phases[0] == phases[1]


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["convection", "swinging"])
@pytest.mark.parametrize("method", METHODS)
def test_two_find_what_one_finds(method: str, problem: str, tmp_path: Path) -> None:
    code, one = trained_in(config_of(problem, method), tmp_path / "one")
    assert code == 0
    code, two = trained_in(config_of(problem, method, TWO), tmp_path / "two")
    assert code == 0
    assert_alike(one, two)
    assert "devices" not in result_of(one)
    assert result_of(two)["devices"] == 2
    if problem == "swinging":  # measured with all points, once the others are gone
        errors = [result_of(folder)["estimates"]["nu"]["standard_error"] for folder in (one, two)]
        assert errors[0] == pytest.approx(errors[1], rel=1e-2)  # of a matrix that is nearly singular
    start = RunSettings.read(config_of(problem, method)).build().network.vector()
    assert float((load(two).method.network.vector() - start).abs().max()) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("method", "cut"), [("adam", 11), ("gauss_newton", 21)])
def test_stopped_and_resumed(method: str, cut: int, tmp_path: Path) -> None:
    """With two processes bit for bit; by one from the checkpoint of two to rounding."""
    words = [TWO, "points.by_residual=0.3"]
    config = config_of("convection", method, *words)
    code, whole = trained_in(config, tmp_path / "whole")
    assert code == 0
    code, stopped = trained_in(config, tmp_path / "stopped", cut)
    assert (code, result_of(stopped)["steps"]) == (130, cut)
    alone = config_of("convection", method, *words, "trainer.devices=1")
    place = RunSettings.read({**alone, "runs_dir": str(tmp_path / "alone")}).folder()
    shutil.copytree(stopped, place)
    assert trained_in(config, tmp_path / "stopped") == (0, stopped)
    assert_same_network(load(whole).method, load(stopped).method)
    predictions = [arrays_of(folder / "solution.npz")["prediction"] for folder in (whole, stopped)]
    np.testing.assert_array_equal(*predictions)
    assert trained_in(alone, tmp_path / "alone") == (0, place)
    assert_alike(whole, place)


@pytest.mark.slow
def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    """Fails as with one process, and is described."""
    results = []
    for words in ([], [TWO]):
        config = config_of("convection", "adam", "method.adam.learning_rate=1e200", *words)
        code, folder = trained_in(config, tmp_path / str(len(words)))
        assert code == 1
        results.append(result_of(folder))
    assert results[0]["status"] == "failed"
    assert "is not finite at iteration" in results[0]["reason"]
    for key in ("status", "reason", "steps"):
        assert results[0][key] == results[1][key]


@pytest.mark.slow
def test_compiled_parts(tmp_path: Path) -> None:
    """Each process has kernels of its own."""
    words = ["compile=true", "precision=32-true"]
    code, one = trained_in(config_of("convection", "pinn_ntk", *words), tmp_path / "one")
    assert code == 0
    code, two = trained_in(config_of("convection", "pinn_ntk", *words, TWO), tmp_path / "two")
    assert code == 0
    assert result_of(two)["step"] == result_of(one)["step"] != "plain"
    first, second = (load(folder).method.network.vector() for folder in (one, two))
    assert float((first - second).abs().max()) <= 1e-3 * float(first.abs().max())


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that are started from now on."""
    found: list[subprocess.Popen[bytes]] = []
    start = team._started

    def started(messages: Path) -> subprocess.Popen[bytes]:
        found.append(start(messages))
        return found[-1]

    monkeypatch.setattr(team, "_started", started)
    return found


@pytest.mark.slow
def test_a_follower_that_dies_ends_the_run_with_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    followers, advance = recorded(monkeypatch), Plan.advance

    def dying(method: Plan, end: int) -> None:
        if method.iteration >= 10:
            followers[0].kill()
        advance(method, end)

    config = {**config_of("convection", "adam", TWO, "checkpoint.every_seconds=1e-9"), "runs_dir": str(tmp_path)}
    with monkeypatch.context() as patch:
        patch.setattr(Plan, "advance", dying)
        began = time.monotonic()
        with pytest.raises(ProcessLost, match=r"^process 2 of 2 has ended by SIGKILL; the same"):
            attempt(config)
        assert time.monotonic() - began < 300
    (folder,) = (path.parent for path in tmp_path.glob("*/*/*/*/*/*/config.yaml"))
    assert not (folder / "result.json").exists()
    assert run(config) == 0  # from its checkpoint
    assert result_of(folder)["steps"] == 25
    assert [follower.poll() for follower in followers] == [-signal.SIGKILL, 0]


@pytest.mark.slow
def test_a_follower_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    followers, advance = recorded(monkeypatch), Plan.advance

    def hanging(method: Plan, end: int) -> None:
        if method.iteration >= 10:
            followers[0].send_signal(signal.SIGSTOP)
        advance(method, end)

    monkeypatch.setattr(Plan, "advance", hanging)
    monkeypatch.setattr("pinntk.common.processes.SECONDS", 20)
    monkeypatch.setattr(team, "PATIENCE", 1)
    config = {**config_of("convection", "adam", TWO), "runs_dir": str(tmp_path)}
    with pytest.raises(ProcessLost, match="the other processes do not answer"):
        attempt(config)
    assert followers[0].poll() == -signal.SIGKILL


def test_what_a_follower_said_last_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the command line and in Python."""
    monkeypatch.setattr(team, "PROGRAM", "pinntk.runs.nobody")
    words = [*SMALL, "pde=convection", "method=adam", TWO]
    line = "process 2 of 2 has ended with exit code 1: "
    ended = cli(*words)
    assert ended.code == 1
    assert ended.out.splitlines()[-1].startswith(f"failed: {line}")
    assert (
        "No module named pinntk.runs.nobody; the same command goes on from its last checkpoint"
        in ended.out.splitlines()[-1]
    )
    assert not (cli.run_folder() / "result.json").exists()
    with pytest.raises(pinntk.TrainingFailed, match=line):
        pinntk.train(*words)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_leader_that_is_killed_takes_the_others_with_it(tmp_path: Path) -> None:
    words = [*SMALL, "pde=convection", "method=adam", "method.steps=1000000", "method.log_every=10", TWO]
    with subprocess.Popen([sys.executable, "-m", "pinntk", *words], cwd=tmp_path) as leader:
        try:
            _until(lambda: any(tmp_path.glob("runs/*/*/*/*/*/*/progress.json")), 600)
            (follower,) = _children(leader.pid)
        finally:
            leader.kill()
    _until(lambda: not _alive(follower), 30)


def _children(pid: int) -> list[int]:
    """Numbers of the processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def _until(condition: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def _alive(pid: int) -> bool:
    """Whether it is there and no zombie, which it stays where nobody asks for its end."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("method=gdnd", "the phase method.nncg trains in one process; allowed is 1, method.nncg.steps=0, or adam,"),
        ("method=gdnd_theory", "the phase method.newton trains in one process; allowed is 1"),
        ("method=pcpinn", "method=pcpinn trains in one process; allowed is 1, or adam, adam_lbfgs,"),
        ("method=pcpinn_gdnd", "method=pcpinn_gdnd trains in one process; allowed is 1"),
        ("method=evolve", "method=evolve trains in one process; allowed is 1"),
        ("method=adam method.slabs=2", "method.slabs=2 trains in one process; allowed is 1, or method.slabs=1"),
        ("method=adam method.weighting=residual", "method.weighting=residual trains in one process; allowed is 1"),
    ],
)
def test_what_one_process_alone_can_is_a_line(words: str, line: str, cli: Cli) -> None:
    ended = cli("pde=reaction" if "evolve" in words else "pde=heat2d", *words.split(), "budget=smoke", TWO)
    assert ended.code == 2
    assert ended.err.startswith(f"error: trainer.devices=2: {line}")
    assert len(ended.err.splitlines()) == 1
    assert not (cli.folder / "runs").exists()


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("trainer.devices=0", "trainer.devices=0: must be at least 1"),
        ("trainer.devices=1000", "trainer.devices=1000: must be at most 64"),
        ("trainer.devices=auto", "trainer.devices=auto: must be a whole number"),
    ],
)
def test_a_wrong_number_is_a_line(word: str, line: str, cli: Cli) -> None:
    ended = cli("pde=heat2d", "method=adam", "budget=smoke", word)
    assert (ended.code, ended.err) == (2, f"error: {line}\n")


def test_more_gpus_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    config = compose(["pde=heat2d", "method=adam", "trainer.accelerator=gpu", TWO])
    with pytest.raises(BadInput, match=r"^trainer.devices=2: GPUs here: 1; allowed here: up to 1, or trainer.acc"):
        RunSettings.read(config)
    assert RunSettings.read(compose(["pde=heat2d", "method=adam", "trainer.accelerator=gpu"])).accelerator == "gpu"


def test_a_class_that_others_do_not_know_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose(["pde=heat2d", "method=adam", TWO])
    monkeypatch.setattr("pinntk.pdes.heat2d.Heat2D.__module__", "__main__")
    with pytest.raises(BadInput, match=r"^trainer.devices=2: other processes do not know Heat2D of"):
        RunSettings.read(config)


def test_a_run_of_one_process_is_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hash, from before the key was there; several processes are another setting, and deal out the cores."""
    words = ["pde=burgers", "method=adam", "tuned=null", "trainer.accelerator=cpu", "compile=auto"]
    one, two = (RunSettings.read(compose([*words, word])) for word in ("trainer.devices=1", TWO))
    assert one.settings_hash(threads=1) == "9aa0e97e4f74"
    assert two.settings_hash(threads=1) != one.settings_hash(threads=1)
    older = {**compose(words), "trainer": {"accelerator": "cpu"}}
    assert RunSettings.read(older).settings_hash(threads=1) == one.settings_hash(threads=1)
    monkeypatch.setattr("pinntk.runs.settings.available_cores", lambda: 9)
    assert (one.cores, two.cores) == (9, 4)
    assert RunSettings.read(compose([*words, TWO, "threads=3"])).cores == 3
