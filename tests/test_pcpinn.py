"""pcpinn against dense matrices, on a grid small enough for them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from training import fit, parameters

from pinntk.callbacks import TimedCheckpoint
from pinntk.methods.base import NonFiniteLoss
from pinntk.methods.pcpinn import PCPINN, rms
from pinntk.network import NetworkSettings
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.heat2d_discrete import Heat2DDiscretization
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.points import PointSettings
from pinntk.references import Reference

MILD = Heat2D(k=0.02)
"""So slow a reaction that a coarse grid resolves it, and not so slow that it is linear."""
EXACT = Heat2DDiscretization(cells=5, time_steps=6, space="order4", growth=None, drop_tolerance=0.0, clip=None)
"""P is the Jacobian."""


def make(discretization: Heat2DDiscretization = EXACT, precision: str = "64-true", **settings: Any) -> PCPINN:
    return PCPINN(
        MILD,
        NetworkSettings(width=6, depth=2),
        PointSettings(),
        PCPINN.Settings.model_validate({"steps": 40, "log_every": 15, "batch": 64, **settings}),
        discretization=discretization,
        precision=precision,
    )


def dense(method: PCPINN, u: Tensor) -> Tensor:
    """R'(u) as a matrix, by automatic differentiation."""
    shape = method.problem.shape
    jacobian = torch.autograd.functional.jacobian(
        lambda v: method.problem.residual(v.reshape(shape)).ravel(), u.ravel()
    )
    assert isinstance(jacobian, Tensor)
    return jacobian


def network_values(method: PCPINN) -> Tensor:
    values: Tensor = method.network(torch.from_numpy(method.problem.nodes)).detach()
    return values


def test_direct_form_is_the_preconditioned_loss_and_descends_its_gradient() -> None:
    method = make(form="direct")
    u = network_values(method)
    inverse = torch.linalg.inv(dense(method, u))

    def loss(values: Tensor) -> Tensor:
        residual = method.problem.residual(values.reshape(method.problem.shape)).ravel()
        mean: Tensor = (inverse @ residual).square().mean()
        return mean

    names = dict(method.network.named_parameters())
    nodes = torch.from_numpy(method.problem.nodes)
    expected = torch.func.grad(lambda p: loss(functional_call(method.network, p, (nodes,))))(names)

    method.start(None)
    method._refresh()
    method._step()
    assert method.losses()["loss"] != pytest.approx(float(loss(u)), rel=1e-6)  # the step has moved the network
    for name, parameter in names.items():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-9, atol=1e-11)


def test_direct_loss_is_measured_on_the_whole_grid() -> None:
    method = make(form="direct")
    method.start(None)
    method._refresh()
    u = network_values(method)
    residual = method.problem.residual(u.reshape(method.problem.shape)).ravel()
    expected = float(torch.linalg.solve(dense(method, u), residual).square().mean())
    assert method.losses() == pytest.approx({"loss": expected, "preconditioned": expected}, rel=1e-10)


def test_target_is_one_newton_step_from_the_network() -> None:
    # With the initial level right, one sweep of one window from the network's values is u - R'(u)^-1 R(u).
    method = make(EXACT.model_copy(update={"sweeps": 1, "window": 6}))
    method.start(None)
    method._refresh()
    u = network_values(method).reshape(method.problem.shape).clone()
    u[0] -= method.problem.residual(u)[0]
    residual = method.problem.residual(u).ravel()
    expected = u.ravel() - torch.linalg.solve(dense(method, u), residual)
    torch.testing.assert_close(method.target, expected, rtol=1e-10, atol=1e-11)


def test_regression_is_on_the_target_at_the_drawn_nodes() -> None:
    method = make()
    method.start(None)
    method._refresh()
    drawn = method._draw()
    before = network_values(method)
    expected = float((before[drawn] - method.target[drawn]).square().mean())
    assert float(method._step()) == pytest.approx(expected, rel=1e-12)
    assert not torch.equal(drawn, method._draw())  # another iteration, other nodes
    every = torch.cat([method._draw() for method.iteration in range(200)])
    assert len(every.unique()) == len(method.nodes)


