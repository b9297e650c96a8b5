"""The answer and its picture: solution.npz and solution.png."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl

from pinntk.callbacks.files import write_arrays, write_figure, write_pixels
from pinntk.callbacks.solution_picture import pixel_scale, pixels, plot
from pinntk.common.doing import doing
from pinntk.methods import Method
from pinntk.pdes.references import Reference

PICTURES = 20
"""At most, along the training."""


class SolutionPlot(pl.Callback):
    """Writes the prediction at the evaluation points (solution.npz) and its picture (solution.png), when told to.

    ``solution.npz``: ``coordinates`` (n, d), whose ``names`` are d texts, ``prediction`` (n,) and, where it is known,
    ``reference`` (n,), float64; of F fields, whose names are ``fields``, both are (n, F). NaN in the reference is not
    known.

    Where a logger takes pictures (``log_image``, as those of Lightning have it) it gets plain ones along the training:
    drawing solution.png takes seconds, colouring pixels (prediction.png) milliseconds. Scattered points have none. A
    picture that cannot be drawn is a line, and takes nothing away.

    Args:
        folder: where to write.
        reference: values at the problem's evaluation points; None: not known.
        every: iterations between two pictures for the loggers, and more where there would be too many.
    """

    def __init__(self, folder: Path, reference: Reference | None, every: int = 500) -> None:
        self.folder = folder
        self.reference = None if reference is None else reference.values
        self.every = every
        self._drawn = 0
        self._failed = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        self._drawn = pl_module.iteration

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Method)
        every = max(self.every, math.ceil(pl_module.total_iterations / PICTURES))
        takers = any(hasattr(logger, "log_image") for logger in pl_module.loggers)
        if takers and not self._failed and pl_module.due(every, self._drawn):
            self._drawn = pl_module.iteration
            try:
                self._show(pl_module)
            except Exception as error:  # whatever it is, it is no reason to end a training
                self._failed = True
                say_undrawn("prediction.png", error)

    def _show(self, method: Method) -> None:
        """Give the loggers that take pictures one of the prediction as it is now."""
        prediction = method.network.predict(method.pde.evaluation_points())
        shown = pixels(method.pde, prediction, self.reference)
        if shown is None:
            return
        path = self.folder / "prediction.png"
        write_pixels(path, shown, pixel_scale(method.pde, prediction, self.reference))
        for logger in method.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("prediction", [path], step=method.iteration)

    def write(self, method: Method) -> None:
        """Write both files: after result.json, of which a picture must not keep a run."""
        try:
            with doing("evaluates and draws the solution"):
                self._write(method)
        except Exception as error:  # the result is on the disk; all that is lost is said
            say_undrawn("solution.png", error)

    def _write(self, method: Method) -> None:
        pde, points = method.pde, method.pde.evaluation_points()
        prediction = method.network.predict(points)
        arrays: dict[str, Any] = {"coordinates": points, "prediction": prediction, "names": np.array(pde.coordinates)}
        if self.reference is not None:
            arrays["reference"] = self.reference
        if len(pde.fields) > 1:
            arrays["fields"] = np.array(pde.fields)
        write_arrays(self.folder / "solution.npz", arrays)
        write_figure(self.folder / "solution.png", plot(pde, prediction, self.reference, method.name))


def say_undrawn(name: str, error: Exception) -> None:
    """A line about a picture that could not be made."""
    text = str(error).strip().split("\n")[0]
    print(f"{name} is not written: {type(error).__name__}: {text}", file=sys.stderr, flush=True)
