"""Gauss-Newton with control of the gain ratio against dense linear algebra of NumPy and SciPy."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from conditioned import error, exactly, with_condition
from conftest import Cli, rows_of
from objectives import ResidualObjective, bent, random
from torch import Tensor

from pinntk.launch.cli import compose
from pinntk.methods.draws import draws_by
from pinntk.optim.gauss_newton import GaussNewtonSettings, GaussNewtonSteps, Sketch
from pinntk.optim.least_squares import TrustRegion
from pinntk.report.reading import find_runs
from pinntk.report.steps import steps
from pinntk.report.table import make_table
from pinntk.runs.settings import RunSettings

shapes = pytest.mark.parametrize("shape", [(19, 7), (7, 19), (8, 8)], ids=["tall", "wide", "square"])


def optimizer(objective: ResidualObjective, **settings: Any) -> GaussNewtonSteps:
    return GaussNewtonSteps(objective, GaussNewtonSettings(**settings), seed=3)


def within(J: Tensor, r: Tensor, radius: float) -> np.ndarray[Any, Any]:
    """``argmin |J d + r|`` with ``|d| <= radius``: dense, by a root of ``|d| - radius`` in log lambda."""
    A, b = J.numpy(), r.numpy()
    free = -np.linalg.lstsq(A, b, rcond=None)[0]
    if np.linalg.norm(free) <= radius:
        return np.asarray(free)

    def at(log: float) -> np.ndarray[Any, Any]:
        rows, right = np.vstack([A, math.exp(log / 2) * np.eye(A.shape[1])]), np.append(-b, np.zeros(A.shape[1]))
        return np.asarray(np.linalg.lstsq(rows, right, rcond=None)[0])

    log = scipy.optimize.brentq(lambda x: np.linalg.norm(at(x)) - radius, -30, 30, xtol=1e-14)
    return at(log)


# --- the step ---------------------------------------------------------------------------------------------------------


@shapes
@pytest.mark.parametrize("radius", [1e-3, 0.1, 0.5, 1e3])
def test_the_step_is_the_minimiser_within_its_radius(shape: tuple[int, int], radius: float) -> None:
    J, r = random(*shape, seed=1), random(shape[0], seed=2)
    d, damping = TrustRegion(J, r).step(radius)
    torch.testing.assert_close(d, torch.from_numpy(within(J, r, radius)), rtol=1e-8, atol=1e-10)
    if damping:
        assert float(d.norm()) == pytest.approx(radius, rel=1e-10)
        gradient = J.T @ (J @ d + r) + damping * d
        assert float(gradient.norm()) <= 1e-10 * float((J.T @ r).norm())
    else:
        assert float(d.norm()) <= radius


def test_dependent_columns_give_the_shortest_minimiser() -> None:
    J = random(12, 4, seed=1)
    J = torch.cat([J, J @ random(4, 3, seed=5)], dim=1)  # rank 4
    r = random(12, seed=2)
    d, damping = TrustRegion(J, r).step(1e6)
    assert damping == 0
    torch.testing.assert_close(d.numpy(), -np.linalg.pinv(J.numpy(), rcond=1e-12) @ r.numpy(), rtol=1e-9, atol=1e-12)


def test_it_is_as_exact_as_j_itself_where_the_normal_equations_have_no_digit() -> None:
    """A condition of 1e11: its square is beyond float64."""
    n = 6
    U, V = (torch.linalg.qr(random(n, n, seed=k)).Q for k in (1, 2))
    values = torch.logspace(0, -11, n, dtype=torch.float64)
    J, known = U @ torch.diag(values) @ V.T, random(n, seed=3)
    d, _ = TrustRegion(J, -(J @ known)).step(1e6)
    assert float((d - known).norm()) <= 1e-4 * float(known.norm())


@pytest.mark.parametrize("shape", [(12, 25), (25, 12), (20, 20)], ids=["wide", "tall", "square"])
@pytest.mark.parametrize("damping", [1e-14, 1e-10, 1e-3])
def test_the_step_of_a_bad_condition_against_sixty_digits(shape: tuple[int, int], damping: float) -> None:
    """A condition of 1e10; of ``J J^T + lambda I``, or ``J^T J + lambda I``, half the digits and more are gone."""
    J = with_condition(*shape, condition=1e10)
    r = J @ random(shape[1], seed=5)
    d, found = TrustRegion(J, r).step(float(exactly(J, r, damping).norm()))
    assert error(d, exactly(J, r, found)) < 1e-8
    gram = J @ J.T if shape[0] < shape[1] else J.T @ J
    gram.diagonal().add_(found)
    squared = -J.T @ torch.linalg.solve(gram, r) if shape[0] < shape[1] else -torch.linalg.solve(gram, J.T @ r)
    assert damping > 1e-14 or error(squared, d) > 1e-5
    assert found == pytest.approx(damping, rel=1e-3)


def test_neither_way_makes_a_matrix_of_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is factored is J or J^T and the triangle; with N < P its N rows only are left."""
    factored, decomposed, sizes = torch.geqrf, torch.linalg.svd, []

    def geqrf(A: Tensor) -> Any:
        sizes.append(tuple(A.shape))
        return factored(A)

    def svd(A: Tensor, full_matrices: bool) -> Any:
        sizes.append(tuple(A.shape))
        return decomposed(A, full_matrices=full_matrices)

    monkeypatch.setattr(torch, "geqrf", geqrf)
    monkeypatch.setattr(torch.linalg, "svd", svd)
    for rows, parameters in ((7, 19), (19, 7)):
        TrustRegion(random(rows, parameters), random(rows, seed=2)).step(0.1)
    assert sizes == [(19, 7), (7, 7), (19, 8), (7, 7)]


