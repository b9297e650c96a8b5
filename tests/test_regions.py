"""Where terms live: faces, pairs in any coordinate, regions of one's own, and the regions of a shape."""

from __future__ import annotations

import math
import zlib
from typing import Any, ClassVar

import numpy as np
import pytest
from jacobians import residuals_of
from made import EQUATION, line_of, made
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.pdes import PDE, Points, Polygon, Term, prescribed, zero
from pinntk.pdes.declaration import check
from pinntk.residual.collocation import Collocation
from pinntk.residual.named import placed, regions_of
from pinntk.residual.points import PointSettings, draw_region, sample
from pinntk.residual.regions import Domain, Region

BOX = Domain(("x", "t", "y"), (-1.0, 5.0, 0.0), (2.0, 9.0, 1.0))
COUNTS = PointSettings(interior=50, initial=20, boundary=43)
SAMPLINGS = ["uniform", "latin_hypercube", "sobol", "grid"]
CORNER = Polygon(((-1, -1), (1, -1), (1, 0), (0, 0), (0, 1), (-1, 1)))


def drawn(regions: list[str | Region], seed: int = 3, draw: int = 0, **settings: Any) -> dict[str, Array]:
    counts = COUNTS.model_copy(update=settings)
    found = [placed(region, BOX) for region in regions]
    return sample(counts, BOX.coordinates, BOX.lower, BOX.upper, found, seed=seed, draw=draw)


# --- faces and pairs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(
    ("region", "column", "end", "count"),
    [("x = lower", 0, -1.0, 10), ("x=upper", 0, 2.0, 10), (" y =upper ", 2, 1.0, 10), ("t= upper", 1, 9.0, 20)],
)
def test_a_face_takes_its_share(region: str, column: int, end: float, count: int, sampling: str) -> None:
    """43 points on four faces are 10 each; a face of the time has as many as the initial one."""
    ((name, points),) = drawn([region], sampling=sampling).items()
    assert name == f"{'xty'[column]} = {region.split('=')[1].strip()}"
    assert (points[:, column] == end).all()
    if sampling != "grid":
        assert len(points) == count
    free = [c for c in range(3) if c != column]
    spread = np.ptp(points, axis=0)[free] / (np.array(BOX.upper) - BOX.lower)[free]
    assert (spread > 0.4).all()
    assert len(drawn([region], boundary=1, initial=1)[name]) == 1


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(("region", "column"), [("periodic( y )", 2), ("periodic(t)", 1), ("periodic(x)", 0)])
def test_pairs_in_any_coordinate(region: str, column: int, sampling: str) -> None:
    ((name, points),) = drawn([region], sampling=sampling).items()
    assert name == f"periodic({'xty'[column]})"
    lower, image = np.split(points, 2)
    assert (lower[:, column] == BOX.lower[column]).all()
    assert (image[:, column] == BOX.upper[column]).all()
    assert np.array_equal(np.delete(lower, column, axis=1), np.delete(image, column, axis=1))
    assert len(lower) == (43 if sampling != "grid" else 49)


def test_regions_are_streams_of_their_own() -> None:
    old = ["interior", "initial", "boundary", "periodic"]
    new = ["x = lower", "x = upper", "y = lower", "periodic(x)", "periodic(y)"]
    alone, together = drawn([*old]), drawn([*new, *old])
    assert list(together) == [*new, *old]
    assert all(np.array_equal(alone[name], together[name]) for name in old)
    times = [set(together[name][:, 1]) - {5.0} for name in [*new, *old]]
    for k, one in enumerate(times):
        assert not any(one & other for other in times[:k])


def test_a_face_is_a_function_of_its_name_seed_and_draw() -> None:
    """The generator written out: no hash of Python's, which changes from process to process."""
    key = zlib.crc32(b"y = upper") + 6
    unit = np.random.default_rng([3, 2, key]).random((10, 2))
    expected = np.stack([-1 + 3 * unit[:, 0], 5 + 4 * unit[:, 1], np.ones(10)], axis=1)
    assert np.array_equal(drawn(["y = upper"], draw=2)["y = upper"], expected)


