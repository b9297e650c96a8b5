"""The files that the solution callback writes, and what its picture shows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FAST, Cli, result_of
from made import Saddle, made
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from training import fit, make

from pinntk.callbacks import SolutionPlot
from pinntk.callbacks.files import write_figure, write_pixels
from pinntk.callbacks.solution_picture import pixels, plot
from pinntk.common.arrays import Array, l2re
from pinntk.loggers.metrics_csv import MetricsCSV
from pinntk.pdes.base import PDE
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.declaration import reference_of
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.poisson1d import Poisson1D


def test_solution_files(tmp_path: Path) -> None:
    method = make()
    reference = reference_of(method.pde)
    assert reference is not None
    plot = SolutionPlot(tmp_path, reference)
    fit(method, [plot])
    assert list(tmp_path.iterdir()) == []  # the result comes first
    plot.write(method)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["solution.npz", "solution.png"]
    assert (tmp_path / "solution.png").read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "solution.npz") as stored:
        assert sorted(stored) == ["coordinates", "names", "prediction", "reference"]
        assert all(stored[name].dtype == np.float64 for name in stored if name != "names")
        assert stored["names"].tolist() == ["x"]
        assert stored["coordinates"].shape == (1001, 1)
        assert np.array_equal(stored["coordinates"][:, 0], np.linspace(0, 1, 1001))
        assert np.array_equal(stored["reference"], reference.values)
        final = method.network(torch.tensor(stored["coordinates"])).detach().numpy()
        assert np.array_equal(stored["prediction"], final)


def waves(points: Array) -> tuple[Array, Array]:
    """A prediction and a reference that have no symmetry."""
    phase = points @ np.linspace(0.9, 0.02, points.shape[1])
    return np.sin(phase), np.sin(phase) + 0.1 * np.cos(2 * phase)


def meshes(figure: Figure) -> list[tuple[str, Array]]:
    """Title and values of every map, in order; colour bars left out."""
    panels = [panel for panel in figure.axes if panel.get_label() != "<colorbar>"]
    found = []
    for panel in panels:
        (mesh,) = (artist for artist in panel.collections if isinstance(artist, QuadMesh))
        values = mesh.get_array()
        assert values is not None
        found.append((panel.get_title(), np.asarray(values)))
    return found


def test_picture_of_curves() -> None:
    pde = Poisson1D()
    u, v = waves(pde.evaluation_points())
    figure = plot(pde, u, v, "adam")
    left, right = figure.axes
    curves = {line.get_label(): line.get_ydata() for line in left.lines}
    assert np.array_equal(curves["prediction"], u)
    assert np.array_equal(curves["reference"], v)
    assert np.array_equal(right.lines[0].get_ydata(), u - v)
    assert figure.get_suptitle() == f"poisson1d, adam: L2RE {l2re(u, v):.2e}"


def test_picture_of_maps() -> None:
    pde = Burgers()
    u, v = waves(pde.evaluation_points())
    found = meshes(plot(pde, u, v, "adam"))
    assert [title for title, _ in found] == ["prediction", "reference", "error"]
    for (_, values), expected in zip(found, (u, v, u - v), strict=True):  # x upwards, t to the right
        assert np.array_equal(values.reshape(257, 101), expected.reshape(257, 101))


def test_picture_of_snapshots() -> None:
    pde = Heat2D()
    u, v = waves(pde.evaluation_points())
    figure = plot(pde, u, v, "pcpinn")
    found = meshes(figure)
    assert [title for title, _ in found] == ["prediction", "reference", "error"] + [""] * 9
    for row, moment in enumerate((0, 4, 38, 125)):  # y upwards, x to the right
        for (_, values), expected in zip(found[3 * row : 3 * row + 3], (u, v, u - v), strict=True):
            assert np.array_equal(values.reshape(33, 33), expected.reshape(33, 33, 126)[:, :, moment].T)
    labels = [panel.get_ylabel().split("\n")[0] for panel in figure.axes if panel.get_ylabel().startswith("t =")]
    assert labels == ["t = 0", "t = 3.2", "t = 30.4", "t = 100"]


def test_picture_of_a_perfect_or_constant_prediction(tmp_path: Path) -> None:
    pde = Burgers()
    u = np.ones(len(pde.evaluation_points()))
    plot(pde, u, u, "adam").savefig(tmp_path / "flat.png")


@pytest.mark.parametrize("pde", [Poisson1D(), Burgers(), Heat2D()])
def test_pixels_show_prediction_and_reference(pde: Any) -> None:
    reference = pde.evaluation_points()[:, 0]
    shown = pixels(pde, 2 * reference, reference)
    assert shown is not None
    rows, columns = shown.shape
    if len(pde.evaluation_shape) == 2:
        np.testing.assert_array_equal(shown[:, : columns // 2], 2 * shown[:, columns // 2 :])
    else:  # the prediction above, that is in the later rows
        np.testing.assert_array_equal(shown[rows // 2 :], 2 * shown[: rows // 2])
    assert shown.max() == 2 * reference.max()


def grid(names: str, *shape: int) -> PDE:
    """A problem on the box of edges 1, 2, 3 ... in these coordinates."""
    box: dict[str, Any] = {"lower": (0.0,) * len(names), "upper": tuple(range(1, 1 + len(names)))}
    return made(coordinates=tuple(names), evaluation_shape=shape, **box)


def values_on(pde: PDE) -> Array:
    """1 x + 10 y + 100 z + 1000 t, in the order of the coordinates."""
    weight = {"x": 1, "y": 10, "z": 100, "t": 1000}
    return np.asarray(pde.evaluation_points() @ np.array([weight[name] for name in pde.coordinates]))


@pytest.mark.parametrize(
    ("names", "shape", "across", "up", "held"),
    [
        ("xt", (3, 5), "t", "x", [{}]),
        ("tx", (5, 3), "t", "x", [{}]),
        ("xy", (3, 5), "x", "y", [{}]),
        ("xyt", (3, 4, 11), "x", "y", [{"t": t} for t in (0, 0.9, 3)]),
        ("txy", (11, 3, 4), "x", "y", [{"t": t} for t in (0, 0.3, 1)]),
        ("xyz", (3, 4, 5), "x", "y", [{"z": z} for z in (0.75, 1.5, 2.25)]),
        ("xyzt", (3, 4, 5, 11), "x", "y", [{"t": t, "z": 1.5} for t in (0, 1.2, 4)]),
        ("xyt", (2, 2, 2), "x", "y", [{"t": t} for t in (0, 3)]),
    ],
)
def test_maps_of_any_grid_show_what_their_axes_say(
    names: str, shape: tuple[int, ...], across: str, up: str, held: list[dict[str, float]]
) -> None:
    pde = grid(names, *shape)
    u = values_on(pde)
    figure = plot(pde, u, 2 * u, "adam")
    panels = [panel for panel in figure.axes if panel.get_label() != "<colorbar>"]
    assert len(panels) == 3 * len(held)
    assert {panel.get_xlabel() for panel in panels[-3:]} == {across}
    axes = dict(zip(names, pde.evaluation_axes(), strict=True))
    weight = {"x": 1, "y": 10, "z": 100, "t": 1000}
    for row, place in enumerate(held):
        label = ", ".join(f"{name} = {value:g}" for name, value in place.items())
        assert panels[3 * row].get_ylabel() == (f"{label}\n{up}" if label else up)
        expected = weight[across] * axes[across][None] + weight[up] * axes[up][:, None]
        expected = expected + sum(weight[name] * value for name, value in place.items())
        (mesh,) = (artist for artist in panels[3 * row].collections if isinstance(artist, QuadMesh))
        shown = mesh.get_array()
        assert shown is not None
        np.testing.assert_allclose(np.asarray(shown).reshape(expected.shape), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("names", "shape"),
    [("x", (2,)), ("t", (3,)), ("xy", (2, 2)), ("xt", (2, 3)), ("xyz", (2, 2, 2)), ("xyzt", (2, 2, 2, 2))],
)
def test_tiny_grids_have_pictures_for_people_and_for_loggers(
    names: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    pde = grid(names, *shape)
    u = values_on(pde)
    write_figure(tmp_path / "solution.png", plot(pde, u, u, "adam"))
    shown = pixels(pde, u, -u)
    assert shown is not None
    assert set(np.unique(shown)) <= set(np.unique([u, -u]))
    write_pixels(tmp_path / "prediction.png", shown, u)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["prediction.png", "solution.png"]


def test_pixels_of_a_steady_plane_are_oriented_as_its_map() -> None:
    pde = grid("xy", 3, 5)
    shown = pixels(pde, values_on(pde), -values_on(pde))
    assert shown is not None
    y, x = np.linspace(0, 2, 5), np.linspace(0, 1, 3)
    expected = x + 10 * y[:, None]
    np.testing.assert_allclose(shown, np.hstack([expected, -expected]), atol=1e-12)


def test_picture_of_scattered_points() -> None:
    pde = Saddle()
    points, v = pde.evaluation_points(), pde.reference().values
    figure = plot(pde, v + 1, v, "adam")
    panels = [panel for panel in figure.axes if panel.get_label() != "<colorbar>"]
    assert [(p.get_title(), p.get_xlabel()) for p in panels] == [(n, "x") for n in ("prediction", "reference", "error")]
    for panel, values in zip(panels, (v + 1, v, np.ones(77)), strict=True):
        (dots,) = panel.collections
        np.testing.assert_array_equal(np.asarray(dots.get_offsets()), points)
        np.testing.assert_allclose(np.asarray(dots.get_array()), values)
    assert pixels(pde, v, v) is None


def test_scattered_points_on_a_line_are_curves_in_order() -> None:
    places = np.array([[0.5], [0.1], [0.9]])
    pde = made(coordinates=("x",), lower=(0.0,), upper=(1.0,), evaluation_points=lambda self: places)
    left, _ = plot(pde, np.array([5.0, 1.0, 9.0]), np.array([1.0, 1.0, 1.0]), "adam").axes
    curves = {line.get_label(): line for line in left.lines}
    np.testing.assert_array_equal(curves["prediction"].get_xdata(), [0.1, 0.5, 0.9])
    np.testing.assert_array_equal(curves["prediction"].get_ydata(), [1, 5, 9])


class Taker(MetricsCSV):
    """A logger that takes pictures."""

    def log_image(self, key: str, images: list[Path], step: int) -> None: ...


def test_a_picture_that_fails_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: Any) -> Any:
        raise IndexError("no colours\nleft")

    monkeypatch.setattr("pinntk.callbacks.solution.pixels", broken)
    monkeypatch.setattr("pinntk.callbacks.solution.plot", broken)
    method = make()
    plot = SolutionPlot(tmp_path, method.pde.reference(), every=25)
    fit(method, [plot], logger=Taker(tmp_path))
    plot.write(method)
    assert method.finished
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"{name}.png is not written: IndexError: no colours" for name in ("prediction", "solution")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.csv", "solution.npz"]


def test_the_result_is_there_before_its_picture(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def broken(path: Path, figure: Figure) -> None:
        found.append(result_of(path.parent)["status"])
        raise OSError("No space left on device")

    monkeypatch.setattr("pinntk.callbacks.solution.write_figure", broken)
    ended = cli(*FAST)
    assert ended.code == 0
    assert "solution.png is not written: OSError: No space left on device" in ended.err
    assert "L2RE" in ended.out
    assert found == ["completed"]
    assert result_of(cli.run_folder())["l2re"] > 0
