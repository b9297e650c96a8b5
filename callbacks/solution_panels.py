"""What of a solution is shown: its fields, the planes of a grid or groups of scattered points, and their panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pinntk.common.arrays import Array
from pinntk.pdes.base import PDE

MOMENTS = (0.0, 0.03, 0.3, 1.0)
"""Fractions of the time interval shown for a problem in several space dimensions; the last of them where not all."""
CUTS = (0.25, 0.5, 0.75)
"""Fractions of the last space coordinate where there is no time."""
ROWS = 6
"""Of a picture at most, while there are moments or cuts that can be left out."""
ABREAST = 3
"""Fields side by side where each has one panel."""


@dataclass(frozen=True)
class Field:
    """One field at the evaluation points.

    Attributes:
        name: of it, or empty where there is no other.
        prediction: (n,), NaN outside of the domain.
        reference: (n,), NaN where it is not known; None where there is none.
    """

    name: str
    prediction: Array
    reference: Array | None


def fields_of(pde: PDE, prediction: Array, reference: Array | None) -> list[Field]:
    """The fields of a prediction and a reference, (n,) or (n, F). Outside is where no field's value is known."""
    u = prediction.reshape(len(prediction), -1)
    names = pde.fields if len(pde.fields) > 1 else ("",)
    if reference is None:
        return [Field(name, column, None) for name, column in zip(names, u.T, strict=True)]
    v = reference.reshape(len(reference), -1)
    outside = np.isnan(v).all(axis=1, keepdims=True)
    if outside.any():
        u = np.where(outside, np.nan, u)
    return [Field(name, *columns) for name, *columns in zip(names, u.T, v.T, strict=True)]


@dataclass(frozen=True)
class Slice:
    """A plane of an evaluation grid.

    Attributes:
        across, up: numbers of the coordinates that span it.
        held: the other coordinates' numbers -> their place on the grid.
        label: which of the planes it is; empty where there is only one.
        shape: of the grid.
    """

    across: int
    up: int
    held: dict[int, int]
    label: str
    shape: tuple[int, ...]

    def of(self, values: Array) -> Array:
        """The plane's values, (up, across), of those at the grid's points, (n,)."""
        plane = values.reshape(self.shape)[tuple(self.held.get(c, slice(None)) for c in range(len(self.shape)))]
        return plane.T if self.across < self.up else plane


def slices(pde: PDE, axes: tuple[Array, ...], count: int = len(MOMENTS)) -> list[Slice]:
    """The planes that are shown of a grid of two or more coordinates, ``count`` of them at most.

    Two coordinates: t to the right and x upwards, or without a t the first to the right. More: the first two in space,
    at several moments, or cuts of the last coordinate where there is no t; what remains is held in the middle.
    """
    names, shape = pde.coordinates, tuple(map(len, axes))
    space = [c for c in range(len(names)) if names[c] != "t"]
    time = [c for c in range(len(names)) if names[c] == "t"]
    if len(names) == 2:
        across, up = [*time, *space]
        return [Slice(across, up, {}, "", shape)]
    if time:
        along, fractions = time[0], MOMENTS[-count:]
    else:
        along, fractions = space[-1], {1: CUTS[1:2], 2: CUTS[::2]}.get(count, CUTS)
    middle = {c: len(axes[c]) // 2 for c in space[2:] if c != along}
    places = dict.fromkeys(round(f * (len(axes[along]) - 1)) for f in fractions)
    found = []
    for place in places:
        held = {along: place, **middle}
        label = ", ".join(f"{names[c]} = {axes[c][i]:.4g}" for c, i in held.items())
        found.append(Slice(space[0], space[1], held, label, shape))
    return found


@dataclass(frozen=True)
class Group:
    """Scattered points that share a panel.

    Attributes:
        across, up: numbers of the coordinates to the right and upwards.
        label: which of the groups it is; empty where there is only one.
        members: numbers of the points.
    """

    across: int
    up: int
    label: str
    members: NDArray[np.intp]

    def of(self, values: Array) -> Array:
        """Their values, of those at all points, (n,)."""
        return values[self.members]


def groups(pde: PDE, points: Array, count: int) -> list[Group]:
    """Scattered points of two or more coordinates, those of three or more in ``count`` layers of t, or of the last."""
    names = pde.coordinates
    space = [c for c in range(len(names)) if names[c] != "t"]
    time = [c for c in range(len(names)) if names[c] == "t"]
    if len(names) == 2:
        across, up = [*time, *space]
        return [Group(across, up, "", np.arange(len(points)))]
    along = [*time, space[-1]][0]
    values = np.unique(points[:, along])
    if len(values) <= count:
        layers = [np.flatnonzero(points[:, along] == value) for value in values]
    else:
        layers = np.array_split(np.argsort(points[:, along], kind="stable"), min(count, len(points)))
    found = []
    for members in layers:
        low, high = float(points[members, along].min()), float(points[members, along].max())
        label = f"{names[along]} = {low:.3g}" + (f" … {high:.3g}" if high > low else "")
        found.append(Group(space[0], space[1], label, members))
    return found


@dataclass(frozen=True)
class Panel:
    """A coloured plane or group.

    Attributes:
        where: which points.
        values: there.
        limits: of the colours, ``colours``.
        title: above it.
        label: beside it, before the name of what goes upwards.
    """

    where: Slice | Group
    values: Array
    limits: tuple[float, float]
    colours: str = "viridis"
    title: str = ""
    label: str = field(default="", kw_only=True)


def panels(fields: Sequence[Field], places: Sequence[Slice | Group]) -> list[list[Panel]]:
    """The rows of a picture.

    With a reference: prediction, reference and error of a place in a row, the places of a field below each other.
    Without: the places of a field in a row, or where there is one place, several fields.
    """
    if fields[0].reference is not None:
        return [_three(one, place, first=place is places[0]) for one in fields for place in places]
    rows = []
    for one in fields:
        limits = range_of(*(place.of(one.prediction) for place in places))
        titles = [", ".join(filter(None, [one.name, place.label])) or "prediction" for place in places]
        rows.append(
            [Panel(p, p.of(one.prediction), limits, title=title) for p, title in zip(places, titles, strict=True)]
        )
    if len(places) > 1:
        return rows
    flat = [panel for row in rows for panel in row]
    return [flat[k : k + ABREAST] for k in range(0, len(flat), ABREAST)]


def _three(one: Field, place: Slice | Group, *, first: bool) -> list[Panel]:
    assert one.reference is not None
    u, v = place.of(one.prediction), place.of(one.reference)
    # One colour scale for prediction and reference; the error has its own, centred on zero.
    limits, of = range_of(u, v), f"{one.name}: " if one.name else ""
    worst = max(map(abs, range_of(u - v, nothing=(0.0, 0.0)))) or 1.0
    titles = [f"{of}{name}" if first else "" for name in ("prediction", "reference", "error")]
    return [
        Panel(place, u, limits, title=titles[0], label=place.label),
        Panel(place, v, limits, title=titles[1]),
        Panel(place, u - v, (-worst, worst), "RdBu_r", titles[2]),
    ]


def range_of(*values: Array, nothing: tuple[float, float] = (0.0, 1.0)) -> tuple[float, float]:
    """The lowest and the highest of the values that are known; ``nothing`` where none is."""
    known = [one[~np.isnan(one)] for one in values]
    known = [one for one in known if one.size]
    return (float(min(one.min() for one in known)), float(max(one.max() for one in known))) if known else nothing
