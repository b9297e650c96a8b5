"""The Kuramoto-Sivashinsky equation: a wave that becomes chaotic."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from pinntk.network.streams import Operator
from pinntk.pdes.base import Term, value
from pinntk.pdes.zoo.evolving import EvolvingPDE, Resolution
from pinntk.pdes.zoo.fourier import Semilinear
from pinntk.residual.terms import jump


class KuramotoSivashinsky(EvolvingPDE):
    """``u_t + alpha u u_x + beta u_xx + gamma u_xxxx = 0`` on [0, 2 pi] x [0, 1], periodic in x.

    ``u(x, 0) = cos x (1 + sin x)``; alpha = 100/16, beta = 100/16^2, gamma = 100/16^4: Kassam's and Trefethen's example
    on [0, 32 pi] x [0, 100], scaled. Small errors grow, ten thousand times until t = 1: the accuracy that is
    stated for the reference is 2e-7 in relative L2.

    Source: Hao et al., PINNacle (2023).

    Example::

        >>> equation = KuramotoSivashinsky(alpha=2.0, beta=0.5, gamma=0.25).terms()[0]
        >>> values = dict(zip(("u", "u_x", "u_t", "u_xx", "u_xxxx"), torch.tensor([[2.0], [3.0], [1.0], [4.0], [8.0]])))
        >>> equation.of_derivatives(values).tolist()  # 1 + 2 * 2 * 3 + 0.5 * 4 + 0.25 * 8
        [17.0]
    """

    name: ClassVar[str] = "kuramoto_sivashinsky"
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (2 * math.pi, 1.0)
    fine: ClassVar[Resolution] = Resolution(cells=512, steps=160, dealias=True)
    coarse: ClassVar[Resolution] = Resolution(cells=384, steps=80, dealias=True)

    alpha: float = 100 / 16
    beta: float = 100 / 16**2
    gamma: Annotated[float, Field(gt=0)] = 100 / 16**4

    def terms(self) -> tuple[Term, ...]:
        linear = Operator("L", {"u_t": 1.0, "u_xx": self.beta, "u_xxxx": self.gamma})
        return (
            Term("residual", "interior", ("u", "u_x", linear), lambda s: s["L"] + self.alpha * s["u"] * s["u_x"]),
            Term("initial", "initial", ("u",), value, lambda x: (self.initial(x),)),
            *(Term(f"periodic_{s}", "periodic", (s,), jump(s)) for s in ("u", "u_x", "u_xx", "u_xxx")),
        )

    def initial(self, x: Tensor) -> Tensor:
        return torch.cos(x[:, 0]) * (1 + torch.sin(x[:, 0]))

    def evolution(self) -> Semilinear:
        return Semilinear(
            lower=self.lower[:1],
            upper=self.upper[:1],
            initial=self.start,
            linear=lambda k: self.beta * k**2 - self.gamma * k**4,
            nonlinear=lambda u: u**2 / 2,
            outer=lambda k: -1j * self.alpha * k,
        )
