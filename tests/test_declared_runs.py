"""Whole runs of problems of the users: refused before anything is written, or trained, watched and reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FAST, Cli, arrays_of, result_of, rows_of, spoken
from made import Cooling, line_of, with_term

import pinntk
from pinntk.common.errors import BadInput
from pinntk.launch.cli import compose
from pinntk.loggers.dashboard import row
from pinntk.report import status
from pinntk.report.write import write_report
from pinntk.runs.published import published_row
from pinntk.runs.run import run

USERS = """
import math
from typing import Literal
import numpy as np
import torch
from made import Cooling, Saddle, TimeFirst, Torus
from pinntk.pdes.base import ExactPDE, Term, value, vanishing
from pinntk.pdes.references import Reference

class Column(Cooling):
    name = "column"
    def terms(self):
        inside, _, walls = super().terms()
        return inside, Term("initial", "initial", ("u",), value, lambda x: (torch.sin(math.pi * x[:, 0:1]),)), walls

class Hollow(Cooling):
    name = "hollow"
    def reference(self):
        return Reference(np.full(231, np.nan), 0.0)

class Worded(Cooling):
    name = "worded"
    start: Literal["sine", "bump"]
    speeds: tuple[float, ...]
    flipped: bool
    shift: float
    turns: int

class Abstract(ExactPDE):
    name = "abstract"
"""


@pytest.fixture
def users(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Trains a problem of a user's file."""
    (cli.folder / "conf/pde").mkdir(parents=True)
    (cli.folder / "users_problems.py").write_text(USERS)
    (cli.folder / "broken_problems.py").write_text("class Broken:\n    name: 1 / 0\n")
    monkeypatch.syspath_prepend(cli.folder)

    def train(name: str, *words: str) -> Any:
        module = "broken_problems" if name == "Broken" else "users_problems"
        spec = {"_target_": f"{module}.{name}", **(WORDS if name == "Worded" else {})}
        text = f"# @package _global_\npde: {json.dumps(spec)}\n"
        (cli.folder / f"conf/pde/{name.lower()}.yaml").write_text(text)
        return cli("--config-dir", "conf", *FAST, f"pde={name.lower()}", *words)

    return train


@pytest.mark.parametrize(
    ("name", "words", "line"),
    [
        ("Column", [], "pde=column: term 'initial': its residual came with shape (32, 32) from data of shape (32, 1)"),
        ("Hollow", [], "pde=hollow: reference() has 231 values of 231 that are NaN or infinite"),
        ("Abstract", [], "pde._target_=users_problems.Abstract: has no solution, terms"),
        ("Broken", [], "pde._target_=broken_problems.Broken: cannot be imported (ZeroDivisionError: division by zero)"),
        ("Torus", ["method=pinn_ntk"], "method=pinn_ntk: pde=torus has no conditions"),
    ],
)
def test_nothing_is_written_where_a_declaration_is_wrong(
    users: Callable[..., Any], cli: Cli, name: str, words: list[str], line: str
) -> None:
    ended = users(name, *words)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith(f"error: {line}")
    assert len(ended.err.splitlines()) == 1
    assert not (cli.folder / "runs").exists()