def test_it_comes_nearer_to_the_discrete_solution_and_says_what_that_is_worth() -> None:
    settings = EXACT.model_copy(update={"time_steps": 50, "cells": 10})
    method = make(settings, steps=200, log_every=200, adam={"learning_rate": 0.01})
    solution = method.problem.solve()
    assert np.abs(method.problem.residual(torch.from_numpy(solution)).numpy()).max() <= settings.tolerance
    before = rms(method.values() - solution)
    fit(method)
    assert rms(method.values() - solution) < 0.8 * before

    # Measured against the discrete solution itself, the discrete solution has no error and zero has 100 %.
    points = MILD.evaluation_points()
    figures = method.figures(Reference(method.problem.interpolate(solution, points), 0.0))
    assert figures["discrete_l2re"] == pytest.approx(0, abs=1e-12)
    assert figures["network_to_discrete"] == pytest.approx(rms(method.values() - solution) / rms(solution), rel=1e-12)
    zero = torch.zeros(method.problem.shape, dtype=torch.float64)
    linear = -torch.linalg.solve(dense(method, zero), method.problem.residual(zero).ravel()).numpy()
    applied = method.problem.interpolate(linear.reshape(method.problem.shape), points)
    exact = method.problem.interpolate(solution, points)
    assert figures["ilu_l2re"] == pytest.approx(np.linalg.norm(applied - exact) / np.linalg.norm(exact), rel=1e-9)
    assert [refresh["iteration"] for refresh in figures["refreshes"]] == [0]
    assert figures["refreshes"][0]["residual_left"] <= settings.tolerance
    assert 0 < figures["share_of_training_time"] < 1


@pytest.mark.parametrize("form", ["lagged", "direct"])
@pytest.mark.parametrize("cut", [1, 20])
def test_cut_and_resumed_in_single_precision_is_uninterrupted(form: str, cut: int, tmp_path: Path) -> None:
    precision = "32-true"

    def method() -> PCPINN:
        return make(precision=precision, form=form, refresh_every=10)

    whole = method()
    fit(whole, precision=precision)

    first, path = method(), tmp_path / "last.ckpt"
    step = first._step

    def watched() -> Tensor:
        if first.iteration == cut - 1:
            first.stop_requested = True
        return step()

    first._step = watched  # type: ignore[method-assign]
    fit(first, [TimedCheckpoint(path, 1e9)], precision=precision)
    assert first.iteration == cut
    resumed = method()
    fit(resumed, resume=path, precision=precision)
    assert resumed.iteration == 40
    assert torch.equal(parameters(resumed), parameters(whole))
    assert resumed.losses() == whole.losses()
    assert [r["iteration"] for r in resumed.refreshes] == [0, 10, 20, 30]


def test_a_network_that_is_not_finite_ends_the_run_at_a_refresh() -> None:
    method = make(refresh_every=3, log_every=40)
    method.start(None)
    step = method._step

    def breaks() -> Tensor:
        loss = step()
        if method.iteration == 6:
            torch.nn.init.constant_(method.network.layers[0].weight, np.nan)  # type: ignore[arg-type]
        return loss

    method._step = breaks  # type: ignore[method-assign]
    with pytest.raises(NonFiniteLoss) as raised:
        method.advance(40)
    assert (raised.value.iteration, raised.value.term) == (6, "preconditioned")


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="pde=poisson1d has no discrete form"):
        PCPINN.check(Poisson1D(), PCPINN.Settings(), None)
    with pytest.raises(ValueError, match="discretization=null"):
        PCPINN.check(MILD, PCPINN.Settings(), None)
    with pytest.raises(ValueError, match=r"method\.weights"):
        PCPINN.check(MILD, PCPINN.Settings(weights={"initial": 2.0}), EXACT)