@pytest.mark.parametrize("kept", [1, 4, 9])
def test_a_sketch_has_orthonormal_directions(kept: int) -> None:
    sketch = Sketch(9, kept, np.random.default_rng(0))
    S = torch.stack([sketch.transposed(y) for y in torch.eye(kept, dtype=torch.float64)])
    torch.testing.assert_close(S @ S.T, torch.eye(kept, dtype=torch.float64), rtol=0, atol=1e-14)
    J = random(5, 9, seed=4)
    torch.testing.assert_close(sketch.of_rows(J), J @ S.T, rtol=1e-13, atol=1e-13)


@shapes
def test_with_all_directions_the_sketched_step_is_the_exact_one(shape: tuple[int, int]) -> None:
    J, r = random(*shape, seed=1), random(shape[0], seed=2)
    sketch = Sketch(shape[1], shape[1], np.random.default_rng(7))
    for radius in (0.05, 1e3):
        exact, damping = TrustRegion(J, r).step(radius)
        y, same = TrustRegion(sketch.of_rows(J), r).step(radius)
        torch.testing.assert_close(sketch.transposed(y), exact, rtol=1e-8, atol=1e-10)
        assert same == pytest.approx(damping, rel=1e-8)


def test_a_sketched_step_lies_in_its_directions_and_is_the_best_there() -> None:
    objective = bent(19, 7)
    theta, J, r = objective.parameters(), objective.dense(), objective.residuals()
    taken = optimizer(objective, sketch=4 / 7, radii=1, radius=1e-2)
    taken.step()
    sketch = Sketch(7, 4, np.random.default_rng([3, 0]))
    S = torch.stack([sketch.transposed(y) for y in torch.eye(4, dtype=torch.float64)])
    expected = S.T @ torch.from_numpy(within(J @ S.T, r, 3e-2))  # with one radius it is the largest
    torch.testing.assert_close(objective.parameters() - theta, expected, rtol=1e-8, atol=1e-12)


# --- which radius -----------------------------------------------------------------------------------------------------


