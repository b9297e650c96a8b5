"""Derivatives of any order, of several fields, through any activation and hard conditions: against nested autograd."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from conftest import slow_unless
from jacobians import assert_close
from systems import COORDINATES, bare, coupled, derivative, points_of, value_by_hand
from torch import Tensor
from torch.func import vmap

from pinntk.network import NetworkSettings
from pinntk.network.activations import ACTIVATIONS, activation_of
from pinntk.network.derivatives import below, index_of, partitions
from pinntk.network.streams import Operator, Streams

LETTERS = ["".join(c * n for c, n in zip(COORDINATES, orders, strict=True)) for orders in product(range(5), repeat=3)]
EVERY = [letters for letters in LETTERS if len(letters) <= 4]
"""The 35 multi-indices of order four and less in three coordinates."""
NAMES = [f"{field}_{letters}" if letters else field for field in ("u", "v") for letters in EVERY]
FEATURES: list[dict[str, Any]] = [
    {"kind": "frequencies", "input": "x", "frequencies": [1.7], "parity": "odd"},
    {"kind": "powers", "input": "t", "powers": [2, 5], "about": 0.3},
    {"kind": "product", "of": [
        {"kind": "decay", "input": "t", "times": [1.1]},
        {"kind": "frequencies", "input": "x", "frequencies": [0.8], "parity": "even"},
        {"kind": "powers", "input": "y", "powers": [3]},
    ]},
]  # fmt: skip


def test_there_are_35_of_them() -> None:
    assert len(EVERY) == 35


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("slopes", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_derivative_equals_nested_autograd(activation: str, slopes: bool, hard: bool) -> None:
    _, network = coupled(activation=activation, slopes=slopes, hard=hard, features=FEATURES)
    x, plain = points_of(3)["interior"], bare(network)
    found = network.streams(x, network.wanting(*NAMES))
    parameters = dict(plain.named_parameters())
    for field, name in enumerate(("u", "v")):
        value = value_by_hand(plain, parameters, hard, field)
        for letters in EVERY:
            expected = vmap(derivative(value, letters))(x)
            assert_close(found[f"{name}_{letters}" if letters else name].detach(), expected.detach())


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("activation", ["tanh", slow_unless(False, "swish")])
def test_gradients_of_every_derivative_by_the_parameters(activation: str, hard: bool) -> None:
    """Of the pass that is written out against autograd, which has been compared with nested autograd above."""
    _, network = coupled(activation=activation, slopes=True, hard=hard)
    x = points_of(3)["interior"]
    streams = network.wanting(*NAMES, "nu", "c")
    inputs, record = network.prepare(x, streams), list[tuple[Tensor, Tensor]]()
    stacked = network.propagate(inputs, streams, record)
    sizes = stacked.detach().abs().amax(dim=1, keepdim=True)
    cotangents = torch.randn(stacked.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) / sizes
    expected = torch.autograd.grad((cotangents * stacked).sum(), list(network.parameters()))
    with torch.no_grad():
        layers, columns = network.backpropagate(record, streams, inputs, cotangents)
    assert columns is not None
    for i, ((h, _), d) in enumerate(zip(record, layers, strict=True)):
        assert_close((d.flatten(0, 1).T @ h.detach().flatten(0, 1)), expected[2 * i])
        assert_close(d[0].sum(0), expected[2 * i + 1])
    assert_close(columns.sum(0), torch.cat([g.reshape(-1) for g in expected[2 * len(record) :]]))


def test_operators_of_several_fields() -> None:
    for hard in (False, True):
        _, network = coupled(hard=hard)
        x = points_of(4)["interior"]
        coefficients = {"u_xxt": 1.5, "v_yy": -0.5, "u": 3.0, "v_t": 2.0, "u_t": -1.0}
        operator = Operator("L", coefficients)
        found = network.streams(x, network.wanting(operator, "u_t"))
        singles = network.streams(x, network.wanting(*coefficients))
        assert_close(found["L"].detach(), operator.of(singles).detach(), 1e-12)
        assert_close(found["u_t"].detach(), singles["u_t"].detach(), 1e-12)


def test_normal_derivatives() -> None:
    for hard in (False, True):
        _, network = coupled(hard=hard)
        x = points_of(4)["interior"]
        normals = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        streams = network.wanting("v_n", "u")
        found = dict(zip(streams.names, network.propagate(network.prepare(x, streams, normals), streams), strict=True))
        singles = network.streams(x, network.wanting("v_x", "v_y", "v_t"))
        expected = sum(normals[:, c] * singles[f"v_{name}"] for c, name in enumerate(COORDINATES))
        assert isinstance(expected, Tensor)
        assert_close(found["v_n"].detach(), expected.detach(), 1e-12)
        with pytest.raises(ValueError, match="'v_n': there are no normals"):
            network.prepare(x, streams)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_equal_automatic_derivatives(name: str) -> None:
    z = torch.linspace(-4, 4, 41, dtype=torch.float64, requires_grad=True)
    formulas: dict[str, Callable[[Tensor], Tensor]] = {
        "tanh": torch.tanh,
        "sin": torch.sin,
        "swish": torch.nn.functional.silu,
        "gelu": torch.nn.functional.gelu,
    }
    expected = formulas[name](z)
    found = activation_of(name)(z, 5)
    for order in range(6):
        assert_close(found[order].detach(), expected.detach(), 1e-11)
        assert_close(activation_of(name)(z, order, found[0])[-1].detach(), expected.detach(), 1e-11)
        (expected,) = torch.autograd.grad(expected.sum(), z, create_graph=True)


def softsign(z: Tensor, order: int, value: Tensor | None = None) -> list[Tensor]:
    """``z / (1 + z^2)`` by partial fractions, ``Re 1/(z + i)``: an activation of one's own."""
    one, found = 1 / (z + 1j), []
    factor = 1.0
    for n in range(order + 1):
        found.append((factor * one ** (n + 1)).real)
        factor *= -(n + 1)
    return found


