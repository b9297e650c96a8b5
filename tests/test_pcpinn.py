"""pcpinn against dense matrices, for every problem on a grid small enough for them."""

from pathlib import Path
from typing import Any, ClassVar

import lines
import numpy as np
import pytest
import torch
from conftest import Cli, result_of
from matplotlib.figure import Figure
from torch import Tensor
from torch.func import functional_call
from training import fit, parameters, stop_at

from pinntk.callbacks import TimedCheckpoint
from pinntk.discrete.direct import DirectForm
from pinntk.discrete.discretization import DiscretizationSettings
from pinntk.discrete.nodes import NodeDraws
from pinntk.discrete.objective import TargetForm
from pinntk.methods import NonFiniteLoss
from pinntk.methods.pcpinn import PCPINN
from pinntk.network import NetworkSettings
from pinntk.pdes.base import PDE
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.heat2d_discrete import Heat2DDiscretization
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.pdes.references import Reference
from pinntk.pdes.wave import Wave, WaveDiscretization
from pinntk.residual.points import PointSettings

MILD = Heat2D(k=0.02)
"""So slow a reaction that a coarse grid resolves it, and not so slow that it is linear."""
EXACT = Heat2DDiscretization(
    cells=5, time_steps=10, space="order4", growth=None, drop_tolerance=0.0, clip=None, symmetry=False, refresh=0.7
)
"""P is the Jacobian."""
FORMS = ("direct", "applied", "solved")
forms = pytest.mark.parametrize("form", FORMS)


