"""Linear operators as one stream: against nested automatic differentiation, and in the equations that use them."""

import math
from typing import Any

import pytest
import torch
from jacobians import PDES, assert_close, batches_of, nested, residuals_of
from torch import Tensor

from pinntk.network import Network, NetworkSettings
from pinntk.network.streams import Operator, Streams
from pinntk.pdes.base import PDE

COORDINATES = ("x", "y", "t")
LOWER, UPPER = (-0.5, 0.0, 0.0), (1.0, 2.0, 3.0)
MIXED = Operator("M", {"u_t": 1.5, "u_x": -0.7, "u_xx": -0.3, "u_tt": 0.9})
DIFFUSION = Operator("D", {"u_xx": 0.5, "u_yy": -2.0})
TRANSPORT = Operator("T", {"u_y": 2.0, "u_t": -1.0})
FEATURES: list[dict[str, Any]] = [
    {"kind": "periodic", "input": "x", "period": 1.3},
    {"kind": "frequencies", "input": "y", "frequencies": [1.7], "replace": True},
    {"kind": "decay", "input": "t", "times": [0.8]},
    {"kind": "mode", "frequencies": {"x": 1.9, "t": 0.6}},
    {"kind": "mode", "frequencies": {"y": 2.3}},
]


def network(**settings: Any) -> Network:
    made = NetworkSettings.model_validate({"width": 6, **settings})
    return Network(made, COORDINATES, LOWER, UPPER, seed=4)


def points(n: int = 7) -> Tensor:
    unit = torch.rand(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    low, high = torch.tensor(LOWER, dtype=torch.float64), torch.tensor(UPPER, dtype=torch.float64)
    return low + (high - low) * unit


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("features", [[], FEATURES], ids=["plain", "features"])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("parametrization", ["standard", "ntk"])
@pytest.mark.parametrize(
    "wanted",
    [
        (MIXED,),
        (DIFFUSION, "u_t"),
        (TRANSPORT,),
        ("u_y", TRANSPORT, MIXED, "u_tt", DIFFUSION, "u"),
    ],
    ids=["mixed", "diffusion", "transport", "all"],
)
def test_operators_equal_nested_autograd(
    wanted: tuple[str | Operator, ...], parametrization: str, depth: int, features: list[Any], normalize: bool
) -> None:
    made = network(parametrization=parametrization, depth=depth, features=features, normalize=normalize)
    x = points()
    streams = Streams(wanted, COORDINATES)
    found = made.streams(x, streams)
    assert tuple(found) == streams.names

    y = x.clone().requires_grad_()
    u = made(y)
    operators = {o.name: o for o in wanted if isinstance(o, Operator)}
    loss, expected_loss = torch.zeros(()), torch.zeros(())
    for weight, name in enumerate(streams.names, start=1):
        if name in operators:
            parts = [factor * nested(u, y, d, COORDINATES) for d, factor in operators[name].coefficients.items()]
            expected = torch.stack(parts).sum(0)
        else:
            expected = nested(u, y, name, COORDINATES)
        assert_close(found[name].detach(), expected.detach())
        size = expected.detach().abs().max()
        loss = loss + weight * (found[name] / size - 0.1 * weight).square().sum()
        expected_loss = expected_loss + weight * (expected / size - 0.1 * weight).square().sum()
    parameters = list(made.parameters())
    slopes = (torch.autograd.grad(value, parameters) for value in (loss, expected_loss))
    for g, h in zip(*slopes, strict=True):
        assert_close(g, h)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("parametrization", ["standard", "ntk"])
@pytest.mark.parametrize(
    "wanted", [(), (MIXED,), (DIFFUSION, "u_t"), (TRANSPORT,), ("u_y", TRANSPORT, MIXED, "u_tt", DIFFUSION)]
)
def test_the_backward_pass_that_is_written_out_is_that_of_autograd(
    wanted: tuple[str | Operator, ...], parametrization: str, depth: int
) -> None:
    made = network(parametrization=parametrization, depth=depth, features=FEATURES)
    streams, record = Streams(wanted, COORDINATES), list[tuple[Tensor, Tensor]]()
    inputs = made.prepare(points(), streams)
    stacked = made.propagate(inputs, streams, record)
    generator = torch.Generator().manual_seed(2)
    cotangents = torch.randn(stacked.shape, dtype=torch.float64, generator=generator)
    expected = torch.autograd.grad((cotangents * stacked).sum(), [z for _, z in record])
    with torch.no_grad():
        found, _ = made.backpropagate(record, streams, inputs, cotangents)
    assert len(found) == len(expected) == depth + 1
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        for s in range(len(streams)):  # every stream by itself: their sizes differ
            assert_close(one[s], other[s])


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ([TRANSPORT], ("u", "T")),
        ([DIFFUSION], ("u", "u_x", "u_y", "D")),
        ([MIXED], ("u", "u_x", "u_t", "M")),
        # Of the operators and second derivatives in the order in which they came, behind the first derivatives.
        (["u_yy", "u_t", TRANSPORT, "u"], ("u", "u_y", "u_t", "u_yy", "T")),
        ([TRANSPORT, "u_yy", "u_x"], ("u", "u_y", "u_x", "T", "u_yy")),
        ([MIXED, MIXED, "u_x", "u_x"], ("u", "u_x", "u_t", "M")),
        ([Operator("u_xx", {"u_xx": 1.0}), "u_xx"], ("u", "u_x", "u_xx")),
    ],
)
def test_names_and_order(wanted: list[str | Operator], names: tuple[str, ...]) -> None:
    streams = Streams(wanted, COORDINATES)
    assert streams.names == names
    assert len(streams) == len(names)
    x = points()
    stacked = network().features(x, streams)
    assert stacked.shape == (len(names), len(x), 3)


