"""Stopping a run anywhere changes nothing of its result."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FAST, Cli, assert_same_network, assert_same_run, in_child, result_of, slow_unless
from matplotlib.figure import Figure

from pinntk.methods import Method
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.pdes.references import Reference
from pinntk.runs.trained import load

TOTAL = 40
CUT = ["points.resample_every=7", "checkpoint.every_seconds=1e-9", "evaluate_every=10"]
ALIKE = [word for word in CUT if not word.startswith("points.")]
GRID = ["pde=heat2d", "method=pcpinn", "discretization.cells=8", "discretization.time_steps=16"]
BATCH = ["method.batch=64"]
TINY = ["network.depth=1", "points.interior=30"]  # its Newton steps are exact
PHASED = [word for word in FAST if not word.startswith("method.steps")]
METHODS = {
    "adam": [*FAST, *CUT],
    "adam_lbfgs": [*PHASED, *CUT, "pde=wave", "method=adam_lbfgs", "method.adam.steps=15", "method.lbfgs.steps=25"],
    "gdnd": [*PHASED, *CUT, "method=gdnd", "method.adam.steps=15", "method.lbfgs.steps=13", "method.nncg.steps=12"],
    "gdnd_theory": [*PHASED, *ALIKE, *TINY, "method=gdnd_theory", "method.descent.steps=25", "method.newton.steps=15"],
    "pinn_ntk": [*FAST, *CUT, "pde=burgers", "method=pinn_ntk", "method.update_every=3"],
    "pcpinn-direct": [*FAST, *ALIKE, *GRID, "method.form=direct", "method.refresh_every=15"],
    "pcpinn-applied": [*FAST, *ALIKE, *GRID, *BATCH, "method.form=applied", "method.refresh_every=15"],
    "pcpinn-solved": [*FAST, *ALIKE, *GRID, *BATCH, "method.form=solved"],
}
"""For every method a fast run of 40 iterations in blocks of 10, saved after each block, in all its phases."""
QUICK = ("adam", "gdnd", "pcpinn-applied")
"""One without phases, one with, one with targets; the others, cut inside one process, are in tests of their own."""


@pytest.fixture(scope="module")
def little_to_evaluate() -> Iterator[None]:
    """heat2d on a few points, against any numbers, drawn empty: these tests compare runs, and all that is dear."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Heat2D, "evaluation_shape", (5, 5, 5))
        patch.setattr(Heat2D, "reference", lambda self: Reference(np.ones(125), 0.0))
        patch.setattr("pinntk.callbacks.solution.plot", lambda *arguments: Figure(figsize=(1, 1)))
        yield


@pytest.fixture(scope="module")
def uninterrupted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, little_to_evaluate: None
) -> tuple[list[str], Path]:
    """A method's command line and the folder of its run."""
    folder, words = tmp_path_factory.mktemp(request.param), METHODS[request.param]
    ended = in_child(folder, words)
    assert ended.code == 0, ended.err
    (made,) = (path.parent for path in folder.glob("runs/**/result.json"))
    assert result_of(made)["steps"] == TOTAL
    return words, made


def at_iteration(n: int, act: Callable[[], object]) -> Callable[[], object]:
    """Patches Method so that something happens as soon as ``iteration`` is n."""

    def arrange() -> None:
        def count(self: Method, value: int) -> None:
            self.__dict__["_count"] = value
            if value == n:
                act()

        pytest.MonkeyPatch().setattr(Method, "iteration", property(lambda self: self.__dict__["_count"], count), False)

    return arrange


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def when_replacing(name: str, nth: int, *, after: bool) -> Callable[[], object]:
    """Patches os.replace: the process dies before or after the nth time that a file of this name is put in place."""

    def arrange() -> None:
        replace, count = os.replace, itertools.count(1)

        def patched(source: Any, target: Any) -> None:
            last = Path(target).name == name and next(count) == nth
            if last and not after:
                die()
            replace(source, target)
            if last:
                die()

        pytest.MonkeyPatch().setattr(os, "replace", patched)

    return arrange


CUTS = {
    "before the first checkpoint": at_iteration(3, die),
    "inside a block": at_iteration(17, die),
    "at the end of a block": at_iteration(20, die),
    "in the last block": at_iteration(39, die),
    "at the very end": at_iteration(40, die),
    "before the first checkpoint is in place": when_replacing("last.ckpt", 1, after=False),
    "between log and checkpoint": when_replacing("last.ckpt", 3, after=False),
    "after a checkpoint": when_replacing("last.ckpt", 2, after=True),
    "after the last checkpoint": when_replacing("last.ckpt", 4, after=True),
    "before the picture": when_replacing("solution.png", 1, after=False),
    "before the result": when_replacing("result.json", 1, after=False),
}


STATE = {"before the first checkpoint", "inside a block", "at the end of a block", "after the last checkpoint"}
"""Cuts at which methods differ by what they have to save; the others are about files, which are alike for all."""
OFTEN = {"inside a block", "between log and checkpoint", "before the result"}
CASES = [
    slow_unless(method in QUICK and cut in OFTEN, method, cut)
    for method, cut in itertools.product(METHODS, CUTS)
    if method == "adam" or cut in STATE
]


