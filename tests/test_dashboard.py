"""The W&B workspace for what runs have to show: against what W&B records of a run, and what is sent."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from conftest import FAST, Cli
from offline_wandb import OfflineRun, offline_runs, without_account

from pinntk.launch.cli import main as train
from pinntk.report.dashboard import Seen, main, together, workspace
from pinntk.report.reading import find_runs

pytest.importorskip("wandb_workspaces")


@pytest.fixture(autouse=True)
def no_account(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    without_account(tmp_path_factory.mktemp("home"), monkeypatch)
    yield
    wandb.teardown()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of which everything is measured, recorded by W&B."""
    place = tmp_path_factory.mktemp("measured")
    callbacks = "callbacks=[ntk_drift,ntk_forecast,hessian_norm,conditioning]"
    small = [f"callbacks.{name}.interior=10" for name in ("ntk_drift", "ntk_forecast", "hessian_norm")]
    small += ["callbacks.conditioning.drop_tolerances=[0.001]", "discretization.cells=20"]
    small += ["callbacks.ntk_forecast.steps=5", "callbacks.hessian_norm.dense_limit=0"]
    with pytest.MonkeyPatch.context() as patch:
        without_account(tmp_path_factory.mktemp("home"), patch)
        patch.chdir(place)
        assert train([*FAST, "logger=wandb", callbacks, *small]) == 0
        wandb.teardown()
    return place / "runs"


@pytest.fixture(scope="module")
def recorded(runs: Path) -> OfflineRun:
    ((run,),) = (offline_runs(folder.parent) for folder in runs.glob("**/wandb"))
    return run


