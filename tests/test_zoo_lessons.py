"""What may predict which method does well: the figures of a problem, and their rank correlations with errors."""

from __future__ import annotations

import csv
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from handmade import make_run

SCRIPTS = Path(__file__).parents[1] / "multirun_scripts"


@pytest.fixture(scope="module")
def scripts() -> Any:
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module("zoo_lessons"), importlib.import_module("zoo_spectra")
    sys.path.remove(str(SCRIPTS))


def test_rho_and_its_exact_p(scripts: Any) -> None:
    """By hand, of four: rho = 1 - 6 sum d^2 / (4 * 15), and 0.8 or more is had by 4 of the 24 orders, -0.8 by 4."""
    lessons, _ = scripts
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert lessons.spearman(x, np.array([1e-4, 1e-2, 1e-3, 1e-1])) == pytest.approx((0.8, 8 / 24))
    assert lessons.spearman(x, -np.exp(x)) == pytest.approx((-1.0, 2 / 24))
    # Ties: ranks 1.5, 1.5, 3, 4 against 1, 2, 3, 4: covariance 4.5 / sqrt(4.5 * 5); of the 24 orders of the second
    # only 1, 2 and 2, 1 in the first two places reach it, and their mirror images.
    tied = lessons.spearman(np.array([1.0, 1.0, 2.0, 3.0]), x)
    assert tied == pytest.approx((4.5 / np.sqrt(22.5), 4 / 24))
    assert np.isnan(lessons.spearman(x, np.ones(4))[0])


def test_above_the_exact_ones_student_s_t(scripts: Any) -> None:
    """Of ten with d^2 = 2 in all: rho = 1 - 12/990, and t = rho sqrt(8 / (1 - rho^2)) = 18.08, p = 9e-8 (tables)."""
    lessons, _ = scripts
    x = np.arange(10.0)
    y = x.copy()
    y[[4, 5]] = y[[5, 4]]
    rho, p = lessons.spearman(x, y)
    assert rho == pytest.approx(1 - 12 / 990)
    assert p == pytest.approx(9.3e-8, rel=0.05)


def test_places_of_methods(scripts: Any) -> None:
    lessons, _ = scripts
    errors = {"one": {"a": 1e-3, "b": 1e-2, "c": None, "d": None}, "two": {"a": 0.5, "b": 0.5}}
    assert lessons.ranks_of(errors) == {"one": {"a": 1, "b": 2, "c": 3.5, "d": 3.5}, "two": {"a": 1.5, "b": 1.5}}
    assert lessons.places(errors) == [
        "| a | 2 | 2 | 1 | 1.25 |",
        "| b | 2 | 2 | 0 | 1.75 |",
        "| c | 1 | 0 | 0 | 3.50 |",
        "| d | 1 | 0 | 0 | 3.50 |",
    ]


