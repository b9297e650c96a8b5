"""NysNewton-CG against dense damped Newton steps, and its behaviour where the model fails."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from objectives import FunctionObjective, least_squares, pinn, quadratic, random, rosenbrock, saddle, symmetric
from pydantic import ValidationError
from torch import Tensor

from pinntk.optim.cg import conjugate_gradients
from pinntk.optim.nncg import NNCGSettings, NysNewtonCG
from pinntk.validation import errors_of

PUBLISHED = {"damping_rule": "fixed", "tolerance": 1e-16, "tolerance_rule": "fixed", "refresh_every": 20, "rank": 60}


def optimizer(objective: FunctionObjective, **settings: Any) -> NysNewtonCG:
    return NysNewtonCG(objective, NNCGSettings.model_validate(settings), seed=7)


def newton(objective: FunctionObjective, mu: float) -> Tensor:
    """The dense damped step."""
    H, (_, gradient) = objective.dense(), objective.gradient()
    step: Tensor = -torch.linalg.solve(H + mu * torch.eye(len(H), dtype=torch.float64), gradient)
    return step


def convex() -> FunctionObjective:
    """``sum (cosh(x_i) + 0.1 x_i^4)`` in rotated coordinates, stiff."""
    A = symmetric([0.01 * 1.3**i for i in range(30)])
    return FunctionObjective(lambda x: torch.cosh(A @ x).sum() + 0.1 * (x**4).sum(), random(30, seed=5) / 3)


# --- conjugate gradients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [0.5, 1e-3, 1e-10])
def test_cg_ends_at_its_tolerance_and_not_later(tolerance: float) -> None:
    A, b = symmetric([1.0 + 0.5 * i for i in range(20)]), random(20)
    found = conjugate_gradients(lambda v: A @ v, b, lambda v: v, tolerance=tolerance, max_iterations=100, curvature=1.0)
    assert found.ended == "tolerance"
    torch.testing.assert_close(found.residual, b - A @ found.x, rtol=0, atol=1e-12)
    assert float((b - A @ found.x).norm()) <= 1.001 * tolerance * float(b.norm())
    capped = conjugate_gradients(
        lambda v: A @ v, b, lambda v: v, tolerance=tolerance, max_iterations=found.iterations - 1, curvature=1.0
    )
    assert capped.ended == "cap"
    assert float(capped.residual.norm()) > tolerance * float(b.norm())


def test_cg_takes_as_many_steps_as_there_are_eigenvalues() -> None:
    A = symmetric([1.0] * 10 + [5.0] * 5 + [100.0] * 3)
    found = conjugate_gradients(
        lambda v: A @ v, random(18), lambda v: v, tolerance=1e-12, max_iterations=100, curvature=1.0
    )
    assert found.iterations == 3


def test_cg_keeps_what_it_found_before_negative_curvature() -> None:
    """One step along b by hand; the second direction meets the eigenvalue -1."""
    A = torch.diag(torch.tensor([4.0, -1.0], dtype=torch.float64))
    b = torch.tensor([1.0, 0.5], dtype=torch.float64)
    found = conjugate_gradients(lambda v: A @ v, b, lambda v: v, tolerance=1e-9, max_iterations=9, curvature=1.0)
    assert (found.ended, found.iterations) == ("negative curvature", 2)
    torch.testing.assert_close(found.x, b * 1.25 / 3.75)
    torch.testing.assert_close(found.residual, b - A @ found.x)


@pytest.mark.parametrize(("curvature", "length"), [(10.0, 0.1), (0.1, 1 / 3.0)])
def test_cg_falls_back_to_preconditioned_descent(curvature: float, length: float) -> None:
    A, b = torch.diag(torch.tensor([-6.0, 0.0], dtype=torch.float64)), torch.tensor([1.0, 0.0], dtype=torch.float64)
    found = conjugate_gradients(
        lambda v: A @ v, b, lambda v: v / 2, tolerance=1e-9, max_iterations=9, curvature=curvature
    )
    assert (found.ended, found.iterations) == ("negative curvature", 1)
    torch.testing.assert_close(found.x, length * b / 2)  # p^T A p / p^T P p = -1.5 / 0.5
    torch.testing.assert_close(found.residual, b - A @ found.x)


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
    assert torch.equal(nncg.step(), before)
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
def test_without_any_step_the_iterate_stays_and_then_it_is_stuck(trials: int, rule: str) -> None:
    start = random(4)
    objective = FunctionObjective(lambda x: x @ x / 2, start)
    objective.loss = lambda: torch.tensor(math.nan)  # type: ignore[method-assign]
    nncg = optimizer(objective, damping=0.5, damping_rule=rule, max_backtracks=trials, max_failures=3)
    for failures in (1, 2, 3):
        assert not nncg.stuck
        nncg.step()
        assert torch.equal(objective.theta, start)
        assert (nncg.failures, nncg.step_length) == (failures, 0.0)
        assert nncg.function_evaluations == failures * (trials + 2)
        assert nncg.damping == pytest.approx(0.5 * 2**failures if rule == "gain" else 0.5)
    assert nncg.stuck
    assert nncg.reason == "no step length was accepted in 3 steps in a row"
    del objective.loss  # fresh points, say
    nncg.step()
    assert (nncg.stuck, nncg.failures, nncg.reason) == (False, 0, "")


def test_an_exception_in_a_trial_keeps_the_iterate() -> None:
    objective = quadratic(symmetric([1.0, 2.0]), random(2))
    start = objective.parameters()

    def interrupted() -> Tensor:
        raise KeyboardInterrupt

    objective.loss = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        optimizer(objective).step()
    assert torch.equal(objective.theta, start)


def test_no_progress_within_rounding_is_a_failure() -> None:
    """At the minimum of ``1 + x^2`` the loss cannot fall any more, though the gradient is not zero."""
    objective = FunctionObjective(lambda x: 1 + x @ x, torch.full((3,), 1e-12, dtype=torch.float64))
    nncg = optimizer(objective, max_failures=1)
    nncg.step()
    assert nncg.stuck
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
    assert (nncg.stuck, nncg.reason) == (True, reason)
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


def test_the_damping_stays_within_its_bounds() -> None:
    objective = quadratic(symmetric([5.0, 1.0]), random(2))
    nncg = optimizer(objective, damping=0.3, damping_min=0.1, damping_max=0.5)
    for _ in range(4):
        nncg.step()
    assert nncg.damping == 0.1
    objective.loss = lambda: torch.tensor(math.nan)  # type: ignore[method-assign]
    for _ in range(4):
        nncg.step()
    assert nncg.damping == 0.5


# --- counters, state, settings ----------------------------------------------------------------------------------------


def test_every_counter() -> None:
    objective = pinn()
    nncg = optimizer(objective, rank=6, refresh_every=3)
    products = 0
    for n in range(7):
        before = dict(objective.calls)
        nncg.step()
        trials = objective.calls["loss"] - before["loss"]
        if nncg.step_length > 0:
            assert nncg.step_length == 0.5 ** (trials - 1)
        products += nncg.cg_iterations + (6 if n % 3 == 0 else 0)
        assert nncg.cg_iterations > 0
        assert nncg.hessian_products == objective.calls["product"] == products
        assert nncg.gradients == objective.calls["gradient"] == n + 1
        assert nncg.function_evaluations == objective.calls["gradient"] + objective.calls["loss"]
        assert nncg.steps == n + 1


def test_factors_are_those_of_their_step_and_of_other_vectors_each_time() -> None:
    objective = pinn()
    nncg = optimizer(objective, rank=25, refresh_every=2)
    seen = []
    for n in range(4):
        H = objective.dense()
        nncg.step()
        assert nncg.nystrom is not None
        seen.append(nncg.nystrom)
        if n % 2 == 0:
            largest = torch.linalg.eigvalsh(H)[-1]
            torch.testing.assert_close(nncg.nystrom.eigenvalues[0], largest, rtol=0.05, atol=0)
    assert seen[0] is seen[1]
    assert seen[1] is not seen[2]
    assert seen[2] is seen[3]

    fixed = quadratic(symmetric([2.0**-k for k in range(9)]), random(9))
    nncg, found = optimizer(fixed, rank=2, refresh_every=1), []
    for _ in range(2):
        nncg.step()
        assert nncg.nystrom is not None
        found.append(nncg.nystrom.eigenvalues)
    assert not torch.allclose(found[0], found[1])


@pytest.mark.parametrize("cut", [0, 1, 4, 6])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(cut: int) -> None:
    whole = pinn()
    reference = optimizer(whole, rank=5, refresh_every=3)
    for _ in range(8):
        reference.step()

    objective = pinn()
    first = optimizer(objective, rank=5, refresh_every=3)
    for _ in range(cut):
        first.step()
    state = first.state_dict()
    kept = objective.parameters()
    first.step()  # must not change what was saved

    objective = pinn()
    objective.assign(kept)
    resumed = optimizer(objective, rank=5, refresh_every=3)
    resumed.step()
    objective.assign(kept)
    resumed.load_state_dict(state)
    for _ in range(8 - cut):
        resumed.step()
    assert torch.equal(objective.theta, whole.theta)
    ours, theirs = resumed.state_dict(), reference.state_dict()
    for one, other in zip(ours.pop("nystrom"), theirs.pop("nystrom"), strict=True):
        assert torch.equal(one, other)
    assert ours == theirs


def test_factors_of_another_network_are_refused() -> None:
    nncg = optimizer(pinn())
    nncg.step()
    with pytest.raises(ValueError, match="nystrom: came factors of 25 parameters; needed is 2"):
        optimizer(saddle()).load_state_dict(nncg.state_dict())


def test_another_seed_has_other_vectors() -> None:
    found = []
    for seed in (0, 0, 1):
        nncg = NysNewtonCG(convex(), NNCGSettings(rank=4), seed=seed)
        nncg.step()
        assert nncg.nystrom is not None
        found.append(nncg.nystrom.U)
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"rank": 0}, "m.rank=0: must be at least 1"),
        ({"rank": 2.5}, "m.rank=2.5: must be a whole number"),
        ({"refresh_every": 0}, "m.refresh_every=0: must be at least 1"),
        ({"damping": 0.0}, "m.damping=0.0: must be greater than 0"),
        ({"damping": math.nan}, "m.damping=NaN: must be a finite number"),
        ({"damping_rule": "trust"}, "m.damping_rule=trust: must be 'fixed' or 'gain'"),
        ({"increase": 1.0}, "m.increase=1.0: must be greater than 1"),
        ({"decrease": 0.5}, "m.decrease=0.5: must be greater than 1"),
        ({"tolerance": 1.0}, "m.tolerance=1.0: must be less than 1"),
        ({"tolerance": 0.0}, "m.tolerance=0.0: must be greater than 0"),
        ({"tolerance_rule": "sqrt"}, "m.tolerance_rule=sqrt: must be 'fixed' or 'gradient'"),
        ({"max_cg": 0}, "m.max_cg=0: must be at least 1"),
        ({"armijo": 0.5}, "m.armijo=0.5: must be less than 0.5"),
        ({"backtrack": 1.0}, "m.backtrack=1.0: must be less than 1"),
        ({"max_backtracks": -1}, "m.max_backtracks=-1: must be at least 0"),
        ({"max_failures": 0}, "m.max_failures=0: must be at least 1"),
        ({"ranks": 3}, "m.ranks=3: unknown key; did you mean 'rank'?"),
        (
            {"damping": 1e-3, "damping_min": 1e-2},
            "m: damping=0.001: with damping_rule=gain allowed is damping_min=0.01",
        ),
        (
            {"damping": 2.0, "damping_max": 1.0},
            "m: damping=2: with damping_rule=gain allowed is damping_min=1e-12 ... ",
        ),
    ],
)
def test_bad_settings_are_refused_by_name(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        NNCGSettings.model_validate(bad)
    (line,) = errors_of(error.value, NNCGSettings, bad, "m")
    assert line.startswith(message)
    assert "\n" not in line


def test_a_fixed_damping_has_no_bounds() -> None:
    assert NNCGSettings(damping_rule="fixed", damping=1e-3, damping_min=1e-2).damping == 1e-3
