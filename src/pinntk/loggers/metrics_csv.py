"""A CSV logger that survives a resume. Lightning's own deletes the file of the run that it continues."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from pinntk.common.files import write_atomically


class MetricsCSV(Logger):
    """One row per logged iteration in ``metrics.csv``: ``iteration``, then every metric in the order of first
    appearance.

    Values logged for the same iteration share a row. The file is rewritten, and renamed into place, when it is saved.

    Args:
        folder: where metrics.csv stands or will stand.
        resumed_at: iteration of the checkpoint from which the run goes on: later rows, which will be logged again,
            are dropped. 0 drops all.
    """

    def __init__(self, folder: str | Path, resumed_at: int = 0) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self.columns: list[str] = ["iteration"]
        self.rows: dict[int, dict[str, Any]] = {}
        if resumed_at and self.path.exists():
            with self.path.open(newline="") as file:
                for row in csv.DictReader(file):
                    if int(row["iteration"]) <= resumed_at:
                        self._add(int(row["iteration"]), {k: v for k, v in row.items() if k != "iteration" and v})

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml has them."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._add(step or 0, dict(metrics))

    def _add(self, iteration: int, metrics: dict[str, Any]) -> None:
        self.rows.setdefault(iteration, {"iteration": iteration}).update(metrics)
        self.columns += [name for name in metrics if name not in self.columns]

    def save(self) -> None:
        """Write what has been logged so far. Lightning calls it with every checkpoint's logging step and at the end."""
        write_atomically(self.path, self._write)

    def _write(self, path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows[iteration] for iteration in sorted(self.rows))

    def finalize(self, status: str) -> None:
        self.save()
