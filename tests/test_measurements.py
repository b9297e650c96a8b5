"""Measured values: tables read as they are, rows that count, what is refused, and their part in a run's identity."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FAST, Cli
from made import EQUATION, line_of, made
from torch import Tensor

from pinntk.launch.cli import compose
from pinntk.network import Network, NetworkSettings
from pinntk.pdes import PDE, Measurements, Term, measured
from pinntk.pdes.declaration import check
from pinntk.residual.collocation import Collocation
from pinntk.residual.points import PointSettings
from pinntk.residual.regions import Domain
from pinntk.residual.residuals import Residuals
from pinntk.runs.settings import RunSettings

TEXT = "\ufefft, x ,u,u_x,weight\n0.5,0.25,1.5,,1\n\n0.5,0.25,-2e-1,3,4\n1,0,nan,7,0\n0,1,4,nan,0.25\n"
SQUARE = Domain(("x", "t"), (0.0, 0.0), (1.0, 1.0))


def written(folder: Path, text: str = TEXT, name: str = "sensors.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def by_hand(path: Path, column: str) -> dict[str, list[float]]:
    """The rows with a value in the column, read with nothing but the standard library."""
    with path.open(encoding="utf-8-sig") as file:
        rows = [{k.strip(): v for k, v in row.items()} for row in csv.DictReader(file)]
    rows = [row for row in rows if row[column] not in ("", "nan")]
    return {name: [float(row[name]) for row in rows] for name in ("x", "t", column, "weight")}


@pytest.mark.parametrize("column", ["u", "u_x"])
@pytest.mark.parametrize("kind", ["csv", "npz", "arrays"])
def test_points_and_values_in_the_tables_order(tmp_path: Path, kind: str, column: str) -> None:
    path = written(tmp_path)
    table = {
        "t": np.array([0.5, 0.5, 1, 0]),
        "x": np.array([0.25, 0.25, 0, 1]),
        "u": np.array([[1.5], [-0.2], [np.nan], [4]]),
        "u_x": np.array([np.nan, 3, 7, np.nan]),
        "weight": np.array([1, 4, 0, 0.25], dtype=np.float32),
    }
    np.savez(tmp_path / "sensors.npz", **table)  # type: ignore[arg-type]
    region = {
        "csv": Measurements(path, column),
        "npz": Measurements("sensors.npz", column),
        "arrays": Measurements.of("sensors", {**table, "u": torch.from_numpy(table["u"])}, column),
    }[kind].within(Domain(SQUARE.coordinates, SQUARE.lower, SQUARE.upper, None, tmp_path))
    expected = by_hand(path, column)
    for n in (1, 100):
        points = region.draw(n, None)
        assert points.dtype == np.float64
        assert points.tolist() == [list(p) for p in zip(expected["x"], expected["t"], strict=True)]
    values, weights = region.data(torch.from_numpy(points))
    assert values.tolist() == expected[column]
    assert weights.tolist() == expected["weight"]
    assert region.count(PointSettings()) == len(expected["x"])
    assert set(region.table) == set(table)


def test_a_row_counts_where_all_columns_asked_for_have_a_value(tmp_path: Path) -> None:
    region = Measurements(written(tmp_path), "u", "u_x").within(SQUARE)
    assert [x.tolist() for x in region.data(torch.zeros(1, 2))] == [[-0.2], [3.0], [4.0]]
    points = Measurements(written(tmp_path)).within(SQUARE)
    assert [x.tolist() for x in points.data(torch.zeros(4, 2))] == [[1.0, 4.0, 0.0, 0.25]]


def test_without_weights_all_count_alike(tmp_path: Path) -> None:
    region = Measurements(written(tmp_path, "x,t,u\n0,0,5\n1,1,6\n"), "u").within(SQUARE)
    assert region.data(torch.zeros(2, 2))[1].tolist() == [1.0, 1.0]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    found = []
    for k, text in enumerate(("x,t,u\n0,0,5\n", "x,t,u\n0,0,6\n")):
        path = written(tmp_path, text)
        os.utime(path, ns=(k, k))
        found.append(Measurements(path, "u").within(SQUARE))
    assert [region.data(torch.zeros(1, 2))[0].tolist() for region in found] == [[5.0], [6.0]]
    assert found[0].digest != found[1].digest


def test_the_digest_is_one_of_the_values() -> None:
    table: dict[str, list[float]] = {"x": [0.5, 0.25], "t": [0, 1], "u": [1.0, 2.0], "v": [1.0, 2.0], "weight": [1, 1]}

    def digest(*columns: str, **changed: Any) -> str | None:
        return Measurements.of("other name", {**table, **changed}, *columns).within(SQUARE).digest

    first = Measurements.of("s", {k: table[k] for k in ("t", "x", "u")}, "u").within(SQUARE).digest
    assert first == digest("u") == digest("u", v=[3, 4])
    others = [digest("v"), digest("u", u=[1.0, 2.5]), digest("u", x=[0.5, 0.3]), digest("u", weight=[1, 2])]
    reordered = digest("u", **{name: list(reversed(values)) for name, values in table.items()})
    assert len({first, *others, reordered}) == 6


WRONG_TABLES: dict[str, tuple[str, str]] = {
    "no coordinate": ("x,u\n0,1\n", "no column 't' (it has: u, x); allowed is one"),
    "no field": ("x,t,v\n0,0,1\n", "no column 'u' (it has: t, v, x); allowed is one"),
    "misspelt": ("x,t,u_\n0,0,1\n", "no column 'u' (did you mean 'u_'?"),
    "unknown column": ("x,t,u,wieght\n0,0,1,1\n", "column 'wieght', which no term measures; did you mean 'weight'?"),
    "a word": ("x,t,u\n0,0,1\n0,0.5,one\n", "sensors.csv, line 3, column 'u': 'one'; allowed are numbers"),
    "a blank place": ("x,t,u\n0,,1\n", "column 't': nan in row 1; allowed are numbers from 0 to 1"),
    "negative weight": (
        "x,t,u,weight\n0,0,1,1\n0,0,1,-2\n",
        "column 'weight': -2 in row 2; allowed are finite numbers",
    ),
    "no weight": ("x,t,u,weight\n0,0,1,\n", "column 'weight': nan in row 1"),
    "outside": (
        "x,t,u\n0,0,1\n0,1.5,1\n",
        "column 't': 1.5 in row 2; allowed are numbers from 0 to 1, the problem's box",
    ),
    "infinite": ("x,t,u\n0,0,inf\n", "column 'u': inf in row 1; allowed are finite numbers, or none"),
    "no values": ("x,t,u\n0,0,\n0,1,nan\n", "no row has a value in u; allowed is at least one"),
    "no rows": ("x,t,u\n", "has no row; allowed is at least one"),
    "nothing": ("", "is empty; allowed is a header and at least one row"),
    "twice": ("x,t,u,u\n0,0,1,1\n", "column 'u' comes twice; allowed"),
    "short row": ("x,t,u\n0,0\n", "line 2: 2 cells; allowed are 3, as in the header"),
}


def with_sensors(region: Measurements, **attributes: Any) -> PDE:
    return made(terms=lambda self: (EQUATION, measured("u", region)), **attributes)


@pytest.mark.parametrize("case", WRONG_TABLES)
def test_a_wrong_table_is_a_line(case: str, tmp_path: Path) -> None:
    text, words = WRONG_TABLES[case]
    line = line_of(with_sensors(Measurements(written(tmp_path, text))))
    assert line.startswith("pde=case: ")
    assert "sensors.csv" in line
    assert words in line


def test_a_wrong_file_is_a_line(tmp_path: Path) -> None:
    assert "none.csv: No such file or directory; allowed is a .csv or .npz" in line_of(
        with_sensors(Measurements(tmp_path / "none.csv"))
    )
    text = written(tmp_path, name="sensors.txt")
    assert "ends in '.txt'; allowed are .csv and .npz" in line_of(with_sensors(Measurements(text)))
    broken = written(tmp_path, name="sensors.npz")
    assert "sensors.npz: " in line_of(with_sensors(Measurements(broken)))
    (tmp_path / "latin.csv").write_bytes("x,t,u\n0,0,ä\n".encode("latin-1"))
    assert "in UTF-8" in line_of(with_sensors(Measurements(tmp_path / "latin.csv")))


WRONG_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "lengths": ({"u": [1.0]}, "arrays, column 'u': shape (1,); allowed is (2,)"),
    "square": ({"u": np.ones((2, 2))}, "column 'u': shape (2, 2); allowed is (2,)"),
    "words": ({"u": ["a", "b"]}, "column 'u': values of dtype <U1; allowed are numbers"),
    "complex": ({"u": [1j, 2]}, "column 'u': values of dtype complex128; allowed are numbers"),
    "none": ({"x": [], "t": [], "u": []}, "arrays: has no row; allowed"),
}


@pytest.mark.parametrize("case", WRONG_ARRAYS)
def test_wrong_arrays_are_a_line(case: str) -> None:
    changes, words = WRONG_ARRAYS[case]
    table = {"x": [0.0, 1.0], "t": [0.0, 1.0], "u": [1.0, 2.0], **changes}
    assert words in line_of(with_sensors(Measurements.of("arrays", table)))


def test_a_column_that_another_term_measures_is_no_fault(tmp_path: Path) -> None:
    sensors = Measurements(written(tmp_path))
    both = EQUATION, measured("u", sensors), measured("u_x", sensors, "slopes")
    check(made(terms=lambda self: both))
    assert "column 'u_x', which no term measures" in line_of(made(terms=lambda self: both[:2]))


def test_data_of_ones_own_on_measurements(tmp_path: Path) -> None:
    """A law between measured values and streams, and a residual that does not keep to its own row."""

    def law(s: dict[str, Tensor], q: Tensor, weight: Tensor, f: Tensor) -> Tensor:
        return weight * (s["u_x"] + q - f)

    table = {"x": [0.0, 1.0, 0.5], "t": [0.0, 1.0, 0.5], "q": [1.0, 2.0, 3.0], "weight": [1.0, 3.0, 2.0]}
    sensors = Measurements.of("flux", table, "q")
    pde = made(terms=lambda self: (EQUATION, Term("flux", sensors, ("u_x",), law, lambda x: (x[:, 0],))))
    check(pde)
    residuals = residuals_of(pde)
    batch = Collocation(residuals, PointSettings(interior=3), seed=0).batches(0)["flux[q]"]
    u_x = residuals.network.streams(batch.points, residuals.streams_of["flux[q]"])["u_x"]
    expected = torch.tensor([1.0, 3.0, 2.0]) * (u_x + torch.tensor([1.0, 2.0, 3.0]) - torch.tensor([0.0, 1.0, 0.5]))
    torch.testing.assert_close(residuals.of_region("flux[q]", batch)["flux"], expected, rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match=r"region 'flux\[q\]': 2 points; needed are all 3"):
        residuals.prepare_region("flux[q]", batch.points[:2])

    def mean(s: dict[str, Tensor], q: Tensor, weight: Tensor) -> Tensor:
        return s["u"] - s["u"].mean()

    wrong = made(terms=lambda self: (EQUATION, Term("flux", sensors, ("u",), mean)))
    assert "change where other points are left out" in line_of(wrong)


def residuals_of(pde: PDE, dtype: torch.dtype = torch.float64) -> Residuals:
    return Residuals(pde, Network(NetworkSettings(width=6), pde.coordinates, pde.lower, pde.upper, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_residual_is_the_weighted_difference_in_every_draw(tmp_path: Path, dtype: torch.dtype) -> None:
    path = written(tmp_path)
    pde = made(terms=lambda self: (EQUATION, *(measured(s, Measurements(path)) for s in ("u", "u_x"))))
    check(pde, dtype)
    residuals = residuals_of(pde, dtype)
    draws = Collocation(residuals, PointSettings(interior=9, sampling="sobol", resample_every=1), seed=0)
    for draw in (0, 1):
        batches = draws.batches(draw)
        assert [len(batches[f"{path}[{column}]"].points) for column in ("u", "u_x")] == [3, 2]
        found = residuals(batches)
        for column in ("u", "u_x"):
            table = by_hand(path, column)
            x = torch.tensor([table["x"], table["t"]], dtype=dtype).T.requires_grad_()
            values = residuals.network(x)
            if column == "u_x":
                values = torch.autograd.grad(values.sum(), x)[0][:, 0]
            expected = [
                math.sqrt(weight) * (u - measured_value)
                for weight, u, measured_value in zip(table["weight"], values.tolist(), table[column], strict=True)
            ]
            tolerance = 1e-12 if dtype == torch.float64 else 1e-5
            assert found[f"measured_{column}"].dtype == dtype
            assert found[f"measured_{column}"].tolist() == pytest.approx(expected, rel=tolerance, abs=tolerance)


MODULE = """
from made import Cooling
from pinntk.pdes import Measurements, measured

