"""One run: settings -> folder -> training -> result.json.

A run may be stopped at any moment, by a signal or for good. What it needs to go on is in its checkpoint; started again
it ends with the same parameters, bit for bit in float64 on a CPU, as if it had never been stopped.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from pinntk.checkpoints import check_same_network, read_checkpoint
from pinntk.discretization import PreconditionerError
from pinntk.elsewhere import trained_elsewhere
from pinntk.errors import BadInput
from pinntk.folder import CONFIG, PROGRESS, FolderInUse, RunFolder, write_yaml
from pinntk.methods import Method, NonFiniteLoss
from pinntk.record import describe, last_lines
from pinntk.references import Reference
from pinntk.settings import RunSettings
from pinntk.stopping import StopOnSignal

COMPILE_PAYS_FROM = 2000
"""Iterations from which the seconds of compiling (3 to 20, cold) are earned back."""


@runtime_checkable
class Concludes(Protocol):
    """A logger that also takes the run's result, once everything else of the run is done."""

    def conclude(self, result: Mapping[str, Any] | None) -> None:
        """Take the content of result.json; None where the run broke off with an error."""


def say(text: str) -> None:
    """A line for the user."""
    print(text, flush=True)


def run(config: Mapping[str, Any], wait: Callable[[str], object] | None = None) -> int:
    """Do one run, or what is left of it.

    Args:
        config: the composed configuration as plain values.
        wait: told where another process is at this run, whose end is then waited for; None: that is a failure.

    Returns:
        The exit code: 0 completed (now or before), 1 failed, 130 or 143 stopped by SIGINT or SIGTERM.

    Raises:
        BadInput: the configuration, a checkpoint or the output folder cannot be used; nothing has been overwritten.
    """
    started = time.monotonic()
    settings = RunSettings.read(config)
    folder = RunFolder(settings.folder())
    stored = _stored(settings, folder)
    if stored is not None:
        return stored
    torch.set_num_threads(settings.cores)
    try:
        reference = settings.pde.reference()
    except ValueError as error:  # coefficients for which no reference of the stated accuracy can be computed
        raise BadInput(str(error)) from error
    try:
        with folder.locked(wait):
            stored = _stored(settings, folder)  # again, now that nobody else can be at it
            return _train(settings, dict(config), folder, reference, started) if stored is None else stored
    except FolderInUse as error:
        say(f"{error}; nothing done")
        return 1


def _stored(settings: RunSettings, folder: RunFolder) -> int | None:
    """Report a run that has ended before; None where there is something to do."""
    result = None if settings.overwrite else folder.result()
    if result is None or result["status"] == "interrupted" or _retried(settings, result):
        return None
    if result["status"] == "completed":
        say("finished before and not run again (overwrite=true trains anew)")
        say(last_lines(result, settings.pde, folder.path))
        return 0
    again = "retry_failed=true or overwrite=true trains anew"
    say(f"failed before and not run again ({again}): {result['reason']}: {folder.path}")
    return 1


def _retried(settings: RunSettings, result: Mapping[str, Any] | None) -> bool:
    return settings.retry_failed and result is not None and result["status"] == "failed"


def _train(
    settings: RunSettings, config: dict[str, Any], folder: RunFolder, reference: Reference, started: float
) -> int:
    _quiet_lightning()
    pl.seed_everything(settings.seed, verbose=False)
    method = settings.build()
    iteration = _prepare(settings, config, folder, method)
    method.compiled, reason = decide_compile(settings.compile, method.total_iterations)
    if reason:
        say(reason)

    loggers = _instantiate(settings, "logger", folder, iteration or 0)
    result = None
    try:
        for logger in loggers:
            logger.log_hyperparams({**config, "threads": settings.cores})
        result, code = _fit(settings, folder, method, reference, loggers, iteration, started)
        return code
    finally:
        for logger in loggers:
            if isinstance(logger, Concludes):
                logger.conclude(result)


