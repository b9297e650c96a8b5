"""The network's streams, values and input derivatives, against formulas by hand and nested autograd."""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from jacobians import DECAY, FREQUENCIES, PERIODIC, assert_close, nested
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._functorch._aot_autograd.utils import make_boxed_func

from pinntk.network import Network, NetworkSettings
from pinntk.network.activations import tanh
from pinntk.network.propagation import activate
from pinntk.network.settings import ModeFeature, ProductFeature
from pinntk.network.streams import Streams
from pinntk.pdes.base import PDE
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.convection import Convection
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.pdes.reaction import Reaction
from pinntk.pdes.wave import Wave

PROBLEMS = [Convection, Wave, Reaction, Burgers, Heat2D, Poisson1D]
FEATURES: dict[str, list[dict[str, Any]]] = {
    "none": [],
    **{
        f"{feature['kind']}{'-replace' if replace else ''}": [{**feature, "replace": replace}]
        for feature, replace in product([PERIODIC, FREQUENCIES, DECAY], [False, True])
    },
    "mode": [{"kind": "mode"}],
    "all": [PERIODIC, {**FREQUENCIES, "replace": True}, DECAY, {"kind": "mode"}],
}


def settings_for(pde: type[PDE], features: str, **more: Any) -> NetworkSettings:
    """Features stand on the last coordinate, "all" of them spread over the first and the last; a mode on every one."""
    places = [pde.coordinates[-1], pde.coordinates[0], pde.coordinates[0]]
    placed: list[dict[str, Any]] = [{**f, "input": p} for f, p in zip(FEATURES[features], places, strict=False)]
    if features in ("mode", "all"):
        mode = {"kind": "mode", "frequencies": {name: 1.1 + c for c, name in enumerate(pde.coordinates)}}
        without = {"kind": "mode", "frequencies": {pde.coordinates[0]: 0.7}}  # the other coordinates
        placed = [f for f in placed if f["kind"] != "mode"] + [mode, without]
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
    replaced = {f.input for f in settings.features if not isinstance(f, ModeFeature | ProductFeature) and f.replace}
    inputs = []
    for c in names:
        if c not in replaced:
            scaled = 2 * (column[c] - start[c]) / (end[c] - start[c]) - 1
            if settings.normalize == "deviation":  # (b - a) / sqrt(12) of the uniform distribution
                scaled = (column[c] - (start[c] + end[c]) / 2) / ((end[c] - start[c]) / math.sqrt(12))
            inputs.append(scaled if settings.normalize else column[c])
    waves: list[Tensor] = []
    decays: list[Tensor] = []
    modes: list[Tensor] = []
    for f in settings.features:
        assert not isinstance(f, ProductFeature)
        if f.kind == "mode":
            sines = [torch.sin(omega * column[c]) for c, omega in f.frequencies.items()]
            modes.append(torch.stack(sines).prod(dim=0))
        elif f.kind == "decay":
            decays += [torch.exp(-(column[f.input] - start[f.input]) / tau) for tau in f.times]
        else:
            omegas = [
                *([2 * math.pi * k / f.period for k in range(1, f.harmonics + 1)] if f.kind == "periodic" else []),
                *(f.frequencies if f.kind == "frequencies" else []),
            ]
            for omega in omegas:
                waves += [torch.sin(omega * column[f.input]), torch.cos(omega * column[f.input])]
    inputs += [*waves, *decays, *modes]
    h = torch.stack(inputs, dim=1)
    parameters = list(network.parameters())
    for i in range(settings.depth + 1):
        scale = 1 / math.sqrt(settings.width) if settings.parametrization == "ntk" and i > 0 else 1.0
        h = scale * (h @ parameters[2 * i].T) + parameters[2 * i + 1]
        if i < settings.depth:
            h = torch.tanh(h)
    return h[:, 0]


OPERATORS = {
    "convection": {"u_t": 1.0, "u_x": 40.0},
    "wave": {"u_tt": 1.0, "u_xx": -4.0},
    "burgers": {"u_t": 1.0, "u_xx": -0.01 / math.pi},
    "heat2d": {"u_t": 1.0, "u_xx": -1e-3, "u_yy": -1e-3},
}
"""The linear parts of the equations, which are one stream each."""


