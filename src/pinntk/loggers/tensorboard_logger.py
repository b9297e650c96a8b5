"""TensorBoard: event files in the run folder, for ``tensorboard --logdir runs``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.image

from pinntk.common.arrays import Array
from pinntk.loggers.dashboard import Dashboard, row
from pinntk.loggers.tables import Row, markdown

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError as error:
    raise ImportError("TensorBoard is not installed: pip install 'pinntk[tensorboard]'") from error

FIGURES = ("l2re", "l2re_at_lowest_loss", "loss", "seconds")
"""What of a run's row is a result; the rest says which run it is."""


class TensorBoard(Dashboard):
    """Curves against the iteration, spectra, pictures, tables, the configuration as text, and the row of the table as
    hyperparameters.

    Args:
        folder: the run folder; the event files go to its folder ``tensorboard``.
        resumed_at: iteration of the checkpoint from which the run goes on: TensorBoard is told to forget later points,
            which will be logged again. 0: a new run; event files that are there are removed.
    """

    def __init__(self, folder: str | Path, resumed_at: int = 0) -> None:
        super().__init__(folder)
        self.resumed_at = resumed_at
        self.events = self.folder / "tensorboard"
        self.writer: SummaryWriter | None = None

    @property
    def name(self) -> str:
        return "tensorboard"

    def begin(self, config: Mapping[str, Any]) -> None:
        if not self.resumed_at:
            shutil.rmtree(self.events, ignore_errors=True)
        self.writer = SummaryWriter(str(self.events), purge_step=self.resumed_at + 1 if self.resumed_at else None)
        self._text("config", config, self.resumed_at)

    def write_metrics(self, metrics: Mapping[str, float], iteration: int) -> None:
        assert self.writer is not None
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, iteration)

    def write_image(self, name: str, path: Path, iteration: int) -> None:
        assert self.writer is not None
        self.writer.add_image(name, matplotlib.image.imread(path)[:, :, :3], iteration, dataformats="HWC")

    def write_histogram(self, name: str, values: Array, iteration: int) -> None:
        assert self.writer is not None
        self.writer.add_histogram(name, values, iteration)

    def write_table(self, name: str, rows: Sequence[Row], iteration: int) -> None:
        assert self.writer is not None
        self.writer.add_text(name, markdown(rows), iteration)

    def write_result(self, result: Mapping[str, Any]) -> None:
        assert self.writer is not None
        self._text("result", result, result["steps"])
        found = row(result)
        metrics = {f"result/{name}": value for name in FIGURES if (value := found.pop(name)) is not None}
        self.writer.flush()  # first, as this makes a file of its own, and TensorBoard does not look back for long
        self.writer.add_hparams(found, metrics, run_name=".", global_step=result["steps"])

    def _text(self, name: str, content: Mapping[str, Any], iteration: int) -> None:
        assert self.writer is not None
        lines = json.dumps(content, indent=2, default=str).splitlines()
        self.writer.add_text(name, "\n".join(f"    {line}" for line in lines), iteration)  # Markdown for code

    def save(self) -> None:
        """Write what has been logged so far, so that the log never ends before a checkpoint."""
        if self.writer is not None:
            self._attempt(self.writer.flush)

    def end(self, status: str) -> None:
        if self.writer is not None:
            self.writer.close()
