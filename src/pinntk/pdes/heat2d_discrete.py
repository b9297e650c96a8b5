"""The discrete system of heat2d: Crank-Nicolson in time, a uniform grid of squares in space, and its preconditioner.

With ``F(u, t) = D Laplace_h u + f(x, y, t) sin(k u^2)``, at the interior nodes of level n > 0::

    R_n = u_n - u_{n-1} - dt/2 (F(u_n, t_n) + F(u_{n-1}, t_{n-1}))

and identity rows elsewhere: ``R_0 = u_0 - u(., 0)``, ``R_n = u_n`` on the sides. Interior rows take the sides' zeros
as known.

The reaction's rates reach 53 per unit of time, either sign, so that with ``dt = 0.1`` the Jacobian's diagonal blocks
pass through singular ones where the rate is ``+2/dt``, and the system has several solutions. P therefore keeps of the
growing reactions no more than ``dt/2 f' = growth < 1``. Its blocks are then dominated by their diagonals, and sweeps
with it only settle where the true rate is below ``2/dt``: on the solution that continuous change leads to.

Forcing and initial values are products of sines, and sin(k u^2) is even in u, so the solution is odd about every
multiple of 1/g along an axis whose two wavenumbers have the greatest common divisor g, and even about the middle
between two of them where both wavenumbers over g are odd. ``symmetry`` keeps the smallest part of the square that
these repeat: [0, 1/8] x [0, 1] of heat2d's own, an eighth of the nodes for the same solution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import scipy.fft
import scipy.sparse
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.discrete.difference import lagrange_stencil, second_derivative_order4, second_derivative_spectral
from pinntk.discrete.discretization import DiscreteProblem, DiscretizationSettings, check_size
from pinntk.discrete.preconditioner import Blocks


class Heat2DDiscretization(DiscretizationSettings):
    """Settings of heat2d's discrete system."""

    cells: Annotated[int, Field(ge=4, le=512)] = 48
    """Of the grid along x and along y."""
    time_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    space: Literal["spectral", "order4"] = "spectral"
    """Space derivatives of the residual; P always has those of fourth order, five points along each axis."""
    symmetry: bool = True
    """Keep only the part of the square that the problem's symmetries repeat."""
    growth: Annotated[float, Field(ge=0)] | None = 0.5
    """Bound of dt/2 times the reaction's rate in P; null leaves it whole, which makes P the Jacobian (with order4)."""
    clip: Annotated[float, Field(gt=0)] | None = 0.5
    refresh: Annotated[float, Field(ge=0, lt=1)] = 0.5

    @model_validator(mode="after")
    def _size(self) -> Heat2DDiscretization:
        check_size((self.cells + 1) ** 2 * (self.time_steps + 1), cells=self.cells, time_steps=self.time_steps)
        return self


