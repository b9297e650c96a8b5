"""The loss at points that are not trained on, along the training. It is measured, and never steers anything."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl

from pinntk.common.doing import doing, say
from pinntk.methods import Method
from pinntk.residual.form import ResidualForm
from pinntk.residual.fresh import FreshPoints


class FreshLoss(pl.Callback):
    """Measures the loss at fresh points (`pinntk.residual.fresh`) every so many iterations and at the end.

    It is that of the strong form, with the objective's terms, fixed weights and normalization. A method with another
    objective has none: a preconditioned loss is one of the nodes of a grid, all of which its final loss takes in.
    Whatever goes wrong is a line, once, and the training goes on.

    Args:
        every: iterations between two measurements; rounded up to the method's blocks.

    Attributes:
        loss: the last measured; NaN before.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.loss = math.nan
        self._measured = 0
        self._points: FreshPoints | None = None
        self._failed = False

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Method)
        never = pl_module.finished and math.isnan(self.loss)  # a run without a step
        if not self._failed and (pl_module.due(self.every, self._measured) or never):
            self.measure(pl_module)

    def measure(self, method: Method) -> None:
        """Measure now, and log."""
        objective = method.objective
        self._measured = method.iteration
        if not isinstance(objective, ResidualForm) or objective.functions is not method.residuals:
            return
        try:
            with doing("measures the loss at fresh points"):
                if self._points is None or self._points.residuals is not method.residuals:
                    self._points = FreshPoints(method.residuals, method.points, method.seed)
                self.loss = self._points.loss(objective)
        except Exception as error:  # whatever it is, it is no reason to end a training
            self._failed, self.loss = True, math.nan  # an older one would pass for that of the end
            text = str(error).strip().split("\n")[0]
            say(f"fresh_loss: not measured: {type(error).__name__}: {text}; the training goes on")
            return
        method.log_figures({"fresh_loss": self.loss})

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss, "measured": self._measured}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loss, self._measured = state_dict["loss"], state_dict["measured"]
