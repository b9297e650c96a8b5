"""Discrete systems in one space dimension: grids, and a scheme of fourth order in time for ``u' = F(u)``.

With the rate ``F(u)`` and the acceleration ``u'' = F'(u) F(u)`` of the semi-discrete system, one step is::

    u_n - u_{n-1} = dt/2 (F_n + F_{n-1}) - dt^2/12 (F'F_n - F'F_{n-1})

(the two-point Hermite quadrature of u'; for a linear F the diagonal Pade approximation (2, 2) of exp: stable whatever
dt, and without damping). Without its second term this is the trapezoidal rule, Crank-Nicolson. Like that it couples two
levels only, so P is block lower-triangular, and needs 10 to 100 times fewer levels where the solution is smooth.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
import scipy.sparse
import torch
from pydantic import Field, model_validator
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.discrete.difference import lagrange_stencil
from pinntk.discrete.discretization import DiscreteProblem, DiscretizationSettings, check_size
from pinntk.discrete.preconditioner import Blocks

Cells = Annotated[int, Field(ge=6, le=100_000)]
Steps = Annotated[int, Field(ge=1, le=1_000_000)]
LAGRANGE = 6
"""Levels (or nodes) through which a polynomial interpolates."""


class LineSettings(DiscretizationSettings):
    """Settings of a problem in one space dimension."""

    cells: Cells = 64
    drop_tolerance: Annotated[float, Field(ge=0)] = 1e-4
    tolerance: Annotated[float, Field(ge=0)] = 1e-10
    window: Annotated[int, Field(ge=1)] = 1_000_000


class MarchingSettings(LineSettings):
    """Settings of a problem that also has a time."""

    time_steps: Steps = 200

    @model_validator(mode="after")
    def _size(self) -> MarchingSettings:
        check_size((self.cells + 1) * (self.time_steps + 1), cells=self.cells, time_steps=self.time_steps)
        return self


class EvolutionSettings(MarchingSettings):
    """Settings of a problem of first order in time.

    Example::

        >>> from pinntk.pdes.convection import Convection, ConvectionDiscretization
        >>> def error(order, steps):
        ...     grid = ConvectionDiscretization(cells=8, order=order, time_steps=steps)
        ...     discrete = Convection(beta=2.0).discretize(grid)
        ...     return np.abs(discrete.solve() - np.sin(discrete.x - 2 * discrete.times[:, None])).max()
        >>> [round(error(order, 10) / error(order, 20)) for order in (2, 4)]  # 2^order
        [4, 16]
    """

    order: Literal[2, 4] = 4
    """Of the scheme in time: 2 is Crank-Nicolson."""


class Line(DiscreteProblem):
    """A grid on ``lower <= x <= upper``, and levels ``times`` where the problem has a time.

    A subclass sets ``x`` (the nodes, ``lower`` first and ``upper`` last) before it calls this.

    Example::

        >>> from pinntk.pdes.convection import Convection, ConvectionDiscretization
        >>> discrete = Convection(beta=2.0).discretize(ConvectionDiscretization(cells=8, time_steps=40))
        >>> u = discrete.interpolate(discrete.solve(), np.array([[1.0, 0.3]]))  # sin(x - 2 t) at x = 1, t = 0.3
        >>> abs(float(u[0]) - math.sin(0.4)) < 1e-6
        True
    """

    x: Array

    def __init__(self, settings: LineSettings, times: Array | None) -> None:
        self.settings = settings
        self.times = times
        self.shape = (1 if times is None else len(times), len(self.x))

    @abstractmethod
    def basis(self, x: Array) -> Array:
        """What takes a level's values at the nodes to those at points x (n,): (n, nodes)."""

    @cached_property
    def nodes(self) -> Array:
        if self.times is None:
            return self.x[:, None]
        t, x = np.meshgrid(self.times, self.x, indexing="ij")
        return np.stack([x.ravel(), t.ravel()], axis=-1)

    def interpolate(self, u: Array, points: Array) -> Array:
        """u at points (n, 1) or (n, 2): as `basis` says in x, polynomials through six levels in t.

        Raises:
            ValueError: a point lies outside the domain.
        """
        lower, upper = self.nodes[0], self.nodes[-1]
        if not ((points >= lower) & (points <= upper)).all():
            raise ValueError(f"points: must lie between {lower.tolist()} and {upper.tolist()}")
        x, place = np.unique(points[:, 0], return_inverse=True)
        levels = u @ self.basis(x).T
        if self.times is None:
            return np.asarray(levels[0, place])
        step = self.times[1] - self.times[0]
        first, weights = lagrange_stencil((points[:, 1] - self.times[0]) / step, len(self.times), LAGRANGE)
        values = [weight * levels[first + k, place] for k, weight in enumerate(weights.T)]
        return np.asarray(np.sum(values, axis=0))