def gains(objective: ResidualObjective, radii: np.ndarray[Any, Any]) -> list[tuple[float, float]]:
    """Gain ratio and loss at every radius, by dense algebra."""
    theta, J, r = objective.parameters(), objective.dense(), objective.function(objective.theta)
    found = []
    for radius in radii:
        d = torch.from_numpy(within(J, r, float(radius)))
        after = float(objective.function(theta + d).square().sum()) / 2
        before, model = float(r.square().sum()) / 2, float((r + J @ d).square().sum()) / 2
        found.append(((before - after) / (before - model), after))
    return found


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("ratio", [0.15, 0.5, 0.9, 0.99])
def test_the_largest_radius_that_keeps_its_promise_is_taken(ratio: float, late: bool) -> None:
    """The function is so bent that the promise holds for some radii and not for others."""
    objective = ResidualObjective(lambda x: torch.stack([x[0] - 1, 10 * (x[1] - x[0] ** 2)]), torch.tensor([-1.2, 1.0]))
    objective.theta = objective.theta.double()
    radii = 0.4 * np.geomspace(5, 1 / 5, 9)
    all_of_them = gains(objective, radii)
    good = [k for k, (gain, _) in enumerate(all_of_them) if gain >= ratio]
    assert 0 < len(good) < len(radii)  # or the test would not tell
    wanted, other = ("late_ratio", "ratio") if late else ("ratio", "late_ratio")
    taken = optimizer(objective, radius=0.4, radii=9, spread=5.0, **{wanted: ratio, other: 1e-3})
    taken.late = late
    taken.step()
    assert taken.trials == good[0] + 1
    assert taken.gain_ratio == pytest.approx(all_of_them[good[0]][0], rel=1e-8)
    assert float(objective.loss()) == pytest.approx(all_of_them[good[0]][1], rel=1e-10)


def test_where_no_radius_is_good_enough_the_lowest_loss_is_taken() -> None:
    objective = ResidualObjective(lambda x: 1 + x + 2 * x**2, torch.zeros(1, dtype=torch.float64))
    radii = 0.5 * np.geomspace(3, 1 / 3, 4)
    losses = [loss for _, loss in gains(objective, radii) if loss < 0.5]
    taken = optimizer(objective, radius=0.5, radii=4, ratio=0.999)
    taken.step()
    assert losses
    assert float(objective.loss()) == pytest.approx(min(losses), rel=1e-12)


def test_when_lambda_has_turned_upward_more_is_asked_of_a_step() -> None:
    objective = bent(19, 7)
    taken = optimizer(objective, radius=1e-3, radii=1)
    taken.step()
    assert not taken.late
    assert taken.lowest_damping == taken.damping > 0
    taken.radius, taken.lowest_damping = 1e-6, taken.damping / 11
    taken.step()
    assert taken.late
    taken.radius = 1.0
    taken.step()
    assert taken.late  # for good


def test_the_loss_never_rises_and_falls_to_nothing() -> None:
    objective = ResidualObjective(
        lambda x: torch.stack([x[0] - 1, 10 * (x[1] - x[0] ** 2)]), torch.tensor([-1.2, 1.0], dtype=torch.float64)
    )
    taken = optimizer(objective, radius=0.5)
    losses = [float(taken.step()[0]) for _ in range(40)]
    assert all(after <= before for before, after in pairwise(losses))
    assert losses[-1] < 1e-28
    torch.testing.assert_close(objective.parameters(), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-13)


# --- balanced terms ---------------------------------------------------------------------------------------------------

TERMS = {"residual": 12, "initial": 3, "boundary": 4}
SIZES = np.repeat([1.0, 300.0, 0.02], list(TERMS.values()))


def unbalanced(rows: int = 19, parameters: int = 7) -> ResidualObjective:
    """Terms whose blocks of J are of very different sizes."""
    made, sizes = bent(rows, parameters), torch.from_numpy(SIZES)
    return ResidualObjective(lambda x: sizes * made.function(x), made.theta, TERMS)


def weights_of(J: Tensor) -> np.ndarray[Any, Any]:
    """By the definition, of every row."""
    blocks = np.split(J.numpy(), np.cumsum(list(TERMS.values()))[:-1])
    traces = np.array([np.trace(block @ block.T) for block in blocks])
    return np.repeat(traces.mean() / traces, list(TERMS.values()))


def balanced_by_hand(objective: ResidualObjective) -> ResidualObjective:
    """The same with these weights, and no others, for good."""
    roots = torch.from_numpy(np.sqrt(weights_of(objective.dense())))
    return ResidualObjective(lambda x: roots * objective.function(x), objective.theta)


