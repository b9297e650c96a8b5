"""The natural gradient against dense damped least squares, its damping by hand, and where no step is to be had."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from conditioned import error, exactly, with_condition
from objectives import ResidualObjective, bent, natural_gradient, random
from pydantic import ValidationError
from torch import Tensor

from pinntk.optim.natural_gradient import NaturalGradientSettings, chosen_way

SOLVERS = ["kernel", "parameters", "orthogonal", "iterative"]
EXACT: dict[str, Any] = {"rank": 4, "tolerance": 1e-13}
solvers = pytest.mark.parametrize("solver", SOLVERS)
wide_and_tall = pytest.mark.parametrize(("rows", "parameters"), [(7, 19), (19, 7)], ids=["wide", "tall"])


def linear(rows: int, parameters: int) -> ResidualObjective:
    A, b = random(rows, parameters, seed=1), random(rows, seed=2)
    return ResidualObjective(lambda x: A @ x - b, random(parameters, seed=3))


def one(c: float) -> ResidualObjective:
    """``r = 1 + x + c x^2`` at 0: with hardly any damping ``d = -1``, the linear model ends at 0 and r at c."""
    return ResidualObjective(lambda x: 1 + x + c * x**2, torch.zeros(1, dtype=torch.float64))


def failing() -> ResidualObjective:
    """Finite at its start alone."""
    start = random(3, seed=8)
    return ResidualObjective(lambda x: torch.where(x.detach() == start, x, torch.nan), start)


def damped(J: Tensor, r: Tensor, mu: float) -> Tensor:
    """The dense solution of ``min |J d + r|^2 + mu |d|^2``."""
    size = J.shape[1]
    matrix = torch.cat([J, math.sqrt(mu) * torch.eye(size, dtype=J.dtype)])
    right = torch.cat([-r, torch.zeros(size, dtype=J.dtype)])
    solved: Tensor = torch.linalg.lstsq(matrix, right[:, None]).solution[:, 0]
    return solved


# --- the step ---------------------------------------------------------------------------------------------------------


@solvers
@wide_and_tall
@pytest.mark.parametrize("make", [linear, bent])
@pytest.mark.parametrize("mu", [1e-3, 2.0])
def test_the_step_is_that_of_dense_least_squares(
    make: Callable[[int, int], ResidualObjective], rows: int, parameters: int, solver: str, mu: float
) -> None:
    objective = make(rows, parameters)
    theta, J, before = objective.parameters(), objective.dense(), objective.function(objective.theta)
    optimizer = natural_gradient(objective, solver=solver, damping=mu, trials=1, **EXACT)
    assert torch.equal(optimizer.step(), before.square().sum()[None] / 2)
    assert (optimizer.way, optimizer.trials, optimizer.failures) == (solver, 1, 0)
    expected = damped(J, before, mu)
    torch.testing.assert_close(objective.theta - theta, expected, rtol=0, atol=1e-8 * float(expected.norm()))


@wide_and_tall
def test_the_way_by_the_shape(rows: int, parameters: int) -> None:
    for limit, way in ((7, "orthogonal"), (6, "iterative")):
        optimizer = natural_gradient(bent(rows, parameters), dense_limit=limit)
        optimizer.step()
        assert optimizer.way == way
        assert (optimizer.nystrom is not None) == (way == "iterative")


def test_the_way_of_a_square_matrix_and_at_the_limits() -> None:
    assert chosen_way((5, 5), 5) == "orthogonal"
    assert chosen_way((6, 6), 5) == "iterative"
    assert chosen_way((5, 60), 5) == chosen_way((60, 5), 5) == "orthogonal"
    n = 2**13
    assert chosen_way((n, 2**14), n) == chosen_way((2**14, n), n) == "orthogonal"
    assert chosen_way((n, 2**14 + 1), n) == "kernel"  # more than 1 GiB
    assert chosen_way((2**14 + 1, n), n) == "parameters"


@pytest.mark.parametrize("shape", [(12, 25), (25, 12)], ids=["wide", "tall"])
def test_as_a_rule_no_condition_number_is_squared(shape: tuple[int, int]) -> None:
    """A condition of 1e10 and mu = 1e-14 of the largest eigenvalue, so that J above ``sqrt(mu) I`` has one of 1e7."""
    J = with_condition(*shape, condition=1e10)
    r = J @ random(shape[1], seed=5)
    errors = []
    for solver in ("auto", "kernel" if shape[0] < shape[1] else "parameters"):
        objective = ResidualObjective(lambda x: r + J @ x, torch.zeros(shape[1], dtype=torch.float64))
        natural_gradient(objective, solver=solver, damping=1e-14, trials=1).step()
        errors.append(error(objective.theta, exactly(J, r, 1e-14)))
    assert errors[0] < 1e-8
    assert errors[1] > 1e-4  # of Cholesky factors: half the digits and more are gone


def test_the_iterative_step_is_as_exact_as_its_tolerance() -> None:
    objective = linear(40, 30)
    theta, J, r = objective.parameters(), objective.dense(), objective.function(objective.theta)
    natural_gradient(objective, solver="iterative", damping=1e-3, rank=2, tolerance=1e-2).step()
    d, gradient = objective.theta - theta, J.T @ r
    left = float((J.T @ (J @ d) + 1e-3 * d + gradient).norm() / gradient.norm())
    assert 1e-5 < left <= 1.0001e-2


@pytest.mark.parametrize("solver", ["auto", "iterative"])
def test_rosenbrock(solver: str) -> None:
    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    objective = ResidualObjective(lambda x: torch.stack([1 - x[0], 10 * (x[1] - x[0] ** 2)]), start)
    optimizer = natural_gradient(objective, solver=solver)
    losses = []
    for _ in range(40):
        losses.append(float(optimizer.step()[0]))
    assert all(after <= before for before, after in pairwise(losses))
    torch.testing.assert_close(objective.theta, torch.ones(2).double(), rtol=0, atol=1e-6)


# --- damping ----------------------------------------------------------------------------------------------------------


@solvers
@wide_and_tall
def test_on_a_linear_model_the_gain_is_one(rows: int, parameters: int, solver: str) -> None:
    """Whatever the damping, and however early conjugate gradients end."""
    optimizer = natural_gradient(
        linear(rows, parameters), solver=solver, damping=0.5, decrease=3.0, tolerance=0.3, rank=1
    )
    optimizer.step()
    assert optimizer.gain_ratio == pytest.approx(1.0, rel=1e-12)
    assert optimizer.damping == pytest.approx(0.5 / 3, rel=1e-12)


@pytest.mark.parametrize(
    ("gain", "factor"),
    [
        (1.0, 1 / 5),
        (0.98, 1 / 5),  # 1 - 0.96^3 = 0.115 is below the bound
        (0.9, 0.488),
        (0.5, 1.0),
        (0.25, 1.125),
        (0.002, 1.988047872),
        (0.0005, 7.0),  # next to nothing: refused
        (0.0, 7.0),
        (-3.0, 7.0),
    ],
)
def test_the_damping_by_hand(gain: float, factor: float) -> None:
    """`one` has the gain ratio ``1 - c^2``."""
    objective = one(math.sqrt(1 - gain))
    optimizer = natural_gradient(objective, damping=1e-10, increase=7.0, decrease=5.0, trials=1)
    optimizer.step()
    assert optimizer.gain_ratio == pytest.approx(gain, abs=1e-8)
    assert optimizer.damping == pytest.approx(factor * 1e-10, rel=1e-6)
    assert float(objective.theta) == pytest.approx(0.0 if factor == 7 else -1.0, abs=1e-8)


def test_a_gain_of_more_than_one_counts_as_one() -> None:
    objective = ResidualObjective(lambda x: torch.cat([1 + x, 1 + x**3]), torch.zeros(1, dtype=torch.float64))
    optimizer = natural_gradient(objective, damping=1e-10)
    optimizer.step()  # d = -1; the second residual vanishes, too: 1/2 was foretold and 1 is gained
    assert optimizer.gain_ratio == pytest.approx(2.0)
    assert optimizer.damping == pytest.approx(1e-10 / 5)


def test_trials_go_on_until_the_damping_is_enough() -> None:
    """For c = 2, ``d = -1 / (1 + mu)`` lowers the loss from mu = 1 on: 0.1 and 0.4 are refused, 1.6 is not."""
    objective = one(2.0)
    optimizer = natural_gradient(objective, damping=0.1, increase=4.0)
    optimizer.step()
    t = 1 / 2.6
    gain = (1 - (1 - t + 2 * t**2) ** 2) / (1 - (1 - t) ** 2)
    assert float(objective.theta) == pytest.approx(-t, rel=1e-12)
    assert optimizer.gain_ratio == pytest.approx(gain, rel=1e-10)
    assert optimizer.damping == pytest.approx(1.6 * (1 - (2 * gain - 1) ** 3), rel=1e-10)
    assert (optimizer.trials, optimizer.failures, optimizer.steps) == (3, 0, 1)
    assert optimizer.function_evaluations == objective.evaluations == 4


def test_the_damping_stays_within_its_bounds() -> None:
    optimizer = natural_gradient(linear(9, 5), damping=0.3, damping_min=0.1, damping_max=0.5)
    for _ in range(3):
        optimizer.step()
        assert optimizer.damping == 0.1
    refused = natural_gradient(failing(), damping=0.3, damping_min=0.1, damping_max=0.5, trials=1)
    for _ in range(3):
        refused.step()
        assert refused.damping == 0.5


@pytest.mark.parametrize("damping", [1e-3, 20.0])
def test_a_damping_outside_its_bounds_is_an_error_that_names_the_key(damping: float) -> None:
    with pytest.raises(ValidationError, match=rf"damping={damping:g}: allowed is damping_min=0.01 ... damping_max=10"):
        NaturalGradientSettings(damping=damping, damping_min=0.01, damping_max=10.0)


@pytest.mark.parametrize(("key", "value"), [("increase", 1.0), ("decrease", 1.0), ("trials", 0), ("tolerance", 1.0)])
def test_other_settings_are_checked(key: str, value: float) -> None:
    with pytest.raises(ValidationError, match=key):
        NaturalGradientSettings.model_validate({key: value})


# --- where there is no step -------------------------------------------------------------------------------------------


@solvers
def test_a_refused_step_leaves_the_parameters_bit_for_bit_and_then_it_is_stuck(solver: str) -> None:
    objective = failing()
    start = objective.parameters()
    optimizer = natural_gradient(objective, solver=solver, damping=0.1, increase=2.0, trials=3, max_failures=3)
    for failures in (1, 2, 3):
        assert optimizer.reason == ""
        optimizer.step()
        assert torch.equal(objective.theta, start)
        assert (optimizer.trials, optimizer.failures, optimizer.steps) == (3, failures, failures)
        assert optimizer.gain_ratio == -math.inf
        assert optimizer.damping == pytest.approx(0.1 * 8**failures)
        assert optimizer.function_evaluations == objective.evaluations == 4 * failures
    assert optimizer.reason == f"no damping up to {0.1 * 8**3:.1e} lowers the loss"
    objective.function = lambda x: x  # at fresh points, say
    optimizer.step()
    assert (optimizer.failures, optimizer.reason) == (0, "")
    assert objective.loss() < float(start.square().sum() / 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_never_accepted(bad: float) -> None:
    objective = ResidualObjective(
        lambda x: torch.where(x < 0.6, torch.full_like(x, bad), x), torch.ones(2, dtype=torch.float64)
    )
    optimizer = natural_gradient(objective, damping=0.1, increase=2.0)
    optimizer.step()  # the trials end at mu / (1 + mu): 1.6 is the first whose end is above 0.6
    torch.testing.assert_close(objective.theta, torch.full((2,), 1.6 / 2.6).double())
    assert optimizer.trials == 5


def test_at_residuals_that_are_not_finite_it_is_stuck() -> None:
    objective = ResidualObjective(lambda x: x * math.nan, torch.ones(2, dtype=torch.float64))
    optimizer = natural_gradient(objective)
    assert optimizer.step().isnan().all()
    assert optimizer.reason == "the residuals are not finite"
    assert torch.equal(objective.theta, torch.ones(2).double())


@solvers
def test_a_jacobian_that_is_not_finite_moves_nothing(solver: str) -> None:
    """The square root's at zero."""
    objective = ResidualObjective(lambda x: 1 + x.sqrt(), torch.zeros(3, dtype=torch.float64))
    optimizer = natural_gradient(objective, solver=solver, max_failures=1, rank=2)
    optimizer.step()
    assert optimizer.reason
    if solver == "iterative":
        assert optimizer.reason == "a product with the curvature matrix is not finite"
    assert torch.equal(objective.theta, torch.zeros(3).double())
    objective.assign(torch.ones(3).double())
    optimizer.step()
    assert optimizer.reason == ""
    assert objective.loss() < 0.5 * 12


@pytest.mark.parametrize("late", [False, True])
def test_an_exception_in_a_trial_keeps_the_iterate(late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = one(2.0)  # whose first two trials, with mu = 0.1 and 0.4, are refused
    optimizer = natural_gradient(objective, damping=0.1)
    ends: list[Tensor] = []

    def interrupted() -> Tensor:
        ends.append(objective.theta)
        if len(ends) == 2 + late:  # the first is the start
            raise KeyboardInterrupt
        return objective.function(objective.theta)

    monkeypatch.setattr(objective, "residuals", interrupted)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    assert float(ends[-1]) == pytest.approx(-1 / 1.4 if late else -1 / 1.1)
    assert torch.equal(objective.theta, torch.zeros(1).double())
