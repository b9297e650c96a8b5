"""What is newly asked of a run that has finished: callbacks measure it, loggers take it; nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl

from pinntk.callbacks import SolutionPlot
from pinntk.loggers.metrics_csv import METRICS, MetricsCSV
from pinntk.pdes.declaration import reference_of
from pinntk.runs.checkpoints import read_checkpoint, start_from
from pinntk.runs.folder import CONFIG, RunFolder, read_yaml
from pinntk.runs.settings import RunSettings
from pinntk.runs.stopping import StopOnSignal
from pinntk.runs.trained import load
from pinntk.runs.trainer import Concludes, fit, instances, make_trainer, measurements, quiet_lightning, say, watched_by

SOLUTION = "solution.npz", "solution.png"


@dataclass(frozen=True)
class News:
    """What a command asks of a finished run that the run does not have; true where there is something to be done.

    Attributes:
        callbacks: names of those that are to measure it.
        loggers: names of those that are to take it.
        had: names of the loggers that have taken it before.
        refused: lines about what cannot be had.
    """

    callbacks: tuple[str, ...] = ()
    loggers: tuple[str, ...] = ()
    had: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.callbacks or self.loggers)


def news(settings: RunSettings, folder: RunFolder, result: Mapping[str, Any] | None) -> News:
    """Compare the callbacks and loggers of a command with what the run has; nothing is new to one not finished."""
    if result is None or result["status"] != "completed":
        return News()
    measuring = measurements(settings, folder)
    new = [name for name, callback in measuring.items() if not (folder.path / callback.file).exists()]
    refused = list(_refused(settings, result, measuring, new))
    if new and not folder.checkpoint.exists():
        refused.append(f"callbacks.{', '.join(new)}: not measured: there is no {folder.checkpoint}")
        new = []
    had = tuple(result["loggers"]) if "loggers" in result else _configured(folder)
    loggers = tuple(name for name in settings.logger if had is not None and name not in had)
    return News(tuple(new), loggers, had or (), tuple(refused))


def _configured(folder: RunFolder) -> tuple[str, ...] | None:
    """The loggers of config.yaml, for results of older versions; None where that is not known."""
    path = folder.path / CONFIG
    return tuple(read_yaml(path).get("logger") or ()) if path.exists() else None


def _refused(
    settings: RunSettings, result: Mapping[str, Any], measuring: Mapping[str, Any], new: list[str]
) -> Iterator[str]:
    had: Mapping[str, Any] = result.get("callbacks") or {}
    for name in settings.callbacks:
        if name not in measuring:
            if "callbacks" in result and name not in had:
                yield f"callbacks.{name} watches a training, and this one is over: nothing done"
        elif name not in new and name in had and had[name] != measuring[name].arguments():
            old = ", ".join(f"{key}={value}" for key, value in had[name].items())
            yield (
                f"callbacks.{name}: has measured with {old} and does not measure again; allowed:"
                f" {measuring[name].file} moved away, or overwrite=true"
            )


def take_up(
    settings: RunSettings, config: Mapping[str, Any], folder: RunFolder, result: dict[str, Any], wanted: News
) -> dict[str, Any]:
    """Let callbacks and loggers that are new to a finished run have what can still be had.

    Values along the training cannot: a callback sees iteration 0, made anew, and the end; a logger gets what
    metrics.csv holds.

    Returns:
        result.json's new content.
    """
    if not wanted:
        return result
    callbacks = instances(settings, "callbacks", folder, 0, wanted.callbacks)
    loggers = instances(settings, "logger", folder, 0, wanted.loggers)
    stopped = None
    if callbacks:
        say(f"finished before; measured now at its start and end, not between: {', '.join(callbacks)}")
        stopped = _measure(settings, folder, list(callbacks.values()))
    if loggers:
        rows = _history(folder, result)
        without = (
            "" if (folder.path / METRICS).exists() else f"; there is no {METRICS}, of which it would have its curves"
        )
        say(f"finished before; taken now: {', '.join(loggers)}{without}")
        for logger in loggers.values():
            logger.log_hyperparams({**config, "threads": settings.cores})
            for iteration, row in rows.items():
                logger.log_metrics(row, step=iteration)
            logger.finalize("success")
    found = watched_by(settings, folder, callbacks, loggers)
    found["callbacks"] = (result.get("callbacks") or {}) | found["callbacks"]
    found["loggers"] = [*wanted.had, *found["loggers"]]
    result = {**result, **found}
    folder.complete(result)
    for logger in loggers.values():
        if isinstance(logger, Concludes):
            logger.conclude(result)
    if stopped is not None:
        raise SystemExit(128 + stopped)
    return result


def _measure(settings: RunSettings, folder: RunFolder, callbacks: list[pl.Callback]) -> int | None:
    """Let callbacks see the run from its checkpoint on, which leaves no iteration to be trained.

    Returns:
        The signal that has come meanwhile.
    """
    quiet_lightning()
    pl.seed_everything(settings.seed, verbose=False)
    method = settings.build()
    start_from(settings, method)
    saved = read_checkpoint(folder.checkpoint, "overwrite=true puts this run aside and trains anew")
    log = MetricsCSV(folder.path, resumed_at=max(1, int(saved["pinntk"]["iteration"])))
    stop = StopOnSignal()
    trainer = make_trainer(settings, folder, [stop, *callbacks], [log] if log.rows else [])
    fit(trainer, method, stop, folder.checkpoint)
    return stop.received


def _history(folder: RunFolder, result: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    """Rows of metrics.csv by iteration, the last with the figures of the result."""
    steps = int(result["steps"])
    log = MetricsCSV(folder.path, resumed_at=max(1, steps))
    errors = {f"l2re_{name}": error for name, error in result.get("l2re_by_field", {}).items()}
    errors = {"l2re": result["l2re"], **errors}
    last = {
        "loss": result["loss"],
        "fresh_loss": result.get("fresh_loss"),
        **result["terms"],
        **errors,
        "seconds": result["seconds"],
    }
    log.log_metrics({k: v for k, v in last.items() if v is not None and k not in log.rows.get(steps, {})}, step=steps)
    rows = {i: {k: float(v) for k, v in row.items() if k != "iteration"} for i, row in log.rows.items()}
    return dict(sorted(rows.items()))


def plot_missing(settings: RunSettings, folder: RunFolder) -> None:
    """Make the pictures of a completed run that was cut off between its result and them."""
    if folder.checkpoint.exists() and not all((folder.path / name).exists() for name in SOLUTION):
        run = load(folder.path)
        SolutionPlot(folder.path, reference_of(run.pde), settings.evaluate_every).write(run.method)
