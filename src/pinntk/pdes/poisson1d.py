"""The one-dimensional Poisson equation: the problem on which the kernel's theory is proved."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
import scipy.sparse
import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.discrete.difference import (
    second_derivative_order4,
    second_derivative_spectral,
    sine_interpolation,
    with_walls,
)
from pinntk.discrete.discretization import DiscreteProblem, DiscretizationSettings
from pinntk.discrete.line import Cells, Line, LineSettings
from pinntk.discrete.preconditioner import Blocks
from pinntk.pdes.base import ExactPDE, Term, vanishing


class Poisson1DDiscretization(LineSettings):
    """Settings of the Poisson equation's discrete system."""

    cells: Cells = 200
    tolerance: Annotated[float, Field(ge=0)] = 1e-8  # f is (a pi)^2 in size
    space: Literal["spectral", "order4"] = "order4"
    """Derivatives of the sine series through the nodes, or a stencil of five points."""


class Poisson1D(ExactPDE):
    """``u_xx = -(a pi)^2 sin(a pi x)`` on [0, 1], ``u = 0`` at the ends; solution ``sin(a pi x)`` (paper, Lemma 2).

    Example::

        >>> pde, x = Poisson1D(a=1), torch.tensor([[0.5]], dtype=torch.float64)
        >>> equation, boundary = pde.terms()
        >>> equation.of_derivatives({"u_xx": -(math.pi**2) * pde.solution(x)}, *equation.fields(x)).tolist()
        [0.0]
    """

    name: ClassVar[str] = "poisson1d"
    coordinates: ClassVar[tuple[str, ...]] = ("x",)
    lower: ClassVar[tuple[float, ...]] = (0.0,)
    upper: ClassVar[tuple[float, ...]] = (1.0,)
    evaluation_shape: ClassVar[tuple[int, ...]] = (1001,)
    Discretization: ClassVar[type[DiscretizationSettings] | None] = Poisson1DDiscretization

    # Two intervals of the evaluation grid per half wave at most: at a = 1000 the solution vanishes on all of the grid.
    a: Annotated[StrictInt, Field(ge=1, le=500)] = 4

    def terms(self) -> tuple[Term, ...]:
        scale = (self.a * math.pi) ** 2
        return (
            Term("residual", "interior", ("u_xx",), lambda s, f: s["u_xx"] - f, lambda x: (-scale * self.solution(x),)),
            Term("boundary", "boundary", ("u",), vanishing),
        )

    def factor(self, x: Tensor) -> Tensor:
        """``x (1 - x)``: zero at the ends."""
        return x[:, 0] * (1 - x[:, 0])

    def solution(self, x: Tensor) -> Tensor:
        return torch.sin(self.a * math.pi * x[:, 0])

    def discretize(self, settings: DiscretizationSettings) -> DiscreteProblem:
        assert isinstance(settings, Poisson1DDiscretization)
        return Poisson1DDiscrete(settings, self)


class Poisson1DDiscrete(Line):
    """``D2 u = f`` at the inner nodes, ``u = 0`` at the ends: one level.

    Raises:
        ValueError: the grid cannot hold f.

    Example::

        >>> pde = Poisson1D(a=2)
        >>> discrete = pde.discretize(Poisson1DDiscretization(cells=12, space="spectral"))
        >>> np.allclose(discrete.solve()[0], np.sin(2 * math.pi * discrete.x))
        True
    """

    settings: Poisson1DDiscretization

    def __init__(self, settings: Poisson1DDiscretization, pde: Poisson1D) -> None:
        cells = settings.cells
        if cells < 2 * pde.a + 2:
            raise ValueError(
                f"discretization.cells={cells}: pde.a={pde.a} needs at least {2 * pde.a + 2}, two cells a half wave"
            )
        self.x = np.linspace(0.0, 1.0, cells + 1)
        super().__init__(settings, None)
        second = second_derivative_spectral if settings.space == "spectral" else second_derivative_order4
        ends = scipy.sparse.diags_array(np.pad(np.zeros(cells - 1), 1, constant_values=1.0))
        self.matrix = scipy.sparse.csr_array(with_walls(second(cells)) + ends)
        inner = pde.solution(torch.from_numpy(self.x[1:-1, None])).numpy()
        self.right = np.pad(-((pde.a * math.pi) ** 2) * inner, 1)
        self._transposed = torch.from_numpy(self.matrix.toarray().T)

    def residual(self, u: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        return u @ self._transposed.to(u) - torch.from_numpy(self.right).to(u)

    def jacobian(self, u: Array, start: int = 0, stop: int | None = None) -> Blocks:
        return Blocks([self.matrix])

    def basis(self, x: Array) -> Array:
        return sine_interpolation(self.settings.cells, x)
