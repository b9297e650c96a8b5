"""The network and its streams against formulas written out by hand and nested automatic differentiation."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from pinntk.network import Network, NetworkSettings
from pinntk.pdes.base import PDE
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.convection import Convection
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.pdes.reaction import Reaction
from pinntk.pdes.wave import Wave
from pinntk.streams import Streams

PROBLEMS = [Convection, Wave, Reaction, Burgers, Heat2D, Poisson1D]
PERIODIC: dict[str, Any] = {"kind": "periodic", "period": 1.3, "harmonics": 2}
FREQUENCIES: dict[str, Any] = {"kind": "frequencies", "frequencies": [0.7, 2.5]}
DECAY: dict[str, Any] = {"kind": "decay", "times": [0.4, 3.0]}
FEATURES: dict[str, list[dict[str, Any]]] = {
    "none": [],
    **{
        f"{feature['kind']}{'-replace' if replace else ''}": [{**feature, "replace": replace}]
        for feature, replace in product([PERIODIC, FREQUENCIES, DECAY], [False, True])
    },
    "all": [PERIODIC, {**FREQUENCIES, "replace": True}, DECAY],
}


def settings_for(pde: type[PDE], features: str, **more: Any) -> NetworkSettings:
    """Features stand on the last coordinate, "all" of them spread over the first and the last."""
    places = [pde.coordinates[-1], pde.coordinates[0], pde.coordinates[0]]
    placed = [{**f, "input": place} for f, place in zip(FEATURES[features], places, strict=False)]
    return NetworkSettings.model_validate({"width": 6, "features": placed, **more})


def build(pde: type[PDE], settings: NetworkSettings, seed: int = 3) -> Network:
    network = Network(settings, pde.coordinates, pde.lower, pde.upper, seed=seed)
    with torch.no_grad():  # zero biases would hide a mistake in them
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.copy_(torch.linspace(-0.3, 0.4, len(parameter), dtype=torch.float64))
    return network


def points_in(pde: type[PDE], n: int = 5) -> Tensor:
    low, high = torch.tensor(pde.lower, dtype=torch.float64), torch.tensor(pde.upper, dtype=torch.float64)
    unit = torch.rand(n, len(low), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return low + (high - low) * unit


def by_hand(pde: type[PDE], settings: NetworkSettings, network: Network, x: Tensor) -> Tensor:
    """u from its formula: inputs one column at a time, then layer after layer."""
    names = list(pde.coordinates)
    column = {c: x[:, i] for i, c in enumerate(names)}
    start = dict(zip(names, pde.lower, strict=True))
    end = dict(zip(names, pde.upper, strict=True))
    replaced = {f.input for f in settings.features if f.replace}
    inputs = []
    for c in names:
        if c not in replaced:
            scaled = 2 * (column[c] - start[c]) / (end[c] - start[c]) - 1
            inputs.append(scaled if settings.normalize else column[c])
    for f in settings.features:
        omegas: Sequence[float] = []
        if f.kind == "periodic":
            omegas = [2 * math.pi * k / f.period for k in range(1, f.harmonics + 1)]
        elif f.kind == "frequencies":
            omegas = f.frequencies
        for omega in omegas:
            inputs += [torch.sin(omega * column[f.input]), torch.cos(omega * column[f.input])]
    for f in settings.features:
        if f.kind == "decay":
            inputs += [torch.exp(-(column[f.input] - start[f.input]) / tau) for tau in f.times]
    h = torch.stack(inputs, dim=1)
    parameters = list(network.parameters())
    for i in range(settings.depth + 1):
        scale = 1 / math.sqrt(settings.width) if settings.parametrization == "ntk" and i > 0 else 1.0
        h = scale * (h @ parameters[2 * i].T) + parameters[2 * i + 1]
        if i < settings.depth:
            h = torch.tanh(h)
    return h[:, 0]


def nested(u: Tensor, x: Tensor, name: str, coordinates: Sequence[str]) -> Tensor:
    """The stream of that name by one torch.autograd.grad per derivative."""
    for letter in name[2:]:
        u = torch.autograd.grad(u.sum(), x, create_graph=True)[0][:, list(coordinates).index(letter)]
    return u


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    assert found.shape == expected.shape
    scale = float(expected.detach().abs().max())
    assert scale > 0
    assert float((found - expected).detach().abs().max()) <= tolerance * scale


OPERATORS = {
    "convection": {"u_t": 1.0, "u_x": 40.0},
    "wave": {"u_tt": 1.0, "u_xx": -4.0},
    "burgers": {"u_t": 1.0, "u_xx": -0.01 / math.pi},
    "heat2d": {"u_t": 1.0, "u_xx": -1e-3, "u_yy": -1e-3},
}
"""The linear parts of the equations, which are one stream each."""


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("parametrization", ["standard", "ntk"])
@pytest.mark.parametrize("pde", PROBLEMS)
def test_streams_equal_nested_autograd(
    pde: type[PDE], parametrization: str, depth: int, features: str, normalize: bool
) -> None:
    settings = settings_for(pde, features, parametrization=parametrization, depth=depth, normalize=normalize)
    network, x = build(pde, settings), points_in(pde)
    if not normalize and pde is Heat2D:
        x[:, 2] /= 50  # t = 100 would saturate every neuron: all derivatives zero
    streams = Streams([s for term in pde().terms() for s in term.streams], pde.coordinates)
    found = network.streams(x, streams)

    y = x.clone().requires_grad_()
    u = by_hand(pde, settings, network, y)
    derivatives = [name for term in pde().terms() for name in term.derivatives]
    expected = {name: nested(u, y, name, pde.coordinates) for name in {*streams.names, *derivatives} - {"L"}}
    if "L" in streams.names:
        expected["L"] = sum(factor * expected[name] for name, factor in OPERATORS[pde.name].items())  # type: ignore[assignment]
    assert_close(network(x), u)
    # A loss that depends on every stream and not linearly, for the gradients with respect to the parameters.
    # Each stream is divided by its size, or the largest would hide mistakes in the others.
    loss_found, loss_expected = torch.zeros(()), torch.zeros(())
    for weight, name in enumerate(streams.names, start=1):
        assert_close(found[name], expected[name])
        size = expected[name].detach().abs().max()
        loss_found = loss_found + weight * (found[name] / size - 0.1 * weight).square().mean()
        loss_expected = loss_expected + weight * (expected[name] / size - 0.1 * weight).square().mean()
    parameters = list(network.parameters())
    for g, h in zip(
        torch.autograd.grad(loss_found, parameters), torch.autograd.grad(loss_expected, parameters), strict=True
    ):
        assert_close(g, h)


def test_every_derivative_of_every_problem_is_tested() -> None:
    """The six problems between them use these streams: a new one means new cases above."""
    used = {s for pde in PROBLEMS for term in pde().terms() for s in term.derivatives}
    assert used == {"u", "u_x", "u_t", "u_xx", "u_yy", "u_tt"}


def test_hessian_vector_products_pass_through_the_streams() -> None:
    """Second derivatives with respect to the parameters, of a residual with second input derivatives."""
    settings = settings_for(Burgers, "all", depth=2)
    network, x = build(Burgers, settings), points_in(Burgers)
    streams = Streams(["u", "u_x", "u_t", "u_xx"], Burgers.coordinates)
    y = x.clone().requires_grad_()
    u = by_hand(Burgers, settings, network, y)
    products = []
    for s in (network.streams(x, streams), {n: nested(u, y, n, Burgers.coordinates) for n in streams.names}):
        loss = (s["u_t"] + s["u"] * s["u_x"] - 0.1 * s["u_xx"]).square().sum()
        parameters = list(network.parameters())
        gradient = torch.autograd.grad(loss, parameters, create_graph=True)
        along = torch.stack([(g * g.detach().cos()).sum() for g in gradient]).sum()
        products.append(torch.autograd.grad(along, parameters))
    for found, expected in zip(*products, strict=True):
        assert_close(found, expected)


@pytest.mark.parametrize("normalize", [True, False])
def test_replaced_periodic_input_makes_u_periodic(normalize: bool) -> None:
    feature: dict[str, Any] = {"kind": "periodic", "input": "x", "period": 2 * math.pi, "harmonics": 3, "replace": True}
    settings = NetworkSettings.model_validate({"width": 9, "normalize": normalize, "features": [feature]})
    network, x = build(Convection, settings), points_in(Convection, 20)
    shifted = x + torch.tensor([2 * math.pi, 0.0], dtype=torch.float64)
    streams = Streams(["u_xx", "u_t"], Convection.coordinates)
    here, there = network.streams(x, streams), network.streams(shifted, streams)
    for name in streams.names:
        assert_close(there[name], here[name], 1e-12)
    half = x + torch.tensor([math.pi, 0.0], dtype=torch.float64)
    assert (network(half) - network(x)).abs().max() > 1e-2
    # With the coordinate kept beside the feature the network is not periodic.
    feature["replace"] = False
    kept = build(Convection, NetworkSettings.model_validate({"width": 9, "features": [feature]}))
    assert (kept(shifted) - kept(x)).abs().max() > 1e-2


def test_equation_one_by_hand() -> None:
    """u = W1 tanh(W0 x + b0) / sqrt(m) + b1 for one hidden layer, neuron by neuron."""
    m = 4
    settings = NetworkSettings(width=m, depth=1, parametrization="ntk", normalize=False)
    network = Network(settings, ("x", "t"), (0.0, 0.0), (6.0, 1.0), seed=5)
    w0, b0, w1, b1 = (p.detach().numpy() for p in network.parameters())
    assert w0.shape == (m, 2)
    assert w1.shape == (1, m)
    assert np.abs(b1).min() > 0
    for x, t in [(0.3, 0.8), (5.0, 0.1)]:
        u = b1[0]
        for j in range(m):
            u += w1[0, j] * math.tanh(w0[j, 0] * x + w0[j, 1] * t + b0[j]) / 2.0
        assert network.forward(torch.tensor([[x, t]], dtype=torch.float64)).item() == pytest.approx(u, rel=1e-14)


def test_standard_parametrization_has_glorot_variance() -> None:
    network = Network(NetworkSettings(width=400, depth=2), ("x", "t"), (0.0, 0.0), (1.0, 1.0))
    first, first_bias, middle, middle_bias, last, last_bias = network.parameters()
    # The sample variance of n normal numbers has a relative spread of sqrt(2/n).
    for weight, fan_in, fan_out in [(first, 2, 400), (middle, 400, 400), (last, 400, 1)]:
        variance = 2 / (fan_in + fan_out)
        spread = math.sqrt(2 / weight.numel())
        assert float(weight.detach().square().mean()) == pytest.approx(variance, rel=4 * spread)
    assert not any(bias.any() for bias in (first_bias, middle_bias, last_bias))


def test_ntk_parametrization_is_standard_normal() -> None:
    settings = NetworkSettings(width=300, depth=2, parametrization="ntk")
    parameters = list(Network(settings, ("x", "t"), (0.0, 0.0), (1.0, 1.0)).parameters())
    for parameter in parameters[:-1]:
        spread = math.sqrt(2 / parameter.numel())
        assert float(parameter.detach().square().mean()) == pytest.approx(1, rel=4 * spread)
    assert float(parameters[-1].detach()) != 0


@pytest.mark.parametrize("parametrization", ["standard", "ntk"])
def test_a_seed_fixes_the_network_in_both_precisions(parametrization: str) -> None:
    settings = NetworkSettings.model_validate({"width": 20, "parametrization": parametrization})

    def parameters(seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
        torch.manual_seed(int(torch.randint(1 << 30, ())))  # the global state must not matter
        network = Network(settings, ("x", "t"), (0.0, 0.0), (1.0, 1.0), seed=seed, dtype=dtype)
        return torch.cat([p.detach().flatten() for p in network.parameters()])

    assert torch.equal(parameters(7), parameters(7))
    assert not torch.equal(parameters(7), parameters(8))
    single = parameters(7, torch.float32)
    assert single.dtype == torch.float32
    assert torch.equal(single, parameters(7).float())


def test_float32_network_computes_in_float32() -> None:
    settings = settings_for(Burgers, "all")
    double = Network(settings, ("x", "t"), (-1.0, 0.0), (1.0, 1.0))
    single = Network(settings, ("x", "t"), (-1.0, 0.0), (1.0, 1.0), dtype=torch.float32)
    x, streams = points_in(Burgers), Streams(["u_xx", "u_t"], ("x", "t"))
    expected, found = double.streams(x, streams), single.streams(x.float(), streams)
    for name in streams.names:
        assert found[name].dtype == torch.float32
        assert_close(found[name].double(), expected[name], 1e-5)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ([], ("u",)),
        (["u_t"], ("u", "u_t")),
        (["u_xx"], ("u", "u_x", "u_xx")),
        (["u_t", "u_xx", "u", "u_xx"], ("u", "u_x", "u_t", "u_xx")),
        (["u_tt", "u_x"], ("u", "u_t", "u_x", "u_tt")),
    ],
)
def test_streams_add_what_they_need(wanted: list[str], names: tuple[str, ...]) -> None:
    streams = Streams(wanted, ("x", "t"))
    assert streams.names == names
    assert len(streams) == len(names)


@pytest.mark.parametrize("name", ["u_z", "u_xt", "u_xxx", "v", "", "u_"])
def test_unknown_stream_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}'.*u, u_x, u_t, u_xx, u_tt"):
        Streams([name], ("x", "t"))


BAD_FEATURES: list[dict[str, Any]] = [
    {**PERIODIC, "period": 0},
    {**PERIODIC, "period": math.nan},
    {**PERIODIC, "harmonics": 0},
    {**FREQUENCIES, "frequencies": []},
    {**FREQUENCIES, "frequencies": [-1.0]},
    {**DECAY, "times": [0.0]},
    {**DECAY, "times": [math.inf]},
    {**DECAY, "kind": "growth"},
]


@pytest.mark.parametrize(
    "bad",
    [
        *({"width": width} for width in (0, -3, 1.5, True, "ten", 100_001)),
        *({"depth": depth} for depth in (0, 1000)),
        {"parametrization": "mup"},
        {"normalize": 1},
        {"widht": 5},
        *({"features": [{"input": "x", **feature}]} for feature in BAD_FEATURES),
    ],
)
def test_settings_out_of_range_are_rejected(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as error:
        NetworkSettings.model_validate(bad)
    assert error.value.errors()[0]["loc"][0] == next(iter(bad))


def test_feature_of_an_unknown_input_is_named() -> None:
    settings = NetworkSettings.model_validate({"features": [{**PERIODIC, "input": "z"}]})
    with pytest.raises(ValueError, match=r"network\.features: input=z: allowed are x, t"):
        Network(settings, ("x", "t"), (0.0, 0.0), (1.0, 1.0))