def rms(values: np.ndarray[Any, Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def tiny(name: str) -> tuple[PDE, DiscretizationSettings]:
    """A problem, and an exact P on a tiny grid."""
    if name == "heat2d":
        return MILD, EXACT
    # Nonlinear problems are corrected level by level: over all levels at once Newton's method may go astray.
    window = 1_000_000 if name in lines.LINEAR else 1
    settings = lines.make(next(case for case in lines.CASES if case.startswith(name)), window=window).settings
    return lines.PDES[name], settings


NAMES = ["heat2d", *lines.PDES]
problems = pytest.mark.parametrize("name", NAMES)


def make(
    discretization: DiscretizationSettings = EXACT, precision: str = "64-true", pde: PDE = MILD, **settings: Any
) -> PCPINN:
    return PCPINN(
        pde,
        NetworkSettings(width=6, depth=2),
        PointSettings(),
        PCPINN.Settings.model_validate({"steps": 40, "log_every": 15, "batch": 64, **settings}),
        discretization=discretization,
        precision=precision,
    )


def made(name: str, **settings: Any) -> PCPINN:
    """One that is ready for its first step."""
    pde, discretization = tiny(name)
    method = make(discretization, pde=pde, **settings)
    begin(method)
    return method


def begin(method: PCPINN) -> None:
    """Make it ready for its first step."""
    method.start(None)
    method.refresh()
    method.renew()
    method.phases[0].start(None)


def target_of(method: PCPINN) -> Tensor:
    """Of all nodes, (N,)."""
    assert isinstance(method.objective, TargetForm)
    return method.objective.nodes.target


def nodes_of(method: PCPINN) -> NodeDraws:
    assert isinstance(method.objective, TargetForm | DirectForm)
    return method.objective.nodes


def step(method: PCPINN) -> float:
    """The loss before a step, which is taken."""
    loss = float(method.phases[0].step(method.iteration)[0])
    method.iteration += 1
    return loss


def dense(method: PCPINN, u: Tensor) -> Tensor:
    """R'(u) as a matrix, by automatic differentiation."""
    shape = method.objective.problem.shape
    jacobian = torch.autograd.functional.jacobian(
        lambda v: method.objective.problem.residual(v.reshape(shape)).ravel(), u.ravel()
    )
    assert isinstance(jacobian, Tensor)
    return jacobian


def network_values(method: PCPINN) -> Tensor:
    values: Tensor = method.network(torch.from_numpy(method.objective.problem.nodes)).detach()
    return values


@problems
def test_direct_form_is_the_preconditioned_loss_and_descends_its_gradient(name: str) -> None:
    method = made(name, form="direct")
    u = network_values(method)
    inverse = torch.linalg.inv(dense(method, u))

    def loss(values: Tensor) -> Tensor:
        residual = method.objective.problem.residual(values.reshape(method.objective.problem.shape)).ravel()
        mean: Tensor = (inverse @ residual).square().mean()
        return mean

    names = dict(method.network.named_parameters())
    nodes = torch.from_numpy(method.objective.problem.nodes)
    expected = torch.func.grad(lambda p: loss(functional_call(method.network, p, (nodes,))))(names)

    assert step(method) == pytest.approx(float(loss(u)), rel=1e-9)
    assert method.losses()["loss"] != pytest.approx(float(loss(u)), rel=1e-6)  # the step has moved the network
    for key, parameter in names.items():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected[key], rtol=1e-8, atol=1e-10)


@problems
def test_direct_loss_is_measured_on_the_whole_grid(name: str) -> None:
    method = made(name, form="direct")
    u = network_values(method)
    residual = method.objective.problem.residual(u.reshape(method.objective.problem.shape)).ravel()
    expected = float(torch.linalg.solve(dense(method, u), residual).square().mean())
    assert method.losses() == pytest.approx({"loss": expected, "preconditioned": expected}, rel=1e-9)


def linear_solution(method: PCPINN) -> Tensor:
    """A^-1 b of ``R(u) = A u - b``."""
    zero = torch.zeros(method.objective.problem.shape, dtype=torch.float64)
    solution: Tensor = -torch.linalg.solve(dense(method, zero), method.objective.problem.residual(zero).ravel())
    return solution


@pytest.mark.parametrize("name", sorted(lines.LINEAR))
def test_for_a_linear_problem_all_forms_measure_the_distance_to_the_discrete_solution(name: str) -> None:
    """With exact factors."""
    for form in FORMS:
        method = made(name, form=form)
        solution = linear_solution(method)
        if form != "direct":
            torch.testing.assert_close(target_of(method), solution, rtol=1e-9, atol=1e-9)
        expected = float((network_values(method) - solution).square().mean())
        assert method.losses()["loss"] == pytest.approx(expected, rel=1e-8)
        assert expected > 1e-3


@problems
def test_the_solved_target_solves_the_discrete_problem_whatever_the_network(name: str) -> None:
    method = made(name, form="solved")
    target = target_of(method).reshape(method.objective.problem.shape)
    assert method.objective.problem.residual(target).abs().max() <= method.objective.problem.settings.tolerance
    np.testing.assert_array_equal(target.numpy(), method.objective.problem.solve())
    (figures,) = method.objective.refreshes
    assert "warning" not in figures
    assert method.losses()["loss"] == pytest.approx(rms(method.objective.values() - target.numpy()) ** 2, rel=1e-12)


@problems
def test_the_applied_target_is_one_application_of_the_factors(name: str) -> None:
    """u - P^-1 R(u) by dense matrices: level by level where the problem is nonlinear, its levels before corrected."""
    method = made(name, form="applied")
    problem = method.objective.problem
    levels, nodes = problem.shape
    u = network_values(method).reshape(problem.shape)
    blocks = dense(method, u)
    values = u.clone()
    window = levels if name in lines.LINEAR else 1
    for first in range(0, levels, window):
        rows = slice(first * nodes, (first + window) * nodes)
        update = torch.linalg.solve(blocks[rows, rows], problem.residual(values).flatten()[rows])
        values.view(-1)[rows] -= update
    torch.testing.assert_close(target_of(method), values.flatten(), rtol=1e-9, atol=1e-10)
    (figures,) = method.objective.refreshes
    assert figures["applications"] == 1
    left = float(problem.residual(values).abs().max())
    assert figures["residual_left"] == pytest.approx(left, rel=1e-6, abs=1e-9)
    if name not in lines.LINEAR:
        assert left > 1e-3  # it is not the discrete solution


@problems
def test_figures_of_a_network_and_its_discrete_problem(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = made(name, form="solved")
    solution, points = method.objective.problem.solve(), method.pde.evaluation_points()
    # Measured against the discrete solution itself, the discrete solution has no error.
    against = method.objective.problem.interpolate(solution, points)
    monkeypatch.setattr(type(method.objective.problem), "march", never)  # it has been found before
    figures = method.figures(Reference(against, 0.0))
    assert figures["discrete_l2re"] == pytest.approx(0, abs=1e-12)
    assert figures["network_to_discrete"] == pytest.approx(
        rms(method.objective.values() - solution) / rms(solution), rel=1e-12
    )
    assert figures["discrete_seconds"] == method.objective.refreshes[0]["seconds"]
    assert figures["form"] == "solved"
    assert figures["applications"] == method.objective.refreshes[0]["applications"]
    assert figures["warnings"] == []
    assert figures["grid"] == list(method.objective.problem.shape)


@pytest.mark.parametrize("form", ["direct", "applied"])
def test_no_discrete_solution_is_made_for_the_figures(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = made("convection", form=form)
    monkeypatch.setattr(type(method.objective.problem), "march", never)
    figures = method.figures(Reference(np.ones(len(method.pde.evaluation_points())), 0.0))
    assert not {"discrete_l2re", "discrete_seconds", "network_to_discrete"} & figures.keys()
    assert figures["form"] == form
    assert figures["grid"] == list(method.objective.problem.shape)


def never(*arguments: object) -> None:
    raise AssertionError("not asked for")


def test_a_target_that_does_not_solve_its_system_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    few = EXACT.model_copy(update={"sweeps": 1, "refresh": 0.9, "tolerance": 1e-12})
    method = make(few, form="solved")
    begin(method)
    text = "the discrete system is not solved: a residual of"
    assert text in capsys.readouterr().out
    (warning,) = method.figures(Reference(np.ones(len(MILD.evaluation_points())), 0.0))["warnings"]
    assert warning.startswith(text)


@pytest.mark.parametrize("form", ["applied", "solved"])
def test_regression_is_on_the_target_at_the_drawn_nodes(form: str) -> None:
    method = make(form=form)
    begin(method)
    drawn = nodes_of(method).numbers(64, method.draw)
    before = network_values(method)
    expected = float((before[drawn] - target_of(method)[drawn]).square().mean())
    assert step(method) == pytest.approx(expected, rel=1e-12)
    assert not torch.equal(drawn, nodes_of(method).numbers(64, method.draw))  # another iteration, other nodes
    every = torch.cat([nodes_of(method).numbers(64, draw) for draw in range(200)])
    assert len(every.unique()) == len(method.objective.problem.nodes)


@forms
def test_with_symmetries_the_network_is_trained_on_the_whole_domain(form: str) -> None:
    """The images of the nodes are drawn; each with its sign is a place where the network is compared."""
    settings = Heat2DDiscretization(cells=8, time_steps=4, tolerance=1e-10, clip=None)
    method = make(settings, form=form, batch=500)
    begin(method)
    problem = method.objective.problem
    assert problem.images == 8
    assert problem.nodes[:, 0].max() == 1 / 8
    if isinstance(method.objective, TargetForm):
        batch = method.objective.batches["interior"]
        points = batch.points.numpy()
        ((target,),) = batch.fields
        assert 0.85 < points[:, 0].max() <= 1
        assert 0 <= points[:, 0].min() < 0.05
        assert method.objective.base is not None
        base = torch.from_numpy(problem.interpolate(method.objective.base, points))  # odd as the solution is
        torch.testing.assert_close(target, base, rtol=0, atol=1e-10)
        return
    places, signs = nodes_of(method).placed(problem.nodes, method.draw)
    assert len(np.unique(places[:, 0].numpy().round(decimals=9))) == 9
    values = (signs * method.network(places).detach()).reshape(problem.shape)
    assert isinstance(method.objective, DirectForm)
    expected = method.objective.preconditioner.solve(problem.residual(values).numpy())
    assert step(method) == pytest.approx(float(np.mean(expected**2)), rel=1e-9)
    assert not torch.equal(places, nodes_of(method).placed(problem.nodes, method.draw)[0])  # others in the next step


@forms
@pytest.mark.parametrize("name", lines.PDES)
def test_a_whole_run(name: str, form: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the command line to the result, with the configured settings but for a coarser grid."""
    monkeypatch.setattr("pinntk.callbacks.solution.plot", lambda *arguments: Figure(figsize=(1, 1)))
    steps = {"poisson1d": None, "wave": 30}.get(name, 16)
    words = [
        f"pde={name}",
        "method=pcpinn",
        f"method.form={form}",
        "method.steps=3",
        *([] if form == "direct" else ["method.batch=64"]),
    ]
    words += ["budget=smoke", "width=6", "threads=1", "discretization.cells=10"]
    ended = cli(*words, *([f"discretization.time_steps={steps}"] if steps else []))
    assert ended.code == 0, ended.err
    result = result_of(cli.run_folder())
    assert result["status"] == "completed"
    figures = result["method_figures"]
    assert figures["grid"] == [steps + 1 if steps else 1, 11]
    assert ("discrete_l2re" in figures) == (form == "solved") == ("discrete    " in ended.out)
    assert "form        " in ended.out
    if form == "solved":
        assert figures["discrete_l2re"] < 1
        assert figures["network_to_discrete"] > 0.1  # three steps do not train


@forms
def test_it_comes_nearer_to_the_discrete_solution_and_says_what_that_took(form: str) -> None:
    settings = EXACT.model_copy(update={"time_steps": 25, "cells": 8})
    method = make(settings, steps=200, log_every=200, refresh_every=50, adam={"learning_rate": 0.01}, form=form)
    solution = method.objective.problem.solve()
    assert np.abs(method.objective.problem.residual(torch.from_numpy(solution)).numpy()).max() <= settings.tolerance
    before = rms(method.objective.values() - solution)
    fit(method)
    assert rms(method.objective.values() - solution) < 0.8 * before
    figures = method.figures(Reference(np.ones(len(MILD.evaluation_points())), 0.0))
    times = [0] if form == "solved" else [0, 50, 100, 150]
    assert [refresh["iteration"] for refresh in figures["refreshes"]] == times
    assert figures["form"] == form
    if form == "solved":
        assert figures["refreshes"][0]["residual_left"] <= settings.tolerance
        assert figures["applications"] > 1
    else:
        assert figures["applications"] == (4 if form == "applied" else 400)
    assert 0 < figures["share_of_training_time"] < 1


CUTS = [("heat2d", 1), ("heat2d", 20), *((name, 17) for name in lines.PDES)]


@forms
@pytest.mark.parametrize(("name", "cut"), CUTS)
def test_cut_and_resumed_in_single_precision_is_uninterrupted(
    name: str, form: str, cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precision = "32-true"
    pde, discretization = tiny(name)
    # Some sweeps are enough here: it is not about what they reach.
    few = discretization.model_copy(update={"sweeps": 5})

    def method() -> PCPINN:
        return make(few, precision, pde, form=form, refresh_every=10)

    whole = method()
    fit(whole, precision=precision)

    first, path = method(), tmp_path / "last.ckpt"
    stop_at(first, cut, monkeypatch)
    fit(first, [TimedCheckpoint(path, 1e9)], precision=precision)
    assert first.iteration == cut
    resumed = method()
    fit(resumed, resume=path, precision=precision)
    assert resumed.iteration == 40
    assert torch.equal(parameters(resumed), parameters(whole))
    assert resumed.losses() == whole.losses()
    assert [r["iteration"] for r in resumed.objective.refreshes] == ([0] if form == "solved" else [0, 10, 20, 30])


def test_a_network_that_is_not_finite_ends_the_run_at_a_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make(refresh_every=3, log_every=40)
    method.start(None)
    refresh = method.refresh

    def breaks() -> None:
        if method.iteration == 6:
            torch.nn.init.constant_(next(method.network.parameters()), np.nan)
        refresh()

    monkeypatch.setattr(method, "refresh", breaks)
    with pytest.raises(NonFiniteLoss) as raised:
        method.advance(40)
    assert (raised.value.iteration, raised.value.term) == (6, "preconditioned")


class Formless(Poisson1D):
    """A problem without a discrete form."""

    name: ClassVar[str] = "formless"
    Discretization: ClassVar[type[DiscretizationSettings] | None] = None


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="pde=formless has no discrete form"):
        PCPINN.check(Formless(), PCPINN.Settings(), None)
    with pytest.raises(ValueError, match="discretization=null"):
        PCPINN.check(MILD, PCPINN.Settings(), None)
    with pytest.raises(ValueError, match=r"method\.weights"):
        PCPINN.check(MILD, PCPINN.Settings(weights={"initial": 2.0}), EXACT)
    with pytest.raises(ValueError, match=r"method\.weighting=ntk: pcpinn has one term"):
        PCPINN.check(MILD, PCPINN.Settings(weighting="ntk"), EXACT)
    with pytest.raises(ValueError, match=r"method\.normalization=sum: .*; allowed is mean"):
        PCPINN.check(MILD, PCPINN.Settings(normalization="sum"), EXACT)
    with pytest.raises(ValueError, match=r"discretization\.time_steps=20: the scheme is unstable"):
        PCPINN.check(Wave(), PCPINN.Settings(), WaveDiscretization(time_steps=20))