def sections(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Of a definition: title -> panels."""
    found = json.loads(path.read_text())["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in found}


def values(content: Any, key: str) -> Iterator[Any]:
    """All values under a key, however deep."""
    if isinstance(content, dict):
        for name, value in content.items():
            if name == key:
                yield value
            yield from values(value, key)
    elif isinstance(content, list):
        for value in content:
            yield from values(value, key)


@pytest.fixture(scope="module")
def written(runs: Path) -> Path:
    path = runs.parent / "dashboard.json"
    with pytest.MonkeyPatch.context() as patch:
        without_account(runs.parent / "nobody", patch)
        assert main([str(runs), "--out", str(path)]) == 0
    return path


def test_all_that_a_run_logs_has_a_panel_and_every_panel_something_to_show(written: Path, recorded: OfflineRun) -> None:
    logged = {key for row in recorded.history for key in row if not key.startswith("_")} - {"iteration"}
    media = {key for row in recorded.history for key, value in row.items() if isinstance(value, dict)}
    tables = {key for key in media if recorded_type(recorded, key) == "table-file"}
    pictures = {key for key in media if recorded_type(recorded, key) == "image-file"}
    histograms = {key for key in media if recorded_type(recorded, key) == "histogram"}
    assert tables == {"result", "loss_by_term", "condition_numbers"}
    assert len(histograms) == 4
    found = sections(written)
    compared = found.pop("Comparison")
    curves = [name for metrics in values(found, "metrics") for name in metrics]
    shown = [name for keys in values(found, "mediaKeys") for name in keys]
    assert len(curves) == len(set(curves))
    assert set(curves) == logged - tables - pictures
    assert sorted(shown) == sorted(pictures)
    assert {value for value in values(found["Tables"], "val") if isinstance(value, str)} == tables
    for axis in values(found, "xAxis"):
        assert axis == "iteration"
    summary = {f"summary:{name}" for name in ("seconds", "l2re.last", "loss.last")}
    configuration = {f"config:run.value.{name}" for name in ("problem", "method", "width", "seed")}
    assert {value for column in values(compared, "columns") for value in values(column, "accessor")} == (
        summary | configuration
    )


def recorded_type(run: OfflineRun, name: str) -> str:
    return next(str(value["_type"]) for value in run.column(name).values())


def test_its_columns_and_groups_are_there(written: Path, recorded: OfflineRun) -> None:
    (runset,) = json.loads(written.read_text())["spec"]["section"]["runSets"]
    sources = {"config": {"run": {"value": recorded.config["run"]}}, "summary": recorded.summary}
    for column in runset["runFeed"]["columnOrder"][1:]:
        section, _, key = column.partition(":")
        level = sources[section]
        for name in key.split("."):
            assert name in level, column
            level = level[name]
    assert runset["grouping"] == [
        {"section": "config", "name": "run.value.problem"},
        {"section": "run", "name": "group"},
    ]
    assert runset["sort"]["keys"] == [{"key": {"section": "summary", "name": "l2re.last"}, "ascending": True}]


def test_blocks_of_a_kernel_share_a_panel(written: Path) -> None:
    panels = {panel["config"]["chartTitle"]: panel["config"] for panel in sections(written)["Kernel"]}
    assert panels["ntk_drift"]["metrics"] == [f"ntk_drift_{block}" for block in ("K", "K_uu", "K_rr")]
    assert "yLogScale" not in panels["ntk_drift"]
    assert panels["ntk_largest"]["yLogScale"] is True
    assert together(["hessian_norm_L_r", "loss", "hessian_norm_L"]) == [
        ("hessian_norm", ["hessian_norm_L_r", "hessian_norm_L"]),
        ("loss", ["loss"]),
    ]


def test_a_sweep_alone(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "one.json"
    assert main([str(runs), "--out", str(out), "--sweep", "2026-01-02", "--entity", "us", "--project", "p"]) == 0
    content = json.loads(out.read_text())
    assert (content["entity"], content["project"]) == ("us", "p")
    (runset,) = content["spec"]["section"]["runSets"]
    (only,) = runset["filters"]["filters"]
    assert (only["key"], only["op"], only["value"]) == ({"section": "run", "name": "tags"}, "IN", ["2026-01-02"])


def test_fields_and_unknowns_have_theirs(tmp_path: Path) -> None:
    folder = tmp_path / "pde" / "adam" / "w10" / "smoke" / "abc" / "seed0"
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("iteration,loss,mine,l2re_u,l2re_v,l2re,estimate_nu\n1,2,3,4,5,6,7\n")
    named = {"pde": "pde", "method": "adam", "width": 10, "depth": 3, "budget": "smoke", "seed": 0}
    result = {
        **named,
        "status": "completed",
        "settings_hash": "abc",
        "pde_parameters": {},
        "terms": {"mine": 1.0},
        "l2re_by_field": {"u": 4.0, "v": 5.0},
        "estimates": {"nu": {"value": 7.0, "standard_error": None}},
    }
    (folder / "result.json").write_text(json.dumps(result))
    out = tmp_path / "dashboard.json"
    assert main([str(tmp_path), "--out", str(out)]) == 0
    found = sections(out)
    curves = {panel["config"].get("chartTitle"): panel["config"].get("metrics") for panel in found["Error and loss"]}
    expected = {"l2re": ["l2re"], "loss": ["loss"], "loss by term": ["mine"], "L2RE by field": ["l2re_u", "l2re_v"]}
    assert curves == expected
    assert [panel["config"]["metrics"] for panel in found["Unknown coefficients"]] == [["estimate_nu"]]
    assert {"error_by_field", "unknowns"} <= {v for v in values(found["Tables"], "val") if isinstance(v, str)}
    assert not {"Kernel", "Hessian", "Training", "Solution"} & set(found)


def test_it_is_sent_as_it_is_written(
    runs: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from wandb_workspaces.workspaces import internal

    class Api:
        default_entity = "us"

    sent: list[Any] = []

    def send(view: Any) -> dict[str, Any]:
        sent.append(view)
        return {"upsertView": {"view": {"id": "1", "name": view.name}}}

    monkeypatch.setattr(wandb, "login", lambda **options: True)
    monkeypatch.setattr(wandb, "Api", Api)
    monkeypatch.setattr(internal, "upsert_view2", send)
    monkeypatch.setattr("wandb_workspaces.workspaces.interface.get_app_url", lambda api: "https://w.example")
    assert main([str(runs), "--save", "--name", "mine"]) == 0
    (view,) = sent
    assert (view.entity, view.project, view.display_name) == ("us", "pinntk", "mine")
    stored = json.loads((cli.folder / "dashboard.json").read_text())
    assert json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True)) == stored["spec"]
    assert capsys.readouterr().out.splitlines()[-1].startswith("saved: https://w.example/us/pinntk?nw=")


def test_bad_input_is_a_line(
    runs: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: str) -> str:
        capsys.readouterr()
        assert main(list(words)) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    assert "--save: there is no key; allowed: WANDB_API_KEY" in refused(str(runs), "--save")
    assert (cli.folder / "dashboard.json").exists()  # written first
    assert "--name=a+b: " in refused(str(runs), "--name", "a+b")
    assert "nowhere: is not a folder" in refused("nowhere")
    assert "allowed: " in refused(str(runs), "--nothing")

    def fail(view: Any) -> Any:
        raise ConnectionError("no route\nand more")

    monkeypatch.setattr(wandb, "login", lambda **options: True)
    monkeypatch.setattr("wandb_workspaces.workspaces.internal.upsert_view2", fail)
    assert refused(str(runs), "--save", "--entity", "us") == "error: --save: ConnectionError: no route\n"


def test_without_the_library_a_line_names_the_extra(
    runs: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "wandb_workspaces"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert main([str(runs)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "pip install 'pinntk[dashboard]'" in err
    assert not (cli.folder / "dashboard.json").exists()


def test_what_it_writes_w_and_b_can_read_again(runs: Path) -> None:
    from wandb_workspaces.workspaces import Workspace

    made = workspace(Seen.of(find_runs(runs)[0]), entity="us", project="p", name="n")
    again = Workspace._from_model(made._to_model())
    assert [section.name for section in again.sections] == [section.name for section in made.sections]
    assert [len(section.panels) for section in again.sections] == [len(section.panels) for section in made.sections]
    assert not any(type(panel).__name__ == "UnknownPanel" for section in again.sections for panel in section.panels)
