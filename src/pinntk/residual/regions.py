"""Regions: where a residual term lives.

A region is named by a string, of the box or of the problem's shape (`regions_of` lists them), or is an object: `Points`
of one's own, `pinntk.residual.measurements.Measurements`. How its points are spread over a unit cube is the run's
setting ``points.sampling``; a region maps them to where it is.
"""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.common.errors import allowed
from pinntk.residual.shapes import Shape, Unit

REGIONS = ("interior", "initial", "boundary", "periodic")
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
        name: any but those of `regions_of`.
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


@dataclass(frozen=True)
class _OfDomain(Region):
    """One of the regions that a string names."""

    name: str
    domain: Domain

    @property
    def single(self) -> bool:
        return len(self.domain.coordinates) == 1 and not self.equation

    def _normal(self, column: int, sign: float) -> Array:
        """(d,)"""
        normal = np.zeros(len(self.domain.coordinates))
        normal[column] = sign
        return normal


class _Interior(_OfDomain):
    """All of the domain."""

    equation, counted = True, "interior"

    def draw(self, n: int, unit: Unit) -> Array:
        return self.domain.inside({}, n, unit)


class _Initial(_OfDomain):
    """The domain at t = lower. It has no normal; the box's face "t = lower" has one."""

    counted = "initial"

    def draw(self, n: int, unit: Unit) -> Array:
        return self.domain.inside({c: self.domain.lower[c] for c in self.domain.time}, n, unit)


class _Boundary(_OfDomain):
    """The domain's boundary in space."""

    counted = "boundary"

    def draw(self, n: int, unit: Unit) -> Array:
        return self.domain.around(n, unit)

    def normals(self, points: Array) -> Array:
        domain, space = self.domain, self.domain.space
        if domain.shape is not None:
            found = np.zeros(points.shape)
            found[:, space] = domain.shape.normals(points[:, space])
            return found
        # Of the nearest face: the points may have been rounded to single precision since.
        faces = [(c, sign) for c in space for sign in (-1.0, 1.0)]
        width = np.asarray(domain.upper, dtype=np.float64) - domain.lower
        ends = {-1.0: domain.lower, 1.0: domain.upper}
        gaps = np.stack([np.abs(points[:, c] - ends[sign][c]) / width[c] for c, sign in faces])
        return np.asarray(np.stack([self._normal(*face) for face in faces])[gaps.argmin(axis=0)])


@dataclass(frozen=True)
class _Face(_OfDomain):
    """One face of the box."""

    column: int
    upper: bool
    counted: Count
    """A face of the time is drawn like the initial one, and alone."""

    def count(self, counts: Counts) -> int:
        faces = 1 if self.counted == "initial" else 2 * len(self.domain.space)
        return max(1, super().count(counts) // faces)

    def draw(self, n: int, unit: Unit) -> Array:
        end = (self.domain.upper if self.upper else self.domain.lower)[self.column]
        return self.domain.held({self.column: end}, n, unit)

    def normals(self, points: Array) -> Array:
        return np.tile(self._normal(self.column, 1.0 if self.upper else -1.0), (len(points), 1))


@dataclass(frozen=True)
class _Periodic(_OfDomain):
    """Pairs of points: on the box's lower face of a coordinate, and their images on the upper one."""

    column: int
    pairs, counted = True, "boundary"

    def draw(self, n: int, unit: Unit) -> Array:
        c, domain = self.column, self.domain
        first = domain.held({c: domain.lower[c]}, n, unit)
        image = first.copy()
        image[:, c] = domain.upper[c]
        return np.concatenate([first, image])

    def normals(self, points: Array) -> Array:
        lower = np.tile(self._normal(self.column, -1.0), (len(points) // 2, 1))
        return np.concatenate([lower, -lower]) + 0.0  # no -0


def regions_of(coordinates: Sequence[str]) -> tuple[str, ...]:
    """The regions that a string can name in a problem with these coordinates.

    ``interior``: the domain; ``initial``: it at t = lower; ``boundary``: its boundary in space; ``periodic``: pairs of
    points on the faces of the first space coordinate, ``periodic(c)`` of any; ``c = lower``, ``c = upper``: a face.

    Example::

        >>> regions_of(("t",))
        ('interior', 'initial', 't = lower', 't = upper', 'periodic(t)')
        >>> regions_of(("x",))
        ('interior', 'boundary', 'periodic', 'x = lower', 'x = upper', 'periodic(x)')
    """
    space, time = any(c != "t" for c in coordinates), "t" in coordinates
    has = {"interior": True, "initial": time, "boundary": space, "periodic": space}
    faces = [f"{c} = {side}" for c in coordinates for side in ("lower", "upper")]
    return (*(region for region in REGIONS if has[region]), *faces, *(f"periodic({c})" for c in coordinates))


def name_of(region: str | Region) -> str:
    """A region's name, under which its points stand.

    Example::

        >>> name_of("x=upper"), name_of("periodic( y )")
        ('x = upper', 'periodic(y)')
    """
    if isinstance(region, Region):
        return region.name
    return re.sub(r"\s*([=()])\s*", lambda sign: " = " if sign[1] == "=" else sign[1], str(region)).strip()


def placed(region: str | Region, domain: Domain) -> Region:
    """A region as it is in a domain.

    Raises:
        ValueError: it has none of this name, or it does not fit.

    Example::

        >>> square = Domain(("x", "y"), (0.0, 0.0), (1.0, 1.0))
        >>> face = placed("y = upper", square)
        >>> face.normals(np.array([[0.3, 1.0]])).tolist(), face.equation
        ([[0.0, 1.0]], False)
        >>> placed("periodic", square).normals(np.array([[0.0, 0.3], [1.0, 0.3]])).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """
    name, known = name_of(region), regions_of(domain.coordinates)
    if isinstance(region, Region):
        if name in REGIONS or name in known:
            raise ValueError(f"region {name!r}: a string stands for another of this name; allowed are others")
        return region.within(domain)
    if name not in known:
        raise ValueError(f"region {region!r}; {allowed(name, known)}")
    of_domain: dict[str, type[_Interior | _Initial | _Boundary]] = {
        "interior": _Interior,
        "initial": _Initial,
        "boundary": _Boundary,
    }
    if name in of_domain:
        return of_domain[name](name, domain)
    if name == "periodic":
        return _Periodic(name, domain, domain.space[0])
    if "=" in name:
        coordinate, side = name.split(" = ")
        count: Count = "initial" if coordinate == "t" else "boundary"
        return _Face(name, domain, domain.coordinates.index(coordinate), side == "upper", count)
    return _Periodic(name, domain, domain.coordinates.index(name[len("periodic(") : -1]))


def all_placed(regions: Iterable[str | Region], domain: Domain) -> dict[str, Region]:
    """Regions as they are in a domain by name, in the order in which they first come.

    Raises:
        ValueError: as for `placed`, or two of them have one name.

    Example::

        >>> line = Domain(("x",), (0.0,), (1.0,))
        >>> list(all_placed(["interior", "x = lower", "interior"], line))
        ['interior', 'x = lower']
    """
    given: dict[str, str | Region] = {}
    found: dict[str, Region] = {}
    for region in regions:
        name = name_of(region)
        if name not in given:
            given[name], found[name] = region, placed(region, domain)
        elif isinstance(region, Region) and given[name] != region:
            raise ValueError(f"region {name!r}: two have this name; allowed are names that differ, or one object")
    return found
