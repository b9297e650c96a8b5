"""The regions that a string names: of a problem's box, or of the shape in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pinntk.common.arrays import Array
from pinntk.common.errors import allowed
from pinntk.residual.regions import Count, Counts, Domain, Region
from pinntk.residual.shapes import Unit

REGIONS = ("interior", "initial", "boundary", "periodic")


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

        >>> from pinntk.residual.regions import Domain
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

        >>> from pinntk.residual.regions import Domain
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
