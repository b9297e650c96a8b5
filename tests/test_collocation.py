"""Points drawn by the residual's size: how many, where, with which density, and what a resumed run sees."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch
from jacobians import PDES, residuals_of
from pydantic import ValidationError
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.residual.collocation import Collocation
from pinntk.residual.points import CANDIDATES, PointSettings, candidates, redrawn, sample
from pinntk.residual.residuals import Batch

problems = pytest.mark.parametrize("name", PDES)
LOWER, UPPER = (-2.0, 1.0), (3.0, 1.5)


def settings_of(interior: int = 20, by_residual: float = 0.3, **more: Any) -> PointSettings:
    return PointSettings.model_validate(
        {"interior": interior, "initial": 5, "boundary": 6, "by_residual": by_residual, **more}
    )


def collocation(name: str = "burgers", seed: int = 4, shift: float = 0.0, **settings: Any) -> Collocation:
    """On a small network, whose first layer's biases are ``shift`` more than always."""
    residuals = residuals_of(PDES[name], depth=1)
    with torch.no_grad():
        next(p for n, p in residuals.network.named_parameters() if n.endswith("bias")).add_(shift)
    return Collocation(residuals, settings_of(**settings), seed)


def plain(made: Collocation, draw: int) -> dict[str, Array]:
    """The draw without regard to the residual."""
    pde = made.residuals.pde
    regions = made.residuals.regions
    return sample(made.settings, pde.coordinates, pde.lower, pde.upper, regions, seed=made.seed, draw=draw)


def rows(x: Array | Tensor) -> set[tuple[float, ...]]:
    return {tuple(row) for row in x.tolist()}


def same(a: dict[str, Batch], b: dict[str, Batch]) -> bool:
    return all(torch.equal(a[region].points, b[region].points) for region in a)


# --- the candidates and what is drawn of them -------------------------------------------------------------------------


@pytest.mark.parametrize(("interior", "share", "count"), [(20, 0.3, 6), (20, 1.0, 20), (7, 0.5, 4), (3, 0.1, 0)])
def test_shares_and_counts(interior: int, share: float, count: int) -> None:
    settings = settings_of(interior, share)
    points = candidates(settings, LOWER, UPPER, seed=1, draw=2)
    assert points.shape == (CANDIDATES * count, 2)
    assert ((points >= LOWER) & (points <= UPPER)).all()
    first = np.random.default_rng(0).random((interior, 2))
    found = redrawn(first, points, np.ones(len(points)), count, seed=1, draw=2)
    assert found.shape == first.shape
    assert np.array_equal(found[: interior - count], first[: interior - count])
    assert rows(found[interior - count :]) <= rows(points)
    assert len(rows(found)) == interior  # none twice


def test_the_candidates_are_uniform() -> None:
    points = candidates(settings_of(500, 1.0), LOWER, UPPER, seed=0, draw=1)
    for x, low, high in zip(points.T, LOWER, UPPER, strict=True):
        assert scipy.stats.kstest(x, scipy.stats.uniform(low, high - low).cdf).pvalue > 0.01


def test_a_draw_is_a_function_of_its_number_and_the_seed() -> None:
    settings = settings_of(40, 0.5)
    made = {}
    for seed, draw in ((1, 2), (1, 3), (2, 2)):
        made[seed, draw] = candidates(settings, LOWER, UPPER, seed=seed, draw=draw)
        assert np.array_equal(candidates(settings, LOWER, UPPER, seed=seed, draw=draw), made[seed, draw])
    assert not rows(made[1, 2]) & (rows(made[1, 3]) | rows(made[2, 2]))
    # Which of them are taken, too, for the same candidates.
    first, points, size = np.zeros((40, 2)), made[1, 2], np.ones(160)
    taken = [rows(redrawn(first, points, size, 20, seed=s, draw=d)) for s, d in ((1, 2), (1, 2), (1, 3), (2, 2))]
    assert taken[0] == taken[1]
    assert taken[0] != taken[2] != taken[3] != taken[0]


def shares(density: Callable[[Array], Array], points: Array, wanted: float) -> Array:
    """Chances of being drawn, of independent exponential clocks with these rates, the first ``wanted`` of them."""
    weight = density(points)
    time = scipy.optimize.brentq(lambda t: float((1 - np.exp(-weight * t)).sum()) - wanted, 0.0, 1e6)
    return np.asarray(1 - np.exp(-weight * time))


@pytest.mark.parametrize(
    "density", [lambda x: x[:, 0] + 2, lambda x: (x[:, 0] + 2) ** 2, lambda x: 1.0 + 9.0 * (x[:, 1] > 1.3)]
)
def test_the_density_follows_the_residual(density: Callable[[Array], Array]) -> None:
    """Counts in a 4 x 4 grid of cells, against the chances of the candidates that lie there; over many draws."""
    settings = settings_of(1000, 1.0)
    counts, expected = np.zeros((4, 4)), np.zeros((4, 4))
    edges = [np.linspace(low, high, 5) for low, high in zip(LOWER, UPPER, strict=True)]
    for draw in range(1, 6):
        points = candidates(settings, LOWER, UPPER, seed=5, draw=draw)
        found = redrawn(
            np.zeros((1000, 2)),
            points,
            1e-3 * density(points),
            settings.count_by_residual(settings.interior),
            seed=5,
            draw=draw,
        )
        counts += np.histogramdd(found, edges)[0]
        expected += np.histogramdd(points, edges, weights=shares(density, points, 1000))[0]
    assert expected.sum() == pytest.approx(counts.sum())
    assert scipy.stats.chisquare(counts.ravel(), expected.ravel()).pvalue > 0.01
    # With eight candidates for every point that is nearly in proportion, and nothing like uniform.
    proportional = counts.sum() * np.histogramdd(points, edges, weights=density(points))[0] / density(points).sum()
    assert np.abs(counts - proportional).sum() < 0.25 * counts.sum()
    assert scipy.stats.chisquare(counts.ravel()).pvalue < 1e-10


