"""What W&B, TensorBoard and MLflow have in common: a failure of theirs costs the curves, never the training."""

from __future__ import annotations

import csv
import json
import math
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from pinntk.common.arrays import Array
from pinntk.loggers.metrics_csv import METRICS, read_rows
from pinntk.loggers.tables import Row, tables

LOWEST = ("l2re", "loss")
"""Curves whose lowest value is shown beside the last."""
ROW = {
    "problem": "pde",
    "coefficients": "pde_parameters",
    "method": "method",
    "width": "width",
    "budget": "budget",
    "seed": "seed",
    "settings_hash": "settings_hash",
    "status": "status",
    "l2re": "l2re",
    "l2re_at_lowest_loss": "l2re_at_lowest_loss",
    "loss": "loss",
    "steps": "steps",
    "parameters": "parameters",
    "seconds": "seconds",
    "device": "device",
}
"""Columns of a run's row in the table of all runs, and their keys in result.json."""


class Dashboard(Logger):
    """Base of the loggers that show runs to people. Whatever fails in them is said in one line, and the run goes on.

    A subclass writes what stands under "what a dashboard writes"; ``begin`` comes before the rest, once.

    Args:
        folder: the run folder, ``.../<pde>/<method>/<width>/<budget>/<settings hash>/seed<k>``.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.begun = self.failed = False
        self.lowest: dict[str, float] = {}
        """The lowest finite value so far of those of `LOWEST` that have one, over all parts of a resumed run."""
        self._followed: set[str] = set()  # pictures that came along the training

    # --- what a dashboard writes --------------------------------------------------------------------------------------

    @abstractmethod
    def begin(self, config: Mapping[str, Any]) -> None:
        """Start or go on; ``config``: of the whole run."""

    @abstractmethod
    def write_metrics(self, metrics: Mapping[str, float], iteration: int) -> None:
        """Add a point to each curve."""

    @abstractmethod
    def write_image(self, name: str, path: Path, iteration: int) -> None:
        """Add a picture, a .png file."""

    @abstractmethod
    def write_table(self, name: str, rows: Sequence[Row], iteration: int) -> None:
        """Add a table, whose rows all have the same columns; at least one row."""

    def write_histogram(self, name: str, values: Array, iteration: int) -> None:
        """Add how the values, (n,), are distributed; nothing where the dashboard knows no such thing."""
        return

    @abstractmethod
    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write what came out, the content of result.json."""

    @abstractmethod
    def end(self, status: str) -> None:
        """Close; ``status``: completed, failed or interrupted. Called even where something has failed before."""

    # --- what the run and its callbacks call --------------------------------------------------------------------------

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Begin, with the configuration of the whole run."""
        if not self.begun:
            self.begun = True
            self._attempt(self._read_lowest)
            self._attempt(partial(self.begin, params))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.log_hyperparams({})  # where nobody has told any
        self._take_lowest(metrics)
        self._attempt(partial(self.write_metrics, metrics, step or 0))

    def log_image(self, key: str, images: Sequence[Path], step: int) -> None:
        """Add pictures along the training; the signature is that of Lightning's own loggers."""
        self.log_hyperparams({})
        self._followed.add(key)
        for image in images:
            self._attempt(partial(self.write_image, key, image, step))

    def log_histogram(self, key: str, values: Array, step: int) -> None:
        """Add the distribution of the values, (n,), at this iteration."""
        self.log_hyperparams({})
        self._attempt(partial(self.write_histogram, key, values, step))

    def conclude(self, result: Mapping[str, Any] | None) -> None:
        """Write the result, tables and the pictures in the run folder, and close.

        Args:
            result: the content of result.json; None: the run broke off with an error.
        """
        if not self.begun:
            return
        if result is not None:
            for path in sorted(self.folder.glob("*.png")):
                if path.stem not in self._followed:
                    self._attempt(partial(self.write_image, path.stem, path, result["steps"]))
            self._take_lowest(result)
            self._attempt(partial(self._write_tables, result))
            self._attempt(partial(self.write_result, result))
        failed, self.failed = self.failed, False
        self._attempt(partial(self.end, "failed" if result is None else result["status"]), quiet=failed)
        self.begun = False

    def _write_tables(self, result: Mapping[str, Any]) -> None:
        for name, rows in tables(self.folder, result).items():
            self.write_table(name, rows, result["steps"])

    def _take_lowest(self, metrics: Mapping[str, Any]) -> None:
        for name in LOWEST:
            value = metrics.get(name)
            if value is not None and math.isfinite(value := float(value)):
                self.lowest[name] = min(value, self.lowest.get(name, math.inf))

    def _read_lowest(self) -> None:
        """Of the part before a resumption, as far as metrics.csv has it."""
        try:
            for _, metrics in read_rows(self.folder / METRICS):
                self._take_lowest(metrics)
        except (OSError, ValueError, csv.Error):  # none, or damaged: of which the logger whose file it is speaks
            return

    def _attempt(self, action: Callable[[], object], quiet: bool = False) -> None:
        if self.failed:
            return
        try:
            action()
        except Exception as error:  # whatever it is, a training must not end because of who looks at it
            self.failed = True
            if not quiet:
                text = str(error).strip().split("\n")[0]
                print(f"{self.name}: {type(error).__name__}: {text}; nothing more goes there", file=sys.stderr)


def identity(folder: Path) -> dict[str, str]:
    """What the name of a run folder says: problem, method, width, budget, settings_hash, seed."""
    names = ("problem", "method", "width", "budget", "settings_hash", "seed")
    parts = folder.absolute().parts[-len(names) :]
    return dict(zip(names, parts, strict=True))


def row(result: Mapping[str, Any]) -> dict[str, Any]:
    """A run's row in the table of all runs; coefficients as "a=4, c=1"."""
    found = {name: result[key] for name, key in ROW.items()}
    coefficients = ", ".join(f"{name}={_text(value)}" for name, value in found["coefficients"].items())
    return {**found, "coefficients": coefficients}


def _text(value: Any) -> str:
    """A coefficient as one types it: a number, a word, a switch, a list."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value if isinstance(value, str) else json.dumps(value)
    return f"{value:g}"
