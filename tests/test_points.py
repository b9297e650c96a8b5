"""Collocation points: where they lie, how many, how evenly, and that a draw depends on (seed, draw) alone."""

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pinntk.common.arrays import Array
from pinntk.pdes.base import PDE
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.convection import Convection
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.residual.named import REGIONS
from pinntk.residual.points import PointSettings, sample

SAMPLINGS = ["uniform", "latin_hypercube", "sobol", "grid"]
RANDOM = SAMPLINGS[:3]
COUNTS = {"interior": 101, "initial": 37, "boundary": 43}


def draw_points(
    pde: type[PDE], sampling: str, seed: int = 0, draw: int = 0, regions: tuple[str, ...] = (), **counts: int
) -> dict[str, Array]:
    settings = PointSettings.model_validate({**COUNTS, **counts, "sampling": sampling})
    wanted = regions or pde().regions()
    return sample(settings, pde.coordinates, pde.lower, pde.upper, wanted, seed=seed, draw=draw)


def unit(pde: type[PDE], points: Array) -> Array:
    """Points of the box mapped to the unit cube."""
    return (points - pde.lower) / (np.array(pde.upper) - pde.lower)


def faces(pde: type[PDE]) -> list[tuple[int, float]]:
    """The (coordinate, value) of every face in space."""
    space = [c for c, name in enumerate(pde.coordinates) if name != "t"]
    return [(c, side[c]) for c in space for side in (pde.lower, pde.upper)]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("pde", [Convection, Burgers, Heat2D, Poisson1D])
def test_points_lie_in_their_region(pde: type[PDE], sampling: str) -> None:
    points = draw_points(pde, sampling)
    assert tuple(points) == pde().regions()
    for region, x in points.items():
        assert x.dtype == np.float64
        assert x.shape[1] == len(pde.coordinates)
        assert (x >= pde.lower).all()
        assert (x <= pde.upper).all()
        if region != "boundary" and len(pde.coordinates) > 1:  # spread over the box, not in a corner of it
            free = np.ptp(unit(pde, x), axis=0) > 0
            assert (np.ptp(unit(pde, x), axis=0)[free] > 0.7).all()
    if "initial" in points:
        assert (points["initial"][:, -1] == 0).all()
        assert pde.coordinates[-1] == "t"


@pytest.mark.parametrize("sampling", RANDOM)
@pytest.mark.parametrize("pde", [Convection, Burgers, Heat2D])
def test_counts_are_exact(pde: type[PDE], sampling: str) -> None:
    points = draw_points(pde, sampling)
    for region, x in points.items():
        assert len(x) == (2 * COUNTS["boundary"] if region == "periodic" else COUNTS[region])


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(("pde", "count"), [(Burgers, 43), (Burgers, 44), (Heat2D, 43), (Heat2D, 4 * 9)])
def test_boundary_points_are_dealt_out_evenly(pde: type[PDE], count: int, sampling: str) -> None:
    x = draw_points(pde, sampling, boundary=count)["boundary"]
    on_face = np.stack([x[:, c] == value for c, value in faces(pde)])
    assert (on_face.sum(axis=0) >= 1).all()
    per_face = on_face.sum(axis=1)
    assert per_face.min() >= 1
    if sampling != "grid":
        assert len(x) == count
        assert per_face.max() - per_face.min() <= 1
    for row in on_face:  # each face is covered in all its own directions
        assert (np.ptp(unit(pde, x[row]), axis=0) > 0.4).sum() == len(pde.coordinates) - 1


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_periodic_points_are_pairs(sampling: str) -> None:
    lower, upper = np.split(draw_points(Convection, sampling)["periodic"], 2)
    assert (lower[:, 0] == 0).all()
    assert (upper[:, 0] == 2 * math.pi).all()
    assert np.array_equal(lower[:, 1:], upper[:, 1:])
    assert len(np.unique(lower[:, 1])) == COUNTS["boundary"]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("count", [1, 2, 101])
def test_a_boundary_that_is_two_points_is_just_them(count: int, sampling: str) -> None:
    assert draw_points(Poisson1D, sampling, boundary=count)["boundary"].tolist() == [[0.0], [1.0]]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_one_point_suffices(sampling: str) -> None:
    points = draw_points(Heat2D, sampling, interior=1, initial=1, boundary=1)
    assert [len(points[r]) for r in ("interior", "initial", "boundary")] == [1, 1, 4]  # one per face


@pytest.mark.parametrize("sampling", RANDOM)
@pytest.mark.parametrize("pde", [Convection, Heat2D])
def test_a_draw_is_a_function_of_seed_and_number(pde: type[PDE], sampling: str) -> None:
    first = draw_points(pde, sampling, seed=4, draw=9)
    np.random.seed(0)  # noqa: NPY002 - the global state must not matter
    again = draw_points(pde, sampling, seed=4, draw=9)
    others = [draw_points(pde, sampling, seed=s, draw=d) for s, d in [(4, 10), (5, 9), (9, 4), (0, 9), (4, 0)]]
    for region in first:
        assert np.array_equal(first[region], again[region])
        assert not any(np.array_equal(first[region], other[region]) for other in others)
    for other in others:  # nothing shared, not even single numbers
        assert not set(first["interior"].flat) & set(other["interior"].flat)


