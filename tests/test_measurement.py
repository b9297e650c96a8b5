"""Callbacks that only measure: new to a run that goes on or has finished, and failing ones."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FAST, Cli, arrays_of, in_child, result_of, rows_of, slow_unless
from matplotlib.figure import Figure
from scipy.sparse.linalg import ArpackNoConvergence
from test_resume import when_replacing
from training import POINTS, fit, make, parameters, stop_at

from pinntk.callbacks import Conditioning, HessianNorm, Measurement, NTKDrift, NTKForecast, TimedCheckpoint
from pinntk.methods import Method
from pinntk.residual.form import ResidualForm
from pinntk.residual.spectra import spectral_norm

NEW: dict[str, Callable[[Path], Measurement]] = {
    "ntk_drift": lambda folder: NTKDrift(str(folder), every=20, interior=12, conditions=2),
    "hessian_norm": lambda folder: HessianNorm(str(folder), every=20, interior=9, conditions=2, dense_limit=200),
    "ntk_forecast": lambda folder: NTKForecast(str(folder), interior=10, conditions=2, steps=5),
    "conditioning": lambda folder: Conditioning(
        str(folder), drop_tolerances=[0.1], discretization={"cells": 16}, every=20
    ),
}
AT_START = {
    "ntk_drift": ("spectrum_start_K", "largest", "drift"),
    "hessian_norm": ("hessian", "gauss_newton", "entries_hessian"),
    "ntk_forecast": ("eigenvalues", "measured", "iteration"),
    "conditioning": ("left", "right"),
}


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are drawn empty: they take longer than all the rest."""
    for module in ("conditioning", "solution", "ntk_drift", "ntk_forecast", "hessian_norm"):
        monkeypatch.setattr(f"pinntk.callbacks.{module}.plot", lambda *arguments: Figure(figsize=(1, 1)))


def found(folder: Path, name: str) -> dict[str, Any]:
    """What a callback has written, as arrays."""
    if name != "conditioning":
        return arrays_of(folder / f"{name}.npz")
    series = json.loads((folder / "conditioning.json").read_text())["theorem1"]
    return {key: np.array(values) for key, values in series.items()}


def assert_same_start(one: dict[str, Any], other: dict[str, Any], name: str) -> None:
    """Bit for bit: of a series the first value, of everything else all."""
    for key in AT_START[name]:
        series = "iteration" in one and np.ndim(one["iteration"]) > 0 and not key.startswith("spectrum")
        np.testing.assert_array_equal(*((a[key][0] if series else a[key]) for a in (one, other)))


@pytest.mark.parametrize("name", NEW)
def test_new_to_a_run_that_goes_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert POINTS.resample_every == 7  # so the points of iteration 0 are others than those at hand
    whole, part, path = tmp_path / "whole", tmp_path / "part", tmp_path / "last.ckpt"
    whole.mkdir()
    part.mkdir()
    settings: dict[str, Any] = {"log_every": 10, "adam": {"learning_rate": 1e-2}}
    plain = make(**settings)
    fit(plain, [NEW[name](whole)])
    first = make(**settings)
    stop_at(first, 25, monkeypatch)
    fit(first, [TimedCheckpoint(path, 1e9)])
    capsys.readouterr()
    resumed = make(**settings)
    fit(resumed, [NEW[name](part)], resume=path)
    assert torch.equal(parameters(resumed), parameters(plain))
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("callbacks.")]
    assert len(said) == 1
    assert said[0].startswith(f"callbacks.{name}: new at iteration 25")
    one, other = found(whole, name), found(part, name)
    assert_same_start(one, other, name)
    if name != "ntk_forecast":
        assert list(one["iteration"]) == [0, 20, 40, 60]
        assert list(other["iteration"]) == [0, 30, 40, 60]  # at once, since 20 has passed
        for key in AT_START[name]:
            np.testing.assert_array_equal(one[key][-1], other[key][-1])


def test_a_forecast_that_lies_behind_is_not_made_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, path = make(log_every=10), tmp_path / "last.ckpt"
    stop_at(first, 35, monkeypatch)
    fit(first, [TimedCheckpoint(path, 1e9)])
    fit(make(log_every=10), [NTKForecast(str(tmp_path), at=15, interior=10, conditions=2, steps=5)], resume=path)
    assert "at=15 lies behind iteration 40 and cannot be had" in capsys.readouterr().err
    assert not (tmp_path / "ntk_forecast.npz").exists()


