"""The callbacks that every run has: error, checkpoint and progress; the picture is in test_solution_picture.py."""

import io
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from made import reference_values
from training import POINTS, fit, make, make_of, parameters, stop_at

from pinntk.callbacks import ErrorAgainstReference, Progress, TimedCheckpoint, progress
from pinntk.common.arrays import l2re
from pinntk.loggers.metrics_csv import MetricsCSV
from pinntk.methods import Method, NonFiniteLoss
from pinntk.methods.ntk_ng import NTKNaturalGradient
from pinntk.methods.pcpinn import PCPINN
from pinntk.methods.pinn_ntk import PINNNTK
from pinntk.network import NetworkSettings
from pinntk.pdes.poisson1d import Poisson1D, Poisson1DDiscretization
from pinntk.pdes.references import Reference
from pinntk.residual.points import PointSettings

FIXED = POINTS.model_copy(update={"resample_every": None})


def measured(log: MetricsCSV) -> dict[int, float]:
    return {iteration: row["l2re"] for iteration, row in log.rows.items() if "l2re" in row}


# Error


def test_l2re_by_hand() -> None:
    assert l2re(np.array([1.0, 2.0, 5.0]), np.array([1.0, 4.0, 8.0])) == math.sqrt(13) / 9
    assert l2re(np.zeros(3), np.array([0.0, 3.0, 4.0])) == 1.0


def test_error_is_that_of_the_final_network(tmp_path: Path) -> None:
    method = make()
    error, log = ErrorAgainstReference(method.pde.reference(), 1000), MetricsCSV(tmp_path)
    assert math.isnan(error.l2re)
    fit(method, [error], logger=log)
    x = np.linspace(0, 1, 1001)
    u = method.network(torch.tensor(x[:, None])).detach().numpy()
    exact = np.sin(2 * np.pi * x)
    assert error.l2re == pytest.approx(math.sqrt(((u - exact) ** 2).sum() / (exact**2).sum()), rel=1e-12)
    assert measured(log) == {60: error.l2re}


def test_error_of_a_run_of_no_steps() -> None:
    method = make(steps=0)
    error = ErrorAgainstReference(method.pde.reference(), 100)
    fit(method, [error])
    assert error.l2re == l2re(method.network.predict(method.pde.evaluation_points()), reference_values(method.pde))


