"""Sweeps and discrete solutions on two small problems: a nonlinear one-step scheme and a linear two-step one."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from pinntk.discrete.discretization import DiscreteProblem, DiscretizationSettings, UnsolvedError, check_size
from pinntk.discrete.preconditioner import Blocks, BlockTriangular, PreconditionerError, WholeMatrix

Array = NDArray[np.float64]
LEVELS = 21


class Small(DiscreteProblem):
    """What the two problems share: a few nodes without coordinates, which sweeps do not ask for."""

    def __init__(self, nodes: int, **settings: Any) -> None:
        self.settings = DiscretizationSettings(drop_tolerance=0.0, tolerance=1e-11, **settings)
        self.shape = (LEVELS, nodes)
        self.asked: list[tuple[int, int]] = []

    @property
    def nodes(self) -> Array:
        raise NotImplementedError  # abstract in the base, but no sweep asks for it

    def interpolate(self, u: Array, points: Array) -> Array:
        raise NotImplementedError  # abstract in the base, but no sweep asks for it

    @abstractmethod
    def rows(self, u: Tensor) -> Tensor:
        """R(u) on all levels."""

    def residual(self, u: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        return self.rows(u)[start:stop]


class Logistic(Small):
    """u' = a u (1 - u) with a different rate at each node, by the trapezoidal rule; the Jacobian is diagonal."""

    rates = torch.tensor([0.5, 3.0, -2.0], dtype=torch.float64)
    initial = torch.tensor([0.1, 0.05, 0.8], dtype=torch.float64)
    step = 0.1

    def __init__(self, **settings: Any) -> None:
        super().__init__(3, **settings)

    def rows(self, u: Tensor) -> Tensor:
        rate = self.rates * u * (1 - u)
        return torch.cat([u[:1] - self.initial, u[1:] - u[:-1] - self.step / 2 * (rate[1:] + rate[:-1])])

    def jacobian(self, u: Array, start: int = 0, stop: int | None = None) -> Blocks:
        stop = LEVELS if stop is None else stop
        self.asked.append((start, stop))
        slopes = self.step / 2 * self.rates.numpy() * (1 - 2 * u[start:stop])
        diagonal = [scipy.sparse.diags_array(1 - s).tocsr() for s in slopes]
        if start == 0:
            diagonal[0] = scipy.sparse.eye_array(3, format="csr")
        lower = [None, *(scipy.sparse.diags_array(-1 - s).tocsr() for s in slopes[:-1])]
        return Blocks(diagonal, [lower])

    def exact(self) -> Array:
        """The discrete solution, node by node and level by level with a root finder."""
        u = np.empty(self.shape)
        for node, a in enumerate(self.rates.tolist()):
            u[0, node] = self.initial[node]
            for n in range(1, LEVELS):
                known = u[n - 1, node] + self.step / 2 * a * u[n - 1, node] * (1 - u[n - 1, node])
                u[n, node] = scipy.optimize.brentq(
                    lambda v, known=known, a=a: v - self.step / 2 * a * v * (1 - v) - known, -0.5, 1.5, xtol=1e-14
                )
        return u


