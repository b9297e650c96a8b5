"""Whole runs: what they leave behind, and ends that are not happy."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from conftest import FAST, Cli, arrays_of, assert_same_network, in_child, result_of, rows_of

import pinntk
from pinntk.discrete.discretization import UnsolvedError
from pinntk.discrete.preconditioner import PreconditionerError
from pinntk.launch.cli import compose
from pinntk.methods.adam import AdamMethod
from pinntk.pdes.references import Reference
from pinntk.runs.folder import RunFolder
from pinntk.runs.run import decide_way
from pinntk.runs.settings import RunSettings
from pinntk.runs.stopping import StopOnSignal
from pinntk.runs.trained import load
from pinntk.runs.trainer import fit


def test_a_run_leaves_what_it_should(cli: Cli) -> None:
    ended = cli(*FAST, "seed=3", "evaluate_every=10")
    assert ended.code == 0
    folder = cli.run_folder()
    settings = RunSettings.read(compose([*FAST, "seed=3"]))
    assert folder == cli.folder / f"runs/poisson1d/adam/w10/smoke/{settings.settings_hash()}/seed3"
    assert sorted(os.listdir(cli.folder)) == ["runs"]
    names = [".lock", "checkpoints", "config.yaml", "metrics.csv", "progress.json"]
    names += ["result.json", "solution.npz", "solution.png"]
    assert sorted(os.listdir(folder)) == names
    assert os.listdir(folder / "checkpoints") == ["last.ckpt"]

    result = result_of(folder)
    expected = {
        "status": "completed",
        "reason": None,
        "pde": "poisson1d",
        "pde_parameters": {"a": 4},
        "method": "adam",
        "width": 10,
        "depth": 3,
        "budget": "smoke",
        "seed": 3,
        "settings_hash": settings.settings_hash(),
        "normalization": "mean",
        "steps": 40,
        "function_evaluations": 40,
        "parameters": (1 * 10 + 10) + 2 * (10 * 10 + 10) + (10 + 1),
        "device": "cpu",
        "precision": "64-true",
        "threads": 1,
        "method_figures": {"phases": [{"phase": "adam", "iterations": 40, "ended": "all steps done"}]},
    }
    assert {key: result[key] for key in expected} == expected
    assert set(result["terms"]) == {"residual", "boundary"}
    assert result["loss"] == pytest.approx(sum(result["terms"].values()), rel=1e-12)
    assert set(result["versions"]) == {"python", "torch", "pytorch_lightning", "numpy", "scipy", "pinntk"}
    assert 0 < result["seconds"] == pytest.approx(sum(result["seconds_per_phase"].values()))
    assert result["wall_seconds"] > result["seconds"]
    assert "git" in result
    listed = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    assert result["processor"] in listed if "model name" in listed else result["processor"]

    # The errors that are reported are those of what is saved.
    saved = arrays_of(folder / "solution.npz")
    x = saved["coordinates"]
    np.testing.assert_allclose(saved["reference"], np.sin(4 * np.pi * x[:, 0]), atol=1e-13)
    error = np.linalg.norm(saved["prediction"] - saved["reference"]) / np.linalg.norm(saved["reference"])
    assert result["l2re"] == pytest.approx(error, rel=1e-12)
    measured = {float(row["l2re"]): float(row["loss"]) for row in rows_of(folder)}
    assert result["l2re_at_lowest_loss"] == pytest.approx(min(measured, key=lambda e: measured[e]), rel=1e-12)

    # The last lines say what matters.
    last = ended.out.splitlines()[-3:]
    assert [line.split()[0] for line in last] == ["L2RE", "time", "files"]  # nothing is published of poisson1d
    assert f"{result['l2re']:.3e}" in last[0]
    assert str(folder.relative_to(cli.folder)) in last[2]


def test_published_figures_are_shown(cli: Cli) -> None:
    ended = cli(*FAST, "pde=wave", "method.steps=1")
    lines = [line for line in ended.out.splitlines() if "e-0" in line and "L2RE" not in line]
    assert lines == [
        "published   PINN-NTK 9.79e-02, PCPINN 1.28e-02",
        "            for a=5, C=4: Adam 3.49e-01, Adam+L-BFGS 5.52e-02, GDND 1.27e-02",
    ]


def test_the_terminal_is_left_to_the_user(tmp_path: Path) -> None:
    ended = in_child(tmp_path, FAST)
    assert ended.code == 0
    for word in ("GPU", "Lightning", "litlogger", "Tip", "warn", "Seed", "HYDRA", "fit`"):
        assert word not in ended.out + ended.err
    assert ended.err == ""


def test_the_same_command_again_runs_nothing(cli: Cli) -> None:
    cli(*FAST)
    folder = cli.run_folder()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".lock"}
    again = cli(*FAST)
    assert again.code == 0
    assert "finished before" in again.out
    assert "overwrite=true" in again.out
    assert f"{result_of(folder)['l2re']:.3e}" in again.out
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".lock"}


def test_overwriting_gives_the_same_again(cli: Cli) -> None:
    cli(*FAST)
    folder = cli.run_folder()
    first, written = load(folder), (folder / "result.json").stat().st_mtime_ns
    ended = cli(*FAST, "overwrite=true")
    assert ended.code == 0
    assert cli.run_folder() == folder
    assert os.listdir(folder.parent) == ["seed0"]
    assert (folder / "result.json").stat().st_mtime_ns > written
    assert_same_network(first.method, load(folder).method)


def test_other_settings_and_seeds_get_other_folders(cli: Cli) -> None:
    for words in ([], ["seed=1"], ["network.depth=2"], ["pde.a=2"], ["precision=32-true"]):
        assert cli(*FAST, "method.steps=1", *words).code == 0
    folders = cli.run_folders()
    assert len(folders) == 5
    assert len({folder.parent for folder in folders}) == 4


@pytest.mark.parametrize(
    "words",
    [
        ["seed=5"],
        ["evaluate_every=7"],
        ["method.log_every=3"],
        ["checkpoint.every_seconds=1"],
        ["logger=none"],
        ["runs_dir=elsewhere"],
        ["budget.name=other"],
        ["method.adam.learning_rate=0.0010"],
        ["pde=burgers", "pde.nu=2", "pde.nu=2.0"],
    ],
)
def test_what_does_not_affect_the_result_is_not_in_the_hash(words: list[str]) -> None:
    one, other = (RunSettings.read(compose([*FAST, *w])).settings_hash() for w in (words[:-1], words))
    assert one == other
    assert len(one) == 12


@pytest.mark.parametrize(
    "word",
    ["pde.a=3", "width=11", "network.normalize=false", "points.interior=49", "points.sampling=sobol", "method.steps=41"]
    + ["precision=32-true", "threads=2", "compile=true", "method.adam.betas=[0.9,0.99]", "method.normalization=sum"]
    + ["network.features=[{kind:decay,input:x,times:[1]}]", "pde=burgers", "++method.weights.boundary=2"],
)
def test_what_affects_the_result_is_in_the_hash(word: str) -> None:
    one, other = (RunSettings.read(compose([*FAST, *w])).settings_hash() for w in ([], [word]))
    assert one != other


def test_compiling_is_decided_on_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/c++" if name == "c++" else None)
    assert decide_way("auto", 2000) == ("fused_compiled", None)
    assert decide_way("auto", 1999) == decide_way("auto", 100) == ("fused", None)
    way, reason = decide_way("auto", 99)
    assert way == "plain"
    assert "this run has 99" in str(reason)
    assert decide_way(True, 1) == ("fused_compiled", None)
    assert decide_way(False, 10**6) == ("plain", None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    way, reason = decide_way("auto", 10**6)
    assert way == "plain"
    assert "no C++ compiler" in str(reason)
    assert "\n" not in str(reason)
    monkeypatch.setenv("CXX", "mycc")
    assert "mycc" in str(decide_way("auto", 10**6)[1])


def test_seed_zero_is_a_seed(cli: Cli) -> None:
    cli(*FAST, "-m", "seed=0,1", "method.steps=0")
    zero, one = (load(folder).method for folder in cli.run_folders())
    assert isinstance(zero, pl.LightningModule)
    name = "network.layers.0.weight"
    assert not torch.equal(zero.state_dict()[name], one.state_dict()[name])


# --- ends that are not happy ----------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_fails_the_run(cli: Cli) -> None:
    words = [*FAST, "method.adam.learning_rate=1e300"]
    ended = cli(*words)
    assert ended.code == 1
    assert "Traceback" not in ended.err
    result = result_of(cli.run_folder())
    assert result["status"] == "failed"
    assert "iteration 1" in result["reason"]
    assert "loss" in result["reason"]
    again = cli(*words)
    assert again.code == 1
    assert result["reason"] in again.out
    assert "overwrite=true" in again.out


def test_a_preconditioner_that_cannot_be_made_fails_the_run(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def singular(self: AdamMethod, end: int) -> None:
        raise PreconditionerError("level 3 is singular")

    monkeypatch.setattr(AdamMethod, "advance", singular)
    ended = cli(*FAST)
    assert ended.code == 1
    result = result_of(cli.run_folder())
    assert (result["status"], result["reason"]) == ("failed", "level 3 is singular")


def test_a_figure_that_cannot_be_had_does_not_lose_the_run(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsolved(self: AdamMethod, reference: Reference) -> dict[str, Any]:
        raise UnsolvedError("not solved")

    monkeypatch.setattr(AdamMethod, "figures", unsolved)
    assert cli(*FAST).code == 0
    result = result_of(cli.run_folder())
    assert (result["status"], result["method_figures"]) == ("completed", {"error": "not solved"})


def test_a_bug_shows_its_traceback_and_writes_no_result(tmp_path: Path) -> None:
    def broken(self: AdamMethod, end: int) -> None:
        raise ZeroDivisionError("a bug")

    ended = in_child(tmp_path, FAST, lambda: setattr(AdamMethod, "advance", broken))
    assert ended.code == 1
    assert "Traceback" in ended.err
    assert "ZeroDivisionError: a bug" in ended.err
    assert list(tmp_path.glob("runs/**/result.json")) == []


def test_a_corrupted_checkpoint_is_named_and_kept(cli: Cli) -> None:
    cli(*FAST)
    folder = cli.run_folder()
    (folder / "result.json").unlink()
    checkpoint = folder / "checkpoints" / "last.ckpt"
    whole = checkpoint.read_bytes()
    turned = bytearray(whole)
    weights = max(pinntk.load(folder).method.state_dict().values(), key=torch.numel)
    turned[whole.index(weights.numpy().tobytes())] ^= 64  # reads as another number, unless check sums are looked at
    for broken in (whole[: len(whole) // 2], b"", b"not a checkpoint", bytes(turned)):
        checkpoint.write_bytes(broken)
        ended = cli(*FAST)
        assert ended.code == 2
        (line,) = ended.err.splitlines()
        assert "checkpoints/last.ckpt cannot be read" in line
        assert "overwrite=true" in line
        assert checkpoint.read_bytes() == broken
        assert not (folder / "result.json").exists()
        with pytest.raises(ValueError, match=r"last\.ckpt cannot be read"):
            pinntk.load(folder)
        assert cli(*FAST, "method.steps=41", f"init_from={folder}").code == 2
    torch.save({"something": "else"}, checkpoint)
    assert "is not one of pinntk" in cli(*FAST).err
    assert cli(*FAST, "overwrite=true").code == 0
    assert result_of(folder)["status"] == "completed"


def test_two_processes_at_one_run(cli: Cli) -> None:
    folder = RunFolder(cli.folder / RunSettings.read(compose(FAST)).folder())
    with folder.locked():
        ended = cli(*FAST)
    assert ended.code == 1
    assert "another process" in ended.out
    assert cli(*FAST).code == 0


def test_what_is_measured_after_the_training_is_where_it_trained() -> None:
    """Lightning moves a module to the CPU when it has trained on a GPU, away from its points."""
    places: list[str] = []
    trainer = SimpleNamespace(
        fit=lambda *arguments, **more: places.append("cpu"), strategy=SimpleNamespace(root_device="cuda:0")
    )
    method = SimpleNamespace(loader=list, to=places.append)
    fit(cast(Any, trainer), cast(Any, method), StopOnSignal(), None)
    assert places == ["cpu", "cuda:0"]
