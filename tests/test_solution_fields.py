"""Pictures of several fields, of what is known in part, and of predictions without a reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from made import Cooling, made
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from pinntk.callbacks.files import write_figure, write_pixels
from pinntk.callbacks.solution_picture import pixel_scale, pixels, plot
from pinntk.common.arrays import Array
from pinntk.pdes.base import PDE


def problem(names: str, shape: tuple[int, ...], fields: str = "u", points: Array | None = None) -> PDE:
    """A problem on the unit box in these coordinates."""
    box: dict[str, Any] = {"lower": (0.0,) * len(names), "upper": (1.0,) * len(names), "evaluation_shape": shape}
    if points is not None:
        box["evaluation_points"] = lambda self: points
    return made(Cooling, coordinates=tuple(names), fields=tuple(fields), **box)


def values_of(pde: PDE) -> Array:
    """Of the fields, (n, F): 10^k (1 x + 10 y + 100 z + 1000 t) for the one with number k."""
    weight = {"x": 1, "y": 10, "z": 100, "t": 1000}
    sums = pde.evaluation_points() @ np.array([weight[name] for name in pde.coordinates], dtype=np.float64)
    return np.asarray(sums[:, None] * 10.0 ** np.arange(len(pde.fields)))


def panels_of(figure: Figure) -> list[Axes]:
    return [panel for panel in figure.axes if panel.get_label() != "<colorbar>"]


def mesh_of(panel: Axes) -> Array:
    (mesh,) = (artist for artist in panel.collections if isinstance(artist, QuadMesh))
    found = mesh.get_array()
    assert found is not None
    return np.ma.filled(np.ma.asarray(found, dtype=np.float64), np.nan)


def test_rows_of_maps_for_three_fields_with_a_hole(tmp_path: Path) -> None:
    pde = problem("xt", (4, 5), "uvp")
    u = values_of(pde)
    v = u + [[0.5, 0.0, 7.0]]
    v[7], v[3, 1] = np.nan, np.nan  # outside; and one that is not known of v alone
    figure = plot(pde, u, v, "adam")
    found = panels_of(figure)
    kinds = ("prediction", "reference", "error")
    assert [panel.get_title() for panel in found] == [f"{name}: {kind}" for name in "uvp" for kind in kinds]
    for k in range(3):
        prediction = np.where(np.arange(20) == 7, np.nan, u[:, k])
        for panel, expected in zip(found[3 * k : 3 * k + 3], (prediction, v[:, k], u[:, k] - v[:, k]), strict=True):
            np.testing.assert_array_equal(mesh_of(panel).reshape(4, 5), expected.reshape(4, 5))
    title = figure.get_suptitle().splitlines()
    assert title[0].startswith("case, adam: L2RE ")
    assert [word for word in title[1].split() if word.isalpha()] == ["u", "v", "p"]
    write_figure(tmp_path / "solution.png", figure)


@pytest.mark.parametrize(
    ("names", "fields", "labels"),
    [
        ("xyt", "uvp", ["t = 0.3", "t = 1"]),
        ("xyt", "uv", ["t = 0", "t = 0.3", "t = 1"]),
        ("xyt", "abcdefg", ["t = 1"]),
        ("xyz", "uvp", ["z = 0.2", "z = 0.8"]),
        ("xyz", "abcd", ["z = 0.5"]),
    ],
)
def test_moments_are_left_out_where_there_are_many_fields(names: str, fields: str, labels: list[str]) -> None:
    pde = problem(names, (3, 4, 11), fields)
    u = values_of(pde)
    figure = plot(pde, u, u + 1, "adam")
    found = panels_of(figure)
    assert len(found) == 3 * len(labels) * len(fields)
    assert [panel.get_ylabel().splitlines()[0] for panel in found[::3]] == labels * len(fields)
    assert [panel.get_title() for panel in found[:: 3 * len(labels)]] == [f"{name}: prediction" for name in fields]
    place = [round(float(label.split("=")[1]) * 10) for label in labels]
    for k in range(len(fields)):
        for row, moment in enumerate(place):
            expected = u[:, k].reshape(3, 4, 11)[:, :, moment].T
            np.testing.assert_array_equal(mesh_of(found[3 * (k * len(labels) + row)]).reshape(4, 3), expected)
    width, height = figure.get_size_inches()
    assert width == 10.5
    assert height <= 2.6 * max(6, len(fields)) + 1


def test_the_prediction_alone() -> None:
    pde = problem("xyt", (3, 4, 11), "uv")
    u = values_of(pde)
    figure = plot(pde, u, None, "adam")
    assert figure.get_suptitle() == "case, adam"
    found = panels_of(figure)
    moments = ("0", "0.3", "1")  # of four the second is the first on so coarse a grid
    assert [panel.get_title() for panel in found] == [f"{name}, t = {moment}" for name in "uv" for moment in moments]
    for panel, (k, moment) in zip(found, [(k, m) for k in range(2) for m in (0, 3, 10)], strict=True):
        np.testing.assert_array_equal(mesh_of(panel).reshape(4, 3), u[:, k].reshape(3, 4, 11)[:, :, moment].T)
    one = problem("xt", (4, 5))
    (single,) = panels_of(plot(one, values_of(one)[:, 0], None, "adam"))
    assert (single.get_title(), single.get_xlabel(), single.get_ylabel()) == ("prediction", "t", "x")
    np.testing.assert_array_equal(mesh_of(single).ravel(), values_of(one)[:, 0])


def test_a_block_of_fields_without_a_reference(tmp_path: Path) -> None:
    pde = problem("xt", (4, 5), "uvpq")
    figure = plot(pde, values_of(pde), None, "adam")
    found = panels_of(figure)
    assert [panel.get_title() for panel in found] == ["u", "v", "p", "q"]
    assert [panel.get_xlabel() for panel in found] == ["", "t", "t", "t"]  # nothing stands below these three
    write_figure(tmp_path / "solution.png", figure)


def test_a_field_that_is_not_known_at_all(tmp_path: Path) -> None:
    pde = problem("xt", (4, 5), "uv")
    u = values_of(pde)
    v = u * [[1.1, np.nan]]
    figure = plot(pde, u, v, "adam")
    found = panels_of(figure)
    np.testing.assert_array_equal(mesh_of(found[3]).ravel(), u[:, 1])
    assert [[text.get_text() for text in panel.texts] for panel in found[4:]] == [["not known"], ["not known"]]
    assert figure.get_suptitle().splitlines()[1].split()[::2] == ["u"]
    write_figure(tmp_path / "solution.png", figure)


def test_curves_of_two_fields() -> None:
    pde = problem("x", (30,), "uv")
    u, v = values_of(pde), values_of(pde) + [[1.0, 2.0]]
    v[:4] = np.nan
    found = plot(pde, u, v, "adam").axes
    assert [panel.get_ylabel() for panel in found[::2]] == ["u", "v"]
    assert [panel.get_title() for panel in found[1::2]] == [f"{name}: prediction - reference" for name in "uv"]
    for k in range(2):
        curves = {str(line.get_label()): np.asarray(line.get_ydata()) for line in found[2 * k].lines}
        np.testing.assert_array_equal(curves["reference"], v[:, k])
        np.testing.assert_array_equal(curves["prediction"], [np.nan] * 4 + u[4:, k].tolist())
        np.testing.assert_array_equal(np.asarray(found[2 * k + 1].lines[0].get_ydata()), u[:, k] - v[:, k])
    alone = plot(pde, u, None, "adam").axes
    assert [[line.get_label() for line in panel.lines] for panel in alone] == [["prediction"], ["prediction"]]


def test_scattered_points_of_three_coordinates_come_in_layers(tmp_path: Path) -> None:
    points = np.random.default_rng(0).random((90, 3))
    pde = problem("xyt", (2, 2, 2), points=points)
    u = values_of(pde)[:, 0]
    v = np.where(np.arange(90) < 5, np.nan, u + 1)
    figure = plot(pde, u, v, "adam")
    found = panels_of(figure)
    assert len(found) == 9
    seen = []
    late = np.argsort(points[:, 2])
    for row in range(3):
        members = late[30 * row : 30 * row + 30]
        low, high = points[members, 2].min(), points[members, 2].max()
        assert found[3 * row].get_ylabel() == f"t = {low:.3g} … {high:.3g}\ny"
        (dots,) = found[3 * row + 1].collections
        shown = np.ma.filled(np.ma.asarray(dots.get_array(), dtype=np.float64), np.nan)
        kept = members[~np.isnan(v[members])]
        assert sorted(shown[~np.isnan(shown)]) == sorted(v[kept])
        seen += kept.tolist()
    assert sorted(seen) == list(range(5, 90))
    write_figure(tmp_path / "solution.png", figure)


def test_scattered_points_at_few_moments_are_not_mixed() -> None:
    points = np.column_stack([np.random.default_rng(0).random((40, 2)), np.repeat([0.0, 1.0], [10, 30])])
    pde = problem("xyt", (2, 2, 2), points=points)
    found = panels_of(plot(pde, values_of(pde)[:, 0], None, "adam"))
    assert [panel.get_title() for panel in found] == ["t = 0", "t = 1"]
    assert [len(np.asarray(panel.collections[0].get_offsets())) for panel in found] == [10, 30]


@pytest.mark.parametrize(
    ("names", "shape", "alone", "beside"),
    [
        ("x", (40,), (2, 40), (4, 40)),
        ("xt", (4, 5), (4, 5), (4, 10)),
        ("xyt", (3, 4, 101), (4, 12), (8, 12)),
    ],
)
def test_pixels_with_and_without_a_reference(
    names: str, shape: tuple[int, ...], alone: tuple[int, int], beside: tuple[int, int], tmp_path: Path
) -> None:
    one, two = problem(names, shape), problem(names, shape, "uv")
    u = values_of(two)
    single = pixels(one, u[:, 0], None)
    assert single is not None
    assert single.shape == alone
    assert np.isin(single, u[:, 0]).all()
    np.testing.assert_array_equal(pixel_scale(one, u[:, 0], None), u[:, 0])
    for reference, size in ((None, alone), (u, beside)):
        both = pixels(two, u, reference)
        assert both is not None
        assert both.shape == (2 * size[0], size[1])
        # The first at the top, the later rows; each in its own range, in which they are equal.
        np.testing.assert_allclose(both[: size[0]], both[size[0] :], atol=1e-14)
        assert (both.min(), both.max()) == pytest.approx((0.0, 1.0), abs=0.05)
        np.testing.assert_array_equal(pixel_scale(two, u, reference), [0.0, 1.0])
    first = pixels(two, u * [1.0, 3.0], u)
    assert first is not None
    assert first[beside[0] :].max() <= 1.0 < first[: beside[0]].max()
    # What is not known is white.
    v = u[:, 0].copy()
    v[:3] = np.nan
    shown = pixels(one, u[:, 0], v)
    assert shown is not None
    write_pixels(tmp_path / "prediction.png", shown, pixel_scale(one, u[:, 0], v))
    picture = matplotlib.image.imread(tmp_path / "prediction.png")[::-1]
    assert np.isnan(shown).any()
    assert (picture[np.isnan(shown)] == 1.0).all()
    assert (picture[~np.isnan(shown)][:, :3].sum(axis=1) < 2.9).all()
