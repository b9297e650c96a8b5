"""TensorBoard: its event files read back with its own reader."""

from __future__ import annotations

import math
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from conftest import FAST, Cli, arrays_of, result_of, rows_of
from training import interrupting

from pinntk.loggers.tensorboard_logger import TensorBoard
from pinntk.methods import Method

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what TensorBoard imports
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CHOICES = ("csv", "wandb", "tensorboard", "mlflow")
WORDS = [*FAST, "logger=tensorboard", "evaluate_every=10"]


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(
        str(folder / "tensorboard"), {"scalars": 0, "images": 0, "tensors": 0, "histograms": 0}
    ).Reload()


def curve(found: EventAccumulator, name: str) -> tuple[list[int], list[float]]:
    """Iterations and values."""
    points = found.Scalars(name)
    return [point.step for point in points], [point.value for point in points]


def assert_same_as_csv(folder: Path) -> None:
    """Every figure of metrics.csv is there once, in single precision."""
    found, rows = events(folder), rows_of(folder)
    for name in rows[0].keys() - {"iteration"}:
        iterations, values = curve(found, name)
        logged = [row for row in rows if row[name]]
        assert iterations == [int(row["iteration"]) for row in logged], name
        assert values == pytest.approx([float(row[name]) for row in logged], rel=1e-6), name


def test_curves_pictures_configuration_and_result(cli: Cli) -> None:
    ended = cli(*WORDS, "callbacks=ntk_drift", "callbacks.ntk_drift.interior=10", "callbacks.ntk_drift.every=20")
    assert (ended.code, ended.err) == (0, "")
    folder = cli.run_folder()
    assert_same_as_csv(folder)
    found, result = events(folder), result_of(folder)
    assert set(found.Tags()["scalars"]) >= {"loss", "residual", "boundary", "learning_rate", "l2re", "seconds"}
    assert [event.step for event in found.Images("prediction")] == [10, 20, 30, 40]
    assert [event.step for event in found.Images("solution")] == [40]
    iterations, errors = curve(found, "result/l2re")
    assert iterations == [40]
    assert errors == pytest.approx([result["l2re"]], rel=1e-6)
    drift = arrays_of(folder / "ntk_drift.npz")
    for n, event in enumerate(spectra := found.Histograms("ntk_spectrum_K_rr_log10")):
        assert event.histogram_value.num == sum(event.histogram_value.bucket) == 10
        assert event.histogram_value.max == pytest.approx(math.log10(drift["largest"][n, 2]), abs=1e-12)
    assert [event.step for event in spectra] == [0, 20, 40]
    (table,) = found.Tensors("loss_by_term/text_summary")
    (text,) = table.tensor_proto.string_val
    assert text.decode().splitlines()[:2] == ["| term | loss |", "| --- | --- |"]
    assert f"| boundary | {result['terms']['boundary']:.6g} |" in text.decode().splitlines()
    (config,) = found.Tensors("config/text_summary")
    assert b"pinntk.pdes.poisson1d.Poisson1D" in config.tensor_proto.string_val[0]
    (hyperparameters,) = (
        value for name, value in found.summary_metadata.items() if name == "_hparams_/session_start_info"
    )
    assert result["settings_hash"].encode() in hyperparameters.plugin_data.content


def test_a_resumed_run_goes_on_in_its_curves(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Method, "log_losses", interrupting(Method.log_losses, 20))
        assert cli(*WORDS).code == 130
    assert cli(*WORDS).code == 0
    assert [int(row["iteration"]) for row in rows_of(cli.run_folder())] == [10, 20, 30, 40]
    assert_same_as_csv(cli.run_folder())


@pytest.mark.parametrize(
    ("resumed_at", "kept"), [(0, [20]), (10, [10, 20]), (20, [10, 20, 20]), (30, [10, 20, 30, 20])]
)
def test_what_will_come_again_is_forgotten(tmp_path: Path, resumed_at: int, kept: list[int]) -> None:
    first = TensorBoard(tmp_path)
    for iteration in (10, 20, 30):
        first.log_metrics({"loss": float(iteration)}, step=iteration)
    first.conclude(None)
    second = TensorBoard(tmp_path, resumed_at)
    second.log_metrics({"loss": 1.0}, step=20)
    second.conclude(None)
    assert curve(events(tmp_path), "loss")[0] == kept


def test_with_all_the_others(cli: Cli) -> None:
    assert cli(*FAST, "logger=[csv,tensorboard]").code == 0
    assert_same_as_csv(cli.run_folder())


def test_without_the_package_one_line_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pinntk.loggers.tensorboard_logger", raising=False)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    ended = cli(*WORDS)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "pip install 'pinntk[tensorboard]'" in ended.err
    assert cli.run_folders() == []


def test_a_failure_is_one_line_and_the_training_goes_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.tensorboard import SummaryWriter

    def fail(*arguments: Any, **more: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(SummaryWriter, "add_scalar", fail)
    ended = cli(*WORDS)
    assert ended.code == 0
    assert ended.err == "tensorboard: OSError: no space left on device; nothing more goes there\n"
    assert len(rows_of(cli.run_folder())) == 4


def test_every_choice_but_none_writes_the_same_metrics_csv() -> None:
    from pinntk.launch.cli import compose

    entries = [compose([f"logger={choice}"])["logger"].get("csv") for choice in CHOICES]
    assert entries[0] is not None
    assert all(entry == entries[0] for entry in entries)
    assert compose(["logger=none"])["logger"] == compose(["logger=null"])["logger"] == {}
