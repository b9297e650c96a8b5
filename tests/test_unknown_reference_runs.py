"""Whole runs of problems whose solution is not known, or known from a file: trained, watched, reported."""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FAST, Cli, arrays_of, result_of, rows_of
from handmade import make_run

import pinntk
from pinntk.common.arrays import Array
from pinntk.report import status
from pinntk.report.write import write_report

USERS = """
from made import Unsolved
from pinntk.pdes.poisson1d import Poisson1D

class Unknown(Unsolved):
    name = "unknown"

class Gridded(Unsolved):
    name, reference_file = "gridded", "known/grid.npz"

class Scattered(Unsolved):
    name, reference_file = "scattered", "known/points.csv"

class Unmeasured(Poisson1D):
    name = "unmeasured"
    def reference(self):
        return None
"""


def exact(x: Array, t: Array) -> Array:
    return np.asarray(np.sin(np.pi * x) * np.exp(-(np.pi**2) / 10 * t))


@pytest.fixture
def users(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Trains a problem of a user's file."""
    (cli.folder / "conf/pde").mkdir(parents=True)
    (cli.folder / "known").mkdir()
    (cli.folder / "users_unknown.py").write_text(USERS)
    monkeypatch.syspath_prepend(cli.folder)
    monkeypatch.delitem(sys.modules, "users_unknown", raising=False)

    def train(name: str, *words: str) -> Any:
        text = f"# @package _global_\npde: {json.dumps({'_target_': f'users_unknown.{name}'})}\n"
        (cli.folder / f"conf/pde/{name.lower()}.yaml").write_text(text)
        return cli("--config-dir", "conf", *FAST, f"pde={name.lower()}", "evaluate_every=10", *words)

    return train


def shown_by_status(runs: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert status.main([str(runs), "--once"]) == 0
    (_, _, line) = capsys.readouterr().out.splitlines()
    return line


def test_a_run_without_a_reference(users: Callable[..., Any], cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    ended = users("Unknown", "logger=tensorboard")
    assert (ended.code, ended.err) == (0, "")
    folder = cli.run_folder()
    lines = ended.out.splitlines()[-3:]
    assert lines[0] == "L2RE        not known (the problem has no reference)"
    assert [line.split()[0] for line in lines] == ["L2RE", "time", "files"]
    result = result_of(folder)
    assert result["status"] == "completed"
    assert [result[key] for key in ("l2re", "l2re_at_lowest_loss", "reference_accuracy")] == [None] * 3
    assert result["reference_known"] is False
    assert "l2re_by_field" not in result
    rows = rows_of(folder)
    assert "l2re" not in rows[0]
    assert [row["iteration"] for row in rows if row["seconds"]] == ["10", "20", "30", "40"]
    saved = arrays_of(folder / "solution.npz")
    assert sorted(saved) == ["coordinates", "names", "prediction"]
    assert saved["coordinates"].shape == (231, 2)
    assert (folder / "solution.png").stat().st_size > 5_000
    progress = json.loads((folder / "progress.json").read_text())
    assert (progress["l2re"], progress["reference_known"]) == (None, False)
    assert "  not known  " in shown_by_status(cli.folder / "runs", capsys)

    written = write_report(cli.folder / "runs", cli.folder / "report")
    assert not [line for line in written if "cannot" in line]
    report = cli.folder / "report"
    assert "| unknown | " in (report / "table2.md").read_text()
    (row,) = (line for line in (report / "table2.md").read_text().splitlines() if line.startswith("| unknown"))
    assert "not known (1 trial; [" in row
    with (report / "table2.csv").open(newline="") as file:
        (cells,) = (one for one in csv.DictReader(file) if one["problem"] == "unknown" and one["trials"] != "0")
    assert [cells[name] for name in ("lowest", "completed", "failed", "best")] == ["", "1", "0", "0"]
    assert "not known" in (report / "table2.tex").read_text().split("% L2RE of ours")[0]
    page = (report / "index.html").read_text()
    assert '<td data-value="">not known</td>' in page
    assert "No reference is known: the trial with the lowest loss, seed 0 of" in page
    assert {"curves_unknown.png", "solution_unknown_adam.png"} <= set(os.listdir(report))

    again = users("Unknown", "logger=tensorboard")
    assert again.code == 0
    assert "finished before" in again.out
    assert "not known (the problem has no reference)" in again.out
    run = pinntk.load(folder)
    np.testing.assert_array_equal(run.predict(saved["coordinates"]), saved["prediction"])


def test_a_discrete_method_without_a_reference(users: Callable[..., Any], cli: Cli) -> None:
    words = ["method=pcpinn", "method.form=solved", "method.steps=10", "callbacks=conditioning"]
    words += ["callbacks.conditioning.discretization={cells:20}"]
    text = "# @package _global_\ndefaults: [poisson1d]\npde: {_target_: users_unknown.Unmeasured}\n"
    (cli.folder / "conf/pde/unmeasured.yaml").write_text(text)
    ended = cli("--config-dir", "conf", *(w for w in FAST if "log_every" not in w), "pde=unmeasured", *words)
    assert (ended.code, ended.err) == (0, "")
    folder = cli.run_folder()
    figures = result_of(folder)["method_figures"]
    assert figures["discrete_l2re"] is None
    assert figures["network_to_discrete"] > 0
    assert "discrete    not known (error of the discrete solution itself)" in ended.out
    found = json.loads((folder / "conditioning.json").read_text())
    assert found["plain"]["condition"] > 1
    assert found["discrete"]["l2re"] is None
    assert 0 < found["discrete"]["network"] < 100
    assert found["theorem1_undefined"] == "the norm of u is that of the reference, and none is known"


def test_a_grid_with_a_hole(users: Callable[..., Any], cli: Cli) -> None:
    x, t = np.linspace(0, 1, 12), np.linspace(0, 1, 9)
    u = exact(x[:, None], t[None, :])
    u[3:6, 2:5] = np.nan
    np.savez(cli.folder / "known/grid.npz", x=x, t=t, u=u, accuracy=1e-5)
    ended = users("Gridded")
    assert (ended.code, ended.err) == (0, "")
    folder = cli.run_folder()
    saved, result = arrays_of(folder / "solution.npz"), result_of(folder)
    np.testing.assert_array_equal(saved["reference"].reshape(12, 9), u)
    np.testing.assert_array_equal(saved["coordinates"].reshape(12, 9, 2)[:, 4, 0], x)
    assert np.isfinite(saved["prediction"]).all()
    known = [k for k in range(108) if not math.isnan(saved["reference"][k])]
    assert len(known) == 108 - 9
    off = math.fsum((saved["prediction"][k] - saved["reference"][k]) ** 2 for k in known)
    error = math.sqrt(off / math.fsum(saved["reference"][k] ** 2 for k in known))
    assert result["l2re"] == pytest.approx(error, rel=1e-12)
    assert result["reference_accuracy"] == 1e-5
    assert float(rows_of(folder)[-1]["l2re"]) == pytest.approx(error, rel=1e-12)
    assert not [line for line in write_report(cli.folder / "runs", cli.folder / "report") if "cannot" in line]


def test_scattered_points_and_a_file_that_changes(users: Callable[..., Any], cli: Cli) -> None:
    points = np.random.default_rng(0).random((40, 2))
    path = cli.folder / "known/points.csv"

    def write(factor: float) -> None:
        rows = [f"{t!r},{factor * u!r},{x!r}" for x, t, u in np.column_stack([points, exact(*points.T)]).tolist()]
        path.write_text("\n".join(["t,u,x", *rows]) + "\n")

    write(1.0)
    ended = users("Scattered")
    assert (ended.code, ended.err) == (0, "")
    folder = cli.run_folder()
    saved, first = arrays_of(folder / "solution.npz"), result_of(folder)
    np.testing.assert_array_equal(saved["coordinates"], points)
    error = np.linalg.norm(saved["prediction"] - exact(*points.T)) / np.linalg.norm(exact(*points.T))
    assert first["l2re"] == pytest.approx(float(error), rel=1e-12)
    assert first["reference_accuracy"] is None
    assert first["fingerprint"].keys() >= {"users_unknown", "points.csv"}

    write(2.0)  # the old error is not that of this file
    ended = users("Scattered")
    assert ended.code == 2
    assert "a result of other code, changed since: points.csv (edited); allowed: overwrite=true" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert result_of(folder) == first
    assert users("Scattered", "overwrite=true").code == 0
    second = result_of(folder)
    assert second["loss"] == first["loss"]
    error = np.linalg.norm(saved["prediction"] - 2 * exact(*points.T)) / np.linalg.norm(2 * exact(*points.T))
    assert second["l2re"] == pytest.approx(float(error), rel=1e-12)


def test_nothing_is_written_where_a_file_is_wrong(users: Callable[..., Any], cli: Cli) -> None:
    path = cli.folder / "known/points.csv"
    path.write_text("t,u,x\n0.5,1,0.5\n0.5,1,half\n")
    for name, line in (
        ("Scattered", f"pde=scattered: reference_file={path}: line 3, column 'x': came 'half'; allowed are numbers"),
        ("Gridded", f"pde=gridded: reference_file={cli.folder / 'known/grid.npz'}: No such file or directory; allowed"),
    ):
        ended = users(name)
        assert ended.code == 2
        assert ended.err.startswith(f"error: {line}")
        assert len(ended.err.splitlines()) == 1
    assert not (cli.folder / "runs").exists()


def test_reports_mix_runs_with_and_without_errors(tmp_path: Path) -> None:
    log = "iteration,loss,seconds\n1,4,1\n2,1,2\n"
    for seed, loss in enumerate([0.5, 0.25, 1.0]):
        make_run(tmp_path / "runs", metrics=log, seed=seed, pde="open", l2re=None, loss=loss, reference_known=False)
        (next((tmp_path / "runs").glob(f"open/**/seed{seed}")) / "solution.png").write_bytes(b"%d" % seed)
    make_run(tmp_path / "runs", seed=3, pde="open", l2re=None, loss=1e-9, reference_known=False, status="failed")
    make_run(tmp_path / "runs", pde="burgers", l2re=0.125)
    written = write_report(tmp_path / "runs", tmp_path / "report")
    assert not [line for line in written if "cannot" in line]
    table = (tmp_path / "report/table2.md").read_text()
    assert "not known (4 trials, 1 failed; [" in table
    assert "1.25e-1" in table
    solutions = list((tmp_path / "report").glob("solution_open*.png"))
    assert [path.read_bytes() for path in solutions] == [b"1"]  # of the lowest loss
