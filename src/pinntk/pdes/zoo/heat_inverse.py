"""The heat equation with an unknown diffusivity, from noisy measurements."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.network.coefficients import Coefficient, Unknown
from pinntk.pdes.base import ExactPDE, Term, value, vanishing
from pinntk.residual.measurements import Measurements, measured


class HeatInverse(ExactPDE):
    """``u_t = nu u_xx`` on [0, 1]^2, zero at both ends, ``u(x, 0) = sin pi x + sin(3 pi x) / 2``, nu to be found.

    Known besides these conditions are ``count`` measurements of u, at places and times drawn from a uniform
    distribution, with normal noise of ``noise`` times the measurements' root mean square; all of it follows from
    ``draw`` alone. The solution, with which the network is compared, is that for nu = ``truth``::

        u = sin(pi x) exp(-truth pi^2 t) + sin(3 pi x) exp(-9 truth pi^2 t) / 2

    Example::

        >>> pde = HeatInverse(truth=0.2, noise=0.0, count=3)
        >>> table = pde.measurements()
        >>> x = torch.tensor(np.column_stack([table["x"], table["t"]]))
        >>> bool((pde.solution(x) - torch.tensor(table["u"])).abs().max() < 1e-15)
        True
    """

    name: ClassVar[str] = "heat_inverse"
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    evaluation_shape: ClassVar[tuple[int, ...]] = (101, 101)

    nu: Coefficient = Unknown(start=1.0, positive=True)
    truth: Annotated[float, Field(gt=0)] = 0.1
    noise: Annotated[float, Field(ge=0)] = 0.01
    count: Annotated[StrictInt, Field(ge=1)] = 200
    draw: Annotated[StrictInt, Field(ge=0)] = 0
    """The seed of places, times and noise."""

    def measurements(self) -> dict[str, Array]:
        """Columns x, t and u, (count,) each."""
        rng = np.random.default_rng(self.draw)
        points = rng.uniform(size=(self.count, 2))
        u = self.solution(torch.from_numpy(points)).numpy()
        u = u + self.noise * np.sqrt(np.mean(u**2)) * rng.standard_normal(self.count)
        return {"x": points[:, 0], "t": points[:, 1], "u": u}

    def terms(self) -> tuple[Term, ...]:
        return (
            Term("residual", "interior", ("u_t", "u_xx", "nu"), lambda s: s["u_t"] - s["nu"] * s["u_xx"]),
            Term("initial", "initial", ("u",), value, lambda x: (self.start(x),)),
            Term("boundary", "boundary", ("u",), vanishing),
            measured("u", Measurements.of("sensors", self.measurements())),
        )

    def start(self, x: Tensor) -> Tensor:
        """u(x, 0) at points (N, 2): (N,)."""
        return torch.sin(math.pi * x[:, 0]) + torch.sin(3 * math.pi * x[:, 0]) / 2

    def lift(self, x: Tensor) -> Tensor:
        """The initial values."""
        return self.start(x)

    def factor(self, x: Tensor) -> Tensor:
        """``4 t x (1 - x)``: zero at the start and at both ends."""
        return 4 * x[:, 1] * x[:, 0] * (1 - x[:, 0])

    def solution(self, x: Tensor) -> Tensor:
        def mode(k: int) -> Tensor:
            return torch.sin(k * math.pi * x[:, 0]) * torch.exp(-self.truth * (k * math.pi) ** 2 * x[:, 1])

        return mode(1) + mode(3) / 2
