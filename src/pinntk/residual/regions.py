"""Regions: where a residual term lives.

A term names a region of its problem by a string (`pinntk.residual.named`), or it has an object: `Points` of one's own,
`pinntk.residual.measurements.Measurements`. How points are spread over a unit cube is the run's setting
``points.sampling``; a region maps them to where it is.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.residual.shapes import Shape, Unit

Count = Literal["interior", "initial", "boundary"]


class Counts(Protocol):
    """How many points, by `Count`."""

    @property
    def interior(self) -> int: ...
    @property
    def initial(self) -> int: ...
    @property
    def boundary(self) -> int: ...


@dataclass(frozen=True)
class Domain:
    """The box of a problem, and the shape in it where there is one.

    Example::

        >>> from pinntk.residual.points import UnitPoints
        >>> box = Domain(("t", "x"), (0.0, -1.0), (1.0, 1.0))
        >>> box.space, box.time
        ([1], [0])
        >>> box.held({1: -1.0}, 2, UnitPoints("grid", np.random.default_rng(0))).tolist()  # of the face x = -1
        [[0.25, -1.0], [0.75, -1.0]]
    """

    coordinates: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    shape: Shape | None = None
    """Over the space coordinates; None: the box is all of the domain."""
    folder: Path | None = None
    """To which the paths of files are relative; None: the working folder."""

    @property
    def space(self) -> list[int]:
        """Columns of the space coordinates."""
        return [c for c, name in enumerate(self.coordinates) if name != "t"]

    @property
    def time(self) -> list[int]:
        """The column of the time, if there is one."""
        return [c for c, name in enumerate(self.coordinates) if name == "t"]

    def held(self, fixed: Mapping[int, float], n: int, unit: Unit) -> Array:
        """n points of the box with the given coordinates held; a face that is one point is that point."""
        free = [c for c in [*self.space, *self.time] if c not in fixed]
        return self._placed(unit(n, len(free)) if free else np.zeros((1, 0)), free, fixed)

    def inside(self, fixed: Mapping[int, float], n: int, unit: Unit) -> Array:
        """n points of the domain; only the time can be held."""
        if self.shape is None:
            return self.held(fixed, n, unit)
        time = [c for c in self.time if c not in fixed]
        return self._of_shape(self.shape.inside(n, unit, len(time)), time, fixed)

    def around(self, n: int, unit: Unit) -> Array:
        """n points of the domain's boundary in space, on the box those of its faces, dealt out evenly."""
        if self.shape is not None:
            return self._of_shape(self.shape.edge(n, unit, len(self.time)), self.time, {})
        faces = [(c, side[c]) for c in self.space for side in (self.lower, self.upper)]
        share, rest = divmod(n, len(faces))
        counts = [max(1, share + (i < rest)) for i in range(len(faces))]
        return np.concatenate([self.held({c: v}, count, unit) for (c, v), count in zip(faces, counts, strict=True)])

    def _of_shape(self, found: Array, time: list[int], fixed: Mapping[int, float]) -> Array:
        """From a shape's points and a unit cube's times, (n, k + times)."""
        k = len(self.space)
        points = self._placed(found[:, k:], time, fixed)
        points[:, self.space] = found[:, :k]
        return points

    def _placed(self, unit: Array, free: list[int], fixed: Mapping[int, float]) -> Array:
        low, high = (np.asarray(side, dtype=np.float64)[free] for side in (self.lower, self.upper))
        points = np.empty((len(unit), len(self.coordinates)))
        for c, value in fixed.items():
            points[:, c] = value
        points[:, free] = low + (high - low) * unit
        return points


class Region(ABC):
    """Where terms live: how its points are drawn, and what is known there."""

    name: str
    equation: bool = False
    """Whether its terms make up L_r, the loss of the equation; all others L_b."""
    pairs: bool = False
    """Whether its points are N/2 points and then their N/2 images, and a term has one residual for each pair."""
    whole: bool = False
    """Whether all of its points are in every draw, in an order that `data` relies on."""
    counted: Count | None = None
    """Which of the run's numbers of points is its; None: it knows itself."""
    digest: str | None = None
    """Of data that no setting names: it is part of a run's identity."""

    @property
    def single(self) -> bool:
        """Whether it is a point, or one on each face, however many are asked for."""
        return False

    @abstractmethod
    def draw(self, n: int, unit: Unit) -> Array:
        """About n points, or pairs of them, (N, d) float64, made of points of a unit cube."""

    def count(self, counts: Counts) -> int:
        """How many points, or pairs of them, a run with these numbers draws."""
        assert self.counted is not None
        return int(getattr(counts, self.counted))

    def normals(self, points: Array) -> Array | None:
        """Outward unit normals at its points, (N, d) float64, zero in t but on a face of t; None: it has none."""
        return None

    def data(self, points: Tensor) -> tuple[Tensor, ...]:
        """What is known at its points, (N,) each: a residual gets it before the term's own fields."""
        return ()

    def within(self, domain: Domain) -> Region:
        """The region as it is in a problem's domain.

        Raises:
            ValueError: it does not fit, in one line.
        """
        return self


class Points(Region):
    """A region of one's own: a curve, a hole's edge, a slit, a part of the domain.

    Args:
        name: any but those that strings name.
        sample: points of the unit cube (n, dimension), as ``points.sampling`` spreads them -> the region's, (n, d);
            for pairs (2 n, d), the images behind.
        normals: the region's points (n, d) -> outward unit normals, (n, d).
        equation: whether its terms belong to L_r.
        count: of points or pairs; None: the run's of the interior where ``equation``, else of the boundary.
        dimension: of the unit cube; None: d.
        pairs: see `Region`.

    Raises:
        ValueError: a count or a dimension below 1.

    Example::

        >>> from pinntk.residual.points import UnitPoints
        >>> def wall(unit):  # x = 1/2 from y = 0 to 1/4, at all times from 0 to 2
        ...     return np.column_stack([np.full(len(unit), 0.5), unit[:, 0] / 4, 2 * unit[:, 1]])
        >>> slit = Points("slit", wall, dimension=2, count=4)
        >>> slit.draw(4, UnitPoints("grid", np.random.default_rng(0))).tolist()
        [[0.5, 0.0625, 0.5], [0.5, 0.0625, 1.5], [0.5, 0.1875, 0.5], [0.5, 0.1875, 1.5]]
    """

    def __init__(
        self,
        name: str,
        sample: Callable[[Array], Array],
        normals: Callable[[Array], Array] | None = None,
        equation: bool = False,
        count: int | None = None,
        *,
        dimension: int | None = None,
        pairs: bool = False,
    ) -> None:
        for key, number in (("count", count), ("dimension", dimension)):
            if number is not None and number < 1:
                raise ValueError(f"region {name!r}: {key}={number}; allowed is at least 1")
        self.name, self.equation, self.pairs = name, equation, pairs
        self.counted = None if count is not None else "interior" if equation else "boundary"
        self._sample, self._normals, self._count, self._dimension = sample, normals, count, dimension

    def count(self, counts: Counts) -> int:
        return super().count(counts) if self._count is None else self._count

    def draw(self, n: int, unit: Unit) -> Array:
        assert self._dimension is not None
        return np.asarray(self._sample(unit(n, self._dimension)), dtype=np.float64)

    def normals(self, points: Array) -> Array | None:
        return None if self._normals is None else np.asarray(self._normals(points), dtype=np.float64)

    def within(self, domain: Domain) -> Points:
        found = copy.copy(self)
        found._dimension = self._dimension or len(domain.coordinates)
        return found
