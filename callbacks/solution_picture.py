"""Prediction, reference and error side by side, for grids of any number of coordinates and for scattered points."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pinntk.common.arrays import Array, l2re
from pinntk.pdes.base import PDE

MOMENTS = (0.0, 0.03, 0.3, 1.0)
"""Fractions of the time interval shown for a problem in several space dimensions."""
CUTS = (0.25, 0.5, 0.75)
"""Fractions of the last space coordinate where there is no time."""
BAR = 20
"""Pixels of a curve's length to one of the height of either of its bars."""


@dataclass(frozen=True)
class Slice:
    """A plane of an evaluation grid.

    Attributes:
        across, up: numbers of the coordinates that span it.
        held: the other coordinates' numbers -> their place on the grid.
        label: which of the planes it is; empty where there is only one.
    """

    across: int
    up: int
    held: dict[int, int]
    label: str

    def of(self, values: Array) -> Array:
        """The plane's values, (up, across), of those on the grid."""
        plane = values[tuple(self.held.get(c, slice(None)) for c in range(values.ndim))]
        return plane.T if self.across < self.up else plane


def slices(pde: PDE, axes: tuple[Array, ...]) -> list[Slice]:
    """The planes that are shown of a grid of two or more coordinates.

    Two coordinates: t to the right and x upwards, or without a t the first to the right. More: the first two in space,
    at several moments, or cuts of the last coordinate where there is no t; what remains is held in the middle.
    """
    names = pde.coordinates
    space = [c for c in range(len(names)) if names[c] != "t"]
    time = [c for c in range(len(names)) if names[c] == "t"]
    if len(names) == 2:
        across, up = [*time, *space]
        return [Slice(across, up, {}, "")]
    along, fractions = (time[0], MOMENTS) if time else (space[-1], CUTS)
    middle = {c: len(axes[c]) // 2 for c in space[2:] if c != along}
    places = dict.fromkeys(round(f * (len(axes[along]) - 1)) for f in fractions)
    found = []
    for place in places:
        held = {along: place, **middle}
        label = ", ".join(f"{names[c]} = {axes[c][i]:g}" for c, i in held.items())
        found.append(Slice(space[0], space[1], held, label))
    return found


def pixels(pde: PDE, prediction: Array, reference: Array) -> Array | None:
    """Prediction beside or above the reference, one pixel for a point of the grid; the first row is the lowest.

    Scattered points have no pixels: None.
    """
    axes = pde.grid_axes()
    if axes is None:
        return None
    u, v = (values.reshape([len(axis) for axis in axes]) for values in (prediction, reference))
    if u.ndim == 1:
        return np.repeat(np.stack([v, u]), max(1, len(u) // BAR), axis=0)
    planes = slices(pde, axes)
    if u.ndim == 2:
        return np.hstack([planes[0].of(u), planes[0].of(v)])
    return np.vstack([np.hstack([plane.of(values) for plane in planes]) for values in (v, u)])


def plot(pde: PDE, prediction: Array, reference: Array, method: str) -> Figure:
    """Curves in 1-D, maps in 2-D, several planes of a grid in 3-D and more, coloured points where they are scattered.

    Raises:
        ValueError: scattered points of more than two coordinates.
    """
    title = f"{pde.name}, {method}: L2RE {l2re(prediction, reference):.2e}"
    axes, names = pde.grid_axes(), pde.coordinates
    points = np.asarray(pde.evaluation_points(), dtype=np.float64)
    if len(names) == 1:
        order = np.argsort(points[:, 0], kind="stable")
        return _curves(points[order, 0], prediction[order], reference[order], names[0], title)
    if axes is None:
        return _scattered(points, prediction, reference, names, title)
    u, v = (values.reshape([len(axis) for axis in axes]) for values in (prediction, reference))
    planes = slices(pde, axes)
    across, up = planes[0].across, planes[0].up
    rows = [(plane.label, plane.of(u), plane.of(v)) for plane in planes]
    return _maps(rows, axes[across], axes[up], (names[across], names[up]), title)


def _curves(x: Array, u: Array, v: Array, name: str, title: str) -> Figure:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(x, v, color="0.6", linewidth=3, label="reference")
    left.plot(x, u, linewidth=1.2, label="prediction")
    left.legend(frameon=False)
    left.set(xlabel=name, ylabel="u")
    right.plot(x, u - v, linewidth=1.2)
    right.set(xlabel=name, title="prediction - reference")
    figure.suptitle(title)
    return figure


def _three(u: Array, v: Array) -> list[tuple[str, Array, tuple[float, float], str]]:
    """Prediction, reference and error: title, values, limits of the colours, and which colours."""
    # One colour scale for prediction and reference; the error has its own, centred on zero.
    low, high = float(min(u.min(), v.min())), float(max(u.max(), v.max()))
    worst = float(np.abs(u - v).max()) or 1.0
    return [
        ("prediction", u, (low, high), "viridis"),
        ("reference", v, (low, high), "viridis"),
        ("error", u - v, (-worst, worst), "RdBu_r"),
    ]


def _maps(rows: list[tuple[str, Array, Array]], across: Array, up: Array, names: tuple[str, str], title: str) -> Figure:
    height = 2.6 * len(rows) + 0.6
    figure = Figure(figsize=(10.5, height), layout="constrained")
    panels = figure.subplots(len(rows), 3, squeeze=False, sharex=True, sharey=True)
    for line, (label, u, v) in zip(panels, rows, strict=True):
        for panel, (_, values, limits, colours) in zip(line, _three(u, v), strict=True):
            _map(panel, across, up, values, limits, colours)
        line[0].set_ylabel(f"{label}\n{names[1]}" if label else names[1])
    for panel, name in zip(panels[0], ("prediction", "reference", "error"), strict=True):
        panel.set_title(name)
    for panel in panels[-1]:
        panel.set_xlabel(names[0])
    figure.suptitle(title)
    return figure


def _map(panel: Axes, across: Array, up: Array, values: Array, limits: tuple[float, float], colours: str) -> None:
    image = panel.pcolormesh(
        across, up, values, vmin=limits[0], vmax=limits[1], cmap=matplotlib.colormaps[colours], rasterized=True
    )
    panel.figure.colorbar(image, ax=panel)


def _scattered(points: Array, u: Array, v: Array, names: tuple[str, ...], title: str) -> Figure:
    if len(names) > 2:
        raise ValueError(f"scattered points of {len(names)} coordinates have no picture")
    # As on a grid: t to the right.
    across, up = (1, 0) if names[1] == "t" else (0, 1)
    figure = Figure(figsize=(10.5, 3.2), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    size = max(1.0, min(30.0, 2e4 / len(points)))
    for panel, (name, values, limits, colours) in zip(panels, _three(u, v), strict=True):
        image = panel.scatter(
            points[:, across], points[:, up], size, values, vmin=limits[0], vmax=limits[1], linewidths=0,
            cmap=matplotlib.colormaps[colours], rasterized=True,
        )  # fmt: skip
        panel.set(title=name, xlabel=names[across])
        figure.colorbar(image, ax=panel)
    panels[0].set_ylabel(names[up])
    figure.suptitle(title)
    return figure
