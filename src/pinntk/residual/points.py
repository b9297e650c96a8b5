"""Collocation points: where each residual term is evaluated.

A draw is a pure function of (seed, number of the draw), so nothing about random states has to be saved for a resumed
run to see the points that an uninterrupted one would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictInt, model_validator
from scipy.stats import qmc

from pinntk.common.arrays import Array
from pinntk.common.errors import allowed
from pinntk.common.settings import Strict

Points = NDArray[Any]
Count = Annotated[StrictInt, Field(ge=1, le=10_000_000)]
REGIONS = ("interior", "initial", "boundary", "periodic")


class PointSettings(Strict):
    """How many points, drawn how and how often.

    Example::

        >>> PointSettings(interior=1000, by_residual=0.25).count_by_residual(1000)
        250
    """

    interior: Count = 10_000
    initial: Count = 257
    boundary: Count = 202
    """On all faces of the domain together; for a periodic problem the number of pairs."""
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


def regions_of(coordinates: Sequence[str]) -> tuple[str, ...]:
    """The regions that a problem with these coordinates has: ``initial`` needs a t, the faces a space coordinate.

    Example::

        >>> regions_of(("x",)), regions_of(("t",))
        (('interior', 'boundary', 'periodic'), ('interior', 'initial'))
    """
    space, time = any(c != "t" for c in coordinates), "t" in coordinates
    has = {"interior": True, "initial": time, "boundary": space, "periodic": space}
    return tuple(region for region in REGIONS if has[region])


def sample(
    settings: PointSettings,
    coordinates: Sequence[str],
    lower: Sequence[float],
    upper: Sequence[float],
    regions: Sequence[str],
    *,
    seed: int,
    draw: int = 0,
) -> dict[str, Array]:
    """Draw the points of each region.

    Regions: ``interior`` (the box), ``initial`` (the face t = lower), ``boundary`` (both faces of every space
    coordinate, the points dealt out evenly) and ``periodic``: pairs of points on the two faces of the first space
    coordinate, n on the lower face followed by their n images on the upper one. Where t stands among the coordinates
    changes the columns, not the points.

    Args:
        settings: counts and kind of sampling.
        coordinates: their names; ``t`` is the time.
        lower, upper: the box.
        regions: which regions to draw.
        seed: of the run.
        draw: number of the draw; every (seed, draw) is a stream of its own.

    Returns:
        region -> (n, d) float64.

    Raises:
        ValueError: a region is not one of `regions_of`.

    Example::

        >>> settings = PointSettings(interior=4, initial=2, boundary=2, sampling="grid")
        >>> drawn = sample(settings, ("x", "t"), [-1.0, 0.0], [1.0, 1.0], ["initial", "periodic"], seed=0)
        >>> drawn["initial"].tolist()
        [[-0.5, 0.0], [0.5, 0.0]]
        >>> drawn["periodic"].tolist()  # two points and their images
        [[-1.0, 0.25], [-1.0, 0.75], [1.0, 0.25], [1.0, 0.75]]
    """
    known = regions_of(coordinates)
    if unknown := [region for region in regions if region not in known]:
        raise ValueError(f"region {unknown[0]!r}: {allowed(unknown[0], known)}")
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    d = len(coordinates)
    space = [c for c in range(d) if coordinates[c] != "t"]
    time = [c for c in range(d) if coordinates[c] == "t"]

    def face(fixed: dict[int, float], n: int, rng: np.random.Generator) -> Array:
        """n points of the box with the given coordinates held; a face that is one point is that point."""
        free = [c for c in [*space, *time] if c not in fixed]
        unit = unit_points(settings.sampling, n, len(free), rng) if free else np.zeros((1, 0))
        points = np.empty((len(unit), d))
        for c, value in fixed.items():
            points[:, c] = value
        points[:, free] = low[free] + (high - low)[free] * unit
        return points

    drawn: dict[str, Array] = {}
    for region in regions:
        rng = np.random.default_rng([seed, draw, REGIONS.index(region)])
        if region == "interior":
            drawn[region] = face({}, settings.interior, rng)
        elif region == "initial":
            drawn[region] = face({c: low[c] for c in time}, settings.initial, rng)
        elif region == "boundary":
            faces = [(c, side[c]) for c in space for side in (low, high)]
            share, rest = divmod(settings.boundary, len(faces))
            counts = [max(1, share + (i < rest)) for i in range(len(faces))]
            drawn[region] = np.concatenate([face({c: v}, n, rng) for (c, v), n in zip(faces, counts, strict=True)])
        else:
            c = space[0]
            first = face({c: low[c]}, settings.boundary, rng)
            image = first.copy()
            image[:, c] = high[c]
            drawn[region] = np.concatenate([first, image])
    return drawn


def candidates(
    settings: PointSettings, lower: Sequence[float], upper: Sequence[float], *, seed: int, draw: int
) -> Array:
    """Interior points among which ``by_residual`` draws: (`CANDIDATES` times their number, d), uniform.

    Example::

        >>> points = candidates(PointSettings(interior=10, by_residual=0.5), [2.0], [3.0], seed=0, draw=1)
        >>> points.shape, bool(((points >= 2) & (points < 3)).all())
        ((40, 1), True)
    """
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    count = CANDIDATES * settings.count_by_residual(settings.interior)
    return low + (high - low) * np.random.default_rng([seed, draw, len(REGIONS)]).random((count, len(low)))


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
