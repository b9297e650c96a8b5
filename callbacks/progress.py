"""Progress in iterations of the method, which Lightning's own bar does not know: a bar, and a file for who looks on."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from pinntk.callbacks.error import ErrorAgainstReference
from pinntk.callbacks.fresh import FreshLoss
from pinntk.common.doing import say
from pinntk.common.files import write_json
from pinntk.common.session import progress_bar
from pinntk.methods import Method

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_FILES = 1.0


class Progress(pl.Callback):
    """Loss, L2RE and time left: a bar on a terminal and in a notebook, a line every ten seconds elsewhere.

    ``progress.json``, for `pinntk.status`, has the same once a second at most: ``iteration``, ``total_iterations``,
    ``loss``, ``fresh_loss``, ``l2re``, ``seconds_left`` (null where unknown), ``reference_known`` (whether there will
    be an ``l2re``) and ``written`` (seconds since 1970).

    Args:
        error: whose last measurement is shown.
        path: of progress.json; None: it is not written.
        fresh: whose last measurement is written, too.
    """

    def __init__(
        self, error: ErrorAgainstReference | None = None, path: Path | None = None, fresh: FreshLoss | None = None
    ) -> None:
        self.error, self.fresh = error, fresh
        self.path = path
        self._bar: Any = None
        self._started = self._printed = self._written = 0.0
        self._first = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        self._first = pl_module.iteration
        self._started = self._printed = time.monotonic()
        total, name = pl_module.total_iterations, pl_module.name
        self._bar = progress_bar(total=total, initial=self._first, desc=name, unit="it")
        self._write(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Method)
        now = time.monotonic()
        words = ", ".join(f"{name}={value:.2e}" for name, value in self._figures(pl_module).items())
        if self._bar is not None:
            self._bar.set_postfix_str(words, refresh=False)
            self._bar.update(pl_module.iteration - self._bar.n)
        elif now - self._printed >= SECONDS_BETWEEN_LINES:
            self._printed = now
            say(
                f"{pl_module.name} {pl_module.iteration}/{pl_module.total_iterations}, {words},"
                f" {self._seconds_left(pl_module):.0f} s left"
            )
        if trainer.should_stop or now - self._written >= SECONDS_BETWEEN_FILES:
            self._write(pl_module)

    def _figures(self, method: Method) -> dict[str, float]:
        figures = {"loss": method.latest.get("loss", math.nan)}
        if self.error is None or self.error.reference is None:
            return figures
        return {**figures, "L2RE": self.error.l2re}

    def _seconds_left(self, method: Method) -> float:
        """At the mean pace since this process began to train."""
        done = method.iteration - self._first
        left = method.total_iterations - method.iteration
        return left * (time.monotonic() - self._started) / done if done else math.nan if left else 0.0

    def _write(self, method: Method) -> None:
        if self.path is None:
            return
        self._written = time.monotonic()
        figures = {name.lower(): value for name, value in self._figures(method).items()}
        figures["seconds_left"] = self._seconds_left(method)
        content = {
            "iteration": method.iteration,
            "total_iterations": method.total_iterations,
            "fresh_loss": math.nan if self.fresh is None else self.fresh.loss,
            "l2re": None,
            **figures,
            "reference_known": self.error is None or self.error.reference is not None,
            "written": time.time(),
        }
        write_json(self.path, content)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
