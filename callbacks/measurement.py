"""What the measuring callbacks have in common: when they measure, and that nothing that they do ends a training."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl

from pinntk.common.doing import doing
from pinntk.common.memory import Need
from pinntk.discrete.discretization import DiscretizationSettings
from pinntk.methods import Method
from pinntk.network import NetworkSettings
from pinntk.pdes.base import PDE
from pinntk.residual.spectra import Spectrum


class Measurement(pl.Callback):
    """Base of the callbacks that only measure.

    One of them writes what stands below. ``start`` always sees the method as it was at iteration 0, also where the
    callback is new to a run that goes on or has finished: the network of iteration 0 is a function of the settings.
    With slabs of time it is called again whenever one begins, and sees the method as it was then.
    Whatever is raised in there is a line, and the training goes on; what failed is tried again when it is due again.

    Args:
        folder: where to write.
        every: iterations between two measurements; rounded up to the method's blocks of ``log_every``.
    """

    file: ClassVar[str]
    """What it writes; the name without its ending is the callback's in messages, and its picture's."""
    deciding: ClassVar[tuple[str, ...]] = ()
    """Names of the arguments that decide what is measured: figures with others are no continuation of these."""

    def __init__(self, folder: str, every: int) -> None:
        self.folder = Path(folder)
        self.every = every
        self.found: dict[str, Any] = {}
        """What has been found so far; a checkpoint keeps it."""
        self.failed = False
        """Whether something that was due could not be had, in this process."""
        self._started = False
        self._began = 0
        self._tried = -1

    # --- what a measurement writes ------------------------------------------------------------------------------------

    def check(self, pde: PDE, discretization: DiscretizationSettings | None) -> None:
        """Raise BadInput, before anything is trained or written, where this problem cannot be measured."""
        return

    def need(self, pde: PDE, network: NetworkSettings, discretization: DiscretizationSettings | None) -> Need | None:
        """What of it needs much memory, at its peak; None: nothing. One that grows with the rows has ``interior``."""
        return None

    @abstractmethod
    def start(self, method: Method) -> None:
        """Measure what belongs to iteration 0, or to a slab's first, which is where the method stands."""

    @abstractmethod
    def measure(self, method: Method) -> None:
        """Measure, along the training."""

    @abstractmethod
    def finish(self, method: Method) -> None:
        """Write what has been found; the training is over, or interrupted."""

    def arguments(self) -> dict[str, Any]:
        """The values of the arguments that decide what is measured."""
        return {name: getattr(self, name) for name in self.deciding}

    def record(self) -> dict[str, Any]:
        """What has been found so far, for the checkpoint."""
        return self.found

    def restore(self, record: Mapping[str, Any]) -> None:
        """Take what ``record`` gave."""
        self.found = dict(record)

    @property
    def path(self) -> Path:
        """Of the file that it writes."""
        return self.folder / self.file

    @property
    def picture(self) -> Path:
        """Of the picture beside it."""
        return self.path.with_suffix(".png")

    # --- when ---------------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        self.check(pl_module.pde, pl_module.discretization)
        if not self._started:
            self._attempt(pl_module, self._start)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Method)
        # A slab of time begins: at once, or where that failed when it is due again.
        if self.due(pl_module) or (self._started and max(self._began, self._tried) < pl_module.began):
            self._attempt(pl_module, self._measure)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        if self._started:
            self._attempt(pl_module, self.finish)

    def due(self, method: Method) -> bool:
        """Whether to measure now, at the end of a block."""
        return method.due(self.every, self._tried)

    def _start(self, method: Method) -> None:
        self._tried = method.iteration
        if method.iteration > method.began:
            self.say(
                f"new at iteration {method.iteration}: what belongs to iteration {method.began} is made anew from the"
                " settings, what belongs to those between cannot be had"
            )
        with at_start(method):
            self.start(method)
        self._started, self._began, self._tried = True, method.began, method.began

    def _measure(self, method: Method) -> None:
        if not self._started or self._began < method.began:
            self._start(method)
            if 0 < self._tried == method.iteration:  # a slab that has just begun
                return
        self._tried = method.iteration
        self.measure(method)

    def _attempt(self, method: Method, action: Callable[[Method], None]) -> None:
        iteration = method.iteration
        try:
            with doing(f"callbacks.{self.path.stem}: {action.__name__.strip('_')}s at iteration {iteration}"):
                action(method)
        except Exception as error:  # whatever it is: no convergence, no memory, no disk
            self.failed = True
            text = str(error).strip().split("\n")[0]
            self.say(f"nothing at iteration {iteration}: {type(error).__name__}: {text}; the training goes on")

    def show_spectrum(self, method: Method, name: str, spectrum: Spectrum) -> None:
        """Give the loggers that take histograms (``log_histogram``) one of the eigenvalues now, by decades."""
        takers = [logger for logger in method.loggers if hasattr(logger, "log_histogram")]
        if takers and len(values := spectrum.decades):
            for logger in takers:
                logger.log_histogram(f"{name}_log10", values, step=method.iteration)

    def say(self, text: str) -> None:
        """A line for the user."""
        print(f"callbacks.{self.path.stem}: {text}", file=sys.stderr, flush=True)

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        mine = {"arguments": self.arguments(), "started": self._started, "tried": self._tried, "began": self._began}
        return {**mine, "record": self.record()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict.get("arguments") != self.arguments():
            self.say("the checkpoint has figures of other arguments or of an older version: begins anew")
            return
        self._started, self._tried = state_dict["started"], state_dict["tried"]
        self._began = state_dict.get("began", 0)  # younger than some checkpoints
        self.restore(state_dict["record"])


def title(method: Method) -> str:
    """Of a picture of the method's run."""
    return f"{method.pde.name}, {method.name}, width {method.network.width}"


@contextmanager
def at_start(method: Method) -> Iterator[None]:
    """Inside, the method is as it was when the training of its problem began; afterwards as it is, bit for bit."""
    own, iteration = method.network.vector(), method.iteration
    if iteration > method.began:
        method.network.assign(method.initial_network().vector())
        method.iteration = method.began
    try:
        yield
    finally:
        if iteration > method.began:
            method.network.assign(own)
            method.iteration = iteration
