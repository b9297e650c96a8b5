r"""Discrete residuals and their preconditioners (Liu et al. 2024, PCPINN), whatever the equation.

A problem discretised on a space-time grid is a residual ``R(u) = 0`` for the grid function ``u`` of shape ``(levels, nodes)``, initial
and boundary nodes included as rows ``u - g``. Schemes in time use one or two earlier levels, so the Jacobian is block lower-triangular,

    D_n y_n + B_n y_{n-1} + C_n y_{n-2} = r_n,        n = 0 … levels - 1,

and its inverse is a substitution forward in time: one small factorisation per diagonal block, never one of the whole space-time matrix
(whose incomplete factors are singular or amplify for some of the problems). A problem without time is one block.

- `BlockTriangular` holds the (incomplete) factors and applies ``P⁻¹`` and ``P⁻ᵀ``;
- `apply_inverse` makes that an operation that autograd can differentiate, any number of times;
- `DiscreteProblem` is what a problem provides (residual, linearisation), and what it gets for it (sweeps, the discrete solution).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

Array = NDArray[np.float64]
_AMPLIFICATION_LIMIT = 1e10  # of the largest value, by one block: beyond it a factor is singular in all but name


class PreconditionerError(ValueError):
    """A diagonal block is singular, or its incomplete factor (or the substitution in time) amplifies beyond use."""


class DiscretizationSettings(BaseModel):
    """What every discrete problem can be told; problems add their grid sizes.

    Attributes:
        drop_tolerance: entries below it (relative to their column) are dropped from the factors; 0 factors exactly.
        fill_factor: upper bound of the factors' entries, relative to the matrix'.
        window: levels that are corrected together, forward in time.
        sweeps: at most so many corrections ``u ← u - clip(P⁻¹R(u))`` of a window.
        tolerance: a window is done when no entry of its residual is larger.
        refresh: P is linearised anew when a sweep leaves more than this part of the residual (root mean square).
        clip: largest change of a value in one sweep; None for no bound.
        guess: where a window starts, from the given values or from the corrected level before it, held through the window.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    drop_tolerance: float = Field(1e-2, ge=0)
    fill_factor: float = Field(10.0, ge=1)
    window: int = Field(1, ge=1)
    sweeps: int = Field(60, ge=1)
    tolerance: float = Field(1e-6, ge=0)
    refresh: float = Field(0.5, ge=0, lt=1)
    clip: float | None = Field(None, gt=0)
    guess: Literal["values", "carry"] = "values"