@pytest.mark.parametrize("region", ["z = lower", "x = left", "periodic(z)", "x > lower", "periodic(x", "", "lower"])
def test_a_string_that_names_no_region(region: str) -> None:
    with pytest.raises(ValueError, match=r"^region .*allowed: boundary, initial, interior, periodic, periodic"):
        placed(region, BOX)
    term = Term("a", "x=lowr", ("u",), FREE)
    assert "did you mean 'x = lower'?" in line_of(made(terms=lambda self: (EQUATION, term)))


def FREE(s: dict[str, Tensor]) -> Tensor:
    return s["u"]


def box_distance(points: Array, columns: list[int]) -> Array:
    """Signed distance from the faces in these columns, negative inside: the nearest face's, exact off the edges."""
    low, high = np.array(BOX.lower), np.array(BOX.upper)
    return np.asarray(np.maximum(low - points, points - high)[:, columns].max(axis=1))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("region", "columns"),
    [
        ("boundary", [0, 2]),
        ("x = lower", [0]),
        ("x = upper", [0]),
        ("y=lower", [2]),
        ("t = upper", [1]),
        ("t=lower", [1]),
    ],
)
def test_normals_of_the_box(region: str, columns: list[int], dtype: Any) -> None:
    found = placed(region, BOX)
    points = draw_region(found, 200, "uniform", seed=0, draw=0)
    slopes = np.zeros_like(points)
    for c in columns:
        step = 1e-6 * np.eye(3)[c]
        slopes[:, c] = (box_distance(points + step, columns) - box_distance(points - step, columns)) / 2e-6
    normals = found.normals(points.astype(dtype).astype(np.float64))
    assert normals is not None
    np.testing.assert_allclose(normals, slopes, rtol=0, atol=1e-8)


def test_normals_of_pairs_and_of_what_has_none() -> None:
    found = placed("periodic(y)", BOX)
    points = draw_region(found, 5, "sobol", seed=0, draw=0)
    expected = np.repeat([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]], 5, axis=0)
    np.testing.assert_array_equal(found.normals(points), expected)
    for name in ("interior", "initial"):
        assert placed(name, BOX).normals(points) is None


def test_what_a_string_can_name_is_there() -> None:
    for name in regions_of(BOX.coordinates):
        region = placed(name, BOX)
        assert region.name == name
        assert region.equation == (name == "interior")
        assert region.pairs == name.startswith("periodic")


# --- a region of one's own --------------------------------------------------------------------------------------------


def circle(unit: Array) -> Array:
    """Around (0.5, 0.5) with radius 0.2, at all times from 5 to 9."""
    angle = 2 * math.pi * unit[:, 0]
    return np.column_stack([0.5 + 0.2 * np.cos(angle), 5 + 4 * unit[:, 1], 0.5 + 0.2 * np.sin(angle)])


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_points_of_ones_own_are_spread_as_the_run_says(sampling: str) -> None:
    hole = Points("hole", circle, dimension=2)
    points = drawn([hole], sampling=sampling)["hole"]
    angle = np.arctan2(points[:, 2] - 0.5, points[:, 0] - 0.5) / (2 * math.pi) % 1
    unit = np.column_stack([angle, (points[:, 1] - 5) / 4])
    assert len(points) == (49 if sampling == "grid" else 43)
    if sampling == "latin_hypercube":
        for column in unit.T:
            assert np.array_equal(np.sort(np.floor(column * 43 + 1e-9)), np.arange(43))
    if sampling == "grid":
        np.testing.assert_allclose(np.unique(unit[:, 0].round(9)), (np.arange(7) + 0.5) / 7, atol=1e-8)
    if sampling == "sobol":
        assert len(np.unique(np.floor(unit[:32] * [8, 4] + 1e-9), axis=0)) == 32


