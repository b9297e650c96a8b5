"""MLflow: its database read back with its own client."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import FAST, Cli, result_of, rows_of
from training import interrupting

from pinntk.launch.cli import main
from pinntk.methods import Method
from pinntk.report.reading import find_runs

pytest.importorskip("mlflow", exc_type=ImportError)
from mlflow.tracking import MlflowClient

from pinntk.loggers.mlflow_logger import MLflow, quiet

WORDS = [*FAST, "logger=mlflow", "evaluate_every=10"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose runs have a database: making it takes seconds, so all tests share it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def there(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(home)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of a pool of connections to the database
        yield


def client(home: Path) -> MlflowClient:
    with quiet():
        return MlflowClient(tracking_uri=f"sqlite:///{home / 'runs' / 'mlflow.db'}")


def run_of(home: Path, folder: Path) -> Any:
    return client(home).get_run((folder / "mlflow_id.txt").read_text().strip())


def folder_of(home: Path, seed: int) -> Path:
    (path,) = home.glob(f"runs/poisson1d/adam/w10/smoke/*/seed{seed}")
    return path


def curve(home: Path, folder: Path, name: str) -> tuple[list[int], list[float]]:
    """Iterations and values."""
    run_id = (folder / "mlflow_id.txt").read_text().strip()
    points = client(home).get_metric_history(run_id, name)
    return [point.step for point in points], [point.value for point in points]


def assert_same_as_csv(home: Path, folder: Path) -> None:
    rows = rows_of(folder)
    for name in rows[0].keys() - {"iteration"}:
        logged = [row for row in rows if row[name]]
        expected = [int(row["iteration"]) for row in logged], [float(row[name]) for row in logged]
        assert curve(home, folder, name) == expected, name


def test_curves_settings_pictures_tables_and_result(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main([*WORDS, "seed=1"]) == 0
    assert capsys.readouterr().err == ""
    folder = folder_of(home, 1)
    assert_same_as_csv(home, folder)
    run, result = run_of(home, folder), result_of(folder)
    assert run.info.run_name == "poisson1d adam w10 smoke seed1"
    assert run.info.status == "FINISHED"
    settings = {
        "problem": "poisson1d",
        "method.steps": "40",
        "network.width": "10",
        "settings_hash": folder.parent.name,
    }
    assert settings.items() <= run.data.params.items()
    lowest = min(float(row["l2re"]) for row in rows_of(folder))
    assert run.data.metrics["l2re_min"] == lowest
    assert run.data.tags["status"] == "completed"
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert artifacts.is_relative_to(home / "runs" / ".mlflow")
    assert [found.folder for found in find_runs(home / "runs")[0]] == [folder]  # and no copy
    assert json.loads((artifacts / "result.json").read_text()) == result
    assert (artifacts / "pictures" / "solution.png").read_bytes() == (folder / "solution.png").read_bytes()
    along = sorted(path.parent.name for path in artifacts.glob("pictures/prediction/*/prediction.png"))
    assert along == ["00000010", "00000020", "00000030", "00000040"]
    table = json.loads((artifacts / "tables" / "loss_by_term.json").read_text())
    assert table["columns"] == ["term", "loss"]
    assert dict(table["data"]) == result["terms"]


def test_a_resumed_run_goes_on_in_the_same_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Method, "log_losses", interrupting(Method.log_losses, 20))
        assert main([*WORDS, "seed=2"]) == 130
    folder = folder_of(home, 2)
    first = run_of(home, folder)
    assert first.info.status == "KILLED"
    assert main([*WORDS, "seed=2"]) == 0
    second = run_of(home, folder)
    assert second.info.run_id == first.info.run_id
    assert second.info.status == "FINISHED"
    assert curve(home, folder, "loss")[0] == [10, 20, 30, 40]
    assert_same_as_csv(home, folder)


def test_a_failure_is_one_line_and_the_training_goes_on(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: Any, **more: Any) -> None:
        raise ConnectionError("no route to host\nand more")

    monkeypatch.setattr(MlflowClient, "log_batch", fail)
    capsys.readouterr()
    assert main([*WORDS, "seed=3"]) == 0
    assert capsys.readouterr().err == "mlflow: ConnectionError: no route to host; nothing more goes there\n"
    assert len(rows_of(folder_of(home, 3))) == 4
    assert result_of(folder_of(home, 3))["status"] == "completed"


def test_an_id_of_another_server_is_no_obstacle(home: Path) -> None:
    folder = home / "runs/poisson1d/adam/w10/smoke/abc/seed0"
    folder.mkdir(parents=True)
    (folder / "mlflow_id.txt").write_text("unknown\n")
    log = MLflow(folder, sweep="2026-01-02")
    log.log_metrics({"loss": 1.0}, step=5)
    log.conclude(None)
    assert not log.failed
    run = run_of(home, folder)
    assert run.info.run_id != "unknown"
    assert (run.info.status, run.data.tags["sweep"]) == ("FAILED", "2026-01-02")
    assert curve(home, folder, "loss") == ([5], [1.0])


def test_without_the_package_one_line_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pinntk.loggers.mlflow_logger", raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "mlflow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    ended = cli(*WORDS)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "pip install 'pinntk[mlflow]'" in ended.err
    assert cli.run_folders() == []
