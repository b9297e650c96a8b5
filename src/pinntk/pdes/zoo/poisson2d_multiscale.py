"""Poisson's equation on a square with a solution of two scales."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.discrete.discretization import DiscreteProblem, DiscretizationSettings
from pinntk.discrete.square import Square, SquareCells, SquareSettings, check_waves
from pinntk.network.streams import Operator
from pinntk.pdes.base import ExactPDE, Term, vanishing

# Two intervals of the evaluation grid per half wave at most.
Waves = Annotated[StrictInt, Field(ge=1, le=128)]


class MultiscaleDiscretization(SquareSettings):
    """Settings of the discrete system."""

    cells: SquareCells = 128


class Poisson2DMultiscale(ExactPDE):
    """``-(u_xx + u_yy) = f`` on [0, 1]^2, zero on the sides, with a long wave and a short one::

        u = sin(low pi x) sin(low pi y) + amplitude sin(high pi x) sin(high pi y)

    f is mostly the short wave, 62 times the long one's part by default, and u mostly the long one: what a network
    learns late counts least in the error and most in the loss.

    Source: the problem in one dimension, ``sin 2 pi x + 0.1 sin 50 pi x``, is of Wang, Wang, Perdikaris, On the
    eigenvector bias of Fourier feature networks, Comput. Methods Appl. Mech. Engrg. 384 (2021); here is its product.

    Example::

        >>> pde = Poisson2DMultiscale(low=1, high=3, amplitude=0.5)
        >>> x = torch.tensor([[0.5, 0.5]], dtype=torch.float64)  # u = 1 + 1/2, f = (2 + 18 / 2) pi^2
        >>> round(pde.solution(x).item(), 6), round(pde.forcing(x).item() / math.pi**2, 6)
        (1.5, 11.0)
    """

    name: ClassVar[str] = "poisson2d_multiscale"
    coordinates: ClassVar[tuple[str, ...]] = ("x", "y")
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    evaluation_shape: ClassVar[tuple[int, ...]] = (257, 257)
    Discretization: ClassVar[type[DiscretizationSettings] | None] = MultiscaleDiscretization

    low: Waves = 2
    high: Waves = 50
    amplitude: float = 0.1
    """Of the short wave."""

    def terms(self) -> tuple[Term, ...]:
        laplace = Operator("L", {"u_xx": -1.0, "u_yy": -1.0})
        return (
            Term("residual", "interior", (laplace,), lambda s, f: s["L"] - f, lambda x: (self.forcing(x),)),
            Term("boundary", "boundary", ("u",), vanishing),
        )

    def factor(self, x: Tensor) -> Tensor:
        """``16 x (1 - x) y (1 - y)``: zero on the sides, 1 in the middle."""
        return 16 * (x * (1 - x)).prod(dim=1)

    def forcing(self, x: Tensor) -> Tensor:
        """f at points (N, 2): (N,)."""
        long, short = self._wave(self.low, x), self._wave(self.high, x)
        return 2 * math.pi**2 * (self.low**2 * long + self.amplitude * self.high**2 * short)

    def solution(self, x: Tensor) -> Tensor:
        return self._wave(self.low, x) + self.amplitude * self._wave(self.high, x)

    @staticmethod
    def _wave(number: int, x: Tensor) -> Tensor:
        return torch.sin(number * math.pi * x).prod(dim=1)

    def discretize(self, settings: DiscretizationSettings) -> DiscreteProblem:
        assert isinstance(settings, MultiscaleDiscretization)
        name = "low" if self.low > self.high else "high"
        check_waves(settings.cells, getattr(self, name), f"pde.{name}={getattr(self, name)}")
        return Square(settings, lower=self.lower, upper=self.upper, right=self.forcing, laplacian=-1.0)
