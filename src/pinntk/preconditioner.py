"""The preconditioner of a discrete system that marches in time, and its inverse as a differentiable operation.

Schemes with one or two earlier levels make the Jacobian block lower-triangular in time,

    D_n y_n + B_n y_{n-1} + C_n y_{n-2} = r_n,        n = 0, 1, ...,

so its inverse is a substitution forward in time: a small factorisation per diagonal block, never one of the whole
space-time matrix (whose incomplete factors are singular, or amplify beyond use, for some of the problems). A problem
without time is one block.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
AMPLIFICATION_LIMIT = 1e10
"""Of one block's factor, on vectors of size one: beyond it the factor is singular in all but name."""


class PreconditionerError(ValueError):
    """A diagonal block is singular, or its factor, or the substitution in time, amplifies beyond use."""


class BlockTriangular:
    """The preconditioner P: incomplete LU factors of the diagonal blocks, the blocks below them as they are.

    ``P^-1 r`` is ``y_n = (L_n U_n)^-1 (r_n - B_n y_{n-1} - C_n y_{n-2})`` with ``L_n U_n`` close to ``D_n``.

    Args:
        diagonal: the blocks D_n, sparse, (nodes, nodes), one per level. A block that stands at several levels (the same
            object) is factored once.
        lower: ``lower[lag - 1][n]`` multiplies ``y_{n - lag}`` in row n, sparse, None for zero. Entries that would
            reach before the first level are not looked at: on a window the values before it are known, so not
            corrected.
        drop_tolerance: entries of the factors below it, relative to their column, are dropped; 0 factors exactly.
        fill_factor: bound of the factors' entries, relative to the block's.

    Attributes:
        levels, nodes: number of blocks, and their size.
        nnz: entries of all distinct factors.
        factorizations: blocks that were factored for this object.
        factor_seconds: the time that took.
        amplification: largest ``max |(LU)^-1 e|`` over the blocks, e a fixed vector of random signs.
        defect: largest ``|e - D (LU)^-1 e| / |e|`` over the blocks: 0 for exact factors, 1 is no better than nothing.

    Raises:
        PreconditionerError: a block cannot be factored, or its amplification exceeds `AMPLIFICATION_LIMIT`; names the
            level, counted from the first of these.
        ValueError: numbers of blocks do not match.

    SuperLU's factors cannot be copied or pickled; built again from the same blocks they are the same.
    """

    def __init__(
        self,
        diagonal: Sequence[Any],
        lower: Sequence[Sequence[Any]] = (),
        *,
        drop_tolerance: float = 0.0,
        fill_factor: float = 10.0,
    ) -> None:
        counts = [len(blocks) for blocks in lower]
        if not diagonal or any(count != len(diagonal) for count in counts):
            raise ValueError(f"lower: came {counts} blocks per lag; needed are {len(diagonal)} (and at least 1) each")
        if drop_tolerance < 0 or fill_factor < 1:
            raise ValueError(
                f"drop_tolerance={drop_tolerance}, fill_factor={fill_factor}: must be at least 0 and at least 1"
            )
        self.levels = len(diagonal)
        self.nodes = int(diagonal[0].shape[0])
        self.nnz = self.factorizations = 0
        self.factor_seconds = self.amplification = self.defect = 0.0
        factors: dict[int, Any] = {}
        for level, block in enumerate(diagonal):
            if id(block) not in factors:
                factors[id(block)] = self._factor(block, level, drop_tolerance, fill_factor)
        self._factors = [factors[id(block)] for block in diagonal]
        # Products with CSR matrices are the fast ones, so the transposed blocks are made once, too.
        pairs = {id(b): (b.tocsr(), b.T.tocsr()) for blocks in lower for b in blocks if b is not None}
        self._lower = [[None if b is None else pairs[id(b)] for b in blocks] for blocks in lower]

    def _factor(self, block: Any, level: int, drop_tolerance: float, fill_factor: float) -> Any:
        matrix = scipy.sparse.csc_matrix(block, dtype=np.float64)
        begin = time.perf_counter()
        try:
            if drop_tolerance == 0:
                factor = scipy.sparse.linalg.splu(matrix)
            else:
                factor = scipy.sparse.linalg.spilu(
                    matrix,
                    drop_tol=drop_tolerance,
                    fill_factor=fill_factor,
                    permc_spec="NATURAL",
                    diag_pivot_thresh=0,
                )
        except RuntimeError as error:
            raise PreconditionerError(f"diagonal block of level {level}: {error}") from None
        self.factor_seconds += time.perf_counter() - begin
        self.factorizations += 1
        self.nnz += int(factor.nnz)
        # spilu puts a tiny number where a pivot is zero and says nothing: look at what the factor does.
        signs = _signs(self.nodes)
        applied = factor.solve(signs)
        amplification = float(np.abs(applied).max())
        if not amplification <= AMPLIFICATION_LIMIT:
            raise PreconditionerError(
                f"diagonal block of level {level}: its factor amplifies by {amplification:.1e},"
                f" {AMPLIFICATION_LIMIT:.0e} is allowed"
            )
        self.amplification = max(self.amplification, amplification)
        self.defect = max(self.defect, float(np.linalg.norm(signs - matrix @ applied) / np.linalg.norm(signs)))
        return factor

    def restrict(self, start: int, stop: int) -> BlockTriangular:
        """P on the levels start, ..., stop - 1 alone, the values before them known; shares the factors."""
        part = copy.copy(self)
        part._factors = self._factors[start:stop]
        part._lower = [blocks[start:stop] for blocks in self._lower]
        part.levels = len(part._factors)
        part.factorizations, part.factor_seconds = 0, 0.0
        return part

    def solve(self, r: Array) -> Array:
        """``P^-1 r``, forward in time: (levels, nodes) to (levels, nodes).

        Raises:
            ValueError: r has another shape.
            PreconditionerError: the result overflows, as a linearisation that grows in time can make it.
        """
        y = np.empty_like(self._checked(r))
        for n, factor in enumerate(self._factors):
            right = r[n].copy()
            for lag, blocks in enumerate(self._lower, start=1):
                if n >= lag and (pair := blocks[n]) is not None:
                    right -= pair[0] @ y[n - lag]
            y[n] = factor.solve(right)
        return self._finite(y)

    def solve_transposed(self, r: Array) -> Array:
        """``P^-T r``, backward in time; shapes and errors as in `solve`."""
        y = np.empty_like(self._checked(r))
        for n in reversed(range(self.levels)):
            right = r[n].copy()
            for lag, blocks in enumerate(self._lower, start=1):
                if n + lag < self.levels and (pair := blocks[n + lag]) is not None:
                    right -= pair[1] @ y[n + lag]
            y[n] = self._factors[n].solve(right, trans="T")
        return self._finite(y)

    def growth(self) -> float:
        """``max |P^-1 e|``, e of fixed random signs: what errors of size one become on their way through the levels."""
        return float(np.abs(self.solve(_signs(self.levels, self.nodes))).max())

    def _checked(self, r: Array) -> Array:
        if r.shape != (self.levels, self.nodes):
            raise ValueError(f"r: came shape {r.shape}; needed is (levels, nodes) = {(self.levels, self.nodes)}")
        return r

    def _finite(self, y: Array) -> Array:
        if not np.isfinite(y).all():
            raise PreconditionerError(
                f"the substitution through {self.levels} levels is not finite: its linearisation grows without bound in"
                " time, or what it is applied to is not finite"
            )
        return y


