"""The report's figures: the data that are drawn are those of the run folders."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import make_run
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from pinntk.report import hessian, kernel
from pinntk.report.curves import curves
from pinntk.report.pictures import Picture, pictures
from pinntk.report.reading import Run, find_runs
from pinntk.report.series import find_series, labels
from pinntk.report.steps import steps
from pinntk.report.table import make_table
from pinntk.report.write import write_report


def runs_of(root: Path) -> list[Run]:
    return find_runs(root)[0]


def lines(panel: Axes) -> dict[str, tuple[list[float], list[float]]]:
    def numbers(values: ArrayLike) -> list[float]:
        return list(np.asarray(values).tolist())

    return {str(one.get_label()): (numbers(one.get_xdata()), numbers(one.get_ydata())) for one in panel.lines}


def save_drift(folder: Path, drift: Any, iterations: list[int]) -> None:
    drift = np.array(drift)
    spectra: dict[str, Any] = {
        f"spectrum_{when}_{block}": [4.0, 1.0] for when in ("start", "end") for block in ("K", "K_uu", "K_rr")
    }
    figures: dict[str, Any] = {"drift": drift, "largest": drift + 1, "effective_rank": drift + 2}
    np.savez(folder / "ntk_drift.npz", iteration=iterations, **figures, **spectra)


# Error and loss


def test_error_against_time_and_iteration(tmp_path: Path) -> None:
    log = "iteration,loss,l2re,seconds\n100,8,,\n200,4,0.5,1.5\n300,2,,\n400,1,0.25,3.5\n"
    make_run(tmp_path, metrics=log, l2re=0.25)
    make_run(tmp_path, metrics="iteration,loss,l2re\n200,3,0.75\n", method="pcpinn", l2re=0.75)  # an older version's
    (burgers,) = (row for row in make_table(runs_of(tmp_path)).rows if row.title == "burgers")
    found = curves(burgers)
    assert found is not None
    figure, untimed = found
    assert untimed == 1
    by_time, by_iteration, loss = (lines(panel) for panel in figure.axes)
    adam, pcpinn = "Adam aaaaaaaaaaaa", "PCPINN aaaaaaaaaaaa"
    assert by_time == {adam: ([1.5, 3.5], [0.5, 0.25])}
    assert by_iteration == {adam: ([200, 400], [0.5, 0.25]), pcpinn: ([200], [0.75])}
    assert loss == {adam: ([100, 200, 300, 400], [8, 4, 2, 1]), pcpinn: ([200], [3])}


def test_trials_of_a_setting_share_a_colour_and_an_entry(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path, metrics=f"iteration,l2re,seconds\n1,0.{seed + 1},1\n", seed=seed)
    make_run(tmp_path, metrics="iteration,l2re,seconds\n1,0.9,1\n", settings_hash="b" * 12)
    (burgers,) = (row for row in make_table(runs_of(tmp_path)).rows if row.title == "burgers")
    found = curves(burgers)
    assert found is not None
    panel = found[0].axes[1]
    assert len({line.get_color() for line in panel.lines[:3]}) == 1
    assert len({line.get_color() for line in panel.lines}) == 2
    assert panel.get_legend_handles_labels()[1] == ["Adam aaaaaaaaaaaa", "Adam bbbbbbbbbbbb"]


def test_what_a_logarithm_cannot_show_is_left_out(tmp_path: Path) -> None:
    make_run(tmp_path, metrics="iteration,loss,l2re\n1,nan,inf\n2,0,0.5\n3,2,0\n")
    (burgers,) = (row for row in make_table(runs_of(tmp_path)).rows if row.title == "burgers")
    found = curves(burgers)
    assert found is not None
    _, by_iteration, loss = (lines(panel) for panel in found[0].axes)
    assert list(by_iteration.values()) == [([2], [0.5])]
    assert list(loss.values()) == [([3], [2])]


# Steps of Gauss-Newton

STEPS = """iteration,loss,radius,damping,gain_ratio,least_ratio
10,8,,0.5,0.25,
20,4,1.5,1e-3,0.75,0.15
30,2,3.0,0,0.5,0.15
40,1,0.5,nan,nan,0.5
50,1,0.25,1e-2,0.625,0.5
"""


def test_radius_lambda_and_gain_ratio_of_a_log(tmp_path: Path) -> None:
    """The first row is of another phase, which has a damping and a gain ratio, too."""
    for seed in range(2):
        make_run(tmp_path, metrics=STEPS, seed=seed, method="gauss_newton")
    make_run(tmp_path, metrics="iteration,loss,damping,gain_ratio\n10,8,0.5,0.25\n", method="ntk_ng")
    (burgers,) = (row for row in make_table(runs_of(tmp_path)).rows if row.title == "burgers")
    figure = steps(burgers)
    assert figure is not None
    radius, damping, gain = figure.axes
    name = radius.get_legend_handles_labels()[1]
    assert len(name) == 1
    assert name[0].endswith("aaaaaaaaaaaa")
    assert lines(radius) == {label: ([20, 30, 40, 50], [1.5, 3.0, 0.5, 0.25]) for label in (*name, f"_{name[0]}")}
    assert lines(damping)[name[0]] == ([20, 50], [1e-3, 1e-2])  # what a logarithm cannot show is left out
    assert lines(gain)[name[0]] == ([20, 30, 50], [0.75, 0.5, 0.625])
    assert lines(gain)[f"_asked of {name[0]}"] == ([20, 30, 40, 50], [0.15, 0.15, 0.5, 0.5])
    assert {panel.get_yscale() for panel in figure.axes} == {"log"}


def test_without_gauss_newton_there_is_no_picture_of_its_steps(tmp_path: Path) -> None:
    make_run(tmp_path, metrics="iteration,loss,damping,gain_ratio\n10,8,0.5,0.25\n", method="ntk_ng")
    (burgers,) = (row for row in make_table(runs_of(tmp_path)).rows if row.title == "burgers")
    assert steps(burgers) is None
    make_run(tmp_path, metrics=STEPS, method="gauss_newton")
    complaints: list[str] = []
    drawn = pictures(runs_of(tmp_path), make_table(runs_of(tmp_path)), complaints.append)
    (found,) = (picture for picture in drawn if picture.section == "Steps of Gauss-Newton")
    assert complaints == []
    assert found.name == "steps_burgers"
    assert found.png.startswith(b"\x89PNG")


# Series


def test_series_do_not_mix_settings(tmp_path: Path) -> None:
    watched: dict[str, Any] = {"callbacks": {"ntk_drift": {"every": 100, "folder": "anywhere"}}}
    other: dict[str, Any] = {"callbacks": {"ntk_drift": {"every": 50, "folder": "elsewhere"}}}
    kinds = [
        ("a", 10, 0, watched),
        ("a", 10, 1, watched),
        ("b", 20, 0, watched),
        ("c", 10, 0, {**watched, "precision": "32-true"}),
        ("a", 10, 2, other),  # in no hash
        ("a", 10, 3, {}),
    ]
    for name, width, seed, config in kinds:
        folder = make_run(tmp_path, settings_hash=name * 12, width=width, seed=seed, config=config)
        if config:
            save_drift(folder, np.zeros((2, 3)), [0, 5])
    save_drift(make_run(tmp_path, status="interrupted", seed=9), np.zeros((1, 3)), [0])
    series = find_series(runs_of(tmp_path), "ntk_drift")
    found = [{width: [run.seed for run in trials] for width, trials in one.widths.items()} for one in series]
    assert found == [{10: [0, 1], 20: [0]}, {10: [2]}, {10: [0]}]
    assert labels(series) == [
        "burgers\ncallbacks.ntk_drift.every=100",
        "burgers\ncallbacks.ntk_drift.every=50",
        "burgers\ncallbacks.ntk_drift.every=100, precision=32-true",
    ]


def test_a_mean_is_over_the_iterations_that_all_trials_have(tmp_path: Path) -> None:
    save_drift(make_run(tmp_path, seed=0), [[0, 0, 0], [1, 0, 0], [2, 0, 0]], [0, 5, 10])
    save_drift(make_run(tmp_path, seed=1), [[0, 0, 0], [3, 0, 0]], [0, 10])  # ended early
    figure, rows = kernel.figure_1a(find_series(runs_of(tmp_path), "ntk_drift"))
    assert list(lines(figure.axes[0]).values()) == [([0, 10], [0.0, 2.5])]
    assert [(row[2], row[3], row[4], row[5]) for row in rows] == [(2, 0, "0", "0"), (2, 10, "2.5", "0.5")]


# Spectra


def test_kernel_spectra(tmp_path: Path) -> None:
    for width in (10, 20):
        folder = make_run(tmp_path, width=width, settings_hash=f"{width}" * 6)
        values: dict[str, Any] = {
            f"spectrum_{when}_{block}": np.array([width, 1.0]) * (2 if when == "end" else 1) * (k + 1)
            for when in ("start", "end")
            for k, block in enumerate(("K", "K_uu", "K_rr"))
        }
        np.savez(folder / "ntk_drift.npz", **values)
    figure = kernel.kernel_spectra(find_series(runs_of(tmp_path), "ntk_drift"))
    assert [panel.get_title() for panel in figure.axes] == ["K", "K_uu", "K_rr"]
    found = lines(figure.axes[2])
    assert found["m = 20"] == ([1, 2], [120.0, 6.0])
    assert found["_20"] == ([1, 2], [60.0, 3.0])
    assert figure.axes[2].get_legend_handles_labels()[1] == ["m = 10", "m = 20"]


def test_hessian_spectra(tmp_path: Path) -> None:
    plain = make_run(tmp_path, width=10, settings_hash="a" * 12)
    np.savez(plain / "hessian_norm.npz", hessian=[[1.0]])
    series = find_series(runs_of(tmp_path), "hessian_norm")
    assert hessian.hessian_spectra(series) is None
    nodes, weights = np.array([[3.0, -1.0], [2.0, 0.0]]), np.array([[0.1, 0.4], [0.2, 0.3]])
    np.savez(plain / "hessian_norm.npz", density_start_L_r=np.stack([nodes, weights]))
    figure = hessian.hessian_spectra(series)
    assert figure is not None
    (panel,) = figure.axes
    ((label, (x, y)),) = lines(panel).items()
    assert label == "m = 10, start"
    assert x == [-1, 0, 2, 3]
    # Above -1: all but its own weight.
    assert y == pytest.approx([0.6, 0.3, 0.1, 0.0])


# All of them


def test_pictures_come_where_there_are_data(tmp_path: Path) -> None:
    with_solution = make_run(tmp_path, l2re=0.25, seed=4)
    (with_solution / "solution.png").write_bytes(b"the picture")
    (make_run(tmp_path, l2re=0.5, seed=5) / "solution.png").write_bytes(b"of a worse one")
    save_drift(with_solution, np.zeros((2, 3)), [0, 5])
    complaints: list[str] = []
    found = pictures(runs_of(tmp_path), make_table(runs_of(tmp_path)), complaints.append)
    assert complaints == []
    assert [picture.name for picture in found] == ["fig1a", "solution_burgers_adam", "kernel_burgers"]
    solution: Picture = found[1]
    assert solution.png == b"the picture"
    assert "seed 4 of aaaaaaaaaaaa, L2RE 2.50e-1" in solution.caption
    assert all(picture.png.startswith(b"\x89PNG") for picture in found if picture is not solution)


@pytest.mark.parametrize("content", [b"PK\x03\x04 half of it", b""])
def test_a_damaged_file_costs_its_picture_alone(content: bytes, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs", metrics="iteration,loss,l2re\n1,1,1\n")
    (folder / "ntk_drift.npz").write_bytes(content)
    said = write_report(tmp_path / "runs", tmp_path / "report")
    assert any(line.startswith("Figure 1a: cannot be drawn: ") for line in said)
    names = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert names == ["curves_burgers.png", "index.html", "table2.csv", "table2.md", "table2.tex"]
