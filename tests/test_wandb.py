"""W&B: what an offline run records, and that it neither asks, waits, talks nor ends a training."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from conftest import FAST, Cli, arrays_of, result_of, rows_of
from offline_wandb import WANDB, OfflineRun, offline_runs, without_account
from training import interrupting

from pinntk.launch.cli import main
from pinntk.launch.sweep import of_sweep
from pinntk.loggers.metrics_csv import MetricsCSV
from pinntk.loggers.wandb_logger import WandB
from pinntk.methods import Method

RUN = Path("runs/poisson1d/adam/w10/smoke/db039abbabee/seed0")


@pytest.fixture(autouse=True)
def no_account(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    without_account(tmp_path_factory.mktemp("home"), monkeypatch)
    yield
    wandb.teardown()  # it reads the environment once


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with everything there is to log."""
    place = tmp_path_factory.mktemp("trained")
    words = "logger=[csv,wandb] callbacks=[ntk_drift,hessian_norm,conditioning] evaluate_every=10 seed=3".split()
    small = [f"callbacks.{name}.interior=10" for name in ("ntk_drift", "hessian_norm")]
    small += ["callbacks.conditioning.drop_tolerances=[0.01,0.001]", "discretization.cells=20"]
    with pytest.MonkeyPatch.context() as patch:
        without_account(tmp_path_factory.mktemp("home"), patch)
        patch.chdir(place)
        assert main([*FAST, *words, *small, "callbacks.ntk_drift.every=10", "callbacks.hessian_norm.every=20"]) == 0
        wandb.teardown()
    (folder,) = (path.parent for path in place.glob("runs/**/result.json"))
    return folder


@pytest.fixture
def recorded(trained: Path) -> OfflineRun:
    (run,) = offline_runs(trained)
    return run


def test_every_figure_of_metrics_csv_is_in_the_history(trained: Path, recorded: OfflineRun) -> None:
    rows = rows_of(trained)
    assert [int(row["iteration"]) for row in rows] == [0, 10, 20, 30, 40]
    logged = {int(row["iteration"]): {k: float(v) for k, v in row.items() if v} for row in rows}
    names = set(rows[0])
    assert names >= {"loss", "residual", "boundary", "learning_rate", "l2re", "ntk_drift_K", "hessian_norm_L_r"}
    history = {row["iteration"]: {k: v for k, v in row.items() if k in names} for row in recorded.history}
    assert len(recorded.history) == len(history)  # all that is logged at an iteration, media too, shares a row
    assert history == logged
    assert [row["_step"] for row in recorded.history] == [0, 10, 20, 30, 40]
    assert recorded.step_metrics == {"iteration": "", "*": "iteration", "l2re": "iteration", "loss": "iteration"}
    assert recorded.aggregates["l2re"] == recorded.aggregates["loss"] == {"min", "last"}


def test_a_run_says_what_it_is(trained: Path, recorded: OfflineRun) -> None:
    settings_hash = trained.parent.name
    run = recorded.run
    assert (run.project, run.run_group, run.job_type) == ("pinntk", f"poisson1d/adam/{settings_hash}", "adam")
    assert run.display_name == "poisson1d adam w10 smoke seed3"
    assert list(run.tags) == ["poisson1d", "adam", "w10", "smoke"]
    assert run.run_id == (trained / "wandb_id.txt").read_text().strip()
    config = recorded.config
    assert config["pde"] == {"_target_": "pinntk.pdes.poisson1d.Poisson1D", "a": 4}
    assert (config["method"]["steps"], config["network"]["width"], config["seed"], config["threads"]) == (40, 10, 3, 1)
    what = {"problem": "poisson1d", "method": "adam", "width": 10, "budget": "smoke", "seed": 3, "sweep": None}
    assert config["run"] == {**what, "settings_hash": settings_hash}
    assert set(config) - {"_wandb", "run"} == {line.split(":")[0] for line in top_level(trained / "config.yaml")}


def top_level(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line[0].isalpha()]