def _signs(*shape: int) -> Array:
    return np.random.default_rng(0).choice([-1.0, 1.0], shape)


class _ApplyInverse(torch.autograd.Function):
    """``r -> P^-1 r`` or ``r -> P^-T r``: each is the other's backward, so derivatives of every order exist."""

    @staticmethod
    def forward(ctx: Any, r: Tensor, preconditioner: BlockTriangular, transposed: bool) -> Tensor:
        ctx.preconditioner, ctx.transposed = preconditioner, transposed
        values = r.detach().to("cpu", torch.float64).numpy()
        solved = preconditioner.solve_transposed(values) if transposed else preconditioner.solve(values)
        return torch.from_numpy(solved).to(r)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        solved = _ApplyInverse.apply(gradients[0], ctx.preconditioner, not ctx.transposed)  # type: ignore[no-untyped-call]
        return solved, None, None


def apply_inverse(preconditioner: BlockTriangular, r: Tensor) -> Tensor:
    """``P^-1 r``, differentiable any number of times.

    r is a tensor (levels, nodes) of any device and dtype; the substitution is done on the CPU in float64. The
    gradient is ``P^-T`` times the incoming one. Errors as in `BlockTriangular.solve`.
    """
    solved: Tensor = _ApplyInverse.apply(r, preconditioner, False)  # type: ignore[no-untyped-call]
    return solved
