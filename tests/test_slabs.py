"""Slabs of time: each a problem of its own that goes on where the one before ended, and runs that are cut."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from conftest import Cli, arrays_of, assert_same_network, result_of
from systems import Coupled
from test_plan import PLANS
from torch import Tensor
from training import fit, parameters, whole_and_resumed

import pinntk
from pinntk.callbacks import ErrorAgainstReference, NTKDrift
from pinntk.methods import Method
from pinntk.methods.adam import AdamMethod
from pinntk.methods.composed import ComposedPlan
from pinntk.methods.plan import Plan
from pinntk.methods.ssbroyden import SSBroydenMethod
from pinntk.network import NetworkSettings
from pinntk.network.ansatz import derivatives_of
from pinntk.pdes.base import PDE, ExactPDE, Term
from pinntk.pdes.convection import Convection
from pinntk.pdes.wave import Wave
from pinntk.residual.points import PointSettings
from pinntk.residual.regions import Points
from pinntk.residual.residuals import Residuals
from pinntk.residual.terms import prescribed, zero

POINTS = PointSettings(interior=60, initial=20, boundary=10)
MANY = PointSettings(interior=120, initial=20, boundary=20)
SHORT = {"adam": {"steps": 15}, "ssbroyden": {"steps": 25, "resample_every": 10}}
LONG: dict[str, Any] = {"adam": {"steps": 50}, "ssbroyden": {"steps": 500}}
hard_or_not = pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])


class HalfWave(Wave):
    """The first of two slabs, declared by hand."""

    upper: ClassVar[tuple[float, ...]] = (1.0, 0.5)


class Warmed(ExactPDE):
    """``u_t - u_xx + u = 0`` with ``u = (1 + x) exp(-t)``: what is prescribed at both ends changes in time."""

    name: ClassVar[str] = "warmed"
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 3.0)
    evaluation_shape: ClassVar[tuple[int, ...]] = (11, 31)

    def terms(self) -> tuple[Term, ...]:
        return (
            Term("residual", "interior", ("u", "u_t", "u_xx"), lambda s: s["u_t"] - s["u_xx"] + s["u"]),
            Term("initial", "initial", ("u",), prescribed("u"), lambda x: (1 + x[:, 0],)),
            Term("ends", "boundary", ("u",), prescribed("u"), lambda x: ((1 + x[:, 0]) * torch.exp(-x[:, 1]),)),
        )

    def lift(self, x: Tensor) -> Tensor:
        return torch.exp(-x[:, 1]) * (1 + x[:, 0] ** 2) + x[:, 0] * (1 - x[:, 0])

    def factor(self, x: Tensor) -> Tensor:
        return torch.tanh(x[:, 1]) * x[:, 0] * (1 - x[:, 0])

    def solution(self, x: Tensor) -> Tensor:
        return (1 + x[:, 0]) * torch.exp(-x[:, 1])


class Swing(ExactPDE):
    """``u'' + u = 0``, ``v' - u = 0``, with ``u = cos t``, ``v = sin t``: of one field the velocity goes on, too."""

    name: ClassVar[str] = "swing"
    coordinates: ClassVar[tuple[str, ...]] = ("t",)
    fields: ClassVar[tuple[str, ...]] = ("u", "v")
    lower: ClassVar[tuple[float, ...]] = (0.0,)
    upper: ClassVar[tuple[float, ...]] = (6.0,)
    evaluation_shape: ClassVar[tuple[int, ...]] = (61,)

    def terms(self) -> tuple[Term, ...]:
        return (
            Term("first", "interior", ("u", "u_tt"), lambda s: s["u_tt"] + s["u"]),
            Term("second", "interior", ("u", "v_t"), lambda s: s["v_t"] - s["u"]),
            Term("place", "initial", ("u",), lambda s: s["u"] - 1),
            Term("velocity", "t = lower", ("u_t",), zero("u_t")),
            Term("other", "initial", ("v",), zero("v")),
        )

    def lift(self, x: Tensor) -> Tensor:
        return torch.stack([torch.ones_like(x[:, 0]), torch.zeros_like(x[:, 0])], dim=1)

    def factor(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0] ** 2, x[:, 0]], dim=1)

    def solution(self, x: Tensor) -> Tensor:
        return torch.stack([torch.cos(x[:, 0]), torch.sin(x[:, 0])], dim=1)


