"""The wave equation: u_tt - C u_xx = 0 with two standing waves."""

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
from pinntk.discrete.line import Line, MarchingSettings
from pinntk.discrete.preconditioner import Blocks
from pinntk.network.settings import Feature, FrequencyFeature, PowerFeature
from pinntk.network.streams import Operator
from pinntk.pdes.base import ExactPDE, Term, value, vanishing


class WaveDiscretization(MarchingSettings):
    """Settings of the wave equation's discrete system."""

    space: Literal["spectral", "order4"] = "spectral"
    """Derivatives of the sine series through the nodes, or a stencil of five points."""


class Wave(ExactPDE):
    """``u_tt - C u_xx = 0`` on [0, 1]^2, ``u = 0`` at the ends, ``u(x, 0) = sin pi x + sin(a pi x)/2``, ``u_t = 0``.

    Solution ``sin(pi x) cos(sqrt(C) pi t) + sin(a pi x) cos(a sqrt(C) pi t)/2``; a is a whole number, or the ends
    would not hold.

    Example::

        >>> pde = Wave(a=2, C=4.0)
        >>> pde.terms()[0].of_derivatives({"u_tt": torch.tensor([9.0]), "u_xx": torch.tensor([2.0])}).tolist()
        [1.0]
        >>> u = pde.solution(torch.tensor([[0.25, 0.0], [0.25, 0.5]]))  # sin(pi/4) + 1/2, -sin(pi/4) + 1/2
        >>> [round(value, 3) for value in u.tolist()]
        [1.207, -0.207]
    """

    name: ClassVar[str] = "wave"
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    Discretization: ClassVar[type[DiscretizationSettings] | None] = WaveDiscretization

    # Two intervals of the evaluation grid per half wave at most: at a = 256 the second mode vanishes on all of the
    # grid.
    a: Annotated[StrictInt, Field(ge=1, le=128)] = 4
    C: Annotated[float, Field(gt=0)] = 4.0

    def terms(self) -> tuple[Term, ...]:
        return (
            Term("residual", "interior", (Operator("L", {"u_tt": 1.0, "u_xx": -self.C}),), lambda s: s["L"]),
            Term("initial", "initial", ("u",), value, lambda x: (self.solution(x),)),
            Term("velocity", "initial", ("u_t",), lambda s: s["u_t"]),
            Term("boundary", "boundary", ("u",), vanishing),
        )

    def lift(self, x: Tensor) -> Tensor:
        """The initial values."""
        return torch.sin(math.pi * x[:, 0]) + torch.sin(self.a * math.pi * x[:, 0]) / 2

    def factor(self, x: Tensor) -> Tensor:
        """``t^2 / (t^2 + 1 / (a^2 C)) sin pi x``: neither a value nor a velocity at t = 0, zero at the ends.

        The fastest wave turns ``a sqrt(C) / 2`` times in a unit of time. From a quarter of its first turn on the
        factor is of one size, and so is the network; behind t^2 it would have to fall from hundreds to 1.
        """
        square = x[:, 1] ** 2
        return square / (square + 1 / (self.a**2 * self.C)) * torch.sin(math.pi * x[:, 0])

    def inputs(self) -> list[Feature]:
        """``cos pi x``, for u is odd about both ends, and ``t^2``, for it is even in time."""
        return [
            FrequencyFeature(kind="frequencies", input="x", frequencies=[math.pi], parity="even", replace=True),
            PowerFeature(kind="powers", input="t", powers=[2], centred=True, replace=True),
        ]

    def solution(self, x: Tensor) -> Tensor:
        def mode(k: int) -> Tensor:
            return torch.sin(k * math.pi * x[:, 0]) * torch.cos(k * math.sqrt(self.C) * math.pi * x[:, 1])

        return mode(1) + mode(self.a) / 2

    def discretize(self, settings: DiscretizationSettings) -> DiscreteProblem:
        assert isinstance(settings, WaveDiscretization)
        return WaveDiscrete(settings, self)


