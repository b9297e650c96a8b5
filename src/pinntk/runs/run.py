"""One run: settings -> folder -> training -> result.json.

A run may be stopped at any moment, by a signal or for good. What it needs to go on is in its checkpoint; started again
it ends with the same parameters, bit for bit in float64 on a CPU, as if it had never been stopped.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch

from pinntk.callbacks import ErrorAgainstReference, Estimates, FreshLoss, Progress, SolutionPlot, TimedCheckpoint
from pinntk.common.doing import doing
from pinntk.common.errors import BadInput
from pinntk.common.fingerprint import changes, fingerprint
from pinntk.common.processes import ProcessLost
from pinntk.discrete.preconditioner import PreconditionerError
from pinntk.methods import Method, NonFiniteLoss
from pinntk.network import DTYPES
from pinntk.network.fused.library import COMPILERS, compiler
from pinntk.pdes import declaration
from pinntk.pdes.declaration import reference_of
from pinntk.pdes.references import Reference
from pinntk.residual.loss import Way
from pinntk.runs import room
from pinntk.runs.checkpoints import check_same_network, read_checkpoint, start_from
from pinntk.runs.elsewhere import trained_elsewhere
from pinntk.runs.finished import News, news, plot_missing, take_up
from pinntk.runs.folder import CONFIG, PROGRESS, RESULT, FolderInUse, RunFolder, write_yaml
from pinntk.runs.record import describe, last_lines
from pinntk.runs.settings import RunSettings
from pinntk.runs.stopping import StopOnSignal
from pinntk.runs.team import shared_out
from pinntk.runs.trainer import Concludes, fit, instances, make_trainer, measurements, quiet_lightning, say, watched_by

FUSING_PAYS_FROM = 100
"""Iterations from which fused kernels are used; the first run with an equation builds them, in 5 to 10 seconds."""
COMPILING_PAYS_FROM = 2000
"""Iterations from which the seconds that torch takes to compile (3 to 20, cold) are earned back."""

ACCEPT = "accept_edits=true to take it all the same"


def run(config: Mapping[str, Any], wait: Callable[[str], object] | None = None) -> int:
    """Do one run, or what is left of it, and say how it ended. As `attempt`, but where another process is at it the
    exit code is 1.
    """
    try:
        return attempt(config, wait)
    except FolderInUse as error:
        say(f"{error}; nothing done")
    except ProcessLost as error:
        say(f"failed: {error}")
    return 1


def attempt(config: Mapping[str, Any], wait: Callable[[str], object] | None = None) -> int:
    """Do one run, or what is left of it.

    Args:
        config: the composed configuration as plain values.
        wait: told where another process is at this run, whose end is then waited for; None: that is a failure.

    Returns:
        The exit code: 0 completed (now or before), 1 failed, 130 or 143 stopped by SIGINT or SIGTERM.

    Raises:
        BadInput: the configuration, a checkpoint or the output folder cannot be used; nothing has been overwritten.
        FolderInUse: another process is at this run.
        ProcessLost: one of several processes of the training has ended; the same call goes on.
    """
    started = time.monotonic()
    with doing("checks the settings"):
        settings = RunSettings.read(config)
    folder = RunFolder(settings.folder())
    result = _ended(settings, folder)
    wanted = news(settings, folder, result)
    if result is not None and not wanted:
        return _report(settings, folder, result, wanted)
    torch.set_num_threads(settings.cores)
    if settings.accelerator == "gpu":  # only here: whoever reads a sweep's settings leaves the GPUs alone
        declaration.check(settings.pde, DTYPES[settings.precision], "cuda")
    reference: tuple[Reference | None] | None = None  # inside: None where none is known; outside: not looked for
    if result is None:
        # Those that cannot measure this problem, and whatever does not fit, are refused before anything is written.
        watching = measurements(settings, folder)
        room.check(settings, watching)
        reference = (_reference(settings),)
    else:
        watching = measurements(settings, folder)
        room.check(settings, {name: watching[name] for name in wanted.callbacks}, training=False)
    with folder.locked(wait):
        result = _ended(settings, folder)  # again, now that nobody else can be at it
        if result is None:
            (known,) = reference or (_reference(settings),)
            return _train(settings, dict(config), folder, known, started)
        wanted = news(settings, folder, result)
        return _report(settings, folder, take_up(settings, config, folder, result, wanted), wanted)


def _reference(settings: RunSettings) -> Reference | None:
    try:
        return reference_of(settings.pde)
    except ValueError as error:  # coefficients for which no reference of the stated accuracy can be computed
        raise BadInput(str(error)) from error


def _ended(settings: RunSettings, folder: RunFolder) -> dict[str, Any] | None:
    """The result of a run that has ended before; None where there is something to train.

    Raises:
        BadInput: it is the result of code that has been edited since.
    """
    result = None if settings.overwrite else folder.result()
    if result is None or result["status"] == "interrupted" or _retried(settings, result):
        return None
    edited = _edits(settings, result.get("fingerprint"))
    if edited and not settings.accept_edits:
        again = "retry_failed=true or overwrite=true" if result["status"] == "failed" else "overwrite=true"
        raise BadInput(f"{folder.path}: a result {edited}; allowed: {again} to train anew, {ACCEPT}")
    return result


def _edits(settings: RunSettings, then: Mapping[str, str] | None) -> str:
    """What has been edited of problem and method since they had the fingerprint ``then``, in words; "" where nothing
    has, as far as one knows: older versions stored no fingerprint."""
    now = fingerprint(*settings.code)
    edited = changes(then, now) if then and now else []
    return f"of other code, changed since: {', '.join(edited)}" if edited else ""


def _report(settings: RunSettings, folder: RunFolder, result: dict[str, Any], wanted: News) -> int:
    """Say how a run has ended before; its exit code."""
    if edited := _edits(settings, result.get("fingerprint")):
        say(f"accepted: a result {edited}")
    if result["status"] == "completed":
        try:
            lines = last_lines(result, settings.pde, folder.path)
        except (KeyError, TypeError, ValueError, AttributeError) as error:  # a damaged file may lack anything
            text = f"{folder.path / RESULT} cannot be read ({error!r}); overwrite=true puts this run aside"
            raise BadInput(text) from error
        for line in wanted.refused:
            say(line)
        plot_missing(settings, folder)
        say("finished before and not run again (overwrite=true trains anew)")
        say(lines)
        return 0
    again = "retry_failed=true or overwrite=true trains anew"
    say(f"failed before and not run again ({again}): {result.get('reason')}: {folder.path}")
    return 1


def _retried(settings: RunSettings, result: Mapping[str, Any] | None) -> bool:
    return settings.retry_failed and result is not None and result["status"] == "failed"


def _train(
    settings: RunSettings, config: dict[str, Any], folder: RunFolder, reference: Reference | None, started: float
) -> int:
    quiet_lightning()
    pl.seed_everything(settings.seed, verbose=False)
    with doing("makes network and points"):
        method = settings.build()
    iteration = _prepare(settings, config, folder, method)
    method.way, reason = decide_way(settings.compile, method.total_iterations)
    if reason:
        say(reason)

    loggers = instances(settings, "logger", folder, iteration or 0)
    result = None
    try:
        for name, logger in loggers.items():
            with doing(f"starts logger.{name}"):
                logger.log_hyperparams({**config, "threads": settings.cores})
        result, code = _fit(settings, config, folder, method, reference, loggers, iteration, started)
        return code
    finally:
        for logger in loggers.values():
            if isinstance(logger, Concludes):
                with doing(f"concludes {type(logger).__name__}"):
                    logger.conclude(result)


def _fit(
    settings: RunSettings,
    config: Mapping[str, Any],
    folder: RunFolder,
    method: Method,
    reference: Reference | None,
    loggers: dict[str, Any],
    iteration: int | None,
    started: float,
) -> tuple[dict[str, Any], int]:
    """Train from ``iteration`` on, None being a new run, and write result.json; its content and the exit code."""
    error = ErrorAgainstReference(reference, settings.evaluate_every)
    fresh = FreshLoss(settings.evaluate_every)
    solution = SolutionPlot(folder.path, reference, settings.evaluate_every)
    stop = StopOnSignal()
    callbacks = instances(settings, "callbacks", folder, iteration or 0)
    estimates = Estimates(folder.path) if method.network.coefficients.unknown else None
    trainer = make_trainer(
        settings,
        folder,
        [
            stop,
            error,
            fresh,
            *callbacks.values(),
            *([estimates] if estimates is not None else []),
            # After those that measure, so that it saves what they measured.
            TimedCheckpoint(folder.checkpoint, settings.checkpoint.every_seconds),
            Progress(error, folder.path / PROGRESS, fresh),
            solution,
        ],
        loggers.values(),
    )
    failure = None
    try:
        with shared_out(settings, config, method):
            fit(trainer, method, stop, folder.checkpoint if iteration is not None else None)
    except (NonFiniteLoss, PreconditionerError) as error_in_training:
        failure = str(error_in_training)

    status = "failed" if failure else "completed" if method.finished else "interrupted"
    with doing("evaluates the trained network"):
        result = describe(settings, method, reference, status=status, reason=failure)
    result |= {"l2re": error.l2re, "l2re_at_lowest_loss": error.l2re_at_lowest_loss}
    result["fresh_loss"] = None if math.isnan(fresh.loss) else fresh.loss
    if error.l2re_by_field:
        result["l2re_by_field"] = error.l2re_by_field
    result |= watched_by(settings, folder, callbacks, loggers)
    result["wall_seconds"] = time.monotonic() - started
    folder.complete(result)
    if status == "failed":
        say(f"failed: {failure}: {folder.path}")
        return result, 1
    solution.write(method)  # only now: nothing that a picture does may cost the result
    if estimates is not None:
        estimates.write(method, {name: found["standard_error"] for name, found in result["estimates"].items()})
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
    start_from(settings, method)
    if settings.overwrite or _retried(settings, folder.result()):
        folder.set_aside()
    if folder.checkpoint.exists():
        saved = read_checkpoint(folder.checkpoint, "overwrite=true puts this run aside and trains anew")
        if edited := _edits(settings, saved["pinntk"].get("fingerprint")):
            if not settings.accept_edits:
                raise BadInput(f"{folder.path}: a checkpoint {edited}; allowed: overwrite=true to train anew, {ACCEPT}")
            say(f"accepted: a checkpoint {edited}")
        check_same_network(saved["state_dict"], method, folder.checkpoint)
        iteration = int(saved["pinntk"]["iteration"])
        say(f"resuming at iteration {iteration} of {method.total_iterations}: {folder.path}")
        return iteration
    write_yaml(folder.path / CONFIG, {**config, "threads": settings.cores})
    say(f"training {settings.method_class.name} on {settings.pde.name}: {folder.path}")
    if other := trained_elsewhere(settings):
        say(other)
    return None


def decide_way(setting: object, iterations: int) -> tuple[Way, str | None]:
    """How loss and gradient are to be computed (`pinntk.residual.loss`), and a line where it is slower than could be.

    Args:
        setting: "auto", True or False, of ``compile``.
        iterations: of the whole run, so that a resumed run decides as the uninterrupted one would.
    """
    if setting is False:
        return "plain", None
    if setting is True:
        return "fused_compiled", None
    if compiler() is None:
        return "plain", f"not compiling: no C++ compiler here ({os.environ.get('CXX') or ', '.join(COMPILERS)})"
    if iterations < FUSING_PAYS_FROM:
        return "plain", f"not compiling: it pays from {FUSING_PAYS_FROM} iterations on, this run has {iterations}"
    return "fused_compiled" if iterations >= COMPILING_PAYS_FROM else "fused", None