def test_table_and_summary_have_the_result(trained: Path, recorded: OfflineRun) -> None:
    result = result_of(trained)
    (row,) = recorded.table("result")
    assert row == {
        "problem": "poisson1d",
        "coefficients": "a=4",
        "device": "cpu",
        **{name: result[name] for name in ("method", "width", "budget", "seed", "settings_hash", "status", "l2re")},
        **{name: result[name] for name in ("l2re_at_lowest_loss", "loss", "steps", "parameters", "seconds")},
    }
    curves = {"l2re", "loss"}
    assert {name: recorded.summary[name] for name in set(row) - curves} == {k: row[k] for k in set(row) - curves}
    for name in curves:
        lowest = min(float(line[name]) for line in rows_of(trained) if line[name])
        assert recorded.summary[name] == {"min": min(lowest, result[name]), "last": result[name]}
    assert recorded.summary["terms"] == result["terms"]
    assert recorded.exit_code == 0


def test_spectra_are_histograms_of_all_eigenvalues(trained: Path, recorded: OfflineRun) -> None:
    found = arrays_of(trained / "ntk_drift.npz")
    for k, block in enumerate(("K", "K_uu", "K_rr")):
        histograms = recorded.column(f"ntk_spectrum_{block}_log10")
        assert list(histograms) == list(found["iteration"]) == [0, 10, 20, 30, 40]
        for n, one in enumerate(histograms.values()):
            assert one["_type"] == "histogram"
            assert sum(one["values"]) == len(found[f"spectrum_end_{block}"])
            assert one["bins"][-1] == pytest.approx(math.log10(found["largest"][n, k]), abs=1e-12)
        last, eigenvalues = histograms[40], found[f"spectrum_end_{block}"]
        middle = len(last["values"]) // 2
        assert sum(last["values"][middle:]) == sum(eigenvalues >= 10 ** last["bins"][middle])


def test_tables_of_a_run(trained: Path, recorded: OfflineRun) -> None:
    result, measured = result_of(trained), json.loads((trained / "conditioning.json").read_text())
    terms = {row["term"]: row["loss"] for row in recorded.table("loss_by_term")}
    assert terms == result["terms"]
    plain, *preconditioned = recorded.table("condition_numbers")
    assert (plain["factor"], plain["kappa"]) == ("none", measured["plain"]["kappa"])
    assert [(row["factor"], row["drop_tolerance"]) for row in preconditioned] == [("levels", 0.01), ("levels", 0.001)]
    assert [row["kappa"] for row in preconditioned] == [one["kappa"] for one in measured["preconditioned"]]
    assert plain["kappa"] > 100 * max(row["kappa"] for row in preconditioned)
    media = {key for row in recorded.history for key, value in row.items() if isinstance(value, dict)}
    assert {"solution", "conditioning", "condition_numbers", "result"} <= media  # no table hides a picture


def test_pictures_come_along_the_way_and_at_the_end(trained: Path, recorded: OfflineRun) -> None:
    pictures = recorded.column("prediction")
    assert list(pictures) == [10, 20, 30, 40]
    files = [recorded.folder / "files" / picture["path"] for picture in pictures.values()]
    assert len({file.read_bytes() for file in files}) == 4
    assert files[-1].read_bytes() == (trained / "prediction.png").read_bytes()
    for name in ("solution", "ntk_drift", "hessian_norm", "conditioning"):
        ((iteration, picture),) = recorded.column(name).items()
        assert iteration == 40
        assert (recorded.folder / "files" / picture["path"]).read_bytes() == (trained / f"{name}.png").read_bytes()


def test_nothing_is_left_outside_of_the_run_folder(trained: Path) -> None:
    assert os.listdir(trained.parents[6]) == ["runs"]
    assert {path.name for path in trained.iterdir() if path.is_dir()} == {"checkpoints", "wandb"}


@pytest.mark.slow
def test_jobs_of_a_sweep_are_runs_of_their_own(cli: Cli) -> None:
    ended = cli("-m", *WANDB, "seed=0,1,2")
    assert ended.code == 0, ended.err
    runs = [run for folder in cli.run_folders() for run in offline_runs(folder)]
    assert len({run.run.run_id for run in runs}) == len(runs) == 3
    assert [run.config["seed"] for run in runs] == [0, 1, 2]
    assert len({run.run.run_group for run in runs}) == 1
    (sweep,) = (path.name for path in cli.folder.glob("runs/.sweeps/*"))
    assert {run.config["run"]["sweep"] for run in runs} == {sweep}
    assert [(run.config["run"]["seed"], run.run.tags[-1]) for run in runs] == [(seed, sweep) for seed in range(3)]
    assert all(run.exit_code == 0 and list(run.column("loss")) == [10, 20, 30, 40] for run in runs)
    for folder in cli.run_folders():
        assert f"to upload   wandb sync {folder.relative_to(cli.folder)}/wandb" in ended.out
    assert ended.err == ""


