"""NysNewton-CG against dense damped Newton steps, and its behaviour where the model fails."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from objectives import (
    FunctionObjective,
    convex,
    least_squares,
    optimizer,
    pinn,
    quadratic,
    random,
    rosenbrock,
    saddle,
    symmetric,
)
from torch import Tensor

PUBLISHED = {"damping_rule": "fixed", "tolerance": 1e-16, "tolerance_rule": "fixed", "refresh_every": 20, "rank": 60}


def newton(objective: FunctionObjective, mu: float) -> Tensor:
    """The dense damped step."""
    H, (_, gradient) = objective.dense(), objective.gradient()
    step: Tensor = -torch.linalg.solve(H + mu * torch.eye(len(H), dtype=torch.float64), gradient)
    return step


# --- the step ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 10, 60])
@pytest.mark.parametrize("make", [convex, pinn], ids=["convex", "pinn"])
def test_the_step_is_the_dense_damped_one(make: Callable[[], FunctionObjective], rank: int) -> None:
    objective = make()
    if make is pinn:  # near a minimum: the damped Hessian of the start has negative eigenvalues
        started = optimizer(objective)
        for _ in range(15):
            started.step()
    mu = 0.05
    assert float(torch.linalg.eigvalsh(objective.dense())[0]) + mu > 0
    theta, expected = objective.parameters(), newton(objective, mu)
    nncg = optimizer(objective, rank=rank, damping=mu, tolerance=1e-12, damping_rule="fixed")
    before = objective.loss()
    assert torch.equal(nncg.step(), before[None])
    moved = objective.parameters() - theta
    assert nncg.step_length > 0
    torch.testing.assert_close(moved, nncg.step_length * expected, rtol=1e-7, atol=1e-9 * float(expected.abs().max()))


@pytest.mark.parametrize("tolerance", [0.3, 1e-3])
def test_the_direction_is_as_exact_as_its_tolerance(tolerance: float) -> None:
    objective, mu = convex(), 1e-3
    theta, H, (_, g) = objective.parameters(), objective.dense(), objective.gradient()
    nncg = optimizer(objective, rank=3, damping=mu, tolerance=tolerance)
    nncg.step()
    d = (objective.parameters() - theta) / nncg.step_length
    residual = float((H @ d + mu * d + g).norm())
    assert 1e-3 * tolerance * float(g.norm()) < residual <= 1.0001 * tolerance * float(g.norm())


def test_the_tolerance_by_the_gradient() -> None:
    """Near the minimum ``sqrt(|g|)`` is the smaller one and asks for more iterations."""
    H = symmetric([1.0 + i for i in range(30)])
    counts = {}
    for rule in ("fixed", "gradient"):
        nncg = optimizer(quadratic(H, 1e-12 * random(30)), rank=1, tolerance=0.5, tolerance_rule=rule)
        nncg.step()
        counts[rule] = nncg.cg_iterations
    assert counts["fixed"] < 5 < counts["gradient"] < 30
    far = optimizer(quadratic(H, 1e3 * random(30)), rank=1, tolerance=0.5, tolerance_rule="gradient")
    far.step()
    assert far.cg_iterations == counts["fixed"]  # the cap holds


def test_the_preconditioner_pays() -> None:
    A = symmetric([10.0**-k for k in torch.linspace(-4, 4, 40).tolist()])
    iterations = []
    for rank in (1, 10, 40):
        nncg = optimizer(quadratic(A, random(40)), rank=rank, damping=1e-3, damping_rule="fixed", tolerance=1e-8)
        nncg.step()
        iterations.append(nncg.cg_iterations)
    assert iterations[2] <= 3
    assert iterations[2] < iterations[1] < iterations[0]


def test_the_preconditioner_has_the_damping_of_the_moment() -> None:
    """A quadratic's factors are exact at full rank whatever mu: always one or two iterations."""
    A = symmetric([10.0**-k for k in range(8)])
    nncg = optimizer(quadratic(A, 1e3 * random(8)), damping=1.0, decrease=10.0, tolerance=1e-6)
    for _ in range(4):
        nncg.step()
        assert nncg.cg_iterations <= 2
    assert nncg.damping == pytest.approx(1e-4)


