"""Self-scaled Broyden that starts again from the Gauss-Newton matrix."""

from __future__ import annotations

import torch
from jacobians import batches_of
from torch import Tensor

from pinntk.network import Network, NetworkSettings
from pinntk.optim.ssbroyden import SSBroyden, SSBroydenSettings
from pinntk.optim.updated import UpdatedMatrix
from pinntk.pdes.burgers import Burgers
from pinntk.residual.form import ResidualForm
from pinntk.residual.residuals import Residuals


def made() -> ResidualForm:
    pde = Burgers(nu=0.1)
    functions = Residuals(
        pde, Network(NetworkSettings(width=4, depth=2), pde.coordinates, pde.lower, pde.upper, seed=3)
    )
    return ResidualForm(functions, batches_of(pde, functions))


def uphill(optimizer: SSBroyden) -> None:
    """The negative of a matrix leads uphill: the next step has to start again."""
    size = len(optimizer.objective.parameters())
    optimizer.inverse, optimizer._product = UpdatedMatrix(-torch.eye(size, dtype=torch.float64)), None


def damped(objective: ResidualForm, damping: float) -> Tensor:
    """``(J^T J + mu I)^-1`` from the singular values of J."""
    J = objective.jacobian()[2].dense()
    _, s, Vt = torch.linalg.svd(J, full_matrices=True)
    squares = torch.zeros(len(Vt), dtype=J.dtype)
    squares[: len(s)] = s.square()
    inverse: Tensor = Vt.T @ torch.diag(1 / (squares + damping * squares[0])) @ Vt
    return inverse


def test_it_starts_again_from_the_gauss_newton_matrix() -> None:
    objective = made()
    optimizer = SSBroyden(objective, SSBroydenSettings(restart="gauss_newton", restart_damping=1e-4))
    for _ in range(5):
        optimizer.step()
    theta = objective.parameters()
    uphill(optimizer)
    before = float(optimizer.step()[0])
    assert torch.equal(objective.parameters(), theta)
    assert (optimizer.resets, optimizer.reason) == (1, "")
    assert optimizer.inverse is not None
    torch.testing.assert_close(optimizer.inverse.dense(), damped(objective, 1e-4), rtol=1e-8, atol=1e-8)
    gradient = objective.gradient()[1]
    expected = -damped(objective, 1e-4) @ gradient
    optimizer.step()
    moved = objective.parameters() - theta
    torch.testing.assert_close(moved / moved.norm(), expected / expected.norm(), rtol=0, atol=1e-8)
    assert float(objective.loss()) < before


def test_where_that_does_not_help_either_it_takes_the_identity() -> None:
    objective = made()
    optimizer = SSBroyden(objective, SSBroydenSettings(restart="gauss_newton"))
    for _ in range(3):
        optimizer.step()
    uphill(optimizer)
    optimizer.step()
    uphill(optimizer)
    optimizer.step()
    assert (optimizer.resets, optimizer.inverse) == (2, None)
    before = float(objective.loss())
    optimizer.step()
    assert float(objective.loss()) < before
    uphill(optimizer)
    optimizer.step()
    assert optimizer.inverse is not None  # a step was made since: it may be tried again


def test_it_goes_on_bit_for_bit_in_the_middle_of_a_restart() -> None:
    one, two = made(), made()
    settings = SSBroydenSettings(restart="gauss_newton")
    whole, first = SSBroyden(one, settings), SSBroyden(two, settings)
    for optimizer in (whole, first):
        for _ in range(3):
            optimizer.step()
        uphill(optimizer)
        optimizer.step()
    second = SSBroyden(two, settings)
    second.load_state_dict(first.state_dict())
    assert second._restarted
    for optimizer in (whole, second):
        for _ in range(4):
            optimizer.step()
    assert torch.equal(one.parameters(), two.parameters())