def test_a_resumed_run_goes_on_in_the_same_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Method, "log_losses", interrupting(Method.log_losses, 20))
        assert cli(*WANDB, "evaluate_every=10").code == 130
    folder = cli.run_folder()
    (part,) = offline_runs(folder)
    assert part.exit_code == 255
    assert part.summary["status"] == "interrupted"
    assert cli(*WANDB, "evaluate_every=10").code == 0
    first, second = offline_runs(folder)
    assert first.run.run_id == second.run.run_id
    assert second.exit_code == 0
    assert second.summary["status"] == "completed"
    assert list(first.column("loss")) == [10, 20]
    assert list(second.column("loss")) == [30, 40]
    assert list(first.column("l2re") | second.column("l2re")) == [10, 20, 30, 40]
    listed = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--dry-run", folder / "wandb"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (listed.stdout + listed.stderr).count(".wandb\n") == 2


def test_overwriting_makes_a_new_run(cli: Cli) -> None:
    ids = []
    for _ in range(2):
        assert cli(*WANDB, "overwrite=true").code == 0
        (run,) = offline_runs(cli.run_folder())
        ids.append(run.run.run_id)
    assert ids[0] != ids[1]


def test_a_failed_run_is_finished_as_one(cli: Cli) -> None:
    assert cli(*WANDB, "method.adam.learning_rate=1e300").code == 1
    (run,) = offline_runs(cli.run_folder())
    assert run.exit_code == 1
    assert run.summary["status"] == "failed"
    assert "not finite" in run.summary["reason"]
    assert run.table("result")[0]["status"] == "failed"


def test_a_run_that_breaks_off_is_finished_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Method, *arguments: Any, **more: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Method, "log_losses", broken)
    with pytest.raises(ZeroDivisionError):
        cli(*WANDB)
    (run,) = offline_runs(cli.run_folder())
    assert run.exit_code == 1


@pytest.mark.parametrize("broken", ["init", "log", "finish"])
def test_a_failure_of_wandb_is_one_line_and_the_training_goes_on(
    broken: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **more: Any) -> None:
        raise OSError("no space left on device\nand more")

    monkeypatch.setattr(wandb if broken == "init" else wandb.Run, broken, fail)
    ended = cli(*WANDB)
    assert ended.code == 0
    assert result_of(cli.run_folder())["status"] == "completed"
    assert len(rows_of(cli.run_folder())) == 4
    assert ended.err == "wandb: OSError: no space left on device; nothing more goes there\n"
    monkeypatch.undo()


def test_a_key_that_is_none_is_said_and_recorded_offline(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "short")
    ended = cli(*WANDB)
    assert ended.code == 0
    assert ended.err.count("\n") == 1
    assert "WANDB_API_KEY" in ended.err
    assert "recording offline" in ended.err
    assert len(offline_runs(cli.run_folder())) == 1