def test_least_squares_to_the_solution() -> None:
    objective, solved = least_squares()
    nncg = optimizer(objective, tolerance=1e-2)
    for _ in range(12):
        nncg.step()
    torch.testing.assert_close(objective.parameters(), solved, rtol=0, atol=1e-8)


@pytest.mark.parametrize("settings", [{}, {**PUBLISHED, "damping": 1e-2}], ids=["own", "published"])
def test_rosenbrock(settings: dict[str, Any]) -> None:
    objective = rosenbrock()
    nncg = optimizer(objective, **settings)
    for _ in range(60):
        nncg.step()
    torch.testing.assert_close(objective.parameters(), torch.ones(2).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mu", [1e-5, 1e-3, 1e-1])
def test_the_published_settings_on_a_pinn(mu: float) -> None:
    objective = pinn()
    nncg = optimizer(objective, **PUBLISHED, damping=mu)
    assert (nncg.settings.max_cg, nncg.settings.armijo, nncg.settings.backtrack) == (1000, 0.1, 0.5)
    losses = [float(nncg.step()) for _ in range(25)]
    assert all(after <= before for before, after in pairwise(losses))
    assert losses[-1] < 0.05 * losses[0]
    assert nncg.damping == mu


def test_the_defaults_train_a_pinn() -> None:
    objective = pinn()
    nncg = optimizer(objective)
    losses = [float(nncg.step()) for _ in range(40)]
    assert losses[-1] < 1e-4 * losses[0]


# --- where the model fails --------------------------------------------------------------------------------------------


def test_negative_curvature_leaves_the_saddle_downwards() -> None:
    objective = saddle()
    nncg = optimizer(objective)
    losses = [float(nncg.step()) for _ in range(40)]
    assert all(after < before for before, after in pairwise(losses[:10]))
    torch.testing.assert_close(objective.parameters(), torch.tensor([0.0, 1.0]).double(), rtol=0, atol=1e-6)


def test_the_first_step_along_negative_curvature_by_hand() -> None:
    """All curvature is -0.05 after the damping, less in size than mu = 0.1, which is the step's scale."""
    objective = quadratic(symmetric([-0.15] * 4), random(4))
    theta, (_, gradient) = objective.parameters(), objective.gradient()
    nncg = optimizer(objective, damping=0.1)
    nncg.step()
    assert (nncg.step_length, nncg.cg_iterations) == (1.0, 1)
    torch.testing.assert_close(objective.parameters() - theta, -gradient / 0.1, rtol=1e-10, atol=0)


def test_the_cap_on_conjugate_gradients() -> None:
    objective = convex()
    nncg = optimizer(objective, rank=1, tolerance=1e-12, max_cg=3)
    before = float(nncg.step())
    assert nncg.cg_iterations == 3
    assert float(objective.loss()) < before


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_never_accepted(bad: float) -> None:
    """The full step and the half one end where the loss is bad."""

    def function(x: Tensor) -> Tensor:
        value = x @ x / 2
        return torch.where(x[0] < 0.6, torch.full_like(value, bad), value)

    objective = FunctionObjective(function, torch.tensor([1.0, 1.0], dtype=torch.float64))
    nncg = optimizer(objective, damping=1e-9, damping_rule="gain", tolerance=1e-8)
    nncg.step()
    assert nncg.step_length == 0.25
    assert nncg.gain_ratio == -math.inf
    assert nncg.damping == pytest.approx(2e-9)
    torch.testing.assert_close(objective.parameters(), torch.full((2,), 0.75).double())
    for _ in range(20):
        nncg.step()
        assert math.isfinite(float(objective.loss()))


@pytest.mark.parametrize("rule", ["fixed", "gain"])
@pytest.mark.parametrize("trials", [0, 3])
def test_without_any_step_the_iterate_stays_and_then_it_is_stuck(
    trials: int, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = random(4)
    objective = FunctionObjective(lambda x: x @ x / 2, start)
    nncg = optimizer(objective, damping=0.5, damping_rule=rule, max_backtracks=trials, max_failures=3)
    with monkeypatch.context() as patch:
        patch.setattr(objective, "loss", lambda: torch.tensor(math.nan))
        for failures in (1, 2, 3):
            assert not nncg.reason
            nncg.step()
            assert torch.equal(objective.theta, start)
            assert (nncg.failures, nncg.step_length) == (failures, 0.0)
            assert nncg.function_evaluations == failures * (trials + 2)
            assert nncg.damping == pytest.approx(0.5 * 2**failures if rule == "gain" else 0.5)
        assert nncg.reason == "no step length was accepted in 3 steps in a row"
    # The loss is finite again; at fresh points, say.
    nncg.step()
    assert (nncg.failures, nncg.reason) == (0, "")


def test_an_exception_in_a_trial_keeps_the_iterate(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = quadratic(symmetric([1.0, 2.0]), random(2))
    start = objective.parameters()

    def interrupted() -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(objective, "loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        optimizer(objective).step()
    assert torch.equal(objective.theta, start)


def test_no_progress_within_rounding_is_a_failure() -> None:
    """At the minimum of ``1 + x^2`` the loss cannot fall any more, though the gradient is not zero."""
    objective = FunctionObjective(lambda x: 1 + x @ x, torch.full((3,), 1e-12, dtype=torch.float64))
    nncg = optimizer(objective, max_failures=1)
    nncg.step()
    assert nncg.reason
    assert torch.equal(objective.theta, torch.full((3,), 1e-12, dtype=torch.float64))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x @ x * math.nan, "the loss or its gradient is not finite"),
        (lambda x: (x - x.detach()).norm() + x.sum() * 0, "the gradient is zero"),
        (lambda x: x.abs().pow(1.5).sum() + x.sum(), "a product with the curvature matrix is not finite"),
    ],
)
def test_why_it_is_stuck(function: Callable[[Tensor], Tensor], reason: str) -> None:
    objective = FunctionObjective(function, torch.zeros(3, dtype=torch.float64))
    nncg = optimizer(objective)
    nncg.step()
    assert nncg.reason == reason
    assert objective.assigned == []


# --- damping ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cubic", "factor"),
    [
        (0.0, 1 / 2.5),  # the model is exact: ratio 1
        (-0.5, 1 / 2.5),  # better than foretold
        (1.0, 1.0),  # ratio 1/2, between the bounds
        (1.55, 4.0),  # ratio 0.225, accepted
        (1.65, 4.0),  # the loss falls by 0.0875, less than alpha times the slope: refused
        (3.0, 4.0),  # it rises
    ],
)
def test_the_damping_by_hand(cubic: float, factor: float) -> None:
    """``L = x + x^2 / 2 - cubic x^3 / 4`` at 0 with a tiny mu: ``d = -1``, ``m(0) - m(d) = 1/2`` and ``L(0) - L(d) =
    1/2 - cubic / 4``, so the gain ratio is ``1 - cubic / 2``."""
    objective = FunctionObjective(
        lambda x: (x + x**2 / 2 - cubic / 4 * x**3).sum(), torch.zeros(1, dtype=torch.float64)
    )
    nncg = optimizer(objective, damping=1e-9, increase=4.0, decrease=2.5, tolerance=1e-10)
    nncg.step()
    assert nncg.gain_ratio == pytest.approx(1 - cubic / 2, abs=1e-7)
    assert nncg.damping == pytest.approx(factor * 1e-9)
    assert (nncg.step_length < 1) == (cubic > 1.6)


def test_the_gain_ratio_is_that_of_the_undamped_model() -> None:
    """On a quadratic the model is exact whatever the damping and however early conjugate gradients end."""
    for tolerance in (0.5, 1e-8):
        nncg = optimizer(quadratic(symmetric([5.0, 1.0, 0.2]), random(3)), rank=1, damping=2.0, tolerance=tolerance)
        nncg.step()
        assert nncg.gain_ratio == pytest.approx(1.0, rel=1e-10)
    nncg = optimizer(quadratic(symmetric([-5.0, -1.0, -2.0]), random(3)))
    nncg.step()
    assert nncg.gain_ratio == pytest.approx(1.0, rel=1e-10)


def test_the_damping_stays_within_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = quadratic(symmetric([5.0, 1.0]), random(2))
    nncg = optimizer(objective, damping=0.3, damping_min=0.1, damping_max=0.5)
    for _ in range(4):
        nncg.step()
    assert nncg.damping == 0.1
    monkeypatch.setattr(objective, "loss", lambda: torch.tensor(math.nan))
    for _ in range(4):
        nncg.step()
    assert nncg.damping == 0.5
