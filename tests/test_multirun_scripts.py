"""The scripts that make tables and figures out of run folders."""

from __future__ import annotations

import csv
import importlib
import itertools
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import FAST, spoken
from handmade import make_run
from training import fit, make

from pinntk.callbacks import Conditioning
from pinntk.launch.cli import main

SCRIPTS = Path(__file__).parents[1] / "multirun_scripts"


def ran(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / script), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_table_of_condition_numbers(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    fit(make(steps=0), [Conditioning(str(folder), [0.5, 1e-3], {"cells": 20})])
    record = json.loads((folder / "conditioning.json").read_text())
    ended = ran("conditioning_table.py", tmp_path)
    assert ended.returncode == 0, ended.stderr
    rows = [line.split("|")[1:-1] for line in ended.stdout.splitlines()]
    assert len(rows) == 2 + 3
    assert {len(row) for row in rows} == {7}
    assert float(rows[2][3]) == float(f"{record['plain']['condition']:.3g}")
    for row, one in zip(rows[3:], record["preconditioned"], strict=True):
        assert float(row[2]) == one["drop_tolerance"]
        assert ("not used" in row[3]) == (one["reason"] is not None)
    assert float(rows[4][4]) == float(f"{record['preconditioned'][1]['kappa']:.3g}")
    assert ran("conditioning_table.py", tmp_path / "nothing").returncode == 1


def test_figure_1a(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    drift = {(w, s): rng.random((3, 3)) for w in (10, 20) for s in (0, 1, 2)}
    for (width, seed), values in drift.items():
        wave: dict[str, Any] = {"pde": "wave", "pde_parameters": {"a": 4, "C": 4.0}}
        folder = make_run(tmp_path, width=width, seed=seed, settings_hash=f"{width}", **wave)
        largest, rank = values + 1, values + 2
        path = folder / "ntk_drift.npz"
        np.savez(path, iteration=[0, 5, 9], drift=values, largest=largest, effective_rank=rank)
    ended = ran("fig1a.py", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "fig1a.png").stat().st_size > 10_000
    with (tmp_path / "fig1a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["width"], row["iteration"]) for row in rows] == [(w, n) for w in ("10", "20") for n in ("0", "5", "9")]
    trials = np.array([drift[20, seed][2, 0] for seed in (0, 1, 2)])
    assert float(rows[-1]["drift_mean"]) == float(f"{trials.mean():.5g}")
    assert float(rows[-1]["drift_std"]) == float(f"{trials.std():.5g}")
    assert [rows[-1][name] for name in ("pde", "trials", "method", "settings_hash")] == ["wave", "3", "adam", "20"]
    last = np.mean([drift[20, seed][2] for seed in (0, 1, 2)], axis=0)
    expected = [last[1], last[2], *(last + 1), last[0] + 2]
    names = ["drift_uu", "drift_rr", "norm", "norm_uu", "norm_rr", "effective_rank"]
    assert [float(rows[-1][f"{name}_mean"]) for name in names] == [float(f"{x:.5g}") for x in expected]
    assert ran("fig1a.py", tmp_path / "nothing").returncode == 1


def test_figure_1a_beside_the_paper_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last iteration of ours, with its spread; the paper's and other settings by width."""
    (tmp_path / "fig1a.csv").write_text(
        "pde,width,iteration,drift_mean,drift_std\nwave,100,0,0,0\nwave,100,9,0.5,0.1\nwave,20,9,0.25,0.2\n"
    )
    (tmp_path / "published.csv").write_text("pde,width,drift\nwave,100,0.7\nreaction,100,0.8\n")
    (tmp_path / "search.csv").write_text("setting,pde,width,iteration,drift\nsum loss,wave,100,9,0.3\n")
    monkeypatch.syspath_prepend(SCRIPTS)
    found = importlib.import_module("fig1a_beside").read(tmp_path)
    assert found == {
        "reaction": {"paper": [(100, 0.8, 0.0)]},
        "wave": {
            "ours": [(20, 0.25, 0.2), (100, 0.5, 0.1)],
            "paper": [(100, 0.7, 0.0)],
            "sum loss": [(100, 0.3, 0.0)],
        },
    }
    assert ran("fig1a_beside.py", tmp_path).returncode == 0
    assert (tmp_path / "beside.png").stat().st_size > 10_000
    ended = ran("fig1a_beside.py", tmp_path / "nothing")
    assert ended.returncode == 1
    assert "fig1a.csv: No such file" in ended.stderr


def test_figure_1b(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    norms = {(w, s): rng.random() + 1 for w in (10, 20, 3000) for s in (0, 1, 2)}
    for (width, seed), value in norms.items():
        wave: dict[str, Any] = {"pde": "wave", "pde_parameters": {"a": 4, "C": 4.0}}
        folder = make_run(tmp_path, width=width, seed=seed, settings_hash=f"{width}", **wave)
        # The second row belongs to a later iteration, the second column to another loss.
        names = ("hessian", "gauss_newton", "remainder", "ratio")
        arrays = {name: np.array([[k + value, 9], [9, 9]]) for k, name in enumerate(names)}
        if width < 3000:
            arrays["tolerances"] = np.array([1e-3, 1e-2, 1e-1])
            arrays["entries_hessian"] = np.array([[0.9, 0.1 * value, 0], [9, 9, 9]])
            arrays["entries_remainder"] = np.array([[0.9, 0.01 * value, 0], [9, 9, 9]])
        np.savez(folder / "hessian_norm.npz", allow_pickle=False, **arrays)
    ended = ran("fig1b.py", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert (tmp_path / "fig1b.png").stat().st_size > 10_000
    with (tmp_path / "fig1b.csv").open() as file:
        rows = {(row["width"], row["figure"]): row for row in csv.DictReader(file)}
    assert len(rows) == 6 + 6 + 4
    trials = np.array([norms[20, seed] for seed in (0, 1, 2)])
    for name, values in (("hessian", trials), ("ratio", 3 + trials), ("entries_remainder", 0.01 * trials)):
        row = rows["20", name]
        assert (row["pde"], row["trials"]) == ("wave", "3")
        assert float(row["mean"]) == float(f"{values.mean():.5g}")
        assert float(row["std"]) == float(f"{values.std():.5g}")
    assert ran("fig1b.py", tmp_path / "nothing").returncode == 1


def test_theorem_2(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kernels = {}
    for width in (10, 20):
        for seed in range(3):
            rows = rng.standard_normal((4, 6))
            kernels[width, seed] = rows @ rows.T
            folder = make_run(tmp_path, pde="wave", width=width, seed=seed)
            drift = np.full((2, 3), width + seed)
            np.savez(folder / "ntk_drift.npz", iteration=[0, 5], drift=drift, kernel_start=kernels[width, seed])
    ended = ran("theorem2.py", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "theorem2.png").stat().st_size > 10_000
    with (tmp_path / "theorem2.csv").open() as file:
        rows_found = list(csv.DictReader(file))
    assert [(row["width"], row["trials"], row["drift_mean"]) for row in rows_found] == [
        ("10", "3", "11"),
        ("20", "3", "21"),
    ]
    mean = sum(kernels[10, seed] for seed in range(3)) / 3
    distances = [max(abs(np.linalg.eigvalsh(kernels[10, seed] - mean))) for seed in range(3)]
    expected = np.sqrt(sum(d * d for d in distances) / 2) / max(np.linalg.eigvalsh(mean))
    assert float(rows_found[0]["spread"]) == float(f"{expected:.5g}")
    assert ran("theorem2.py", tmp_path / "nothing").returncode == 1


def test_the_table_of_forecasts(tmp_path: Path) -> None:
    made = [("wave", 20, 0, 7.5), ("wave", 10, 0, 1.25), ("wave", 10, 100, 50.0)]
    for k, (pde, width, iteration, horizon) in enumerate(made):
        folder = make_run(tmp_path, pde=pde, width=width, settings_hash=f"{k}")
        times = np.linspace(0, 50, 11)
        np.savez(folder / "ntk_forecast.npz", iteration=iteration, horizon=horizon, time=times, horizon_loss=0.125)
    for k, status in enumerate(("failed", None)):  # neither a failed run nor one at work counts
        folder = make_run(tmp_path, ended=status is not None, status=status, settings_hash=f"other{k}")
        np.savez(folder / "ntk_forecast.npz", iteration=0, horizon=9.0, time=np.zeros(2), horizon_loss=0.125)
    ended = ran("forecast_table.py", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[2:] == [
        "| wave | 10 | none | 0 | 1.25 | 0.12 | 0 |",
        "| wave | 10 | adam | 100 | > 50 | 0.12 | 0 |",
        "| wave | 20 | none | 0 | 7.5 | 0.12 | 0 |",
    ]
    assert ran("forecast_table.py", tmp_path / "nothing").returncode == 1


def test_adam_against_pinn_ntk(tmp_path: Path) -> None:
    settings: dict[str, dict[str, Any]] = {
        "adam": {"weights": {"initial": 10.0, "boundary": 1.0}},
        "pinn_ntk": {"weights": {}, "balance": "terms"},
    }
    for k, (method, of_method) in enumerate(settings.items()):
        rows = "iteration,l2re,lambda_residual\n100,,3.0\n200,0.25,4.0\n" if k else "iteration,l2re\n200,0.25\n"
        record: dict[str, Any] = {"pde": "wave", "method": method, "seed": 3, "l2re": 0.25 / (k + 1), "steps": 200}
        make_run(tmp_path, {"method": of_method}, rows, **record, seconds=7.4)
    ended = ran("pinn_ntk.py", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[2:] == [
        "| wave | adam, initial × 10 | 3 | 0.25 | 200 | 7 |",
        "| wave | pinn_ntk, terms | 3 | 0.125 | 200 | 7 |",
    ]
    assert (tmp_path / "pinn_ntk.png").stat().st_size > 10_000
    assert ran("pinn_ntk.py", tmp_path / "nothing").returncode == 1


def test_the_tables_of_beyond(tmp_path: Path) -> None:
    of_wave: dict[str, Any] = {"pde": "wave", "pde_parameters": {"a": 5, "C": 4.0}, "seconds": 10.0}
    for seed, error in enumerate((4e-6, 1.04e-5, 2e-6)):
        figures = {"discrete_l2re": 6.4e-7}
        make_run(tmp_path, **of_wave, method="gdnd", seed=seed, l2re=error, method_figures=figures)
    better = {**of_wave, "method": "gdnd", "settings_hash": "bbbb", "l2re": 3e-6, "seconds": 12.4, "threads": 2}
    make_run(tmp_path, **better)
    make_run(tmp_path / "copied", **better)
    for seed in range(3):  # of another row of the table: a = 4
        make_run(tmp_path, pde="wave", pde_parameters={"a": 4, "C": 4.0}, seed=seed, l2re=0.25, settings_hash="cccc")
    make_run(tmp_path, **of_wave, ended=True, status="failed", seed=7)
    ended = ran("beyond_table.py", tmp_path)
    assert ended.returncode == 0, ended.stderr
    first, second, third = (part.splitlines()[2:] for part in ended.stdout.strip().split("\n\n"))
    assert first == [
        "| wave, a = 4 | `adam` | 2.5e-1, 2.5e-1, 2.5e-1 | **2.5e-1** | 5e-4 | 5e-6 | 1.3e-2 | – | 12–12 s | cccc |",
        "| wave, a = 5 | `gdnd` | 4.0e-6, 1.0e-5, 2.0e-6 | **4.0e-6** | 1e-3 | 1e-5 | 1.3e-2 | 6.4e-7 | 10–10 s |"
        " aaaaaaaaaaaa |",
    ]
    assert second[1:3] == ["| wave, a = 4 | 2.5e-1 (12 s) | – |", "| wave, a = 5 | – | 3.0e-6 (12 s) |"]
    assert len(third) == 3 + 3 + 1
    assert third[-1] == "| wave, a = 5 | gdnd | bbbb | 0 | 3.0e-6 | 12 s | 100 | 2 |"


# --- what the shell scripts start ------------------------------------------------------------------------------

SWEEPING = sorted(path.stem for path in SCRIPTS.glob("*.sh") if "train.py -m" in path.read_text())
ON_CLUSTERS = sorted({*SWEEPING, "table2", "beyond"} - {"sweep_and_report", "on_cluster"})


def started(
    tmp_path: Path, script: str, *words: str, **environment: str
) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """A shell script with something in Python's place that only notes its words: how it ended, and the commands."""
    notes = tmp_path / "notes"
    notes.unlink(missing_ok=True)
    python = tmp_path / "python"
    python.write_text(f'#!/usr/bin/env bash\nprintf "%q " "$@" >> {shlex.quote(str(notes))}\necho >> {notes}\n')
    python.chmod(0o755)
    ended = subprocess.run(
        [str(SCRIPTS / f"{script}.sh"), *words],
        env={**os.environ, "PYTHON": str(python), **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended, [shlex.split(line) for line in notes.read_text().splitlines()] if notes.exists() else []


@pytest.mark.parametrize("script", ON_CLUSTERS)
@pytest.mark.parametrize("cluster", ["slurm", "ray"])
def test_everything_is_trained_on_the_cluster(cluster: str, script: str, tmp_path: Path) -> None:
    ended, commands = started(tmp_path, cluster, script, "seed=range(3)", PARTITION="gpu", RAY_ADDRESS="")
    assert ended.returncode == 0, ended.stderr
    trainings = [words for words in commands if words[0] == "train.py"]
    assert trainings
    for words in trainings:
        assert words[1] == "-m"
        assert [word for word in words if "launcher=" in word] == [f"hydra/launcher={cluster}"]
        assert words[-1] == "seed=range(3)"
    for words in commands:  # the rest reads folders
        assert words[0] in ("train.py", "-m") or words[0].startswith("multirun_scripts/")
        assert words[:2] != ["-m", "pinntk"]


@pytest.mark.parametrize("cluster", ["slurm", "ray"])
@pytest.mark.parametrize(
    "word",
    ["hydra/launcher=basic", "hydra/launcher=local", "~hydra/launcher", "+hydra/launcher=basic", "hydra.launcher=null"]
    + ["hydra.launcher._target_=x.Y", "hydra.launcher.cluster=local", "hydra.launcher.ray.init.address=null"]
    + ["hydra.launcher.ray.init={address: null}", "++hydra.launcher.cluster=debug", "hydra={launcher: null}"],
)
def test_no_word_brings_the_training_back(cluster: str, word: str, tmp_path: Path) -> None:
    ended, commands = started(tmp_path, cluster, "forecast", "seed=1", word)
    assert (ended.returncode, commands) == (2, [])
    (line,) = spoken(ended.stderr).splitlines()
    assert line.startswith(f"error: {word}: might train on this machine; allowed: ")


@pytest.mark.parametrize("script", ["", "nothing", "slurm", "ray", "on_cluster", "sweep_and_report", "table2.sh"])
def test_a_script_that_is_none(script: str, tmp_path: Path) -> None:
    for words in ([script, "seed=1"], *([[]] if not script else [])):
        ended, commands = started(tmp_path, "slurm", *words)
        assert (ended.returncode, commands) == (2, [])
        assert "allowed: adam_all beyond conditioning" in ended.stderr
        assert ended.stderr.count("\n") == 1


def test_a_ray_of_this_machine_is_no_cluster(tmp_path: Path) -> None:
    ended, commands = started(tmp_path, "ray", "forecast", RAY_ADDRESS="local")
    assert (ended.returncode, commands) == (2, [])
    _, commands = started(tmp_path, "ray", "forecast", RAY_ADDRESS="10.0.0.1:6379")
    assert "hydra.launcher.ray.init.address='10.0.0.1:6379'" in commands[0]


@pytest.mark.parametrize("script", SWEEPING)
def test_every_training_of_a_script_is_a_sweep(script: str, tmp_path: Path) -> None:
    """So that any script takes ``'seed=range(3)'`` and a launcher."""
    first = ["table2"] if script == "sweep_and_report" else []
    ended, commands = started(tmp_path, script, *first, "seed=range(3)")
    assert ended.returncode == 0, ended.stderr
    assert all(words[1] == "-m" for words in commands if words[0] == "train.py")


def test_the_sweeps_of_the_zoo(tmp_path: Path) -> None:
    """Every problem with every method, each in one sweep."""
    ended, commands = started(tmp_path, "zoo", "seed=1")
    assert ended.returncode == 0, ended.stderr
    assert all(words[:3] == ["train.py", "-m", "runs_dir=runs/zoo"] for words in commands[:-1])
    assert all((words[3] == "experiment=zoo") == ("method=evolve" not in words) for words in commands[:-1])
    assert all(words[-1] == "seed=1" for words in commands[:-1])
    assert commands[-1] == ["-m", "pinntk.report", "runs/zoo", "--out", "runs/zoo/report"]
    own = yaml.safe_load((SCRIPTS.parent / "conf" / "experiment" / "zoo.yaml").read_text())["hydra"]["sweeper"][
        "params"
    ]
    pairs: list[tuple[str, str]] = []
    for words in commands[:-1]:
        given = dict(word.split("=", 1) for word in words[3:])
        where = [f" {given[key]}" for key in ("pde.nu", "pde.beta") if key in given]
        kind = f" {given['pde.kind']}" if "pde.kind" in given else ""
        where += [f" {dim}{kind}" for dim in given.get("pde.dim", "").split(",") if dim]
        for pde, method in itertools.product(*(given.get(key, own[key]).split(",") for key in ("pde", "method"))):
            pairs += [(f"{pde}{part}", method + " slabs" * ("method.slabs" in given)) for part in where or [""]]
    assert len(pairs) == len(set(pairs))
    files = {path.stem for path in (SCRIPTS.parent / "src" / "pinntk" / "pdes" / "zoo").glob("*.py")}
    shared = {"__init__", "cavity_reference", "evolving", "fourier", "navier_stokes", "poisson_nd"}
    problems = files - shared | {
        "burgers 1e-3",
        "convection 100",
        "poisson_nd 5",
        "poisson_nd 10",
        "poisson_nd 10 products",
    }
    methods = ["adam", "adam_lbfgs", "pinn_ntk", "gdnd", "ssbroyden", "gauss_newton"]
    discrete = itertools.product(
        ["allen_cahn", "kdv", "helmholtz2d", "poisson2d_multiscale"], ["pcpinn", "pcpinn_gdnd"]
    )
    evolving = itertools.product(
        ["kuramoto_sivashinsky", "kdv", "schroedinger", "gray_scott", "burgers 1e-3", "convection 100"], ["evolve"]
    )
    unsteady = ["allen_cahn", "kdv", "kuramoto_sivashinsky", "schroedinger", "gray_scott"]
    slabs = itertools.product([*unsteady, "burgers 1e-3", "convection 100"], ["ssbroyden slabs"])
    assert set(pairs) == {*itertools.product(problems, methods), *discrete, *evolving, *slabs}
    for word in ("pde=kdv", "method=adam"):
        assert len(started(tmp_path, "zoo", word)[1]) == 2


def test_a_refused_job_of_the_zoo_stops_neither_the_others_nor_the_report(tmp_path: Path) -> None:
    python = tmp_path / "refusing"
    python.write_text('#!/usr/bin/env bash\necho "$@" >> "$NOTES"\n[[ "$*" == *train.py* ]] && exit "$CODE"\nexit 0\n')
    python.chmod(0o755)
    for code, count in ((2, 18), (130, 1)):
        notes = tmp_path / f"notes{code}"
        environment = {**os.environ, "PYTHON": str(python), "CODE": str(code), "NOTES": str(notes)}
        ended = subprocess.run([str(SCRIPTS / "zoo.sh")], env=environment, timeout=60, check=False)
        assert ended.returncode == code
        assert len(notes.read_text().splitlines()) == count


def test_a_launcher_without_a_sweep_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("hydra/launcher=slurm", "hydra.launcher.jobs=2", "++hydra.launcher.cluster=slurm"):
        assert main([*FAST, f"runs_dir={tmp_path}", word]) == 2
        found = capsys.readouterr()
        assert found.err == f"error: {word}: a launcher needs a sweep (-m); a single run is trained here\n"
        assert found.out == ""
    assert os.listdir(tmp_path) == []
    assert main([*FAST, "hydra/launcher=local", "--cfg", "hydra"]) == 0
    assert "hydra_plugins.pinntk.Local" in capsys.readouterr().out


def test_whatever_submitit_finds_is_no_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-m", "seed=0,1", "hydra/launcher=slurm", f"runs_dir={tmp_path}"]
    for name in ("null", "debug"):
        assert main([*FAST, *words, f"hydra.launcher.cluster={name}"]) == 2
        assert f"hydra.launcher.cluster={name}: allowed: slurm, local" in capsys.readouterr().err
    assert list(tmp_path.rglob("result.json")) == []


def test_lessons_of_table_2(tmp_path: Path) -> None:
    """Five against five without overlap: p = 2 / C(10, 5) = 0.00794; interleaved: U = 10, p = 0.690 (tables)."""
    clock = "iteration,l2re,seconds\n0,1.0,0.0\n5,0.5,4.0\n9,0.1,9.0\n"
    for seed in range(5):
        for method, apart, mixed in (
            ("gdnd", 1e-4, 1e-2 * (2 * seed + 1)),
            ("adam_lbfgs", 1e-2, 1e-2 * (2 * seed + 2)),
        ):
            make_run(tmp_path, method=method, seed=seed, l2re=apart * (1 + seed), metrics=clock)
            wave: dict[str, Any] = {"pde": "reaction", "pde_parameters": {"rho": 5.0}}
            make_run(tmp_path, method=method, seed=seed, l2re=mixed, **wave)
    ended = ran("table2_lessons.py", tmp_path)
    assert ended.returncode == 0, ended.stderr
    lines = [line.split(" | ") for line in ended.stdout.splitlines() if line.startswith(("| burgers", "| reaction"))]
    assert [(words[0], words[4], words[5].removesuffix(" |")) for words in lines] == [
        ("| burgers", "0.016", "gdnd better"),  # Holm: the smaller of two p counts twice
        ("| reaction", "0.690", "no difference shown"),
    ]
    assert lines[0][2] == "3.0e-04 (1.0e-04 – 5.0e-04, 5)"
    assert ran("table2_lessons.py", tmp_path / "nothing").returncode == 1


def test_the_forecast_of_table_2(tmp_path: Path) -> None:
    """Twice as slow a machine: four of five gdnd runs on burgers are left, each 2 x 30 + 8 s."""
    for seed, seconds in enumerate((20.0, 30.0, 90.0)):
        make_run(tmp_path / "recorded", method="gdnd", seed=seed, seconds=seconds)
    make_run(tmp_path / "runs", method="gdnd", seed=4, seconds=1.0)
    make_run(tmp_path / "runs", method="gdnd", seed=3, status="failed")
    make_run(tmp_path / "runs", method="gdnd", seed=100)
    words = ["--recorded", str(tmp_path / "recorded"), "--runs", str(tmp_path / "runs"), "--scale", "2", "--jobs", "2"]
    command = [sys.executable, str(SCRIPTS / "table2_forecast.py"), *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert "gdnd          29 runs      5 min" in lines  # 4 x 68 s = 4.5 min
    assert "all of them      5 min on one core, about 3 with 2 at a time" in lines
    assert lines[-1] == "not in it: 145 runs of cells without a recorded time"  # 5 methods x 6 rows x 5 trials - 5
    ended = subprocess.run([*command[:-4]], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    assert "no run of adam on convection" in ended.stderr
