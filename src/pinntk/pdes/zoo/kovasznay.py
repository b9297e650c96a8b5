"""Kovasznay flow: the stationary Navier-Stokes equations behind a grid of rods."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from pinntk.pdes.base import ExactPDE, Term
from pinntk.pdes.zoo.navier_stokes import navier_stokes
from pinntk.residual.terms import prescribed


class Kovasznay(ExactPDE):
    """``(u, v) . grad (u, v) + grad p = Laplace (u, v) / Re``, ``u_x + v_y = 0`` on [-0.5, 1] x [-0.5, 1.5].

    u and v are given on all sides, p on the outflow x = 1 alone, which fixes its constant. With
    ``q = Re/2 - sqrt(Re^2/4 + 4 pi^2)`` the solution is::

        u = 1 - exp(q x) cos(2 pi y)
        v = q / (2 pi) exp(q x) sin(2 pi y)
        p = (1 - exp(2 q x)) / 2

    Source: L. I. G. Kovasznay, Laminar flow behind a two-dimensional grid, Proc. Camb. Phil. Soc. 44 (1948); the box
    and the pressure's condition are those of DeepXDE's example.

    Example::

        >>> u, v, p = Kovasznay().solution(torch.tensor([[0.0, 0.25]], dtype=torch.float64))[0]
        >>> round(u.item(), 6), round(v.item(), 6), round(p.item(), 6)  # q = -0.963741
        (1.0, -0.153384, 0.0)
    """

    name: ClassVar[str] = "kovasznay"
    coordinates: ClassVar[tuple[str, ...]] = ("x", "y")
    fields: ClassVar[tuple[str, ...]] = ("u", "v", "p")
    lower: ClassVar[tuple[float, ...]] = (-0.5, -0.5)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.5)
    evaluation_shape: ClassVar[tuple[int, ...]] = (61, 81)

    # exp(2 q x) at the inflow: with Re = 1 it is 200, with less u and p are of other sizes than all else.
    Re: Annotated[float, Field(ge=1)] = 40.0

    def terms(self) -> tuple[Term, ...]:
        def known(k: int) -> Callable[[Tensor], tuple[Tensor]]:
            return lambda x: (self.solution(x)[:, k],)

        return (
            *navier_stokes(1 / self.Re),
            Term("boundary_u", "boundary", ("u",), prescribed("u"), known(0)),
            Term("boundary_v", "boundary", ("v",), prescribed("v"), known(1)),
            Term("outflow_p", "x = upper", ("p",), prescribed("p"), known(2)),
        )

    def lift(self, x: Tensor) -> Tensor:
        """The boundary values of u and v carried inwards from opposite sides (Coons' patch); p of the outflow."""
        places = torch.tensor([self.lower, self.upper], dtype=x.dtype, device=x.device)
        share = (x - places[0]) / (places[1] - places[0])
        weights = torch.stack([1 - share, share])  # of the lower and the upper side: (2, N, 2)
        patch = torch.zeros(len(x), 2, dtype=x.dtype, device=x.device)
        for i in range(2):
            for c in range(2):
                patch = patch + weights[i, :, c, None] * self._held(x, {c: places[i, c]})[:, :2]
            for j in range(2):
                corner = self._held(x, {0: places[i, 0], 1: places[j, 1]})[:, :2]
                patch = patch - (weights[i, :, 0] * weights[j, :, 1])[:, None] * corner
        outflow = self._held(x, {0: places[1, 0]})[:, 2:]
        return torch.cat([patch, outflow], dim=1)

    def factor(self, x: Tensor) -> Tensor:
        """Zero for u and v on the sides, for p at x = 1; of size 1 inside."""
        low, high = (torch.tensor(side, dtype=x.dtype, device=x.device) for side in (self.lower, self.upper))
        sides = ((x - low) * (high - x) * 4 / (high - low) ** 2).prod(dim=1)
        return torch.stack([sides, sides, high[0] - x[:, 0]], dim=1)

    def solution(self, x: Tensor) -> Tensor:
        rate = self.Re / 2 - math.sqrt(self.Re**2 / 4 + 4 * math.pi**2)
        grown, angle = torch.exp(rate * x[:, 0]), 2 * math.pi * x[:, 1]
        u = 1 - grown * torch.cos(angle)
        v = rate / (2 * math.pi) * grown * torch.sin(angle)
        return torch.stack([u, v, (1 - grown**2) / 2], dim=1)

    def _held(self, x: Tensor, fixed: dict[int, Tensor]) -> Tensor:
        """The solution at points with these coordinates in the place of their own, (N, 3)."""
        columns = [fixed[c].expand(len(x)) if c in fixed else x[:, c] for c in range(2)]
        return self.solution(torch.stack(columns, dim=1))
