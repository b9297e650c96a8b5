"""A network of space that evolves: its speed, its steps, what it is between them, and runs that are cut."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from conftest import Cli
from training import fit, whole_and_resumed

import pinntk
from pinntk.methods.evolve import Evolve
from pinntk.methods.evolving import hermite
from pinntk.network import NetworkSettings
from pinntk.network.settings import DecayFeature, Feature, PeriodicFeature
from pinntk.network.streams import Operator
from pinntk.pdes.base import PDE, Term
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.convection import Convection
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.reaction import Reaction
from pinntk.residual.points import PointSettings

POINTS = PointSettings(interior=60, by_residual=0.3)


def make(pde: PDE, *, width: int = 6, points: PointSettings = POINTS, seed: int = 0, **settings: Any) -> Evolve:
    network = NetworkSettings(width=width, depth=2, hard=True)
    return Evolve(pde, network, points, Evolve.Settings.model_validate(settings), seed=seed)


def test_hermite_reproduces_cubics() -> None:
    """And all their derivatives, on an interval anywhere."""
    cubic = np.polynomial.Polynomial([0.3, -1.2, 0.7, 2.1])
    start, h = 1.7, torch.full((9,), 0.4, dtype=torch.float64)
    s = torch.linspace(0, 1, 9, dtype=torch.float64)
    ends = [cubic(start), cubic.deriv()(start), cubic(start + 0.4), cubic.deriv()(start + 0.4)]
    for order in range(4):
        expected = (cubic.deriv(order) if order else cubic)(start + 0.4 * s.numpy())
        found = hermite(s, h, order).T @ torch.tensor(ends, dtype=torch.float64)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-11, atol=1e-11)


def test_speed_against_dense_numpy() -> None:
    """theta' by numpy's SVD, from values and derivatives by nested automatic differentiation."""
    nu, damping = 0.1, 1e-4
    method = make(Burgers(nu=nu), damping=damping)
    network = method.network
    network.assign(network.vector() + 0.3 * torch.randn(method.parameters_count, dtype=torch.float64))
    start = network.vector().clone()
    method.start(None)
    network.assign(start + 0.2 * torch.randn(len(start), dtype=torch.float64))
    method._now = None
    method.iteration = 3
    with torch.no_grad():
        x = method.points_of(3)

    def raw(x: torch.Tensor) -> torch.Tensor:
        h = torch.cos(math.pi * x)[:, None]
        for layer in list(network.layers)[:-1]:
            h = torch.tanh(layer(h))
        found: torch.Tensor = list(network.layers)[-1](h)[:, 0]
        return found

    theta = network.vector()
    leaf = x[:, 0].clone().requires_grad_()
    network.assign(start)
    before = -torch.sin(math.pi * leaf) - torch.sin(math.pi * leaf) * raw(leaf)
    b_x = torch.autograd.grad(before.sum(), leaf, create_graph=True)[0]
    b_xx = torch.autograd.grad(b_x.sum(), leaf)[0]
    before, b_x = before.detach(), b_x.detach()
    network.assign(theta)
    after = torch.sin(math.pi * leaf) * raw(leaf)
    a_x = torch.autograd.grad(after.sum(), leaf, create_graph=True)[0]
    a_xx = torch.autograd.grad(a_x.sum(), leaf, create_graph=True)[0]
    u, u_x, u_xx = (b + a.detach() for b, a in ((before, after), (b_x, a_x), (b_xx, a_xx)))
    F = (nu * u_xx - u * u_x).numpy()
    rows = [torch.autograd.grad(v, list(network.parameters()), retain_graph=True) for v in after]
    J = np.array([torch.cat([g.flatten() for g in row]).numpy() for row in rows])
    mu = damping * (J**2).sum() / J.shape[1]
    A = np.vstack([J, math.sqrt(mu) * np.eye(J.shape[1])])
    expected = np.linalg.lstsq(A, np.concatenate([F, np.zeros(J.shape[1])]), rcond=None)[0]
    with torch.no_grad():
        found = method.linearization().speed.numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def test_order_in_the_step() -> None:
    """Convection, sin(x - t), which the tangent space of an almost linear network holds: order 3."""
    errors = []
    for steps in (5, 10, 20):
        method = make(Convection(beta=3.0), damping=1e-10, fixed_step=1 / steps, corrections=6)
        first, *_, last = (p for p in method.network.parameters() if p.ndim == 2)
        with torch.no_grad():  # where hidden layers are small and stay so, they are linear
            first.mul_(1e-3)
            last.mul_(1e3)
        fit(method)
        assert (method.iteration, method.time) == (steps, 1.0)
        x = np.stack([np.linspace(0, 2 * math.pi, 40), np.ones(40)], axis=1)
        errors.append(np.abs(method.network.predict(x) - np.sin(x[:, 0] - 3.0)).max())
    for coarse, fine in pairwise(errors):
        assert 2.4 < math.log2(coarse / fine) < 3.6
    assert errors[-1] < 2e-3


def test_between_the_knots_it_is_a_cubic_in_time() -> None:
    """Through values and speeds at the knots; derivatives are those of what it is, by automatic differentiation."""
    method = make(Burgers(nu=0.1), steps=4)
    fit(method)
    assert (method.iteration, method.finished) == (4, True)
    network, times, theta, speed = method.network, method.knots.times, method.knots.theta, method.knots.speed
    assert times is not None
    assert theta is not None
    assert speed is not None
    x = torch.tensor([-0.7, -0.1, 0.4], dtype=torch.float64)
    at = [torch.stack([x, torch.full_like(x, float(t))], dim=1) for t in times]
    streams = network.wanting("u", "u_t", "u_x", "u_xx", "u_xt")
    for k, points in enumerate(at):
        now = network.vector()
        values = []
        for direction in (0.0, 1e-5, -1e-5):
            network.assign(theta[k] + direction * speed[k])
            inner = network.spatial("u")
            inputs = network.inputs_of(points[:, :1], inner)
            values.append(network.values_at(inputs, inner, network.origin(inputs, inner))[0].detach())
        network.assign(now)
        found = network.streams(points, streams)
        torch.testing.assert_close(found["u"], values[0], rtol=1e-12, atol=1e-12)
        # Behind the last knot, and so at it from the right, it stays what it was; the cubic ends with its speed there.
        torch.testing.assert_close(found["u_t"], (values[1] - values[2]) / 2e-5, rtol=1e-6, atol=1e-6)
    middle = torch.stack([x, torch.full_like(x, float(times[2:4].mean()))], dim=1)
    step, length = 1e-4, float(times[3] - times[2])

    def value(dx: float, dt: float) -> torch.Tensor:
        moved = middle + torch.tensor([dx, dt * length], dtype=torch.float64)
        return network.streams(moved, network.value)["u"]

    h = step * length
    found = network.streams(middle, streams)
    first = {
        "u_x": (value(step, 0) - value(-step, 0)) / (2 * step),
        "u_t": (value(0, step) - value(0, -step)) / (2 * h),
    }
    for name, expected in first.items():
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-5)
    mixed = value(step, step) - value(step, -step) - value(-step, step) + value(-step, -step)
    torch.testing.assert_close(found["u_xt"], mixed / (4 * step * h), rtol=1e-4, atol=1e-4)
    second = value(step, 0) - 2 * value(0, 0) + value(-step, 0)
    torch.testing.assert_close(found["u_xx"], second / step**2, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pde", [Convection(beta=2.0), Reaction(rho=2.0), Burgers(nu=0.2)], ids=lambda pde: pde.name)
def test_it_comes_near_the_solution(pde: PDE) -> None:
    method = make(pde, width=10, points=PointSettings(interior=150))
    fit(method)
    assert method.time == 1.0
    reference = pde.reference()
    assert reference is not None
    u = method.network.predict(pde.evaluation_points())
    assert np.linalg.norm(u - reference.values) < 2e-2 * np.linalg.norm(reference.values)
    first = pde.evaluation_points()[:, 1] == 0
    np.testing.assert_allclose(u[first], reference.values[first], rtol=0, atol=1e-12)
    assert method.losses()["residual"] == method.losses()["loss"] > 0
    assert "warning" not in method.figures(reference)


class Free(PDE):
    """``i h_t = -h_xx`` for h = u + i v on a circle: ``h = exp(-i t) cos x``; u and v stand in both equations."""

    name: ClassVar[str] = "free"
    fields: ClassVar[tuple[str, ...]] = ("u", "v")
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (2 * math.pi, 1.0)

    def terms(self) -> tuple[Term, ...]:
        u, v = {"u_t": 1.0, "v_xx": 1.0}, {"v_t": 1.0, "u_xx": -1.0}
        both, one = Operator("B", u | v), Operator("D", u | {name: -2 * factor for name, factor in v.items()})
        return (
            Term("sum", "interior", (both,), lambda s: s["B"]),
            Term("difference", "interior", (one,), lambda s: s["D"]),
        )

    def lift(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.cos(x[:, 0]), torch.zeros_like(x[:, 0])], dim=1)

    def factor(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 1]

    def inputs(self) -> list[Feature]:
        return [PeriodicFeature(kind="periodic", input="x", period=2 * math.pi, replace=True)]


def test_two_fields_come_near_the_solution() -> None:
    """And the derivatives of either in space and time are those of ``exp(-i t) cos x``."""
    method = make(Free(), width=8, points=PointSettings(interior=120), damping=1e-10, tolerance=1e-5)
    fit(method)
    assert method.time == 1.0
    assert set(method.losses()) == {"loss", "sum", "difference"}
    x = torch.linspace(0, 2 * math.pi, 60, dtype=torch.float64)
    points = torch.stack([x, torch.linspace(0.0, 0.99, 60, dtype=torch.float64)], dim=1)
    t = points[:, 1]
    exact = {
        "u": torch.cos(t) * torch.cos(x),
        "v": -torch.sin(t) * torch.cos(x),
        "u_x": -torch.cos(t) * torch.sin(x),
        "v_xx": torch.sin(t) * torch.cos(x),
        "u_t": -torch.sin(t) * torch.cos(x),
        "v_t": -torch.cos(t) * torch.cos(x),
    }
    found = method.network.streams(points, method.network.wanting(*exact))
    for name, expected in exact.items():
        torch.testing.assert_close(found[name], expected, rtol=0, atol=2e-3, msg=name)
    both = method.network.predict(points.numpy())
    np.testing.assert_allclose(both, np.stack([exact["u"], exact["v"]], axis=1), rtol=0, atol=2e-4)


def test_speed_of_two_fields_against_dense_numpy() -> None:
    """theta' by numpy's SVD, of values and second derivatives by nested automatic differentiation."""
    damping = 1e-3
    method = make(Free(), damping=damping)
    network = method.network
    start = network.vector().clone()
    method.start(None)
    network.assign(start + 0.3 * torch.randn(len(start), dtype=torch.float64))
    method._now, method.iteration = None, 3
    with torch.no_grad():
        x = method.points_of(3)
        found = method.linearization().speed.numpy()

    def raw(x: torch.Tensor) -> torch.Tensor:
        h = torch.stack([torch.sin(x), torch.cos(x)], dim=1)
        for layer in list(network.layers)[:-1]:
            h = torch.tanh(layer(h))
        values: torch.Tensor = list(network.layers)[-1](h)
        return values

    def bends() -> tuple[torch.Tensor, torch.Tensor]:
        """N and N_xx, (N, 2), at the parameters that it has."""
        leaf = x[:, 0].clone().requires_grad_()
        values, columns = raw(leaf), []
        for column in values.unbind(1):
            slope = torch.autograd.grad(column.sum(), leaf, create_graph=True)[0]
            columns.append(torch.autograd.grad(slope.sum(), leaf, create_graph=True)[0].detach())
        return values, torch.stack(columns, dim=1)

    theta = network.vector()
    network.assign(start)
    _, before = bends()
    network.assign(theta)
    values, after = bends()
    u_xx, v_xx = (-torch.cos(x[:, 0]) + (after - before)[:, 0]).numpy(), (after - before)[:, 1].numpy()
    rows = [
        torch.autograd.grad(value, list(network.parameters()), retain_graph=True, materialize_grads=True)
        for column in values.unbind(1)
        for value in column
    ]
    J = np.array([torch.cat([g.flatten() for g in row]).numpy() for row in rows])
    mu = damping * (J**2).sum() / J.shape[1]
    A = np.vstack([J, math.sqrt(mu) * np.eye(J.shape[1])])
    wanted = np.concatenate([-v_xx, u_xx, np.zeros(J.shape[1])])
    expected = np.linalg.lstsq(A, wanted, rcond=None)[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def test_walls_hold_exactly() -> None:
    method = make(Heat2D(), steps=3, tolerance=1e-2)
    fit(method)
    points = np.array([[0.0, 0.3, 1e-4], [1.0, 0.7, 1e-3], [0.2, 0.0, 1e-3], [0.6, 1.0, 5.0], [0.25, 0.4, 1e-3]])
    np.testing.assert_allclose(method.network.predict(points), 0, rtol=0, atol=1e-12)
    inside = np.array([[0.1, 0.3, 0.0], [0.1, 0.3, method.time]])
    before, after = method.network.predict(inside)
    assert abs(before - math.sin(0.4 * math.pi) * math.sin(0.9 * math.pi)) < 1e-12
    assert abs(after - before) > 1e-5


@pytest.mark.parametrize("cut", [1, 7])
def test_resumed_bit_for_bit(cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, resumed = whole_and_resumed(lambda: make(Burgers(nu=0.1), steps=12, log_every=5), cut, tmp_path, monkeypatch)
    for name in ("times", "theta", "speed"):
        one, other = getattr(whole.knots, name), getattr(resumed.knots, name)
        assert len(one) == 13
        assert torch.equal(one, other)
    assert whole.state() == resumed.state()


def test_two_fields_resumed_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, resumed = whole_and_resumed(lambda: make(Free(), steps=6, log_every=4), 3, tmp_path, monkeypatch)
    assert whole.knots.theta is not None
    assert resumed.knots.theta is not None
    assert torch.equal(whole.knots.theta, resumed.knots.theta)
    assert whole.state() == resumed.state()


def test_what_does_not_go_together() -> None:
    with pytest.raises(ValueError, match=r"network\.hard=false: evolve .* allowed is network=hard"):
        Evolve.check_network(Burgers(), NetworkSettings())
    decay = DecayFeature(kind="decay", input="t", times=[1.0])
    with pytest.raises(ValueError, match="input=t: allowed are x"):
        Evolve.check_network(Burgers(), NetworkSettings(hard=True, features=[decay]))
    with pytest.raises(ValueError, match=r"method\.weights: evolve has one term"):
        Evolve.check(Burgers(), Evolve.Settings(weights={"initial": 2.0}), None)
    with pytest.raises(ValueError, match=r"points\.sampling=grid"):
        Evolve.check_points(PointSettings(sampling="grid"))


def test_a_run_from_the_command_line(cli: Cli) -> None:
    """It says that it did not reach the end, and what is loaded predicts what was drawn."""
    words = ["pde=convection", "method=evolve", "budget=smoke", "threads=1", "width=6", "method.steps=5", "logger=csv"]
    ended = cli(*words)
    assert ended.code == 0, ended.err
    folder = cli.run_folder()
    result = json.loads((folder / "result.json").read_text())
    assert (result["status"], result["steps"]) == ("completed", 5)
    figures = result["method_figures"]
    assert 0 < figures["time"] < figures["end"] == 1.0
    assert figures["warning"].startswith("method.steps=5 ended the run at t = 0.0")
    with np.load(folder / "solution.npz") as saved:
        prediction = saved["prediction"].ravel()
    run = pinntk.load(folder)
    found = run.predict(run.pde.evaluation_points())
    np.testing.assert_array_equal(found, prediction)
    assert run.derivatives([[0.5, 0.0]], "u_x")["u_x"][0] == pytest.approx(math.cos(0.5), abs=1e-12)
    refused = cli("pde=wave", "method=evolve", "network=hard", "budget=smoke")
    assert refused.code == 2
    assert "pde=wave has an equation with 'u_tt'" in refused.err