class WaveDiscrete(Line):
    """The compact two-step scheme of fourth order in time, with ``kappa = C dt^2 / 12``::

        (I - kappa D2) u_n - (2 I + 10 kappa D2) u_{n-1} + (I - kappa D2) u_{n-2} = 0

    Level 1 is half of that with ``u_{-1} = u_1``, as u_t = 0 wants it:
    ``(I - kappa D2) u_1 - (I + 5 kappa D2) u_0 = 0``.

    Raises:
        ValueError: the grid cannot hold the initial values, or the scheme is not stable on it.

    Example::

        >>> pde = Wave(a=2)
        >>> discrete = pde.discretize(WaveDiscretization(cells=8, time_steps=64))
        >>> u = pde.solution(torch.from_numpy(discrete.nodes)).numpy()
        >>> np.allclose(discrete.solve().ravel(), u, atol=1e-3)
        True
    """

    settings: WaveDiscretization

    def __init__(self, settings: WaveDiscretization, pde: Wave) -> None:
        cells, steps = settings.cells, settings.time_steps
        if cells < 2 * pde.a + 2:
            raise ValueError(
                f"discretization.cells={cells}: pde.a={pde.a} needs at least {2 * pde.a + 2}, two cells a half wave"
            )
        # |D2| <= (pi cells)^2 for both derivatives; the scheme is stable for C |D2| dt^2 <= 6.
        enough = math.ceil(math.sqrt(pde.C / 6) * math.pi * cells)
        if steps < enough:
            raise ValueError(
                f"discretization.time_steps={steps}: the scheme is unstable with cells={cells}; needed are at least"
                f" {enough}"
            )
        self.x = np.linspace(0.0, 1.0, cells + 1)
        super().__init__(settings, np.linspace(0.0, 1.0, steps + 1))
        start = torch.from_numpy(np.stack([self.x, np.zeros_like(self.x)], axis=1))
        self.initial = pde.solution(start).numpy() * (self.x % 1 != 0)
        second = second_derivative_spectral if settings.space == "spectral" else second_derivative_order4
        weighted = pde.C / (12 * steps**2) * with_walls(second(cells))
        self._identity = scipy.sparse.eye_array(cells + 1, format="csr")
        inside = scipy.sparse.diags_array(np.pad(np.ones(cells - 1), 1))
        self._now = scipy.sparse.csr_array(self._identity - weighted)
        self._before = {
            1: scipy.sparse.csr_array(-(inside + 5 * weighted)),
            2: scipy.sparse.csr_array(-(2 * inside + 10 * weighted)),
        }
        self._last = scipy.sparse.csr_array(inside - weighted)
        self._dense = {id(m): torch.from_numpy(m.toarray().T) for m in (self._now, self._last, *self._before.values())}

    def residual(self, u: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        stop = self.shape[0] if stop is None else stop

        def times(matrix: scipy.sparse.csr_array, part: Tensor) -> Tensor:
            return part @ self._dense[id(matrix)].to(u)

        rows = []
        if start == 0:
            rows.append(u[:1] - torch.from_numpy(self.initial).to(u))
        if start <= 1 < stop:
            rows.append(times(self._now, u[1:2]) + times(self._before[1], u[:1]))
        first = max(start, 2)
        if first < stop:
            now, before, last = (u[first - lag : stop - lag] for lag in range(3))
            rows.append(times(self._now, now) + times(self._before[2], before) + times(self._last, last))
        return torch.cat(rows)

    def jacobian(self, u: Array, start: int = 0, stop: int | None = None) -> Blocks:
        levels = range(self.shape[0])[start:stop]
        return Blocks(
            [self._now if n else self._identity for n in levels],
            [[self._before[min(n, 2)] if n else None for n in levels], [self._last if n > 1 else None for n in levels]],
        )

    def basis(self, x: Array) -> Array:
        return sine_interpolation(self.settings.cells, x)
