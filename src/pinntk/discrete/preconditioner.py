"""The preconditioner of a discrete system that marches in time.

Schemes with one or two earlier levels make the Jacobian block lower-triangular in time,

    D_n y_n + B_n y_{n-1} + C_n y_{n-2} = r_n,        n = 0, 1, ...,

so its inverse is a substitution forward in time: a small factorisation per diagonal block (`BlockTriangular`). A
problem without time is one block. `WholeMatrix` factors the matrix of all levels at once, for comparison: for some of
the problems its incomplete factors are singular, or amplify beyond use.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from pinntk.common.arrays import Array

AMPLIFICATION_LIMIT = 1e10
"""Of one factor, on vectors of size one: beyond it the factor is singular in all but name."""
DEFECT_LIMIT = 1.0
"""A factor that leaves more of a vector than there was is worse than none."""


class PreconditionerError(ValueError):
    """A matrix is singular, or its factor, or the substitution in time, amplifies beyond use."""


class Blocks(NamedTuple):
    """A matrix, block lower-triangular in time.

    A block that stands at several levels (the same object) is factored, and kept, once.

    Example::

        >>> import scipy.sparse
        >>> one = scipy.sparse.eye_array(1)
        >>> Blocks([one, 2 * one, one], [[None, -3 * one, None]]).whole().toarray().tolist()
        [[1.0, 0.0, 0.0], [-3.0, 2.0, 0.0], [0.0, 0.0, 1.0]]
    """

    diagonal: Sequence[Any]
    """The blocks D_n, sparse, (nodes, nodes), one per level."""
    lower: Sequence[Sequence[Any]] = ()
    """``lower[lag - 1][n]`` multiplies ``y_{n - lag}`` in row n, sparse, None for zero. Entries that would reach before
    the first level are not looked at: on a window the values before it are known, so not corrected."""

    def whole(self) -> scipy.sparse.csc_array:
        """The matrix of all levels, (levels * nodes, levels * nodes)."""
        levels, nodes = len(self.diagonal), int(self.diagonal[0].shape[0])
        kept: dict[int, Any] = {}
        rows, columns, entries = [], [], []
        for lag, blocks in enumerate([self.diagonal, *self.lower]):
            for n, block in enumerate(blocks):
                if block is not None and n >= lag:
                    coo = kept.setdefault(id(block), block.tocoo())
                    rows.append(coo.row + n * nodes)
                    columns.append(coo.col + (n - lag) * nodes)
                    entries.append(coo.data)
        index = np.concatenate(rows), np.concatenate(columns)
        return scipy.sparse.csc_array((np.concatenate(entries), index), shape=(levels * nodes, levels * nodes))


class Preconditioner(ABC):
    """P, an incomplete factorisation of a `Blocks`, and its inverse.

    Attributes:
        levels, nodes: number of blocks, and their size.
        nnz: entries of all distinct factors.
        factorizations: matrices that were factored for this object.
        factor_seconds: the time that took.
        amplification: largest ``max |(LU)^-1 e|`` over the factors, e a fixed vector of random signs.
        defect: largest ``|e - D (LU)^-1 e| / |e|`` over them: 0 for exact factors, 1 is no better than nothing.

    Raises (while being made):
        PreconditionerError: a matrix cannot be factored, or its factors amplify by more than `AMPLIFICATION_LIMIT`, or
            their defect exceeds `DEFECT_LIMIT`.
        ValueError: settings or numbers of blocks are wrong.

    SuperLU's factors cannot be copied or pickled; built again from the same blocks they are the same.
    """

    def __init__(self, blocks: Blocks, drop_tolerance: float, fill_factor: float) -> None:
        counts = [len(lag) for lag in blocks.lower]
        if not blocks.diagonal or any(count != len(blocks.diagonal) for count in counts):
            raise ValueError(
                f"lower: came {counts} blocks per lag; needed are {len(blocks.diagonal)} (and at least 1) each"
            )
        if drop_tolerance < 0 or fill_factor < 1:
            raise ValueError(
                f"drop_tolerance={drop_tolerance}, fill_factor={fill_factor}: must be at least 0 and at least 1"
            )
        self.drop_tolerance, self.fill_factor = drop_tolerance, fill_factor
        self.levels = len(blocks.diagonal)
        self.nodes = int(blocks.diagonal[0].shape[0])
        self.nnz = self.factorizations = 0
        self.factor_seconds = self.amplification = self.defect = 0.0
        self._products: dict[int, tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]] = {}

    @abstractmethod
    def solve(self, r: Array) -> Array:
        """``P^-1 r``: (levels, nodes), or (levels, nodes, k) for k columns, to the same.

        Raises:
            ValueError: r has another shape.
            PreconditionerError: the result overflows, as a linearisation that grows in time can make it.
        """

    @abstractmethod
    def solve_transposed(self, r: Array) -> Array:
        """``P^-T r``: (levels, nodes) to the same; errors as in `solve`."""

    @abstractmethod
    def product(self, u: Array) -> Array:
        """``P u``: (levels, nodes) to (levels, nodes)."""

    @abstractmethod
    def product_transposed(self, u: Array) -> Array:
        """``P^T u``."""

    def growth(self) -> float:
        """``max |P^-1 e|``, e of fixed random signs: what errors of size one become on their way through the levels."""
        return float(np.abs(self.solve(random_signs(self.levels, self.nodes))).max())

    def _factor(self, block: Any, name: str) -> Any:
        """The factors of one matrix. ``drop_tolerance = 0``: exact ones."""
        matrix = scipy.sparse.csc_matrix(block, dtype=np.float64)
        begin = time.perf_counter()
        try:
            if self.drop_tolerance == 0:
                factor = scipy.sparse.linalg.splu(matrix)
            else:
                factor = scipy.sparse.linalg.spilu(
                    matrix,
                    drop_tol=self.drop_tolerance,
                    fill_factor=self.fill_factor,
                    permc_spec="NATURAL",
                    diag_pivot_thresh=0,
                )
        except RuntimeError as error:
            raise PreconditionerError(f"{name}: {error}") from None
        self.factor_seconds += time.perf_counter() - begin
        self.factorizations += 1
        self.nnz += int(factor.nnz)
        # spilu puts a tiny number where a pivot is zero and says nothing: look at what the factor does.
        signs = random_signs(matrix.shape[0])
        applied = factor.solve(signs)
        amplification = float(np.abs(applied).max())
        if not amplification <= AMPLIFICATION_LIMIT:
            raise PreconditionerError(
                f"{name}: its factor amplifies by {amplification:.1e}, {AMPLIFICATION_LIMIT:.0e} is allowed"
            )
        defect = float(np.linalg.norm(signs - matrix @ applied) / np.linalg.norm(signs))
        if not defect <= DEFECT_LIMIT:
            raise PreconditionerError(
                f"{name}: its incomplete factor is worse than none, it leaves {defect:.1e} of what it is applied to"
                f" ({DEFECT_LIMIT:g} is allowed); a smaller drop_tolerance than {self.drop_tolerance:g} may help"
            )
        self.amplification = max(self.amplification, amplification)
        self.defect = max(self.defect, defect)
        return factor

    def _multiplied(self, factor: Any) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
        """The matrix ``Pr^T L U Pc^T`` that the factors stand for, and its transpose; made once per factor."""
        if id(factor) not in self._products:
            matrix = scipy.sparse.csr_array((factor.L @ factor.U).tocsr()[factor.perm_r][:, factor.perm_c])
            self._products[id(factor)] = matrix, scipy.sparse.csr_array(matrix.T)
        return self._products[id(factor)]

    def _checked(self, r: Array) -> Array:
        if r.shape[:2] != (self.levels, self.nodes):
            raise ValueError(f"r: came shape {r.shape}; needed is (levels, nodes) = {(self.levels, self.nodes)}")
        return r

    def _finite(self, y: Array) -> Array:
        if not np.isfinite(y).all():
            raise PreconditionerError(
                f"the substitution through {self.levels} levels is not finite: its linearisation grows without bound in"
                " time, or what it is applied to is not finite"
            )
        return y


class BlockTriangular(Preconditioner):
    """Incomplete LU factors of the diagonal blocks, the blocks below them as they are.

    ``P^-1 r`` is ``y_n = (L_n U_n)^-1 (r_n - B_n y_{n-1} - C_n y_{n-2})`` with ``L_n U_n`` close to ``D_n``.

    Args:
        blocks: what is factored.
        drop_tolerance: entries of the factors below it, relative to their column, are dropped; 0 factors exactly.
        fill_factor: bound of the factors' entries, relative to the block's.
        first: number of the first level, for messages.

    Example::

        >>> import scipy.sparse
        >>> one = scipy.sparse.eye_array(1)
        >>> p = BlockTriangular(Blocks([one] * 3, [[None, -2 * one, -2 * one]]))
        >>> p.solve(np.array([[1.0], [0.0], [5.0]])).ravel().tolist()  # y_n = r_n + 2 y_{n-1}
        [1.0, 2.0, 9.0]
    """

    def __init__(
        self, blocks: Blocks, *, drop_tolerance: float = 0.0, fill_factor: float = 10.0, first: int = 0
    ) -> None:
        super().__init__(blocks, drop_tolerance, fill_factor)
        factors: dict[int, Any] = {}
        for level, block in enumerate(blocks.diagonal, start=first):
            if id(block) not in factors:
                factors[id(block)] = self._factor(block, f"diagonal block of level {level}")
        self._factors = [factors[id(block)] for block in blocks.diagonal]
        # Products with CSR matrices are the fast ones, so the transposed blocks are made once, too.
        pairs = {id(b): (b.tocsr(), b.T.tocsr()) for lag in blocks.lower for b in lag if b is not None}
        self._lower = [[None if b is None else pairs[id(b)] for b in lag] for lag in blocks.lower]

    def solve(self, r: Array) -> Array:
        y = np.empty_like(self._checked(r))
        for n, factor in enumerate(self._factors):
            right = r[n].copy()
            for lag, blocks in enumerate(self._lower, start=1):
                if n >= lag and (pair := blocks[n]) is not None:
                    right -= pair[0] @ y[n - lag]
            y[n] = factor.solve(right)
        return self._finite(y)

    def solve_transposed(self, r: Array) -> Array:
        y = np.empty_like(self._checked(r))
        for n in reversed(range(self.levels)):
            right = r[n].copy()
            for lag, blocks in enumerate(self._lower, start=1):
                if n + lag < self.levels and (pair := blocks[n + lag]) is not None:
                    right -= pair[1] @ y[n + lag]
            y[n] = self._factors[n].solve(right, trans="T")
        return self._finite(y)

    def product(self, u: Array) -> Array:
        r = np.stack(
            [self._multiplied(factor)[0] @ level for factor, level in zip(self._factors, self._checked(u), strict=True)]
        )
        for lag, lower in enumerate(self._lower, start=1):
            for n in range(lag, self.levels):
                if (pair := lower[n]) is not None:
                    r[n] += pair[0] @ u[n - lag]
        return r

    def product_transposed(self, u: Array) -> Array:
        r = np.stack(
            [self._multiplied(factor)[1] @ level for factor, level in zip(self._factors, self._checked(u), strict=True)]
        )
        for lag, lower in enumerate(self._lower, start=1):
            for n in range(lag, self.levels):
                if (pair := lower[n]) is not None:
                    r[n - lag] += pair[1] @ u[n]
        return r


class WholeMatrix(Preconditioner):
    """Incomplete LU factors of the matrix of all levels at once; arguments as of `BlockTriangular`."""

    def __init__(
        self, blocks: Blocks, *, drop_tolerance: float = 0.0, fill_factor: float = 10.0, first: int = 0
    ) -> None:
        super().__init__(blocks, drop_tolerance, fill_factor)
        self._whole = self._factor(blocks.whole(), f"the matrix of {self.levels} levels from level {first} on")

    def solve(self, r: Array) -> Array:
        columns = self._checked(r).reshape(self.levels * self.nodes, *r.shape[2:])
        return self._finite(self._whole.solve(columns).reshape(r.shape))

    def solve_transposed(self, r: Array) -> Array:
        return self._finite(self._whole.solve(self._checked(r).ravel(), trans="T").reshape(r.shape))

    def product(self, u: Array) -> Array:
        return np.asarray(self._multiplied(self._whole)[0] @ self._checked(u).ravel()).reshape(u.shape)

    def product_transposed(self, u: Array) -> Array:
        return np.asarray(self._multiplied(self._whole)[1] @ self._checked(u).ravel()).reshape(u.shape)


@lru_cache(maxsize=8)
def random_signs(*shape: int) -> Array:
    """A fixed vector of random signs."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], shape)
    signs.setflags(write=False)
    return signs


FACTORS: dict[str, type[BlockTriangular] | type[WholeMatrix]] = {"levels": BlockTriangular, "whole": WholeMatrix}
"""What is factored, by the name that settings have for it."""