class Evolution(Line):
    """``u' = F(u)`` with the scheme above at the nodes where ``evolves``, and linear conditions at the others.

    Row n > 0 of the residual is the scheme, or the condition ``(C u_n)_i = 0`` where node i does not evolve; row 0 is
    ``u_0 - initial``.

    Args:
        settings: the grid and the scheme.
        initial: values at the nodes, (nodes,).
        evolves: 1.0 where the equation holds, 0.0 where a condition does, (nodes,).
        condition: C, (nodes, nodes), with zero rows where the equation holds.
        end: the last time; the first is 0.

    Example::

        >>> from pinntk.pdes.reaction import Reaction, ReactionDiscretization
        >>> discrete = Reaction(rho=1.0).discretize(ReactionDiscretization(cells=6, time_steps=4))
        >>> u = np.full(7, 0.25)
        >>> rate, acceleration = discrete.rate(torch.from_numpy(u)), discrete.acceleration(torch.from_numpy(u))
        >>> rate[0].item(), acceleration[0].item()  # F = u (1 - u), F' F = (1 - 2 u) u (1 - u)
        (0.1875, 0.09375)
    """

    settings: EvolutionSettings

    def __init__(
        self,
        settings: EvolutionSettings,
        *,
        initial: Array,
        evolves: Array,
        condition: scipy.sparse.csr_array,
        end: float = 1.0,
    ) -> None:
        super().__init__(settings, np.linspace(0.0, end, settings.time_steps + 1))
        self.step = end / settings.time_steps
        self.initial = initial
        self.evolves = evolves
        self.condition = condition
        self._condition = torch.from_numpy(condition.toarray().T)
        self._identity = scipy.sparse.eye_array(len(initial), format="csr")

    @abstractmethod
    def rate(self, u: Tensor) -> Tensor:
        """F(u), (levels, nodes) to the same; zero where a node does not evolve."""

    @abstractmethod
    def acceleration(self, u: Tensor) -> Tensor:
        """F'(u) F(u), likewise."""

    @abstractmethod
    def derivatives(self, u: Array) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
        """The matrices of ``F'(u)`` and of the derivative of ``F'(u) F(u)``, u of one level, (nodes,). For a linear F
        the same object every time: its blocks are then factored once."""

    def residual(self, u: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        stop = self.shape[0] if stop is None else stop
        back = max(start - 1, 0)
        grid = u[back:stop]
        now, before = grid[1:], grid[:-1]
        evolves = torch.from_numpy(self.evolves).to(u)
        rate = self.step / 2 * self.rate(grid)
        rows = evolves * (now - before) + now @ self._condition.to(u) - rate[1:] - rate[:-1]
        if self.settings.order == 4:
            bend = self.step**2 / 12 * self.acceleration(grid)
            rows = rows + bend[1:] - bend[:-1]
        return torch.cat([u[:1] - torch.from_numpy(self.initial).to(u), rows]) if start == 0 else rows

    def jacobian(self, u: Array, start: int = 0, stop: int | None = None) -> Blocks:
        return self._blocks([self.derivatives(row) for row in u[start:stop]], start)

    def _blocks(self, pairs: Sequence[tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]], start: int) -> Blocks:
        """The Jacobian of levels with these `derivatives`, the first of them being number ``start``."""
        made = {id(pair): self._pair(*pair) for pair in pairs}
        diagonal = [made[id(pair)][0] for pair in pairs]
        if start == 0:
            diagonal[0] = self._identity
        return Blocks(diagonal, [[None, *(made[id(pair)][1] for pair in pairs[:-1])]])

    def _pair(
        self, first: scipy.sparse.csr_array, second: scipy.sparse.csr_array
    ) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
        """The blocks that a level brings: on its own row, and on the row of the level after it."""
        evolves = scipy.sparse.diags_array(self.evolves)
        half = self.step / 2 * first
        bend = self.step**2 / 12 * second if self.settings.order == 4 else 0 * second
        return (
            scipy.sparse.csr_array(evolves + self.condition - half + bend),
            scipy.sparse.csr_array(-evolves - half - bend),
        )
