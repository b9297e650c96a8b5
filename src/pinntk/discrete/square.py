"""Linear discrete systems on a rectangle whose sides hold zeros: one level, a sparse matrix and a right side."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
import scipy.sparse
import torch
from pydantic import Field
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.discrete.difference import (
    second_derivative_order4,
    second_derivative_spectral,
    sine_interpolation,
    with_walls,
)
from pinntk.discrete.discretization import DiscreteProblem, DiscretizationSettings
from pinntk.discrete.preconditioner import Blocks

SquareCells = Annotated[int, Field(ge=6, le=512)]
POINTS = 8192
"""Points of an interpolation at once."""


def check_waves(cells: int, half_waves: int, key: str) -> None:
    """Raise ValueError, naming the coefficient ``key`` that asks for it, where cells do not hold so many half waves."""
    if cells < 2 * half_waves + 2:
        needed = f"needs at least {2 * half_waves + 2}, two cells a half wave"
        raise ValueError(f"discretization.cells={cells}: {key} {needed}")


class SquareSettings(DiscretizationSettings):
    """Settings of a problem on a rectangle."""

    cells: SquareCells = 64
    """Along x and along y."""
    space: Literal["spectral", "order4"] = "spectral"
    """Derivatives of the residual: those of the sine series through the nodes, or stencils of five points along each
    axis. P always has the stencils."""
    drop_tolerance: Annotated[float, Field(ge=0)] = 0.0
    """As elsewhere; but incomplete factors of these stencils, whose weights have both signs, get worse with the grid:
    from 64 cells on sweeps with them do not settle, at a tolerance of 1e-3 as at 1e-4."""
    tolerance: Annotated[float, Field(ge=0)] = 1e-8
    window: Annotated[int, Field(ge=1)] = 1_000_000


class Square(DiscreteProblem):
    """``laplacian (u_xx + u_yy) + value u = f`` at the inner nodes of a uniform grid, ``u = 0`` on the sides.

    Stencils reach across the sides with odd reflections, which is of fourth order where u is the product of sines, or
    any other smooth function whose second derivatives vanish with it. ``shape`` is (1, nodes), y fastest, the sides'
    nodes included as rows ``u = 0``.

    Args:
        settings: the grid and the scheme.
        lower, upper: corners of the rectangle.
        right: f, of points (N, 2) as a tensor: (N,).
        laplacian, value: the equation's coefficients.

    Example::

        >>> def f(x):  # of u = sin pi x sin 2 pi y, for u_xx + u_yy + u
        ...     return (1 - 5 * np.pi**2) * torch.sin(np.pi * x[:, 0]) * torch.sin(2 * np.pi * x[:, 1])
        >>> def error(space, cells):
        ...     grid = SquareSettings(cells=cells, space=space)
        ...     discrete = Square(grid, lower=(0.0, 0.0), upper=(1.0, 1.0), right=f, laplacian=1.0, value=1.0)
        ...     u = f(torch.from_numpy(discrete.nodes)).numpy() / (1 - 5 * np.pi**2)
        ...     return np.abs(discrete.solve()[0] - u).max()
        >>> bool(error("spectral", 8) < 1e-9), round(error("order4", 16) / error("order4", 32))  # 2^4
        (True, 16)
    """

    settings: SquareSettings

    def __init__(
        self,
        settings: SquareSettings,
        *,
        lower: tuple[float, ...],
        upper: tuple[float, ...],
        right: Callable[[Tensor], Tensor],
        laplacian: float,
        value: float = 0.0,
    ) -> None:
        self.settings = settings
        self.lower, self.upper = np.array(lower), np.array(upper)
        self.shape = (1, (settings.cells + 1) ** 2)
        self.scales, self.value = laplacian / (self.upper - self.lower) ** 2, value
        values = right(torch.from_numpy(self.nodes)).numpy().reshape(self.axes[1:])
        self.right = np.pad(values[1:-1, 1:-1], 1)
        self.second = second_derivative_spectral(settings.cells)
        self._stencil = second_derivative_order4(settings.cells)
        if settings.space == "order4":
            self.second = self._stencil.toarray()

    @property
    def axes(self) -> tuple[int, ...]:
        return 1, self.settings.cells + 1, self.settings.cells + 1

    @cached_property
    def nodes(self) -> Array:
        axes = [np.linspace(low, high, self.axes[1]) for low, high in zip(self.lower, self.upper, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)

    def residual(self, u: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        grid = u.reshape(self.axes[1:])
        inner, second = grid[1:-1, 1:-1], torch.from_numpy(self.second).to(u)
        along_x, along_y = self.scales
        rows = grid.clone()
        rows[1:-1, 1:-1] = along_x * (second @ inner) + along_y * (inner @ second.T) + self.value * inner
        return (rows - torch.from_numpy(self.right).to(u)).reshape(1, -1)

    def jacobian(self, u: Array, start: int = 0, stop: int | None = None) -> Blocks:
        """A: that of stencils sparse; the series' has an entry for every two nodes of a row or column of the grid."""
        return Blocks([self._matrix(self.second)])

    def approximation(self, u: Array, start: int = 0, stop: int | None = None) -> Blocks:
        return Blocks([self._matrix(self._stencil)])

    def _matrix(self, second: Array | scipy.sparse.csr_array) -> scipy.sparse.csr_array:
        inside = with_walls(scipy.sparse.eye_array(self.settings.cells - 1, format="csr"))
        along, both = with_walls(second), scipy.sparse.kron(inside, inside)
        along_x, along_y = self.scales
        laplacian = along_x * scipy.sparse.kron(along, inside) + along_y * scipy.sparse.kron(inside, along)
        sides = scipy.sparse.eye_array(self.shape[1]) - both
        return scipy.sparse.csr_array(laplacian + self.value * both + sides)

    def interpolate(self, u: Array, points: Array) -> Array:
        """u at points (n, 2): the sine series through the nodes; the sides count as zero.

        Raises:
            ValueError: a point lies outside the domain.
        """
        if not ((points >= self.lower) & (points <= self.upper)).all():
            raise ValueError(f"points: must lie between {self.lower.tolist()} and {self.upper.tolist()}")
        grid, places = u.reshape(self.axes[1:]), (points - self.lower) / (self.upper - self.lower)
        values = np.empty(len(points))
        for start in range(0, len(points), POINTS):
            part = slice(start, start + POINTS)
            along_x, along_y = (sine_interpolation(self.settings.cells, x) for x in places[part].T)
            values[part] = ((along_x @ grid) * along_y).sum(axis=1)
        return values
