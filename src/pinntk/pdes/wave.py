"""The wave equation: u_tt - C u_xx = 0 with two standing waves."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.pdes.base import ExactPDE, Term, value, vanishing


class Wave(ExactPDE):
    """``u_tt - C u_xx = 0`` on [0, 1]^2, ``u = 0`` at the ends, ``u(x, 0) = sin pi x + sin(a pi x)/2``, ``u_t = 0``.

    Solution ``sin(pi x) cos(sqrt(C) pi t) + sin(a pi x) cos(a sqrt(C) pi t)/2``; a is a whole number, or the ends
    would not hold.
    """

    name: ClassVar[str] = "wave"
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    published: ClassVar[dict[str, float]] = {
        "PINN-NTK": 9.79e-2,
        "PCPINN": 1.28e-2,
        "Adam": 3.49e-1,
        "Adam+L-BFGS": 5.52e-2,
        "GDND": 1.27e-2,
    }
    published_note: ClassVar[str] = "PINN-NTK and PCPINN at a=4; Adam, Adam+L-BFGS and GDND at a=5"

    # Two intervals of the evaluation grid per half wave at most: at a = 256 the second mode vanishes on all of the
    # grid.
    a: Annotated[StrictInt, Field(ge=1, le=128)] = 4
    C: Annotated[float, Field(gt=0)] = 4.0

    def terms(self) -> tuple[Term, ...]:
        return (
            Term("residual", "interior", ("u_xx", "u_tt"), lambda s: s["u_tt"] - self.C * s["u_xx"]),
            Term("initial", "initial", ("u",), value, lambda x: (self.solution(x),)),
            Term("velocity", "initial", ("u_t",), lambda s: s["u_t"]),
            Term("boundary", "boundary", ("u",), vanishing),
        )

    def solution(self, x: Tensor) -> Tensor:
        def mode(k: int) -> Tensor:
            return torch.sin(k * math.pi * x[:, 0]) * torch.cos(k * math.sqrt(self.C) * math.pi * x[:, 1])

        return mode(1) + mode(self.a) / 2
