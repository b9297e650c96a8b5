"""The files that the solution callback writes, and what its picture shows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from training import fit, make

from pinntk.callbacks import SolutionPlot
from pinntk.callbacks.error import l2re
from pinntk.callbacks.solution import draw, pixels
from pinntk.pdes.base import Array
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.poisson1d import Poisson1D


def test_solution_files(tmp_path: Path) -> None:
    method = make()
    reference = method.pde.reference()
    fit(method, [SolutionPlot(tmp_path, reference)])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["solution.npz", "solution.png"]
    assert (tmp_path / "solution.png").read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "solution.npz") as stored:
        assert sorted(stored) == ["coordinates", "prediction", "reference"]
        assert all(stored[name].dtype == np.float64 for name in stored)
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
    figure = draw(pde, u, v, "adam")
    left, right = figure.axes
    curves = {line.get_label(): line.get_ydata() for line in left.lines}
    assert np.array_equal(curves["prediction"], u)
    assert np.array_equal(curves["reference"], v)
    assert np.array_equal(right.lines[0].get_ydata(), u - v)
    assert figure.get_suptitle() == f"poisson1d, adam: L2RE {l2re(u, v):.2e}"


def test_picture_of_maps() -> None:
    pde = Burgers()
    u, v = waves(pde.evaluation_points())
    found = meshes(draw(pde, u, v, "adam"))
    assert [title for title, _ in found] == ["prediction", "reference", "error"]
    for (_, values), expected in zip(found, (u, v, u - v), strict=True):  # x upwards, t to the right
        assert np.array_equal(values.reshape(257, 101), expected.reshape(257, 101))


def test_picture_of_snapshots() -> None:
    pde = Heat2D()
    u, v = waves(pde.evaluation_points())
    figure = draw(pde, u, v, "pcpinn")
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
    draw(pde, u, u, "adam").savefig(tmp_path / "flat.png")


@pytest.mark.parametrize("pde", [Poisson1D(), Burgers(), Heat2D()])
def test_pixels_show_prediction_and_reference(pde: Any) -> None:
    reference = pde.evaluation_points()[:, 0]
    shown = pixels(pde, 2 * reference, reference)
    rows, columns = shown.shape
    if len(pde.evaluation_shape) == 2:
        np.testing.assert_array_equal(shown[:, : columns // 2], 2 * shown[:, columns // 2 :])
    else:  # the prediction above, that is in the later rows
        np.testing.assert_array_equal(shown[rows // 2 :], 2 * shown[: rows // 2])
    assert shown.max() == 2 * reference.max()