@pytest.mark.parametrize("normalize", [True, False, "deviation"])
@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("parametrization", ["standard", "ntk"])
@pytest.mark.parametrize("pde", PROBLEMS)
def test_streams_equal_nested_autograd(
    pde: type[PDE], parametrization: str, depth: int, features: str, normalize: bool | str
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
        parts = [factor * expected[name] for name, factor in OPERATORS[pde.name].items()]
        expected["L"] = torch.stack(parts).sum(0)
    assert_close(network(x).detach(), u.detach())
    # A loss that depends on every stream and not linearly, for the gradients with respect to the parameters.
    # Each stream is divided by its size, or the largest would hide mistakes in the others.
    loss_found, loss_expected = torch.zeros(()), torch.zeros(())
    for weight, name in enumerate(streams.names, start=1):
        assert_close(found[name].detach(), expected[name].detach())
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
        assert_close(there[name].detach(), here[name].detach(), 1e-12)
    half = x + torch.tensor([math.pi, 0.0], dtype=torch.float64)
    assert (network(half) - network(x)).abs().max() > 1e-2
    # With the coordinate kept beside the feature the network is not periodic.
    feature["replace"] = False
    kept = build(Convection, NetworkSettings.model_validate({"width": 9, "features": [feature]}))
    assert (kept(shifted) - kept(x)).abs().max() > 1e-2


def test_float32_network_computes_in_float32() -> None:
    settings = settings_for(Burgers, "all")
    double = Network(settings, ("x", "t"), (-1.0, 0.0), (1.0, 1.0))
    single = Network(settings, ("x", "t"), (-1.0, 0.0), (1.0, 1.0), dtype=torch.float32)
    x, streams = points_in(Burgers), Streams(["u_xx", "u_t"], ("x", "t"))
    expected, found = double.streams(x, streams), single.streams(x.float(), streams)
    for name in streams.names:
        assert found[name].dtype == torch.float32
        assert_close(found[name].detach().double(), expected[name].detach(), 1e-5)


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


@pytest.mark.parametrize("name", ["u_z", "u_xtxtx", "u_xz", "v", "", "u_"])
def test_unknown_stream_is_named(name: str) -> None:
    with pytest.raises(
        ValueError, match=f"'{name}'.*u, and derivatives up to order 4 in x, t: u_x, u_t, u_xx, u_xt, u_tt"
    ):
        Streams([name], ("x", "t"))


# Compiled


def stacked(dtype: torch.dtype) -> Tensor:
    """Streams u, u_x, u_xx of values from the smallest to the largest that tanh tells apart: (3, 4002, 1)."""
    sizes = torch.cat([torch.logspace(-30, 2, 1001), torch.linspace(0, 25, 1000)]).to(dtype)
    value = torch.cat([sizes, -sizes])
    return torch.stack([value, torch.ones_like(value), torch.linspace(-1, 1, len(value)).to(dtype)])[..., None]


@pytest.mark.parametrize("wanted", [["u"], ["u_xx"]])
def test_the_compiler_is_given_tanh_itself(wanted: list[str]) -> None:
    """Which is fast on every processor; tanh by expm1 takes several times as long where there is AVX-512."""
    operations: list[str] = []

    def recording(graph: torch.fx.GraphModule, _: Sequence[Tensor]) -> Callable[..., Any]:
        operations.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return make_boxed_func(graph.forward)

    torch.compiler.reset()
    streams = Streams(wanted, ("x", "t"))
    compiled = torch.compile(activate, backend=aot_autograd(fw_compiler=recording))
    z = stacked(torch.float64)[: len(streams)].requires_grad_()
    compiled(z, streams, tanh).sum().backward()
    assert "aten.tanh.default" in operations
    assert not [name for name in operations if "exp" in name]


@pytest.mark.slow  # the compiler takes its time
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_tanh_is_within_two_units_in_the_last_place(dtype: torch.dtype) -> None:
    torch.compiler.reset()
    z, streams = stacked(dtype), Streams(["u_xx"], ("x", "t"))
    found = torch.compile(activate)(z, streams, tanh)
    expected = np.tanh(z[0].to(torch.float64).numpy().astype(np.longdouble))
    unit = np.spacing(np.abs(expected).astype(str(dtype).removeprefix("torch.")))
    assert float((np.abs(found[0].numpy() - expected) / unit).max()) <= 2
    assert_close(found, activate(z, streams, tanh), 8 * torch.finfo(dtype).eps)
