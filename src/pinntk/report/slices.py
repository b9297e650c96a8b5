"""Prediction and error of a run, made small enough to be looked at in the page, moment by moment."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pinntk.common.arrays import Array
from pinntk.report.reading import Run

NAMES: dict[int, tuple[str, ...]] = {1: ("x",), 2: ("x", "t"), 3: ("x", "y", "t")}
"""Of the coordinates, in files that do not say so: those of the problems that come with the package."""
TIME = "t"
POINTS = {1: 501, 2: 257, 3: 65}
"""At most, along each coordinate of space, by the number of coordinates."""
MOMENTS = {2: 51, 3: 26}
"""At most."""
UNKNOWN = 65535
"""The code of what is not known; the others are evenly spaced values."""


def coded(values: Array) -> dict[str, Any]:
    """Values as two bytes each, steps of 1/65534 of their range: the range, and the bytes (little-endian) in base64.

    Example::

        >>> coded(np.array([2.0, 4.0, np.nan]))
        {'low': 2.0, 'high': 4.0, 'data': 'AAD+////'}
    """
    known = np.isfinite(values)
    low, high = (float(values[known].min()), float(values[known].max())) if known.any() else (0.0, 0.0)
    scaled = np.where(known, values - low, 0.0) / ((high - low) or 1.0) * (UNKNOWN - 1)
    codes = np.where(known, scaled.round(), UNKNOWN).astype("<u2")
    return {"low": low, "high": high, "data": base64.b64encode(codes.tobytes()).decode()}


def gridded(points: Array) -> tuple[list[Array], NDArray[np.intp]] | None:
    """The axes of a grid, and in what order its points run through it as C has it; None where they are no grid."""
    axes: list[Array] = [np.unique(column) for column in points.T]
    if np.prod([len(axis) for axis in axes]) != len(points):
        return None
    places = [np.searchsorted(axis, column) for axis, column in zip(axes, points.T, strict=True)]
    order = np.argsort(np.ravel_multi_index(tuple(places), tuple(len(axis) for axis in axes)), kind="stable")
    on_grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(points.shape)
    return (axes, order) if np.array_equal(points[order], on_grid) else None


def thinned(axis: Array, most: int) -> NDArray[np.intp]:
    """Numbers of evenly spaced points of an axis, both ends among them."""
    return np.unique(np.linspace(0, len(axis) - 1, min(most, len(axis))).round().astype(int))


def solution(run: Run) -> dict[str, Any] | None:
    """What the page needs to draw a run's prediction, reference and error.

    Returns:
        ``time``: name and values of the time, None without one; ``axes``: the same of the other coordinates; of
        each field its ``name``, ``prediction`` and ``error`` (None where no reference is known), as arrays (moments,
        points of the last axis, ..., points of the first). None where the points are no grid, or have more coordinates
        than can be drawn.
    """
    saved = run.arrays("solution.npz")
    points = np.asarray(saved["coordinates"], dtype=np.float64)
    count = points.shape[1]
    names = [str(name) for name in saved["names"]] if "names" in saved else list(NAMES.get(count, ()))
    grid = gridded(points)
    if grid is None or not 1 <= count <= 3 or len(names) != count or (count == 3 and TIME not in names):
        return None
    axes, order = grid
    moment = names.index(TIME) if TIME in names and count > 1 else None
    chosen = [thinned(axis, MOMENTS[count] if k == moment else POINTS[count]) for k, axis in enumerate(axes)]
    space = [k for k in range(count) if k != moment]
    turned = ([] if moment is None else [moment]) + space[::-1]

    def cut(values: Array) -> Array:
        whole: Array = values[order].reshape([len(axis) for axis in axes])
        return whole[np.ix_(*chosen)].transpose(turned)

    def named(k: int) -> dict[str, Any]:
        return {"name": names[k], "values": [float(f"{value:.6g}") for value in axes[k][chosen[k]]]}

    prediction = saved["prediction"].reshape(len(points), -1)
    reference = saved["reference"].reshape(len(points), -1) if "reference" in saved else None
    fields = [str(name) for name in saved["fields"]] if "fields" in saved else ["u"]
    return {
        "time": None if moment is None else named(moment),
        "axes": [named(k) for k in space],
        "fields": [
            {
                "name": name,
                "prediction": coded(cut(prediction[:, k])),
                "error": None if reference is None else coded(cut(prediction[:, k] - reference[:, k])),
            }
            for k, name in enumerate(fields)
        ],
    }
