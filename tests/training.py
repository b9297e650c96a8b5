"""What tests of training share: a small problem trained through Lightning's Trainer."""

import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from pinntk.callbacks import TimedCheckpoint
from pinntk.methods import Method
from pinntk.methods.adam import AdamMethod
from pinntk.network import NetworkSettings
from pinntk.pdes.base import PDE
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.residual.points import PointSettings
from pinntk.residual.residuals import term_losses
from pinntk.runs.run import run

M = TypeVar("M", bound=Method)
POINTS = PointSettings(interior=30, boundary=2, resample_every=7)


def make(pde: PDE | None = None, points: PointSettings = POINTS, **settings: Any) -> AdamMethod:
    """An ``adam`` on poisson1d, of few steps; ``settings`` as for `make_of`."""
    return make_of(AdamMethod, pde, points, **{"steps": 60, "log_every": 25, **settings})


def make_of(
    kind: type[M],
    pde: PDE | None = None,
    points: PointSettings = POINTS,
    *,
    width: int = 8,
    depth: int = 2,
    seed: int = 0,
    precision: str = "64-true",
    compile: bool = False,
    **settings: Any,
) -> M:
    """A method on poisson1d, unless told otherwise; ``settings`` are the method's own."""
    return kind(
        pde or Poisson1D(a=2),
        NetworkSettings(width=width, depth=depth),
        points,
        kind.Settings.model_validate(settings),
        seed=seed,
        precision=precision,
        compile=compile,
    )


def loss_terms(method: Method) -> Tensor:
    """Unweighted loss of each residual term at the method's points, (T,), as a graph of the parameters."""
    return term_losses(list(method.residuals(method.batches()).values()), method.settings.normalization)


def parameters(method: Method) -> Tensor:
    return torch.cat([p.detach().flatten() for p in method.network.parameters()])


def fit(
    method: Method,
    callbacks: list[pl.Callback] | None = None,
    *,
    logger: Any = False,
    resume: Path | None = None,
    precision: Any = "64-true",
) -> pl.Trainer:
    """Train until the method is finished or stopped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice about loaders and loggers
        trainer = pl.Trainer(
            accelerator="cpu",
            devices=1,
            precision=precision,
            max_epochs=-1,
            logger=logger,
            callbacks=callbacks or [],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(method, train_dataloaders=method.loader(), ckpt_path=resume)
    return trainer


def stop_at(method: Method, iteration: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the method to stop while it does its iteration number ``iteration``, counted from 1, as a signal would."""

    def watching(called: Callable[[], Any]) -> Callable[[], Any]:
        def watched() -> Any:
            if method.iteration == iteration - 1:
                method.stop_requested = True
            return called()

        return watched

    for name in ("batches", "renew"):  # one of them is called in every iteration
        monkeypatch.setattr(method, name, watching(getattr(method, name)))


def whole_and_resumed(make: Callable[[], M], cut: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[M, M]:
    """A run without interruption and one that was stopped after ``cut`` iterations and resumed: they end alike."""
    whole, first, resumed = make(), make(), make()
    fit(whole)
    path = folder / "last.ckpt"
    stop_at(first, cut, monkeypatch)
    fit(first, [TimedCheckpoint(path, 1e9)])
    assert first.iteration == cut
    fit(resumed, resume=path)
    assert resumed.iteration == whole.iteration
    assert resumed.function_evaluations == whole.function_evaluations
    assert torch.equal(parameters(resumed), parameters(whole))
    return whole, resumed


def interrupting(record: Any, at: int) -> Any:
    """For ``Method.log_losses``: Ctrl-C once this iteration has been recorded."""

    def recording(self: Method, *arguments: Any, **more: Any) -> None:
        record(self, *arguments, **more)
        if self.iteration == at:
            signal.raise_signal(signal.SIGINT)

    return recording


def trained_in(config: dict[str, Any], folder: Path, stop: int | None = None) -> tuple[int, Path]:
    """Run it in a folder, with a Ctrl-C at an iteration; the exit code and the run's folder."""

    def count(method: Method, value: int) -> None:
        method.__dict__["_count"] = value
        if value == stop:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Method, "iteration", property(lambda method: method.__dict__["_count"], count), raising=False)
        code = run({**config, "runs_dir": str(folder)})
    (found,) = (path.parent for path in folder.glob("*/*/*/*/*/*/config.yaml"))
    return code, found