def made(
    pde: PDE,
    slabs: int | None,
    *,
    hard: bool = False,
    kind: type[Plan] = SSBroydenMethod,
    points: PointSettings = POINTS,
    precision: str = "64-true",
    **settings: Any,
) -> Plan:
    more = {} if slabs is None else {"slabs": slabs}
    given = kind.Settings.model_validate({**(SHORT if kind is SSBroydenMethod else {}), **settings, **more})
    network = NetworkSettings(width=7, depth=2, hard=hard)
    return kind(pde, network, points, given, seed=3, precision=precision)


def places(pde: PDE, time: float, count: int = 7) -> Tensor:
    """Points of the box at a time, (N, d)."""
    x = torch.rand(count, len(pde.coordinates), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    low, high = (torch.tensor(side, dtype=torch.float64) for side in (pde.lower, pde.upper))
    x = low + (high - low) * x
    x[:, pde.coordinates.index("t")] = time
    return x


def slope(values: Tensor, x: Tensor, c: int) -> Tensor:
    (found,) = torch.autograd.grad(values.sum(), x, create_graph=True)
    return found[:, c]


def errors(method: Method, pde: ExactPDE) -> float:
    points = pde.evaluation_points()
    exact = pde.reference().values
    return float(np.linalg.norm(method.network.predict(points) - exact) / np.linalg.norm(exact))


@hard_or_not
def test_one_slab_is_none(hard: bool) -> None:
    """Bit for bit."""
    one, none = (made(Wave(a=2), slabs, hard=hard) for slabs in (1, None))
    for method in (one, none):
        fit(method)
    assert one.slabs is None
    assert_same_network(one, none)
    assert one.figures(Wave(a=2).reference()) == none.figures(Wave(a=2).reference())


@hard_or_not
def test_the_first_slab_is_the_problem_in_a_part_of_the_time(hard: bool) -> None:
    """Bit for bit: a problem whose box is declared so."""
    half, cut = made(HalfWave(a=2), 1, hard=hard), made(Wave(a=2), 2, hard=hard)
    for method in (half, cut):
        fit(method)
    assert cut.slabs is not None
    assert cut.slabs.finished is not None
    assert torch.equal(cut.slabs.finished, parameters(half)[None])
    x = np.concatenate([places(Wave(a=2), t).numpy() for t in (0.0, 0.3, 0.49)])
    np.testing.assert_array_equal(cut.network.predict(x), half.network.predict(x))


def test_a_soft_slab_begins_where_the_one_before_ends() -> None:
    """Its initial residuals are the differences from the first slab's values and, by autograd, velocities."""
    half, cut = made(HalfWave(a=2), 1), made(Wave(a=2), 2)
    for method in (half, cut):
        fit(method)
    x = places(Wave(a=2), 0.5).requires_grad_()
    u, before = cut.network(x), half.network(x)
    expected = u - before, slope(u, x, 1) - slope(before, x, 1)
    found = cut.residuals.of_region("initial", cut.residuals.prepare_region("initial", x.detach()))
    assert set(found) == {"initial", "velocity"}
    assert float(expected[0].detach().abs().max()) > 1e-6  # or it would say nothing
    for r, difference in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(r, difference, rtol=1e-10, atol=1e-12)


def test_a_hard_slab_is_lift_and_factor_by_hand() -> None:
    """``u1(x, 1/2) + (t - 1/2) d_t u1(x, 1/2) + factor(x, t - 1/2) N``, and its derivatives by nested autograd."""
    half, cut = made(HalfWave(a=2), 1, hard=True), made(Wave(a=2), 2, hard=True)
    for method in (half, cut):
        fit(method)
    layers: Any = list(cut.network.layers)

    def network(x: Tensor) -> Tensor:
        h = torch.stack([torch.cos(math.pi * x[:, 0]), 2 * x[:, 1] ** 2 - 1], dim=1)
        for layer in layers[:-1]:
            h = torch.tanh(layer(h))
        found: Tensor = layers[-1](h)[:, 0]
        return found

    x = torch.cat([places(Wave(a=2), t) for t in (0.5, 0.61, 0.98)]).requires_grad_()
    start = torch.stack([x[:, 0], torch.full_like(x[:, 1], 0.5)], dim=1)
    since = x[:, 1] - 0.5
    before = half.network(start)
    factor = since**2 / (since**2 + 1 / 16) * torch.sin(math.pi * x[:, 0])  # a^2 C = 16
    u = before + since * slope(before, start, 1) + factor * network(x)
    u_x, u_t = slope(u, x, 0), slope(u, x, 1)
    expected = {"u": u, "u_x": u_x, "u_t": u_t, "u_xx": slope(u_x, x, 0), "u_tt": slope(u_t, x, 1)}
    streams = cut.network.wanting(*expected)
    found = cut.network.streams(x.detach(), streams)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(cut.network(x.detach()), u, rtol=1e-12, atol=1e-12)


@hard_or_not
@pytest.mark.parametrize(
    ("pde", "slabs", "most"),
    [(Convection(beta=2.0), 2, 2e-3), (Swing(), 2, 2e-3)],
    ids=lambda value: value.name if isinstance(value, PDE) else None,
)
def test_they_reach_the_solution(pde: ExactPDE, slabs: int, most: float, hard: bool) -> None:
    """In closed form; where two slabs meet they have one value, and where that goes on one derivative in time."""
    method = made(pde, slabs, hard=hard, points=MANY, **LONG)
    fit(method)
    assert errors(method, pde) < most
    assert method.slabs is not None
    edges, before = method.slabs.edges, method.slabs.past
    assert len(before) == slabs - 1
    x = places(pde, edges[-2]).requires_grad_()
    one, other = before[-1](x), method.network(x)
    assert float((one - other).detach().abs().max()) < (1e-13 if hard else 5e-3)
    if isinstance(pde, Swing):
        speeds = [slope(values[:, 0], x, 0) for values in (one, other)]
        assert float((speeds[0] - speeds[1]).detach().abs().max()) < (1e-12 if hard else 5e-3)


def test_derivatives_of_a_lift_by_streams() -> None:
    """Through the networks of two slabs before, against nested automatic differentiation of the lift."""
    method = made(Wave(a=2), 3, hard=True)
    fit(method)
    ansatz = method.problem.ansatz()
    assert ansatz is not None
    x = torch.cat([places(Wave(a=2), t) for t in (0.67, 0.95)])
    indices = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (3, 0), (2, 1), (0, 2)]
    found, expected = ansatz.of_lift(x, indices, 1), derivatives_of(ansatz.lift, x, indices, 1)
    for index in indices:
        torch.testing.assert_close(found[index], expected[index], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ansatz.lift(x), expected[0, 0], rtol=1e-12, atol=1e-12)
    beyond = ansatz.of_lift(x, [(4, 0)], 1)[4, 0]  # with the velocity of order five, which no stream has
    assert torch.equal(beyond, derivatives_of(ansatz.lift, x, [(4, 0)], 1)[4, 0])


