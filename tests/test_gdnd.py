"""GDND in practice: NysNewton-CG as a phase, against a dense damped Newton step, and resumed anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jacobians import PDES, dense_jacobian, loss_at
from training import fit, make_of, parameters, whole_and_resumed

from pinntk.methods.gdnd import GDND
from pinntk.pdes.references import Reference
from pinntk.residual.points import PointSettings

FEW = PointSettings(interior=20, initial=6, boundary=4)
WEIGHTS = {"initial": 3.0}


def made(name: str = "burgers", adam: int = 0, lbfgs: int = 0, nncg: int = 0, **more: Any) -> GDND:
    phases = {"adam": {"steps": adam}, "lbfgs": {"steps": lbfgs}}
    phases["nncg"] = {"steps": nncg, **more.pop("nncg_settings", {})}
    defaults: dict[str, Any] = {"width": 7, "depth": 1, "log_every": 5, "weights": WEIGHTS}
    return make_of(GDND, PDES[name], FEW, **{**defaults, **phases, **more})


def figures(method: GDND) -> list[dict[str, Any]]:
    phases: list[dict[str, Any]] = method.figures(Reference(np.zeros(1), 0.0))["phases"]
    return phases


@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
@pytest.mark.parametrize("name", ["burgers", "wave", "convection"])
def test_a_step_is_a_damped_newton_step(name: str, curvature: str) -> None:
    settings = {"curvature": curvature, "damping_rule": "fixed", "damping": 1e3, "tolerance": 1e-13, "rank": 10}
    method, oracle = (made(name, nncg=1, nncg_settings=settings) for _ in range(2))
    fit(method)
    theta, weights, batches = parameters(oracle), oracle.term_weights(), oracle.batches()
    arguments: tuple[Any, ...] = (oracle.residuals, batches, weights, "mean")
    leaf = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_at(leaf, *arguments), leaf)
    if curvature == "hessian":
        matrix = torch.autograd.functional.hessian(lambda x: loss_at(x, *arguments), theta)
    else:
        J = dense_jacobian(oracle.residuals, batches)
        r = oracle.residuals(batches).values()
        second = [torch.full_like(x, 2 * w / len(x)) for x, w in zip(r, weights.tolist(), strict=True)]
        matrix = J.T @ (torch.cat(second).detach()[:, None] * J)
    assert isinstance(matrix, torch.Tensor)
    step = -torch.linalg.solve(matrix + 1e3 * torch.eye(len(theta)), gradient)
    torch.testing.assert_close(parameters(method) - theta, step, rtol=1e-7, atol=1e-9 * float(step.norm()))


def test_every_phase_lowers_the_loss_and_is_recorded() -> None:
    method = made("poisson1d", adam=30, lbfgs=30, nncg=15, weights={"boundary": 3.0})
    method.start(None)
    losses = [method.losses()["loss"]]
    for end in (30, 60, 75):
        method.advance(end)
        losses.append(method.losses()["loss"])
    assert losses == sorted(losses, reverse=True)
    assert losses[3] < 0.5 * losses[2]
    found = figures(method)
    assert [phase["phase"] for phase in found] == ["adam", "lbfgs", "nncg"]
    assert found[2]["hessian_products"] >= 15 + 60
    assert set(method.seconds_per_phase) == {"adam", "lbfgs", "nncg"}


def test_a_stuck_optimiser_ends_the_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    method = made(nncg=50, nncg_settings={"max_backtracks": 0, "max_failures": 3})
    start = parameters(method)
    infinite = torch.full((1,), torch.inf, dtype=torch.float64)
    monkeypatch.setattr(method.objective, "by_term", lambda: dict.fromkeys(method.objective.names, infinite))
    fit(method)
    assert figures(method)[0]["ended"] == "no step length was accepted in 3 steps in a row"
    assert method.iteration == 3
    assert torch.equal(parameters(method), start)


@pytest.mark.parametrize("cut", [4, 8, 10, 14, 16, 19, 23, 29])
def test_cut_and_resumed_in_every_phase_it_is_the_same(
    cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nncg = {"rank": 8, "refresh_every": 4, "resample_every": 6}
    whole, resumed = whole_and_resumed(
        lambda: made(adam=8, lbfgs=8, nncg=14, nncg_settings=nncg), cut, tmp_path, monkeypatch
    )
    assert figures(resumed) == figures(whole)