def test_a_name_with_two_meanings_is_refused() -> None:
    other = Operator("M", {**MIXED.coefficients, "u_t": 1.6})
    with pytest.raises(ValueError, match=r"stream 'M': two operators have this name"):
        Streams([MIXED, "u", other], COORDINATES)
    with pytest.raises(ValueError, match=r"stream 'u_xx': two operators have this name"):
        Streams([Operator("u_xx", {"u_xx": 2.0}), "u_xx"], COORDINATES)
    # The same coefficients, however they are written, are the same operator.
    again = Operator("M", dict(sorted(MIXED.coefficients.items(), reverse=True)))
    assert Streams([MIXED, again], COORDINATES).names == ("u", "u_x", "u_t", "M")


@pytest.mark.parametrize("name", ["u_z", "u_xxxxx", "v", "L", ""])
def test_an_unknown_derivative_in_an_operator_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=rf"'{name}': allowed are u, and derivatives up to order 4 in x, y, t: u_x"):
        Streams([Operator("L", {"u_t": 1.0, name: 2.0})], COORDINATES)


def test_an_operator_of_given_derivatives() -> None:
    values = {"u": torch.tensor([9.0, 9.0]), "u_xx": torch.tensor([2.0, 3.0]), "u_yy": torch.tensor([5.0, 7.0])}
    assert DIFFUSION.of(values).tolist() == [1.0 - 10.0, 1.5 - 14.0]
    with pytest.raises(KeyError):
        DIFFUSION.of({"u_xx": values["u_xx"]})


# The equations, from the literature: residual of u by its derivatives, d["xx"] for u_xx.
EQUATIONS: dict[str, Any] = {
    "convection": lambda d, x: d["t"] + 3.0 * d["x"],
    "wave": lambda d, x: d["tt"] - 0.5 * d["xx"],
    "reaction": lambda d, x: d["t"] - 2.5 * d[""] * (1 - d[""]),
    "burgers": lambda d, x: d["t"] + d[""] * d["x"] - 0.1 * d["xx"],
    "heat2d": lambda d, x: (
        d["t"]
        - 0.001 * (d["xx"] + d["yy"])
        - 5
        * torch.sin(1.7 * d[""] ** 2)
        * (1 + 2 * torch.sin(x[:, 2] * math.pi / 4))
        * torch.sin(3 * math.pi * x[:, 0])
        * torch.sin(5 * math.pi * x[:, 1])
    ),
    "poisson1d": lambda d, x: d["xx"] + (2 * math.pi) ** 2 * torch.sin(2 * math.pi * x[:, 0]),
}


def derivatives(pde: PDE, u: Any, x: Tensor) -> dict[str, Tensor]:
    """All that exist, by name."""
    y = x.clone().requires_grad_()
    names = ["u", *(f"u_{c * n}" for c in pde.coordinates for n in (1, 2))]
    value = u(y)
    return {name: nested(value, y, name, pde.coordinates).detach() for name in names}


@pytest.mark.parametrize("name", PDES)
def test_residuals_on_streams_are_those_of_the_derivatives_and_of_the_written_equation(name: str) -> None:
    pde = PDES[name]
    residuals = residuals_of(pde, depth=2)
    batches = batches_of(pde, residuals)
    found = residuals(batches)
    for term in pde.terms():
        x = batches[term.where].points
        values = derivatives(pde, residuals.network, x)
        assert set(term.derivatives) <= set(values)
        assert len(set(term.derivatives)) == len(term.derivatives)
        given = {d: values[d] for d in term.derivatives}  # no more than it says
        assert_close(term.of_derivatives(given, *term.fields(x)), found[term.name].detach())
        assert list(given) == list(term.derivatives)  # nothing was added to what the caller holds
        if term.name == "residual":
            parts = {d[2:]: value for d, value in values.items()}
            assert_close(found["residual"].detach(), EQUATIONS[name](parts, x))