@pytest.mark.parametrize("sampling", RANDOM)
def test_regions_are_independent(sampling: str) -> None:
    everything = draw_points(Heat2D, sampling, regions=REGIONS)
    alone = {region: draw_points(Heat2D, sampling, regions=(region,))[region] for region in REGIONS}
    for region in REGIONS:
        assert np.array_equal(everything[region], alone[region])
    # Another number of interior points leaves the other regions where they are.
    fewer = draw_points(Heat2D, sampling, regions=REGIONS, interior=50)
    assert all(np.array_equal(fewer[region], everything[region]) for region in REGIONS[1:])
    # One stream for all regions would repeat the same numbers on every one of them.
    t = [set(everything[region][:, 2]) - {0.0} for region in ("interior", "boundary", "periodic")]
    assert not t[0] & t[1]
    assert not t[0] & t[2]
    assert not t[1] & t[2]
    assert not set(everything["interior"][:, 0]) & set(everything["initial"][:, 0])


@pytest.mark.parametrize("n", [37, 101, 1000])
def test_latin_hypercube_has_one_point_per_slice(n: int) -> None:
    points = draw_points(Heat2D, "latin_hypercube", interior=n, initial=n)
    for region, free in [("interior", 3), ("initial", 2)]:
        slices = np.floor(unit(Heat2D, points[region])[:, :free] * n).astype(int)
        for column in slices.T:
            assert np.array_equal(np.sort(column), np.arange(n))


def test_latin_hypercube_pairs_its_slices_at_random() -> None:
    x, t = unit(Convection, draw_points(Convection, "latin_hypercube", interior=2000)["interior"]).T
    assert abs(float(np.mean((x - 0.5) * (t - 0.5)))) * 12 < 0.1  # 4.5 standard deviations


def test_sobol_is_balanced() -> None:
    """Each of the 64 boxes of 1/2^i by 1/2^(6-i) holds exactly one of 64 points (a net of quality t = 0)."""
    x = unit(Convection, draw_points(Convection, "sobol", interior=64)["interior"])
    for i in range(7):
        boxes = np.floor(x * [2**i, 2 ** (6 - i)]).astype(int)
        assert len(np.unique(boxes, axis=0)) == 64
    # Any other number of points is the beginning of the same sequence.
    start = unit(Convection, draw_points(Convection, "sobol", interior=50)["interior"])
    assert np.array_equal(start, x[:50])


def test_uniform_points_are_uniform_and_independent() -> None:
    n = 20_000
    x = unit(Heat2D, draw_points(Heat2D, "uniform", interior=n)["interior"])
    # Five standard deviations of the mean, the variance and the correlation of n independent uniform numbers.
    assert np.abs(x.mean(axis=0) - 1 / 2).max() < 5 / math.sqrt(12 * n)
    assert np.abs(x.var(axis=0) - 1 / 12).max() < 5 / math.sqrt(180 * n)
    assert np.abs(np.corrcoef(x.T) - np.eye(3)).max() < 5 / math.sqrt(n)
    assert len(np.unique(np.floor(x[:1000, 0] * 1000))) < 700  # not stratified: about 1 - 1/e of 1,000 slices are hit


@pytest.mark.parametrize(
    ("pde", "wanted", "per_axis"),
    [
        (Convection, 100, 10),
        (Convection, 90, 9),
        (Convection, 91, 10),
        (Heat2D, 1000, 10),
        (Heat2D, 101, 5),
        (Poisson1D, 7, 7),
        (Convection, 1, 1),
    ],
)
def test_grid_is_cell_middles(pde: type[PDE], wanted: int, per_axis: int) -> None:
    x = unit(pde, draw_points(pde, "grid", interior=wanted)["interior"])
    middles = (np.arange(per_axis) + 0.5) / per_axis
    assert len(x) == per_axis ** len(pde.coordinates)
    assert len(np.unique(x.round(12), axis=0)) == len(x)
    for column in x.T:
        assert np.allclose(np.unique(column.round(12)), middles, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    "bad",
    [
        {"interior": 0},
        {"initial": -1},
        {"boundary": 0},
        {"interior": 1.5},
        {"interior": True},
        {"interior": "many"},
        {"interior": 10_000_001},
        {"sampling": "halton"},
        {"resample_every": 0},
        {"resample_every": -5},
        {"interor": 10},
    ],
)
def test_settings_out_of_range_are_rejected(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as error:
        PointSettings.model_validate(bad)
    assert error.value.errors()[0]["loc"] == tuple(bad)


def test_a_grid_cannot_be_resampled() -> None:
    with pytest.raises(ValidationError, match=r"points\.resample_every: .* grid"):
        PointSettings(sampling="grid", resample_every=10)
    assert PointSettings(sampling="sobol", resample_every=10).resample_every == 10
