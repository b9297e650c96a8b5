"""The reaction equation: logistic growth at every x, nothing couples them."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import numpy as np
import scipy.sparse
import torch
from pydantic import Field
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.discrete.difference import lagrange_stencil
from pinntk.discrete.discretization import DiscreteProblem, DiscretizationSettings
from pinntk.discrete.line import LAGRANGE, Evolution, EvolutionSettings, Steps
from pinntk.discrete.preconditioner import Blocks
from pinntk.network.settings import Feature, PowerFeature
from pinntk.pdes.base import ExactPDE, Term, periodic, value


class ReactionDiscretization(EvolutionSettings):
    """Settings of the reaction's discrete system."""

    time_steps: Steps = 100
    window: Annotated[int, Field(ge=1)] = 1
    growth: Annotated[float, Field(ge=0)] | None = None
    """Bound of dt/2 times the reaction's rate in P; null leaves it whole, which makes P the Jacobian. Applied to all
    levels at once (direct), P^-1 about a network far from the solution grows like exp(rho t) without it."""


class Reaction(ExactPDE):
    """``u_t = rho u (1 - u)`` on [0, 2 pi] x [0, 1], ``u(x, 0) = h(x)``, ``u(0, t) = u(2 pi, t)``.

    ``h(x) = exp(-(x - pi)^2 / (2 (pi/4)^2))``; solution ``h e^{rho t} / (h e^{rho t} + 1 - h)``. It is periodic in
    value only: its slope jumps across x = 0, so a network that is periodic in x cannot reach it.

    Example::

        >>> pde = Reaction(rho=4.0)
        >>> equation = pde.terms()[0]
        >>> equation.of_derivatives({"u": torch.tensor([0.5]), "u_t": torch.tensor([1.0])}).tolist()  # 1 - 4/4
        [0.0]
        >>> x = torch.tensor([[math.pi / 4, 0.0]])
        >>> round(pde.solution(x).item(), 4)  # exp(-9/2): three widths from the middle
        0.0111
    """

    name: ClassVar[str] = "reaction"
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (2 * math.pi, 1.0)
    Discretization: ClassVar[type[DiscretizationSettings] | None] = ReactionDiscretization

    rho: float = 5.0

    def terms(self) -> tuple[Term, ...]:
        return (
            Term("residual", "interior", ("u", "u_t"), lambda s: s["u_t"] - self.rho * s["u"] * (1 - s["u"])),
            Term("initial", "initial", ("u",), value, lambda x: (torch.exp(self._exponent(x)),)),
            Term("periodic", "periodic", ("u",), periodic),
        )

    @staticmethod
    def _exponent(x: Tensor) -> Tensor:
        return -(x[:, 0] - math.pi).square() / (2 * (math.pi / 4) ** 2)

    def lift(self, x: Tensor) -> Tensor:
        """The initial values h."""
        return torch.exp(self._exponent(x))

    def factor(self, x: Tensor) -> Tensor:
        """``t h``: where h is small u stays of its size for a while."""
        return x[:, 1] * self.lift(x)

    def inputs(self) -> list[Feature]:
        """``(x - pi)^2``, for u is even about pi, and so has equal values at both ends."""
        return [PowerFeature(kind="powers", input="x", powers=[2], about=math.pi, centred=True, replace=True)]

    def solution(self, x: Tensor) -> Tensor:
        # The same as 1 / (1 + (1/h - 1) e^{-rho t}), in a form in which nothing overflows.
        return torch.sigmoid(self.rho * x[:, 1] - torch.log(torch.expm1(-self._exponent(x))))

    def discretize(self, settings: DiscretizationSettings) -> DiscreteProblem:
        assert isinstance(settings, ReactionDiscretization)
        return ReactionDiscrete(settings, self.rho)


class ReactionDiscrete(Evolution):
    """``u' = rho u (1 - u)`` at every node by itself.

    The initial values agree at both ends, so the periodic condition holds without being asked for.

    Example::

        >>> discrete = Reaction(rho=2.0).discretize(ReactionDiscretization(cells=6, time_steps=40))
        >>> u = Reaction(rho=2.0).solution(torch.from_numpy(discrete.nodes)).numpy()
        >>> np.allclose(discrete.solve().ravel(), u, atol=1e-6)
        True
    """

    settings: ReactionDiscretization

    def __init__(self, settings: ReactionDiscretization, rho: float) -> None:
        nodes = settings.cells + 1
        self.x = np.linspace(0.0, 2 * math.pi, nodes)
        initial = np.exp(Reaction._exponent(torch.from_numpy(self.x)[:, None]).numpy())
        super().__init__(
            settings, initial=initial, evolves=np.ones(nodes), condition=scipy.sparse.csr_array((nodes, nodes))
        )
        self.rho = rho

    def rate(self, u: Tensor) -> Tensor:
        return self.rho * u * (1 - u)

    def acceleration(self, u: Tensor) -> Tensor:
        return self.rho * (1 - 2 * u) * self.rate(u)

    def derivatives(self, u: Array) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
        slope = self.rho * (1 - 2 * u)
        bend = slope**2 - 2 * self.rho**2 * u * (1 - u)
        return scipy.sparse.csr_array(scipy.sparse.diags_array(slope)), scipy.sparse.csr_array(
            scipy.sparse.diags_array(bend)
        )

    def approximation(self, u: Array, start: int = 0, stop: int | None = None) -> Blocks:
        growth = self.settings.growth
        if growth is None:
            return self.jacobian(u, start, stop)
        # The scheme for u' = a u with the bounded rate a.
        rates = np.minimum(self.rho * (1 - 2 * u[start:stop]), 2 * growth / self.step)
        diagonals = [(scipy.sparse.diags_array(a), scipy.sparse.diags_array(a**2)) for a in rates]
        return self._blocks([(scipy.sparse.csr_array(a), scipy.sparse.csr_array(b)) for a, b in diagonals], start)

    def basis(self, x: Array) -> Array:
        cells = self.settings.cells
        first, weights = lagrange_stencil(x * (cells / (2 * math.pi)), cells + 1, LAGRANGE)
        rows = np.zeros((len(x), cells + 1))
        np.put_along_axis(rows, first[:, None] + np.arange(weights.shape[1]), weights, axis=1)
        return rows
