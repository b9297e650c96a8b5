"""Checkpoints by the clock: Lightning's own go by ``global_step``, which manual loops on raw optimisers leave at 0."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from pinntk.common.files import write_atomically


class TimedCheckpoint(pl.Callback):
    """Saves the whole training state every so many seconds and when training ends, for whatever orderly reason.

    The file is whole at any moment.

    Args:
        path: the checkpoint.
        every_seconds: seconds between two saves; they happen at the ends of blocks.
    """

    def __init__(self, path: Path, every_seconds: float) -> None:
        self.path = path
        self.every_seconds = every_seconds
        self._last = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.should_stop or time.monotonic() - self._last >= self.every_seconds:
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Save now."""
        for logger in trainer.loggers:
            logger.save()  # first, so that the log never ends before the state from which it goes on
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, trainer.save_checkpoint)
        self._last = time.monotonic()
