"""Burgers' equation: a front at x = 0 about nu wide."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import numpy as np
import scipy.sparse
import torch
from pydantic import Field
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.discrete.difference import first_derivative_order4, second_derivative_order4, sine_interpolation, with_walls
from pinntk.discrete.discretization import DiscreteProblem, DiscretizationSettings
from pinntk.discrete.line import Cells, Evolution, EvolutionSettings
from pinntk.network.settings import Feature, FrequencyFeature
from pinntk.network.streams import Operator
from pinntk.pdes import references
from pinntk.pdes.base import PDE, Term, value, vanishing


class BurgersDiscretization(EvolutionSettings):
    """Settings of burgers' discrete system."""

    cells: Cells = 128
    window: Annotated[int, Field(ge=1)] = 1
    stretch: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """The cells at the front are 1 - stretch, those at the walls 1 + stretch times as wide as on a uniform grid."""


class Burgers(PDE):
    """``u_t + u u_x = nu u_xx`` on [-1, 1] x [0, 1], ``u(x, 0) = -sin pi x``, ``u(+-1, t) = 0``; reference: Cole-Hopf.

    The paper's Table 1 prints nu = pi/100; every published figure of its row is for 0.01/pi, the default here.

    Example::

        >>> equation = Burgers(nu=0.5).terms()[0]
        >>> u, u_x, u_t, u_xx = torch.tensor([[2.0], [3.0], [1.0], [4.0]])
        >>> equation.of_derivatives({"u": u, "u_x": u_x, "u_t": u_t, "u_xx": u_xx}).tolist()  # 1 + 2 * 3 - 0.5 * 4
        [5.0]
    """

    name: ClassVar[str] = "burgers"
    lower: ClassVar[tuple[float, ...]] = (-1.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    Discretization: ClassVar[type[DiscretizationSettings] | None] = BurgersDiscretization

    nu: Annotated[float, Field(gt=0)] = 0.01 / math.pi

    def terms(self) -> tuple[Term, ...]:
        return (
            Term(
                "residual",
                "interior",
                ("u", "u_x", Operator("L", {"u_t": 1.0, "u_xx": -self.nu})),
                lambda s: s["L"] + s["u"] * s["u_x"],
            ),
            Term("initial", "initial", ("u",), value, lambda x: (-torch.sin(math.pi * x[:, 0]),)),
            Term("boundary", "boundary", ("u",), vanishing),
        )

    def lift(self, x: Tensor) -> Tensor:
        """The initial values."""
        return -torch.sin(math.pi * x[:, 0])

    def factor(self, x: Tensor) -> Tensor:
        """``t sin pi x``: zero at the ends, and odd like u."""
        return x[:, 1] * torch.sin(math.pi * x[:, 0])

    def inputs(self) -> list[Feature]:
        """``cos pi x``, for u is odd about x = 0 and both ends."""
        return [FrequencyFeature(kind="frequencies", input="x", frequencies=[math.pi], parity="even", replace=True)]

    def reference(self) -> references.Reference:
        x, t = self.evaluation_points().T
        return references.burgers(x, t, self.nu)

    def discretize(self, settings: DiscretizationSettings) -> DiscreteProblem:
        assert isinstance(settings, BurgersDiscretization)
        return BurgersDiscrete(settings, self.nu)


class BurgersDiscrete(Evolution):
    """``u' = -u D u + nu D2 u`` with stencils of fourth order on a grid that is fine at x = 0.

    ``x(s) = s - stretch/pi sin(pi s)``, s uniform: like the solution, x is odd about s = 0 and both walls, so that the
    solution is a smooth odd function of s and stencils may reach across the walls.

    Example::

        >>> from pinntk.pdes.references import burgers
        >>> discrete = Burgers(nu=0.1).discretize(BurgersDiscretization(cells=32, stretch=0.5, time_steps=50))
        >>> x, t = discrete.nodes.T
        >>> np.allclose(discrete.solve().ravel(), burgers(x, t, 0.1).values, atol=1e-3)
        True
    """

    settings: BurgersDiscretization

    def __init__(self, settings: BurgersDiscretization, nu: float) -> None:
        cells = settings.cells
        self.stretch = settings.stretch
        s = np.linspace(-1.0, 1.0, cells + 1)
        self.x = self._map(s)
        walls = np.pad(np.zeros(cells - 1), 1, constant_values=1.0)
        initial = -np.pad(np.sin(math.pi * self.x[1:-1]), 1)
        condition = scipy.sparse.csr_array(scipy.sparse.diags_array(walls))
        super().__init__(settings, initial=initial, evolves=1 - walls, condition=condition)
        # The matrices are for the unit interval (s + 1)/2.
        along = with_walls(scipy.sparse.csr_array(first_derivative_order4(cells) / 2))
        twice = with_walls(scipy.sparse.csr_array(second_derivative_order4(cells) / 4))
        slope = 1 - settings.stretch * np.cos(math.pi * s)  # dx/ds
        bend = settings.stretch * math.pi * np.sin(math.pi * s)

        def scaled(by: Array, matrix: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
            return scipy.sparse.csr_array(scipy.sparse.diags_array(by) @ matrix)

        self.first = scaled(1 / slope, along)
        self.diffusion = nu * (scaled(1 / slope**2, twice) - scaled(bend / slope**3, along))
        self._first, self._diffusion = (torch.from_numpy(m.toarray().T) for m in (self.first, self.diffusion))

    def _map(self, s: Array) -> Array:
        return np.asarray(s - self.stretch / math.pi * np.sin(math.pi * s))

    def rate(self, u: Tensor) -> Tensor:
        return u @ self._diffusion.to(u) - u * (u @ self._first.to(u))

    def acceleration(self, u: Tensor) -> Tensor:
        rate = self.rate(u)
        return rate @ self._diffusion.to(u) - rate * (u @ self._first.to(u)) - u * (rate @ self._first.to(u))

    def derivatives(self, u: Array) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
        def diagonal(values: Array) -> scipy.sparse.dia_array:
            return scipy.sparse.diags_array(values)

        slope = self.first @ u
        rate = self.diffusion @ u - u * slope
        first = scipy.sparse.csr_array(self.diffusion - diagonal(slope) - diagonal(u) @ self.first)
        # The rate's second derivative, F''(v, w) = -v D w - w D v, with w the rate.
        second = first @ first - diagonal(rate) @ self.first - diagonal(self.first @ rate)
        return first, scipy.sparse.csr_array(second)

    def basis(self, x: Array) -> Array:
        """The sine series in s; s(x) by Newton's method."""
        s = x.copy()
        for _ in range(50):
            s -= (self._map(s) - x) / (1 - self.stretch * np.cos(math.pi * s))
        return sine_interpolation(self.settings.cells, (s + 1) / 2)