class Sensed(Cooling):
    name = "sensed"
    def terms(self):
        return *super().terms()[:1], measured("u", Measurements("data/sensors.csv"))
"""
CONFIG = "# @package _global_\npde: {_target_: sensed_problem.Sensed}\n"
DATA = "x,t,u,weight\n0.25,0,0.7071067811865476,1\n0.5,0,1,1\n0.5,1,0.3726,2\n"


def test_measurements_are_part_of_a_runs_identity(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file stands beside the problem's; the same values in another layout are the same run."""
    users = cli.folder / "users"
    (users / "data").mkdir(parents=True)
    (cli.folder / "conf/pde").mkdir(parents=True)
    (cli.folder / "conf/pde/sensed.yaml").write_text(CONFIG)
    (users / "sensed_problem.py").write_text(MODULE)
    monkeypatch.syspath_prepend(users)
    words = ["--config-dir", "conf", *FAST, "pde=sensed"]
    hashes = []
    for text in (DATA, DATA.replace("1\n", "1.0\n"), DATA.replace("0.3726", "0.3727")):
        (users / "data/sensors.csv").write_text(text)
        ended = cli(*words)
        assert ended.code == 0, ended.err
        hashes.append(sorted(folder.name for folder in (cli.folder / "runs/sensed/adam/w10/smoke").iterdir()))
    assert len(hashes[0]) == 1
    assert hashes[1] == hashes[0]
    assert len(hashes[2]) == 2
    (users / "data/sensors.csv").write_text(DATA.replace("0.25,0", "0.25,-1"))
    ended = cli(*words)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert "data/sensors.csv, column 't': -1 in row 1; allowed are numbers from 0 to 1" in ended.err


@pytest.mark.parametrize("name", ["burgers", "convection", "heat2d", "poisson1d", "reaction", "wave"])
def test_problems_without_measurements_have_no_digest(name: str) -> None:
    """So their settings have the hashes, and their runs the folders, that they always had."""
    assert RunSettings.read(compose([f"pde={name}", "method=adam"])).pde.digests() == {}
