"""What the page is given to draw: solutions made small, and errors against time; compared with the run's own files."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import make_run
from numpy.typing import ArrayLike

from pinntk.common.arrays import Array
from pinntk.report.plots import POINTS, time_plot
from pinntk.report.reading import read_run
from pinntk.report.slices import coded, solution
from pinntk.report.table import make_table
from pinntk.report.write import write_report


def decoded(field: dict[str, Any], *shape: int) -> Array:
    codes = np.frombuffer(base64.b64decode(field["data"]), dtype="<u2").astype(float)
    values = field["low"] + codes * (field["high"] - field["low"]) / 65534
    return np.where(codes == 65535, np.nan, values).reshape(shape)


def grid(*axes: ArrayLike) -> Array:
    arrays = [np.asarray(axis, dtype=np.float64) for axis in axes]
    return np.stack(np.meshgrid(*arrays, indexing="ij"), axis=-1).reshape(-1, len(axes))


def solved(root: Path, points: Array, **more: ArrayLike) -> dict[str, Any] | None:
    folder = make_run(root)
    arrays: dict[str, Any] = {"coordinates": points, **more}
    np.savez(folder / "solution.npz", **arrays)
    return solution(read_run(folder))


def test_a_code_is_within_half_a_step() -> None:
    values = np.random.default_rng(1).normal(size=1000) * 1e-7 + 3.0
    values[17] = np.nan
    found = decoded(coded(values), 1000)
    np.testing.assert_allclose(found, values, rtol=0, atol=0.51 * np.ptp(values[~np.isnan(values)]) / 65534)
    assert np.isnan(found[17])
    np.testing.assert_array_equal(decoded(coded(np.full(3, 2.5)), 3), [2.5] * 3)
    assert np.isnan(decoded(coded(np.full(3, np.nan)), 3)).all()


def test_time_comes_first_wherever_it_stands(tmp_path: Path) -> None:
    """And the points may come in any order."""
    t, x = np.linspace(0, 2, 5), np.linspace(-1, 1, 4)
    points = grid(t, x)[np.random.default_rng(2).permutation(20)]
    prediction, reference = points @ [3.0, 0.5], points @ [3.0, 0.25]
    found = solved(tmp_path, points, prediction=prediction, reference=reference, names=["t", "x"])
    assert found is not None
    assert found["time"] == {"name": "t", "values": [0.0, 0.5, 1.0, 1.5, 2.0]}
    assert [axis["name"] for axis in found["axes"]] == ["x"]
    np.testing.assert_allclose(found["axes"][0]["values"], x, rtol=1e-5)
    (field,) = found["fields"]
    np.testing.assert_allclose(decoded(field["prediction"], 5, 4), 3 * t[:, None] + x / 2, atol=1e-4)
    np.testing.assert_allclose(decoded(field["error"], 5, 4), np.tile(x / 4, (5, 1)), atol=1e-5)


def test_two_dimensions_and_time(tmp_path: Path) -> None:
    """Names are not in the file: those of heat2d. Rows of a map are of one y, as a heatmap has them."""
    x, y, t = np.linspace(0, 1, 3), np.linspace(0, 1, 4), np.linspace(0, 100, 101)
    points = grid(x, y, t)
    found = solved(tmp_path, points, prediction=points @ [1.0, 10.0, 1.0], reference=points @ [0.0, 10.0, 1.0])
    assert found is not None
    assert [axis["name"] for axis in found["axes"]] == ["x", "y"]
    moments = np.array(found["time"]["values"])
    assert len(moments) == 26
    assert (moments[0], moments[-1]) == (0, 100)
    expected = x + 10 * y[:, None] + moments[:, None, None]
    np.testing.assert_allclose(decoded(found["fields"][0]["prediction"], 26, 4, 3), expected, atol=2e-3)
    error = np.broadcast_to(x, (26, 4, 3))
    np.testing.assert_allclose(decoded(found["fields"][0]["error"], 26, 4, 3), error, atol=1e-5)


def test_without_a_time_without_a_reference_several_fields(tmp_path: Path) -> None:
    points = grid([0, 1, 2], [0, 3])
    values = np.stack([points[:, 0], points[:, 1]], axis=1)
    found = solved(tmp_path, points, prediction=values, names=["x", "y"], fields=["u", "v"])
    assert found is not None
    assert found["time"] is None
    assert [field["name"] for field in found["fields"]] == ["u", "v"]
    assert [field["error"] for field in found["fields"]] == [None, None]
    np.testing.assert_allclose(decoded(found["fields"][0]["prediction"], 2, 3), [[0, 1, 2]] * 2, atol=1e-4)
    np.testing.assert_allclose(decoded(found["fields"][1]["prediction"], 2, 3), [[0] * 3, [3] * 3], atol=1e-4)


def test_what_is_not_known_stays_unknown(tmp_path: Path) -> None:
    points = grid(np.linspace(0, 1, 5))
    found = solved(tmp_path, points, prediction=points[:, 0], reference=np.where(points[:, 0] > 0.6, np.nan, 0.0))
    assert found is not None
    assert found["time"] is None
    (field,) = found["fields"]
    np.testing.assert_allclose(decoded(field["prediction"], 5), points[:, 0], atol=1e-5)
    np.testing.assert_allclose(decoded(field["error"], 5), [0, 0.25, 0.5, np.nan, np.nan], atol=1e-5)


@pytest.mark.parametrize(
    "points",
    [
        np.random.default_rng(3).normal(size=(12, 2)),
        grid([0, 1], [0, 1])[[0, 1, 2, 2]],  # as many as a grid has, but one point twice
        grid([0, 1], [0, 1], [0, 1], [0, 1]),
    ],
)
def test_what_cannot_be_drawn_is_left_out(points: Array, tmp_path: Path) -> None:
    assert solved(tmp_path, points, prediction=points[:, 0]) is None


@pytest.mark.parametrize("content", [b"PK\x03\x04 half of it", b""])
def test_a_damaged_solution_is_said(content: bytes, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs")
    (folder / "solution.npz").write_bytes(content)
    said = write_report(tmp_path / "runs", tmp_path / "out")
    assert any(line.startswith(f"{folder / 'solution.npz'}: cannot be drawn: ") for line in said)
    assert '<details class="solution"' not in (tmp_path / "out" / "index.html").read_text()


def test_thirty_full_solutions_make_a_page_of_moderate_size(tmp_path: Path) -> None:
    """With pictures of the size that they have (150 kB) the page stays below 15 MB."""
    problems: list[tuple[dict[str, Any], Array]] = [
        ({"pde": name, "pde_parameters": {"k": 1.0}}, grid(np.linspace(0, 1, 257), np.linspace(0, 1, 101)))
        for name in "abcde"
    ]
    heat = grid(np.linspace(0, 1, 33), np.linspace(0, 1, 33), np.linspace(0, 100, 126))
    problems.append(({"pde": "heat2d", "pde_parameters": {"k": 1.0, "m1": 4, "m2": 2}}, heat))
    noise = np.random.default_rng(4)
    for kind, points in problems:
        for method in ("pinn_ntk", "pcpinn", "adam", "adam_lbfgs", "gdnd"):
            folder = make_run(tmp_path / "runs", **kind, method=method)
            values: dict[str, Any] = {name: noise.normal(size=len(points)) for name in ("prediction", "reference")}
            np.savez(folder / "solution.npz", coordinates=points, **values)
            (folder / "solution.png").write_bytes(noise.bytes(150_000))
    write_report(tmp_path / "runs", tmp_path / "out")
    page = tmp_path / "out" / "index.html"
    assert page.read_text().count('<details class="solution"') == 6
    assert page.stat().st_size < 15_000_000


def test_error_against_time_is_that_of_the_logs(tmp_path: Path) -> None:
    """A line per trial; of each method the setting with the lowest median is shown, whatever the best trial's is."""
    log = "iteration,loss,l2re,seconds\n100,8,,\n200,4,0.5,1.5\n300,2,,\n400,1,0.25,3.5\n"
    for seed, error in enumerate((0.25, 0.26, 0.27)):
        make_run(tmp_path, metrics=log, seed=seed, l2re=error)
    for seed, error in enumerate((0.01, 0.5, 0.6)):
        make_run(tmp_path, metrics=log, seed=seed, l2re=error, settings_hash="b" * 12)
    make_run(tmp_path, metrics="iteration,loss,l2re\n200,3,0.75\n", method="pcpinn", l2re=0.75)  # an older version's
    (burgers,) = (
        row for row in make_table(map(read_run, sorted(tmp_path.glob("*/*/*/*/*/*")))).rows if row.title == "burgers"
    )
    figure, untimed = time_plot(burgers)
    assert figure is not None
    assert untimed == 1
    assert len(figure.data) == 6
    for trace in figure.data:
        assert (list(trace.x), list(trace.y)) == ([1.5, 3.5], [0.5, 0.25])
    shown = [(trace.visible, trace.meta["shown"], "aaaaaaaaaaaa" in trace.hovertemplate) for trace in figure.data]
    assert shown == [(True, True, True)] * 3 + [(False, False, False)] * 3
    assert [trace.showlegend for trace in figure.data] == [True] + [False] * 5
    assert {trace.legendgroup for trace in figure.data} == {"adam"}
    assert [f"seed {seed}" in trace.hovertemplate for seed, trace in zip((0, 1, 2) * 2, figure.data, strict=True)] == [
        True
    ] * 6


def test_a_long_log_is_thinned_and_keeps_its_end(tmp_path: Path) -> None:
    lines = "".join(f"{n},{1 / n},{n}\n" for n in range(1, 3001))
    folder = make_run(tmp_path, metrics=f"iteration,l2re,seconds\n{lines}3001,nan,3001\n3002,0,3002\n")
    (burgers,) = (row for row in make_table([read_run(folder)]).rows if row.title == "burgers")
    figure, _ = time_plot(burgers)
    assert figure is not None
    (trace,) = figure.data
    assert len(trace.x) == POINTS
    assert (trace.x[0], trace.x[-1]) == (1, 3000)
    np.testing.assert_allclose(trace.y, 1 / np.asarray(trace.x), rtol=1e-6)
