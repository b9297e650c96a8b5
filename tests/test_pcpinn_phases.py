"""GDND, natural gradient and self-scaled Broyden on the preconditioned residual: loss, step, and runs that are cut."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_pcpinn import NAMES, tiny
from torch import Tensor
from torch.func import functional_call, jacrev
from training import fit, parameters, stop_at, whole_and_resumed

from pinntk.callbacks import TimedCheckpoint
from pinntk.methods.pcpinn import PCPINNGDND, PCPINNNaturalGradient, PCPINNSSBroyden, PreconditionedPlan
from pinntk.network import NetworkSettings
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.heat2d_discrete import Heat2DDiscretization
from pinntk.residual.points import PointSettings, redrawn

LINEAR = ("convection", "wave")


def made(
    kind: type[PreconditionedPlan],
    name: str = "reaction",
    points: dict[str, Any] | None = None,
    discretization: dict[str, Any] | None = None,
    **settings: Any,
) -> Any:
    pde, grid = tiny(name)
    steps: dict[str, Any] = {"adam": {"steps": 6}}
    if kind is PCPINNGDND:
        steps |= {"lbfgs": {"steps": 6}, "nncg": {"steps": 6, "rank": 9, "resample_every": 2}}
    elif kind is PCPINNSSBroyden:
        steps["ssbroyden"] = {"steps": 6, "resample_every": 4}
    else:
        steps["natural_gradient"] = {"steps": 6, "resample_every": 4}
    return kind(
        pde,
        NetworkSettings(width=6, depth=2),
        PointSettings.model_validate(points or {"resample_every": 2}),
        kind.Settings.model_validate({"log_every": 5, "batch": 64, **steps, **settings}),
        discretization=grid.model_copy(update=discretization),
        seed=3,
    )


KINDS = (PCPINNGDND, PCPINNNaturalGradient, PCPINNSSBroyden)
kinds = pytest.mark.parametrize("kind", KINDS)


def picked(method: Any) -> Tensor:
    """The numbers of the nodes of the current draw."""
    nodes = torch.from_numpy(method.objective.problem.nodes)
    points = method.objective.batches["interior"].points
    return torch.cdist(points, nodes).argmin(dim=1)


def ready(kind: type[PreconditionedPlan], *arguments: Any, **settings: Any) -> Any:
    """One before its first step."""
    method = made(kind, *arguments, **settings)
    method.start(None)
    method.refresh()
    method.renew()
    return method


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_the_distance_to_the_corrected_values(name: str) -> None:
    method = ready(PCPINNNaturalGradient, name)
    target = method.objective.problem.apply(method.objective.values()).values.reshape(-1)
    rows = picked(method)
    with torch.no_grad():
        u = method.network(torch.from_numpy(method.objective.problem.nodes))[rows]
    expected = float((u - torch.from_numpy(target)[rows]).square().mean())
    assert float(method.objective.losses()[1]) == pytest.approx(expected, rel=1e-9)
    if name in LINEAR:  # one correction of an exact P: u - v = P^-1 R(u)
        u_all = torch.from_numpy(method.objective.values())
        residual = method.objective.problem.residual(u_all).numpy()
        applied = method.objective.problem.linearize(method.objective.values()).solve(residual).reshape(-1)
        assert expected == pytest.approx(float(np.mean(applied[rows.numpy()] ** 2)), rel=1e-6)


def test_a_step_is_a_dense_damped_gauss_newton_step_on_the_values() -> None:
    settings: dict[str, Any] = {"adam": {"steps": 0}, "natural_gradient": {"steps": 1, "damping": 0.5, "decrease": 2.0}}
    method = ready(PCPINNNaturalGradient, **settings)
    theta, rows, batches = parameters(method), picked(method), method.objective.batches
    names = dict(method.network.named_parameters())
    points = batches["interior"].points

    def u(values: dict[str, Tensor]) -> Tensor:
        found: Tensor = functional_call(method.network, values, (points,))
        return found

    found = jacrev(u)({name: p.detach() for name, p in names.items()})
    root = np.sqrt(2 / len(rows))
    J = root * torch.cat([found[name].flatten(1) for name in names], dim=1)
    r = root * (method.network(points).detach() - method.objective.nodes.target[rows])
    below = 0.5**0.5 * torch.eye(J.shape[1], dtype=torch.float64)
    expected = torch.linalg.lstsq(torch.cat([J, below]), torch.cat([-r, torch.zeros(J.shape[1])])[:, None]).solution
    method.advance(1)
    torch.testing.assert_close(parameters(method) - theta, expected[:, 0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_a_latin_hypercube_takes_every_line_of_the_grid_equally_often(name: str) -> None:
    method = made(PCPINNSSBroyden, name, points={"sampling": "latin_hypercube"})
    nodes = method.objective.problem.nodes
    n = 2 * math.lcm(*method.objective.problem.axes)
    drawn = method.objective.nodes.numbers(n, 0)
    assert not torch.equal(drawn, method.objective.nodes.numbers(n, 1))
    assert torch.equal(drawn, method.objective.nodes.numbers(n, 0))
    for axis in nodes[drawn.numpy()].T:
        _, counts = np.unique(axis, return_counts=True)
        assert (counts == n // len(counts)).all()
    assert [len(np.unique(axis)) for axis in nodes[drawn.numpy()].T] == [len(np.unique(axis)) for axis in nodes.T]


def test_sobol_points_of_a_power_of_two_take_every_node_once() -> None:
    grid = {"cells": 31, "time_steps": 15}  # 16 x 32 nodes: the elementary intervals of 512 points
    method = made(PCPINNSSBroyden, "burgers", points={"sampling": "sobol"}, discretization=grid)
    assert method.objective.problem.axes == (16, 32)
    draws = [method.objective.nodes.numbers(512, draw) for draw in range(2)]
    assert not torch.equal(*draws)
    for drawn in draws:
        assert torch.equal(drawn.sort().values, torch.arange(512))


@kinds
@pytest.mark.parametrize(("form", "expected"), [("direct", [0, 5, 10]), ("applied", [0, 5, 10]), ("solved", [0])])
def test_targets_and_linearisations_are_renewed_through_all_phases(
    kind: type[PreconditionedPlan], form: str, expected: list[int]
) -> None:
    phases = 3 if kind is PCPINNGDND else 2
    method = made(kind, form=form, refresh_every=5)
    fit(method)
    expected = [*expected, *([15] if phases == 3 and form != "solved" else [])]
    assert [refresh["iteration"] for refresh in method.objective.refreshes] == expected
    figures = method.figures(method.pde.reference())
    assert [phase["iterations"] for phase in figures["phases"]] == [6] * phases
    assert (0 < figures["discrete_l2re"] < 1) if form == "solved" else ("discrete_l2re" not in figures)
    assert figures["refreshes"] == method.objective.refreshes


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_of_the_direct_loss_are_those_of_automatic_differentiation(name: str) -> None:
    """Gradient, Jacobian, Gauss-Newton matrix and Hessian of mean (P^-1 R(u_theta))^2, P held."""
    method = ready(PCPINNGDND, name, form="direct", refresh_every=1)
    fit(method)  # away from the start
    method.objective.refreshes.clear()
    method.refresh()
    names = {key: p.detach() for key, p in method.network.named_parameters()}
    nodes, shape = torch.from_numpy(method.objective.problem.nodes), method.objective.problem.shape
    u = torch.from_numpy(method.objective.values())
    size = u.numel()
    jacobian = torch.autograd.functional.jacobian(method.objective.problem.residual, u).reshape(size, size)
    inverse = torch.linalg.inv(jacobian)  # the factors are exact, and P is linearised here

    def y(values: dict[str, Tensor]) -> Tensor:
        grid = functional_call(method.network, values, (nodes,)).reshape(shape)
        found: Tensor = inverse @ method.objective.problem.residual(grid).flatten()
        return found

    def flat(found: dict[str, Tensor], *lead: int) -> Tensor:
        return torch.cat([found[key].reshape(*lead, -1) for key in names], dim=-1)

    rows = flat(jacrev(y)(names), size)
    theta = torch.cat([p.flatten() for p in names.values()])
    sizes = [p.numel() for p in names.values()]

    def loss(vector: Tensor) -> Tensor:
        parts = zip(names.items(), vector.split(sizes), strict=True)
        return y({key: part.view_as(p) for (key, p), part in parts}).square().mean()

    hessian = torch.autograd.functional.hessian(loss, theta)
    objective = method.objective
    losses, gradient = objective.gradient()
    torch.testing.assert_close(losses[0], loss(theta), rtol=1e-8, atol=0)
    expected = 2 / size * rows.T @ y(names)
    torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-9 * float(expected.abs().max()))
    scale = float(hessian.abs().max())
    gauss_newton = 2 / size * rows.T @ rows
    found = objective.curvature("gauss_newton").dense()
    torch.testing.assert_close(found, gauss_newton, rtol=1e-7, atol=1e-8 * scale)
    v = torch.linspace(-1, 1, len(theta), dtype=torch.float64)
    found = objective.curvature("hessian") @ v
    torch.testing.assert_close(found, hessian @ v, rtol=1e-6, atol=1e-7 * scale)
    found = objective.curvature("remainder") @ v
    torch.testing.assert_close(found, (hessian - gauss_newton) @ v, rtol=1e-6, atol=1e-7 * scale)
    torch.testing.assert_close(objective.traces(), rows.square().sum()[None] / size, rtol=1e-7, atol=0)
    losses, r, factored = objective.jacobian()
    torch.testing.assert_close(losses, loss(theta).repeat(2), rtol=1e-8, atol=0)
    root = math.sqrt(2 / size)
    atol = 1e-9 * float(rows.abs().max())
    torch.testing.assert_close(r, root * y(names), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(objective.residuals(), r)
    torch.testing.assert_close(factored.dense(), root * rows, rtol=1e-7, atol=atol)
    torch.testing.assert_close(factored.matvec(v), root * rows @ v, rtol=1e-7, atol=100 * atol)
    torch.testing.assert_close(factored.rmatvec(r), root * rows.T @ r, rtol=1e-7, atol=100 * atol)
    torch.testing.assert_close(factored.gram(), root**2 * rows @ rows.T, rtol=1e-6, atol=100 * atol)


@kinds
def test_a_new_target_is_for_the_same_nodes(kind: type[PreconditionedPlan]) -> None:
    method = ready(kind, refresh_every=1, points={"resample_every": 50})
    before, nodes = method.objective.nodes.target.clone(), picked(method)
    with torch.no_grad():
        next(method.network.parameters()).add_(0.1)
    method.iteration += 1
    seen = method.objective.version
    method.refresh()
    method.renew()
    assert method.objective.version == seen + 1  # optimisers know that the loss is another
    assert torch.equal(picked(method), nodes)
    ((target,),) = method.objective.batches["interior"].fields
    assert torch.equal(target, method.objective.nodes.target[nodes])
    assert not torch.equal(method.objective.nodes.target, before)


@pytest.mark.parametrize("cut", [1, 5, 7, 11])
@pytest.mark.parametrize("form", ["direct", "solved"])
@kinds
def test_cut_and_resumed_in_another_form_it_is_the_same(
    kind: type[PreconditionedPlan], form: str, cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, first, resumed = (made(kind, form=form, refresh_every=4) for _ in range(3))
    fit(whole)
    stop_at(first, cut, monkeypatch)
    fit(first, [TimedCheckpoint(tmp_path / "last.ckpt", 1e9)])
    assert first.iteration == cut
    fit(resumed, resume=tmp_path / "last.ckpt")
    assert torch.equal(parameters(resumed), parameters(whole))
    assert resumed.losses() == whole.losses()


@pytest.mark.parametrize("cut", [1, 5, 6, 7, 9, 11])
@kinds
def test_cut_and_resumed_it_is_the_same(
    kind: type[PreconditionedPlan], cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, resumed = whole_and_resumed(lambda: made(kind), cut, tmp_path, monkeypatch)
    assert resumed.losses() == whole.losses()
    assert [r["iteration"] for r in resumed.objective.refreshes] == [r["iteration"] for r in whole.objective.refreshes]


@kinds
def test_it_comes_close_to_the_discrete_solution(kind: type[PreconditionedPlan]) -> None:
    # A quasi-Newton step costs one gradient, and is worth less than one that solves with J^T J.
    longer: dict[str, Any] = {"ssbroyden": {"steps": 20}} if kind is PCPINNSSBroyden else {}
    method = ready(kind, **longer)
    start = method.losses()["loss"]
    method = made(kind, **longer)
    fit(method)
    assert method.losses()["loss"] < 0.1 * start


def test_weights_are_refused() -> None:
    pde, discretization = tiny("reaction")
    settings = PCPINNGDND.Settings.model_validate({"weights": {"preconditioned": 2.0}})
    with pytest.raises(ValueError, match=r"method.weights: pcpinn_gdnd has one term"):
        PCPINNGDND.check(pde, settings, discretization)


@kinds
def test_nodes_by_residual_are_the_worst_of_many(kind: type[PreconditionedPlan]) -> None:
    method = ready(kind, points={"by_residual": 0.25})
    first = picked(method)
    assert torch.equal(first, method.objective.nodes.numbers(64, 0))  # there is nothing to go by yet
    # Humps of two heights on a fortieth of the grid each, and nothing else has a residual.
    size = np.zeros(method.objective.problem.nodes.shape[0])
    size[::40], size[1::40] = 3.0, -1.0
    method.objective._prepare(method.objective.values() - size.reshape(method.objective.problem.shape))
    method._first_draw = 1
    method.renew()
    drawn = picked(method)
    assert torch.equal(drawn[:48], method.objective.nodes.numbers(64, 1)[:48])
    among = method.objective.nodes.numbers(1024, 1, 1).numpy()
    on_a_level = np.count_nonzero(method.objective.problem.nodes[:, -1] == 0)
    among[:16] %= on_a_level
    assert (method.objective.problem.nodes[among[:16], -1] == 0).all()
    expected = redrawn(method.objective.nodes.numbers(64, 1).numpy(), among, np.abs(size)[among], 16, seed=3, draw=1)
    assert set(expected[48:] % 40) == {0, 1}
    assert drawn.tolist() == expected.tolist()


@pytest.mark.parametrize(("kind", "cut"), [*itertools.product(KINDS, [3, 5, 8, 11]), (PCPINNGDND, 15)])
def test_cut_and_resumed_the_nodes_by_residual_are_the_same(
    kind: type[PreconditionedPlan], cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {"by_residual": 0.5, "sampling": "sobol", "resample_every": 2}
    whole, resumed = whole_and_resumed(lambda: made(kind, points=points), cut, tmp_path, monkeypatch)
    assert resumed.losses() == whole.losses()


@pytest.mark.parametrize("kind", [PCPINNGDND, PCPINNSSBroyden])
def test_cut_and_resumed_in_images_it_is_the_same(
    kind: type[PreconditionedPlan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside the second phase, whose images are another draw than those of the first."""
    grid = Heat2DDiscretization(cells=8, time_steps=4)

    def make() -> Any:
        steps: dict[str, Any] = {"adam": {"steps": 3}, "form": "direct", "log_every": 5}
        steps |= {"lbfgs": {"steps": 8}, "nncg": {"steps": 0}} if kind is PCPINNGDND else {"ssbroyden": {"steps": 8}}
        network = NetworkSettings(width=6, depth=2)
        return kind(
            Heat2D(k=0.02), network, PointSettings(), kind.Settings.model_validate(steps), discretization=grid, seed=3
        )

    assert make().objective.problem.images == 8
    whole_and_resumed(make, 7, tmp_path, monkeypatch)
