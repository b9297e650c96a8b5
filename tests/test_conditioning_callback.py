"""Condition numbers and Theorem 1 beside a run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FAST, Cli, result_of
from made import reference_values
from matplotlib.figure import Figure
from test_pcpinn import Formless
from training import POINTS, fit, make, stop_at

from pinntk.callbacks import Conditioning, TimedCheckpoint
from pinntk.callbacks.conditioning import plot
from pinntk.common.errors import BadInput
from pinntk.discrete.conditioning import ConditionNumbers
from pinntk.discrete.theorem1 import Theorem1
from pinntk.loggers.metrics_csv import MetricsCSV
from pinntk.methods import Method
from pinntk.methods.pcpinn import PCPINN
from pinntk.network import NetworkSettings
from pinntk.pdes.base import PDE
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.convection import Convection
from pinntk.pdes.poisson1d import Poisson1D, Poisson1DDiscretization

TINY = {"cells": 16}
DROPS = (1e-1, 1e-3)


def callback(folder: Path, **more: Any) -> Conditioning:
    return Conditioning(str(folder), **{"drop_tolerances": DROPS, "discretization": TINY, "every": 20, **more})


def pcpinn(**settings: Any) -> PCPINN:
    return PCPINN(
        Poisson1D(a=2),
        NetworkSettings(width=8, depth=2),
        POINTS,
        PCPINN.Settings.model_validate({"steps": 60, "log_every": 25, "batch": 8, **settings}),
        discretization=Poisson1DDiscretization(cells=20),
    )


METHODS: dict[str, Callable[..., Method]] = {"adam": make, "pcpinn": pcpinn}
methods = pytest.mark.parametrize("name", METHODS)


def written(folder: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    content = json.loads((folder / "conditioning.json").read_text(), parse_constant=refuse)
    assert isinstance(content, dict)
    return content


def numbers(value: Any) -> Iterator[float]:
    """Every number in a record."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, (int, float)):
        yield value


