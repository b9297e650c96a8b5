"""The fused kernels against plain torch in float64, and what happens where there can be none."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jacobians import PDES, batches_of, residuals_of
from systems import coupled, points_of
from torch import Tensor

from pinntk.network import Network, NetworkSettings, activations
from pinntk.network.fused import NotFused, kernels
from pinntk.network.fused.source import source
from pinntk.network.streams import Operator, Streams
from pinntk.residual.form import ResidualForm
from pinntk.residual.loss import BlockedLoss, Way
from pinntk.residual.residuals import Residuals

slow = pytest.mark.slow  # a compiler takes its time
SOME = ["value", "heat", pytest.param("first", marks=slow), pytest.param("fourth", marks=slow)]
PROBLEMS = [name if name == "wave" else pytest.param(name, marks=slow) for name in PDES]
WAYS: tuple[Way, ...] = ("fused", "plain")
STREAMS = {
    "value": Streams(["u"], ["x", "t"]),
    "first": Streams([Operator("L", {"u_t": 1.0, "u_x": 30.0})], ["x", "t"]),
    "heat": Streams(["u_x", Operator("L", {"u_t": 1.0, "u_xx": -0.1})], ["x", "t"]),
    "fourth": Streams(["u_xxxt", "u_xx"], ["x", "t"]),
}


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


@pytest.fixture
def threads() -> Any:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("parametrization", ["standard", "ntk"])
@pytest.mark.parametrize(("width", "depth", "points"), [(1, 1, 1), (50, 3, 77), (13, 2, 32), (65, 2, 33)])
@pytest.mark.parametrize("name", SOME)
def test_streams_and_gradients(
    name: str, width: int, depth: int, points: int, parametrization: Any, dtype: torch.dtype
) -> None:
    """Whole and broken groups of points, widths that fill vectors and that do not."""
    settings = NetworkSettings(width=width, depth=depth, parametrization=parametrization)
    streams = STREAMS[name]
    network = Network(settings, ["x", "t"], [0.0, 0.0], [1.0, 2.0], seed=3, dtype=dtype)
    (kernel,) = kernels(network, [streams])
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(points, 2, generator=generator, dtype=torch.float64)
    factors = torch.randn(points, generator=generator, dtype=torch.float64)
    given = torch.randn(len(streams), points, 1, generator=generator, dtype=torch.float64)
    carried, passed = kernel.forward(network.prepare(x.to(dtype), streams).features)
    gradient, squares = kernel.backward(passed, given.to(dtype), factors.to(dtype), squares=True)

    network.double()
    parameters = list(network.parameters())
    expected = network.propagate(network.prepare(x, streams), streams)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    close(carried[..., 0].double(), expected.detach(), tolerance)
    rows = [
        torch.cat([part.flatten() for part in torch.autograd.grad(total, parameters, retain_graph=True)])
        for total in (expected * given[..., 0]).sum(0)
    ]
    assert squares is not None
    close(squares.double(), torch.stack([row.square().sum() for row in rows]), tolerance)
    close(torch.cat([part.flatten() for part in gradient]).double(), factors @ torch.stack(rows), tolerance)


@slow
@pytest.mark.parametrize("activation", ["sin", "swish", "gelu"])
def test_other_activations(activation: str) -> None:
    network = Network(NetworkSettings(width=9, depth=2, activation=activation), ["x", "t"], [0.0, 0.0], [1.0, 1.0])
    streams = STREAMS["fourth"]
    (kernel,) = kernels(network, [streams])
    inputs = network.prepare(torch.rand(40, 2, dtype=torch.float64), streams)
    carried, passed = kernel.forward(inputs.features)
    expected = network.propagate(inputs, streams)
    close(carried[..., 0], expected.detach())
    gradient, _ = kernel.backward(passed, torch.ones_like(carried))
    for found, right in zip(gradient, torch.autograd.grad(expected.sum(), list(network.parameters())), strict=True):
        close(found, right)


@pytest.mark.parametrize("elements", [10**9, 60])
@pytest.mark.parametrize("normalization", ["sum", "mean"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_loss_of_every_problem(name: str, normalization: Any, elements: int, monkeypatch: Any) -> None:
    monkeypatch.setattr("pinntk.residual.loss.ELEMENTS", elements)
    residuals = residuals_of(PDES[name], depth=2, parametrization="ntk")
    batches = batches_of(PDES[name], residuals)
    weights = torch.tensor([0.7, 0.2, 3.0, 1.9][: len(residuals.names)], dtype=torch.float64)
    fused, plain = (BlockedLoss(residuals, normalization, way=way) for way in WAYS)
    assert (fused.way, fused.reason) == ("fused", "")
    found, gradients = [], []
    for one in (fused, plain):
        residuals.network.zero_grad()
        found.append(one.backward(batches, weights))
        gradients.append([p.grad.clone() for p in residuals.network.parameters() if p.grad is not None])
    close(found[0], found[1])
    for ours, theirs in zip(*gradients, strict=True):
        close(ours, theirs)
    for ours, theirs in zip(fused.by_term(batches), plain.by_term(batches), strict=True):
        close(ours, theirs)


@pytest.mark.slow  # torch compiles what stands between the passes
def test_a_system_with_hard_conditions_and_unknown_coefficients() -> None:
    problem, network = coupled(hard=True, slopes=False)
    residuals = Residuals(problem, network)
    objective = ResidualForm(residuals, residuals.prepare(points_of()))
    batches = objective.batches
    expected, by_term = objective.gradient(), objective._blocked.by_term(batches)
    objective.place("fused_compiled")
    objective._batches = batches
    assert objective.way == "fused_compiled"
    for found, other in zip(objective.gradient(), expected, strict=True):
        close(found, other)
    for found, other in zip(objective._blocked.by_term(batches), by_term, strict=True):
        close(found, other)


def test_threads_share_the_points(threads: Callable[[int], None]) -> None:
    """The same to rounding on two threads, and the same to the bit when done again."""
    network = Network(NetworkSettings(width=20, depth=2), ["x", "t"], [0.0, 0.0], [1.0, 1.0])
    streams = STREAMS["heat"]
    (kernel,) = kernels(network, [streams])
    features = network.prepare(torch.rand(500, 2, dtype=torch.float64), streams).features
    given = torch.randn(len(streams), 500, 1, dtype=torch.float64)
    found = []
    for count in (1, 2, 2):
        threads(count)
        carried, passed = kernel.forward(features)
        found.append([carried, *kernel.backward(passed, given)[0]])
    for one, two, again in zip(*found, strict=True):
        close(two, one)
        assert torch.equal(two, again)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hyperbolic_tangent(dtype: torch.dtype) -> None:
    """Within three units in the last place of the long double's, from the smallest numbers to the largest."""
    network = Network(NetworkSettings(width=1, depth=1, normalize=False), ["x"], [0.0], [1.0], dtype=dtype)
    network.assign(torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=dtype))  # u = tanh(x)
    streams = Streams(["u"], ["x"])
    (kernel,) = kernels(network, [streams])
    tiny = torch.finfo(dtype).tiny
    some = [tiny, 1e-20, 1e-9, 1e-4, 0.1, 0.17, 0.18, 0.3, 0.34, 0.35, 0.5, 0.55, 0.6, 1.0, 2.0, 5.0, 9.0, 19.0, 25.0]
    sizes = [*some, *torch.logspace(-4, 1.2, 400).tolist(), 1e30]
    x = torch.tensor([sign * size for size in sizes for sign in (1, -1)], dtype=dtype)
    found = kernel.forward(x.view(1, -1, 1))[0].flatten()
    right = torch.from_numpy(np.tanh(x.numpy().astype(np.longdouble)).astype(np.float64))
    unit = (torch.nextafter(right.to(dtype).abs(), torch.tensor(2.0, dtype=dtype)) - right.to(dtype).abs()).double()
    assert float(((found.double() - right).abs() / unit).max()) <= 3
    assert kernel.forward(torch.full((1, 5, 1), math.nan, dtype=dtype))[0].isnan().all()


