"""Heat2d-LT: a nonlinear heat equation over a long time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.discrete.discretization import DiscreteProblem, DiscretizationSettings
from pinntk.network.settings import Feature, FrequencyFeature
from pinntk.network.streams import Operator
from pinntk.pdes import references
from pinntk.pdes.base import PDE, Term, value, vanishing
from pinntk.pdes.heat2d_discrete import Heat2DDiscrete, Heat2DDiscretization

Mode = Annotated[StrictInt, Field(ge=1, le=references.HEAT2D_MAX_WAVENUMBER)]


class Heat2D(PDE):
    """``u_t = D (u_xx + u_yy) + 5 sin(k u^2) f`` on [0, 1]^2 x [0, 100], zero on the sides.

    ``f = (1 + 2 sin(pi t / 4)) sin(m1 pi x) sin(m2 pi y)``, ``u(x, y, 0) = sin 4 pi x sin 3 pi y``, D = 0.001. No
    closed form: the reference is a sine-spectral solution. u = 0 has zero residual and satisfies the sides: that is
    where an unpreconditioned network goes.

    Example::

        >>> equation = Heat2D().terms()[0]
        >>> x = torch.tensor([[1 / 8, 1 / 4, 0.0]])  # sin 4 pi x sin 2 pi y = 1
        >>> values = {"u": torch.tensor([math.sqrt(math.pi / 2)]), "u_t": torch.tensor([5.0])}  # sin(u^2) = 1
        >>> values |= {"u_xx": torch.zeros(1), "u_yy": torch.zeros(1)}
        >>> equation.of_derivatives(values, *equation.fields(x)).round(decimals=4).tolist()
        [0.0]
    """

    name: ClassVar[str] = "heat2d"
    coordinates: ClassVar[tuple[str, ...]] = ("x", "y", "t")
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0, 100.0)
    evaluation_shape: ClassVar[tuple[int, ...]] = (33, 33, 126)
    diffusivity: ClassVar[float] = 1e-3
    Discretization: ClassVar[type[DiscretizationSettings] | None] = Heat2DDiscretization

    k: Annotated[float, Field(gt=0)] = 1.0
    m1: Mode = 4
    m2: Mode = 2

    def check_periods(self, periods: Mapping[str, float]) -> None:
        """Refuses a network that repeats itself in the square where forcing or initial values do not."""
        along_x, along_y = {"pde.m1": self.m1, "the initial values": 4}, {"pde.m2": self.m2, "the initial values": 3}
        for name, waves in (("x", along_x), ("y", along_y)):
            period = periods.get(name, 1.0)
            for what, number in waves.items():
                turns = number * period / 2  # of sin(number pi x) in a period
                if period < 1 and abs(turns - round(turns)) > 1e-9:
                    raise ValueError(
                        f"network.features: a network of period {period:g} in {name} cannot have the {number} half"
                        f" waves of {what}; allowed is {name} itself among the inputs (replace=false), or tuned=null"
                    )

    def forcing(self, x: Tensor) -> Tensor:
        """5 f at points (N, 3): (N,)."""
        space = torch.sin(self.m1 * math.pi * x[:, 0]) * torch.sin(self.m2 * math.pi * x[:, 1])
        return 5 * (1 + 2 * torch.sin(math.pi * x[:, 2] / 4)) * space

    def initial(self, x: Tensor) -> Tensor:
        """u(x, y, 0) at points (N, 3): (N,)."""
        return torch.sin(4 * math.pi * x[:, 0]) * torch.sin(3 * math.pi * x[:, 1])

    def terms(self) -> tuple[Term, ...]:
        return (
            Term(
                "residual",
                "interior",
                ("u", Operator("L", {"u_t": 1.0, "u_xx": -self.diffusivity, "u_yy": -self.diffusivity})),
                lambda s, f: s["L"] - torch.sin(self.k * s["u"].square()) * f,
                lambda x: (self.forcing(x),),
            ),
            Term("initial", "initial", ("u",), value, lambda x: (self.initial(x),)),
            Term("boundary", "boundary", ("u",), vanishing),
        )

    def lift(self, x: Tensor) -> Tensor:
        """The initial values."""
        return self.initial(x)

    def factor(self, x: Tensor) -> Tensor:
        """``(1 - exp(-t)) sin g pi x sin h pi y``, g and h the common divisors of the waves along x and along y."""
        g, h = math.gcd(4, self.m1), math.gcd(3, self.m2)
        sides = torch.sin(g * math.pi * x[:, 0]) * torch.sin(h * math.pi * x[:, 1])
        return -torch.expm1(-x[:, 2]) * sides

    def inputs(self) -> list[Feature]:
        """Waves in the place of x and y.

        u is odd about every multiple of 1/g, and so ``sin g pi x`` times a function of ``cos g pi x``; where both waves
        have odd numbers of half waves in 1/g it is even about the middle, too: a function of ``cos 2 g pi x``.
        """
        found: list[Feature] = []
        for name, first, second in (("x", 4, self.m1), ("y", 3, self.m2)):
            divisor = math.gcd(first, second)
            even = (first // divisor) % 2 == (second // divisor) % 2 == 1
            omega = (2 if even else 1) * divisor * math.pi
            found.append(
                FrequencyFeature(kind="frequencies", input=name, frequencies=[omega], parity="even", replace=True)
            )
        return found

    def discretize(self, settings: DiscretizationSettings) -> DiscreteProblem:
        assert isinstance(settings, Heat2DDiscretization)
        return Heat2DDiscrete(
            settings, k=self.k, m1=self.m1, m2=self.m2, diffusivity=self.diffusivity, end=self.upper[-1]
        )

    def reference(self) -> references.Reference:
        x, y, t = self.evaluation_axes()
        series = references.heat2d(self.k, self.m1, self.m2, self.diffusivity, t)
        return references.Reference(series.on_grid(x, y).reshape(-1), series.accuracy)
