"""Natural gradient in kernel space as a method: weighted residuals, lambdas and steps against dense Jacobians."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jacobians import PDES, assert_close, dense_jacobian, loss_at, values_of
from objectives import random
from torch import Tensor
from training import fit, loss_terms, make, make_of, parameters, whole_and_resumed

from pinntk.methods.ntk_ng import NTKNaturalGradient
from pinntk.methods.phases.natural_gradient import NaturalGradientPhase
from pinntk.pdes.references import Reference
from pinntk.residual.points import PointSettings

FEW = PointSettings(interior=20, initial=6, boundary=4)
AFRESH = PointSettings(interior=20, initial=6, boundary=4, resample_every=3, by_residual=0.5)
EXACT: dict[str, Any] = {"solver": "iterative", "rank": 20, "tolerance": 1e-13}
problems = pytest.mark.parametrize("name", PDES)  # with periodic pairs: convection and reaction
normalizations = pytest.mark.parametrize("normalization", ["sum", "mean"])


def made(
    name: str = "burgers", adam: int = 0, steps: int = 0, points: PointSettings = FEW, **more: Any
) -> NTKNaturalGradient:
    """``more`` is the phase's where the phase has it."""
    own = {key: more.pop(key) for key in list(more) if key in NTKNaturalGradient.Settings().natural_gradient.__dict__}
    phases = {"adam": {"steps": adam}, "natural_gradient": {"steps": steps, **own}}
    defaults: dict[str, Any] = {"width": 7, "depth": 1, "log_every": 5}
    weights = {term.name: 0.5 + 1.5 * i for i, term in enumerate(PDES[name].terms())}
    return make_of(NTKNaturalGradient, PDES[name], points, **{**defaults, "weights": weights, **phases, **more})


def phase_of(method: NTKNaturalGradient) -> NaturalGradientPhase:
    phase = method.phases[-1]
    assert isinstance(phase, NaturalGradientPhase)
    return phase


def started(name: str = "burgers", steps: int = 1, **more: Any) -> tuple[NTKNaturalGradient, NaturalGradientPhase]:
    method = made(name, steps=steps, **more)
    method.start(None)
    return method, phase_of(method)


def counts(method: NTKNaturalGradient) -> list[int]:
    """Residuals of each term."""
    batches = method.batches()
    return [len(batches[t.where].points) // (2 if t.region == "periodic" else 1) for t in method.residuals.terms]


def scaled(method: NTKNaturalGradient, weights: Tensor) -> tuple[Tensor, Tensor]:
    """r and J with ``1/2 |r|^2`` the loss with these weights, by definition."""
    mean = method.settings.normalization == "mean"
    roots = [
        torch.full((n,), math.sqrt(2 * w / n if mean else w), dtype=torch.float64)
        for w, n in zip(weights.tolist(), counts(method), strict=True)
    ]
    factor, batches = torch.cat(roots), method.batches()
    return factor * values_of(method.residuals, batches), factor[:, None] * dense_jacobian(method.residuals, batches)


def lambdas_of(method: NTKNaturalGradient, balance: str) -> Tensor:
    """Algorithm 1 from the dense kernel of the unweighted residuals."""
    J, start, traces, interior = dense_jacobian(method.residuals, method.batches()), 0, [], []
    kernel = J @ J.T
    for term, n in zip(method.residuals.terms, counts(method), strict=True):
        trace = float(kernel[start : start + n, start : start + n].trace())
        traces.append(trace / n if method.settings.normalization == "mean" else trace)
        interior.append(term.region == "interior")
        start += n
    if balance == "terms":
        return torch.tensor([sum(traces) / trace for trace in traces], dtype=torch.float64)
    inside = sum(trace for trace, is_inside in zip(traces, interior, strict=True) if is_inside)
    of_both = [sum(traces) / (inside if is_inside else sum(traces) - inside) for is_inside in interior]
    return torch.tensor(of_both, dtype=torch.float64)


# --- the weighted residuals -------------------------------------------------------------------------------------------


@problems
@normalizations
def test_half_the_square_of_the_residuals_is_the_weighted_loss(name: str, normalization: str) -> None:
    method, _ = started(name, normalization=normalization, depth=2)
    objective, theta = method.objective, parameters(method)
    weights = method.term_weights()
    assert len(set(weights.tolist())) == len(weights)
    lambdas = torch.linspace(0.3, 4.0, len(weights), dtype=torch.float64)
    for factors in (torch.ones_like(lambdas), lambdas):
        objective.load({**objective.state(), "lambdas": factors})
        before = method.function_evaluations
        losses, r, jacobian = objective.jacobian()
        assert method.function_evaluations == before + 1
        expected_r, expected_jacobian = scaled(method, weights * factors)
        assert_close(r, expected_r)
        assert_close(objective.residuals(), expected_r)
        assert method.function_evaluations == before + 2
        assert_close(jacobian.dense(), expected_jacobian)
        leaf = theta.clone().requires_grad_()
        loss = loss_at(leaf, method.residuals, method.batches(), weights * factors, method.settings.normalization)
        (gradient,) = torch.autograd.grad(loss, leaf)
        total = pytest.approx(float(loss.detach()), rel=1e-12)
        assert float(r.square().sum() / 2) == total
        assert_close(jacobian.rmatvec(r), gradient)
        assert float(losses[0]) == float(objective.loss()) == total
        assert losses[1:].tolist() == pytest.approx(loss_terms(method).tolist(), rel=1e-12)


@problems
@normalizations
def test_the_gradient_is_that_of_the_first_order_methods(name: str, normalization: str) -> None:
    _, phase = started(name, normalization=normalization)
    losses, gradient = phase.objective.gradient()
    found, r, jacobian = phase.objective.jacobian()
    assert_close(jacobian.rmatvec(r), gradient)
    assert_close(found, losses.detach())


def test_parameters_are_copies_and_assigned() -> None:
    method, phase = started()
    before = phase.objective.parameters()
    new = random(len(before))
    phase.objective.assign(new)
    assert torch.equal(parameters(method), new)
    assert not torch.equal(before, new)


# --- steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [*({"solver": name} for name in ("kernel", "parameters", "orthogonal")), EXACT],
    ids=lambda s: s["solver"],
)
@pytest.mark.parametrize("name", ["burgers", "reaction"])
def test_a_step_is_a_damped_gauss_newton_step(name: str, settings: dict[str, Any]) -> None:
    mu = 10.0
    method, oracle = (made(name, steps=1, damping=mu, **settings) for _ in range(2))
    fit(method)
    r, J = scaled(oracle, oracle.term_weights())
    step = -torch.linalg.solve(J.T @ J + mu * torch.eye(J.shape[1]).double(), J.T @ r)
    moved = parameters(method) - parameters(oracle)
    torch.testing.assert_close(moved, step, rtol=0, atol=1e-8 * float(step.norm()))
    assert method.figures(Reference(np.zeros(1), 0.0))["phases"][0]["solver"] == settings["solver"]


