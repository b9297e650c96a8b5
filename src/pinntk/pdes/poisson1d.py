"""The one-dimensional Poisson equation: the problem on which the kernel's theory is proved."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.pdes.base import ExactPDE, Term, vanishing


class Poisson1D(ExactPDE):
    """``u_xx = -(a pi)^2 sin(a pi x)`` on [0, 1], ``u = 0`` at the ends; solution ``sin(a pi x)`` (paper, Lemma 2)."""

    name: ClassVar[str] = "poisson1d"
    coordinates: ClassVar[tuple[str, ...]] = ("x",)
    lower: ClassVar[tuple[float, ...]] = (0.0,)
    upper: ClassVar[tuple[float, ...]] = (1.0,)
    evaluation_shape: ClassVar[tuple[int, ...]] = (1001,)

    # Two intervals of the evaluation grid per half wave at most: at a = 1000 the solution vanishes on all of the grid.
    a: Annotated[StrictInt, Field(ge=1, le=500)] = 4

    def terms(self) -> tuple[Term, ...]:
        scale = (self.a * math.pi) ** 2
        return (
            Term("residual", "interior", ("u_xx",), lambda s, f: s["u_xx"] - f, lambda x: (-scale * self.solution(x),)),
            Term("boundary", "boundary", ("u",), vanishing),
        )

    def solution(self, x: Tensor) -> Tensor:
        return torch.sin(self.a * math.pi * x[:, 0])