def test_how_many_points_of_ones_own() -> None:
    for region, count in (
        (Points("a", circle), 43),
        (Points("b", circle, equation=True), 50),
        (Points("c", circle, count=7), 7),
    ):
        assert len(drawn([region])[region.name]) == count
        assert np.array_equal(drawn([region], draw=4)[region.name], drawn([region], draw=4)[region.name])
        assert not np.array_equal(drawn([region], draw=4)[region.name], drawn([region], draw=5)[region.name])
    for bad in ({"count": 0}, {"dimension": 0}):
        with pytest.raises(ValueError, match=r"region 'd': (count|dimension)=0; allowed is at least 1"):
            Points("d", circle, **bad)  # type: ignore[arg-type]


# --- the domain of a shape --------------------------------------------------------------------------------------------


class Heated(PDE):
    """``u_t = u_xx + u_yy`` on the L."""

    name: ClassVar[str] = "heated"
    coordinates: ClassVar[tuple[str, ...]] = ("x", "t", "y")
    lower: ClassVar[tuple[float, ...]] = (-1.0, 2.0, -1.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 6.0, 1.0)
    shape = CORNER
    evaluation_shape: ClassVar[tuple[int, ...]] = (5, 3, 5)

    def terms(self) -> tuple[Term, ...]:
        return (
            Term("residual", "interior", ("u_t", "u_xx", "u_yy"), lambda s: s["u_t"] - s["u_xx"] - s["u_yy"]),
            Term("initial", "initial", ("u",), prescribed("u"), lambda x: (x[:, 0] * x[:, 2],)),
            Term("boundary", "boundary", ("u",), zero("u")),
            Term("face", "x = lower", ("u_x",), zero("u_x")),
        )


def inside_corner(points: Array) -> Any:
    x, y = points[:, 0], points[:, 2]
    return (np.abs(x) <= 1) & (np.abs(y) <= 1) & ((x <= 0) | (y <= 0))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_points_of_a_shape_in_space_and_time(sampling: str) -> None:
    check(Heated())
    settings = PointSettings.model_validate({"interior": 400, "initial": 300, "boundary": 400, "sampling": sampling})
    batches = Collocation(residuals_of(Heated()), settings, seed=0).batches(0)
    points = {name: batch.points.numpy() for name, batch in batches.items()}
    wanted = {"interior": 400, "initial": 300, "boundary": 400, "x = lower": 100}
    for name, x in points.items():
        assert abs(len(x) - wanted[name]) <= (60 if sampling == "grid" else 0)
    assert inside_corner(points["interior"]).all()
    assert inside_corner(points["initial"]).all()
    assert (points["initial"][:, 1] == 2).all()
    for name in ("interior", "boundary"):
        t = points[name][:, 1]
        assert ((t >= 2) & (t <= 6)).all()
        assert abs(t.mean() - 4) < 5 * 4 / math.sqrt(12 * len(t))
    x, _, y = points["boundary"].T
    on = (np.abs(x) == 1) & (y <= 1), (np.abs(y) == 1), (np.abs(x) < 1e-12) & (y >= 0), (np.abs(y) < 1e-12) & (x >= 0)
    assert np.any([np.abs(np.abs(x) - 1) < 1e-12, np.abs(np.abs(y) - 1) < 1e-12, *on], axis=0).all()
    assert points["x = lower"][:, 2].max() > 0.5  # the box's face
    normals = residuals_of(Heated()).region_of["boundary"].normals(points["boundary"])
    assert normals is not None
    assert (normals[:, 1] == 0).all()
    ahead, back = points["boundary"] + 1e-6 * normals, points["boundary"] - 1e-6 * normals
    assert not inside_corner(ahead).any()
    assert inside_corner(back).all()


def test_points_drawn_by_residual_stay_inside_of_the_shape() -> None:
    settings = PointSettings(interior=200, initial=5, boundary=5, by_residual=0.9)
    made = Collocation(residuals_of(Heated()), settings, seed=0)
    first, second = (made.batches(k)["interior"].points.numpy() for k in (0, 1))
    assert inside_corner(second).all()
    plain = Collocation(residuals_of(Heated()), settings.model_copy(update={"by_residual": 0.0}), seed=0)
    kept = plain.batches(1)["interior"].points.numpy()
    assert np.array_equal(second[:20], kept[:20])
    assert not np.isin(second[20:, 0], kept[:, 0]).any()
    assert not np.array_equal(first, second)
