"""What Lightning costs: ``adam`` through the Trainer, as a run does it, against a bare loop over the same steps.

The step is tuned to about 1 ms, where bookkeeping shows. Both loops are timed in turn, several times, in one process,
and the ratio is taken pair by pair, so that what else the machine does hits both; on a busy machine the ratio of
processor times says more than that of the clock. Timed is the training itself: from its start to its end, with
measurements of the error, rows of the log and checkpoints, but without what a run does once (making the Trainer, the
picture of the solution); that is printed beside it.

    python benchmarks/lightning_overhead.py [--steps 2000] [--repeats 7]
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from pinntk.callbacks import ErrorAgainstReference, Progress, SolutionPlot, TimedCheckpoint
from pinntk.loggers.metrics_csv import MetricsCSV
from pinntk.methods.adam import AdamMethod
from pinntk.network import NetworkSettings
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.residual.loss import BlockedLoss
from pinntk.residual.points import PointSettings

EVALUATE_EVERY, CHECKPOINT_SECONDS = 500, 30.0  # as in conf/config.yaml
TARGET = 1.10
Times = NDArray[np.float64]
"""(seconds of the clock, seconds of the processor)"""


def clocks() -> Times:
    """Seconds of the clock and of the processor."""
    return np.array([time.perf_counter(), time.process_time()])


class Stopwatch(pl.Callback):
    """Seconds from the start of training to its end; first among the callbacks, so that plotting is not in it."""

    def __init__(self) -> None:
        self.seconds = self._started = np.zeros(2)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = clocks()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = clocks() - self._started


def make(steps: int, width: int, points: int) -> AdamMethod:
    """The method that both loops train."""
    return AdamMethod(
        Poisson1D(),
        NetworkSettings(width=width, depth=2),
        PointSettings(interior=points, boundary=2),
        AdamMethod.Settings(steps=steps),
    )


def bare(method: AdamMethod) -> Times:
    """Seconds of the plain loop that one would write without Lightning."""
    batches = method.batches()
    optimizer = torch.optim.Adam(method.network.parameters(), lr=1e-3, fused=True)
    started = clocks()
    loss, weights = BlockedLoss(method.residuals, "mean", way="plain"), method.term_weights()
    for _ in range(method.total_iterations):
        optimizer.zero_grad(set_to_none=True)
        loss.backward(batches, weights)
        optimizer.step()
    return clocks() - started


def through_lightning(method: AdamMethod, folder: Path) -> tuple[Times, Times]:
    """Seconds of training by the Trainer with what every run has, and seconds of all that comes once."""
    began = clocks()
    stopwatch, reference = Stopwatch(), method.pde.reference()
    error = ErrorAgainstReference(reference, EVALUATE_EVERY)
    callbacks: list[pl.Callback] = [
        stopwatch,
        error,
        TimedCheckpoint(folder / "last.ckpt", CHECKPOINT_SECONDS),
        Progress(error),
        SolutionPlot(folder, reference),
    ]
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        precision="64-true",
        max_epochs=-1,
        logger=MetricsCSV(folder),
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(method, train_dataloaders=method.loader())
    return stopwatch.seconds, clocks() - began - stopwatch.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--width", type=int, default=20)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")

    plain, trained, once = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(-1, options.repeats):  # the first pair warms up
            steps = options.steps if repeat >= 0 else 100
            methods = [make(steps, options.width, options.points) for _ in range(2)]
            if repeat % 2:  # who goes first changes
                without = bare(methods[0])
                with_it, rest = through_lightning(methods[1], Path(folder))
            else:
                with_it, rest = through_lightning(methods[1], Path(folder))
                without = bare(methods[0])
            theta, other = (torch.cat([p.flatten() for p in m.network.parameters()]) for m in methods)
            assert torch.equal(theta, other), "the two loops did not do the same"
            if repeat >= 0:
                plain.append(without / steps)
                trained.append(with_it / steps)
                once.append(rest)
    for i, clock in enumerate(("clock", "processor")):
        ratio = [t[i] / p[i] for t, p in zip(trained, plain, strict=True)]
        median = statistics.median(ratio)
        print(f"by the {clock}:")
        print(f"  bare step      {spread([1e3 * p[i] for p in plain])} ms")
        print(f"  Lightning/bare {spread(ratio)}: target of {TARGET:.2f} {'met' if median <= TARGET else 'missed'}")
        print(f"  once per run   {spread([o[i] for o in once])} s (Trainer, first and last hooks, picture)")


def spread(values: list[float]) -> str:
    """Median, lowest and highest."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} - {max(values):.3f})"


if __name__ == "__main__":
    main()