def test_a_mode_of_the_users(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert cli(*WANDB).code == 0
    assert offline_runs(cli.run_folder()) == []
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    ended = cli(*WANDB, "seed=1")
    assert ended.code == 2
    assert "WANDB_MODE=sometimes" in ended.err


@pytest.mark.parametrize(
    ("word", "fragment"),
    [("project=a:b", "'a:b'"), ("tags=3", "tags=3"), ("tags=[1]", "tags=[1]"), ("entity=[x]", "entity=['x']")],
)
def test_names_that_are_not_allowed(word: str, fragment: str, cli: Cli) -> None:
    ended = cli(*WANDB, f"logger.wandb.{word}")
    assert ended.code == 2
    assert ended.err.startswith("error: logger.wandb: ")
    assert fragment in ended.err
    assert ended.err.count("\n") == 1


def test_the_lowest_value_is_that_of_all_parts_of_a_run(trained: Path, tmp_path: Path) -> None:
    folder, result = tmp_path / RUN, result_of(trained)
    folder.mkdir(parents=True)
    first = MetricsCSV(folder)
    first.log_metrics({"l2re": 1e-3, "loss": 4.0}, step=10)
    first.save()
    log = WandB(folder)
    log.log_metrics({"loss": 5.0, "l2re": float("nan")}, step=20)
    log.conclude({**result, "l2re": 0.5, "loss": 6.0})
    (run,) = offline_runs(folder)
    assert run.summary["l2re"] == {"min": 1e-3, "last": 0.5}
    assert run.summary["loss"] == {"min": 4.0, "last": 6.0}


def test_a_run_without_a_reference_has_no_error(trained: Path, tmp_path: Path) -> None:
    log = WandB(tmp_path / RUN)
    log.log_metrics({"loss": 5.0}, step=20)
    log.conclude({**result_of(trained), "l2re": None, "l2re_at_lowest_loss": None})
    (run,) = offline_runs(tmp_path / RUN)
    assert run.summary["l2re"] == {"min": None, "last": None}
    assert run.exit_code == 0


def test_a_job_has_its_sweep_as_tag_and_column(tmp_path: Path) -> None:
    log = WandB(tmp_path / RUN, sweep="2026-01-02")
    assert log.settings.run_tags == ("poisson1d", "adam", "w10", "smoke", "2026-01-02")
    assert log.columns()["sweep"] == "2026-01-02"
    loggers = {"wandb": {"sweep": "{sweep}", "folder": "{folder}", "tags": ["a"]}, "csv": {"folder": "{folder}"}}
    named = {"sweep": "2026-01-02", "folder": "{folder}", "tags": ["a"]}
    assert of_sweep(loggers, "2026-01-02") == {**loggers, "wandb": named}
    assert of_sweep(None, "2026-01-02") is None


def test_names_of_the_users(tmp_path: Path) -> None:
    log = WandB(tmp_path / RUN, project="mine", group="some", tags=["a"])
    log.log_metrics({"loss": 1.0}, step=5)  # without a configuration, as in a Trainer of the user's own
    log.conclude(None)
    (run,) = offline_runs(tmp_path / RUN)
    assert (run.run.project, run.run.run_group, run.run.tags[-1]) == ("mine", "some", "a")
    assert list(run.column("loss")) == [5]


OF_THE_ENVIRONMENT = {
    "WANDB_RUN_GROUP": "of env",
    "WANDB_NAME": "my name",
    "WANDB_TAGS": "one, two",
    "WANDB_JOB_TYPE": "search",
}


def test_names_of_the_environment_come_before_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in OF_THE_ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    log = WandB(tmp_path / RUN)
    log.log_metrics({"loss": 1.0}, step=5)
    log.conclude(None)
    (run,) = offline_runs(tmp_path / RUN)
    assert (run.run.run_group, run.run.display_name, run.run.job_type) == ("of env", "my name", "search")
    assert list(run.run.tags) == ["one", "two"]


def test_names_of_the_environment_come_after_the_users(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in OF_THE_ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    words = ["logger.wandb.group=mine", "logger.wandb.tags=[a]", "method.steps=1"]
    assert cli(*WANDB, *words).code == 0
    (run,) = offline_runs(cli.run_folder())
    assert run.run.run_group == "mine"
    assert list(run.run.tags) == ["one", "two", "a"]


def test_an_empty_variable_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in set(OF_THE_ENVIRONMENT) - {"WANDB_TAGS"}:  # that W&B itself refuses
        monkeypatch.setenv(key, "")
    settings = WandB(tmp_path / RUN).settings
    assert settings.run_group == "poisson1d/adam/db039abbabee"
    assert (settings.run_name, settings.run_job_type) == ("poisson1d adam w10 smoke seed0", "adam")
    assert settings.run_tags == ("poisson1d", "adam", "w10", "smoke")


@pytest.mark.slow
def test_the_settings_hash_knows_no_logger(cli: Cli) -> None:
    for logger in ("csv", "none", "wandb", "[csv,wandb]", "[wandb,tensorboard]"):
        assert cli(*FAST, f"logger={logger}", "method.steps=2", "overwrite=true").code == 0
    assert len(cli.run_folders()) == 1