def timeless(record: Any) -> Any:
    """Without what differs from one run to the next."""
    if isinstance(record, dict):
        return {key: timeless(value) for key, value in record.items() if not key.endswith("seconds")}
    return [timeless(one) for one in record] if isinstance(record, list) else record


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are drawn empty, unless it is about them: they take longer than all the rest."""
    for module in ("conditioning", "solution"):
        monkeypatch.setattr(f"pinntk.callbacks.{module}.plot", lambda *arguments: Figure(figsize=(1, 1)))


@methods
def test_what_a_run_writes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinntk.callbacks.conditioning.plot", plot)
    method = METHODS[name]()
    log = MetricsCSV(tmp_path)
    fit(method, [callback(tmp_path)], logger=log)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["conditioning.json", "conditioning.png", "metrics.csv"]
    assert (tmp_path / "conditioning.png").read_bytes().startswith(b"\x89PNG")
    record = written(tmp_path)
    assert all(math.isfinite(number) for number in numbers(record))
    assert (record["pde"], record["pde_parameters"], record["grid"]) == ("poisson1d", {"a": 2}, [1, 17])
    assert record["discretization"]["cells"] == 16

    problem = Poisson1D(a=2).discretize(Poisson1DDiscretization(cells=16))
    expected = ConditionNumbers(problem, problem.solve())
    plain = expected.plain()
    assert record["plain"]["condition"] == plain.condition == pytest.approx(4, rel=1e-2)
    assert (record["plain"]["kappa"], record["plain"]["unknowns"]) == (plain.kappa, 15)
    # One level is the whole matrix: only one kind of factors.
    assert [(r["factor"], r["drop_tolerance"]) for r in record["preconditioned"]] == [("levels", d) for d in DROPS]
    for row in record["preconditioned"]:
        again = expected.preconditioned("levels", row["drop_tolerance"])
        assert (row["condition"], row["kappa"], row["reason"]) == (again.condition, again.kappa, None)

    # The discrete solution by dense matrices; its error and the network's distance from it by their definitions.
    points, reference = method.pde.evaluation_points(), reference_values(method.pde)
    matrix = np.zeros((17, 17))
    for j in range(17):
        matrix[:, j] = problem.residual(torch.eye(17)[j : j + 1].double()).numpy()[0]
    matrix -= (offset := problem.residual(torch.zeros(1, 17).double()).numpy()[0])[:, None]
    solution = np.linalg.solve(matrix, -offset)
    error = problem.interpolate(solution[None], points) - reference
    found = record["discrete"]
    assert found["l2re"] == pytest.approx(np.linalg.norm(error) / np.linalg.norm(reference), rel=1e-6)
    distance = method.network.predict(problem.nodes) - solution
    assert found["network"] == pytest.approx(np.linalg.norm(distance) / np.linalg.norm(solution), rel=1e-9)
    assert found["residual"] < 1e-9
    assert found["seconds"] > 0

    series = record["theorem1"]
    assert series["iteration"] == [0, 25, 50, 60]
    assert all(side > 0 for name in ("left", "right") for side in series[name])
    theorem = Theorem1(method.pde, method.pde.evaluation_points(), reference_values(method.pde), plain.condition)
    last = theorem.sides(method.residuals, method.batches())
    assert (series["left"][-1], series["right"][-1]) == (last.left, last.right)
    for side in ("left", "right"):
        logged = {i: row[f"theorem1_{side}"] for i, row in log.rows.items() if f"theorem1_{side}" in row}
        assert logged == dict(zip(series["iteration"], series[side], strict=True))


def recorded(folder: Path, monkeypatch: pytest.MonkeyPatch, *stops: int, log_every: int, every: int) -> dict[str, Any]:
    """The record of a run that is stopped and resumed."""
    folder.mkdir()
    path, resume = folder / "last.ckpt", None
    for stop in (*stops, None):
        method = make(log_every=log_every)
        if stop is not None:
            stop_at(method, stop, monkeypatch)
        fit(method, [callback(folder, every=every), TimedCheckpoint(path, 1e9)], resume=resume)
        resume = path
    return written(folder)


@pytest.mark.parametrize(
    ("log_every", "every", "expected"),
    [
        (25, 25, [0, 25, 50, 60]),
        (25, 30, [0, 50, 60]),  # 30 lies inside a block: at the end of it
        (10, 25, [0, 30, 50, 60]),
        (10, 30, [0, 30, 60]),
        (25, 1000, [0, 60]),
        (1000, 10, [0, 60]),
    ],
)
def test_moments_at_which_theorem_1_is_measured(
    log_every: int, every: int, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = recorded(tmp_path / "run", monkeypatch, log_every=log_every, every=every)
    assert found["theorem1"]["iteration"] == expected


@pytest.mark.parametrize(("log_every", "every"), [(25, 30), (10, 25)])
@pytest.mark.parametrize("cut", [12, 25, 50, 53])
def test_cut_and_resumed_it_is_the_same_record(
    log_every: int, every: int, cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = recorded(tmp_path / "whole", monkeypatch, log_every=log_every, every=every)
    resumed = recorded(tmp_path / "cut", monkeypatch, cut, log_every=log_every, every=every)
    assert timeless(resumed) == timeless(whole)


def test_the_numbers_of_a_resumed_run_are_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make()
    stop_at(first, 25, monkeypatch)
    path = tmp_path / "last.ckpt"
    fit(first, [callback(tmp_path), TimedCheckpoint(path, 1e9)])
    before = written(tmp_path)

    def fail(*arguments: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(ConditionNumbers, "__init__", fail)
    fit(make(), [callback(tmp_path)], resume=path)
    after = written(tmp_path)
    assert before["discrete"].keys() == {"l2re", "residual", "seconds"}  # the network is measured when it is trained
    assert after["discrete"].pop("network") > 0
    assert {k: v for k, v in after.items() if k != "theorem1"} == {k: v for k, v in before.items() if k != "theorem1"}


def test_a_run_of_no_steps(tmp_path: Path) -> None:
    fit(make(steps=0), [callback(tmp_path)])
    assert written(tmp_path)["theorem1"]["iteration"] == [0]
    assert (tmp_path / "conditioning.png").exists()


@pytest.mark.parametrize("overrides", [{}, {"cells": 12}, {"cells": 14, "space": "spectral"}])
def test_overrides_replace_the_runs_discretization(overrides: dict[str, Any], tmp_path: Path) -> None:
    method = pcpinn(steps=0)
    fit(method, [callback(tmp_path, discretization=overrides)])
    record = written(tmp_path)
    found = record["discretization"]
    assert {name: found[name] for name in ("cells", "space")} == {"cells": 20, "space": "order4"} | overrides
    assert record["grid"] == [1, found["cells"] + 1]
    assert method.objective.problem.shape == (1, 21)  # the run keeps its own


def with_discretization(pde: PDE, **settings: Any) -> Method:
    method = make(pde, steps=0)
    method.discretization = None if pde.Discretization is None else pde.Discretization.model_validate(settings)
    return method


def test_a_problem_in_time(tmp_path: Path) -> None:
    """Both kinds of factors, one of them of no use; Theorem 1 says nothing where f = 0."""
    settings = {"cells": 16, "time_steps": 40, "order": 2, "space": "order4"}
    fit(with_discretization(Convection(), **settings), [callback(tmp_path, discretization=None)])
    record = written(tmp_path)
    tried = {(r["factor"], r["drop_tolerance"]): r for r in record["preconditioned"]}
    assert list(tried) == [(factor, drop) for factor in ("levels", "whole") for drop in DROPS]
    refused = tried["whole", 0.1]
    assert "worse than none" in refused["reason"]
    assert (refused["condition"], refused["kappa"]) == (None, None)
    assert all(row["reason"] is None for row in tried.values() if row is not refused)
    assert record["theorem1"] == {"iteration": [], "left": [], "right": []}
    assert "pde=convection: cond(P) is defined only where" in record["theorem1_undefined"]
    assert (tmp_path / "conditioning.png").exists()


def test_a_discrete_problem_that_is_not_solved_is_reported(tmp_path: Path) -> None:
    fit(with_discretization(Burgers(), cells=16, time_steps=4, sweeps=1), [callback(tmp_path, discretization=None)])
    record = written(tmp_path)
    assert "the discrete system is not solved" in record["reason"]
    assert "plain" not in record
    assert record["discrete"]["residual"] > record["discretization"]["tolerance"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["conditioning.json"]


@pytest.mark.parametrize("bad", [{"drop_tolerances": []}, {"drop_tolerances": [0.1, 0.0]}, {"every": 0}])
def test_bad_arguments_are_refused(bad: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^(drop_tolerances=\[.*\]: must be a list|every=0: must be a whole number)"):
        callback(tmp_path, **bad)


def test_a_problem_without_a_discrete_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"callbacks\.conditioning: pde=formless has no discrete form"):
        fit(make(Formless(), steps=0), [callback(tmp_path)])


# From the command line

WORDS = [*FAST, "callbacks=conditioning"]


def test_from_the_command_line(cli: Cli) -> None:
    words = ["callbacks.conditioning.discretization={cells: 16}", "callbacks.conditioning.every=20"]
    ended = cli(*WORDS, *words, "callbacks.conditioning.drop_tolerances=[0.1,1e-3]")
    assert ended.code == 0, ended.err
    record = written(cli.run_folder())
    assert record["grid"] == [1, 17]
    assert [row["drop_tolerance"] for row in record["preconditioned"]] == [0.1, 1e-3]
    assert record["theorem1"]["iteration"] == [0, 20, 40]
    assert (cli.run_folder() / "conditioning.png").exists()
    assert result_of(cli.run_folder())["status"] == "completed"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("callbacks.conditioning.every=0", "every=0: must be a whole number, at least 1"),
        (
            "callbacks.conditioning.drop_tolerances=[]",
            "drop_tolerances=[]: must be a list of at least",
        ),
        ("callbacks.conditioning.drop_tolerances=[0.1,-1]", "must be a list of at least one positive number"),
        ("callbacks.conditioning.drop_tolerances=oops", "drop_tolerances"),
        ("callbacks.conditioning.every=often", "every"),
        ("callbacks.conditioning.discretization={cells: 3}", "cells=3"),
        ("callbacks.conditioning.discretization={cels: 30}", "cels"),
        ("callbacks.conditioning.discretization={cells: 9}", "pde.a=4 needs at least 10"),
        ("+callbacks.conditioning.evry=5", "evry"),
    ],
)
def test_a_bad_value_is_one_line_and_exit_code_2(bad: str, said: str, cli: Cli) -> None:
    ended = cli(*WORDS, bad)
    assert ended.code == 2
    assert said in ended.err
    (line,) = ended.err.strip().splitlines()
    assert "Traceback" not in line
