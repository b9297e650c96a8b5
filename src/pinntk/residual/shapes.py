"""Domains in space that are not a box: a disc, a polygon, and whatever else says which points are inside.

All arrays are float64; points have k columns, the space coordinates in their order.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pinntk.common.arrays import Array

DOUBLINGS = 10
"""Of the number of points tried, until enough of them are inside."""


class Unit(Protocol):
    """Where points of the unit cube come from: (n, d) -> n points, float64, (n, d)."""

    @property
    def grid(self) -> bool:
        """Whether they are a regular grid of about n points, which only as a whole covers the cube evenly."""

    def __call__(self, n: int, d: int) -> Array:
        """The next n points of [0, 1)^d."""


class Shape(ABC):
    """A bounded domain in k space coordinates; a problem's class attribute ``shape`` is one.

    A subclass says how large it is (`lower`, `upper`, `size`), what is inside, and where and how its boundary runs.

    Example::

        >>> class Triangle(Shape):  # x > 0, y > 0, x + y < 1
        ...     lower, upper, size = np.zeros(2), np.ones(2), 0.5
        ...     def contains(self, points):
        ...         return (points > 0).all(axis=1) & (points.sum(axis=1) < 1)
        ...     def edge(self, n, unit, more=0):  # its perimeter is 2 + sqrt(2)
        ...         u = unit(n, 1 + more)
        ...         s = np.interp(u[:, 0] * (2 + np.sqrt(2)), [0, 1, 1 + np.sqrt(2), 2 + np.sqrt(2)], [0, 1, 2, 3])
        ...         x, y = np.interp(s, range(4), [0, 1, 0, 0]), np.interp(s, range(4), [0, 0, 1, 0])
        ...         return np.column_stack([x, y, u[:, 1:]])
        ...     def normals(self, points):
        ...         x, y = points.T
        ...         nearest = np.argmin([x, y, 1 - x - y], axis=0)
        ...         return np.array([[-1.0, 0.0], [0.0, -1.0], [0.5**0.5, 0.5**0.5]])[nearest]
        >>> class Uniform:
        ...     grid, rng = False, np.random.default_rng(0)
        ...     def __call__(self, n, d):
        ...         return self.rng.random((n, d))
        >>> points = Triangle().inside(1000, Uniform())
        >>> points.shape, bool((points.sum(axis=1) < 1).all()), points.mean(axis=0).round(1).tolist()  # the centroid
        ((1000, 2), True, [0.3, 0.3])
    """

    @property
    @abstractmethod
    def lower(self) -> Array:
        """Lower ends of the smallest box around it, (k,)."""

    @property
    @abstractmethod
    def upper(self) -> Array:
        """Upper ends, (k,)."""

    @property
    @abstractmethod
    def size(self) -> float:
        """Its area; its volume where k = 3."""

    @abstractmethod
    def contains(self, points: Array) -> NDArray[np.bool_]:
        """Which points (n, k) are inside, (n,); those on the boundary may count as either."""

    @abstractmethod
    def edge(self, n: int, unit: Unit, more: int = 0) -> Array:
        """Points of the boundary, spread evenly over it.

        Args:
            n: how many; of a regular grid about as many.
            unit: where points of the unit cube of k - 1 + more dimensions come from.
            more: further columns of these points that are handed through: the time.

        Returns:
            (n, k + more).
        """

    @abstractmethod
    def normals(self, points: Array) -> Array:
        """Outward unit normals at points of the boundary, (n, k) each."""

    def inside(self, n: int, unit: Unit, more: int = 0) -> Array:
        """Points inside, spread evenly: those of the box around it that are inside. Arguments as for `edge`.

        Raises:
            ValueError: next to no point of the box is inside, whatever ``size`` says.
        """
        low, high = np.asarray(self.lower), np.asarray(self.upper)
        tried = n * float(np.prod(high - low)) / self.size
        tries = max(1, round(tried)) if unit.grid else math.ceil(1.1 * tried) + 10
        for _ in range(DOUBLINGS):
            points = unit(tries, len(low) + more)
            points[:, : len(low)] = low + (high - low) * points[:, : len(low)]
            found = points[self.contains(points[:, : len(low)])]
            if len(found) >= n or (unit.grid and len(found)):
                return found if unit.grid else found[:n]
            tries *= 2
        few = f"{len(found)} of {len(points)} points of its box"
        raise ValueError(f"shape: contains() holds for {few}; allowed is as many as its size says")


@dataclass(frozen=True)
class Disc(Shape):
    """The disc in two space coordinates around ``centre``.

    Raises:
        ValueError: the centre is not two finite numbers or the radius not above 0.

    Example::

        >>> disc = Disc(centre=(1.0, 0.0), radius=2.0)
        >>> disc.contains(np.array([[2.9, 0.0], [2.9, 1.0]])).tolist(), disc.size / math.pi
        ([True, False], 4.0)
        >>> disc.normals(np.array([[1.0, -2.0]])).tolist()
        [[0.0, -1.0]]
    """

    centre: tuple[float, float]
    radius: float

    def __post_init__(self) -> None:
        if np.shape(self.centre) != (2,) or not np.isfinite(self.centre).all():
            raise ValueError(f"Disc: centre={self.centre}; allowed are two finite numbers")
        if not 0 < self.radius < math.inf:
            raise ValueError(f"Disc: radius={self.radius}; allowed is a finite number above 0")

    @property
    def lower(self) -> Array:
        return np.array(self.centre, dtype=np.float64) - self.radius

    @property
    def upper(self) -> Array:
        return np.array(self.centre, dtype=np.float64) + self.radius

    @property
    def size(self) -> float:
        return math.pi * self.radius**2

    def contains(self, points: Array) -> NDArray[np.bool_]:
        return np.asarray(np.hypot(*(points - self.centre).T) <= self.radius)

    def edge(self, n: int, unit: Unit, more: int = 0) -> Array:
        u = unit(n, 1 + more)
        angle = 2 * math.pi * u[:, 0]
        x, y = (c + self.radius * f(angle) for c, f in zip(self.centre, (np.cos, np.sin), strict=True))
        return np.column_stack([x, y, u[:, 1:]])

    def normals(self, points: Array) -> Array:
        away = points - np.asarray(self.centre, dtype=np.float64)
        return np.asarray(away / np.hypot(*away.T)[:, None])


@dataclass(frozen=True)
class Polygon(Shape):
    """A simple polygon in two space coordinates; its corners in either orientation, the first again at the end or not.

    Raises:
        ValueError: fewer than three corners, a corner twice, or edges that meet elsewhere than in a common corner.

    Example::

        >>> corner = Polygon(((0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)))  # an L
        >>> corner.size, corner.perimeter
        (3.0, 8.0)
        >>> corner.contains(np.array([[0.5, 1.5], [1.5, 1.5]])).tolist()
        [True, False]
        >>> corner.normals(np.array([[1.5, 1.0], [0.0, 0.5]])).tolist()
        [[0.0, 1.0], [-1.0, 0.0]]
    """

    vertices: Sequence[Sequence[float]]

    def __post_init__(self) -> None:
        try:
            found = np.array(self.vertices, dtype=np.float64)
        except (TypeError, ValueError):
            found = np.empty(0)
        if found.ndim != 2 or found.shape[1] != 2 or not np.isfinite(found).all():
            raise ValueError(f"Polygon: vertices={self.vertices}; allowed are pairs of finite numbers")
        if len(found) > 1 and (found[0] == found[-1]).all():
            found = found[:-1]
        object.__setattr__(self, "vertices", tuple(map(tuple, found.tolist())))
        if len(found) < 3:
            raise ValueError(f"Polygon: {len(found)} corners; allowed are at least 3")
        if (where := _meeting(found)) is not None:
            raise ValueError(f"Polygon: its edges meet at or next to {where}; allowed is that only neighbours do")

    @cached_property
    def _ends(self) -> tuple[Array, Array]:
        """Where the edges begin and end, (m, 2) each."""
        begin = np.array(self.vertices, dtype=np.float64)
        return begin, np.roll(begin, -1, axis=0)

    @cached_property
    def _area(self) -> float:
        """Positive where the corners go round against the clock."""
        (x, y), (x1, y1) = (ends.T for ends in self._ends)
        return float((x * y1 - x1 * y).sum() / 2)

    @cached_property
    def _lengths(self) -> Array:
        begin, end = self._ends
        return np.asarray(np.hypot(*(end - begin).T))

    @property
    def lower(self) -> Array:
        return np.asarray(self._ends[0].min(axis=0))

    @property
    def upper(self) -> Array:
        return np.asarray(self._ends[0].max(axis=0))

    @property
    def size(self) -> float:
        return abs(self._area)

    @property
    def perimeter(self) -> float:
        """The length of its boundary."""
        return float(self._lengths.sum())

    def contains(self, points: Array) -> NDArray[np.bool_]:
        x, y = points.T
        odd = np.zeros(len(points), dtype=bool)  # crossings of a ray to the right with the edges
        for (x0, y0), (x1, y1) in zip(*self._ends, strict=True):
            if y0 != y1:
                odd ^= ((y0 > y) != (y1 > y)) & (x < x0 + (x1 - x0) * (y - y0) / (y1 - y0))
        return odd

    def edge(self, n: int, unit: Unit, more: int = 0) -> Array:
        u = unit(n, 1 + more)
        (begin, end), ends = self._ends, self._lengths.cumsum()
        along = u[:, 0] * ends[-1]
        on = np.minimum(np.searchsorted(ends, along, side="right"), len(ends) - 1)
        share = 1 - (ends[on] - along) / self._lengths[on]
        return np.column_stack([begin[on] + share[:, None] * (end - begin)[on], u[:, 1:]])

    def normals(self, points: Array) -> Array:
        """Those of the nearest edge."""
        begin, end = self._ends
        distance = np.stack([_distance(points, p, q) for p, q in zip(begin, end, strict=True)])
        dx, dy = ((end - begin) / self._lengths[:, None]).T * np.sign(self._area)
        return np.asarray(np.column_stack([dy, -dx])[distance.argmin(axis=0)] + 0.0)  # no -0


def _distance(points: Array, p: Array, q: Array) -> Array:
    """Of points (n, 2) from the segment between p and q, (n,)."""
    along = np.clip((points - p) @ (q - p) / ((q - p) @ (q - p)), 0, 1)
    return np.asarray(np.hypot(*(points - p - along[:, None] * (q - p)).T))


def _meeting(corners: Array) -> list[float] | None:
    """A corner at which a closed line, (m, 2), has no length or meets itself elsewhere than in common corners."""
    p, q = corners, np.roll(corners, -1, axis=0)
    if (still := (p == q).all(axis=1)).any():
        return [float(x) for x in p[still][0]]
    m = len(p)

    def turn(c: Array) -> Array:
        """On which side of edge i point j lies, (m, m)."""
        (dx, dy), (x, y) = (q - p).T[:, :, None], np.moveaxis(c[None] - p[:, None], 2, 0)
        return np.asarray(np.sign(dx * y - dy * x))

    within = ((p[None] >= np.minimum(p, q)[:, None]) & (p[None] <= np.maximum(p, q)[:, None])).all(axis=2)
    i, j = np.indices((m, m))
    own = (i == j) | ((i + 1) % m == j)
    touches = (turn(p) == 0) & within & ~own
    across = turn(p) * turn(q) < 0
    if (bad := touches | (across & across.T)).any():
        return [float(x) for x in p[bad.any(axis=0)][0]]
    return None