def test_where_the_residual_vanishes_no_point_is_drawn() -> None:
    settings = settings_of(40, 0.5)
    points = candidates(settings, LOWER, UPPER, seed=1, draw=1)
    size = np.where(points[:, 0] > 1.5, 1e-3, 0.0)
    found = redrawn(np.zeros((40, 2)), points, size, 20, seed=1, draw=1)[20:]
    assert (found[:, 0] > 1.5).all()
    size[np.argsort(size)[:-5]] = 0.0  # fewer than are wanted: those, and then others
    found = redrawn(np.zeros((40, 2)), points, size, 20, seed=1, draw=1)[20:]
    assert rows(points[size > 0]) <= rows(found)
    assert len(rows(found)) == 20


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_with_nothing_to_go_by_the_draw_stays_uniform(bad: float) -> None:
    settings = settings_of()
    first = np.random.default_rng(0).random((20, 2))
    points = candidates(settings, LOWER, UPPER, seed=1, draw=1)
    size = np.full(len(points), 0.0 if bad == 0 else 1.0)
    size[3] = bad
    assert np.array_equal(redrawn(first, points, size, 6, seed=1, draw=1), first)


def test_a_grid_does_not_go_with_it() -> None:
    with pytest.raises(ValidationError, match=r"points.by_residual: .* allowed with sampling=grid is 0"):
        settings_of(sampling="grid")
    assert settings_of(by_residual=0.0, sampling="grid").by_residual == 0
    for share in (-0.1, 1.1):
        with pytest.raises(ValidationError, match="by_residual"):
            settings_of(by_residual=share)


# --- the points of a run ----------------------------------------------------------------------------------------------


@problems
@pytest.mark.parametrize("sampling", ["uniform", "sobol", "latin_hypercube"])
def test_the_first_draw_and_the_other_regions_are_untouched(name: str, sampling: str) -> None:
    made = collocation(name, sampling=sampling)
    pde = made.residuals.pde
    for draw in (0, 1, 2):
        found, expected = made.batches(draw), plain(made, draw)
        for region in made.residuals.regions:
            points = found[region].points.numpy()
            kept = 14 if region == "interior" and draw else len(points)
            assert points.shape == expected[region].shape
            assert np.array_equal(points[:kept], expected[region][:kept])
            assert not rows(points[kept:]) & rows(expected[region])
            assert ((points >= pde.lower) & (points <= pde.upper)).all()


def test_the_last_points_are_drawn_by_the_residual_at_the_moment() -> None:
    """By the sum of the sizes of all the interior's residuals, written out."""
    made = collocation("wave")
    pde = made.residuals.pde
    found = made.batches(1)["interior"].points.numpy()
    points = candidates(made.settings, pde.lower, pde.upper, seed=4, draw=1)
    batch = made.residuals.prepare_region("interior", torch.from_numpy(points))
    size = np.abs(torch.stack(list(made.residuals.of_region("interior", batch).values())).detach().numpy()).sum(0)
    assert np.array_equal(found, redrawn(plain(made, 1)["interior"], points, size, 6, seed=4, draw=1))


def test_a_draw_depends_on_the_parameters_when_it_is_first_asked_for_and_is_kept() -> None:
    made, other = collocation(), collocation(shift=1.0)
    first = made.batches(1)
    assert same(first, collocation().batches(1))
    assert not same(first, other.batches(1))
    with torch.no_grad():
        for p in made.residuals.network.parameters():
            p.add_(1.0)
    assert made.batches(1) is first
    made.place()  # made anew for another device: the same points
    assert made.batches(1) is not first
    assert same(made.batches(1), first)


def test_a_share_that_rounds_to_no_point_changes_nothing() -> None:
    made = collocation(interior=3, by_residual=0.1)
    assert np.array_equal(made.batches(1)["interior"].points.numpy(), plain(made, 1)["interior"])


def test_residuals_that_are_not_finite_leave_the_draw_uniform() -> None:
    made = collocation()
    with torch.no_grad():
        next(made.residuals.network.parameters()).fill_(math.nan)
    assert np.array_equal(made.batches(1)["interior"].points.numpy(), plain(made, 1)["interior"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_is_saved_is_seen_again(dtype: torch.dtype) -> None:
    made = collocation()
    made.residuals.network.to(dtype)
    assert made.state() is None  # nothing drawn yet
    expected = made.batches(3)
    other = collocation(shift=1.0)  # whose own third draw is another
    other.residuals.network.to(dtype)
    assert not same(other.batches(3), expected)
    other.load(made.state())
    found = other.batches(3)
    assert same(found, expected)
    for region, batch in expected.items():
        assert batch.points.dtype == dtype
        assert torch.equal(found[region].inputs.features, batch.inputs.features)
        for a, b in zip(found[region].fields, batch.fields, strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not same(other.batches(4), expected)  # the next one is its own
    other.load(None)
    assert not same(other.batches(3), expected)


def test_points_that_can_be_drawn_again_are_not_saved() -> None:
    made = collocation(by_residual=0.0)
    assert np.array_equal(made.batches(2)["interior"].points.numpy(), plain(made, 2)["interior"])
    assert made.state() is None