class Oscillator(Small):
    """u'' = -A u, u(0) = g, u'(0) = 0, A symmetric, by the two-step scheme that weights A u with 1/4, 1/2, 1/4."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(4, **settings)
        root = np.random.default_rng(0).standard_normal((4, 4))
        coupling = 0.01 * root @ root.T
        eye = np.eye(4)
        # Level 1: a half step with u' = 0 (trapezoidal rule).
        self.start = (eye + coupling / 4, -(eye - coupling / 4))
        self.blocks = [scipy.sparse.csr_array(m) for m in (eye, self.start[0], eye + coupling / 4)]
        self.first = [scipy.sparse.csr_array(m) for m in (self.start[1], -2 * eye + coupling / 2)]
        self.second = scipy.sparse.csr_array(eye + coupling / 4)
        self.initial = np.array([1.0, -0.5, 0.25, 2.0])

    def matrix(self) -> Array:
        whole = np.zeros((LEVELS * 4, LEVELS * 4))
        for n in range(LEVELS):
            entries = [self.blocks[min(n, 2)], self.first[0 if n == 1 else 1], self.second]
            for lag, block in enumerate(entries[: n + 1]):
                whole[4 * n : 4 * n + 4, 4 * (n - lag) : 4 * (n - lag) + 4] = block.toarray()
        return whole

    def right(self) -> Array:
        return np.concatenate([self.initial, np.zeros(4 * (LEVELS - 1))])

    def rows(self, u: Tensor) -> Tensor:
        flat = torch.from_numpy(self.matrix()) @ u.reshape(-1) - torch.from_numpy(self.right())
        return flat.reshape(u.shape)

    def jacobian(self, u: Array, start: int = 0, stop: int | None = None) -> Blocks:
        stop = LEVELS if stop is None else stop
        self.asked.append((start, stop))
        lower = [
            [None, self.first[0], *[self.first[1]] * (LEVELS - 2)],
            [None, None, *[self.second] * (LEVELS - 2)],
        ]
        diagonal = [*self.blocks[:2], *[self.blocks[2]] * (LEVELS - 2)]
        return Blocks(diagonal[start:stop], [row[start:stop] for row in lower])


def noise(problem: Small, scale: float = 0.3) -> Array:
    return scale * np.random.default_rng(3).standard_normal(problem.shape)


def test_the_nonlinear_discrete_solution() -> None:
    problem = Logistic()
    np.testing.assert_allclose(problem.solve(), problem.exact(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("clip", [None, 0.1])
def test_the_march_reaches_the_discrete_solution(clip: float | None) -> None:
    problem = Logistic(clip=clip)
    found = problem.march()
    np.testing.assert_allclose(found.values, problem.exact(), rtol=0, atol=1e-9)
    left = problem.residual(torch.from_numpy(found.values)).abs().max().item()
    assert found.residual == left <= 1e-11
    assert found.factorizations == sum(stop - start for start, stop in problem.asked)
    assert 0 <= found.factor_seconds <= found.seconds
    # Forward in time, level by level.
    levels = list(dict.fromkeys(problem.asked))
    assert levels == sorted(levels)
    assert all(stop == start + 1 for start, stop in levels)
    assert problem.unsolved(found) is None


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("window", [1, 3, 7, 50])
def test_one_application_is_the_formula_window_by_window(window: int, clip: float | None) -> None:
    problem = Logistic(window=window, clip=clip)
    start = problem.exact() + noise(problem)
    kept = start.copy()
    found = problem.apply(start)
    np.testing.assert_array_equal(start, kept)
    # In the test: dense matrices of automatic differentiation, and levels before a window as they were corrected.
    values = torch.from_numpy(start.copy())
    jacobian = torch.autograd.functional.jacobian(problem.rows, torch.from_numpy(start)).reshape(63, 63)
    for first in range(0, LEVELS, window):
        rows = slice(3 * first, 3 * min(first + window, LEVELS))
        update = torch.linalg.solve(jacobian[rows, rows], problem.rows(values).reshape(-1)[rows])
        update = update if clip is None else update.clamp(-clip, clip)
        values.view(-1)[rows] -= update
    np.testing.assert_allclose(found.values, values.numpy(), rtol=0, atol=1e-12)
    assert found.residual == pytest.approx(problem.rows(values).abs().max().item(), rel=1e-9)
    assert found.applications == 1
    assert found.factorizations == LEVELS
    assert problem.asked == [(k, min(k + window, LEVELS)) for k in range(0, LEVELS, window)]


@pytest.mark.parametrize("window", [1, 5, LEVELS])
def test_one_application_of_exact_factors_solves_a_linear_problem(window: int) -> None:
    problem = Oscillator(window=window)
    solution = np.linalg.solve(problem.matrix(), problem.right()).reshape(problem.shape)
    np.testing.assert_allclose(problem.apply(noise(problem)).values, solution, rtol=0, atol=1e-10)
    np.testing.assert_allclose(problem.solve(), solution, rtol=0, atol=1e-9)


def test_a_linear_problem_takes_one_sweep_a_level_and_no_second_factor() -> None:
    problem = Oscillator(window=LEVELS)
    assert problem.apply(noise(problem)).factorizations == 3  # blocks that stand at several levels are factored once
    found = problem.march()
    assert found.applications == 1
    assert found.factorizations == 2  # the blocks of the first and of the later steps are equal, and one is kept


@pytest.mark.parametrize("window", [1, 7, LEVELS])
def test_all_levels_of_a_window_may_be_factored_at_once(window: int) -> None:
    problem, levels = Logistic(factor="whole", window=window), Logistic(window=window)
    found = problem.apply(noise(problem))
    np.testing.assert_allclose(found.values, levels.apply(noise(problem)).values, rtol=0, atol=1e-11)
    assert found.factorizations == len(problem.asked)
    assert isinstance(problem.linearize(found.values), WholeMatrix)
    assert isinstance(Logistic().linearize(found.values), BlockTriangular)


class Tamed(Logistic):
    """Factors something else than its Jacobian."""

    def approximation(self, u: Array, start: int = 0, stop: int | None = None) -> Blocks:
        diagonal, (lower,) = super().jacobian(u, start, stop)
        return Blocks([1.5 * block for block in diagonal], [lower])


@pytest.mark.parametrize("factor", ["levels", "whole"])
def test_a_problem_may_factor_something_else_than_its_jacobian(factor: str) -> None:
    problem = Tamed(factor=factor)
    u = noise(problem)
    matrix = problem.approximation(u, 2, 5).whole().toarray()
    assert np.abs(matrix - problem.jacobian(u, 2, 5).whole().toarray()).max() > 0.4
    r = np.ones((3, 3))
    expected = np.linalg.solve(matrix, r.ravel())
    np.testing.assert_allclose(problem.linearize(u, 2, 5).solve(r).ravel(), expected, rtol=1e-12)
    np.testing.assert_allclose(problem.solve(), problem.exact(), rtol=0, atol=1e-9)


def test_the_linearisation_is_kept_while_it_works() -> None:
    often, seldom = Logistic(refresh=0.0), Logistic(refresh=0.9)
    results = [problem.march() for problem in (often, seldom)]
    assert results[0].factorizations > 2 * results[1].factorizations
    assert results[0].applications < results[1].applications
    np.testing.assert_allclose(results[0].values, results[1].values, rtol=0, atol=1e-9)


def test_too_few_sweeps_are_reported() -> None:
    with pytest.raises(UnsolvedError, match=r"a residual of .* is left after 1 sweeps of a level, 1e-11 is allowed"):
        Logistic(sweeps=1).solve()
    assert Logistic(sweeps=1).march().residual > 1e-11


@pytest.mark.parametrize("bad", [np.zeros((3, LEVELS)), np.full((LEVELS, 3), np.nan)], ids=["shape", "nan"])
def test_values_that_cannot_be_corrected_are_refused(bad: Array) -> None:
    with pytest.raises(ValueError, match=r"u: came shape .*; needed are finite values of shape \(21, 3\)"):
        Logistic().apply(bad)


def test_a_singular_linearisation_is_refused() -> None:
    problem = Logistic()
    problem.step = 4.0  # 1 - 2 a (1 - 2 u) vanishes at u = 0 for a = 1/2
    with pytest.raises(PreconditionerError, match="diagonal block of level 1"):
        problem.apply(np.vstack([problem.initial.numpy(), np.zeros((LEVELS - 1, 3))]))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("drop_tolerance", -1e-3),
        ("drop_tolerance", float("nan")),
        ("fill_factor", 0.9),
        ("window", 0),
        ("window", 2.5),
        ("sweeps", 0),
        ("tolerance", -1.0),
        ("refresh", 1.0),
        ("refresh", -0.1),
        ("clip", 0.0),
        ("clip", float("inf")),
        ("factor", "blocks"),
        ("windows", 3),
    ],
)
def test_settings_out_of_range_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        DiscretizationSettings.model_validate({key: value})
    assert caught.value.errors()[0]["loc"] == (key,)


def test_a_grid_beyond_memory_is_refused() -> None:
    check_size(100_000_000, cells=1)
    with pytest.raises(ValueError, match="cells=9 and time_steps=7 make 100,000,001 nodes; allowed are 100,000,000"):
        check_size(100_000_001, cells=9, time_steps=7)
