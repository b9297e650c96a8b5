"""The reaction equation: logistic growth at every x, nothing couples them."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from pinntk.pdes.base import ExactPDE, Term, periodic, value


class Reaction(ExactPDE):
    """``u_t = rho u (1 - u)`` on [0, 2 pi] x [0, 1], ``u(x, 0) = h(x)``, ``u(0, t) = u(2 pi, t)``.

    ``h(x) = exp(-(x - pi)^2 / (2 (pi/4)^2))``; solution ``h e^{rho t} / (h e^{rho t} + 1 - h)``. It is periodic in
    value only: its slope jumps across x = 0, so a network that is periodic in x cannot reach it.
    """

    name: ClassVar[str] = "reaction"
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (2 * math.pi, 1.0)
    published: ClassVar[dict[str, float]] = {
        "PINN-NTK": 1.44e-2,
        "Adam": 2.12e-2,
        "Adam+L-BFGS": 1.92e-2,
        "GDND": 9.92e-3,
    }

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

    def solution(self, x: Tensor) -> Tensor:
        # The same as 1 / (1 + (1/h - 1) e^{-rho t}), in a form in which nothing overflows.
        return torch.sigmoid(self.rho * x[:, 1] - torch.log(torch.expm1(-self._exponent(x))))