@pytest.mark.parametrize(("uninterrupted", "cut"), CASES, indirect=["uninterrupted"])
def test_killed_and_started_again(uninterrupted: tuple[list[str], Path], cut: str, tmp_path: Path) -> None:
    words, whole = uninterrupted
    assert in_child(tmp_path, words, CUTS[cut]).code == -signal.SIGKILL
    ended = bool(list(tmp_path.glob("runs/**/result.json")))
    assert ended == (cut == "before the picture")  # which may fail, and takes nothing of the result away
    again = in_child(tmp_path, words)
    assert again.code == 0, again.err
    assert ("finished before" in again.out) == ended
    assert ("resuming at iteration" in again.out) == ("before the first" not in cut and not ended)
    assert next(tmp_path.glob("runs/**/solution.png")).is_file()
    assert_same_run(whole, tmp_path / whole.relative_to(whole.parents[6]))


@pytest.mark.parametrize("uninterrupted", [slow_unless(name == "gdnd", name) for name in METHODS], indirect=True)
def test_killed_again_and_again(uninterrupted: tuple[list[str], Path], tmp_path: Path) -> None:
    words, whole = uninterrupted
    for n in (12, 13, 25, 38):
        assert in_child(tmp_path, words, at_iteration(n, die)).code == -signal.SIGKILL
    assert in_child(tmp_path, words).code == 0
    assert_same_run(whole, tmp_path / whole.relative_to(whole.parents[6]))


STOPS = [
    slow_unless(stop in (("adam", signal.SIGINT, 20), ("gdnd", signal.SIGTERM, 16)), *stop)
    for method in METHODS
    for stop in ((method, signal.SIGINT, 1), (method, signal.SIGINT, 20), (method, signal.SIGTERM, 16))
]


@pytest.mark.parametrize(("uninterrupted", "number", "n"), STOPS, indirect=["uninterrupted"])
def test_stopped_by_a_signal(
    uninterrupted: tuple[list[str], Path], number: signal.Signals, n: int, tmp_path: Path
) -> None:
    words, whole = uninterrupted
    words = [word for word in words if "every_seconds" not in word]  # saved because of the signal, not by the clock
    ended = in_child(tmp_path, words, at_iteration(n, lambda: os.kill(os.getpid(), number)))
    assert ended.code == 128 + number
    assert "Traceback" not in ended.err
    folder = tmp_path / whole.relative_to(whole.parents[6])
    result = result_of(folder)
    assert (result["status"], result["steps"]) == ("interrupted", n)
    assert f"interrupted at iteration {n}" in ended.out
    again = in_child(tmp_path, words)
    assert again.code == 0, again.err
    assert f"resuming at iteration {n} of {TOTAL}" in again.out
    assert_same_network(load(whole).method, load(folder).method)
    assert result_of(folder)["l2re"] == result_of(whole)["l2re"]


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    assert in_child(tmp_path, FAST, at_iteration(5, twice)).code == -signal.SIGINT
    assert in_child(tmp_path, FAST).code == 0


def test_a_signal_ends_a_whole_sweep(tmp_path: Path) -> None:
    act = at_iteration(5, lambda: os.kill(os.getpid(), signal.SIGINT))
    ended = in_child(tmp_path, [*FAST, "-m", "seed=0,1"], act)
    assert ended.code == 130
    assert [result_of(path.parent)["status"] for path in tmp_path.glob("runs/**/result.json")] == ["interrupted"]


def test_stopped_before_training_begins(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Poisson1D) -> Reference:
        raise KeyboardInterrupt

    monkeypatch.setattr(Poisson1D, "reference", interrupted)
    ended = cli(*FAST)
    assert (ended.code, ended.err) == (130, "interrupted\n")
    assert cli.run_folders() == []


def test_handlers_are_put_back(cli: Cli) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    cli(*FAST, "method.steps=1")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_run_in_the_background_of_a_script_ignores_the_ctrl_c_of_the_foreground(tmp_path: Path) -> None:
    def interrupted(number: signal.Signals) -> Callable[[], object]:
        def arrange() -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # as sh does for `make run &`
            at_iteration(10, lambda: os.kill(os.getpid(), number))()

        return arrange

    stopped = in_child(tmp_path, FAST, interrupted(signal.SIGTERM))
    assert (stopped.code, "interrupted at iteration 10" in stopped.out) == (143, True)
    ended = in_child(tmp_path, [*FAST, "overwrite=true"], interrupted(signal.SIGINT))
    assert (ended.code, ended.err) == (0, "")


def test_a_finished_run_survives_an_overwriting_one_that_is_killed(tmp_path: Path) -> None:
    assert in_child(tmp_path, FAST).code == 0
    (folder,) = (path.parent for path in tmp_path.glob("runs/**/result.json"))
    old = (folder / "result.json").read_bytes()
    assert in_child(tmp_path, [*FAST, *CUT[1:], "overwrite=true"], at_iteration(25, die)).code == -signal.SIGKILL
    assert (folder.with_name("seed0.previous") / "result.json").read_bytes() == old
    ended = in_child(tmp_path, FAST)
    assert ended.code == 0
    assert "resuming at iteration 20" in ended.out
    assert os.listdir(folder.parent) == ["seed0"]
