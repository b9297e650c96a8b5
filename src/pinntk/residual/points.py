"""Collocation points: where each residual term is evaluated.

A draw is a pure function of (seed, number of the draw), so nothing about random states has to be saved for a resumed
run to see the points that an uninterrupted one would have seen.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictInt, model_validator
from scipy.stats import qmc

from pinntk.common.arrays import Array
from pinntk.common.settings import Strict
from pinntk.residual.named import REGIONS, placed
from pinntk.residual.regions import Domain, Region

Points = NDArray[Any]
Count = Annotated[StrictInt, Field(ge=1, le=10_000_000)]


class PointSettings(Strict):
    """How many points, drawn how and how often.

    Example::

        >>> PointSettings(interior=1000, by_residual=0.25).count_by_residual(1000)
        250
    """

    interior: Count = 10_000
    initial: Count = 257
    boundary: Count = 202
    """On all faces of the domain together, of which a single one, "x = lower", takes its share; pairs of a periodic
    region."""
    sampling: Literal["uniform", "latin_hypercube", "sobol", "grid"] = "uniform"
    """``grid``: cell middles of the regular grid with about the wanted number of points (n^(1/d) per axis, rounded)."""
    resample_every: Annotated[StrictInt, Field(ge=1)] | None = None
    """Iterations between fresh draws; null: one draw for the whole run."""
    by_residual: Annotated[float, Field(ge=0, le=1)] = 0.0
    """This share of the interior points, or of the nodes that a method draws from its grid, is drawn with probabilities
    in proportion to the residual's size there (Wu et al. 2023), from the second draw on; of a grid's nodes those of the
    first level are preferred (`pinntk.methods.nodes`)."""

    def count_by_residual(self, points: int) -> int:
        """How many of so many points are drawn by residual."""
        return round(self.by_residual * points)

    @model_validator(mode="after")
    def _a_grid_stays(self) -> PointSettings:
        if self.sampling == "grid" and self.resample_every is not None:
            raise ValueError("points.resample_every: a grid has no second draw; allowed with sampling=grid is null")
        if self.sampling == "grid" and self.by_residual:
            raise ValueError("points.by_residual: a grid has no second draw; allowed with sampling=grid is 0")
        return self


CANDIDATES = 8
"""Points that a residual is looked at for every one that is drawn by it."""


def _uniform(n: int, d: int, rng: np.random.Generator) -> Array:
    return rng.random((n, d))


def _latin_hypercube(n: int, d: int, rng: np.random.Generator) -> Array:
    return np.asarray(qmc.LatinHypercube(d, rng=rng).random(n))


def _sobol(n: int, d: int, rng: np.random.Generator) -> Array:
    # The sequence is balanced over powers of two: draw that many and keep the first n.
    return np.asarray(qmc.Sobol(d, rng=rng).random_base2(math.ceil(math.log2(n)) if n > 1 else 0)[:n])


def _grid(n: int, d: int, rng: np.random.Generator) -> Array:
    k = max(1, round(n ** (1 / d)))
    axis = (np.arange(k) + 0.5) / k
    return np.stack(np.meshgrid(*[axis] * d, indexing="ij"), axis=-1).reshape(-1, d)


_SAMPLERS: dict[str, Callable[[int, int, np.random.Generator], Array]] = {
    "uniform": _uniform,
    "latin_hypercube": _latin_hypercube,
    "sobol": _sobol,
    "grid": _grid,
}


def unit_points(sampling: str, n: int, d: int, rng: np.random.Generator) -> Array:
    """Points of the unit cube [0, 1)^d, float64, drawn as ``points.sampling`` says: (n, d), ``grid`` about as many.

    Example::

        >>> unit_points("grid", 4, 2, np.random.default_rng(0)).tolist()
        [[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]]
    """
    return _SAMPLERS[sampling](n, d, rng)


@dataclass(frozen=True)
class UnitPoints:
    """Where a region's points of the unit cube come from.

    Example::

        >>> unit = UnitPoints("grid", np.random.default_rng(0))
        >>> unit.grid, unit(3, 1).tolist()
        (True, [[0.16666666666666666], [0.5], [0.8333333333333334]])
    """

    sampling: str
    rng: np.random.Generator

    @property
    def grid(self) -> bool:
        return self.sampling == "grid"

    def __call__(self, n: int, d: int) -> Array:
        return unit_points(self.sampling, n, d, self.rng)


def draw_region(region: Region, n: int, sampling: str, *, seed: int, draw: int) -> Array:
    """About n points, or pairs of points, of a region: a function of its name, seed and draw, (N, d) float64.

    Example::

        >>> from pinntk.residual.named import placed
        >>> from pinntk.residual.regions import Domain
        >>> face = placed("x = upper", Domain(("x", "t"), (0.0, 0.0), (3.0, 1.0)))
        >>> draw_region(face, 2, "grid", seed=0, draw=0).tolist()
        [[3.0, 0.25], [3.0, 0.75]]
    """
    name = region.name
    # Python's own hash of a text is another in every process. The first numbers are taken, those of candidates too.
    key = REGIONS.index(name) if name in REGIONS else len(REGIONS) + 2 + zlib.crc32(name.encode())
    return region.draw(n, UnitPoints(sampling, np.random.default_rng([seed, draw, key])))


def sample(
    settings: PointSettings,
    coordinates: Sequence[str],
    lower: Sequence[float],
    upper: Sequence[float],
    regions: Iterable[str | Region],
    *,
    seed: int,
    draw: int = 0,
) -> dict[str, Array]:
    """Draw the points of each region.

    Where t stands among the coordinates changes the columns, not the points.

    Args:
        settings: counts and kind of sampling.
        coordinates: their names; ``t`` is the time.
        lower, upper: the box.
        regions: which to draw: names of those of the box (`pinntk.residual.named.regions_of`), or objects as they are
            in the problem.
        seed: of the run.
        draw: number of the draw; every (seed, draw) is a stream of its own.

    Returns:
        name of the region -> (n, d) float64.

    Raises:
        ValueError: a region is not one of the box's.

    Example::

        >>> settings = PointSettings(interior=4, initial=2, boundary=2, sampling="grid")
        >>> drawn = sample(settings, ("x", "t"), [-1.0, 0.0], [1.0, 1.0], ["initial", "periodic"], seed=0)
        >>> drawn["initial"].tolist()
        [[-0.5, 0.0], [0.5, 0.0]]
        >>> drawn["periodic"].tolist()  # two points and their images
        [[-1.0, 0.25], [-1.0, 0.75], [1.0, 0.25], [1.0, 0.75]]
    """
    box = Domain(tuple(coordinates), tuple(lower), tuple(upper))
    found = [region if isinstance(region, Region) else placed(region, box) for region in regions]
    return {
        region.name: draw_region(region, region.count(settings), settings.sampling, seed=seed, draw=draw)
        for region in found
    }


def candidates(
    settings: PointSettings,
    lower: Sequence[float],
    upper: Sequence[float],
    *,
    seed: int,
    draw: int,
    shape: Region | None = None,
) -> Array:
    """Interior points among which ``by_residual`` draws: (`CANDIDATES` times their number, d), uniform.

    Args:
        settings: which share of how many.
        lower, upper: the box.
        seed: of the run.
        draw: number of the draw.
        shape: the interior of a domain that is not the box.

    Example::

        >>> points = candidates(PointSettings(interior=10, by_residual=0.5), [2.0], [3.0], seed=0, draw=1)
        >>> points.shape, bool(((points >= 2) & (points < 3)).all())
        ((40, 1), True)
    """
    count = CANDIDATES * settings.count_by_residual(settings.interior)
    rng = np.random.default_rng([seed, draw, len(REGIONS)])
    if shape is not None:
        return shape.draw(count, UnitPoints("uniform", rng))
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    return low + (high - low) * rng.random((count, len(low)))


def redrawn(drawn: Points, among: Points, size: Array, count: int, *, seed: int, draw: int) -> Points:
    """Points, or numbers of nodes, the last of them replaced by others drawn by residual.

    Args:
        drawn: (N, d) or (N,).
        among: the candidates, (M, d) or (M,).
        size: of the residual at the candidates, (M,), not negative.
        count: how many.
        seed: of the run.
        draw: number of the draw.

    Returns:
        The same shape and dtype as ``drawn``; ``drawn`` itself where there is nothing to tell candidates apart by.

    Example::

        >>> size = np.array([0.0, 5.0, 0.0])
        >>> redrawn(np.array([10, 11, 12]), np.array([20, 21, 22]), size, 1, seed=0, draw=1).tolist()
        [10, 11, 21]
    """
    total = float(size.sum())
    if not count or not 0 < total < np.inf:
        return drawn
    # Without replacement, by the smallest of exponential variables with these rates (Efraimidis, Spirakis 2006).
    waiting = np.random.default_rng([seed, draw, len(REGIONS) + 1]).exponential(size=len(among))
    order = np.argsort(np.divide(waiting, size, out=np.full(len(among), np.inf), where=size > 0), kind="stable")
    return np.concatenate([drawn[: len(drawn) - count], among[order[:count]]])
