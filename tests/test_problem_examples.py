"""The four examples of docs/problems.md, out of its text: their data are made, and each is trained."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli, arrays_of, result_of
from test_contributing import EXAMPLE

import pinntk

TEXT = (Path(__file__).parent.parent / "docs/problems.md").read_text()
PROBLEMS = ("kdv", "kovasznay", "heat_inverse", "lshape")
FEW = "budget=smoke width=8 method.adam.steps=20 method.ssbroyden.steps=30 compile=false".split()
DATA = {"make_sensors": "sensors.csv", "make_lshape": "lshape.npz"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the text, and the data that its scripts write."""
    folder = tmp_path_factory.mktemp("examples")
    found = dict(EXAMPLE.findall(TEXT))
    assert set(found) == {
        *(f"{name}.py" for name in (*PROBLEMS, *DATA)),
        *(f"my_conf/pde/{name}.yaml" for name in PROBLEMS),
    }
    for name, text in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for script, made in DATA.items():
            runpy.run_path(f"{script}.py", run_name="__main__")
            assert (folder / made).is_file()
    return folder


@pytest.fixture
def here(cli: Cli, files: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line in a folder with all of that, as `python -m pinntk` finds it there."""
    shutil.copytree(files, cli.folder, dirs_exist_ok=True)
    monkeypatch.syspath_prepend(cli.folder)
    for name in PROBLEMS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return cli


def command(name: str) -> list[str]:
    """The words of the text's command for a problem."""
    (line,) = re.findall(rf"^python -m pinntk (.* pde={name} .*)$", TEXT, re.MULTILINE)
    return shlex.split(line)


def trained(here: Cli, name: str, *words: str, shortened: bool = True) -> tuple[Path, dict[str, Any]]:
    """The folder and the result of the text's command, its steps made few."""
    given = command(name)
    if shortened:
        replaced = ("width", "method", *(word.split("=")[0] for word in words))
        given = [word for word in given if not word.startswith(replaced) or word.startswith("method=")]
        given += [*FEW, *words]
    ended = here(*given)
    assert ended.code == 0, ended.err
    folder = here.run_folder()
    result = result_of(folder)
    assert result["status"] == "completed"
    assert (folder / "solution.png").stat().st_size > 10_000
    assert f"L2RE        {'not known' if result['l2re'] is None else format(result['l2re'], '.3e')}" in ended.out
    return folder, result


def exported(network: torch.nn.Module, points: Any) -> Any:
    """The values of an exported network, of points of another number than it was exported with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        x = torch.zeros(2, points.shape[1], dtype=torch.float64)
        program = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("n")},))
        torch.export.save(program, "u.pt2")
        return torch.export.load("u.pt2").module()(torch.tensor(points)).detach().numpy()


def test_kdv_with_its_conditions_built_in(here: Cli) -> None:
    folder, result = trained(here, "kdv")
    assert set(result["terms"]) == {"residual"}
    run = pinntk.load(folder)
    ends = run.derivatives([[-30.0, 2.0], [30.0, 2.0]], "u", "u_x", "u_xx", "u_xxx")
    for name, (lower, upper) in ends.items():
        assert lower == pytest.approx(upper, abs=1e-9), name
    start = np.column_stack([np.linspace(-30, 30, 61), np.zeros(61)])
    np.testing.assert_allclose(run.predict(start), 0.5 / np.cosh(start[:, 0] / 2) ** 2, rtol=0, atol=1e-12)
    np.testing.assert_allclose(exported(run.method.network, start), run.predict(start), rtol=0, atol=1e-12)
    assert 0 < result["l2re"] < 2


def test_kdv_with_its_conditions_trained(here: Cli) -> None:
    _, result = trained(here, "kdv", "network=default", "pde.c=1.5")
    assert set(result["terms"]) == {"residual", "initial", "periodic_u", "periodic_u_x", "periodic_u_xx"}
    assert result["pde_parameters"] == {"c": 1.5}


def test_kovasznay(here: Cli) -> None:
    folder, result = trained(here, "kovasznay")
    saved = arrays_of(folder / "solution.npz")
    x, y = saved["coordinates"].T
    rate = 20 - np.sqrt(400 + 4 * np.pi**2)
    grown = np.exp(rate * x)
    u = 1 - grown * np.cos(2 * np.pi * y)
    v = rate / (2 * np.pi) * grown * np.sin(2 * np.pi * y)
    exact = np.stack([u, v, (1 - grown**2) / 2], axis=1)
    np.testing.assert_allclose(saved["reference"], exact, rtol=1e-13, atol=1e-14)
    each = np.linalg.norm(saved["prediction"] - exact, axis=0) / np.linalg.norm(exact, axis=0)
    assert result["l2re_by_field"] == pytest.approx(dict(zip("uvp", each, strict=True)), rel=1e-10)

    run = pinntk.load(folder)
    found = run.derivatives(saved["coordinates"][:50], "u_x", "v_y")
    r = run.residuals(saved["coordinates"][:50], "interior")["continuity"]
    np.testing.assert_allclose(r, found["u_x"] + found["v_y"], rtol=1e-9, atol=1e-12)
    again = exported(run.method.network, saved["coordinates"])
    np.testing.assert_allclose(again, saved["prediction"], rtol=0, atol=1e-12)


def test_heat_with_an_unknown_diffusivity(here: Cli) -> None:
    folder, result = trained(here, "heat_inverse")
    assert set(result["terms"]) == {"residual", "measured_u"}
    assert result["l2re"] is None
    (found,) = result["estimates"].values()
    assert 0 < found["value"] != 1.0
    assert found["standard_error"] > 0
    assert (folder / "estimates.png").stat().st_size > 5_000
    ends = pinntk.load(folder).predict([[0.0, 0.3], [1.0, 0.7]])
    assert np.abs(ends).max() == 0


def test_heat_with_a_known_diffusivity(here: Cli) -> None:
    folder, result = trained(here, "heat_inverse", "pde.nu=0.1", "network=default")
    assert set(result["terms"]) == {"residual", "ends", "measured_u"}
    assert result["pde_parameters"] == {"nu": 0.1}
    assert "estimates" not in result
    assert not (folder / "estimates.png").exists()


def test_the_measurements_are_those_of_the_text(files: Path) -> None:
    x, t, u = np.loadtxt(files / "sensors.csv", delimiter=",", skiprows=1).T
    exact = np.sin(np.pi * x) * np.exp(-0.1 * np.pi**2 * t)
    exact += np.sin(3 * np.pi * x) * np.exp(-0.9 * np.pi**2 * t) / 2
    noise = (u - exact) / np.abs(exact).max()
    assert len(u) == 200
    assert noise.std() == pytest.approx(0.01, rel=0.15)
    assert abs(noise.mean()) < 0.002


def test_lshape(here: Cli) -> None:
    folder, result = trained(here, "lshape", "points.boundary=80")
    saved = arrays_of(folder / "solution.npz")
    x, y = saved["coordinates"].T
    assert np.array_equal(np.isnan(saved["reference"]), (x > 1e-9) & (y < -1e-9))
    known = ~np.isnan(saved["reference"])
    error = np.linalg.norm((saved["prediction"] - saved["reference"])[known]) / np.linalg.norm(
        saved["reference"][known]
    )
    assert result["l2re"] == pytest.approx(error, rel=1e-10)
    assert 0 < result["reference_accuracy"] < 1e-3


def test_the_reference_on_the_l(files: Path) -> None:
    """At 1/100 from the inner corner the harmonic function with x^2 on the boundary is known to be 1.0267919261073
    (Gopal, Trefethen 2019; their corner is at (1, 1)): half of what it lacks to x^2 is our u."""
    solve = runpy.run_path(str(files / "make_lshape.py"))["solve"]
    coarse, fine = (float(solve(n)[n - n // 100, n + n // 100]) for n in (100, 200))
    exact = (1.0267919261073 - 0.99**2) / 2
    assert coarse < fine < exact
    assert fine + (fine - coarse) / (2 ** (4 / 3) - 1) == pytest.approx(exact, abs=1e-4)
    with np.load(files / "lshape.npz") as saved:
        u, accuracy = saved["u"], float(saved["accuracy"])
    np.testing.assert_allclose(u, u[::-1, ::-1].T, rtol=0, atol=1e-12)  # the diagonal through both corners
    assert 1e-4 < accuracy < 1e-3


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_commands_of_the_text(here: Cli, name: str) -> None:
    _, result = trained(here, name, shortened=False)
    if name == "kdv":
        assert result["l2re"] <= 1e-3
    elif name == "kovasznay":
        assert set(result["l2re_by_field"]) == {"u", "v", "p"}
        assert max(result["l2re_by_field"].values()) <= 1e-4
    elif name == "heat_inverse":
        nu = result["estimates"]["nu"]
        assert nu["standard_error"] < 0.002
        assert abs(nu["value"] - 0.1) <= 3 * nu["standard_error"]
    else:
        assert result["l2re"] <= 1e-2
