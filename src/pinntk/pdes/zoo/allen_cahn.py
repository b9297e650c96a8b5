"""The Allen-Cahn equation: layers between -1 and 1 that sharpen and stay."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pinntk.discrete.circle import Circle, CircleSettings
from pinntk.discrete.discretization import DiscreteProblem, DiscretizationSettings
from pinntk.discrete.line import Cells, Steps
from pinntk.network.streams import Operator
from pinntk.pdes.base import Term, value
from pinntk.pdes.zoo.evolving import EvolvingPDE, Resolution, rounding
from pinntk.pdes.zoo.fourier import Semilinear
from pinntk.residual.terms import jump


class AllenCahnDiscretization(CircleSettings):
    """Settings of Allen-Cahn's discrete system; its solution is 5e-5 away from the reference in relative L2."""

    cells: Cells = 384
    time_steps: Steps = 50
    window: Annotated[int, Field(ge=1)] = 1


class AllenCahn(EvolvingPDE):
    """``u_t = nu u_xx - rate (u^3 - u)`` on [-1, 1] x [0, 1], ``u(x, 0) = x^2 cos pi x``, u and u_x periodic in x.

    The initial values have a kink where they are continued, at x = +-1: u_x jumps by 4. It is gone soon, but their
    Fourier coefficients only decay as k^-2, and so the reference converges as the square of its cells' width, most
    slowly at first: at nu = 1e-4 the accuracy that is stated, the coarser grid's, is 4e-9 in relative L2, and the
    largest error of the finer grid 1e-7 at (+-1, 0.01).

    Example::

        >>> equation = AllenCahn(nu=0.5, rate=2.0).terms()[0]
        >>> u, u_t, u_xx = torch.tensor([[2.0], [1.0], [4.0]])
        >>> equation.of_derivatives({"u": u, "u_t": u_t, "u_xx": u_xx}).tolist()  # 1 - 0.5 * 4 + 2 * (8 - 2)
        [11.0]
    """

    name: ClassVar[str] = "allen_cahn"
    lower: ClassVar[tuple[float, ...]] = (-1.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    Discretization: ClassVar[type[DiscretizationSettings] | None] = AllenCahnDiscretization
    fine: ClassVar[Resolution] = Resolution(cells=8192, steps=10)
    coarse: ClassVar[Resolution] = Resolution(cells=4096, steps=5)

    nu: Annotated[float, Field(gt=0)] = 1e-4
    rate: float = 5.0

    def terms(self) -> tuple[Term, ...]:
        linear = Operator("L", {"u_t": 1.0, "u_xx": -self.nu, "u": -self.rate})
        return (
            Term("residual", "interior", ("u", linear), lambda s: s["L"] + self.rate * s["u"] ** 3),
            Term("initial", "initial", ("u",), value, lambda x: (self.initial(x),)),
            *(Term(f"periodic_{s}", "periodic", (s,), jump(s)) for s in ("u", "u_x")),
        )

    def initial(self, x: Tensor) -> Tensor:
        return x[:, 0].square() * torch.cos(math.pi * x[:, 0])

    def lift(self, x: Tensor) -> Tensor:
        """The initial values, with their kink at x = +-1 rounded as diffusion does."""
        far = x[:, 0].abs()
        rounded = rounding(1 - far, min(4 * self.nu, 0.02), x[:, 1])
        return (x[:, 0].square() + rounded * (rounded - 2 * far)) * torch.cos(math.pi * x[:, 0])

    def evolution(self) -> Semilinear:
        return Semilinear(
            lower=self.lower[:1],
            upper=self.upper[:1],
            initial=self.start,
            linear=lambda k: self.rate - self.nu * k**2,
            nonlinear=lambda u: -self.rate * u**3,
        )

    def discretize(self, settings: DiscretizationSettings) -> DiscreteProblem:
        assert isinstance(settings, AllenCahnDiscretization)
        return Circle(
            settings,
            lower=self.lower[0],
            upper=self.upper[0],
            initial=self.start(np.linspace(self.lower[0], self.upper[0], settings.cells + 1))[0],
            linear={0: self.rate, 2: self.nu},
            outer={0: -self.rate},
            power=3,
            end=self.upper[-1],
        )
