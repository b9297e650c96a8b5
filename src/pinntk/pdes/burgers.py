"""Burgers' equation: a front at x = 0 about nu wide."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from pinntk import references
from pinntk.pdes.base import PDE, Term, value, vanishing


class Burgers(PDE):
    """``u_t + u u_x = nu u_xx`` on [-1, 1] x [0, 1], ``u(x, 0) = -sin pi x``, ``u(+-1, t) = 0``; reference: Cole-Hopf.

    The paper's Table 1 prints nu = pi/100; every published figure of its row is for 0.01/pi, the default here.
    """

    name: ClassVar[str] = "burgers"
    lower: ClassVar[tuple[float, ...]] = (-1.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    published: ClassVar[dict[str, float]] = {
        "PINN-NTK": 1.84e-2,
        "PCPINN": 1.42e-2,
        "Adam": 1.45e-2,
        "Adam+L-BFGS": 1.33e-2,
    }
    published_note: ClassVar[str] = "the published reference data are themselves 1.33e-2 away from Cole-Hopf"

    nu: Annotated[float, Field(gt=0)] = 0.01 / math.pi

    def terms(self) -> tuple[Term, ...]:
        return (
            Term(
                "residual",
                "interior",
                ("u", "u_x", "u_t", "u_xx"),
                lambda s: s["u_t"] + s["u"] * s["u_x"] - self.nu * s["u_xx"],
            ),
            Term("initial", "initial", ("u",), value, lambda x: (-torch.sin(math.pi * x[:, 0]),)),
            Term("boundary", "boundary", ("u",), vanishing),
        )

    def reference(self) -> references.Reference:
        x, t = self.evaluation_points().T
        return references.burgers(x, t, self.nu)
