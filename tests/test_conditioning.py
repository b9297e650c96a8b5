"""Condition numbers of discrete problems against dense matrices."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict
from typing import Any

import lines
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pinntk.discrete.conditioning import ConditionNumbers, PreconditionedNumbers, norm
from pinntk.discrete.discretization import DiscreteProblem
from pinntk.discrete.preconditioner import BlockTriangular, Preconditioner, PreconditionerError, WholeMatrix
from pinntk.pdes.convection import Convection
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.poisson1d import Poisson1D

Array = NDArray[np.float64]
MILD = Heat2D(k=0.02)
"""So slow a reaction that a coarse grid resolves it."""
HEAT2D = {"cells": 6, "time_steps": 5, "space": "order4", "growth": None, "clip": None, "symmetry": False}
BOUNDED = "heat2d spectral, growth bounded"
"""What is factored is not the Jacobian: it has another stencil and less growth."""
FINE = {
    "poisson1d spectral, many cells": {"cells": 26},
    "convection spectral, many cells": {"cells": 24, "time_steps": 5},
}
"""From blocks of eight nodes SuperLU drops nothing."""
CASES = ["heat2d", BOUNDED, *FINE, *lines.CASES]
USELESS = {
    "poisson1d spectral, many cells": ["levels", "whole"],
    "burgers, odd number of cells": ["whole"],
    "burgers, second order": ["whole"],
}
"""Cases whose factors at a drop tolerance of 0.1 leave more of a vector than there was."""
cases = pytest.mark.parametrize("case", CASES)


def make(case: str, **changes: Any) -> DiscreteProblem:
    if case == "heat2d":
        return lines.discretize(MILD, **{**HEAT2D, **changes})
    if case in FINE:
        return lines.discretize(lines.pde_of(case), **{**FINE[case], "space": "spectral", **changes})
    if case == BOUNDED:
        return lines.discretize(MILD, **{**HEAT2D, "space": "spectral", "growth": 0.01, **changes})
    return lines.make(case, **changes)


def dense(problem: DiscreteProblem, u: Array) -> Array:
    """A = R'(u) by automatic differentiation."""

    def residual(v: torch.Tensor) -> torch.Tensor:
        return problem.residual(v.reshape(problem.shape)).ravel()

    jacobian = torch.autograd.functional.jacobian(residual, torch.from_numpy(u.ravel()))
    assert isinstance(jacobian, torch.Tensor)
    return jacobian.numpy()


def unknowns(case: str, problem: DiscreteProblem) -> NDArray[np.bool_]:
    """By hand: the nodes that are not on a wall where u = 0, all of them where there is no such wall."""
    if case.startswith(("convection", "reaction")):
        return np.ones(problem.nodes.shape[0], dtype=bool)
    space = problem.nodes[:, :2] if case.startswith("heat2d") else problem.nodes[:, :1]
    return np.asarray(((space > space.min()) & (space < space.max())).all(axis=1))


def columns(problem: DiscreteProblem, product: Any) -> Array:
    """A linear map as a matrix, from what it makes of unit vectors."""
    size = problem.shape[0] * problem.shape[1]
    return np.stack([product(one.reshape(problem.shape)).ravel() for one in np.eye(size)], axis=1)


def largest(matrix: Array) -> float:
    return float(np.linalg.norm(matrix, 2))


class Dense:
    """The numbers by their definitions."""

    def __init__(self, case: str, problem: DiscreteProblem) -> None:
        self.problem = problem
        self.u = problem.solve()
        self.whole = dense(problem, self.u)
        self.keep = unknowns(case, problem)
        self.size = float(np.linalg.norm(self.u))
        self.b_whole = (self.whole @ self.u.ravel()).reshape(problem.shape)
        self.b = self.b_whole.ravel()[self.keep]
        assert np.linalg.norm(self.b) == pytest.approx(np.linalg.norm(self.b_whole), rel=1e-9)
        self.a = self.whole[self.keep][:, self.keep]
        self.inverse: Array = np.linalg.inv(self.a).astype(np.float64)

    def plain(self) -> tuple[float, float]:
        return largest(self.inverse) * float(np.linalg.norm(self.b)) / self.size, largest(self.inverse) * largest(
            self.a
        )

    def factors(self, factor: str, drop: float) -> Preconditioner:
        kind = WholeMatrix if factor == "whole" else BlockTriangular
        fill = self.problem.settings.fill_factor
        return kind(self.problem.approximation(self.u), drop_tolerance=drop, fill_factor=fill)

    def preconditioned(self, factor: str, drop: float) -> tuple[float, float, float]:
        p = columns(self.problem, self.factors(factor, drop).product)[self.keep][:, self.keep]
        back: Array = self.inverse @ p
        forth: Array = np.asarray(np.linalg.solve(p, self.a), dtype=np.float64)
        applied = np.linalg.solve(p, self.b)
        error = float(np.linalg.norm(applied - self.u.ravel()[self.keep])) / self.size
        return largest(back) * float(np.linalg.norm(applied)) / self.size, largest(back) * largest(forth), error