def test_figures_of_other_arguments_are_not_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, path = make(log_every=10), tmp_path / "last.ckpt"
    stop_at(first, 25, monkeypatch)
    fit(first, [NTKDrift(str(tmp_path), every=20, interior=15, conditions=2), TimedCheckpoint(path, 1e9)])
    fit(make(log_every=10), [NTKDrift(str(tmp_path), every=20, interior=12, conditions=2)], resume=path)
    assert "other arguments" in capsys.readouterr().err
    saved = arrays_of(tmp_path / "ntk_drift.npz")
    assert list(saved["iteration"]) == [0, 30, 40, 60]
    assert len(saved["spectrum_start_K"]) == len(saved["spectrum_end_K"]) == 14


# Failing


class Broken:
    """Raises when it is called for the nth times, else calls a function."""

    def __init__(self, function: Any, error: Exception, *times: int) -> None:
        self.function, self.error, self.times, self.count = function, error, times, 0

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        self.count += 1
        if self.count in self.times:
            raise self.error
        return self.function(*arguments, **more)


ERRORS = [
    ArpackNoConvergence("ARPACK error -1: No convergence", np.zeros((0, 0)), np.zeros((0, 0))),
    torch.linalg.LinAlgError("linalg.eigh: The algorithm failed to converge\nmore of it"),  # type: ignore[attr-defined]  # torch has it, and does not list it
    torch.OutOfMemoryError("CUDA out of memory."),
    MemoryError("Unable to allocate 7 TiB"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_fails_along_the_training_is_a_line(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, watched = make(log_every=10), make(log_every=10)
    fit(plain)
    # Two norms at the start, three of each later measurement: the second fails at its first.
    broken = Broken(spectral_norm, error, 4)
    monkeypatch.setattr("pinntk.callbacks.ntk_drift.spectral_norm", broken)
    capsys.readouterr()
    fit(watched, [NEW["ntk_drift"](tmp_path)])
    assert torch.equal(parameters(watched), parameters(plain))
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "callbacks." in line)
    text = str(error).split("\n")[0]
    assert line == f"callbacks.ntk_drift: nothing at iteration 20: {type(error).__name__}: {text}; the training goes on"
    assert list(arrays_of(tmp_path / "ntk_drift.npz")["iteration"]) == [0, 40, 60]


def test_what_fails_at_the_start_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    whole.mkdir()
    part.mkdir()
    fit(make(log_every=10), [NEW["ntk_drift"](whole)])
    broken = Broken(NTKDrift.kernel, RuntimeError("no memory"), 1)
    monkeypatch.setattr(NTKDrift, "kernel", lambda self, method: broken(self, method))
    fit(make(log_every=10), [NEW["ntk_drift"](part)])
    one, other = found(whole, "ntk_drift"), found(part, "ntk_drift")
    assert list(other["iteration"]) == [0, 20, 40, 60]
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])


def test_what_is_asked_wrongly_is_refused_before_anything_is_written(cli: Cli) -> None:
    ended = cli(*FAST, "callbacks=conditioning", "callbacks.conditioning.discretization={cells: 9}")
    assert ended.code == 2
    assert "needs at least 10" in ended.err
    assert not (cli.folder / "runs").exists()


# Finished runs

DRIFT = ["callbacks=ntk_drift", "callbacks.ntk_drift.interior=12", "callbacks.ntk_drift.conditions=2"]


