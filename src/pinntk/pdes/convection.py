"""Convection: u_t + beta u_x = 0, periodic in x."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from pinntk.pdes.base import ExactPDE, Term, periodic, value


class Convection(ExactPDE):
    """``u_t + beta u_x = 0`` on [0, 2 pi] x [0, 1], ``u(x, 0) = sin x``, ``u(0, t) = u(2 pi, t)``.

    Solution ``sin(x - beta t)``.
    """

    name: ClassVar[str] = "convection"
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (2 * math.pi, 1.0)
    published: ClassVar[dict[str, float]] = {
        "PINN-NTK": 2.18,
        "Adam": 5.96e-2,
        "Adam+L-BFGS": 4.19e-3,
        "GDND": 1.94e-3,
    }

    beta: float = 40.0

    def terms(self) -> tuple[Term, ...]:
        return (
            Term("residual", "interior", ("u_x", "u_t"), lambda s: s["u_t"] + self.beta * s["u_x"]),
            Term("initial", "initial", ("u",), value, lambda x: (torch.sin(x[:, 0]),)),
            Term("periodic", "periodic", ("u",), periodic),
        )

    def solution(self, x: Tensor) -> Tensor:
        return torch.sin(x[:, 0] - self.beta * x[:, 1])