@pytest.mark.parametrize("shape", [(1, 7), (4, 5), (9, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_norm_is_the_largest_singular_value(shape: tuple[int, int], seed: int) -> None:
    size = shape[0] * shape[1]
    matrix = np.random.default_rng(seed).standard_normal((size, size))

    def times(m: Array, v: Array) -> Array:
        assert v.shape == shape
        return (m @ v.ravel()).reshape(shape)

    found = norm(lambda v: times(matrix, v), lambda v: times(matrix.T, v), shape)
    assert isinstance(found, float)
    assert found == pytest.approx(largest(matrix), rel=1e-4)


def test_norm_of_a_map_that_turns() -> None:
    """All singular values alike, no eigenvalue real."""
    angle = 1.2
    turn = 3 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert norm(lambda v: v @ turn.T, lambda v: v @ turn, (5, 2)) == pytest.approx(3, rel=1e-10)


@functools.cache
def prepared(case: str) -> tuple[DiscreteProblem, Dense, ConditionNumbers]:
    problem = make(case)
    expected = Dense(case, problem)
    return problem, expected, ConditionNumbers(problem, expected.u)


@cases
def test_numbers_of_the_matrix(case: str) -> None:
    _, expected, numbers = prepared(case)
    np.testing.assert_allclose(numbers.b, expected.b_whole, rtol=1e-9, atol=1e-9 * np.abs(expected.b).max())
    plain = numbers.plain()
    assert (plain.condition, plain.kappa) == pytest.approx(expected.plain(), rel=1e-3)
    assert plain.unknowns == expected.keep.sum()
    assert plain.factor_seconds > 0


@pytest.mark.parametrize("drop", [1e-2, 1e-1])
@pytest.mark.parametrize("factor", ["levels", "whole"])
@cases
def test_numbers_of_the_preconditioned_matrix(case: str, factor: str, drop: float) -> None:
    problem, expected, made = prepared(case)
    numbers = made.preconditioned(factor, drop)
    assert (numbers.factor, numbers.drop_tolerance) == (factor, drop)
    if drop == 0.1 and factor in USELESS.get(case, ()):
        assert "worse than none" in str(numbers.reason)
        return
    assert numbers.reason is None
    assert numbers.condition is not None
    assert numbers.error is not None
    condition, kappa, error = expected.preconditioned(factor, drop)
    assert numbers.condition == pytest.approx(condition, rel=1e-3)
    assert numbers.kappa == pytest.approx(kappa, rel=1e-3)
    assert numbers.error == pytest.approx(error, rel=1e-6, abs=1e-9)
    p = expected.factors(factor, drop)
    assert numbers.entries == p.nnz
    signs = np.random.default_rng(0).choice([-1.0, 1.0], problem.shape)
    left = signs.ravel() - expected.whole @ p.solve(signs).ravel()
    assert numbers.defect == pytest.approx(np.linalg.norm(left) / np.linalg.norm(signs), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("factor", ["levels", "whole"])
@cases
def test_exact_factors_give_one(case: str, factor: str) -> None:
    _, _, made = prepared(case)
    numbers = made.preconditioned(factor, 0.0)
    assert numbers.condition is not None
    assert numbers.error is not None
    if case == BOUNDED:
        assert numbers.condition > 1.1
        assert numbers.error > 0.01
    else:
        assert (numbers.condition, numbers.kappa) == pytest.approx((1.0, 1.0), rel=1e-4)
        assert numbers.error < 1e-9


def test_poisson_tends_to_the_number_of_the_equation() -> None:
    """``|u_xx| = (a pi)^2 |u|``, and the smallest eigenvalue is pi^2: a^2."""
    off = []
    for cells in (10, 20, 40, 200):
        problem = lines.discretize(Poisson1D(a=4), cells=cells)
        plain = ConditionNumbers(problem, problem.solve()).plain()
        assert plain.unknowns == cells - 1
        off.append(abs(plain.condition - 16) / 16)
    assert off == sorted(off, reverse=True)
    assert off[-1] < 1e-4
    assert off[0] > 100 * off[-1]


def test_factors_of_no_use_are_reported() -> None:
    settings = {"cells": 16, "time_steps": 40, "order": 2, "space": "order4"}
    problem = lines.discretize(Convection(), **settings)
    numbers = ConditionNumbers(problem, problem.solve())
    refused = numbers.preconditioned("whole", 0.1)
    assert "worse than none" in str(refused.reason)
    empty = PreconditionedNumbers("whole", 0.1, reason=refused.reason)
    assert refused == empty
    assert numbers.preconditioned("levels", 0.1).reason is None
    assert numbers.preconditioned("whole", 1e-3).reason is None


def test_factors_that_fail_while_they_are_used_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, numbers = prepared("wave order4")

    def overflows(self: BlockTriangular, r: Array) -> Array:
        raise PreconditionerError("the substitution is not finite")

    monkeypatch.setattr(WholeMatrix, "solve_transposed", overflows)
    refused = numbers.preconditioned("whole", 1e-3)
    assert refused == PreconditionedNumbers("whole", 1e-3, reason="the substitution is not finite")


def test_a_singular_matrix_is_refused() -> None:
    problem = lines.make("poisson1d order4")
    solution = problem.solve()
    monkey: Any = problem
    monkey.matrix = 0 * monkey.matrix
    with pytest.raises(PreconditionerError, match="diagonal block of level 0"):
        ConditionNumbers(problem, solution)


def test_numbers_as_a_record() -> None:
    _, _, numbers = prepared("wave order4")
    for one in (numbers.plain(), numbers.preconditioned("levels", 0.1), PreconditionedNumbers("whole", 0.1)):
        record = json.loads(json.dumps(asdict(one)))
        assert type(one)(**record) == one