def test_a_loss_that_is_not_a_number_is_not_hidden() -> None:
    network = Network(NetworkSettings(width=7, depth=2), ["x", "t"], [0.0, 0.0], [1.0, 1.0])
    (kernel,) = kernels(network, [STREAMS["heat"]])
    features = network.prepare(torch.rand(3, 2, dtype=torch.float64), STREAMS["heat"]).features
    with torch.no_grad():
        network.layers[0].weight[3, 1] = math.inf  # type: ignore[operator]
    carried, passed = kernel.forward(features)
    assert carried[1:].isnan().any()
    gradient, _ = kernel.backward(passed, torch.ones_like(carried))
    assert not all(part.isfinite().all() for part in gradient)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_was_trained_does_not_decide(dtype: torch.dtype) -> None:
    """Parameters with which nothing can be compared: a run that is resumed goes on as it began."""
    network = Network(NetworkSettings(width=7, depth=2), ["x", "t"], [0.0, 0.0], [1.0, 1.0], dtype=dtype)
    for value in (1e30, math.nan):
        network.assign(torch.full_like(network.vector(), value))
        assert len(kernels(network, [STREAMS["heat"]])) == 1
        assert network.vector().isnan().all() or bool((network.vector() == value).all())


# Where there are none


def own(z: Tensor, order: int, value: Tensor | None = None) -> list[Tensor]:
    raise ValueError("not of this kind")


