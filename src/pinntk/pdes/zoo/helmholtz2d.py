"""The Helmholtz equation on a square."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.discrete.discretization import DiscreteProblem, DiscretizationSettings
from pinntk.discrete.square import Square, SquareSettings, check_waves
from pinntk.network.streams import Operator
from pinntk.pdes.base import ExactPDE, Term, vanishing

# Two intervals of the evaluation grid per half wave at most.
Waves = Annotated[StrictInt, Field(ge=1, le=25)]


class Helmholtz2D(ExactPDE):
    """``u_xx + u_yy + k^2 u = f`` on [-1, 1]^2, zero on the sides; solution ``sin(a1 pi x) sin(a2 pi y)``.

    It is the only one unless k^2 is an eigenvalue ``(m^2 + n^2) pi^2 / 4``, m and n whole numbers from 1 on.

    Source: Wang, Teng, Perdikaris, Understanding and mitigating gradient flow pathologies in physics-informed neural
    networks, SIAM J. Sci. Comput. 43 (2021), with a1 = 1, a2 = 4, k = 1.

    Example::

        >>> pde, x = Helmholtz2D(a1=1, a2=2, k=3.0), torch.tensor([[0.5, 0.25]], dtype=torch.float64)  # u = 1 there
        >>> values = {"u": torch.ones(1), "u_xx": torch.tensor([5.0]), "u_yy": torch.zeros(1)}
        >>> equation = pde.terms()[0]
        >>> (equation.of_derivatives(values, *equation.fields(x)) - (5 + 5 * math.pi**2)).round(decimals=6).tolist()
        [0.0]
    """

    name: ClassVar[str] = "helmholtz2d"
    coordinates: ClassVar[tuple[str, ...]] = ("x", "y")
    lower: ClassVar[tuple[float, ...]] = (-1.0, -1.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    evaluation_shape: ClassVar[tuple[int, ...]] = (101, 101)
    Discretization: ClassVar[type[DiscretizationSettings] | None] = SquareSettings

    a1: Waves = 1
    a2: Waves = 4
    k: Annotated[float, Field(ge=0)] = 1.0

    def terms(self) -> tuple[Term, ...]:
        helmholtz = Operator("L", {"u_xx": 1.0, "u_yy": 1.0, "u": self.k**2})
        return (
            Term("residual", "interior", (helmholtz,), lambda s, f: s["L"] - f, lambda x: (self.forcing(x),)),
            Term("boundary", "boundary", ("u",), vanishing),
        )

    def factor(self, x: Tensor) -> Tensor:
        """``(1 - x^2) (1 - y^2)``: zero on the sides."""
        return (1 - x[:, 0] ** 2) * (1 - x[:, 1] ** 2)

    def forcing(self, x: Tensor) -> Tensor:
        """f at points (N, 2): (N,)."""
        return (self.k**2 - (self.a1**2 + self.a2**2) * math.pi**2) * self.solution(x)

    def solution(self, x: Tensor) -> Tensor:
        return torch.sin(self.a1 * math.pi * x[:, 0]) * torch.sin(self.a2 * math.pi * x[:, 1])

    def discretize(self, settings: DiscretizationSettings) -> DiscreteProblem:
        assert isinstance(settings, SquareSettings)
        name = "a1" if self.a1 > self.a2 else "a2"
        check_waves(settings.cells, 2 * getattr(self, name), f"pde.{name}={getattr(self, name)}")
        return Square(settings, lower=self.lower, upper=self.upper, right=self.forcing, laplacian=1.0, value=self.k**2)
