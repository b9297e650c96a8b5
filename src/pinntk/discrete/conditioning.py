"""Condition numbers of a discrete problem, before and after preconditioning (paper, Definition 2 and section 3).

A discretised linear problem ``A u = b`` has the relative condition number ``cond ~ |A^-1| |b| / |u|`` (spectral norm,
Euclidean norms). With ``P = LU ~ A`` the problem ``P^-1 A u = P^-1 b`` has ``|A^-1 P| |P^-1 b| / |u|``, near one. For a
nonlinear problem A is the Jacobian R'(u) at the discrete solution and ``b = A u``, Newton's linear system there.

Nodes on a wall where u = 0 are no unknowns: their rows, which stand alone, are left out. The numbers depend on how the
equations' rows are scaled against those of the data: here as the discrete residuals are, the increments of one time
step and the plain values. The classical numbers ``kappa(A) = |A| |A^-1|`` and ``kappa(P^-1 A)`` stand beside them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse.linalg

from pinntk.common.arrays import Array
from pinntk.discrete.discretization import DiscreteProblem
from pinntk.discrete.preconditioner import FACTORS, BlockTriangular, Preconditioner, PreconditionerError, random_signs

TOLERANCE = 1e-4
"""Relative, of a squared singular value."""
Map = Callable[[Array], Array]


@dataclass(frozen=True)
class PlainNumbers:
    """Of A alone."""

    condition: float
    """|A^-1| |b| / |u|"""
    kappa: float
    """|A| |A^-1|"""
    unknowns: int
    factor_seconds: float
    """Of the exact factors of A."""


@dataclass(frozen=True)
class PreconditionedNumbers:
    """Of P^-1 A, for one kind of factors and one drop tolerance."""

    factor: str
    """"levels" or "whole"."""
    drop_tolerance: float
    condition: float | None = None
    """|A^-1 P| |P^-1 b| / |u|; None where the factors are of no use."""
    kappa: float | None = None
    """|P^-1 A| |A^-1 P|"""
    error: float | None = None
    """|P^-1 b - u| / |u|, one application of the factors against the discrete solution."""
    defect: float | None = None
    """|e - A P^-1 e| / |e| for a fixed e of random signs."""
    entries: int | None = None
    """Of all distinct factors."""
    factor_seconds: float | None = None
    application_seconds: float | None = None
    reason: str | None = None
    """Why the factors were not used."""


def norm(forward: Map, transposed: Map, shape: tuple[int, ...]) -> float:
    """Spectral norm of a linear map of grid functions, by Lanczos on ``M^T M``.

    Args:
        forward, transposed: ``M v`` and ``M^T v``, v of the given shape.
        shape: of a grid function.

    Example::

        >>> M = np.array([[3.0, 0.0], [4.0, 0.0]])
        >>> round(norm(lambda v: M @ v, lambda v: M.T @ v, (2,)), 4)
        5.0
    """
    size = int(np.prod(shape))

    def squared(v: Array) -> Array:
        return transposed(forward(v.reshape(shape))).ravel()

    operator = scipy.sparse.linalg.LinearOperator((size, size), matvec=squared, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)
    largest = scipy.sparse.linalg.eigsh(operator, k=1, which="LM", v0=start, tol=TOLERANCE, return_eigenvectors=False)
    return float(np.sqrt(largest[0]))


class ConditionNumbers:
    """The numbers of a discrete problem about its solution.

    Args:
        problem: the discrete problem.
        solution: where it is linearised, (levels, nodes); its discrete solution.

    Raises:
        PreconditionerError: A is singular.

    Example::

        >>> from pinntk.pdes.poisson1d import Poisson1D, Poisson1DDiscretization
        >>> discrete = Poisson1D(a=4).discretize(Poisson1DDiscretization(cells=16, space="spectral"))
        >>> numbers = ConditionNumbers(discrete, discrete.solve())
        >>> round(numbers.plain().condition, 2)  # a^2: |b| = (a pi)^2 |u|, |A^-1| = 1/pi^2
        16.0
        >>> round(numbers.preconditioned("levels", drop_tolerance=0.0).condition, 2)
        1.0
    """

    def __init__(self, problem: DiscreteProblem, solution: Array) -> None:
        self.problem, self.u = problem, solution
        blocks = problem.jacobian(solution)
        self._a = blocks.whole().tocsr()
        self._at = self._a.T.tocsr()
        self.b = self._times(self._a)(solution)
        self._inverse = BlockTriangular(blocks)
        alone = (np.diff(self._a.indptr) == 1) & (np.diff(self._at.indptr) == 1) & (self.b.ravel() == 0)
        self._unknown = ~alone.reshape(solution.shape)

    def _times(self, matrix: Any) -> Map:
        return lambda v: np.asarray(matrix @ v.ravel()).reshape(self.u.shape)

    def _norm(self, forward: Map, transposed: Map) -> float:
        keep = self._unknown
        return norm(lambda v: keep * forward(keep * v), lambda v: keep * transposed(keep * v), self.u.shape)

    def plain(self) -> PlainNumbers:
        """Numbers of A."""
        inverse = self._norm(self._inverse.solve, self._inverse.solve_transposed)
        size = float(np.linalg.norm(self.b) / np.linalg.norm(self.u))
        kappa = inverse * self._norm(self._times(self._a), self._times(self._at))
        return PlainNumbers(inverse * size, kappa, int(self._unknown.sum()), self._inverse.factor_seconds)

    def preconditioned(self, factor: str, drop_tolerance: float) -> PreconditionedNumbers:
        """Numbers of P^-1 A, or the reason why these factors cannot be used.

        Args:
            factor: "levels" or "whole".
            drop_tolerance: of the incomplete factors.
        """
        try:
            p = FACTORS[factor](
                self.problem.approximation(self.u),
                drop_tolerance=drop_tolerance,
                fill_factor=self.problem.settings.fill_factor,
            )
            return self._with(p, factor, drop_tolerance)
        except PreconditionerError as error:
            return PreconditionedNumbers(factor, drop_tolerance, reason=str(error))

    def _with(self, p: Preconditioner, factor: str, drop_tolerance: float) -> PreconditionedNumbers:
        begin = time.perf_counter()
        applied = p.solve(self.b)
        seconds = time.perf_counter() - begin
        times_a, times_at = self._times(self._a), self._times(self._at)
        back = self._norm(
            lambda v: self._inverse.solve(p.product(v)),
            lambda v: p.product_transposed(self._inverse.solve_transposed(v)),
        )
        forth = self._norm(lambda v: p.solve(times_a(v)), lambda v: times_at(p.solve_transposed(v)))
        size = float(np.linalg.norm(self.u))
        signs = random_signs(*self.u.shape)
        return PreconditionedNumbers(
            factor,
            drop_tolerance,
            condition=back * float(np.linalg.norm(applied)) / size,
            kappa=back * forth,
            error=float(np.linalg.norm(applied - self.u)) / size,
            defect=float(np.linalg.norm(signs - times_a(p.solve(signs))) / np.linalg.norm(signs)),
            entries=p.nnz,
            factor_seconds=p.factor_seconds,
            application_seconds=seconds,
        )