class BlockTriangular:
    r"""The preconditioner ``P``: incomplete LU factors of the diagonal blocks, exact blocks below the diagonal.

    ``P⁻¹r`` is ``y_n = D̃_n⁻¹ (r_n - Σ_lag B_{lag,n} y_{n-lag})`` for n = 0, 1, …, where ``D̃_n = L_n U_n ≈ D_n``.

    Args:
        diagonal: the blocks ``D_n``, one per level, square, sparse. A block that occurs several times (the same object) is factored once.
        lower: ``lower[lag - 1][n]`` is the block that multiplies ``y_{n-lag}`` in row n, None for zero. Rows whose ``n - lag`` lies
            before level 0 are not looked at: on a window, the values before it are known, their correction is zero.
        drop_tolerance: of the incomplete factorisation; 0 factors exactly.
        fill_factor: of the incomplete factorisation.

    Attributes:
        nnz: entries of all distinct factors.
        factorizations: number of distinct blocks.
        factor_seconds: wall-clock time of their factorisation.
        amplification: largest ``‖D̃⁻¹e‖∞`` over the blocks, for a fixed vector e of random signs.
        defect: largest ``‖e - D D̃⁻¹e‖₂ / ‖e‖₂`` over the blocks: 0 for exact factors, 1 is as good as no preconditioner at all.

    Raises:
        PreconditionerError: for a singular block, or an amplification above 1e10 or not finite; names the level.

    SuperLU's factors can be neither copied nor pickled: rebuild from the point of linearisation, which gives the same factors.
    """

    def __init__(
        self,
        diagonal: Sequence[Any],
        lower: Sequence[Sequence[Any]] = (),
        *,
        drop_tolerance: float = 0.0,
        fill_factor: float = 10.0,
    ) -> None:
        if not diagonal or any(len(blocks) != len(diagonal) for blocks in lower):
            sizes = [len(blocks) for blocks in lower]
            raise ValueError(f"lower: got {sizes} blocks per lag for {len(diagonal)} diagonal blocks, need as many, at least 1")
        self.levels, self.nodes = len(diagonal), diagonal[0].shape[0]
        self.nnz, self.factorizations, self.factor_seconds, self.amplification, self.defect = 0, 0, 0.0, 0.0, 0.0
        signs = np.random.default_rng(0).choice([-1.0, 1.0], self.nodes)
        factors: dict[int, Any] = {}
        for level, block in enumerate(diagonal):
            if id(block) not in factors:
                factors[id(block)] = self._factor(block, level, drop_tolerance, fill_factor, signs)
        self._factors = [factors[id(block)] for block in diagonal]
        # Rows for the substitution forward, transposed ones for the way back (products with a CSR matrix are the fast ones).
        rows = {id(b): (b.tocsr(), b.T.tocsr()) for blocks in lower for b in blocks if b is not None}
        self._lower = [[None if b is None else rows[id(b)] for b in blocks] for blocks in lower]

    def _factor(self, block: Any, level: int, drop_tolerance: float, fill_factor: float, signs: Array) -> Any:
        begin = time.perf_counter()
        matrix = scipy.sparse.csc_matrix(block, dtype=np.float64)
        try:
            if drop_tolerance == 0:
                factor = scipy.sparse.linalg.splu(matrix)
            else:
                factor = scipy.sparse.linalg.spilu(
                    matrix, drop_tol=drop_tolerance, fill_factor=fill_factor, permc_spec="NATURAL", diag_pivot_thresh=0
                )
        except RuntimeError as error:
            raise PreconditionerError(f"diagonal block of level {level}: cannot be factored ({error})") from None
        self.factor_seconds += time.perf_counter() - begin
        self.factorizations += 1
        self.nnz += factor.nnz
        # spilu replaces a zero pivot by a tiny one and says nothing: look at what the factor does.
        applied = factor.solve(signs)
        amplification = float(np.abs(applied).max())
        if not amplification <= _AMPLIFICATION_LIMIT:
            raise PreconditionerError(
                f"diagonal block of level {level}: its factor amplifies by {amplification:.1e} (at most {_AMPLIFICATION_LIMIT:.0e})"
            )
        self.amplification = max(self.amplification, amplification)
        self.defect = max(self.defect, float(np.linalg.norm(signs - matrix @ applied) / np.sqrt(self.nodes)))
        return factor

    def solve(self, r: Array) -> Array:
        """``P⁻¹ r``, forward in time; r and the result have shape (levels, nodes).

        Raises:
            ValueError: for another shape.
            PreconditionerError: if the substitution overflows (a linearisation that grows without bound in time).
        """
        y = np.empty_like(self._checked(r))
        for n in range(self.levels):
            right = r[n].copy()
            for lag, blocks in enumerate(self._lower, start=1):
                if n >= lag and (block := blocks[n]) is not None:
                    right -= block[0] @ y[n - lag]
            y[n] = self._factors[n].solve(right)
        return self._finite(y)

    def solve_transposed(self, r: Array) -> Array:
        """``P⁻ᵀ r``, backward in time; shapes and errors as in `solve`."""
        y = np.empty_like(self._checked(r))
        for n in reversed(range(self.levels)):
            right = r[n].copy()
            for lag, blocks in enumerate(self._lower, start=1):
                if n + lag < self.levels and (block := blocks[n + lag]) is not None:
                    right -= block[1] @ y[n + lag]
            y[n] = self._factors[n].solve(right, trans="T")
        return self._finite(y)

    def growth(self) -> float:
        """``‖P⁻¹e‖∞`` for a fixed e of random signs: what the substitution through all levels makes of errors of size one."""
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (self.levels, self.nodes))
        return float(np.abs(self.solve(signs)).max())

    def _checked(self, r: Array) -> Array:
        if r.shape != (self.levels, self.nodes):
            raise ValueError(f"r: got shape {r.shape}, need (levels, nodes) = {(self.levels, self.nodes)}")
        return np.asarray(r, dtype=np.float64)

    def _finite(self, y: Array) -> Array:
        if not np.isfinite(y).all():
            raise PreconditionerError(f"the substitution through {self.levels} levels is not finite: take fewer levels at once")
        return y


