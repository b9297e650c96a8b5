"""Where a problem's terms live: its shape, its regions, its tables of measurements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pinntk.common.arrays import Array
from pinntk.common.errors import allowed
from pinntk.pdes.base import PDE, Term
from pinntk.pdes.declaration.faults import Fault, called, kind
from pinntk.residual.measurements import WEIGHT, Measurements
from pinntk.residual.named import all_placed
from pinntk.residual.points import draw_region
from pinntk.residual.regions import Points, Region
from pinntk.residual.shapes import Shape

POINTS = 32
"""On which a term is evaluated; of a region of pairs as many pairs."""
NEAR = 1e-9
"""How far points may lie outside the box, in its widths; how far the length of a normal from 1."""


def outside(pde: PDE, points: Array) -> Array:
    """Those of the points (n, d) that the box does not hold."""
    low, high = np.array(pde.lower, dtype=np.float64), np.array(pde.upper, dtype=np.float64)
    inside = (np.abs(points - (low + high) / 2) <= (high - low) * (0.5 + NEAR)).all(axis=1)
    return points[~inside]


def shape_faults(pde: PDE) -> Iterator[str]:
    """What is wrong with the shape, where there is one, before anything is drawn in it."""
    shape: Any = pde.shape
    if shape is None:
        return
    if not isinstance(shape, Shape):
        yield f"shape came as {kind(shape)}; allowed is a Shape, as Disc or Polygon, or None"
        return
    space = [c for c in pde.coordinates if c != "t"]
    if len(space) < 2 or np.shape(shape.lower) != (len(space),) or np.shape(shape.upper) != (len(space),):
        yield f"shape in {np.size(shape.lower)} coordinates; allowed are as many as in space, {len(space)}, from 2"
        return
    columns = [pde.coordinates.index(c) for c in space]
    corners = np.array([pde.lower, pde.upper], dtype=np.float64)
    corners[:, columns] = shape.lower, shape.upper
    if len(outside(pde, corners)):
        yield f"shape from {shape.lower.tolist()} to {shape.upper.tolist()}; allowed is one inside of the box"
    if pde.Discretization is not None:
        yield "shape in a problem with a discrete form, whose grid fills the box; allowed is None"


def placed_terms(pde: PDE, terms: Sequence[Term], faults: list[str]) -> tuple[list[Term], dict[str, Region]]:
    """The terms whose regions are there and right, and these regions by name.

    Args:
        pde: the problem.
        terms: of it.
        faults: to which is added what is wrong.
    """
    good: list[Term] = []
    checked: set[str] = set()
    for term in terms:
        try:
            regions = all_placed([*(t.region for t in good), term.region], pde.domain)
            if term.where not in checked and (isinstance(term.region, Region) or pde.shape is not None):
                _check(pde, regions[term.where])
            checked.add(term.where)
            good.append(term)
        except ValueError as error:
            faults.append(f"term {term.name!r}: {error}")
    found = all_placed([term.region for term in good], pde.domain)
    if len(good) == len(terms):
        faults += _unused_columns(pde, found)
    return good, found


def _check(pde: PDE, region: Region) -> None:
    """Raise the first `Fault` of a region, drawn on a few points."""
    what, d = f"region {region.name!r}", len(pde.coordinates)
    points, again = (
        called(pde, what, lambda: np.asarray(draw_region(region, POINTS, "uniform", seed=0, draw=0))) for _ in range(2)
    )
    n = POINTS * (1 + region.pairs) if isinstance(region, Points) else len(points)
    if points.ndim != 2 or points.shape != (n, d) or not n or n % (1 + region.pairs):
        along = f"{'pairs of ' if region.pairs else ''}points of {', '.join(pde.coordinates)}"
        raise Fault(f"{what} came with shape {points.shape}; allowed is ({n or 'n'}, {d}), {along}")
    if not np.isfinite(points).all():
        raise Fault(f"{what} has points that are NaN or infinite; allowed are finite ones")
    if not np.array_equal(points, again):
        raise Fault(f"{what} came with other points for the same draw; allowed is a function of the points it is given")
    if len(far := outside(pde, points)):
        raise Fault(f"{what} has the point {far[0].tolist()}; allowed are points of the box")
    normals = called(pde, f"the normals of {what}", lambda: region.normals(points))
    if normals is None:
        return
    if np.shape(normals) != points.shape:
        raise Fault(f"the normals of {what} came with shape {np.shape(normals)}; allowed is {points.shape}")
    length = np.linalg.norm(normals, axis=1)
    if not (wrong := np.abs(length - 1) <= NEAR).all():
        k = int(np.flatnonzero(~wrong)[0])
        raise Fault(f"a normal of {what} has length {length[k]:g} at {points[k].tolist()}; allowed is 1")


def _unused_columns(pde: PDE, regions: Mapping[str, Region]) -> Iterator[str]:
    """Columns of tables that no term looks at: their names are misspelt, or their terms have been forgotten."""
    tables: dict[Measurements, set[str]] = {}
    for region in regions.values():
        if isinstance(region, Measurements):
            tables.setdefault(region.only(), set()).update(region.columns)
    for table, columns in tables.items():
        known = {*pde.coordinates, *columns, WEIGHT}
        for name in table.within(pde.domain).table:
            if name not in known:
                yield f"{table.source}: column {name!r}, which no term measures; {allowed(name, known)}"
