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
from typing import Annotated, Literal

import numpy as np
import scipy.fft
import scipy.sparse
import torch
from pydantic import Field, model_validator
from torch import Tensor

from pinntk.difference import second_derivative_order4, second_derivative_spectral
from pinntk.discretization import DiscreteProblem, DiscretizationSettings
from pinntk.preconditioner import Array, BlockTriangular

MAX_NODES = 100_000_000


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
        if (nodes := (self.cells + 1) ** 2 * (self.time_steps + 1)) > MAX_NODES:
            raise ValueError(
                f"cells={self.cells} and time_steps={self.time_steps} make {nodes:,} nodes; allowed are {MAX_NODES:,}"
            )
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
        # The blocks of P without reaction; rows and columns of the sides are the identity's.
        along = scipy.sparse.block_diag([[[0.0]], order4, [[0.0]]])
        inside = scipy.sparse.diags_array(np.pad(np.ones(cells - 1), 1))
        laplacian = scipy.sparse.kron(along, inside) + scipy.sparse.kron(inside, along)
        self._diffusion = scipy.sparse.csr_array(self.step / 2 * diffusivity * laplacian)
        self._identity = scipy.sparse.eye_array(self.shape[1], format="csr")
        self._inside = scipy.sparse.csr_array(scipy.sparse.kron(inside, inside))

    def _sines(self, mx: int, my: int) -> Array:
        """sin(mx pi x) sin(my pi y) on one level's nodes, (nodes,), exactly zero on the sides."""
        x, y = (np.pad(np.sin(m * np.pi * self.axis[1:-1]), 1) for m in (mx, my))
        return np.outer(x, y).ravel()

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

    def linearize(self, u: Array, start: int = 0, stop: int | None = None) -> BlockTriangular:
        settings, part = self.settings, u[start:stop]
        slope = 2 * self.k * part * np.cos(self.k * part**2)
        rate = self.step / 2 * self.modulation[start:stop, None] * self.source * slope
        if settings.growth is not None:
            rate = np.minimum(rate, settings.growth)
        change = [self._diffusion + scipy.sparse.diags_array(row) if row.any() else self._diffusion for row in rate]
        # Levels without reaction (u = 0) share one block: the same change makes the same block, factored once.
        blocks = {id(c): (self._identity - c, -(self._inside + c)) for c in change}
        diagonal = [blocks[id(c)][0] for c in change]
        if start == 0:
            diagonal[0] = self._identity
        lower = [None, *(blocks[id(c)][1] for c in change[:-1])]
        return BlockTriangular(
            diagonal, [lower], drop_tolerance=settings.drop_tolerance, fill_factor=settings.fill_factor
        )

    def interpolate(self, u: Array, points: Array) -> Array:
        """u at points (n, 3): the sine series in space, cubic in time (exact at the levels); the sides count as zero.

        Raises:
            ValueError: a point lies outside the domain.
        """
        if not ((points >= 0) & (points <= [1.0, 1.0, self.end])).all():
            raise ValueError(f"points: must lie in [0, 1] x [0, 1] x [0, {self.end:g}]")
        cells, levels = self.settings.cells, self.shape[0]
        stencil = min(4, levels)
        position = points[:, 2] / self.step
        first = np.clip(np.floor(position).astype(int) - 1, 0, levels - stencil)
        weights = _lagrange(position - first, stencil)
        grid = u.reshape(levels, cells + 1, cells + 1)[:, 1:-1, 1:-1]
        frequencies = np.pi * np.arange(1, cells)
        values = np.empty(len(points))
        order = np.argsort(first, kind="stable")
        for chosen in np.split(order, np.flatnonzero(np.diff(first[order])) + 1):
            level = first[chosen[0]]
            series = scipy.fft.dstn(grid[level : level + stencil], type=1, axes=(1, 2)) / cells**2
            x, y = (np.sin(np.outer(points[chosen, axis], frequencies)) for axis in (0, 1))
            at_levels = np.stack([((x @ modes) * y).sum(axis=1) for modes in series], axis=1)
            values[chosen] = (weights[chosen] * at_levels).sum(axis=1)
        return values


def _lagrange(position: Array, count: int) -> Array:
    """Weights of the polynomial through the nodes 0, ..., count - 1 at positions (n,): (n, count)."""
    nodes = np.arange(count)
    factors = [
        np.prod([(position - other) / (node - other) for other in nodes if other != node], axis=0) for node in nodes
    ]
    return np.stack([np.broadcast_to(factor, position.shape) for factor in factors], axis=1)
