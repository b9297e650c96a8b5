"""The inverse of an earlier step's Gauss-Newton matrix as a preconditioner, and NysNewton-CG with it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from objectives import ResidualObjective, bent, random, symmetric

from pinntk.optim.cg import conjugate_gradients
from pinntk.optim.lagged import DRIFT, Lagged
from pinntk.optim.nncg import NNCGSettings, NysNewtonCG
from pinntk.optim.nystrom import Nystrom

EYE = torch.eye(12, dtype=torch.float64)
STIFF = symmetric([10.0**-k for k in range(12)])


@pytest.mark.parametrize("mu", [1e-6, 1e-2, 30.0])
def test_the_inverse_of_the_damped_matrix(mu: float) -> None:
    v = random(12)
    expected = mu * torch.linalg.solve(STIFF + mu * EYE, v)
    torch.testing.assert_close(Lagged(STIFF).precondition(v, mu), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("mu", "renewed"), [(1e-2, False), (0.99e-2 / DRIFT, True), (1.01e-2 * DRIFT, True)])
def test_it_is_made_anew_where_the_damping_has_drifted(mu: float, renewed: bool) -> None:
    lagged, v = Lagged(STIFF), random(12)
    for near in (1e-2, 0.02, 1.01e-2 / DRIFT, 0.99e-2 * DRIFT):
        expected = near * torch.linalg.solve(STIFF + 1e-2 * EYE, v)
        torch.testing.assert_close(lagged.precondition(v, near), expected, rtol=1e-9, atol=1e-9)
    lagged.precondition(v, mu)
    assert lagged.mu == (mu if renewed else 1e-2)


@pytest.mark.parametrize("mu", [1e-300, 1e-17, 1e-12])
def test_a_matrix_that_rounding_has_made_indefinite(mu: float) -> None:
    """Rank 3 of 12, and a damping below its rounding errors: positive definite all the same."""
    lagged = Lagged(symmetric([5.0, 2.0, 1.0] + [0.0] * 9) - 1e-15 * EYE)
    for seed in range(5):
        v = random(12, seed=seed)
        found = lagged.precondition(v, mu)
        assert found.isfinite().all()
        assert float(v @ found) > 0


def test_conjugate_gradients_behind_it() -> None:
    """One product with the damping it was made for, few at the ends of its range."""
    b, counts = random(12), []
    for mu in (1e-4, 1e-4 * DRIFT, 1e-4 / DRIFT):
        lagged = Lagged(STIFF, mu=1e-4)

        def product(v: torch.Tensor, mu: float = mu) -> torch.Tensor:
            return STIFF @ v + mu * v

        def precondition(v: torch.Tensor, mu: float = mu, lagged: Lagged = lagged) -> torch.Tensor:
            return lagged.precondition(v, mu)

        found = conjugate_gradients(product, b, precondition, tolerance=0.1, max_iterations=50, curvature=mu)
        torch.testing.assert_close(product(found.x), b, rtol=0, atol=0.1 * float(b.norm()))
        counts.append(found.iterations)
    assert counts[0] == 1
    assert max(counts) <= 5


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(FloatingPointError, match="a product with the curvature matrix is not finite"):
        Lagged(torch.full((3, 3), torch.nan))


def optimizer(objective: ResidualObjective, **settings: Any) -> NysNewtonCG:
    return NysNewtonCG(objective, NNCGSettings.model_validate({"rank": 5, **settings}), seed=7)


@pytest.mark.parametrize(("rank", "kind"), [(3, Nystrom), (4, Nystrom), (5, Lagged), (60, Lagged)])
@pytest.mark.parametrize("rows", [4, 9])
def test_the_step_is_the_dense_damped_one(rank: int, kind: type, rows: int) -> None:
    objective, mu = bent(rows, 5), 1e-3
    J, r, theta = objective.dense(), objective.residuals(), objective.parameters()
    expected = -torch.linalg.solve(J.T @ J + mu * torch.eye(5, dtype=torch.float64), J.T @ r)
    made = optimizer(objective, rank=rank, damping=mu, tolerance=1e-12)
    losses = made.step()
    assert isinstance(made.preconditioner, kind)
    torch.testing.assert_close(losses, (r @ r / 2)[None])
    assert made.step_length > 0
    torch.testing.assert_close(objective.parameters() - theta, made.step_length * expected, rtol=1e-8, atol=1e-10)
    assert made.hessian_products == min(rank, 5) + made.cg_iterations
    if kind is Lagged:
        assert made.cg_iterations == 1


def test_it_is_that_of_an_earlier_step() -> None:
    objective = bent(9, 5)
    made, first, seen = optimizer(objective, refresh_every=3), objective.dense(), []
    for _ in range(4):
        J = objective.dense()
        made.step()
        seen.append(made.preconditioner)
    assert seen[0] is seen[1] is seen[2]
    assert isinstance(seen[0], Lagged)
    assert isinstance(seen[3], Lagged)
    torch.testing.assert_close(seen[0].matrix, first.T @ first)
    torch.testing.assert_close(seen[3].matrix, J.T @ J)


@pytest.mark.parametrize("cut", [0, 1, 2, 5])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(cut: int) -> None:
    """Over changes of the damping within the inverse's range."""
    whole, objective = bent(9, 5), bent(9, 5)
    reference, first, again = (optimizer(o, refresh_every=4, decrease=2.0) for o in (whole, objective, objective))
    for _ in range(8):
        reference.step()
    for _ in range(cut):
        first.step()
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(8 - cut):
        again.step()
    assert torch.equal(objective.theta, whole.theta)
    ours, theirs = again.state_dict(), reference.state_dict()
    assert torch.equal(ours["lagged"][0], theirs["lagged"][0])
    assert ours["lagged"][1] == theirs["lagged"][1]
    assert ours["damping"] == theirs["damping"] != reference.settings.damping


def test_a_matrix_of_another_network_is_refused() -> None:
    made = optimizer(bent(9, 5))
    made.step()
    with pytest.raises(ValueError, match="lagged: came factors of 5 parameters; needed is 4"):
        optimizer(bent(9, 4)).load_state_dict(made.state_dict())


def test_residuals_or_a_jacobian_that_are_not_finite() -> None:
    made = optimizer(ResidualObjective(lambda x: x * torch.nan, torch.ones(5).double()))
    made.step()
    assert made.reason == "the loss or its gradient is not finite"
    objective = ResidualObjective(lambda x: torch.cat([x, x[:1].sqrt() * 0 + 1]), torch.tensor([0.0, 1.0]).double())
    made = optimizer(objective)
    made.step()
    assert made.reason == "the loss or its gradient is not finite"
    assert torch.equal(objective.theta, torch.tensor([0.0, 1.0]).double())
