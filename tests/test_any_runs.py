"""Whole runs of systems, of unknown coefficients and of hard conditions, through the command line."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli, assert_same_network, result_of, rows_of, slow_unless
from matplotlib.figure import Figure
from systems import SENSORS, Coupled, Swinging

import pinntk
from pinntk.launch.cli import compose
from pinntk.methods import Method
from pinntk.network import Unknown
from pinntk.pdes.base import PDE
from pinntk.pdes.convection import Convection
from pinntk.report.write import write_report
from pinntk.runs.settings import RunSettings

SMALL = "budget=smoke threads=1 width=6 network.depth=2 points.interior=20".split()
FAST = [*SMALL, "method=adam", "method.steps=20", "method.log_every=10"]
GIVEN = {"swinging": "_target_: systems.Swinging, nu: 1.5", "coupled": "_target_: systems.Coupled, nu: 1.5, c: 1.5"}


@pytest.fixture
def systems(cli: Cli) -> Callable[..., Any]:
    """The command line with the problems of ``systems`` on it."""
    (cli.folder / "conf/pde").mkdir(parents=True)
    for name, content in GIVEN.items():
        (cli.folder / f"conf/pde/{name}.yaml").write_text(f"# @package _global_\npde: {{{content}}}\n")
    return lambda *words: cli("--config-dir", "conf", *words)


@pytest.fixture
def nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are what is dear in these runs."""
    monkeypatch.setattr("pinntk.callbacks.solution.plot", lambda *arguments: Figure(figsize=(1, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("name", GIVEN)
def test_a_system_is_trained_watched_and_reported(
    name: str, systems: Callable[..., Any], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Coupled, "reference", lambda self: None)  # nobody knows a solution
    watched = ["callbacks=[ntk_drift,hessian_norm,ntk_forecast]", "callbacks.ntk_forecast.steps=20"]
    watched += [f"callbacks.{callback}.interior=6" for callback in ("ntk_drift", "hessian_norm", "ntk_forecast")]
    ended = systems(*FAST, f"pde={name}", "pde.nu=unknown", "network.hard=true", *watched)
    assert (ended.code, ended.err) == (0, "")
    folder = cli.run_folder()
    pictures = {"solution.png", "estimates.png", "ntk_drift.png", "hessian_norm.png", "ntk_forecast.png"}
    assert {path.name for path in folder.glob("*.png")} == pictures
    rows, result = rows_of(folder), result_of(folder)
    assert [row["estimate_nu"] for row in rows if row["loss"]][-1] == str(result["estimates"]["nu"]["value"])
    start = {"swinging": 1.2, "coupled": 0.7}[name]
    assert result["pde_parameters"]["nu"] == {"unknown": True, "start": start, "positive": True}
    for column in ("ntk_drift_K", "hessian_norm_L", "ntk_forecast_horizon", "estimate_nu", "loss"):
        values = [float(row[column]) for row in rows if row.get(column)]
        assert values, column
        assert np.isfinite(values).all(), column
    written = write_report(cli.folder / "runs", cli.folder / "report")
    assert not [line for line in written if "cannot" in line]
    assert {"fig1a.png", "fig1b.png", "table2.md"} <= set(os.listdir(cli.folder / "report"))


@pytest.mark.usefixtures("nothing_is_drawn")
def test_a_coefficient_is_given_or_looked_for(systems: Callable[..., Any], cli: Cli) -> None:
    words = [*FAST, "pde=swinging", "network=hard"]
    starts = {
        "unknown": Unknown(start=1.2, positive=True),  # as the class says
        "{start: 2.0}": Unknown(start=2.0, positive=True),
        "{unknown: true, start: 2.0, positive: false}": Unknown(start=2.0),
        "0.3": 0.3,
    }
    for text, value in starts.items():
        before = set(cli.run_folders())
        ended = systems(*words, f"pde.nu={text}")
        assert (ended.code, ended.err) == (0, "")
        (folder,) = set(cli.run_folders()) - before  # each of them is another setting
        run = pinntk.load(folder)
        assert isinstance(run.pde, Swinging)
        assert run.pde.nu == value
        if not isinstance(value, Unknown):
            assert "estimates" not in run.result
            assert "estimate_nu" not in rows_of(folder)[0]
            assert not (folder / "estimates.png").exists()
            continue
        found = run.result["estimates"]["nu"]
        assert 0 < abs(found["value"] - value.start) < 0.1
        assert 0 < found["standard_error"] < math.inf
        assert (folder / "estimates.png").stat().st_size > 5_000
        (line,) = (line for line in ended.out.splitlines() if line.startswith("nu "))
        assert line.split()[1:3] == [f"{found['value']:.6g}", "±"]
    same = systems(*words, "pde.nu={unknown: true, start: 1.2}")
    assert "finished before and not run again" in same.out


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("foo", "pde.nu: came foo; allowed is a number, unknown, or {unknown: true, start: 1.0, positive: true}"),
        ("true", "pde.nu: came true; allowed is a number, unknown, or {unknown: true, start: 1.0, positive: true}"),
        ("[1]", "pde.nu: came [1]; allowed is a number, unknown, or {unknown: true, start: 1.0, positive: true}"),
        ("nan", "pde.nu=NaN: must be a finite number"),
        (
            "{unknown: true, start: -1, positive: true}",
            "pde.nu: start=-1; allowed with positive=true is a number greater than 0",
        ),
        ("{unknown: false}", "pde.nu: unknown=false; allowed is true, or a number in the place of all this"),
        ("{unknown: 1}", "pde.nu.unknown=1: must be true or false"),
        ("{start: far}", "pde.nu.start=far: must be a number"),
        ("{begin: 1.0}", "pde.nu.begin=1.0: unknown key; allowed in pde.nu: positive, start, unknown"),
    ],
)
def test_what_is_no_coefficient_is_a_line(value: str, line: str, systems: Callable[..., Any], cli: Cli) -> None:
    ended = systems(*FAST, "pde=swinging", f"pde.nu={value}")
    assert (ended.code, ended.err) == (2, f"error: {line}\n")
    assert not (cli.folder / "runs").exists()


HARD = "counts only with network.hard=false"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["pde=plain", "network.hard=true"],
            "network.hard=true: torus has no lift or factor; allowed is false, or a problem that has one",
        ),
        (
            ["pde=wave", "network=hard", "method=pinn_ntk"],
            "method.balance=blocks: with network.hard=true wave has no conditions with which to balance its equation;"
            " allowed is network.hard=false",
        ),
        (["pde=wave", "network=hard", "method.weights.initial=5"], f"method.weights.initial=5: {HARD}: initial holds"),
        (["pde=wave", "network=hard", "points.initial=7"], f"points.initial=7: {HARD}: the terms there hold exactly"),
        (["pde=convection", "network=hard", "points.boundary=7"], f"points.boundary=7: {HARD}: the terms there hold"),
        (["pde=swinging", "network=hard", "method.weights.rest=5"], f"method.weights.rest=5: {HARD}: rest holds"),
        (["pde=swinging", "network=hard", "points.initial=7"], f"points.initial=7: {HARD}: the terms there hold"),
        (
            ["pde=swinging", "network=hard", "method.weights.first=5", "method.weights.ends=2", "points.boundary=7"],
            None,
        ),
    ],
)
def test_hard_conditions_and_what_counts_with_them(
    words: list[str], line: str | None, systems: Callable[..., Any], cli: Cli
) -> None:
    (cli.folder / "conf/pde/plain.yaml").write_text("# @package _global_\npde: {_target_: made.Torus}\n")
    ended = systems(*(SMALL if "method=pinn_ntk" in words else FAST), *words, "trainer.accelerator=cpu")
    if line is None:  # what is left of the conditions is trained
        assert (ended.code, ended.err) == (0, "")
        assert list(result_of(cli.run_folder())["terms"]) == ["first", "second", "ends", "measured_u"]
        return
    assert ended.code == 2
    assert ended.err.startswith(f"error: {line}")
    assert len(ended.err.splitlines()) == 1
    assert not (cli.folder / "runs").exists()


