"""Both sides of Theorem 1 against dense Jacobians and means over the grid."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from jacobians import PDES, batches_of, dense_jacobian, residuals_of
from made import reference_values
from torch import Tensor
from training import fit, make

from pinntk.common.arrays import Array
from pinntk.discrete.conditioning import ConditionNumbers
from pinntk.discrete.theorem1 import Theorem1, forcing
from pinntk.pdes.base import PDE, Term, value
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.residual.points import PointSettings
from pinntk.residual.residuals import Residuals


class Longer(Poisson1D):
    """On an interval of length 3, with fewer points to look at."""

    name: ClassVar[str] = "longer"
    upper: ClassVar[tuple[float, ...]] = (3.0,)
    evaluation_shape: ClassVar[tuple[int, ...]] = (101,)


class Mixed(Poisson1D):
    """``u_xx + 2 u_x + u = f``: a residual of several streams and two fields."""

    name: ClassVar[str] = "mixed"

    def terms(self) -> tuple[Term, ...]:
        return (
            Term("boundary", "boundary", ("u",), value, lambda x: (x[:, 0],)),
            Term(
                "residual",
                "interior",
                ("u", "u_x", "u_xx"),
                lambda s, f, g: s["u_xx"] + 2 * s["u_x"] + s["u"] - f * g,
                lambda x: (x[:, 0], torch.exp(x[:, 0])),
            ),
        )


def gradient_at(residuals: Residuals, x: Array) -> Tensor:
    """grad_theta u at points (n, d), row by row: (n, P)."""
    parameters = list(residuals.network.parameters())
    rows = []
    for point in torch.from_numpy(x):
        parts = torch.autograd.grad(residuals.network(point[None]).sum(), parameters)
        rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows)


@pytest.mark.parametrize("parametrization", ["standard", "ntk"])
@pytest.mark.parametrize("pde", [Poisson1D(a=2), Longer(a=3)], ids=["unit", "longer"])
def test_both_sides_by_their_definitions(pde: Poisson1D, parametrization: str) -> None:
    residuals = residuals_of(pde, depth=2, parametrization=parametrization)
    batches = batches_of(pde, residuals)
    condition, (length,) = 7.0, pde.upper
    x = pde.evaluation_points()
    u = np.sin(pde.a * np.pi * x[:, 0])
    found = Theorem1(pde, pde.evaluation_points(), u, condition).sides(residuals, batches)

    count = len(batches["interior"].points)
    rows = dense_jacobian(residuals, batches)[:count].numpy()
    assert pde.terms()[0].name == "residual"
    assert found.left == pytest.approx(np.trace(rows @ rows.T) / count, rel=1e-10)

    # Norms of L2 on the interval: means over the grid times its length.
    f = -((pde.a * np.pi) ** 2) * u
    f_squared, u_squared = length * np.mean(f**2), length * np.mean(u**2)
    steepness = length * (gradient_at(residuals, x).numpy() ** 2).sum(axis=1).mean()
    assert found.right == pytest.approx(f_squared / (u_squared * length) / condition**2 * steepness, rel=1e-10)


def test_the_kernel_is_that_of_the_interior_wherever_its_term_stands() -> None:
    pde = Mixed()
    residuals = residuals_of(pde, depth=1)
    batches = batches_of(pde, residuals)
    found = Theorem1(pde, pde.evaluation_points(), np.ones(1001), 1.0).sides(residuals, batches)
    rows = dense_jacobian(residuals, batches)
    edge = len(batches["boundary"].points)
    assert found.left == pytest.approx(float(rows[edge:].square().sum(1).mean()), rel=1e-10)


def test_forcing() -> None:
    x = torch.linspace(0, 1, 11, dtype=torch.float64)[:, None]
    expected = -((3 * math.pi) ** 2) * torch.sin(3 * math.pi * x[:, 0])
    torch.testing.assert_close(forcing(Poisson1D(a=3), x), expected, rtol=1e-14, atol=1e-13)
    torch.testing.assert_close(forcing(Mixed(), x), x[:, 0] * torch.exp(x[:, 0]), rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", [name for name in PDES if name != "poisson1d"])
def test_problems_without_a_forcing_are_refused(name: str) -> None:
    pde: PDE = PDES[name]
    points = torch.from_numpy(pde.evaluation_points())
    assert not forcing(pde, points[::97]).any()
    with pytest.raises(ValueError, match=rf"pde={name}: cond\(P\) is defined only where neither u nor f vanishes"):
        Theorem1(pde, pde.evaluation_points(), np.ones(len(points)), 2.0)


def test_a_solution_that_vanishes_is_refused() -> None:
    with pytest.raises(ValueError, match="neither u nor f vanishes"):
        Theorem1(Poisson1D(), Poisson1D().evaluation_points(), np.zeros(1001), 2.0)


def test_the_network_and_its_gradients_are_left_alone() -> None:
    method = make()
    theorem = Theorem1(method.pde, method.pde.evaluation_points(), reference_values(method.pde), 4.0)
    before = [p.detach().clone() for p in method.network.parameters()]
    first, second = (theorem.sides(method.residuals, method.batches()) for _ in range(2))
    assert first == second
    assert all(torch.equal(p, q) for p, q in zip(before, method.network.parameters(), strict=True))
    assert all(p.grad is None for p in method.network.parameters())


@pytest.mark.parametrize("precision", ["64-true", "32-true"])
def test_the_inequality_holds_for_a_trained_network(precision: str) -> None:
    """Not before: with alpha = 0 the theorem speaks of the limit of a vanishing loss.

    The discrete problem's condition number is nearly that of the equation, a^2.
    """
    pde = Poisson1D(a=2)
    assert pde.Discretization is not None
    problem = pde.discretize(pde.Discretization.model_validate({"cells": 40}))
    condition = ConditionNumbers(problem, problem.solve()).plain().condition
    assert condition == pytest.approx(4, rel=1e-3)
    theorem = Theorem1(pde, pde.evaluation_points(), pde.reference().values, condition)

    points = PointSettings(interior=60, boundary=2)
    method = make(pde, points, width=12, steps=600, log_every=300, precision=precision, adam={"learning_rate": 0.01})
    start = theorem.sides(method.residuals, method.batches())
    before = method.losses()["residual"]
    fit(method, precision=precision)
    end = theorem.sides(method.residuals, method.batches())
    assert method.losses()["residual"] < 0.1 * before
    assert 0 < end.right <= end.left
    assert start.right > start.left
    assert end.left > start.left  # where it has learned, it is steep
