"""Panels that the callbacks draw for one run and the report for many."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pinntk.common.arrays import Array

ROUNDING = 1e-16
"""Eigenvalues below this part of the largest are rounding."""


class Picture(Figure):
    """A figure that a notebook shows where it is the value of a cell, without pyplot, which keeps all its figures."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()


def eigenvalues(panel: Axes, curves: Mapping[str, tuple[Array, Mapping[str, Any]]]) -> None:
    """Eigenvalues of positive semidefinite matrices against their number.

    Args:
        panel: where to draw.
        curves: label -> eigenvalues in descending order, and how to draw them; a block without rows has none.
    """
    curves = {label: curve for label, curve in curves.items() if len(curve[0])}
    if not curves:
        panel.set_axis_off()
        panel.text(0.5, 0.5, "no residuals", transform=panel.transAxes, ha="center")
        return
    for label, (values, style) in curves.items():
        panel.plot(np.arange(1, len(values) + 1), np.maximum(values, 1e-300), label=label, **style)
    top = max(float(values[0]) for values, _ in curves.values())
    panel.set(xscale="log", yscale="log", ylim=(ROUNDING * top, 3 * top), xlabel="number", ylabel="eigenvalue")


def share_above(panel: Axes, densities: Mapping[str, Array]) -> None:
    """The share of a matrix's eigenvalues above each value.

    Args:
        panel: where to draw.
        densities: label -> nodes and weights of `spectral_density`, stacked: (2, probes, steps).
    """
    for label, (nodes, weights) in densities.items():
        order = np.argsort(nodes, axis=None)
        panel.plot(nodes.ravel()[order], 1 - np.cumsum(weights.ravel()[order]), label=label)
    largest = max(float(np.abs(nodes).max()) for nodes, _ in densities.values())
    panel.set_xscale("symlog", linthresh=1e-4 * largest)
    panel.set(xlabel="λ", ylabel="share of eigenvalues above λ", ylim=(0, 1))
