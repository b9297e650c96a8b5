"""The honest error: L2RE against the reference solution while training. It is measured, and never steers anything."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytorch_lightning as pl

from pinntk.common.arrays import l2re, l2re_by_field
from pinntk.common.doing import doing
from pinntk.methods import Method
from pinntk.pdes.references import Reference


class ErrorAgainstReference(pl.Callback):
    """Measures the L2RE every so many iterations and at the end.

    Without a reference it logs how long the training has taken, and all errors stay NaN or None.

    Args:
        reference: values at the problem's evaluation points; None: not known.
        every: iterations between two measurements; rounded up to the method's blocks.

    Attributes:
        l2re: the last measured, of all fields together.
        l2re_by_field: the last measured of each field, by name; empty for a problem of one field.
        l2re_at_lowest_loss: the one measured where the logged loss was the lowest of all measured points; None where
            the method's losses are not comparable.
    """

    def __init__(self, reference: Reference | None, every: int) -> None:
        self.reference = reference
        self.every = every
        self.l2re = math.nan
        self.l2re_by_field: dict[str, float] = {}
        self.l2re_at_lowest_loss: float | None = None
        self._lowest = math.inf
        self._measured = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Method)
        never = pl_module.finished and math.isnan(self.l2re)  # a run without a step
        if pl_module.due(self.every, self._measured) or never:
            self.measure(pl_module)

    def measure(self, method: Method) -> None:
        """Measure now, and log, together with the seconds of training that it took to get there."""
        self._measured = method.iteration
        if self.reference is None:
            method.log_figures({"seconds": method.seconds})
            return
        fields, values, points = method.pde.fields, self.reference.values, method.pde.evaluation_points()
        trained = method.trained(points)
        if not trained.all():
            values = np.where(trained.reshape(-1, *[1] * (values.ndim - 1)), values, np.nan)
        with doing("measures the error"):
            prediction = method.network.predict(points)
        self.l2re = l2re(prediction, values)
        self.l2re_by_field = l2re_by_field(prediction, values, fields) if len(fields) > 1 else {}
        loss = method.latest.get("loss", math.inf)
        if not method.comparable_losses:
            self.l2re_at_lowest_loss = None
        elif loss < self._lowest:
            self._lowest, self.l2re_at_lowest_loss = loss, self.l2re
        known = {f"l2re_{name}": error for name, error in self.l2re_by_field.items() if not math.isnan(error)}
        method.log_figures({"l2re": self.l2re, **known, "seconds": method.seconds})

    def state_dict(self) -> dict[str, Any]:
        return {
            "l2re": self.l2re,
            "l2re_by_field": self.l2re_by_field,
            "l2re_at_lowest_loss": self.l2re_at_lowest_loss,
            "lowest": self._lowest,
            "measured": self._measured,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.l2re = state_dict["l2re"]
        self.l2re_by_field = state_dict.get("l2re_by_field", {})  # younger than some checkpoints
        self.l2re_at_lowest_loss = state_dict["l2re_at_lowest_loss"]
        self._lowest = state_dict["lowest"]
        self._measured = state_dict["measured"]