def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no iteration may be trained."""

    def fail(self: Method) -> None:
        raise AssertionError

    monkeypatch.setattr(ResidualForm, "backward", fail)


def without(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in ("callbacks", "loggers")}


@pytest.mark.parametrize("start", ["seed", slow_unless(False, "init_from")])
def test_a_callback_newly_asked_of_a_finished_run(start: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*FAST, "method.adam.learning_rate=1e-2"]
    if start == "init_from":
        cli(*FAST, "seed=5")
        words.append(f"init_from={cli.run_folder()}")
    assert cli(*words, *DRIFT, "callbacks.ntk_drift.every=20", "runs_dir=watched").code == 0
    assert cli(*words).code == 0
    (folder,) = (path for path in cli.run_folders() if path.name == "seed0")
    before, checkpoint = result_of(folder), (folder / "checkpoints" / "last.ckpt").read_bytes()
    rows = rows_of(folder)
    refusing(monkeypatch)
    ended = cli(*words, *DRIFT)
    assert ended.code == 0, ended.err
    assert "measured now at its start and end, not between: ntk_drift" in ended.out
    assert f"L2RE        {before['l2re']:.3e}" in ended.out
    one = found(cli.folder / "watched" / folder.relative_to(cli.folder / "runs"), "ntk_drift")
    other = found(folder, "ntk_drift")
    assert list(other["iteration"]) == [0, 40]
    for key in other:
        expected = one[key] if key.startswith("spectrum") else one[key][[0, -1]]
        np.testing.assert_array_equal(expected, other[key])
    # Nothing else has changed but for the figures' places in the log.
    assert without(result_of(folder)) == without(before)
    assert (folder / "checkpoints" / "last.ckpt").read_bytes() == checkpoint
    logged = {int(row["iteration"]): row for row in rows_of(folder)}
    assert [{key: logged[int(row["iteration"])][key] for key in row} for row in rows] == rows
    assert float(logged[40]["ntk_drift_K"]) == other["drift"][-1, 0]
    assert float(logged[0]["ntk_largest_K"]) == other["largest"][0, 0]
    # And only once.
    again = cli(*words, *DRIFT)
    assert "measured now" not in again.out
    other_points = cli(*words, *DRIFT[:1], "callbacks.ntk_drift.interior=13", "callbacks.ntk_drift.conditions=2")
    assert "has measured with interior=12, conditions=2 and does not measure again" in other_points.out
    assert other_points.code == 0


NOTE = """
import json
import pytorch_lightning as pl
from pathlib import Path
from pytorch_lightning.loggers import Logger

class Note(Logger):
    name, version = "note", ""
    def __init__(self, folder): self.folder, self.seen = Path(folder), []
    def log_hyperparams(self, params): self.seen.append(["config", params["seed"]])
    def log_metrics(self, metrics, step=None): self.seen.append([step, metrics["loss"], metrics.get("l2re")])
    def conclude(self, result):
        self.seen.append(["result", result["status"], result["l2re"]])
        (self.folder / "note.json").write_text(json.dumps(self.seen))

class Watch(pl.Callback):
    pass
"""


def test_a_logger_newly_asked_of_a_finished_run(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    (cli.folder / "notes.py").write_text(NOTE)
    monkeypatch.syspath_prepend(cli.folder)
    assert cli(*FAST, "evaluate_every=20").code == 0
    folder = cli.run_folder()
    rows = rows_of(folder)
    before = result_of(folder)
    refusing(monkeypatch)
    logger = '+logger.note={_target_:notes.Note,folder:"{folder}"}'
    ended = cli(*FAST, logger)
    assert ended.code == 0, ended.err
    assert "taken now: note\n" in ended.out
    seen = json.loads((folder / "note.json").read_text())
    assert seen[0] == ["config", 0]
    expected = [[int(r["iteration"]), float(r["loss"]), float(r["l2re"]) if r["l2re"] else None] for r in rows]
    assert seen[1:-1] == expected
    assert seen[-1] == ["result", "completed", before["l2re"]]
    assert rows_of(folder) == rows
    assert without(result_of(folder)) == without(before)
    (folder / "note.json").unlink()
    assert "taken now" not in cli(*FAST, logger).out
    assert not (folder / "note.json").exists()
    assert (
        "callbacks.watch watches a training, and this one is over"
        in cli(*FAST, "+callbacks.watch={_target_:notes.Watch}").out
    )


def test_a_finished_run_without_a_log(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli(*FAST, "logger=none").code == 0
    folder = cli.run_folder()
    assert not (folder / "metrics.csv").exists()
    refusing(monkeypatch)
    ended = cli(*FAST)
    assert "taken now: csv; there is no metrics.csv" in ended.out
    (row,) = rows_of(folder)
    result = result_of(folder)
    assert (int(row["iteration"]), float(row["loss"]), float(row["l2re"])) == (40, result["loss"], result["l2re"])


def test_a_finished_run_that_is_killed_while_it_is_measured(tmp_path: Path) -> None:
    assert in_child(tmp_path, FAST).code == 0
    (path,) = tmp_path.glob("runs/**/result.json")
    before = path.read_bytes()
    cut = in_child(tmp_path, [*FAST, *DRIFT], when_replacing("ntk_drift.npz", 1, after=False))
    assert cut.code == -signal.SIGKILL
    assert path.read_bytes() == before
    assert in_child(tmp_path, [*FAST, *DRIFT]).code == 0
    assert (path.parent / "ntk_drift.npz").exists()
