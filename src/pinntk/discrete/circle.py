"""Discrete systems of semilinear equations on a circle, with the scheme of `pinntk.discrete.line` in time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.discrete.difference import (
    periodic_derivative_order4,
    periodic_derivative_spectral,
    trigonometric_interpolation,
)
from pinntk.discrete.line import Evolution, EvolutionSettings

Orders = Mapping[int, float]
"""Orders of derivatives in x -> their coefficients; order 0 is the value itself."""


class CircleSettings(EvolutionSettings):
    """Settings of an equation on a circle."""

    space: Literal["spectral", "order4"] = "order4"
    """Derivatives of the trigonometric polynomial through the nodes, or stencils of fourth order."""


class Circle(Evolution):
    """``u' = A u + B u^power``, A and B linear combinations of derivatives in x, orders 0 to 3, at ``cells`` nodes.

    The last of the ``cells + 1`` nodes is the first one's image, ``u_cells - u_0 = 0``. float64, as all of a grid.

    Args:
        settings: the grid and the scheme.
        lower, upper: what is one point of the circle.
        initial: values at ``np.linspace(lower, upper, cells + 1)``.
        linear: A.
        outer: B.
        power: a whole number, at least 2.
        end: the last time; the first is 0.

    Example::

        >>> grid = CircleSettings(cells=16, time_steps=40, drop_tolerance=0.0, space="spectral")
        >>> x = np.linspace(0.0, 2 * np.pi, 17)  # u_t = u_xxx + u_xx
        >>> heat = Circle(
        ...     grid, lower=0.0, upper=2 * np.pi, initial=np.sin(x), linear={3: 1.0, 2: 1.0}, outer={0: 0.0}, power=2)
        >>> np.allclose(heat.solve()[-1], np.exp(-1.0) * np.sin(x - 1.0), atol=1e-6)
        True
        >>> logistic = Circle(  # u_t = 2 u - 3 u^2
        ...     grid, lower=0.0, upper=1.0, initial=np.full(17, 0.5), linear={0: 2.0}, outer={0: -3.0}, power=2)
        >>> round(float(logistic.rate(torch.full((1, 17), 0.5))[0, 0]), 6)
        0.25
    """

    settings: CircleSettings

    def __init__(
        self,
        settings: CircleSettings,
        *,
        lower: float,
        upper: float,
        initial: Array,
        linear: Orders,
        outer: Orders,
        power: int,
        end: float = 1.0,
    ) -> None:
        cells = settings.cells
        self.x = np.linspace(lower, upper, cells + 1)
        self.length, self.power = upper - lower, power
        image = scipy.sparse.csr_array(([-1.0, 1.0], ([cells, cells], [0, cells])), shape=(cells + 1, cells + 1))
        evolves = np.append(np.ones(cells), 0.0)
        super().__init__(settings, initial=initial, evolves=evolves, condition=image, end=end)
        self.linear, self.outer = self._combined(linear), self._combined(outer)
        self._linear, self._outer = (torch.from_numpy(m.toarray().T) for m in (self.linear, self.outer))

    def _combined(self, orders: Orders) -> scipy.sparse.csr_array:
        cells = self.settings.cells
        of = periodic_derivative_spectral if self.settings.space == "spectral" else periodic_derivative_order4
        # The matrices are for a circle of length 1.
        found = [c / self.length**m * scipy.sparse.csr_array(of(cells, m)) for m, c in orders.items()]
        return scipy.sparse.csr_array(scipy.sparse.block_diag([sum(found[1:], found[0]), [[0.0]]]))

    def rate(self, u: Tensor) -> Tensor:
        return u @ self._linear.to(u) + u**self.power @ self._outer.to(u)

    def acceleration(self, u: Tensor) -> Tensor:
        rate = self.rate(u)
        return rate @ self._linear.to(u) + (self.power * u ** (self.power - 1) * rate) @ self._outer.to(u)

    def derivatives(self, u: Array) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
        q, rate = self.power, self.linear @ u + self.outer @ u**self.power
        first = self.linear + self.outer @ scipy.sparse.diags_array(q * u ** (q - 1))
        # Of F'(u) F(u): F' F', and the change of F' along the rate.
        second = first @ first + self.outer @ scipy.sparse.diags_array(q * (q - 1) * u ** (q - 2) * rate)
        return scipy.sparse.csr_array(first), scipy.sparse.csr_array(second)

    def basis(self, x: Array) -> Array:
        """The trigonometric polynomial through the nodes."""
        rows = trigonometric_interpolation(self.settings.cells, (x - self.x[0]) / self.length)
        return np.pad(rows, ((0, 0), (0, 1)))