def cube(z: Tensor, order: int, value: Tensor | None = None) -> list[Tensor]:
    return [torch.relu(z)] * (order + 1)


def test_what_cannot_be_traced() -> None:
    with pytest.raises(NotFused, match="cannot be traced: not of this kind"):
        source(STREAMS["first"], own, torch.float64)
    with pytest.raises(NotFused, match=r"uses .*relu"):
        source(STREAMS["first"], cube, torch.float64)
    with pytest.raises(NotFused, match="float16"):
        source(STREAMS["first"], activations.tanh, torch.float16)


def test_trained_slopes() -> None:
    network = Network(NetworkSettings(width=3, depth=1, slopes=True), ["x"], [0.0], [1.0])
    with pytest.raises(NotFused, match=r"network\.slopes=true"):
        kernels(network, [network.value])


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "no C\\+\\+ compiler here"),
        ("echo 'kernel.cpp:3: error: no such thing' >&2; exit 1", "error: no such thing"),
    ],
)
def test_without_a_compiler_that_works(
    script: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on compiled by torch, and says why."""
    monkeypatch.setenv("PINNTK_CACHE", str(tmp_path))
    compiler = tmp_path / "compiler"
    if script is not None:
        compiler.write_text(f"#!/bin/sh\n{script}\n")
        compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    residuals = residuals_of(PDES["convection"], depth=1)
    assert BlockedLoss(residuals, "mean", way="fused_compiled").way == "compiled"
    assert BlockedLoss(residuals, "mean", way="fused").way == "plain"
    with pytest.raises(NotFused, match=reason):
        kernels(residuals.network, list(residuals.streams_of.values()))
    assert not list((tmp_path / "kernels").glob("*"))


def test_a_kernel_that_computes_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PINNTK_CACHE", str(tmp_path))
    right = source(STREAMS["first"], activations.tanh, torch.float64)
    wrong = right.replace("Vec(T(-2.0))", "Vec(T(2.0))")  # a sign in the second derivative of tanh
    assert wrong != right
    monkeypatch.setattr("pinntk.network.fused.kernel.source", lambda *_: wrong)
    network = Network(NetworkSettings(width=4, depth=2), ["x", "t"], [0.0, 0.0], [1.0, 1.0])
    with pytest.raises(NotFused, match="does not compute what torch computes"):
        kernels(network, [STREAMS["first"]])


def test_what_is_built_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PINNTK_CACHE", str(tmp_path))
    network = Network(NetworkSettings(width=4, depth=2), ["x", "t"], [0.0, 0.0], [1.0, 1.0])
    kernels(network, [STREAMS["value"]])
    (made,) = (tmp_path / "kernels").iterdir()
    before = os.stat(made).st_mtime_ns
    monkeypatch.setattr("subprocess.run", lambda *_: pytest.fail("built again"))
    kernels(network, [STREAMS["value"]])
    assert os.stat(made).st_mtime_ns == before
