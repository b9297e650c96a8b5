"""The discrete system of heat2d: Crank-Nicolson in time, a uniform grid of squares in space, and its preconditioner.

With ``F(u, t) = D Laplace_h u + f(x, y, t) sin(k u^2)``, at the interior nodes of level n > 0::

    R_n = u_n - u_{n-1} - dt/2 (F(u_n, t_n) + F(u_{n-1}, t_{n-1}))

and identity rows elsewhere: ``R_0 = u_0 - u(., 0)``, ``R_n = u_n`` on the sides. Interior rows take the sides' zeros
as known.

The reaction's rates reach 53 per unit of time, either sign, so that with ``dt = 0.1`` the Jacobian's diagonal blocks
pass through singular ones where the rate is ``+2/dt``, and the system has several solutions. P therefore keeps of the
growing reactions no more than ``dt/2 f' = growth < 1``. Its blocks are then dominated by their diagonals, and sweeps
with it only settle where the true rate is below ``2/dt``: on the solution that continuous change leads to.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import scipy.fft
import scipy.sparse
import torch
from pydantic import Field, model_validator
from torch import Tensor

from pinntk.difference import lagrange_stencil, second_derivative_order4, second_derivative_spectral, with_walls
from pinntk.discretization import DiscreteProblem, DiscretizationSettings, check_size
from pinntk.preconditioner import Array, Blocks


class Heat2DDiscretization(DiscretizationSettings):
    """Settings of heat2d's discrete system."""

    cells: Annotated[int, Field(ge=4, le=512)] = 48
    """Of the grid along x and along y."""
    time_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    space: Literal["spectral", "order4"] = "spectral"
    """Space derivatives of the residual; P always has those of fourth order, five points along each axis."""
    growth: Annotated[float, Field(ge=0)] | None = 0.5
    """Bound of dt/2 times the reaction's rate in P; null leaves it whole, which makes P the Jacobian (with order4)."""
    clip: Annotated[float, Field(gt=0)] | None = 0.25

    @model_validator(mode="after")
    def _size(self) -> Heat2DDiscretization:
        check_size((self.cells + 1) ** 2 * (self.time_steps + 1), cells=self.cells, time_steps=self.time_steps)
        return self


