"""What takes long says so."""

from __future__ import annotations

import pkgutil
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import FAST, Cli

from pinntk.common import doing as module
from pinntk.common.doing import doing, say


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenths of the seconds, and lines again, which the other tests do without."""
    monkeypatch.setattr(module, "say", say)
    monkeypatch.setattr(module, "FIRST", 0.2)
    monkeypatch.setattr(module, "EVERY", 0.5)


pytestmark = pytest.mark.usefixtures("quick")


def test_nothing_is_said_of_what_takes_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(20):
        with doing("adds", lambda: "never asked"):
            pass
    assert capsys.readouterr() == ("", "")


def test_it_says_what_and_how_far_and_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    step, begin = 0, time.perf_counter()
    with doing("counts", lambda: f"{step} of 8"):
        while step < 8:
            time.sleep(0.2)
            step += 1
    took = time.perf_counter() - begin
    out, err = capsys.readouterr()
    assert out == ""
    *along, last = err.splitlines()
    found = [re.fullmatch(r"counts: (\d) of 8 \((\d) s so far\)", line) for line in along]
    steps = [int(one[1]) for one in found if one]
    assert len(steps) == len(along)
    # At 0.2 s and every 0.5 s from then on: 1.6 s have room for three, of a busy machine for more.
    assert 2 <= len(steps) <= 1 + took / 0.5
    assert steps == sorted(set(steps))
    ended = re.fullmatch(r"counts: done, ([\d.]+) s", last)
    assert ended is not None
    assert float(ended[1]) == pytest.approx(took, abs=0.2)


def test_of_one_inside_another_the_inner_one_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with doing("outer"):
        with doing("inner"):
            time.sleep(0.9)
        inside = capsys.readouterr().err
        time.sleep(0.9)
    assert {line.split(":")[0].split(" (")[0] for line in inside.splitlines()} == {"inner"}
    after = capsys.readouterr().err.splitlines()
    assert after[0].startswith("outer (")
    assert after[-1].startswith("outer: done")


def test_what_fails_is_not_done(capsys: pytest.CaptureFixture[str]) -> None:
    def divide() -> None:
        with doing("divides"):
            time.sleep(0.5)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        divide()
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"divides: broken off after [\d.]+ s", lines[-1])
    with doing("goes on"):  # the one that failed is out of the way
        time.sleep(0.5)
    assert capsys.readouterr().err.startswith("goes on (")


def test_its_own_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    with doing("waits", first=60.0):
        time.sleep(0.5)
    assert capsys.readouterr().err == ""


PCPINN = ["method=pcpinn", "method.form=applied", "budget=smoke", "pde=convection", "width=6", "threads=1"]
PCPINN += ["method.steps=3", "discretization.cells=8", "discretization.time_steps=8"]
PLACES = {
    "pinntk.pdes.poisson1d.Poisson1D.reference": (FAST, "computes or reads the reference of poisson1d"),
    "pinntk.methods.plan.Plan.advance": (FAST, "adam: iterations 1 to 10 of 40: 0 done"),
    "pinntk.methods.plan.Plan.start": (FAST, "gets the training ready"),
    "pinntk.network.network.Network.predict": (FAST, "measures the error"),
    "pinntk.runs.run.describe": (FAST, "evaluates the trained network"),
    "pinntk.callbacks.solution.plot": (FAST, "evaluates and draws the solution"),
    "pinntk.discrete.discretization.DiscreteProblem.linearize": (PCPINN, "applies P^-1 to the residual on the grid"),
    "pinntk.loggers.metrics_csv.MetricsCSV.log_hyperparams": (FAST, "starts logger.csv"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_part_of_a_run_that_takes_long_says_so(name: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    words, said = PLACES[name]
    waiting = True

    def slow(body: Callable[..., Any]) -> Callable[..., Any]:
        def slowed(*args: Any, **more: Any) -> Any:
            nonlocal waiting
            if waiting:
                waiting = False
                time.sleep(0.8)
            return body(*args, **more)

        return slowed

    monkeypatch.setattr(name, slow(pkgutil.resolve_name(name)))
    ended = cli(*words)
    assert ended.code == 0, ended.err
    assert said in ended.err


def test_reading_a_checkpoint(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli(*FAST).code == 0
    load = torch.load

    def slow(*args: Any, **more: Any) -> Any:
        time.sleep(0.8)
        return load(*args, **more)

    (cli.run_folder() / "solution.png").unlink()
    monkeypatch.setattr(torch, "load", slow)
    ended = cli(*FAST)
    assert ended.code == 0
    assert re.search(r"^reads .*\.ckpt \(\d s so far\)$", ended.err, re.MULTILINE)