def wrong(z: Tensor, order: int, value: Tensor | None = None) -> list[Tensor]:
    """The third derivative has another sign."""
    found = softsign(z, order)
    return [-d if n == 3 else d for n, d in enumerate(found)]


def test_an_activation_of_ones_own() -> None:
    settings = NetworkSettings(activation=f"{__name__}.softsign")
    assert activation_of(settings.activation) is softsign
    with pytest.raises(ValueError, match=r"wrong: its derivatives are not those of its value"):
        NetworkSettings(activation=f"{__name__}.wrong")
    with pytest.raises(ValueError, match="relu: allowed are tanh, sin, swish, gelu"):
        NetworkSettings(activation="relu")


def test_partitions_are_those_of_faa_di_bruno() -> None:
    assert sum(count for count, _ in partitions((4,))) == 15  # Bell's number
    assert sum(count for count, _ in partitions((1, 1, 1, 1))) == 15
    assert {blocks: count for count, blocks in partitions((4,))}[((2,), (2,))] == 3
    assert below((1, 1)) == [(1, 0), (0, 1)]


def test_names_of_derivatives() -> None:
    assert index_of("tx", ("x", "t")) == (1, 1)
    assert index_of("x1x2x1", ("x1", "x2")) == (2, 1)
    with pytest.raises(ValueError, match="two meanings"):
        index_of("xxx", ("x", "xx"))
    streams = Streams(["u_tx", "u_xt"], ("x", "t"))
    assert set(streams.names) >= {"u_tx", "u_xt"}
    assert len(streams) == 4  # value, x, t, xt


@pytest.mark.parametrize(
    ("wanted", "count"),
    [(["u_xxx"], 4), (["u_xxxx"], 5), (["u_xxyy"], 9), (["u_t", "u_xxx"], 5), (["u_xx", "v_xx"], 3)],
)
def test_no_more_is_carried_than_needed(wanted: list[str], count: int) -> None:
    assert len(Streams(wanted, ("x", "y", "t"), ("u", "v"))) == count
