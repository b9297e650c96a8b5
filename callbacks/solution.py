"""The answer and its picture: solution.npz and solution.png."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytorch_lightning as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pinntk.callbacks.error import l2re
from pinntk.callbacks.files import write_arrays, write_figure, write_pixels
from pinntk.methods import Method
from pinntk.pdes.base import PDE, Array
from pinntk.references import Reference

SNAPSHOTS = (0.0, 0.03, 0.3, 1.0)
"""Fractions of the time interval shown for a problem in two space dimensions."""
PICTURES = 20
"""At most, along the training."""


class SolutionPlot(pl.Callback):
    """Writes, when training ends, the prediction on the evaluation grid (solution.npz) and its picture (solution.png).

    ``solution.npz``: ``coordinates`` (n, d), ``prediction`` (n,), ``reference`` (n,), float64.

    Where a logger takes pictures (``log_image``, as those of Lightning have it) it gets plain ones along the training:
    drawing solution.png takes seconds, colouring pixels (prediction.png) milliseconds.

    Args:
        folder: where to write.
        reference: values on the problem's evaluation grid.
        every: iterations between two pictures for the loggers, and more where there would be too many.
    """

    def __init__(self, folder: Path, reference: Reference, every: int = 500) -> None:
        self.folder = folder
        self.reference = reference
        self.every = every
        self._drawn = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        self._drawn = pl_module.iteration

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Method)
        takers = [logger for logger in pl_module.loggers if hasattr(logger, "log_image")]
        every = max(self.every, math.ceil(pl_module.total_iterations / PICTURES))
        if takers and pl_module.due(every, self._drawn):
            self._drawn = pl_module.iteration
            prediction = pl_module.predict_numpy(pl_module.pde.evaluation_points())
            path = self.folder / "prediction.png"
            write_pixels(path, pixels(pl_module.pde, prediction, self.reference.values), self.reference.values)
            for logger in takers:
                logger.log_image("prediction", [path], step=pl_module.iteration)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        points = pl_module.pde.evaluation_points()
        prediction = pl_module.predict_numpy(points)
        arrays = {"coordinates": points, "prediction": prediction, "reference": self.reference.values}
        write_arrays(self.folder / "solution.npz", arrays)
        figure = draw(pl_module.pde, prediction, self.reference.values, pl_module.name)
        write_figure(self.folder / "solution.png", figure)


def pixels(pde: PDE, prediction: Array, reference: Array) -> Array:
    """Prediction beside or above the reference, one pixel for a point of the grid; the first row is the lowest."""
    u, v = (values.reshape(pde.evaluation_shape) for values in (prediction, reference))
    if u.ndim == 1:
        return np.repeat(np.stack([v, u]), len(u) // 20, axis=0)
    if u.ndim == 2:
        return np.hstack([u, v])
    return np.vstack([np.hstack([values[:, :, i].T for i in snapshots(pde)]) for values in (v, u)])


def snapshots(pde: PDE) -> list[int]:
    """The times that are shown, by their number on the evaluation grid."""
    return [round(f * (pde.evaluation_shape[-1] - 1)) for f in SNAPSHOTS]


def draw(pde: PDE, prediction: Array, reference: Array, method: str) -> Figure:
    """Prediction, reference and error side by side: curves in 1-D, maps in (x, t), snapshots in (x, y, t)."""
    shape = pde.evaluation_shape
    axes = pde.evaluation_axes()
    u, v = prediction.reshape(shape), reference.reshape(shape)
    title = f"{pde.name}, {method}: L2RE {l2re(prediction, reference):.2e}"
    if len(shape) == 1:
        return _curves(axes[0], u, v, title)
    if len(shape) == 2:
        return _maps([("", u, v)], axes[1], axes[0], ("t", "x"), title)
    rows = [(f"t = {axes[2][i]:g}", u[:, :, i].T, v[:, :, i].T) for i in snapshots(pde)]
    return _maps(rows, axes[0], axes[1], ("x", "y"), title)


def _curves(x: Array, u: Array, v: Array, title: str) -> Figure:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(x, v, color="0.6", linewidth=3, label="reference")
    left.plot(x, u, linewidth=1.2, label="prediction")
    left.legend(frameon=False)
    left.set(xlabel="x", ylabel="u")
    right.plot(x, u - v, linewidth=1.2)
    right.set(xlabel="x", title="prediction - reference")
    figure.suptitle(title)
    return figure


def _maps(
    rows: list[tuple[str, Array, Array]], across: Array, up: Array, labels: tuple[str, str], title: str
) -> Figure:
    height = 2.6 * len(rows) + 0.6
    figure = Figure(figsize=(10.5, height), layout="constrained")
    panels = figure.subplots(len(rows), 3, squeeze=False, sharex=True, sharey=True)
    for line, (label, u, v) in zip(panels, rows, strict=True):
        # One colour scale for prediction and reference; the error has its own, centred on zero.
        low, high = float(min(u.min(), v.min())), float(max(u.max(), v.max()))
        worst = float(np.abs(u - v).max()) or 1.0
        for panel, values, name in zip(line, (u, v, u - v), ("prediction", "reference", "error"), strict=True):
            error = name == "error"
            _map(panel, across, up, values, (-worst, worst) if error else (low, high), "RdBu_r" if error else "viridis")
        line[0].set_ylabel(f"{label}\n{labels[1]}" if label else labels[1])
    for panel, name in zip(panels[0], ("prediction", "reference", "error"), strict=True):
        panel.set_title(name)
    for panel in panels[-1]:
        panel.set_xlabel(labels[0])
    figure.suptitle(title)
    return figure


def _map(panel: Axes, across: Array, up: Array, values: Array, limits: tuple[float, float], colours: str) -> None:
    image = panel.pcolormesh(
        across, up, values, vmin=limits[0], vmax=limits[1], cmap=matplotlib.colormaps[colours], rasterized=True
    )
    panel.figure.colorbar(image, ax=panel)
