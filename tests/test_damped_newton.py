"""Algorithm 2's step against dense solves."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from objectives import FunctionObjective, least_squares, pinn, quadratic, rosenbrock, symmetric

from pinntk.optim.damped_newton import SingularHessian, damped_newton_step


@pytest.mark.parametrize("make", [rosenbrock, pinn], ids=["rosenbrock", "pinn"])
def test_the_step_by_a_dense_inverse(make: Callable[[], FunctionObjective]) -> None:
    objective = make()
    H, theta, eta, gamma = objective.dense(), objective.parameters(), 5 / 6, 0.3
    loss, gradient = objective.gradient()
    eye = torch.eye(len(theta), dtype=torch.float64)
    expected = theta - eta * torch.linalg.inv(H + gamma * eye) @ gradient
    kept = H.clone()
    assert torch.equal(damped_newton_step(objective, H, eta, gamma), loss)
    torch.testing.assert_close(objective.parameters(), expected, rtol=1e-9, atol=1e-10)
    assert torch.equal(H, kept)


def test_one_full_step_solves_least_squares() -> None:
    objective, solved = least_squares()
    damped_newton_step(objective, objective.dense(), 1.0, 0.0)
    torch.testing.assert_close(objective.parameters(), solved, rtol=1e-11, atol=1e-12)


def test_the_rate_of_theorem_4() -> None:
    """On a quadratic with no damping the loss falls by (1 - 5/6)^2 = 1/36 a step, within the theorem's 2/3."""
    objective = quadratic(symmetric([9.0, 1.0, 0.01]), torch.ones(3, dtype=torch.float64))
    losses = [float(damped_newton_step(objective, objective.dense(), 5 / 6, 0.0)) for _ in range(5)]
    for before, after in pairwise(losses):
        assert after / before == pytest.approx(1 / 36, rel=1e-9)


def test_an_indefinite_matrix_is_solved_with() -> None:
    H, theta = symmetric([4.0, 1.0, -2.0]), torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    objective = quadratic(H, theta)
    damped_newton_step(objective, H, 1.0, 0.5)
    inverse = torch.linalg.inv(H + 0.5 * torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(objective.parameters(), theta - inverse @ H @ theta, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("eigenvalues", [[3.0, 1.0, -0.25], [3.0, -0.25, -0.25]])
@pytest.mark.parametrize("diagonal", [True, False])
def test_a_singular_matrix_is_refused(eigenvalues: list[float], diagonal: bool) -> None:
    H = torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) if diagonal else symmetric(eigenvalues)
    objective = quadratic(H, torch.ones(3, dtype=torch.float64))
    with pytest.raises(SingularHessian, match=r"^gamma=0.25: H \+ gamma I is singular.*; allowed is a gamma"):
        damped_newton_step(objective, H, 1.0, 0.25)
    assert objective.assigned == []
    damped_newton_step(objective, H, 1.0, 0.26)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_matrix_that_is_not_finite_is_refused(bad: float) -> None:
    H = symmetric([3.0, 1.0, 2.0])
    objective = quadratic(H, torch.ones(3, dtype=torch.float64))
    broken = H.clone()
    broken[1, 0] = bad
    with pytest.raises(SingularHessian, match=r"^gamma=0.1: .*not finite"):
        damped_newton_step(objective, broken, 1.0, 0.1)
    assert objective.assigned == []
    objective.theta[0] = bad
    with pytest.raises(SingularHessian, match=r"^gamma=0.1: .*not finite"):
        damped_newton_step(objective, H, 1.0, 0.1)


def test_a_stiff_matrix_is_not_singular() -> None:
    H = symmetric([1e6, 1.0, 1e-6])
    objective = quadratic(H, torch.ones(3, dtype=torch.float64))
    damped_newton_step(objective, H, 1.0, 0.0)
    assert float(objective.parameters().abs().max()) < 1e-3
