"""What a run is put together from: callbacks and loggers out of its configuration, and Lightning's Trainer."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from pinntk.callbacks import Measurement
from pinntk.common.doing import doing
from pinntk.common.errors import BadInput
from pinntk.methods import Method
from pinntk.runs.folder import SWEEP, RunFolder
from pinntk.runs.settings import RunSettings
from pinntk.runs.stopping import StopOnSignal


@runtime_checkable
class Concludes(Protocol):
    """A logger that also takes the run's result, once everything else of the run is done."""

    def conclude(self, result: Mapping[str, Any] | None) -> None:
        """Take the content of result.json; None where the run broke off with an error."""


def say(text: str) -> None:
    """A line for the user."""
    print(text, flush=True)


def instances(
    settings: RunSettings, group: str, folder: RunFolder, iteration: int, names: Iterable[str] | None = None
) -> dict[str, Any]:
    """The objects of a group (callbacks, logger) by their names.

    Args:
        settings: of the run.
        group: of the configuration.
        folder: for "{folder}" among their arguments.
        iteration: for "{iteration}"; "{sweep}" becomes None, where no sweep has put its name there.
        names: of the objects that are wanted; None: all.

    Raises:
        BadInput: one cannot be made of its arguments.
    """
    known = {"{folder}": str(folder.path), "{iteration}": iteration, SWEEP: None}
    specs: dict[str, dict[str, Any]] = getattr(settings, group)
    objects = {}
    for name in specs if names is None else names:
        spec = specs[name]
        filled = {key: known.get(value, value) if isinstance(value, str) else value for key, value in spec.items()}
        try:
            with doing(f"makes {group}.{name}"):
                objects[name] = instantiate(filled)
        except InstantiationException as error:
            text = str(error.__cause__ or error).split("\n")[0]
            raise BadInput(f"{group}.{name}: {spec['_target_']} cannot be made: {text}") from error
    return objects


def measurements(settings: RunSettings, folder: RunFolder) -> dict[str, Any]:
    """Those of the callbacks that only measure, by their names.

    Raises:
        BadInput: one cannot be made of its arguments, or not measure this problem.
    """
    if not settings.callbacks:
        return {}
    names = [name for name, spec in settings.callbacks.items() if issubclass(get_class(spec["_target_"]), Measurement)]
    found = instances(settings, "callbacks", folder, 0, names)
    for callback in found.values():
        callback.check(settings.pde, settings.discretization)
    return found


def watched_by(
    settings: RunSettings, folder: RunFolder, callbacks: Mapping[str, Any], loggers: Mapping[str, Any]
) -> dict[str, Any]:
    """For result.json: the arguments of the callbacks that have measured, and the loggers that have taken the run."""
    done: dict[str, Any] = {}
    for name, callback in callbacks.items():
        if not isinstance(callback, Measurement):
            done[name] = {}
        elif (folder.path / callback.file).exists():
            done[name] = callback.arguments()
    return {"callbacks": done, "loggers": [name for name, one in loggers.items() if not getattr(one, "failed", False)]}


def make_trainer(
    settings: RunSettings, folder: RunFolder, callbacks: list[pl.Callback], loggers: Iterable[Any]
) -> pl.Trainer:
    """A Trainer that leaves everything but the loop to the method and the callbacks."""
    return pl.Trainer(
        accelerator=settings.accelerator,
        devices=1,
        precision=settings.precision,
        max_epochs=-1,
        logger=list(loggers) or False,
        callbacks=callbacks,
        default_root_dir=folder.path,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        # A scheduler's environment is the launcher's affair: here one process trains on one device.
        plugins=[LightningEnvironment()],
    )


def fit(trainer: pl.Trainer, method: Method, stop: StopOnSignal, checkpoint: Path | None) -> None:
    """Train, from a checkpoint on where there is one.

    Raises:
        SystemExit: a signal came before the first iteration; nothing has changed.
    """
    try:
        with stop.restoring():
            try:
                trainer.fit(method, train_dataloaders=method.loader(), ckpt_path=checkpoint)
            finally:
                # Lightning leaves a module on the CPU, also of a training that failed; what is measured from here on
                # finds its points where it trained.
                method.to(trainer.strategy.root_device)
    except SystemExit:  # Lightning's way out
        raise SystemExit(128 + (stop.received or signal.SIGTERM)) from None


def quiet_lightning() -> None:
    """Leave the terminal to the user: no hints, tips and advice from Lightning."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\.")
