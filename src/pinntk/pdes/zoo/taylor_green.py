"""Taylor-Green vortices: the Navier-Stokes equations on a torus."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.network.settings import Feature, FrequencyFeature
from pinntk.pdes.base import ExactPDE, Term
from pinntk.pdes.zoo.navier_stokes import navier_stokes
from pinntk.residual.regions import Points
from pinntk.residual.terms import jump, prescribed


def origin(unit: Array) -> Array:
    """Times from 0 to 1 at x = y = 0, (n, 3), of points of the unit interval (n, 1)."""
    return np.pad(unit, ((0, 0), (2, 0)))


class TaylorGreen(ExactPDE):
    """``(u, v)_t + (u, v) . grad (u, v) + grad p = nu Laplace (u, v)``, ``u_x + v_y = 0`` on [0, 2 pi]^2 x [0, 1].

    Periodic in x and y: no values on a boundary tell how the vortices decay, only the initial ones of u and v are
    given, and p at the origin, which fixes its constant at each time. The solution is::

        u = -cos x sin y exp(-2 nu t)
        v = sin x cos y exp(-2 nu t)
        p = -(cos 2 x + cos 2 y) / 4 exp(-4 nu t)

    Source: Taylor, Green, Mechanism of the production of small eddies from large ones, Proc. R. Soc. A 158 (1937).

    Example::

        >>> u, v, p = TaylorGreen(nu=0.5).solution(torch.tensor([[math.pi / 2, math.pi, 1.0]], dtype=torch.float64))[0]
        >>> abs(round(u.item(), 6)), round(v.item(), 6), abs(round(p.item(), 6))  # v: -exp(-1)
        (0.0, -0.367879, 0.0)
    """

    name: ClassVar[str] = "taylor_green"
    coordinates: ClassVar[tuple[str, ...]] = ("x", "y", "t")
    fields: ClassVar[tuple[str, ...]] = ("u", "v", "p")
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (2 * math.pi, 2 * math.pi, 1.0)
    evaluation_shape: ClassVar[tuple[int, ...]] = (41, 41, 11)

    nu: Annotated[float, Field(ge=0)] = 0.1

    def terms(self) -> tuple[Term, ...]:
        # Of second order in u and v, of first in p.
        pairs = [(c, s) for c in "xy" for s in ("u", "v", "p", f"u_{c}", f"v_{c}")]
        return (
            *navier_stokes(self.nu, unsteady=True),
            Term("initial_u", "initial", ("u",), prescribed("u"), lambda x: (self.solution(x)[:, 0],)),
            Term("initial_v", "initial", ("v",), prescribed("v"), lambda x: (self.solution(x)[:, 1],)),
            *(Term(f"periodic_{c}_{s}", f"periodic({c})", (s,), jump(s)) for c, s in pairs),
            Term(
                "origin_p",
                Points("origin", origin, dimension=1),
                ("p",),
                prescribed("p"),
                lambda x: (self.solution(x)[:, 2],),
            ),
        )

    def lift(self, x: Tensor) -> Tensor:
        """The initial values of u and v; nothing of p."""
        start = self.solution(torch.cat([x[:, :2], torch.zeros_like(x[:, 2:])], dim=1))
        return torch.cat([start[:, :2], torch.zeros_like(start[:, 2:])], dim=1)

    def factor(self, x: Tensor) -> Tensor:
        """t for u and v, 1 for p."""
        return torch.stack([x[:, 2], x[:, 2], torch.ones_like(x[:, 2])], dim=1)

    def inputs(self) -> list[Feature]:
        """Sine and cosine in the place of x and of y."""
        return [FrequencyFeature(kind="frequencies", input=c, frequencies=[1.0], replace=True) for c in "xy"]

    def solution(self, x: Tensor) -> Tensor:
        a, b = x[:, 0], x[:, 1]
        decay = torch.exp(-2 * self.nu * x[:, 2])
        u = -torch.cos(a) * torch.sin(b) * decay
        v = torch.sin(a) * torch.cos(b) * decay
        return torch.stack([u, v, -(torch.cos(2 * a) + torch.cos(2 * b)) / 4 * decay**2], dim=1)