@pytest.mark.usefixtures("nothing_is_drawn")
def test_hard_conditions_of_a_problem_of_ours(cli: Cli) -> None:
    """By the group or by the key, for a problem whose file names no inputs the same."""
    for words, again in ((["network=hard"], False), (["network.hard=true"], True), ([], False)):
        ended = cli(*FAST, "pde=convection", *words)
        assert (ended.code, ended.err) == (0, "")
        assert ("finished before" in ended.out) == again
    runs = [pinntk.load(folder) for folder in cli.run_folders()]
    assert len(runs) == 2
    for run in runs:
        network = run.method.network
        assert list(run.result["terms"]) == (["residual"] if network.ansatz else ["residual", "initial", "periodic"])
        x = np.linspace(0, 2 * np.pi, 9)
        error = np.abs(run.predict(np.stack([x, 0 * x], axis=1)) - np.sin(x)).max()
        assert (error < 1e-14) == (network.ansatz is not None)
    assert sum(run.method.network.ansatz is not None for run in runs) == 1


@pytest.mark.usefixtures("nothing_is_drawn")
@pytest.mark.parametrize("form", [slow_unless(form == "direct", form) for form in ("direct", "applied")])
def test_the_preconditioned_loss_of_hard_conditions_is_resumed(
    form: str, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Convection, "evaluation_shape", (9, 6))
    words = [*SMALL[:-1], "pde=convection", "method=pcpinn", f"method.form={form}", "method.log_every=10"]
    words += ["network=hard", "method.steps=30", "method.refresh_every=12", "discretization.cells=16"]
    words += ["discretization.time_steps=16", "checkpoint.every_seconds=1e9"]
    words += [] if form == "direct" else ["method.batch=64"]

    def count(method: Method, value: int) -> None:
        method.__dict__["_count"] = value
        if value == stop:
            signal.raise_signal(signal.SIGINT)

    counted = property(lambda method: method.__dict__["_count"], count)
    monkeypatch.setattr(Method, "iteration", counted, raising=False)
    stop = 17
    assert cli(*words, f"runs_dir={tmp_path}/stopped").code == 130
    stop = -1
    resumed = cli(*words, f"runs_dir={tmp_path}/stopped")
    assert resumed.code == 0, resumed.err
    assert "resuming at iteration 17 of 30" in resumed.out
    assert cli(*words, f"runs_dir={tmp_path}/whole").code == 0
    stopped, whole = (pinntk.load(next(tmp_path.glob(f"{name}/*/*/*/*/*/*"))) for name in ("stopped", "whole"))
    assert_same_network(whole.method, stopped.method)
    assert whole.result["l2re"] == stopped.result["l2re"]
    assert whole.method.network.ansatz is not None
    x = np.linspace(0, 2 * np.pi, 9)
    np.testing.assert_allclose(whole.predict(np.stack([x, 0 * x], axis=1)), np.sin(x), atol=1e-14)


