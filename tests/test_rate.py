"""The rate of an evolution equation: against F written by hand, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from pinntk.network.streams import Operator
from pinntk.pdes.base import PDE, Term
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.convection import Convection
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.pdes.reaction import Reaction
from pinntk.pdes.wave import Wave
from pinntk.pdes.zoo.gray_scott import GrayScott
from pinntk.pdes.zoo.schroedinger import Schroedinger
from pinntk.pdes.zoo.taylor_green import TaylorGreen
from pinntk.residual.rate import Rate

Derivatives = dict[str, Tensor]


def heat(u: Derivatives, x: Tensor, t: float) -> Tensor:
    forcing = (1 + 2 * math.sin(math.pi * t / 4)) * torch.sin(4 * math.pi * x[:, 0]) * torch.sin(2 * math.pi * x[:, 1])
    return 1e-3 * (u["u_xx"] + u["u_yy"]) + 5 * torch.sin(1.5 * u["u"] ** 2) * forcing


BY_HAND: list[tuple[PDE, Callable[[Derivatives, Tensor, float], Tensor]]] = [
    (Convection(beta=3.0), lambda u, x, t: -3.0 * u["u_x"]),
    (Reaction(rho=4.0), lambda u, x, t: 4.0 * u["u"] * (1 - u["u"])),
    (Burgers(nu=0.2), lambda u, x, t: 0.2 * u["u_xx"] - u["u"] * u["u_x"]),
    (Heat2D(k=1.5), heat),
]


def schroedinger(s: Derivatives) -> Tensor:
    """``h_t = i (h_xx / 2 + |h|^2 h)`` for h = u + i v, in complex numbers."""
    h, bend = torch.complex(s["u"], s["v"]), torch.complex(s["u_xx"], s["v_xx"])
    return torch.view_as_real(1j * (bend / 2 + h.abs() ** 2 * h)).T


def gray_scott(s: Derivatives) -> Tensor:
    turnover = s["u"] * s["v"] ** 2
    spread = {field: s[f"{field}_xx"] + s[f"{field}_yy"] for field in "uv"}
    return torch.stack(
        [
            1e-5 * spread["u"] + 0.04 * (1 - s["u"]) - turnover,
            5e-6 * spread["v"] - 0.1 * s["v"] + turnover,
        ]
    )


def mixed(s: Derivatives) -> Tensor:
    """Of `Coupled`, by numpy, point by point."""
    found = []
    for u, v, u_x in zip(s["u"], s["v"], s["u_x"], strict=True):
        A = np.array([[1.0, 2.0], [float(u) ** 2, -3.0]])
        found.append(np.linalg.solve(A, [float(u_x), 1 - float(v)]))
    return torch.from_numpy(np.array(found).T)


class Coupled(PDE):
    """``u_t + 2 v_t = u_x`` and ``u^2 u_t - 3 v_t = 1 - v``."""

    name: ClassVar[str] = "coupled"
    fields: ClassVar[tuple[str, ...]] = ("u", "v")
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0)

    def terms(self) -> tuple[Term, ...]:
        first = Operator("L", {"u_t": 1.0, "v_t": 2.0, "u_x": -1.0})
        return (
            Term("first", "interior", (first,), lambda s: s["L"]),
            Term(
                "second",
                "interior",
                ("u", "v", "u_t", "v_t"),
                lambda s: s["u"] ** 2 * s["u_t"] - 3 * s["v_t"] + s["v"] - 1,
            ),
        )


SYSTEMS: list[tuple[PDE, Callable[[Derivatives], Tensor]]] = [
    (Schroedinger(), schroedinger),
    (GrayScott(), gray_scott),
    (Coupled(), mixed),
]


@pytest.mark.parametrize(("pde", "by_hand"), SYSTEMS, ids=lambda part: getattr(part, "name", ""))
def test_rates_of_systems_by_hand(pde: PDE, by_hand: Callable[[Derivatives], Tensor]) -> None:
    rate = Rate(pde)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(20, len(rate.coordinates), generator=generator, dtype=torch.float64)
    names = [f"{field}{derivative}" for field in "uv" for derivative in ("", "_x", "_xx", "_yy")]
    s = {name: torch.randn(20, generator=generator, dtype=torch.float64) for name in names}
    values = {
        one if isinstance(one, str) else one.name: s[one] if isinstance(one, str) else one.of(s) for one in rate.streams
    }
    torch.testing.assert_close(rate.of(values, rate.data(x, 0.3)), by_hand(s), rtol=1e-12, atol=1e-12)


def test_initial_values_of_a_system_are_rounded() -> None:
    """The slope at the ends of what is continued jumps by 4 sech 5 tanh 5; rounded, it is even, and so has none."""
    rounded = Rate(Schroedinger()).initial().lift
    x = torch.linspace(-5, 5, 2001, dtype=torch.float64)[:, None].requires_grad_()
    u, v = rounded(x).unbind(1)
    slope = torch.autograd.grad(u.sum(), x)[0][:, 0]
    exact = 2 / torch.cosh(x[:, 0])
    assert abs(slope[-1]) < 1e-6 < 0.02 < abs(torch.autograd.grad(exact.sum(), x)[0][-1])
    assert 1e-5 < (u - exact).norm() / exact.norm() < 1e-4
    assert not v.any()


@pytest.mark.parametrize(("pde", "by_hand"), BY_HAND, ids=lambda part: getattr(part, "name", ""))
def test_rates_by_hand(pde: PDE, by_hand: Callable[[Derivatives, Tensor, float], Tensor]) -> None:
    rate = Rate(pde)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(20, len(rate.coordinates), generator=generator, dtype=torch.float64)
    u = {n: torch.randn(20, generator=generator, dtype=torch.float64) for n in ("u", "u_x", "u_y", "u_xx", "u_yy")}
    values = {s if isinstance(s, str) else s.name: u[s] if isinstance(s, str) else s.of(u) for s in rate.streams}
    for t in (0.0, 0.4, 1.0):
        torch.testing.assert_close(rate.of(values, rate.data(x, t)), by_hand(u, x, t)[None], rtol=1e-12, atol=1e-12)
    step = 1e-4
    slope = (by_hand(u, x, 0.4 + step) - by_hand(u, x, 0.4 - step)) / (2 * step)
    torch.testing.assert_close(rate.in_time(values, x, 0.4), slope[None], rtol=1e-5, atol=1e-6)


SCALES: list[tuple[PDE, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = [
    (Convection(), lambda x: torch.sin(x[:, 0]), lambda x: torch.ones_like(x[:, 0])),
    (Burgers(), lambda x: -torch.sin(math.pi * x[:, 0]), lambda x: torch.sin(math.pi * x[:, 0])),
    (
        Reaction(),
        lambda x: torch.exp(-((x[:, 0] - math.pi) ** 2) / (2 * (math.pi / 4) ** 2)),
        lambda x: torch.exp(-((x[:, 0] - math.pi) ** 2) / (2 * (math.pi / 4) ** 2)),
    ),
    (
        Heat2D(),
        lambda x: torch.sin(4 * math.pi * x[:, 0]) * torch.sin(3 * math.pi * x[:, 1]),
        lambda x: torch.sin(4 * math.pi * x[:, 0]) * torch.sin(math.pi * x[:, 1]),
    ),
]


@pytest.mark.parametrize(("pde", "lift", "factor"), SCALES, ids=lambda part: getattr(part, "name", ""))
def test_initial_values_and_the_factor_in_space(
    pde: PDE, lift: Callable[[Tensor], Tensor], factor: Callable[[Tensor], Tensor]
) -> None:
    rate = Rate(pde)
    found = rate.initial()
    x = torch.rand(30, len(rate.coordinates), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(found.lift(x), lift(x), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(found.factor(x), factor(x), rtol=1e-13, atol=1e-13)
    leaf = x.clone().requires_grad_()  # and so do the derivatives by space
    value = found.factor(leaf).sum()
    slope = torch.autograd.grad(value, leaf)[0] if value.requires_grad else torch.zeros_like(x)
    other = x.clone().requires_grad_()
    expected = torch.autograd.grad(factor(other).sum() + 0 * other.sum(), other)[0]
    torch.testing.assert_close(slope, expected, rtol=1e-12, atol=1e-12)


class Declared(PDE):
    """An equation in x and t to be refused."""

    name: ClassVar[str] = "declared"
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0)

    streams: ClassVar[Sequence[str | Operator]] = ("u", "u_t")

    @staticmethod
    def residual(s: Derivatives) -> Tensor:
        return s["u_t"] + s["u"]

    def terms(self) -> tuple[Term, ...]:
        return (Term("residual", "interior", tuple(self.streams), type(self).residual),)


class Squared(Declared):
    @staticmethod
    def residual(s: Derivatives) -> Tensor:
        return s["u_t"] ** 2 + s["u"]


class Degenerate(Declared):
    @staticmethod
    def residual(s: Derivatives) -> Tensor:
        return 0 * s["u_t"] + s["u"]


class Mixed(Declared):
    streams = ("u_xt", "u_t")

    @staticmethod
    def residual(s: Derivatives) -> Tensor:
        return s["u_t"] - s["u_xt"]


class Steady(Declared):
    streams = ("u",)

    @staticmethod
    def residual(s: Derivatives) -> Tensor:
        return s["u"]


class Two(Declared):
    fields = ("u", "v")


class Dependent(Coupled):
    def terms(self) -> tuple[Term, ...]:
        twice = Operator("L", {"u_t": 2.0, "v_t": 4.0})
        return super().terms()[0], Term("second", "interior", (twice,), lambda s: s["L"])


@pytest.mark.parametrize(
    ("pde", "message"),
    [
        (Wave(), "'u_tt'; of derivatives in time allowed is u_t"),
        (Poisson1D(), "has no space or no time t"),
        (Squared(), "not affine in u_t"),
        (Degenerate(), "not affine in u_t and determine"),
        (Mixed(), "'u_xt'"),
        (Steady(), "no equation with u_t"),
        (Two(), "has 1 equations for 2 fields"),
        (TaylorGreen(), "no equation with p_t"),
        (Dependent(), "not affine in u_t, v_t and determine them"),
    ],
    ids=lambda part: getattr(part, "name", ""),
)
def test_what_is_refused(pde: PDE, message: str) -> None:
    with pytest.raises(ValueError, match=f"method=evolve: pde={pde.name} .*{message}") as error:
        Rate(pde)
    assert "\n" not in str(error.value)


def test_a_problem_without_hard_conditions_is_refused() -> None:
    with pytest.raises(ValueError, match="pde=declared has no lift and factor"):
        Rate(Declared()).initial()


class Late(Declared):
    def factor(self, x: Tensor) -> Tensor:
        return x[:, 1] ** 2


class Moving(Declared):
    def lift(self, x: Tensor) -> Tensor:
        return x[:, 0] + x[:, 1]

    def factor(self, x: Tensor) -> Tensor:
        return x[:, 1]


@pytest.mark.parametrize(("pde", "message"), [(Late(), "of first order in time"), (Moving(), "changes in time")])
def test_hard_conditions_that_do_not_fit(pde: PDE, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rate(pde).initial()
