"""The unknown coefficients of a problem along the training, and the picture of their curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from matplotlib.figure import Figure

from pinntk.callbacks.files import write_figure
from pinntk.callbacks.solution import say_undrawn
from pinntk.methods import Method


class Estimates(pl.Callback):
    """Notes the unknown coefficients at every logged iteration; ``write`` draws ``estimates.png``.

    Args:
        folder: where to write.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "estimates.png"
        self.found: dict[str, Any] = {"iteration": [], "values": []}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        if not self.found["iteration"]:
            self._note(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Method)
        self._note(pl_module)

    def _note(self, method: Method) -> None:
        self.found["iteration"].append(method.iteration)
        self.found["values"].append(list(method.network.coefficients.estimates().values()))

    def write(self, method: Method, errors: Mapping[str, float | None]) -> None:
        """Draw the curves, with a band of one standard error about the end.

        Args:
            method: of the run.
            errors: standard errors by name; None where there is none.
        """
        try:
            self._draw(method, errors)
        except Exception as error:  # the result is on the disk; all that is lost is said
            say_undrawn(self.path.name, error)

    def _draw(self, method: Method, errors: Mapping[str, float | None]) -> None:
        names = method.network.coefficients.unknown
        figure = Figure(figsize=(6.5, 2.6 * len(names) + 0.4), layout="constrained")
        panels = figure.subplots(len(names), 1, squeeze=False, sharex=True)[:, 0]
        for k, (panel, name) in enumerate(zip(panels, names, strict=True)):
            curve = [values[k] for values in self.found["values"]]
            panel.plot(self.found["iteration"], curve, linewidth=1.2)
            error = errors.get(name)
            if error is not None:
                panel.axhspan(curve[-1] - error, curve[-1] + error, color="0.85", zorder=0)
            panel.set(ylabel=name, yscale="log" if min(curve) > 0 and max(curve) > 5 * min(curve) else "linear")
        panels[-1].set(xlabel="iteration")
        figure.suptitle(f"{method.pde.name}, {method.name}: unknown coefficients")
        write_figure(self.path, figure)

    def state_dict(self) -> dict[str, Any]:
        return self.found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.found = {name: list(values) for name, values in state_dict.items()}