def _fit(
    settings: RunSettings,
    folder: RunFolder,
    method: Method,
    reference: Reference,
    loggers: list[Any],
    iteration: int | None,
    started: float,
) -> tuple[dict[str, Any], int]:
    """Train from ``iteration`` on, None being a new run, and write result.json; its content and the exit code."""
    # By name: this package does not depend on the callbacks that watch it.
    error = get_class("pinntk.callbacks.ErrorAgainstReference")(reference, settings.evaluate_every)
    stop = StopOnSignal()
    trainer = pl.Trainer(
        accelerator=settings.accelerator,
        devices=1,
        precision=settings.precision,
        max_epochs=-1,
        logger=loggers or False,
        callbacks=[
            stop,
            error,
            *_instantiate(settings, "callbacks", folder, iteration or 0),
            # After those that measure, so that it saves what they measured.
            get_class("pinntk.callbacks.TimedCheckpoint")(folder.checkpoint, settings.checkpoint.every_seconds),
            get_class("pinntk.callbacks.Progress")(error, folder.path / PROGRESS),
            get_class("pinntk.callbacks.SolutionPlot")(folder.path, reference, settings.evaluate_every),
        ],
        default_root_dir=folder.path,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        # A scheduler's environment is the launcher's affair: here one process trains on one device.
        plugins=[LightningEnvironment()],
    )
    failure = None
    try:
        with stop.restoring():
            resume = folder.checkpoint if iteration is not None else None
            trainer.fit(method, train_dataloaders=method.blocks(), ckpt_path=resume)
    except (NonFiniteLoss, PreconditionerError) as error_in_training:
        failure = str(error_in_training)
    except SystemExit:  # Lightning's way out on a signal that comes before the first iteration: nothing has changed
        raise SystemExit(128 + (stop.received or signal.SIGTERM)) from None

    status = "failed" if failure else "completed" if method.finished else "interrupted"
    result = describe(settings, method, reference, status=status, reason=failure)
    result |= {"l2re": error.l2re, "l2re_at_lowest_loss": error.l2re_at_lowest_loss}
    result["wall_seconds"] = time.monotonic() - started
    folder.complete(result)
    if status == "failed":
        say(f"failed: {failure}: {folder.path}")
        return result, 1
    if status == "interrupted":
        without = " without overwrite=true" if settings.overwrite else ""
        say(f"interrupted at iteration {method.iteration}; the same command{without} goes on from there: {folder.path}")
        return result, 128 + (stop.received or signal.SIGINT)
    say(last_lines(result, settings.pde, folder.path))
    return result, 0


def _prepare(settings: RunSettings, config: dict[str, Any], folder: RunFolder, method: Method) -> int | None:
    """Make the folder ready and start from other parameters where that is wanted.

    Returns:
        The iteration of the checkpoint from which the run goes on; None for a new run.
    """
    if settings.init_from is not None:
        initial = read_checkpoint(settings.initial_checkpoint, "init_from takes a run folder")["state_dict"]
        check_same_network(initial, method, settings.initial_checkpoint)
        # What the other run's method has made besides is not this one's.
        method.load_state_dict({name: initial[name] for name in method.state_dict()})
    if settings.overwrite or _retried(settings, folder.result()):
        folder.set_aside()
    if folder.checkpoint.exists():
        saved = read_checkpoint(folder.checkpoint, "overwrite=true puts this run aside and trains anew")
        check_same_network(saved["state_dict"], method, folder.checkpoint)
        iteration = int(saved["pinntk"]["iteration"])
        say(f"resuming at iteration {iteration} of {method.total_iterations}: {folder.path}")
        return iteration
    write_yaml(folder.path / CONFIG, {**config, "threads": settings.cores})
    say(f"training {settings.method_class.name} on {settings.pde.name}: {folder.path}")
    if other := trained_elsewhere(settings):
        say(other)
    return None


def decide_compile(setting: object, iterations: int) -> tuple[bool, str | None]:
    """Whether to use torch.compile, and a line for the user where ``auto`` says no.

    Args:
        setting: "auto", True or False.
        iterations: of the whole run, so that a resumed run decides as the uninterrupted one would.
    """
    if setting != "auto":
        return bool(setting), None
    compilers = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "c++", "clang++"]
    if not any(shutil.which(compiler) for compiler in compilers):
        return False, f"not compiling: no C++ compiler here ({', '.join(compilers)})"
    if iterations < COMPILE_PAYS_FROM:
        return False, f"not compiling: it pays from {COMPILE_PAYS_FROM} iterations on, this run has {iterations}"
    return True, None


def _instantiate(settings: RunSettings, group: str, folder: RunFolder, iteration: int) -> list[Any]:
    """The objects of a group (callbacks, logger); "{folder}" and "{iteration}" among their arguments are filled in."""
    known = {"{folder}": str(folder.path), "{iteration}": iteration}
    objects = []
    for name, spec in getattr(settings, group).items():
        filled = {key: known.get(value, value) if isinstance(value, str) else value for key, value in spec.items()}
        try:
            objects.append(instantiate(filled))
        except InstantiationException as error:
            text = str(error.__cause__ or error).split("\n")[0]
            raise BadInput(f"{group}.{name}: {spec['_target_']} cannot be made: {text}") from error
    return objects


def _quiet_lightning() -> None:
    """Leave the terminal to the user: no hints, tips and advice from Lightning."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\.")
