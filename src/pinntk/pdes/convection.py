"""Convection: u_t + beta u_x = 0, periodic in x."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

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
from pinntk.discrete.discretization import DiscreteProblem, DiscretizationSettings
from pinntk.discrete.line import Evolution, EvolutionSettings, Steps
from pinntk.network.settings import Feature, FrequencyFeature
from pinntk.network.streams import Operator
from pinntk.pdes.base import ExactPDE, Term, periodic, value


class ConvectionDiscretization(EvolutionSettings):
    """Settings of convection's discrete system."""

    time_steps: Steps = 400
    space: Literal["spectral", "order4"] = "spectral"
    """Derivatives of the trigonometric polynomial through the nodes, or a stencil of five points."""


class Convection(ExactPDE):
    """``u_t + beta u_x = 0`` on [0, 2 pi] x [0, 1], ``u(x, 0) = sin x``, ``u(0, t) = u(2 pi, t)``.

    Solution ``sin(x - beta t)``.

    Example::

        >>> pde = Convection(beta=3.0)
        >>> equation = pde.terms()[0]
        >>> equation.of_derivatives({"u_t": torch.tensor([-2.0]), "u_x": torch.tensor([1.0])}).tolist()  # -2 + 3
        [1.0]
        >>> round(pde.solution(torch.tensor([[math.pi / 2 + 3, 1.0]])).item(), 6)
        1.0
    """

    name: ClassVar[str] = "convection"
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (2 * math.pi, 1.0)
    Discretization: ClassVar[type[DiscretizationSettings] | None] = ConvectionDiscretization

    beta: float = 40.0

    def terms(self) -> tuple[Term, ...]:
        return (
            Term("residual", "interior", (Operator("L", {"u_t": 1.0, "u_x": self.beta}),), lambda s: s["L"]),
            Term("initial", "initial", ("u",), value, lambda x: (torch.sin(x[:, 0]),)),
            Term("periodic", "periodic", ("u",), periodic),
        )

    def lift(self, x: Tensor) -> Tensor:
        """The initial values."""
        return torch.sin(x[:, 0])

    def factor(self, x: Tensor) -> Tensor:
        """t."""
        return x[:, 1]

    def inputs(self) -> list[Feature]:
        """sin x and cos x in the place of x."""
        return [FrequencyFeature(kind="frequencies", input="x", frequencies=[1.0], replace=True)]

    def solution(self, x: Tensor) -> Tensor:
        return torch.sin(x[:, 0] - self.beta * x[:, 1])

    def discretize(self, settings: DiscretizationSettings) -> DiscreteProblem:
        assert isinstance(settings, ConvectionDiscretization)
        return ConvectionDiscrete(settings, self.beta)


class ConvectionDiscrete(Evolution):
    """``u' = -beta D u`` on the circle; the last node is the first one's image, ``u_cells - u_0 = 0``.

    Example::

        >>> discrete = Convection(beta=2.0).discretize(ConvectionDiscretization(cells=8, time_steps=40))
        >>> exact = np.sin(discrete.x - 2 * discrete.times[:, None])
        >>> np.allclose(discrete.solve(), exact, atol=1e-6)
        True
    """

    def __init__(self, settings: ConvectionDiscretization, beta: float) -> None:
        cells = settings.cells
        self.x = np.linspace(0.0, 2 * math.pi, cells + 1)
        image = scipy.sparse.csr_array(([-1.0, 1.0], ([cells, cells], [0, cells])), shape=(cells + 1, cells + 1))
        super().__init__(settings, initial=np.sin(self.x), evolves=np.append(np.ones(cells), 0.0), condition=image)
        derivative = periodic_derivative_spectral if settings.space == "spectral" else periodic_derivative_order4
        along = scipy.sparse.block_diag([-beta / (2 * math.pi) * derivative(cells), [[0.0]]])
        first = scipy.sparse.csr_array(along)
        self._derivatives = first, scipy.sparse.csr_array(first @ first)
        self._first, self._second = (torch.from_numpy(matrix.toarray().T) for matrix in self._derivatives)

    def rate(self, u: Tensor) -> Tensor:
        return u @ self._first.to(u)

    def acceleration(self, u: Tensor) -> Tensor:
        return u @ self._second.to(u)

    def derivatives(self, u: Array) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
        return self._derivatives

    def basis(self, x: Array) -> Array:
        return np.pad(trigonometric_interpolation(self.settings.cells, x / (2 * math.pi)), ((0, 0), (0, 1)))