@pytest.mark.parametrize("sweep", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_wrong_declaration_is_refused_before_lightning_is_imported(
    users: Callable[..., Any], cli: Cli, sweep: bool
) -> None:
    users("Column")
    words = ["--config-dir", "conf", *(["-m", "seed=0,1"] if sweep else []), *FAST, "pde=column"]
    program = "import sys; from pinntk.launch.cli import main; print(main(), 'pytorch_lightning' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=cli.folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["2", "False"]
    assert spoken(found.stderr).startswith("error: pde=column: term 'initial'")


def test_scattered_reference_values(users: Callable[..., Any], cli: Cli) -> None:
    ended = users("Saddle", "points.interior=50")
    assert (ended.code, ended.err) == (0, "")
    folder = cli.run_folder()
    saved = arrays_of(folder / "solution.npz")
    x, y = saved["coordinates"].T
    assert x.shape == (77,)
    error = np.linalg.norm(saved["prediction"] - (x**2 - y**2)) / np.linalg.norm(x**2 - y**2)
    assert result_of(folder)["l2re"] == pytest.approx(error, rel=1e-12)
    assert (folder / "solution.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_names_of_a_runs_own_figures_are_no_terms_names(cli: Cli) -> None:
    watched = "callbacks=[ntk_drift,hessian_norm,ntk_forecast,conditioning]"
    small = [f"callbacks.{name}.interior=5" for name in ("ntk_drift", "hessian_norm", "ntk_forecast")]
    small += ["callbacks.ntk_forecast.steps=3", "callbacks.conditioning.discretization={cells:20}"]
    trials = {
        "gdnd": "method.adam.steps=2 method.lbfgs.steps=2 method.nncg.steps=1",
        "gdnd_theory": "method.descent.steps=1 method.newton.steps=1",
        "gauss_newton": "method.adam.steps=1 method.ssbroyden.steps=1 method.gauss_newton.steps=1"
        " method.gauss_newton.balance=rows",
        "ntk_ng": "method.adam.steps=1 method.natural_gradient.steps=1",
        "pinn_ntk": "method.steps=1",
        "ssbroyden": "method.adam.steps=1 method.ssbroyden.steps=1",
    }
    names: set[str] = set()
    for method, steps in trials.items():
        words = f"pde=poisson1d method={method} budget=smoke threads=1 width=3 points.interior=20 {steps}".split()
        more = [watched, *small] if method == "pinn_ntk" else []
        assert cli(*words, *more).code == 0
    for folder in cli.run_folders():
        names |= rows_of(folder)[0].keys() | result_of(folder).keys()
    names -= {"residual", "boundary"}
    assert {
        "loss",
        "damping",
        "ntk_drift_K",
        "theorem1_left",
        "status",
        "iteration",
        "lambda_residual",
        "balance_residual",
    } <= names
    for name in names:
        assert f"term {name!r}" in line_of(with_term(name=name))


def test_through_python_as_through_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {**compose([*FAST, f"runs_dir={tmp_path}"]), "pde": {"_target_": "made.Cooling"}, "discretization": None}
    monkeypatch.setattr(Cooling, "upper", (1.0,))
    with pytest.raises(BadInput, match=r"^pde=cooling: upper=\(1\.0,\); allowed is a tuple"):
        run(config)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_problem_without_conditions_is_watched_and_reported(users: Callable[..., Any], cli: Cli) -> None:
    watched = ["callbacks=[ntk_drift,hessian_norm,ntk_forecast]", "callbacks.ntk_forecast.steps=20"]
    small = [f"callbacks.{name}.interior=15" for name in ("ntk_drift", "hessian_norm", "ntk_forecast")]
    ended = users("Torus", "width=4", *watched, *small)
    assert (ended.code, ended.err) == (0, "")
    folder = cli.run_folder()
    names = {path.name for path in folder.glob("*.png")}
    assert names == {"solution.png", "ntk_drift.png", "hessian_norm.png", "ntk_forecast.png"}
    written = write_report(cli.folder / "runs", cli.folder / "report")
    assert not [line for line in written if "cannot" in line]
    assert {"fig1a.png", "kernel_torus.png", "fig1b.png"} <= set(os.listdir(cli.folder / "report"))


WORDS = {"start": "sine", "speeds": [1.0, 2.5], "flipped": False, "shift": 0.123456789, "turns": 3}


def test_coefficients_that_are_words_lists_and_switches(
    users: Callable[..., Any], cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = users("Worded", "logger=tensorboard", "pde.start=bump", "pde.flipped=true", "evaluate_every=10")
    assert (ended.code, ended.err) == (0, "")
    result = result_of(cli.run_folder())
    expected = {"start": "bump", "speeds": [1.0, 2.5], "flipped": True, "shift": 0.123456789, "turns": 3}
    assert result["pde_parameters"] == expected
    text = "start=bump, speeds=[1.0, 2.5], flipped=true, shift=0.123457, turns=3"
    assert row(result)["coefficients"] == text
    capsys.readouterr()
    assert status.main([str(cli.folder / "runs"), "--once"]) == 0
    (_, _, line) = capsys.readouterr().out.splitlines()
    assert "worded start=bump speeds=[1.0, 2.5] flipped=true shift=0.1235 turns=3  adam" in line
    assert not [line for line in write_report(cli.folder / "runs", cli.folder / "report") if "cannot" in line]
    assert "speeds = [1.0, 2.5]" in (cli.folder / "report" / "table2.md").read_text()
    assert pinntk.load(cli.run_folder()).pde.parameters() == expected


def test_a_problem_of_a_published_name_with_words() -> None:
    assert published_row("wave", {"a": "four", "C": 4.0}) is None
    assert published_row("wave", {"a": 4, "C": 4.0}) is not None