class _ApplyInverse(torch.autograd.Function):
    """``r ↦ P⁻¹r`` or ``P⁻ᵀr``; each is the other's backward, so that derivatives of every order exist."""

    @staticmethod
    def forward(ctx: Any, r: Tensor, preconditioner: BlockTriangular, transposed: bool) -> Tensor:
        ctx.preconditioner, ctx.transposed = preconditioner, transposed
        values = r.detach().to("cpu", torch.float64).numpy()
        solved = preconditioner.solve_transposed(values) if transposed else preconditioner.solve(values)
        return torch.from_numpy(solved).to(r)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _ApplyInverse.apply(gradients[0], ctx.preconditioner, not ctx.transposed), None, None


def apply_inverse(preconditioner: BlockTriangular, r: Tensor) -> Tensor:
    """``P⁻¹ r`` as a differentiable operation; r of shape (levels, nodes), any device and dtype (computed on the CPU in float64)."""
    return _ApplyInverse.apply(r, preconditioner, False)  # type: ignore[no-any-return, no-untyped-call]


@dataclass(frozen=True)
class Correction:
    """What `DiscreteProblem.correct` returns.

    Attributes:
        values: the corrected grid function, shape (levels, nodes).
        residual: largest entry of the discrete residual that is left.
        sweeps: applications of ``P⁻¹``, over all windows.
        factorizations: distinct blocks factored.
        factor_seconds: time that took.
        seconds: time of the whole correction.
    """

    values: Array
    residual: float
    sweeps: int
    factorizations: int
    factor_seconds: float
    seconds: float


class DiscreteProblem(ABC):
    """A discrete system ``R(u) = 0`` on a space-time grid, of shape (levels, nodes) = (number of times, nodes at one time).

    Attributes:
        settings: see `DiscretizationSettings`.
        shape: (levels, nodes).
    """

    settings: DiscretizationSettings
    shape: tuple[int, int]

    @property
    @abstractmethod
    def nodes(self) -> Array:
        """Coordinates of all nodes, level by level: shape (levels · nodes, d), x first, t last."""

    @abstractmethod
    def residual(self, u: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Rows start … stop - 1 of ``R(u)``, shape (stop - start, nodes), differentiable.

        u is the whole grid function, shape (levels, nodes); only the levels from start (less those that the scheme looks back to) to
        stop are read.
        """

    @abstractmethod
    def linearize(self, u: Array, start: int = 0, stop: int | None = None) -> BlockTriangular:
        """P ≈ R'(u) on the levels start … stop - 1, the values before them known. u is the whole grid function."""

    @abstractmethod
    def interpolate(self, u: Array, points: Array) -> Array:
        """The grid function u, shape (levels, nodes), at points (n, d) of the domain: shape (n,)."""

    def correct(self, u: Array, start: int = 0, stop: int | None = None) -> Correction:
        """Sweeps ``u ← u - clip(P⁻¹R(u))``, window by window forward in time (levels start … stop - 1; those before are taken as right).

        One window is swept until its residual is below ``tolerance`` or ``sweeps`` are used up, and only then the next one is
        looked at: every window is linearised about values that are right at its start. P is kept, also from one window to the next,
        as long as it works (``refresh``).
        """
        s, begin = self.settings, time.perf_counter()
        stop = self.shape[0] if stop is None else stop
        values = np.array(u, dtype=np.float64)
        grid = torch.from_numpy(values)  # shares its memory
        left, sweeps, factorizations, factor_seconds = 0.0, 0, 0, 0.0
        preconditioner = None
        first = start
        while first < stop:
            # The initial level is a window of its own: its rows are unlike the others.
            last = min(first + s.window, stop) if first else 1
            if s.guess == "carry" and first:
                values[first:last] = values[first - 1]
            if preconditioner is not None and (first == 1 or preconditioner.levels != last - first):
                preconditioner = None
            before = np.inf
            for sweep in range(s.sweeps + 1):
                r = self.residual(grid, first, last).numpy()
                largest, size = float(np.abs(r).max()), float(np.sqrt(np.mean(r**2)))
                if largest <= s.tolerance or sweep == s.sweeps:
                    break
                if preconditioner is None or size > s.refresh * before:
                    preconditioner = self.linearize(values, first, last)
                    factorizations += preconditioner.factorizations
                    factor_seconds += preconditioner.factor_seconds
                update = preconditioner.solve(r)
                values[first:last] -= update if s.clip is None else np.clip(update, -s.clip, s.clip)
                before, sweeps = size, sweeps + 1
            left = max(left, largest)
            first = last
        return Correction(values, left, sweeps, factorizations, factor_seconds, time.perf_counter() - begin)