def test_conditions_in_space_hold_in_every_slab() -> None:
    """With hard ones, and values at the ends that change in time."""
    method = made(Warmed(), 3, hard=True)
    fit(method)
    ends = torch.tensor([[x, t] for x in (0.0, 1.0) for t in np.linspace(0, 3, 31)], dtype=torch.float64)
    u = method.network(ends)
    torch.testing.assert_close(u, Warmed().solution(ends), rtol=1e-13, atol=1e-13)
    assert method.residuals.names == ("residual",)


@hard_or_not
def test_residuals_and_derivatives_at_all_times(hard: bool) -> None:
    """By each slab's own network, against nested autograd through the prediction."""
    pde = Warmed()
    method = made(pde, 3, hard=hard)
    fit(method)
    x = torch.cat([places(pde, t) for t in (0.2, 1.0, 1.9, 2.6, 0.7)]).requires_grad_()
    u = method.network(x)
    u_t, u_xx = slope(u, x, 1), slope(slope(u, x, 0), x, 0)
    residuals = Residuals(pde, method.network, pde.terms())
    found = residuals.of_region("interior", residuals.prepare_region("interior", x.detach()))
    torch.testing.assert_close(found["residual"], u_t - u_xx + u, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("cut", "hard"), [(9, True), (40, True), (64, False), (80, False), (101, True)])