def test_the_tables(tmp_path: Path) -> None:
    """Five problems, two methods: the first follows the predictor, the second its opposite; p = 2/120 for each."""
    names = ["cavity", "kdv", "kovasznay", "gray_scott", "taylor_green"]
    (tmp_path / "spectra").mkdir()
    for k, pde in enumerate(names):
        for method, error in (("adam", 10.0 ** (k - 6)), ("gdnd", 10.0 ** (-k - 1.5))):
            for seed, factor in enumerate((0.5, 1.0, 9.0)):  # their median counts
                made: dict[str, Any] = {
                    "pde": pde,
                    "pde_parameters": {},
                    "method": method,
                    "seed": seed,
                    "l2re": factor * error,
                }
                make_run(tmp_path / "runs", **made)
        record = {"problem": pde, "predictors": {"norm K": k**2, "kappa A": 3.0 if k < 3 else None, "same": 1.0}}
        (tmp_path / "spectra" / f"{pde}.json").write_text(json.dumps(record))
    make_run(tmp_path / "runs", pde="kdv", pde_parameters={}, method="ssbroyden", status="failed", l2re=None)
    command = [sys.executable, str(SCRIPTS / "zoo_lessons.py"), str(tmp_path / "runs"), "--spectra"]
    more = ["--csv", str(tmp_path / "all.csv"), "--png", str(tmp_path / "all.png")]
    ended = subprocess.run(
        [*command, str(tmp_path / "spectra"), *more], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    # adam is better on the first three (1e-6, 1e-5, 1e-4 against 3e-2, 3e-3, 3e-4), gdnd on the others.
    assert lines[2:5] == [
        "| adam | 5 | 5 | 3 | 1.40 |",
        "| gdnd | 5 | 5 | 2 | 1.60 |",
        "| ssbroyden | 1 | 0 | 0 | 3.00 |",
    ]
    assert lines[6] == "5 problems have both; 4 tests, of which 0 stay below 0.05 after Holm's correction"
    assert (tmp_path / "all.png").stat().st_size > 10_000
    assert lines[7] == "nothing measured here is shown to predict anything"
    with (tmp_path / "all.csv").open() as file:
        found: list[Any] = [
            (r["target"], r["method"], r["problems"], float(r["rho"]), float(r["p"])) for r in csv.DictReader(file)
        ]
    assert found[:2] == [
        ("error", "adam", "5", pytest.approx(1.0), 2 / 120),
        ("error", "gdnd", "5", pytest.approx(-1.0), 2 / 120),
    ]
    # Places 1, 1, 1, 2, 2 along 1 ... 5: centred ranks -1, -1, -1, 1.5, 1.5 give 5 / sqrt(7.5 * 10) = 0.866; three of
    # the five values make the lowest sum in one of ten ways, the highest in another: p = 2/10.
    assert found[2] == ("rank", "adam", "5", pytest.approx(np.sqrt(0.75)), pytest.approx(0.2))
    assert found[3] == ("rank", "gdnd", "5", pytest.approx(-np.sqrt(0.75)), pytest.approx(0.2))
    with (tmp_path / "all.csv").open() as file:  # Holm: 4/60, at least as much for the next, 2 * 0.2, and again
        corrected = [float(row["corrected"]) for row in csv.DictReader(file)]
    assert corrected == pytest.approx([4 / 60, 4 / 60, 0.4, 0.4])
    for words in ([str(tmp_path / "nothing")], [str(tmp_path / "runs")]):  # no spectra there
        ended = subprocess.run([*command, *words], capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 1
        assert "has no .json file" in ended.stderr


def test_the_table_of_all_methods(tmp_path: Path) -> None:
    """Medians of the setting with the most seeds, failures named, the lowest bold; the trials of the best method."""
    five: dict[str, Any] = {"pde": "poisson_nd", "pde_parameters": {"dim": 5}, "parameters": 2071, "fresh_loss": 3e-9}
    for seed, error in enumerate((1e-6, 3e-6, 2e-6)):
        make_run(tmp_path, **five, method="ssbroyden", seed=seed, l2re=error, steps=4000, seconds=40.0 + seed)
    make_run(tmp_path, **five, method="ssbroyden", settings_hash="bbbbbbbbbbbb", l2re=1e-9)  # one lucky seed
    make_run(tmp_path, **five, method="adam", l2re=2.0)
    make_run(tmp_path, **five, method="ssbroyden", settings_hash="cc", config={"method": {"slabs": 4}}, l2re=0.25)
    make_run(tmp_path, **five, method="gdnd", status="failed", l2re=None)
    make_run(tmp_path, pde="burgers", pde_parameters={"nu": 1e-3}, method="adam", parameters=50, fresh_loss=None)
    make_run(tmp_path, pde="burgers", pde_parameters={"nu": 0.1}, method="gdnd", parameters=50)  # not of the rows
    command = [sys.executable, str(SCRIPTS / "zoo_table.py"), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    # adam was tried on both problems that have runs, the others on one.
    assert lines[0] == "| problem | `adam` |"
    assert lines[2:19].count("| poisson_nd, 5 dimensions | 2.0 |") == 1
    assert "| poisson_nd, 10 dimensions | – |" in lines
    assert "| burgers, ν = 0.001 | **5.0e-1** |" in lines
    assert lines[19:22] == [
        "| problem | `gdnd` | `ssbroyden` | `ssbroyden, 4 slabs` |",
        "|---|---|---|---|",
        "| poisson_nd, 5 dimensions | failed | **2.0e-6 (3)** | 2.5e-1 |",
    ]
    assert lines[22] == ""
    (row,) = (line for line in lines if "1.0e-6, 3.0e-6" in line)
    assert row == (
        "| poisson_nd, 5 dimensions | `ssbroyden` | 1.0e-6, 3.0e-6, 2.0e-6 | **2.0e-6** |"
        " 1e-5 | 3.0e-9 | 2,071 | 4,000 |"
    )
    (row,) = (line for line in lines if line.startswith("| poisson_nd, 5 dimensions | 2.0e-6, 40–42 s | 3e-16 | "))
    assert "| DSGNAR |" in row
    assert "| H100 |" in row
    assert any(line.startswith("| poisson_nd, 10 dimensions, products | – | 6e-12 |") for line in lines)
    assert any(line.startswith("| burgers, ν = 0.001 | `adam` | 5.0e-1 |") for line in lines)
    assert "| burgers, ν = 0.001 | 5.0e-1, 12 s | 2.7e-7 | vRBA | RTX 3090 |" in ended.stdout
    ended = subprocess.run([*command[:2], str(tmp_path / "none")], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "none" in ended.stderr


def test_figures_of_kernels(scripts: Any) -> None:
    """Of diagonal ones, where everything can be read off."""
    _, spectra = scripts
    diagonal = torch.tensor([8.0, 4.0, 2.0, 1.0], dtype=torch.float64)

    def blocks(factor: float) -> dict[str, torch.Tensor]:
        rest = diagonal * torch.tensor([1.0, 1.0, factor, factor], dtype=torch.float64)
        return {"K": torch.diag(rest), "K_uu": torch.diag(rest[2:]), "K_rr": torch.diag(rest[:2])}

    values, found = spectra.of_kernels(blocks(1.0), blocks(3.0))
    assert values["start"] == {"K": [8.0, 4.0, 2.0, 1.0], "K_uu": [2.0, 1.0], "K_rr": [8.0, 4.0]}
    assert values["end"]["K_uu"] == [6.0, 3.0]
    assert found["norm K_rr over K_uu"] == pytest.approx(4.0)
    assert found["drift K"] == pytest.approx(4 / 8)
    assert found["drift K_uu"] == pytest.approx(2.0)
    assert found["drift K_rr"] == 0
    assert found["decay K"] == pytest.approx(2.0)  # the second of four
    shares = np.array([2, 1]) / 3
    assert found["effective rank K_uu"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_what_the_callbacks_measured_on_the_way(scripts: Any, tmp_path: Path) -> None:
    """Columns of their files are kernels and losses, rows the moments; without one of the files there is nothing."""
    _, spectra = scripts
    drift = np.array([[0, 0, 0], [0.1234567, np.nan, 0.3]])
    np.savez(tmp_path / "ntk_drift.npz", iteration=[0, 200], drift=drift)
    assert spectra.along(tmp_path) is None
    ratio = np.array([[0.5, 0.25], [0.125, 0.0625]])
    np.savez(tmp_path / "hessian_norm.npz", iteration=[0, 100], loss=["L_r", "L"], ratio=ratio)
    assert spectra.along(tmp_path) == {
        "iteration": [0, 200],
        "drift": {"K": [0, 0.123457], "K_uu": [0, None], "K_rr": [0, 0.3]},
        "hessian_iteration": [0, 100],
        "remainder": {"L_r": [0.5, 0.125], "L": [0.25, 0.0625]},
    }


def test_the_pictures(scripts: Any) -> None:
    """Eigenvalues over the largest, the drift from the second moment on, shares; a record without ``along``, or a
    problem without conditions, leaves its panels alone."""
    pictures = importlib.import_module("zoo_pictures")
    way = {"iteration": [0, 5, 10], "drift": {"K": [0.0, 0.5, 0.75]}}
    way |= {"hessian_iteration": [0, 10], "remainder": {"L": [0.5, 0.25], "L_r": [9, 9]}}
    start = {"K": [9.0], "K_uu": [4.0, 2.0], "K_rr": [10.0, 1.0, 0.1]}
    records = [
        {"problem": "cavity, Re = 100", "pde": "cavity", "eigenvalues": {"start": start, "end": {}}, "along": way},
        {"problem": "kdv, 1", "pde": "kdv", "eigenvalues": {"start": start | {"K_uu": []}, "end": {}}},
        {"problem": "kdv, 2", "pde": "kdv", "eigenvalues": {"start": start | {"K_uu": []}, "end": {}}},
    ]
    figure = pictures.picture(records)
    drawn = [[np.array(line.get_xydata()).tolist() for line in panel.lines] for panel in figure.axes]
    assert drawn[0] == [[[1, 1], [2, 0.5]]]
    assert drawn[1] == 3 * [[[1, 1], [2, 0.1], [3, pytest.approx(0.01)]]]
    assert drawn[2] == [[[5, 0.5], [10, 0.75]], [], []]
    assert drawn[3] == [[[0, 0.5], [10, 0.25]]]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["cavity", "kdv, 1", "kdv, 2"]


@pytest.mark.slow
def test_a_problem_is_measured(scripts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, spectra = scripts
    monkeypatch.setattr(spectra, "SHORT", tmp_path / "short")
    words = ["zoo_spectra.py", "--out", str(tmp_path / "out"), "--steps", "3", "--points", "12"]
    monkeypatch.setattr(sys, "argv", [*words, "--problems", "helmholtz2d", "cavity"])
    assert spectra.main() == 0
    records = {path.stem.split("_")[0]: json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")}
    assert set(records) == {"helmholtz2d", "cavity"}
    helmholtz = records["helmholtz2d"]
    assert len(helmholtz["eigenvalues"]["start"]["K"]) == 24
    assert 0 < helmholtz["predictors"]["drift K"] < 1
    assert helmholtz["predictors"]["remainder L start"] > 0
    way = helmholtz["along"]
    assert way["iteration"] == way["hessian_iteration"] == [0, 1, 2, 3]
    # The callbacks' figures on the way agree with those that are measured of the loaded run.
    assert way["drift"]["K"][-1] == pytest.approx(helmholtz["predictors"]["drift K"], rel=1e-5)
    assert way["remainder"]["L"][0] == pytest.approx(helmholtz["predictors"]["remainder L start"], rel=1e-2)
    assert way["remainder"]["L_r"][-1] == pytest.approx(helmholtz["predictors"]["remainder L_r end"], rel=1e-2)
    # The Laplacian's stencil on 32 cells, less one: largest over smallest eigenvalue, of either axis the same.
    k = np.pi / 32 * np.array([1, 31])
    low, high = 2 * 16**2 * (30 - 32 * np.cos(k) + 2 * np.cos(2 * k)) / 12 - 1
    assert helmholtz["predictors"]["kappa A"] == pytest.approx(high / low, rel=1e-3)
    assert helmholtz["predictors"]["kappa P^-1 A"] < 0.2 * high / low
    assert records["cavity"]["discrete"] == {"reason": "no discrete form"}
    assert "kappa A" not in records["cavity"]["predictors"]