@pytest.mark.parametrize("parameters", [7, 40], ids=["tall", "wide"])
def test_balanced_blocks_have_one_norm(parameters: int) -> None:
    hand = balanced_by_hand(unbalanced(parameters=parameters))
    norms = [float(block.square().sum()) for block in hand.dense().split(list(TERMS.values()))]
    assert norms == pytest.approx([float(unbalanced(parameters=parameters).dense().square().sum()) / 3] * 3, rel=1e-12)
    objective = unbalanced(parameters=parameters)
    taken = optimizer(objective, balance="rows")
    taken.step()
    by_row = weights_of(unbalanced(parameters=parameters).dense())
    assert list(taken.weights) == list(TERMS)
    assert list(taken.weights.values()) == pytest.approx(by_row[[0, 12, 15]].tolist(), rel=1e-12)


@pytest.mark.parametrize("parameters", [7, 40], ids=["tall", "wide"])
@pytest.mark.parametrize("ratio", [0.15, 0.9])
def test_a_balanced_step_is_that_of_the_balanced_problem(ratio: float, parameters: int) -> None:
    """Model and losses with the weights of the step's beginning: the gain ratio by dense algebra."""
    objective = unbalanced(parameters=parameters)
    hand, theta = balanced_by_hand(objective), objective.parameters()
    radii = 0.3 * np.geomspace(3, 1 / 3, 6)
    expected = gains(hand, radii)
    first = next(k for k, (gain, _) in enumerate(expected) if gain >= ratio)
    taken = optimizer(objective, balance="rows", radius=0.3, radii=6, ratio=ratio)
    before = objective.loss()
    assert torch.equal(taken.step(), before[None])  # logged as the loss has it
    assert (taken.trials, taken.failures) == (first + 1, 0)
    assert taken.gain_ratio == pytest.approx(expected[first][0], rel=1e-7)
    d = torch.from_numpy(within(hand.dense(), hand.function(theta), float(radii[first])))
    torch.testing.assert_close(objective.parameters() - theta, d, rtol=1e-7, atol=1e-9)
    plain = unbalanced(parameters=parameters)
    optimizer(plain, radius=0.3, radii=6, ratio=ratio).step()
    assert float((plain.theta - objective.theta).norm()) > 1e-2  # the weights do change the step


def test_the_weights_are_those_of_every_step() -> None:
    objective = unbalanced()
    taken = optimizer(objective, balance="rows", radius=0.5)
    for _ in range(4):
        expected = weights_of(objective.dense())[[0, 12, 15]].tolist()
        taken.step()
        assert list(taken.weights.values()) == pytest.approx(expected, rel=1e-12)


def test_weights_of_the_loss_cancel_and_one_term_is_left_alone() -> None:
    ends = []
    for objective in (unbalanced(), bent(19, 7)):
        objective.terms = TERMS
        taken = optimizer(objective, balance="rows", radius=0.5)
        for _ in range(5):
            taken.step()
        ends.append(objective.parameters())
    torch.testing.assert_close(*ends, rtol=1e-8, atol=1e-10)
    single, balanced = bent(19, 7), bent(19, 7)
    optimizer(single).step()
    optimizer(balanced, balance="rows").step()
    assert torch.equal(single.theta, balanced.theta)


def test_a_term_without_a_gradient_has_weight_one() -> None:
    A = random(6, 4)
    objective = ResidualObjective(
        lambda x: torch.cat([A @ x - 1, 0 * x[:2] + 3]), random(4, seed=1), {"a": 6, "nothing": 2}
    )
    taken = optimizer(objective, balance="rows", radius=10.0)
    taken.step()
    assert taken.weights["nothing"] == 1
    assert taken.weights["a"] == pytest.approx(0.5)
    torch.testing.assert_close(objective.theta, torch.linalg.lstsq(A, torch.ones(6, 1).double()).solution[:, 0])


# --- where no step is to be had ---------------------------------------------------------------------------------------


