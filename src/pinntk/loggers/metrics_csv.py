"""A CSV logger that survives a resume. Lightning's own deletes the file of the run that it continues."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from pinntk.common.files import write_atomically

METRICS = "metrics.csv"
DAMAGED = "metrics.damaged.csv"
"""Where a file goes that cannot be read, before another one is written."""


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Iteration and values, as text, of each row of a metrics.csv.

    Raises:
        ValueError: a row is none: no number, too many or too few values, no end of the line.
        csv.Error: as the reader says.
    """
    whole, _, rest = path.read_bytes().decode().rpartition("\n")  # a number that is cut short is another number
    reader = csv.DictReader(whole.splitlines(), strict=True)
    if "iteration" not in (reader.fieldnames or ()):
        raise ValueError("no column iteration")
    for row in reader:
        if None in row or None in row.values():
            raise ValueError(f"line {reader.line_num} has another number of values than the first")
        for text in row.values():
            float(text or 0)
        yield int(row.pop("iteration")), {name: text for name, text in row.items() if text}
    if rest:
        raise ValueError("its last line has no end")


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
        self.path = Path(folder) / METRICS
        self.columns: list[str] = ["iteration"]
        self.rows: dict[int, dict[str, Any]] = {}
        self._damaged = False
        if resumed_at and self.path.exists():
            try:
                self._read(resumed_at)
            except (OSError, ValueError, csv.Error) as error:  # a log is no reason to end a training
                self._damaged = True
                print(
                    f"{self.path}: cannot be read ({str(error) or error!r}); what could is kept, the file put aside as"
                    f" {DAMAGED}",
                    file=sys.stderr,
                )

    def _read(self, resumed_at: int) -> None:
        for iteration, row in read_rows(self.path):
            if iteration <= resumed_at:
                self._add(iteration, row)

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
        if self._damaged:
            self.path.rename(self.path.with_name(DAMAGED))
            self._damaged = False
        write_atomically(self.path, self._write)

    def _write(self, path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows[iteration] for iteration in sorted(self.rows))

    def finalize(self, status: str) -> None:
        self.save()
