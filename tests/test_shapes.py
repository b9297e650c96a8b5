"""Domains that are not a box: what is inside, how points spread, where the boundary and its normals are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from pinntk.common.arrays import Array
from pinntk.residual.points import UnitPoints
from pinntk.residual.shapes import Disc, Polygon, Shape

CORNER = ((0.0, 0.0), (2.0, 0.0), (2.0, 1.0), (1.0, 1.0), (1.0, 2.0), (0.0, 2.0))
STAR = tuple(
    (r * math.cos(a) + 0.3, r * math.sin(a) - 0.2)
    for r, a in zip((1.0, 0.4) * 7, np.arange(14) * math.pi / 7, strict=True)
)
# Area and perimeter of the star: fourteen triangles with two sides 1 and 0.4 and the angle pi/7 between them.
STAR_AREA = 14 * 0.5 * 0.4 * math.sin(math.pi / 7)
STAR_PERIMETER = 14 * math.sqrt(1 + 0.4**2 - 2 * 0.4 * math.cos(math.pi / 7))
POLYGONS: dict[str, tuple[Any, float, float]] = {
    "corner": (CORNER, 3.0, 8.0),
    "corner, with the clock": (CORNER[::-1], 3.0, 8.0),
    "star": (STAR, STAR_AREA, STAR_PERIMETER),
    "star, closed and with the clock": (STAR[::-1] + STAR[-1:], STAR_AREA, STAR_PERIMETER),
}
DISC = Disc((0.5, -1.0), 1.5)
SHAPES: dict[str, Shape] = {"disc": DISC, **{name: Polygon(corners) for name, (corners, _, _) in POLYGONS.items()}}
SAMPLINGS = ["uniform", "latin_hypercube", "sobol"]
shapes = pytest.mark.parametrize("name", SHAPES)


def unit(sampling: str = "uniform", seed: int = 0) -> UnitPoints:
    return UnitPoints(sampling, np.random.default_rng(seed))


def held_by(name: str, points: Array) -> NDArray[np.bool_]:
    """Inside or not, by other means."""
    if name == "disc":
        return np.asarray(((points - [0.5, -1.0]) ** 2).sum(axis=1) < 1.5**2)
    return np.asarray(Outline(POLYGONS[name][0]).contains_points(points))


def signed_distance(name: str, points: Array) -> Array:
    """From the boundary, negative inside: by the foot of the perpendicular or the nearer end of every edge."""
    if name == "disc":
        return np.asarray(np.sqrt(((points - [0.5, -1.0]) ** 2).sum(axis=1)) - 1.5)
    corners = [np.array(c) for c in POLYGONS[name][0]]
    nearest = np.full(len(points), np.inf)
    for p, q in zip(corners, corners[1:] + corners[:1], strict=True):
        length = math.dist(p, q)
        if length == 0:  # the first corner again
            continue
        along = (points - p) @ (q - p) / length
        across = np.abs((points - p) @ np.array([-(q - p)[1], (q - p)[0]])) / length
        ends = np.minimum(*(np.sqrt(((points - c) ** 2).sum(axis=1)) for c in (p, q)))
        nearest = np.minimum(nearest, np.where((along >= 0) & (along <= length), across, ends))
    return np.where(held_by(name, points), -nearest, nearest)


def binomial(found: int, n: int, share: float) -> bool:
    """Whether so many of n are within five standard deviations of the share."""
    return abs(found - n * share) < 5 * math.sqrt(n * share * (1 - share))


@shapes
def test_contains_and_size(name: str) -> None:
    shape, n = SHAPES[name], 40_000
    box = np.random.default_rng(1).uniform(shape.lower - 0.1, shape.upper + 0.1, (n, 2))
    inside = shape.contains(box)
    assert np.array_equal(inside, held_by(name, box))
    closed_form = math.pi * 1.5**2 if name == "disc" else POLYGONS[name][1]
    assert shape.size == pytest.approx(closed_form, rel=1e-12)
    assert binomial(int(inside.sum()), n, closed_form / float(np.prod(shape.upper - shape.lower + 0.2)))
    assert not shape.contains(np.array([shape.lower, shape.upper]) + [[-0.01, 0], [0.01, 0]]).any()


@pytest.mark.parametrize("sampling", SAMPLINGS)
@shapes
def test_points_inside_are_spread_evenly(name: str, sampling: str) -> None:
    shape, n = SHAPES[name], 4000
    points = shape.inside(n, unit(sampling), more=1)
    assert points.shape == (n, 3)
    assert points.dtype == np.float64
    assert held_by(name, points[:, :2]).all()
    middle = (shape.lower + shape.upper) / 2
    box = np.random.default_rng(5).uniform(shape.lower, shape.upper, (400_000, 2))
    box = box[held_by(name, box)]
    for direction in ([1, 0], [0, 1], [1, 1], [2, -1]):
        part, share = (
            points[:, :2] @ direction < middle @ direction,
            float((box @ direction < middle @ direction).mean()),
        )
        assert binomial(int(part.sum()), n, share)
        times = points[part, 2]  # the further column is even, wherever a point is
        assert abs(times.mean() - 0.5) < 5 / math.sqrt(12 * len(times))
        assert times.min() >= 0
        assert times.max() < 1


@pytest.mark.parametrize("n", [1, 2, 50, 1000])
@shapes
def test_a_grid_inside_is_the_part_of_a_grid(name: str, n: int) -> None:
    shape = SHAPES[name]
    points = shape.inside(n, unit("grid"))
    assert len(points) >= 1
    assert signed_distance(name, points).max() < 1e-12
    if n >= 50:
        assert abs(len(points) - n) < 0.2 * n
        width = shape.upper - shape.lower
        k = round(math.sqrt(n * float(np.prod(width)) / shape.size))
        middles = (np.arange(k) + 0.5) / k
        whole = shape.lower + width * np.array([(x, y) for x in middles for y in middles])
        points, whole = (x[signed_distance(name, x) < -1e-9] for x in (points, whole))  # on the edge either is right
        np.testing.assert_allclose(points, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sampling", [*SAMPLINGS, "grid"])
@shapes
def test_points_of_the_boundary_lie_on_it(name: str, sampling: str) -> None:
    points = SHAPES[name].edge(900, unit(sampling), more=1)
    assert points.shape == (900, 3)
    assert np.abs(signed_distance(name, points[:, :2])).max() < 1e-12
    assert abs(points[:, 2].mean() - 0.5) < 5 / math.sqrt(12 * 900)


@pytest.mark.parametrize("name", POLYGONS)
def test_points_of_a_polygons_boundary_are_even_along_it(name: str) -> None:
    corners, _, perimeter = POLYGONS[name]
    shape, n = Polygon(corners), 20_000
    assert shape.perimeter == pytest.approx(perimeter, rel=1e-12)
    points = shape.edge(n, unit())
    corners = [np.array(c) for c in shape.vertices]
    seen = 0
    for p, q in zip(corners, corners[1:] + corners[:1], strict=True):
        length = math.dist(p, q)
        along = (points - p) @ (q - p) / length
        on = (np.abs((points - p) @ np.array([-(q - p)[1], (q - p)[0]])) < 1e-12) & (along >= 0) & (along <= length)
        seen += int(on.sum())
        assert binomial(int(on.sum()), n, length / perimeter)
        assert abs(along[on].mean() - length / 2) < 5 * length / math.sqrt(12 * on.sum())
    assert seen == n


def test_points_of_a_circle_are_even_along_it() -> None:
    x, y = (DISC.edge(20_000, unit()) - [0.5, -1.0]).T
    assert np.abs(x.mean()) < 5 * 1.5 / math.sqrt(2 * 20_000)
    assert np.abs(y.mean()) < 5 * 1.5 / math.sqrt(2 * 20_000)
    turn = np.sort(np.arctan2(y, x))
    assert np.abs(turn - np.linspace(-math.pi, math.pi, 20_000)).max() < 2 * math.pi * 2 / math.sqrt(20_000)


@shapes
def test_normals_are_the_slope_of_the_signed_distance(name: str) -> None:
    shape, h = SHAPES[name], 1e-6
    points = shape.edge(500, unit())
    if name != "disc":  # at a corner the distance has no slope
        corners = np.array(POLYGONS[name][0])
        points = points[(np.linalg.norm(points[:, None] - corners[None], axis=2) > 1e-3).all(axis=1)]
    assert len(points) > 400
    normals = shape.normals(points)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, rtol=0, atol=1e-12)
    for c in (0, 1):
        step = h * np.eye(2)[c]
        slope = (signed_distance(name, points + step) - signed_distance(name, points - step)) / (2 * h)
        np.testing.assert_allclose(normals[:, c], slope, rtol=0, atol=1e-6)
    assert not shape.contains(points + 1e-4 * normals).any()
    assert shape.contains(points - 1e-4 * normals).all()


def test_a_draw_is_a_function_of_its_generator() -> None:
    for shape in SHAPES.values():
        for points in (shape.inside, shape.edge):
            assert np.array_equal(points(50, unit(seed=3)), points(50, unit(seed=3)))
            assert not np.array_equal(points(50, unit(seed=3)), points(50, unit(seed=4)))


WRONG: dict[str, tuple[Sequence[Any], str]] = {
    "two corners": (((0, 0), (1, 0)), "2 corners; allowed are at least 3"),
    "two corners, closed": (((0, 0), (1, 0), (0, 0)), "2 corners"),
    "none": ((), "vertices=(); allowed are pairs"),
    "bow": (((0, 0), (1, 1), (1, 0), (0, 1)), "its edges meet"),
    "no area": (((0, 0), (1, 0), (2, 0)), "its edges meet"),
    "there and back": (((0, 0), (2, 0), (1, 0), (1, 1)), "its edges meet"),
    "a corner twice": (((0, 0), (2, 0), (1, 1), (2, 2), (0, 2), (1, 1)), "its edges meet at or next to [1.0, 1.0]"),
    "no length": (((0, 0), (1, 0), (1, 0), (0, 1)), "next to [1.0, 0.0]"),
    "a corner on an edge": (((0, 0), (2, 0), (2, 2), (1, 0), (0, 2)), "its edges meet at or next to [1.0, 0.0]"),
    "three numbers": (((0, 0, 0), (1, 0, 0), (0, 1, 0)), "pairs of finite numbers"),
    "ragged": (((0, 0), (1,), (0, 1)), "pairs of finite numbers"),
    "nan": (((0, 0), (1, 0), (0, math.nan)), "pairs of finite numbers"),
    "words": ((("a", "b"),) * 3, "pairs of finite numbers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_polygon_that_is_none(case: str) -> None:
    vertices, words = WRONG[case]
    with pytest.raises(ValueError, match=r"^Polygon: .*; allowed ") as caught:
        Polygon(vertices)
    assert words in str(caught.value)


@pytest.mark.parametrize("bad", [{"radius": 0.0}, {"radius": -1.0}, {"radius": math.nan}, {"centre": (0.0,)}])
def test_a_disc_that_is_none(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^Disc: .*; allowed "):
        Disc(**{"centre": (0.0, 0.0), "radius": 1.0, **bad})


class Ball(Shape):
    """Of radius 1 in three coordinates, as a user would write it."""

    lower, upper, size = -np.ones(3), np.ones(3), 4 / 3 * math.pi

    def contains(self, points: Array) -> NDArray[np.bool_]:
        return np.asarray(np.linalg.norm(points, axis=1) < 1)

    def edge(self, n: int, unit: Any, more: int = 0) -> Array:
        u = unit(n, 2 + more)
        z, angle = 2 * u[:, 0] - 1, 2 * math.pi * u[:, 1]
        return np.column_stack([np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z, u[:, 2:]])

    def normals(self, points: Array) -> Array:
        return points


def test_a_shape_of_ones_own_in_three_coordinates() -> None:
    n = 20_000
    points = Ball().inside(n, unit())
    assert points.shape == (n, 3)
    # The radius to the third power is uniform.
    assert abs((np.linalg.norm(points, axis=1) ** 3).mean() - 0.5) < 5 / math.sqrt(12 * n)


def test_a_size_that_is_far_off() -> None:
    class Empty(Ball):
        def contains(self, points: Array) -> NDArray[np.bool_]:
            return np.zeros(len(points), dtype=bool)

    with pytest.raises(ValueError, match=r"^shape: contains\(\) holds for 0 of .*; allowed "):
        Empty().inside(2, unit())
