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

from pinntk.discretization import (
    Blocks,
    BlockTriangular,
    DiscreteProblem,
    DiscretizationSettings,
    PreconditionerError,
    UnsolvedError,
    WholeMatrix,
    check_size,
)

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


@pytest.mark.parametrize("window", [1, 3, 7, 50])
@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("guess", ["values", "carry"])
def test_sweeps_from_noise_reach_the_discrete_solution(window: int, clip: float | None, guess: str) -> None:
    problem = Logistic(window=window, clip=clip, guess=guess)
    start = noise(problem)
    kept = start.copy()
    correction = problem.correct(start)
    np.testing.assert_allclose(correction.values, problem.exact(), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(start, kept)
    left = problem.residual(torch.from_numpy(correction.values)).abs().max().item()
    assert correction.residual == left <= 1e-11
    assert correction.factorizations == sum(stop - start for start, stop in problem.asked)
    assert 0 <= correction.factor_seconds <= correction.seconds
    # Forward in time, the initial level first and alone, then windows that tile the rest.
    windows = list(dict.fromkeys(problem.asked))
    assert windows == sorted(windows)
    assert windows[:2] == [(0, 1), (1, min(1 + window, LEVELS))]
    assert all((start - 1) % window == 0 and stop == min(start + window, LEVELS) for start, stop in windows[1:])


def test_what_the_sweeps_start_from() -> None:
    def swept(guess: str, values: Array) -> Array:
        return Logistic(guess=guess, window=4, sweeps=2).correct(values, 1).values[1:]

    one, other = (Logistic().exact() + scale * noise(Logistic()) for scale in (0.2, 0.3))
    one[0] = other[0] = Logistic.initial.numpy()
    np.testing.assert_array_equal(swept("carry", one), swept("carry", other))
    assert np.abs(swept("values", one) - swept("values", other)).max() > 1e-6


def test_one_clipped_sweep_is_the_formula() -> None:
    problem = Logistic(window=LEVELS, clip=0.05, sweeps=1)
    start = problem.exact() + noise(problem)
    correction = problem.correct(start, 1)
    residual = problem.residual(torch.from_numpy(start), 1).numpy()
    update = problem.linearize(start, 1).solve(residual)
    assert np.abs(update).max() > 0.05 > np.abs(update).min()
    np.testing.assert_array_equal(correction.values[1:], start[1:] - np.clip(update, -0.05, 0.05))
    np.testing.assert_array_equal(correction.values[0], start[0])
    assert correction.sweeps == 1
    assert correction.residual > 1e-3


def test_levels_before_the_start_are_taken_as_right_and_those_after_the_stop_left_alone() -> None:
    problem = Logistic(window=2)
    start = problem.exact() + np.where(np.arange(LEVELS)[:, None] < 5, 0.0, noise(problem))
    values = problem.correct(start, 5, 12).values
    np.testing.assert_array_equal(values[:5], start[:5])
    np.testing.assert_array_equal(values[12:], start[12:])
    np.testing.assert_allclose(values[5:12], problem.exact()[5:12], rtol=0, atol=1e-9)


def test_a_linear_problem_takes_one_sweep_a_window_and_no_second_factor() -> None:
    problem = Oscillator(window=5)
    solution = np.linalg.solve(problem.matrix(), problem.right()).reshape(problem.shape)
    correction = problem.correct(noise(problem))
    np.testing.assert_allclose(correction.values, solution, rtol=0, atol=1e-11)
    assert correction.sweeps == 1 + 4
    assert correction.factorizations == 3  # blocks that stand at several levels are factored once
    assert problem.asked == [(0, 1), (1, 6)]
    np.testing.assert_allclose(problem.solve(), solution, rtol=0, atol=1e-9)


@pytest.mark.parametrize("window", [1, 7, LEVELS])
def test_all_levels_of_a_window_may_be_factored_at_once(window: int) -> None:
    problem = Logistic(factor="whole", window=window)
    correction = problem.correct(noise(problem))
    np.testing.assert_allclose(correction.values, problem.exact(), rtol=0, atol=1e-9)
    assert correction.factorizations == len(problem.asked)
    assert isinstance(problem.linearize(correction.values), WholeMatrix)
    assert isinstance(Logistic().linearize(correction.values), BlockTriangular)


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
    results = [problem.correct(noise(problem)) for problem in (often, seldom)]
    assert results[0].factorizations > 2 * results[1].factorizations
    assert results[0].sweeps < results[1].sweeps
    np.testing.assert_allclose(results[0].values, results[1].values, rtol=0, atol=1e-9)


def test_too_few_sweeps_are_reported() -> None:
    with pytest.raises(UnsolvedError, match=r"a residual of .* is left after 1 sweeps, 1e-11 is allowed"):
        Logistic(sweeps=1).solve()
    assert Logistic(sweeps=1).correct(np.ones((LEVELS, 3))).residual > 1e-11


@pytest.mark.parametrize("bad", [np.zeros((3, LEVELS)), np.full((LEVELS, 3), np.nan)], ids=["shape", "nan"])
def test_values_that_cannot_be_corrected_are_refused(bad: Array) -> None:
    with pytest.raises(ValueError, match=r"u: came shape .*; needed are finite values of shape \(21, 3\)"):
        Logistic().correct(bad)


def test_a_singular_linearisation_is_refused() -> None:
    problem = Logistic()
    problem.step = 4.0  # 1 - 2 a (1 - 2 u) vanishes at u = 0 for a = 1/2
    with pytest.raises(PreconditionerError, match="diagonal block of level 1"):
        problem.correct(np.vstack([problem.initial.numpy(), np.zeros((LEVELS - 1, 3))]), 1)


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
        ("guess", "zero"),
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
