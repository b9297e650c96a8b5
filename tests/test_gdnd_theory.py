"""Algorithm 2 as written, and Theorem 4 where its condition holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from jacobians import PDES, dense_jacobian, loss_at
from torch import Tensor
from training import fit, make_of, parameters, whole_and_resumed

from pinntk.methods.gdnd_theory import GDNDTheory
from pinntk.network import NetworkSettings
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.pdes.references import Reference
from pinntk.residual.points import PointSettings

FEW = PointSettings(interior=6, initial=3, boundary=2)
WEIGHTS = {"burgers": {"initial": 3.0}, "poisson1d": {"boundary": 3.0}}


def made(name: str = "burgers", descent: int = 0, newton: int = 0, **settings: Any) -> GDNDTheory:
    phases: dict[str, Any] = {"descent": {"steps": descent}, "newton": {"steps": newton}}
    for phase in phases.values():
        phase |= settings.pop("both", {})
    for key in phases:
        phases[key] |= settings.pop(key + "_settings", {})
    defaults: dict[str, Any] = {"width": 9, "depth": 1, "log_every": 5, "weights": WEIGHTS.get(name, {})}
    return make_of(GDNDTheory, PDES[name], FEW, **{**defaults, **phases, **settings})


def figures(method: GDNDTheory) -> list[dict[str, Any]]:
    phases: list[dict[str, Any]] = method.figures(Reference(np.zeros(1), 0.0))["phases"]
    return phases


def loss(theta: Tensor, method: GDNDTheory) -> Tensor:
    weights = method.term_weights()
    return loss_at(theta, method.residuals, method.batches(), weights, method.settings.normalization)


def gradient_and_hessian(theta: Tensor, method: GDNDTheory) -> tuple[Tensor, Tensor]:
    leaf = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf, method), leaf)
    hessian = torch.autograd.functional.hessian(lambda x: loss(x, method), theta)
    assert isinstance(hessian, Tensor)
    return gradient, hessian


def weighted_kernel(method: GDNDTheory) -> Tensor:
    """D^1/2 K D^1/2 by torch.func."""
    jacobian = dense_jacobian(method.residuals, method.batches())
    r = method.residuals(method.batches())
    mean = method.settings.normalization == "mean"
    second = torch.cat(
        [
            torch.full((len(x),), w * (2 / len(x) if mean else 1))
            for w, x in zip(method.term_weights(), r.values(), strict=True)
        ]
    )
    root = second.to(jacobian).sqrt()
    return root[:, None] * (jacobian @ jacobian.T) * root


@pytest.mark.parametrize("normalization", ["sum", "mean"])
@pytest.mark.parametrize("name", ["burgers", "poisson1d"])
def test_newton_steps_are_dense_ones(name: str, normalization: str) -> None:
    settings = {"learning_rate": 0.7, "damping": 2.5}
    method = made(name, newton=3, newton_settings=settings, normalization=normalization)
    oracle = made(name, normalization=normalization)
    theta = parameters(oracle)
    for _ in range(3):
        gradient, hessian = gradient_and_hessian(theta, oracle)
        theta = theta - 0.7 * torch.linalg.solve(hessian + 2.5 * torch.eye(len(theta)), gradient)
    fit(method)
    torch.testing.assert_close(parameters(method), theta, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("rate", [None, 1e-4])
def test_descent_is_gradient_descent(rate: float | None) -> None:
    method = made(descent=7, descent_settings={"learning_rate": rate, "rate": 0.5})
    oracle = made()
    theta = parameters(oracle)
    eta = 0.5 / float(torch.linalg.eigvalsh(weighted_kernel(oracle))[-1]) if rate is None else rate
    fit(method)
    found = figures(method)[0]["learning_rate"]
    assert found == pytest.approx(eta, rel=1e-6)
    for _ in range(7):
        leaf = theta.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf, oracle), leaf)
        theta = theta - found * gradient
    torch.testing.assert_close(parameters(method), theta, rtol=1e-8, atol=1e-10)


def test_what_theorem_4_speaks_of_is_what_is_recorded() -> None:
    method = made("poisson1d", newton=2, newton_settings={"damping": 10.0})
    oracle = made("poisson1d")
    start = parameters(oracle)
    gradient, _ = gradient_and_hessian(start, oracle)
    first = float(loss(start, oracle))
    fit(method)
    (found,) = figures(method)
    assert found["ended"] == "all steps done"
    assert found["two_thirds"] == pytest.approx([1, 2 / 3, 4 / 9])
    assert found["loss_ratio"][0] == 1.0
    assert found["loss_ratio"][2] == pytest.approx(float(loss(parameters(method), method)) / first, rel=1e-9)
    assert found["pl_quotient"][0] == pytest.approx(float(gradient @ gradient) / (2 * first), rel=1e-9)
    smallest = float(torch.linalg.eigvalsh(weighted_kernel(oracle))[0])
    assert smallest > 0
    assert found["smallest_eigenvalue"][0] == pytest.approx(smallest, rel=1e-6)
    # The inequality itself.
    assert all(q >= mu for q, mu in zip(found["pl_quotient"], found["smallest_eigenvalue"], strict=True))


@pytest.mark.slow
def test_the_rate_of_theorem_4_where_its_condition_holds() -> None:
    """A wide network, few points and gradient descent first; the damping is of the size of the smallest eigenvalue."""
    method = GDNDTheory(
        Poisson1D(a=1),
        NetworkSettings(width=200, depth=1, parametrization="ntk"),
        PointSettings(interior=3, boundary=2),
        GDNDTheory.Settings.model_validate(
            {
                "normalization": "sum",
                "weights": {"boundary": 30.0},
                "descent": {"steps": 3000, "rate": 0.5},
                "newton": {"steps": 8, "damping": 10.0},
            }
        ),
    )
    fit(method)
    newton = figures(method)[1]
    assert min(newton["smallest_eigenvalue"]) > 5
    assert bool((np.array(newton["loss_ratio"]) <= np.array(newton["two_thirds"]) * (1 + 1e-9)).all())
    assert newton["loss_ratio"][-1] < 1e-4


def test_a_singular_hessian_ends_the_phase_in_words() -> None:
    method = made("burgers", newton=4, newton_settings={"damping": 0.0})
    with torch.no_grad():
        for p in method.network.parameters():  # u = 0: nothing depends on the first layer
            p.zero_()
    before = parameters(method)
    fit(method)
    assert method.finished
    assert figures(method)[0]["ended"].startswith("gamma=0: H + gamma I is singular")
    assert torch.equal(parameters(method), before)


@pytest.mark.parametrize("cut", [3, 10, 12, 13, 17])
def test_cut_and_resumed_it_is_the_same(cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"descent": 12, "newton": 6, "newton_settings": {"damping": 0.1}}
    whole, resumed = whole_and_resumed(lambda: made(**settings), cut, tmp_path, monkeypatch)
    assert figures(resumed) == figures(whole)


def test_a_network_too_large_for_an_exact_step_is_refused(cli: Cli) -> None:
    ended = cli("pde=poisson1d", "method=gdnd_theory", "budget=smoke", "network.width=100", "network.depth=3")
    assert ended.code == 2
    assert ended.err.startswith("error: network.width: gdnd_theory's exact Newton step takes at most 5000 parameters")
    assert len(ended.err.splitlines()) == 1
