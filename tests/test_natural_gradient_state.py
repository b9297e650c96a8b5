"""What a natural gradient saves: loaded anywhere, it goes on bit for bit."""

import io
from typing import Any

import pytest
import torch
from objectives import ResidualObjective, bent, natural_gradient, random
from torch import Tensor

from pinntk.optim.natural_gradient import NaturalGradient

SETTINGS: dict[str, Any] = {"rank": 3, "refresh_every": 4, "tolerance": 0.1, "damping": 1e-3}


def stepped(steps: int, **settings: Any) -> tuple[ResidualObjective, NaturalGradient]:
    objective = bent(24, 15)
    optimizer = natural_gradient(objective, **{**SETTINGS, **settings})
    for _ in range(steps):
        optimizer.step()
    return objective, optimizer


def through_a_file(state: dict[str, Any], theta: Tensor) -> tuple[dict[str, Any], Tensor]:
    file = io.BytesIO()
    torch.save((state, theta), file)
    file.seek(0)
    loaded: tuple[dict[str, Any], Tensor] = torch.load(file, weights_only=True)
    return loaded


def plain(optimizer: NaturalGradient) -> dict[str, Any]:
    return {name: value for name, value in optimizer.state_dict().items() if name != "nystrom"}


@pytest.mark.parametrize("solver", ["kernel", "parameters", "orthogonal", "iterative"])
@pytest.mark.parametrize("cut", [1, 4, 6])
def test_saved_and_loaded_it_goes_on_bit_for_bit(solver: str, cut: int) -> None:
    """With preconditioners at steps 0, 4 and 8, the second of which is in use at the cut after 6."""
    objective, optimizer = stepped(cut, solver=solver)
    state, theta = through_a_file(optimizer.state_dict(), objective.theta)
    other, resumed = stepped(0, solver=solver, damping=5.0)
    other.assign(theta)
    resumed.load_state_dict(state)
    assert plain(resumed) == plain(optimizer)
    for _ in range(5):
        optimizer.step()
        resumed.step()
        assert torch.equal(other.theta, objective.theta)
        assert plain(resumed) == plain(optimizer)


def test_the_preconditioner_has_to_be_saved() -> None:
    """Another one gives other bits: the test above would notice if it were lost."""
    ends = []
    for lost in (False, True):
        objective, optimizer = stepped(6, solver="iterative")
        state = optimizer.state_dict()
        optimizer.load_state_dict({**state, "nystrom": None} if lost else state)
        optimizer.step()
        ends.append(objective.theta)
    assert not torch.equal(*ends)


def test_a_preconditioner_serves_its_steps() -> None:
    _, optimizer = stepped(0, solver="iterative", refresh_every=3)
    made = []
    for _ in range(7):
        optimizer.step()
        made.append(optimizer.nystrom)
    assert [made[i] is made[i - 1] for i in range(1, 7)] == [True, True, False, True, True, False]


def test_the_jacobian_of_these_tests_is_the_dense_one() -> None:
    objective = bent(7, 19)
    J = objective.jacobian()[2]
    assert torch.equal(J.dense(), objective.dense())
    torch.testing.assert_close(J.gram(), objective.dense() @ objective.dense().T)


def test_every_preconditioner_has_random_vectors_of_its_own() -> None:
    """Though the matrix is the same: by the seed and the number of the preconditioner."""
    A = random(24, 15)
    found = []
    for seed in (3, 3, 4):
        objective = ResidualObjective(lambda x: A @ x, random(15, seed=1))
        optimizer = natural_gradient(objective, **{**SETTINGS, "solver": "iterative", "refresh_every": 1})
        optimizer.seed = seed
        for _ in range(2):
            optimizer.step()
            assert optimizer.nystrom is not None
            found.append(optimizer.nystrom.U)
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])
    for a, b in ((0, 1), (0, 4), (1, 5), (4, 5)):
        assert not torch.allclose(found[a], found[b])