@pytest.mark.parametrize(
    ("log_every", "every", "expected"),
    [
        (25, 25, [25, 50, 60]),
        (25, 20, [25, 50, 60]),  # 20 and 40 lie inside blocks: at the ends of theirs
        (10, 25, [30, 50, 60]),
        (10, 30, [30, 60]),
        (7, 10, [14, 21, 35, 42, 56, 60]),
        (25, 1000, [60]),
        (1000, 10, [60]),
    ],
)
@pytest.mark.parametrize("cut", [None, 12, 30, 53])
def test_error_is_measured_at_the_same_iterations_in_a_cut_run(
    log_every: int, every: int, expected: list[int], cut: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[int, float] = {}
    path, resume = tmp_path / "last.ckpt", None
    for stop in [None] if cut is None else [cut, None]:
        method = make(log_every=log_every)
        if stop is not None:
            stop_at(method, stop, monkeypatch)
        error, log = ErrorAgainstReference(method.pde.reference(), every), MetricsCSV(tmp_path)
        fit(method, [error, TimedCheckpoint(path, 1e9)], logger=log, resume=resume)
        found |= measured(log)
        resume = path
    assert list(found) == expected
    assert error.l2re == found[60]


def test_error_at_the_lowest_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    method, values = make(points=FIXED), np.ones(1001)
    error = ErrorAgainstReference(Reference(values, 0.0), 10)
    seen = []
    for loss, off in [(3.0, 0.5), (1.0, 0.25), (2.0, 0.125), (1.0, 0.0625), (0.5, 4.0)]:
        method.latest = {"loss": loss}
        monkeypatch.setattr(method.network, "predict", lambda points, off=off: values + off)
        again = ErrorAgainstReference(Reference(values, 0.0), 10)  # as after a resume, every time
        again.load_state_dict(error.state_dict())
        error = again
        error.measure(method)
        seen.append((error.l2re, error.l2re_at_lowest_loss))
    assert seen == [(0.5, 0.5), (0.25, 0.25), (0.125, 0.25), (0.0625, 0.25), (4.0, 4.0)]


GRID = PointSettings(interior=30, boundary=2, sampling="grid")
REDRAWN_LATE = POINTS.model_copy(update={"resample_every": 60})
PHASES: dict[str, Any] = {"adam": {"steps": 20}, "natural_gradient": {"steps": 2}, "log_every": 10}
DISCRETE = Poisson1DDiscretization(cells=20)


@pytest.mark.parametrize(
    ("made", "comparable"),
    [
        (lambda: make(points=POINTS), False),  # other points every 7 of 60 iterations
        (lambda: make(points=REDRAWN_LATE), True),
        (lambda: make(points=FIXED), True),
        (lambda: make_of(PINNNTK, points=FIXED, steps=60), False),  # other weights in every iteration
        (lambda: make_of(PINNNTK, points=FIXED, steps=60, update_every=60), True),
        (lambda: make_of(NTKNaturalGradient, points=FIXED, **PHASES), False),  # a phase draws points of its own
        (lambda: make_of(NTKNaturalGradient, points=GRID, **PHASES), True),
        (
            lambda: make_of(NTKNaturalGradient, points=GRID, **PHASES | {"weighting": "ntk", "balance": "terms"}),
            False,  # other weights in every phase
        ),
        (lambda: make_of(NTKNaturalGradient, points=FIXED, **PHASES | {"adam": {"steps": 0}}), True),
    ],
)
def test_errors_at_the_lowest_loss_only_where_losses_compare(made: Callable[[], Method], comparable: bool) -> None:
    method = made()
    error = ErrorAgainstReference(method.pde.reference(), 10)
    fit(method, [error])
    assert not math.isnan(error.l2re)
    assert (error.l2re_at_lowest_loss is not None) == comparable


def test_errors_at_the_lowest_loss_of_mini_batches_and_changing_preconditioners() -> None:
    for settings, comparable in (
        ({}, False),
        ({"form": "solved"}, False),  # other nodes in every step
        ({"form": "direct", "refresh_every": 60}, True),
        ({"form": "direct", "refresh_every": 30}, False),
    ):
        method = PCPINN(
            Poisson1D(a=2),
            NetworkSettings(width=8, depth=2),
            FIXED,
            PCPINN.Settings.model_validate({"steps": 60, "log_every": 25, "batch": 8, **settings}),
            discretization=DISCRETE,
        )
        assert method.comparable_losses == comparable


# Checkpoint


@pytest.mark.parametrize(("every_seconds", "saves"), [(1e9, [60]), (0.0, [25, 50, 60])])
def test_checkpoints_by_the_clock_and_at_the_end(
    every_seconds: float, saves: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []

    class Watched(TimedCheckpoint):
        def save(self, trainer: pl.Trainer) -> None:
            super().save(trainer)
            saved = torch.load(self.path)
            assert log.path.read_text().splitlines()[-1].startswith(f"{saved['pinntk']['iteration']},")
            done.append(saved["pinntk"]["iteration"])

    method, log = make(), MetricsCSV(tmp_path)
    path = tmp_path / "checkpoints" / "last.ckpt"
    fit(method, [Watched(path, every_seconds)], logger=log)
    assert done == saves
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]
    saved = torch.load(path)
    found = torch.cat([p.flatten() for p in saved["state_dict"].values()])
    assert torch.equal(found, parameters(method))
    assert saved["pinntk"]["function_evaluations"] == 60
    assert saved["pinntk"]["latest"] == method.latest


@pytest.mark.parametrize("failing", ["writing", "renaming", "logging"])
def test_a_save_that_fails_leaves_the_old_checkpoint(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    callback, log = TimedCheckpoint(path, 1e9), MetricsCSV(tmp_path)
    trainer = fit(make(), [callback], logger=log)
    before = path.read_bytes()

    def half(target: Path, *rest: Any, **more: Any) -> None:
        Path(target).write_bytes(b"half a file")
        raise OSError("disk full")

    def fail(*arguments: Any) -> None:
        raise OSError("disk full")

    owner, name, broken = {
        "writing": (trainer, "save_checkpoint", half),
        "renaming": (os, "replace", fail),
        "logging": (log, "save", fail),
    }[failing]
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(OSError, match="disk full"):
        callback.save(trainer)
    assert path.read_bytes() == before


# Progress


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    method = make()
    error = ErrorAgainstReference(method.pde.reference(), 1)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    fit(method, [error, Progress(error)])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("adam")]
    assert [line.split(",")[0] for line in said] == ["adam 25/60", "adam 50/60", "adam 60/60"]
    assert f"loss={method.latest['loss']:.2e}, L2RE={error.l2re:.2e}, 0 s left" in said[-1]


def test_few_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    fit(make(), [Progress()])
    assert "adam" not in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    cut = make()
    stop_at(cut, 40, monkeypatch)
    fit(cut, [TimedCheckpoint(path, 1e9)])
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    method = make()
    error = ErrorAgainstReference(method.pde.reference(), 1)
    fit(method, [error, Progress(error)], resume=path)
    first, last = terminal.getvalue().split("\r")[1], terminal.getvalue().rstrip().split("\r")[-1]
    assert "40/60" in first
    assert "60/60" in last
    assert f"loss={method.latest['loss']:.2e}, L2RE={error.l2re:.2e}" in last


def test_the_bar_is_closed_when_training_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, bar = Terminal(), Progress()
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(NonFiniteLoss):
        fit(make(adam={"learning_rate": 1e200}), [bar])
    assert terminal.getvalue().endswith("\n")  # what is printed next starts on a line of its own


def test_the_file_for_who_looks_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    method, path = make(), tmp_path / "progress.json"
    error = ErrorAgainstReference(method.pde.reference(), 1)
    seen: list[dict[str, Any]] = []

    class Looker(pl.Callback):
        def on_train_batch_end(self, *arguments: Any) -> None:
            seen.append(json.loads(path.read_text()))

    monkeypatch.setattr(progress, "SECONDS_BETWEEN_FILES", 0.0)
    fit(method, [error, Progress(error, path), Looker()])
    assert [(look["iteration"], look["total_iterations"]) for look in seen] == [(25, 60), (50, 60), (60, 60)]
    assert seen[0]["seconds_left"] > 0 == seen[-1]["seconds_left"]
    assert (seen[-1]["loss"], seen[-1]["l2re"]) == (method.latest["loss"], error.l2re)
    assert 0 <= time.time() - seen[-1]["written"] < 60
    assert os.listdir(tmp_path) == ["progress.json"]


def test_the_file_is_written_seldom_but_at_both_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written: list[dict[str, Any]] = []
    monkeypatch.setattr(os, "replace", lambda part, _: written.append(json.loads(Path(part).read_text())))
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_FILES", 1e9)
    fit(make(), [Progress(path=tmp_path / "progress.json")])
    assert [look["iteration"] for look in written] == [0, 60]
    assert (written[0]["loss"], written[0]["seconds_left"]) == (None, None)
