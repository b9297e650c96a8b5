"""Kernel, Jacobian and Hessian of a system with hard conditions and an unknown number, against dense oracles that are
made by nested automatic differentiation of the formulas alone."""

from typing import Any

import pytest
import torch
from conftest import slow_unless
from systems import Coupled, bare, coupled, points_of, residual_by_hand
from torch import Tensor

from pinntk.network import Network
from pinntk.residual.form import ResidualForm
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.residuals import Residuals

CASES = [
    slow_unless(True, {"hard": True, "slopes": True}),
    slow_unless(False, {"hard": False, "slopes": True, "activation": "sin"}),
    slow_unless(False, {"hard": True, "activation": "gelu", "parametrization": "ntk", "depth": 1}),
]
WEIGHTS = {"first": 0.7, "second": 1e-3, "initial": 2.0, "motion": 5.0, "wall": 0.3, "wrapped": 1.1}


class Oracle:
    """Residuals by hand as a function of theta, with dense derivatives."""

    def __init__(self, network: Network, hard: bool, points: dict[str, Tensor]) -> None:
        plain = bare(network)
        self.names = [name for name, _ in plain.named_parameters()]
        self.shapes = [p.shape for p in plain.parameters()]
        self.plain, self.hard, self.points = plain, hard, points
        self.theta = network.vector()

    def residual(self, theta: Tensor) -> Tensor:
        parts = theta.split([shape.numel() for shape in self.shapes])
        parameters = {n: part.view(shape) for n, part, shape in zip(self.names, parts, self.shapes, strict=True)}
        return residual_by_hand(self.plain, self.hard, self.points, parameters)

    def jacobian(self) -> Tensor:
        found: Tensor = torch.func.jacrev(self.residual)(self.theta)
        return found

    def hessian(self, factors: Tensor) -> Tensor:
        """Of ``1/2 |factors r|^2``."""

        def loss(theta: Tensor) -> Tensor:
            return (factors * self.residual(theta)).square().sum() / 2

        found: Tensor = torch.func.jacrev(torch.func.jacrev(loss))(self.theta)
        return found


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-8) -> None:
    assert found.shape == expected.shape
    scale = expected.abs().max()
    assert scale > 0
    assert float((found - expected).abs().max() / scale) <= tolerance


@pytest.mark.parametrize("settings", CASES)
def test_residuals_jacobian_kernel_and_traces(settings: dict[str, Any]) -> None:
    problem, network = coupled(**settings)
    residuals, points = Residuals(problem, network), points_of()
    hard = settings["hard"]
    assert ("initial" in residuals.names) is not hard  # satisfied exactly, and left out
    r, J = FactoredJacobian.with_residuals(residuals, residuals.prepare(points))
    oracle = Oracle(network, hard, points)
    close(r, oracle.residual(oracle.theta))
    dense = oracle.jacobian()
    close(J.dense(), dense)
    close(J.gram(), dense @ dense.T)
    for name, rows in J.slices.items():
        trace = dense[rows].square().sum()
        close(J.traces()[name], trace)
    generator = torch.Generator().manual_seed(1)
    v = torch.randn(J.shape[1], dtype=torch.float64, generator=generator)
    a = torch.randn(J.shape[0], dtype=torch.float64, generator=generator)
    close(J.matvec(v), dense @ v)
    close(J.rmatvec(a), dense.T @ a)
    close(J.scaled(a).gram(), (a[:, None] * dense) @ (a[:, None] * dense).T)
    # The unknown number has a column of its own, the last.
    assert float(dense[:, -1].abs().max()) > 0.1


@pytest.mark.parametrize("normalization", ["mean", "sum"])
@pytest.mark.parametrize("settings", CASES)
def test_gradient_hessian_gauss_newton_and_remainder(settings: dict[str, Any], normalization: Any) -> None:
    problem, network = coupled(**settings)
    residuals, points = Residuals(problem, network), points_of()
    weights = {name: weight for name, weight in WEIGHTS.items() if name in residuals.names}
    objective = ResidualForm(residuals, residuals.prepare(points), normalization=normalization, weights=weights)
    oracle = Oracle(network, settings["hard"], points)
    counts = {"first": 6, "second": 6, "initial": 4, "motion": 4, "wall": 5, "wrapped": 3}
    factors = torch.cat(
        [
            torch.full(
                (counts[n],),
                (weights[n] * (2 / counts[n] if normalization == "mean" else 1)) ** 0.5,
                dtype=torch.float64,
            )
            for n in residuals.names
        ]
    )
    r, dense = factors * oracle.residual(oracle.theta), factors[:, None] * oracle.jacobian()
    losses, gradient = objective.gradient()
    close(losses[0], r @ r / 2)
    close(gradient, dense.T @ r)
    hessian, newton = oracle.hessian(factors), dense.T @ dense
    v = torch.randn(len(gradient), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    close(objective.curvature("hessian") @ v, hessian @ v)
    close(objective.curvature("gauss_newton") @ v, newton @ v)
    close(objective.curvature("remainder") @ v, (hessian - newton) @ v)
    # With the traces of the same pass, as Algorithm 1 takes them.
    terms, traces, gradients = objective._blocked.by_term(objective.batches)
    close(traces, objective.traces())
    close(objective.weights @ gradients, dense.T @ r)
    close(objective.total(terms)[0], r @ r / 2)


@pytest.mark.slow  # the compiler takes its time
def test_compiled_is_the_same() -> None:
    problem, network = coupled(hard=True, slopes=True)
    residuals = Residuals(problem, network)
    objective = ResidualForm(residuals, residuals.prepare(points_of()))
    expected = objective.gradient()
    batches = objective.batches
    objective.place("compiled")
    objective._batches = batches
    for found, other in zip(objective.gradient(), expected, strict=True):
        close(found, other, 1e-12)


def test_what_is_left_out_is_found_by_evaluation() -> None:
    _, network = coupled(hard=True)
    assert Residuals(Coupled(), network).names == ("first", "second", "motion", "wall", "wrapped")
    _, network = coupled(hard=False)
    assert Residuals(Coupled(), network).names == ("first", "second", "initial", "motion", "wall", "wrapped")
