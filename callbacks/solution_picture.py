"""Prediction, reference and error side by side, for grids of any number of coordinates and for scattered points."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.figure import Figure

from pinntk.callbacks.solution_panels import (
    MOMENTS,
    ROWS,
    Field,
    Group,
    Panel,
    Slice,
    fields_of,
    groups,
    panels,
    range_of,
    slices,
)
from pinntk.common.arrays import Array, l2re, l2re_by_field
from pinntk.common.plots import Picture
from pinntk.pdes.base import PDE

BAR = 20
"""Pixels of a curve's length to one of the height of either of its bars."""


def pixels(pde: PDE, prediction: Array, reference: Array | None) -> Array | None:
    """Prediction beside or above the reference, one pixel for a point of the grid; the first row is the lowest.

    Of several fields the first is at the top, and the range of each is mapped to [0, 1] (`pixel_scale`). Scattered
    points have no pixels: None.

    Args:
        pde: the problem.
        prediction, reference: at the evaluation points, (n,) or (n, F); NaN in a reference, or a reference of None, is
            not known.
    """
    axes = pde.grid_axes()
    if axes is None:
        return None
    blocks = []
    for one in fields_of(pde, prediction, reference):
        known = [one.prediction] if one.reference is None else [one.prediction, one.reference]
        if one.name:
            low, high = range_of(*known[-1:], nothing=range_of(one.prediction))
            known = [(values - low) / ((high - low) or 1.0) for values in known]
        blocks.append(_pixels(pde, axes, known))
    return np.vstack(blocks[::-1])


def pixel_scale(pde: PDE, prediction: Array, reference: Array | None) -> Array:
    """Values whose range is that of the colours of `pixels`."""
    if len(pde.fields) > 1:
        return np.array([0.0, 1.0])
    return prediction if reference is None else reference


def _pixels(pde: PDE, axes: tuple[Array, ...], known: Sequence[Array]) -> Array:
    """Those of one field; ``known``: its prediction, and its reference where there is one."""
    if len(axes) == 1:
        return np.repeat(np.stack(known[::-1]), max(1, len(known[0]) // BAR), axis=0)
    planes = slices(pde, axes)
    if len(axes) == 2:
        return np.hstack([planes[0].of(values) for values in known])
    return np.vstack([np.hstack([plane.of(values) for plane in planes]) for values in known[::-1]])


def plot(pde: PDE, prediction: Array, reference: Array | None, method: str) -> Figure:
    """Curves in 1-D, maps in 2-D, several planes of a grid in 3-D and more, coloured points where they are scattered.

    What is not known is left blank; without any reference the prediction stands alone. Arguments as for `pixels`.
    """
    title = f"{pde.name}, {method}"
    if reference is not None:
        title += f": L2RE {l2re(prediction, reference):.2e}"
        if len(pde.fields) > 1:
            errors = l2re_by_field(prediction, reference, pde.fields)
            title += "\n" + ", ".join(f"{name} {error:.2e}" for name, error in errors.items() if not math.isnan(error))
    axes, names = pde.grid_axes(), pde.coordinates
    points = np.asarray(pde.evaluation_points(), dtype=np.float64)
    fields = fields_of(pde, prediction, reference)
    if len(names) == 1:
        return _curves(points[:, 0], fields, (names[0], pde.fields[0]), title)
    # Without a reference moments stand side by side, and there is room for all of them.
    count = len(MOMENTS) if reference is None else max(1, min(len(MOMENTS), ROWS // len(fields)))
    places: list[Slice] | list[Group] = groups(pde, points, min(3, count)) if axes is None else slices(pde, axes, count)
    return _maps(panels(fields, places), points, axes, names, title)


def _curves(x: Array, fields: Sequence[Field], names: tuple[str, str], title: str) -> Figure:
    order = np.argsort(x, kind="stable")
    known = fields[0].reference is not None
    figure = Picture(figsize=(9 if known else 6, 3.4 * len(fields)), layout="constrained")
    rows = figure.subplots(len(fields), 2 if known else 1, squeeze=False, sharex=True)
    for row, one in zip(rows, fields, strict=True):
        u = one.prediction[order]
        if one.reference is not None:
            v = one.reference[order]
            row[0].plot(x[order], v, color="0.6", linewidth=3, label="reference")
            row[1].plot(x[order], u - v, linewidth=1.2)
            row[1].set_title(f"{one.name}: prediction - reference" if one.name else "prediction - reference")
        row[0].plot(x[order], u, linewidth=1.2, label="prediction")
        row[0].legend(frameon=False)
        row[0].set_ylabel(one.name or names[1])
    for panel in rows[-1]:
        panel.set_xlabel(names[0])
    figure.suptitle(title)
    return figure


def _maps(
    rows: list[list[Panel]], points: Array, axes: tuple[Array, ...] | None, names: tuple[str, ...], title: str
) -> Figure:
    columns = len(rows[0])
    size = (3.5 * columns, 2.6 * len(rows) + 0.6) if columns > 1 else (5.0, 3.4 * len(rows) + 0.6)
    figure = Picture(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False, sharex=True, sharey=True)
    across, up = names[rows[0][0].where.across], names[rows[0][0].where.up]  # as all the others have it
    for row, line in zip(rows, grid, strict=True):
        for axis in line[len(row) :]:
            axis.remove()
        for panel, axis in zip(row, line, strict=False):
            _draw(panel, axis, points, axes)
            axis.set_title(panel.title)
        line[0].set_ylabel(f"{row[0].label}\n{up}" if row[0].label else up)
    for k in range(columns):
        lowest = grid[max(i for i, row in enumerate(rows) if len(row) > k)][k]
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel(across)
    figure.suptitle(title)
    return figure


def _draw(panel: Panel, axis: Axes, points: Array, axes: tuple[Array, ...] | None) -> None:
    """A panel's map or points, with the bar of their colours."""
    if np.isnan(panel.values).all():
        axis.text(0.5, 0.5, "not known", transform=axis.transAxes, ha="center", va="center", color="0.5")
        return
    where, (low, high) = panel.where, panel.limits
    colours = matplotlib.colormaps[panel.colours]
    image: QuadMesh | PathCollection
    if isinstance(where, Group):
        shown, size = points[where.members], max(1.0, min(30.0, 2e4 / len(where.members)))
        image = axis.scatter(
            shown[:, where.across], shown[:, where.up], size, panel.values, vmin=low, vmax=high, linewidths=0,
            cmap=colours, rasterized=True,
        )  # fmt: skip
    else:
        assert axes is not None
        image = axis.pcolormesh(
            axes[where.across], axes[where.up], panel.values, vmin=low, vmax=high, cmap=colours, rasterized=True
        )
    axis.figure.colorbar(image, ax=axis)