class Axis:
    """The nodes along one axis of the square, of which a part is kept, and the second derivatives there.

    Args:
        cells: of [0, 1].
        waves: half waves on [0, 1] of everything that drives the problem along this axis.
        symmetry: keep the smallest part that symmetries repeat; else all of [0, 1].

    Raises:
        ValueError: that part has no whole number of cells.

    Attributes:
        repeats: g, the kept functions being odd about every multiple of 1/g.
        folded: whether they are even about 1/(2 g) as well.
        x: the nodes, from 0 to 1/g or 1/(2 g).
        inside: which of them are no walls, as a slice.
    """

    def __init__(self, cells: int, waves: tuple[int, int], symmetry: bool) -> None:
        self.repeats = math.gcd(*waves) if symmetry else 1
        self.folded = symmetry and all(wave // self.repeats % 2 for wave in waves)
        parts = self.repeats * (2 if self.folded else 1)
        if cells % parts:
            raise ValueError(
                f"discretization.cells={cells}: must be a multiple of {parts}, as often as the solution repeats itself"
                " along an axis; or discretization.symmetry=false"
            )
        self.cells = cells // self.repeats
        """Of [0, 1/g]."""
        self.x = np.linspace(0.0, 1 / parts, cells // parts + 1)
        self.inside = slice(1, None if self.folded else -1)

    @property
    def images(self) -> int:
        """How often the kept part lies in [0, 1]."""
        return self.repeats * (2 if self.folded else 1)

    def image(self, x: Array, which: NDArray[np.int64]) -> tuple[Array, Array]:
        """Where the points x (n,) of the kept part lie in images number ``which`` (n,), and the sign of u there."""
        if self.folded:
            x = np.where(which % 2, 1 / self.repeats - x, x)
            which = which // 2
        odd = which % 2 == 1
        return which / self.repeats + np.where(odd, 1 / self.repeats - x, x), np.where(odd, -1.0, 1.0)

    def second(self, of: Callable[[int], Array | scipy.sparse.csr_array]) -> Array:
        """A matrix of second derivatives of odd functions (`difference`) for the inner nodes that are kept."""
        full = of(self.cells)
        matrix = (full if isinstance(full, np.ndarray) else full.toarray()) * self.repeats**2
        if not self.folded:
            return matrix
        half = self.cells // 2
        kept = matrix[:half, :half].copy()
        kept[:, :-1] += matrix[:half, : half - 1 : -1]  # u(1/g - x) = u(x)
        return kept

    def with_walls(self, matrix: Array) -> scipy.sparse.csr_array:
        """A matrix of the inner nodes for all kept nodes: the walls' rows and columns are zero."""
        return scipy.sparse.csr_array(np.pad(matrix, (1, 0) if self.folded else (1, 1)))

    def sines(self, wave: int) -> Array:
        """sin(wave pi x) at the nodes, exactly zero on the walls."""
        return np.pad(np.sin(wave * np.pi * self.x[self.inside]), (1, 0) if self.folded else (1, 1))

    def waves(self, x: Array) -> Array:
        """The functions sin(g k pi x), k = 1, ..., of the sine series at points x (n,): (n, cells - 1)."""
        return np.sin(np.pi * self.repeats * np.outer(x, np.arange(1, self.cells)))

    def unfolded(self, inner: Array, axis: int) -> Array:
        """Values at the kept inner nodes -> at all inner nodes of [0, 1/g]."""
        if not self.folded:
            return inner
        before = np.take(inner, range(inner.shape[axis] - 1), axis)
        return np.concatenate([inner, np.flip(before, axis)], axis)


class Heat2DDiscrete(DiscreteProblem):
    """The discrete system of heat2d on the nodes of two `Axis` at ``time_steps + 1`` levels.

    The axis with fewer nodes is numbered fastest (y, where both have as many): the blocks of P, whose bandwidth is
    twice that number, are then the cheapest to factor.

    Args:
        settings: grid, scheme and preconditioner.
        k, m1, m2, diffusivity, end: the problem's coefficients, and its last time.

    Raises:
        ValueError: the symmetric part of the square has no whole number of cells.
    """

    settings: Heat2DDiscretization

    def __init__(
        self, settings: Heat2DDiscretization, *, k: float, m1: int, m2: int, diffusivity: float, end: float
    ) -> None:
        self.settings = settings
        levels = settings.time_steps + 1
        self.k, self.diffusivity, self.end = k, diffusivity, end
        self.step = end / settings.time_steps
        pair = [Axis(settings.cells, waves, settings.symmetry) for waves in ((4, m1), (3, m2))]
        self.along = (0, 1) if len(pair[0].x) >= len(pair[1].x) else (1, 0)
        """Which coordinate is numbered slowly, and which fast."""
        self.slow, self.fast = (pair[c] for c in self.along)
        self.times = np.linspace(0.0, end, levels)
        self.shape = (levels, len(self.slow.x) * len(self.fast.x))
        self.initial = self._sines(4, 3)
        self.source = 5 * self._sines(m1, m2)
        self.modulation = 1 + 2 * np.sin(np.pi / 4 * self.times)
        spectral = settings.space == "spectral"
        self._second = self._along_axes(second_derivative_spectral if spectral else second_derivative_order4)
        self._identity = scipy.sparse.eye_array(self.shape[1], format="csr")
        self._inside = scipy.sparse.csr_array(scipy.sparse.kron(*self._masks))
        self._order4 = self._diffusion(self._along_axes(second_derivative_order4))

    def _sines(self, *waves: int) -> Array:
        """sin(mx pi x) sin(my pi y) on one level's nodes, (nodes,), exactly zero on the walls."""
        slow, fast = (waves[c] for c in self.along)
        return np.outer(self.slow.sines(slow), self.fast.sines(fast)).ravel()

    def _along_axes(self, of: Callable[[int], Array | scipy.sparse.csr_array]) -> tuple[Array, Array]:
        """Second derivatives along the two axes at the inner nodes."""
        return self.slow.second(of), self.fast.second(of)

    @property
    def _masks(self) -> tuple[Any, Any]:
        """Per axis, 1 on the diagonal at nodes that are no walls."""
        slow, fast = (axis.with_walls(np.eye(len(axis.x[axis.inside]))) for axis in (self.slow, self.fast))
        return slow, fast

    def _diffusion(self, second: tuple[Array, Array]) -> scipy.sparse.csr_array:
        """dt/2 D Laplace_h of the inner nodes; rows and columns of the walls are zero."""
        along_slow, along_fast = self.slow.with_walls(second[0]), self.fast.with_walls(second[1])
        slow, fast = self._masks
        laplacian = scipy.sparse.kron(along_slow, fast) + scipy.sparse.kron(slow, along_fast)
        return scipy.sparse.csr_array(self.step / 2 * self.diffusivity * laplacian)

    @property
    def axes(self) -> tuple[int, ...]:
        return self.shape[0], len(self.slow.x), len(self.fast.x)

    @cached_property
    def nodes(self) -> Array:
        t, slow, fast = np.meshgrid(self.times, self.slow.x, self.fast.x, indexing="ij")
        x, y = (slow, fast) if self.along == (0, 1) else (fast, slow)
        return np.stack([x.ravel(), y.ravel(), t.ravel()], axis=-1)

    @property
    def images(self) -> int:
        return self.slow.images * self.fast.images

    def image(self, points: Array, which: NDArray[np.int64]) -> tuple[Array, Array]:
        found, signs = points.copy(), np.ones(len(points))
        for axis, c, number in zip((self.slow, self.fast), self.along, np.divmod(which, self.fast.images), strict=True):
            found[:, c], sign = axis.image(points[:, c], number)
            signs *= sign
        return found, signs

    def residual(self, u: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        stop = self.shape[0] if stop is None else stop
        back = max(start - 1, 0)
        sides = self.axes[1:]
        inside = self.slow.inside, self.fast.inside
        grid = u[back:stop].reshape(-1, *sides)
        inner = grid[:, *inside]
        along_slow, along_fast = (torch.from_numpy(second).to(u) for second in self._second)
        source = torch.from_numpy(self.source).to(u).reshape(sides)[inside]
        modulation = torch.from_numpy(self.modulation[back:stop]).to(u)[:, None, None]
        reaction = modulation * source * torch.sin(self.k * inner.square())
        rate = self.diffusivity * (along_slow @ inner + inner @ along_fast.T) + reaction
        rows = grid.clone()
        rows[1:, *inside] -= inner[:-1] + self.step / 2 * (rate[1:] + rate[:-1])
        if start == 0:
            rows[0] -= torch.from_numpy(self.initial).to(u).reshape(sides)
        return rows[start - back :].reshape(stop - start, -1)

    def jacobian(self, u: Array, start: int = 0, stop: int | None = None) -> Blocks:
        return self._blocks(self._diffusion(self._second), self._rates(u[start:stop], start, stop), start == 0)

    def approximation(self, u: Array, start: int = 0, stop: int | None = None) -> Blocks:
        rates = self._rates(u[start:stop], start, stop)
        if self.settings.growth is not None:
            rates = np.minimum(rates, self.settings.growth)
        return self._blocks(self._order4, rates, start == 0)

    def _rates(self, part: Array, start: int, stop: int | None) -> Array:
        """dt/2 times the reaction's rate, (levels, nodes)."""
        slope = 2 * self.k * part * np.cos(self.k * part**2)
        return np.asarray(self.step / 2 * self.modulation[start:stop, None] * self.source * slope)

    def _blocks(self, diffusion: scipy.sparse.csr_array, rates: Array, first: bool) -> Blocks:
        # They differ in their diagonals alone; levels without reaction (u = 0) share one block, factored once.
        now, before = (scipy.sparse.csr_array(one) for one in (self._identity - diffusion, -(self._inside + diffusion)))
        places = [_diagonal(one) for one in (now, before)]
        blocks = [
            tuple(_lowered(one, place, row) for one, place in zip((now, before), places, strict=True))
            if row.any()
            else (now, before)
            for row in rates
        ]
        diagonal = [self._identity if first and n == 0 else pair[0] for n, pair in enumerate(blocks)]
        return Blocks(diagonal, [[None, *(pair[1] for pair in blocks[:-1])]])

    def interpolate(self, u: Array, points: Array) -> Array:
        """u at points (n, 3): the sine series in space, cubic in time (exact at the levels); the sides count as zero.

        Raises:
            ValueError: a point lies outside the domain.
        """
        if not ((points >= 0) & (points <= [1.0, 1.0, self.end])).all():
            raise ValueError(f"points: must lie in [0, 1] x [0, 1] x [0, {self.end:g}]")
        first, weights = lagrange_stencil(points[:, 2] / self.step, self.shape[0], 4)
        axes = self.slow, self.fast
        grid = u.reshape(self.axes)[:, self.slow.inside, self.fast.inside]
        values = np.empty(len(points))
        order = np.argsort(first, kind="stable")
        for chosen in np.split(order, np.flatnonzero(np.diff(first[order])) + 1):
            level = first[chosen[0]]
            kept = self.fast.unfolded(self.slow.unfolded(grid[level : level + weights.shape[1]], 1), 2)
            series = scipy.fft.dstn(kept, type=1, axes=(1, 2)) / (self.slow.cells * self.fast.cells)
            slow, fast = (a.waves(points[chosen, c]) for a, c in zip(axes, self.along, strict=True))
            at_levels = np.stack([((slow @ modes) * fast).sum(axis=1) for modes in series], axis=1)
            values[chosen] = (weights[chosen] * at_levels).sum(axis=1)
        return values


def _diagonal(matrix: scipy.sparse.csr_array) -> NDArray[np.int64]:
    """Where the diagonal's entries stand among a matrix's; -1 for those that it has not."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    places = np.full(matrix.shape[0], -1)
    found = np.flatnonzero(rows == matrix.indices)
    places[rows[found]] = found
    return places


def _lowered(matrix: scipy.sparse.csr_array, places: NDArray[np.int64], by: Array) -> scipy.sparse.csr_array:
    """The matrix less a diagonal, which is zero where the matrix has no entry."""
    data = matrix.data.copy()
    data[places[places >= 0]] -= by[places >= 0]
    return scipy.sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)
