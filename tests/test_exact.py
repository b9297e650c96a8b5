"""Which terms hold exactly is found out by evaluation: what only looks like it is trained."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from pinntk.network import Network, NetworkSettings
from pinntk.pdes import PDE, Operator, Term, prescribed, zero
from pinntk.pdes.convection import Convection
from pinntk.residual.exact import sizes_of
from pinntk.residual.residuals import Residuals

LAPLACE = Term("residual", "interior", (Operator("L", {"u_xx": 1.0, "u_yy": 1.0}),), lambda s: s["L"])


class Square(PDE):
    name = "square"
    coordinates = ("x", "y")
    lower, upper = (0.0, 0.0), (1.0, 1.0)
    evaluation_shape = (5, 5)

    def terms(self) -> tuple[Term, ...]:
        return LAPLACE, Term("walls", "boundary", ("u",), zero("u"))

    def factor(self, x: Tensor) -> Tensor:
        return x[:, 0] * (1 - x[:, 0]) * x[:, 1] * (1 - x[:, 1])


def case(**attributes: Any) -> PDE:
    made = type("Case", (Square,), {"__module__": __name__, **attributes})()
    assert isinstance(made, PDE)
    return made


def kept(pde: PDE, dtype: torch.dtype = torch.float64, **settings: Any) -> list[str]:
    network = Network.of(pde, NetworkSettings.model_validate({"width": 8, "hard": True, **settings}), dtype=dtype)
    return list(Residuals(pde, network).names)


def with_terms(*terms: Term, **attributes: Any) -> PDE:
    return case(terms=lambda self: (LAPLACE, *terms), **attributes)


def jet(x: Tensor) -> tuple[Tensor, ...]:
    """1 on a fiftieth of the boundary, else 0."""
    return (torch.where((x[:, 0] == 0) & ((x[:, 1] - 0.37).abs() < 0.04), 1.0, 0.0).to(x),)


UNTRAINED: dict[str, PDE] = {
    # A number that is none: of the square root of a network that is negative somewhere.
    "nan": with_terms(Term("kept", "x = upper", ("u_x", "u"), lambda s: s["u_x"] + torch.sqrt(s["u"] - 1))),
    "a narrow jet": with_terms(Term("kept", "boundary", ("u",), prescribed("u"), jet)),
    # Small beside the network, and still not what the condition says.
    "small": with_terms(
        Term("kept", "x = upper", ("u_n",), lambda s: s["u_n"] - 3e-9), factor=lambda self, x: 1e-9 * x[:, 0]
    ),
    "another value": with_terms(Term("kept", "boundary", ("u",), lambda s: s["u"] - 1e-6)),
    "another derivative": with_terms(Term("kept", "x = lower", ("u_x",), zero("u_x"))),
}


@pytest.mark.parametrize("name", UNTRAINED)
def test_what_does_not_hold_is_trained(name: str) -> None:
    assert kept(UNTRAINED[name]) == ["residual", "kept"]


@pytest.mark.parametrize(
    "settings",
    [{}, {"width": 300, "depth": 6}, {"activation": "sin", "width": 200}, {"activation": "swish"}, {"slopes": True}],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_depends_on_neither_width_nor_precision(dtype: torch.dtype, settings: dict[str, Any]) -> None:
    assert kept(case(), dtype, **settings) == ["residual"]
    assert kept(Convection(), dtype, **settings) == ["residual"]


def test_what_is_left_of_an_exact_term_is_rounding() -> None:
    network = Network.of(Convection(), NetworkSettings(width=30, hard=True))
    sizes = sizes_of(Convection(), network, Convection().terms()[1:], seed=4, draw=1)
    assert set(sizes) == {"initial", "periodic"}
    for size, scale in sizes.values():
        assert size < 1e-13
        assert scale > 0.1


def test_a_network_that_has_diverged_can_be_asked() -> None:
    """Of a failed training result.json is written, whatever its parameters are."""
    network = Network.of(Convection(), NetworkSettings(width=5, hard=True))
    network.assign(torch.full_like(network.vector(), math.nan))
    sizes = sizes_of(Convection(), network, Convection().terms()[1:], seed=0)
    assert all(math.isnan(size) for size, _ in sizes.values())
