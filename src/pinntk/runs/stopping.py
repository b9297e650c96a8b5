"""Stopping a run by a signal so that it can go on later."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytorch_lightning as pl

from pinntk.common.session import interactive
from pinntk.methods import Method

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopOnSignal(pl.Callback):
    """SIGINT and SIGTERM end the training after the current iteration; a second one ends the process at once, in a
    session that somebody types in the training alone.

    One that is ignored stays so: a run in the background of a script is not for the Ctrl-C of the foreground.

    Attributes:
        received: the number of the signal, if one came.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._method: Method | None = None
        self._taken = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        self._method = pl_module
        self._listen()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Again: between the two hooks Lightning sets its own handler for SIGTERM, which leaves fit by an exception.
        self._listen()

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in self._taken:
                signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        assert self._method is not None
        self.received = number
        self._method.stop_requested = True
        # What is on the disk is whole at any moment, so there is nothing that a second signal could spoil.
        typed = number == signal.SIGINT and interactive()
        signal.signal(number, signal.default_int_handler if typed else signal.SIG_DFL)
        os.write(2, b"\nstopping after this iteration (again: at once)\n")

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Put the handlers back at the end."""
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in handlers.items():
                    signal.signal(number, handler)