@pytest.mark.usefixtures("nothing_is_drawn")
def test_a_trained_system_is_looked_at(systems: Callable[..., Any], cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, derivatives and residuals, against automatic differentiation of ``lift + factor N``."""
    assert systems(*FAST, "pde=swinging", "pde.nu=unknown", "network.hard=true").code == 0
    run = pinntk.load(cli.run_folder())
    points = np.random.default_rng(1).uniform((0, 0), (np.pi, 1), (11, 2))
    x = torch.tensor(points, requires_grad=True)
    network = run.method.network
    trained = {name: tensor.detach() for name, tensor in network.named_parameters()}
    h = 2 * x / torch.tensor([np.pi, 1.0], dtype=torch.float64) - 1
    for i in range(3):
        h = h @ trained[f"layers.{i}.weight"].T + trained[f"layers.{i}.bias"]
        h = torch.tanh(h) if i < 2 else h
    u, v = torch.sin(x[:, 0]) + x[:, 1] * h[:, 0], x[:, 1] * h[:, 1]
    values = torch.stack([u, v], dim=1).detach().numpy()
    np.testing.assert_allclose(run.predict(points), values, rtol=1e-12, atol=1e-14)

    def by(f: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(f.sum(), x, create_graph=True)[0]

    (u_x, u_t), (v_x, v_t) = by(u).T, by(v).T
    expected = {"v": v, "u_x": u_x, "u_t": u_t, "v_x": v_x, "v_t": v_t, "u_xt": by(u_x)[:, 1], "v_xx": by(v_x)[:, 0]}
    monkeypatch.setattr("pinntk.runs.trained.PREDICT_ROWS", 4)
    found = run.derivatives(points, *expected)
    for name, derivative in expected.items():
        np.testing.assert_allclose(found[name], derivative.detach().numpy(), rtol=1e-11, atol=1e-12)
    nu = math.exp(float(trained["coefficients.trained.nu"]))
    assert nu == pytest.approx(run.result["estimates"]["nu"]["value"], rel=1e-14)
    of = {"first": u_t + nu * v_x, "second": v_t + nu * u_x}
    r = run.residuals(points)
    assert list(r) == list(of)
    for name, residual in of.items():
        np.testing.assert_allclose(r[name], residual.detach().numpy(), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(run.derivatives(points, "nu")["nu"], nu, rtol=1e-14)
    (ends,) = run.residuals(points, "boundary").values()
    np.testing.assert_allclose(ends, values[:, 0], rtol=1e-12, atol=1e-14)
    with pytest.raises(
        ValueError, match=r"stream 'w': allowed are u, v, and derivatives .* \.\.\.; and coefficients: nu$"
    ):
        run.derivatives(points, "w")
    with pytest.raises(ValueError, match=r"region 'sensors\[u\]' has points of its own"):
        run.residuals(points, "sensors[u]")
    assert len(SENSORS["u"]) == 12


HASHES = {
    "convection": "4f6ed064a3b7 6940d5af69bd f73e99bf915a",
    "wave": "706c4e2ee7b1 1b47acb56be6 c8b8df8fad58",
    "reaction": "7e9b67778c62 6f286a3a3103 16481e3b16ed",
    "burgers": "c253075ab5e7 521c6b5cf91d 7099ff43ace4",
    "heat2d": "a73043019a4c 7666faf6c647 46d193506d68",
    "poisson1d": "92e05ddaf0a1 aab419499e8c 1e5d3affebfb",
}
"""Of adam, pinn_ntk and pcpinn, as they were before there were several fields, hard conditions and unknown numbers."""


@pytest.mark.parametrize("pde", HASHES)
def test_runs_of_before_keep_their_folders(pde: str) -> None:
    for method, expected in zip(("adam", "pinn_ntk", "pcpinn"), HASHES[pde].split(), strict=True):
        words = [f"pde={pde}", f"method={method}", "budget=smoke", "tuned=null", "trainer.accelerator=cpu"]
        settings = RunSettings.read(compose(words), training=False)
        assert isinstance(settings.pde, PDE)
        assert settings.settings_hash(threads=1) == expected
        changed = ["network.activation=sin", "network.slopes=true", "network.hard=true", "network=hard"]
        if method == "adam":
            others = [RunSettings.read(compose([*words, word]), training=False) for word in changed]
            hashes = {other.settings_hash(threads=1) for other in others}
            assert len(hashes | {expected}) == 4 + (settings.network.features != [])