def test_cut_and_resumed_it_is_the_same(cut: int, hard: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every slab and where one ends, 40 iterations each."""
    points = POINTS.model_copy(update={"by_residual": 0.5})
    whole, resumed = whole_and_resumed(
        lambda: made(Wave(a=2), 3, hard=hard, points=points, log_every=15), cut, tmp_path, monkeypatch
    )
    assert_same_network(whole, resumed)
    assert "slabs.finished" in whole.state_dict()
    x = Wave(a=2).evaluation_points()[::97]
    np.testing.assert_array_equal(whole.network.predict(x), resumed.network.predict(x))
    assert whole.figures(Wave(a=2).reference()) == resumed.figures(Wave(a=2).reference())


@pytest.mark.parametrize("kind", PLANS, ids=lambda kind: kind.name)
def test_every_plan_has_them(kind: type[Plan]) -> None:
    """All of its phases in each, as result.json says."""
    once, twice = (made(Convection(beta=2.0), n, kind=kind, **PLANS[kind]) for n in (1, 2))
    for method in (once, twice):
        fit(method)
    one, two = (method.figures(Convection().reference()) for method in (once, twice))
    expected = [(slab, phase["phase"]) for slab in (1, 2) for phase in one["phases"]]
    assert [(phase["slab"], phase["phase"]) for phase in two["phases"]] == expected
    assert two["slabs"] == [0.0, 0.5, 1.0]
    assert twice.total_iterations == 2 * once.total_iterations


def test_a_plan_that_ends_early_goes_on_with_the_next_slab() -> None:
    stagnation = {"window": 10, "decrease": 0.9}
    phases = [{"adam": {"steps": 50, "stagnation": stagnation}}, {"lbfgs": {"steps": 0}}]
    method = made(Convection(), 3, kind=ComposedPlan, phases=phases, log_every=7)
    fit(method)
    ended = method.figures(Convection().reference())["phases"]
    assert [phase["slab"] for phase in ended] == [1, 2, 3]
    assert all(phase["ended"].startswith("stagnated") for phase in ended)
    assert method.finished
    assert method.iteration == sum(phase["iterations"] for phase in ended) < 150


def test_algorithm_1_weighs_every_slab() -> None:
    """Gradient rows and points by their residuals go along."""
    for more in ({"weighting": "ntk"}, {"weighting": "residual", "update_every": 5}, {"gradient": 0.1}):
        method = made(Convection(), 2, kind=AdamMethod, steps=12, **more)
        fit(method)
        assert method.finished
        assert method.network.predict(Convection().evaluation_points()).shape == (25957,)


@hard_or_not
def test_single_precision(hard: bool) -> None:
    method = made(Convection(beta=2.0), 2, hard=hard, precision="32-true", kind=AdamMethod, steps=30)
    fit(method, precision="32-true")
    assert method.slabs is not None
    x = places(Convection(), 0.5)
    gap = (method.network(x.float()).double() - method.slabs.past[0](x)).detach()
    assert float(gap.abs().max()) < (1e-5 if hard else 1.0)
    assert method.network.predict(Convection().evaluation_points()).dtype == np.float64


def test_what_has_been_trained_so_far() -> None:
    method = made(Convection(), 2, kind=AdamMethod, steps=10)
    x = np.array([[1.0, t] for t in (0.1, 0.5, 0.6)])
    method.start(None)
    method.advance(10)
    assert method.slabs is not None
    assert len(method.slabs.past) == 1
    assert method.trained(x).tolist() == [True, True, False]  # the second has not begun
    reference = Convection().reference()
    error = ErrorAgainstReference(reference, every=1)
    error.measure(method)
    early = Convection().evaluation_points()[:, 1] <= 0.5
    gap = method.network.predict(Convection().evaluation_points()) - reference.values
    assert error.l2re == pytest.approx(np.linalg.norm(gap[early]) / np.linalg.norm(reference.values[early]), rel=1e-12)
    method.advance(11)
    assert method.trained(x).tolist() == [True, True, True]


def test_kernels_are_those_of_a_slab(tmp_path: Path) -> None:
    """The drift begins again with each."""
    method = made(Convection(), 2, kind=AdamMethod, steps=20, log_every=5)
    drift = NTKDrift(str(tmp_path), every=10, interior=9, conditions=6)
    fit(method, [drift])
    found = arrays_of(tmp_path / "ntk_drift.npz")
    assert found["iteration"].tolist() == [0, 10, 20, 30, 40]
    assert (found["drift"][[0, 2]] == 0).all()
    assert (found["drift"][[1, 3, 4], 0] > 0).all()
    second = drift.found["start"]["K"]
    at_start = made(Convection(), 2, kind=AdamMethod, steps=20)
    at_start.start(None)
    at_start.advance(20)
    torch.testing.assert_close(drift.kernel(at_start)["K"], second, rtol=1e-12, atol=1e-12)


WORDS = "pde=wave pde.a=2 method=adam budget=smoke threads=1 method.steps=20 method.log_every=10 width=8"


def test_a_run(cli: Cli) -> None:
    """One prediction at all times, pictures and figures, from the command line and out of its folder."""
    words = [*WORDS.split(), "points.interior=50", "evaluate_every=10", "callbacks=hessian_norm", "method.slabs=2"]
    words += [f"callbacks.hessian_norm.{key}=20" for key in ("interior", "conditions")]
    ended = cli(*words, "callbacks.hessian_norm.every=10")
    assert ended.code == 0, ended.err
    result = result_of(cli.run_folder())
    assert [(phase["slab"], phase["iterations"]) for phase in result["method_figures"]["phases"]] == [(1, 20), (2, 20)]
    saved = arrays_of(cli.run_folder() / "solution.npz")
    run = pinntk.load(cli.run_folder())
    np.testing.assert_array_equal(run.predict(saved["coordinates"]), saved["prediction"])
    x = np.array([[0.3, 0.2], [0.3, 0.7]])
    step = np.array([0.0, 1e-5])
    slopes = (run.predict(x + step) - run.predict(x - step)) / 2e-5
    np.testing.assert_allclose(run.derivatives(x, "u_t")["u_t"], slopes, rtol=1e-6, atol=1e-8)
    assert set(run.residuals(x)) == {"residual"}
    error = np.linalg.norm(saved["prediction"] - saved["reference"]) / np.linalg.norm(saved["reference"])
    assert result["l2re"] == pytest.approx(error, rel=1e-12)
    assert arrays_of(cli.run_folder() / "hessian_norm.npz")["iteration"].tolist() == [0, 10, 20, 30, 40]
    # A callback that is new to it sees the last slab as it began.
    words = [word for word in words if "hessian" not in word]
    assert cli(*words, "callbacks=ntk_drift", "callbacks.ntk_drift.interior=9", "evaluate_every=10").code == 0
    drift = arrays_of(cli.run_folder() / "ntk_drift.npz")
    assert drift["iteration"].tolist() == [20, 40]
    assert (drift["drift"][:, 0] > 0).tolist() == [False, True]
    # Its parameters are a beginning for others, of which the first slab takes them.
    folder = cli.run_folder()
    words = [*WORDS.split(), "method.steps=0", "points.interior=50", f"init_from={folder}"]
    assert cli(*words, "method.slabs=3").code == 0
    (other,) = (found for found in cli.run_folders() if found != folder)
    assert torch.equal(pinntk.load(other).method.network.vector(), run.method.network.vector())


def test_a_silent_setting_is_no_other_run(cli: Cli) -> None:
    assert cli(*WORDS.split(), "method.slabs=1").code == 0
    assert cli(*WORDS.split()).code == 0
    assert len(cli.run_folders()) == 1
    assert cli(*WORDS.split(), "method.slabs=2").code == 0
    assert len(cli.run_folders()) == 2


class Odd(Convection):
    """With other terms."""

    other: ClassVar[tuple[Term, ...]]

    def terms(self) -> tuple[Term, ...]:
        return (super().terms()[0], *self.other)


def somewhere(unit: Any) -> Any:
    return unit


@pytest.mark.parametrize(
    ("other", "line"),
    [
        ((Term("late", "t = upper", ("u",), zero("u")),), "has the term 'late' in 't = upper', at the end of the time"),
        ((Term("wire", Points("wire", somewhere), ("u",), zero("u")),), "has the term 'wire' in 'wire', a region of"),
        ((Term("ends", "boundary", ("u",), zero("u")),), "has no initial term, with which a slab could begin"),
    ],
)
def test_problems_that_cannot_be_cut(other: tuple[Term, ...], line: str) -> None:
    odd = type("Other", (Odd,), {"other": other})()
    with pytest.raises(ValueError, match=r"method\.slabs=2: pde=convection.*allowed is 1") as raised:
        AdamMethod.check_slabs(odd, AdamMethod.Settings(slabs=2))
    assert line in str(raised.value)
    AdamMethod.check_slabs(odd, AdamMethod.Settings())


def test_an_unknown_number_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown nu, which would be another in every slab; allowed is 1"):
        AdamMethod.check_slabs(Coupled(), AdamMethod.Settings(slabs=2))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("pde=poisson1d method=adam", "method.slabs=4: pde=poisson1d has no time t; allowed is 1"),
        ("pde=wave method=evolve network=hard", "method.slabs=4: evolve does not train in slabs of time; allowed is 1"),
        ("pde=wave method=pcpinn", "method.slabs=4: pcpinn does not train in slabs of time; allowed is 1"),
        ("pde=wave method=adam method.slabs=0", "method.slabs=0: must be at least 1"),
    ],
)
def test_refused(words: str, line: str, cli: Cli) -> None:
    ended = cli("budget=smoke", "method.slabs=4", *words.split())
    assert ended.code == 2
    assert line in ended.err
    assert not cli.run_folders()