def only_at(start: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.where(x.detach() == start, x, torch.nan)


def test_a_step_that_is_given_up_leaves_the_parameters() -> None:
    start = random(3, seed=8)
    objective = ResidualObjective(only_at(start), start)
    taken = optimizer(objective, radius=0.5, max_failures=2)
    taken.step()
    assert torch.equal(objective.parameters(), start)
    assert (taken.failures, taken.reason) == (1, "")
    assert taken.radius == pytest.approx(0.5 / 9)
    taken.step()
    assert taken.reason == "no radius down to 6.2e-03 lowers the loss"


def test_residuals_that_are_not_finite_end_it() -> None:
    objective = ResidualObjective(lambda x: x / 0, torch.ones(2, dtype=torch.float64))
    taken = optimizer(objective)
    taken.step()
    assert taken.reason == "the residuals or their Jacobian are not finite"


def test_an_exception_in_a_trial_does_not_lose_the_parameters() -> None:
    class Stopped(ResidualObjective):
        def residuals(self) -> Tensor:
            if self.evaluations:
                raise KeyboardInterrupt
            return super().residuals()

    made = bent(19, 7)
    objective = Stopped(made.function, made.theta)
    with pytest.raises(KeyboardInterrupt):
        optimizer(objective).step()
    assert torch.equal(objective.parameters(), made.theta)


def test_it_goes_on_bit_for_bit() -> None:
    whole, cut = bent(19, 7), bent(19, 7)
    one, first = optimizer(whole, sketch=0.5), optimizer(cut, sketch=0.5)
    for _ in range(6):
        one.step()
    for _ in range(3):
        first.step()
    second = optimizer(cut, sketch=0.5)
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        second.step()
    assert torch.equal(whole.parameters(), cut.parameters())
    assert one.state_dict() == second.state_dict()


@pytest.mark.parametrize("radius", [0.0, -1.0, math.nan])
def test_radii_are_positive(radius: float) -> None:
    with pytest.raises(ValueError, match="allowed is more than 0"):
        TrustRegion(random(3, 2), random(3)).step(radius)


# --- as a phase of a run ----------------------------------------------------------------------------------------------

RUN = (
    "pde=poisson1d method=gauss_newton budget=smoke tuned=null threads=1 width=8 points.interior=30 method.log_every=2"
)


def test_a_run_logs_its_steps_and_the_report_draws_them(cli: Cli) -> None:
    phases = ["method.log_every=2", "method.adam.steps=4", "method.ssbroyden.steps=2", "method.gauss_newton.steps=8"]
    ended = cli(*RUN.split(), *phases, "method.gauss_newton.balance=rows", "network.hard=false")
    assert ended.code == 0, ended.err
    rows = {int(row["iteration"]): row for row in rows_of(cli.run_folder())}
    names = ("radius", "damping", "gain_ratio", "least_ratio", "trials", "balance_residual", "balance_boundary")
    inside = {n: {name: float(row[name]) for name in names} for n, row in rows.items() if row["radius"]}
    assert list(inside) == [8, 10, 12, 14]
    for found in inside.values():
        assert found["least_ratio"] in (0.15, 0.5)
        assert found["radius"] > 0
        assert found["trials"] >= 1
        weights = found["balance_residual"], found["balance_boundary"]
        # w_k Tr K_kk is their mean for both
        assert 1 / weights[0] + 1 / weights[1] == pytest.approx(2.0, rel=1e-9)
    figure = steps(make_table(find_runs(cli.folder / "runs")[0]).rows[-1])
    assert figure is not None
    for panel, name in zip(figure.axes, ("radius", "damping", "gain_ratio"), strict=True):
        x, y = (np.asarray(values).tolist() for values in panel.lines[0].get_data())
        assert dict(zip(x, y, strict=True)) == {n: found[name] for n, found in inside.items() if found[name] > 0}


def test_the_hash_of_a_run_knows_of_balance_only_where_it_is_asked_for() -> None:
    def of(*words: str) -> RunSettings:
        return RunSettings.read(compose([*RUN.split(), *words]), training=False)

    plain, null, rows = of(), of("method.gauss_newton.balance=null"), of("method.gauss_newton.balance=rows")
    assert "balance" not in plain._of_method()["gauss_newton"]
    assert plain.settings_hash() == null.settings_hash() != rows.settings_hash()
    composed = [
        f"method.phases=[{{gauss_newton:{{steps:3{more}}}}}]" for more in ("", ",balance:null", ",balance:rows")
    ]
    hashes = [of("method=plan", one).settings_hash() for one in composed]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(("every", "growth"), [(100, 1.0), (100, 1.5), (7, 3.0)])
def test_draws_come_at_growing_intervals(every: int, growth: float) -> None:
    at = np.cumsum(every * growth ** np.arange(60.0))
    for n in (0, every - 1, every, 3 * every, 50 * every):
        assert draws_by(n, every, growth) == int((at <= n + 1e-9).sum())