@pytest.mark.parametrize("balance", ["blocks", "terms"])
@normalizations
@pytest.mark.parametrize("name", ["wave", "reaction"])
def test_the_lambdas_are_algorithm_1s(name: str, normalization: str, balance: str) -> None:
    """At the points of every draw anew, and the step's weights are those times the fixed ones."""
    points = PointSettings(interior=20, initial=6, boundary=4, resample_every=2)
    method, phase = started(
        name,
        5,
        points=points,
        normalization=normalization,
        weighting="ntk",
        balance=balance,
        resample_every=2,
        damping=10.0,
    )
    objective = method.objective
    for n in range(4):
        before, theta = objective.lambdas, parameters(method)
        expected = lambdas_of(method, balance) if n % 2 == 0 else before
        assert expected is not None
        r, J = scaled(method, method.term_weights() * expected)
        mu = phase.optimizer.damping if n else 10.0
        method.advance(n + 1)
        assert objective.lambdas is not None
        assert_close(objective.lambdas, expected)
        assert method.latest["loss"] == pytest.approx(float(r.square().sum() / 2), rel=1e-10)
        if phase.optimizer.trials == 1:
            step = -torch.linalg.solve(J.T @ J + mu * torch.eye(J.shape[1]).double(), J.T @ r)
            torch.testing.assert_close(parameters(method) - theta, step, rtol=0, atol=1e-6 * float(step.norm()))
        assert (before is objective.lambdas) == (n % 2 == 1)
    logged = objective.log()
    assert objective.lambdas is not None
    assert [logged[f"lambda_{n}"] for n in method.residuals.names] == objective.lambdas.tolist()


def test_a_stuck_optimiser_ends_the_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    method = made(steps=50, max_failures=3, trials=2)
    start = parameters(method)
    monkeypatch.setattr("pinntk.optim.natural_gradient.ACCEPTED", math.inf)
    fit(method)
    assert method.iteration == 3
    assert torch.equal(parameters(method), start)
    (ended,) = method.figures(Reference(np.zeros(1), 0.0))["phases"]
    assert ended["ended"].startswith("no damping up to")


def test_it_lowers_the_loss_far_more_than_adam() -> None:
    adam, natural = (
        make(steps=60, weights={}),
        make_of(
            NTKNaturalGradient,
            points=PointSettings(interior=30, boundary=2),
            adam={"steps": 10},
            natural_gradient={"steps": 50},
        ),
    )
    for method in (adam, natural):
        fit(method)
    assert natural.losses()["loss"] < 1e-6 * adam.losses()["loss"]
    assert [phase["iterations"] for phase in natural.figures(Reference(np.zeros(1), 0.0))["phases"]] == [10, 50]


# --- cut and resumed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cut", "solver"),
    [
        (2, "kernel"),
        (7, "kernel"),
        (9, "parameters"),
        (14, "parameters"),
        *((n, "iterative") for n in (3, 6, 8, 11, 13)),
    ],
)
def test_cut_and_resumed_in_every_phase_it_is_the_same(
    cut: int, solver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New points every 3 iterations of 6 and of 10, some by the residual; new preconditioners every 4."""
    settings: dict[str, Any] = {
        "solver": solver,
        "rank": 8,
        "max_cg": 10,
        "refresh_every": 4,
        "resample_every": 3,
        "weighting": "ntk",
        "balance": "terms",
    }
    whole, resumed = whole_and_resumed(
        lambda: made(adam=6, steps=10, points=AFRESH, **settings), cut, tmp_path, monkeypatch
    )
    assert resumed.objective.lambdas is not None
    assert whole.objective.lambdas is not None
    assert torch.equal(resumed.objective.lambdas, whole.objective.lambdas)
    reference = Reference(np.zeros(1), 0.0)
    assert resumed.figures(reference) == whole.figures(reference)
    assert resumed.draw == whole.draw == 5
    for region, batch in whole.batches().items():
        assert torch.equal(batch.points, resumed.batches()[region].points)


@pytest.mark.parametrize("cut", [2, 8])
def test_cut_and_resumed_in_single_precision(cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.fit", partial(fit, precision="32-true"))
    whole_and_resumed(
        lambda: made(adam=4, steps=6, points=AFRESH, resample_every=3, precision="32-true"), cut, tmp_path, monkeypatch
    )