class Heat2DDiscrete(DiscreteProblem):
    """The discrete system of heat2d on ``(cells + 1)^2`` nodes, y fastest, at ``time_steps + 1`` levels.

    Args:
        settings: grid, scheme and preconditioner.
        k, m1, m2, diffusivity, end: the problem's coefficients, and its last time.
    """

    settings: Heat2DDiscretization

    def __init__(
        self, settings: Heat2DDiscretization, *, k: float, m1: int, m2: int, diffusivity: float, end: float
    ) -> None:
        self.settings = settings
        cells, levels = settings.cells, settings.time_steps + 1
        self.k, self.diffusivity, self.end = k, diffusivity, end
        self.step = end / settings.time_steps
        self.axis = np.linspace(0.0, 1.0, cells + 1)
        self.times = np.linspace(0.0, end, levels)
        self.shape = (levels, (cells + 1) ** 2)
        self.initial = self._sines(4, 3)
        self.source = 5 * self._sines(m1, m2)
        self.modulation = 1 + 2 * np.sin(np.pi / 4 * self.times)

        order4 = second_derivative_order4(cells)
        self.second = second_derivative_spectral(cells) if settings.space == "spectral" else order4.toarray()
        self._identity = scipy.sparse.eye_array(self.shape[1], format="csr")
        inside = self._inside_axis
        self._inside = scipy.sparse.csr_array(scipy.sparse.kron(inside, inside))
        self._order4 = self._diffusion(order4)

    @property
    def _inside_axis(self) -> Any:
        return scipy.sparse.diags_array(np.pad(np.ones(self.settings.cells - 1), 1))

    def _diffusion(self, second: Array | scipy.sparse.csr_array) -> scipy.sparse.csr_array:
        """dt/2 D Laplace_h of the inner nodes; rows and columns of the sides are zero."""
        along, inside = with_walls(second), self._inside_axis
        laplacian = scipy.sparse.kron(along, inside) + scipy.sparse.kron(inside, along)
        return scipy.sparse.csr_array(self.step / 2 * self.diffusivity * laplacian)

    def _sines(self, mx: int, my: int) -> Array:
        """sin(mx pi x) sin(my pi y) on one level's nodes, (nodes,), exactly zero on the sides."""
        x, y = (np.pad(np.sin(m * np.pi * self.axis[1:-1]), 1) for m in (mx, my))
        return np.outer(x, y).ravel()

    @property
    def axes(self) -> tuple[int, ...]:
        return self.shape[0], len(self.axis), len(self.axis)

    @cached_property
    def nodes(self) -> Array:
        t, x, y = np.meshgrid(self.times, self.axis, self.axis, indexing="ij")
        return np.stack([x.ravel(), y.ravel(), t.ravel()], axis=-1)

    def residual(self, u: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        stop = self.shape[0] if stop is None else stop
        back = max(start - 1, 0)
        side = len(self.axis)
        grid = u[back:stop].reshape(-1, side, side)
        inner = grid[:, 1:-1, 1:-1]
        second = torch.from_numpy(self.second).to(u)
        source = torch.from_numpy(self.source).to(u).reshape(side, side)[1:-1, 1:-1]
        modulation = torch.from_numpy(self.modulation[back:stop]).to(u)[:, None, None]
        reaction = modulation * source * torch.sin(self.k * inner.square())
        rate = self.diffusivity * (second @ inner + inner @ second) + reaction
        rows = grid.clone()
        rows[1:, 1:-1, 1:-1] -= inner[:-1] + self.step / 2 * (rate[1:] + rate[:-1])
        if start == 0:
            rows[0] -= torch.from_numpy(self.initial).to(u).reshape(side, side)
        return rows[start - back :].reshape(stop - start, -1)

    def jacobian(self, u: Array, start: int = 0, stop: int | None = None) -> Blocks:
        return self._blocks(self._diffusion(self.second), self._rates(u[start:stop], start, stop), start == 0)

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
        change = [diffusion + scipy.sparse.diags_array(row) if row.any() else diffusion for row in rates]
        # Levels without reaction (u = 0) share one block: the same change makes the same block, factored once.
        blocks = {id(c): (self._identity - c, -(self._inside + c)) for c in change}
        diagonal = [blocks[id(c)][0] for c in change]
        if first:
            diagonal[0] = self._identity
        return Blocks(diagonal, [[None, *(blocks[id(c)][1] for c in change[:-1])]])

    def interpolate(self, u: Array, points: Array) -> Array:
        """u at points (n, 3): the sine series in space, cubic in time (exact at the levels); the sides count as zero.

        Raises:
            ValueError: a point lies outside the domain.
        """
        if not ((points >= 0) & (points <= [1.0, 1.0, self.end])).all():
            raise ValueError(f"points: must lie in [0, 1] x [0, 1] x [0, {self.end:g}]")
        cells, levels = self.settings.cells, self.shape[0]
        first, weights = lagrange_stencil(points[:, 2] / self.step, levels, 4)
        grid = u.reshape(levels, cells + 1, cells + 1)[:, 1:-1, 1:-1]
        frequencies = np.pi * np.arange(1, cells)
        values = np.empty(len(points))
        order = np.argsort(first, kind="stable")
        for chosen in np.split(order, np.flatnonzero(np.diff(first[order])) + 1):
            level = first[chosen[0]]
            series = scipy.fft.dstn(grid[level : level + weights.shape[1]], type=1, axes=(1, 2)) / cells**2
            x, y = (np.sin(np.outer(points[chosen, axis], frequencies)) for axis in (0, 1))
            at_levels = np.stack([((x @ modes) * y).sum(axis=1) for modes in series], axis=1)
            values[chosen] = (weights[chosen] * at_levels).sum(axis=1)
        return values
