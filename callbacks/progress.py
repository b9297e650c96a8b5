"""The progress bar: iterations of the method, which Lightning's own bar does not know."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

from pinntk.callbacks.error import ErrorAgainstReference
from pinntk.methods import Method

SECONDS_BETWEEN_LINES = 10.0


class Progress(pl.Callback):
    """Loss, L2RE and time left: a bar on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, error: ErrorAgainstReference | None = None) -> None:
        self.error = error
        self._bar: tqdm[Any] | None = None
        self._started = self._printed = 0.0
        self._first = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        self._first = pl_module.iteration
        self._started = self._printed = time.monotonic()
        if sys.stderr.isatty():
            self._bar = tqdm(total=pl_module.total_iterations, initial=self._first, desc=pl_module.name, unit="it")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Method)
        shown = {"loss": pl_module.latest.get("loss", float("nan"))}
        if self.error is not None:
            shown["L2RE"] = self.error.l2re
        words = ", ".join(f"{name}={value:.2e}" for name, value in shown.items())
        if self._bar is not None:
            self._bar.set_postfix_str(words, refresh=False)
            self._bar.update(pl_module.iteration - self._bar.n)
        elif time.monotonic() - self._printed >= SECONDS_BETWEEN_LINES:
            self._printed = time.monotonic()
            done = max(1, pl_module.iteration - self._first)
            left = (pl_module.total_iterations - pl_module.iteration) * (self._printed - self._started) / done
            print(
                f"{pl_module.name} {pl_module.iteration}/{pl_module.total_iterations}, {words}, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
