"""Residual-gradient rows: against nested autograd of the residual in the coordinates, alone and in whole objectives."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from conftest import Cli, result_of, slow_unless
from jacobians import PDES, assert_close, batches_of, dense_jacobian, loss_at, nested, residuals_of
from made import made
from systems import COORDINATES, Coupled
from torch import Tensor
from torch.autograd.functional import hessian
from training import make_of

from pinntk.launch.cli import compose
from pinntk.methods.adam import AdamMethod
from pinntk.methods.pcpinn import PCPINN
from pinntk.network import Network, NetworkSettings
from pinntk.network.streams import Operator
from pinntk.pdes.base import PDE, ExactPDE, Term
from pinntk.pdes.burgers import Burgers, BurgersDiscretization
from pinntk.pdes.wave import Wave
from pinntk.residual.derived import with_gradient
from pinntk.residual.form import ResidualForm
from pinntk.residual.loss import BlockedLoss, Way
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.points import PointSettings
from pinntk.residual.regions import Points
from pinntk.residual.residuals import Residuals
from pinntk.residual.weighting import TraceWeighting, balanced
from pinntk.runs.settings import RunSettings

hardness = pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])


class Third(PDE):
    """A system with an unknown number, an operator over both fields, derivatives of third order, and data of which one
    is whole numbers."""

    name: ClassVar[str] = "third"
    coordinates: ClassVar[tuple[str, ...]] = COORDINATES
    fields: ClassVar[tuple[str, ...]] = ("u", "v")
    lower: ClassVar[tuple[float, ...]] = Coupled.lower
    upper: ClassVar[tuple[float, ...]] = Coupled.upper
    evaluation_shape: ClassVar[tuple[int, ...]] = (3, 3, 3)

    nu: Any = Coupled.model_fields["nu"].default

    def terms(self) -> tuple[Term, ...]:
        both = Operator("B", {"v_xxy": 1.0, "u_xt": -1.0, "u_tx": 0.5, "u": 0.25})
        return (
            Term(
                "first",
                "interior",
                ("u", both, "v_t", "u_x", "nu"),
                lambda s, f, side, g: s["B"] * s["u_x"] - s["nu"] * torch.exp(s["v_t"]) * f + side * s["u"].sin() + g,
                lambda x: (x[:, 0] ** 2 * x[:, 2], (x[:, 1] > 0).long(), torch.cos(x[:, 1] * x[:, 2])),
            ),
            Term("second", "interior", ("u_yy", "v_y"), lambda s: s["u_yy"] * s["v_y"] ** 2),
            Term("initial", "initial", ("u",), lambda s, g: s["u"] - g, lambda x: (torch.sin(x[:, 0]),)),
        )

    def lift(self, x: Tensor) -> Tensor:
        return Coupled().lift(x)

    def factor(self, x: Tensor) -> Tensor:
        return Coupled().factor(x)


def network_of(pde: PDE, hard: bool) -> Network:
    network = Network.of(pde, NetworkSettings(width=6, depth=2, hard=hard))
    generator = torch.Generator().manual_seed(8)
    network.assign(0.6 * torch.randn(len(network.vector()), generator=generator, dtype=torch.float64))
    return network


def inside(pde: PDE, n: int = 9) -> Tensor:
    unit = torch.rand(n, len(pde.lower), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    low, high = (torch.tensor(side, dtype=torch.float64) for side in (pde.lower, pde.upper))
    return low + (high - low) * unit


def by_autograd(pde: PDE, term: Term, u: Callable[[Tensor], Tensor], x: Tensor, **numbers: Tensor) -> list[Tensor]:
    """A term's residual at points x, (N,), and its derivative along each coordinate, by nested autograd alone."""
    leaf = x.clone().requires_grad_()
    found = u(leaf).view(len(x), -1)
    values: dict[str, Tensor] = dict(numbers)
    for name in term.derivatives:
        if name not in numbers:
            values[name] = nested(found[:, pde.fields.index(name[0])], leaf, name, pde.coordinates)
    r = term.of_derivatives(values, *term.fields(leaf))
    (slopes,) = torch.autograd.grad(r.sum(), leaf, create_graph=True)
    return [r, *slopes.unbind(1)]


@hardness
@pytest.mark.parametrize("name", PDES)
def test_they_are_the_derivatives_of_the_residual(name: str, hard: bool) -> None:
    pde = PDES[name]
    network = network_of(pde, hard)
    own = Residuals(pde, network).terms
    residuals = Residuals(pde, network, with_gradient(pde, own))
    names = ["residual", *(f"residual_{c}" for c in pde.coordinates)]
    assert list(residuals.names) == [*names, *(term.name for term in own[1:])]
    assert [term.along for term in residuals.terms] == [None, *pde.coordinates, *[None] * (len(own) - 1)]
    x = inside(pde)
    with torch.no_grad():
        found = residuals.of_region("interior", residuals.prepare_region("interior", x))
    for here, expected in zip(names, by_autograd(pde, own[0], network, x), strict=True):
        assert_close(found[here], expected.detach(), 1e-10)


@hardness
def test_of_a_system(hard: bool) -> None:
    pde = Third()
    network = network_of(pde, hard)
    equations = pde.terms()[:2]
    residuals = Residuals(pde, network, with_gradient(pde, equations))
    x = inside(pde)
    found = residuals.of_region("interior", residuals.prepare_region("interior", x))
    nu = network.get_parameter("coefficients.trained.nu").exp().expand(len(x))
    for term in equations:
        expected = by_autograd(pde, term, network, x, nu=nu)
        for c, value in zip(("", "_x", "_y", "_t"), expected, strict=True):
            assert_close(found[term.name + c].detach(), value.detach(), 1e-10)
    # The unknown number has a column of its own.
    batches = {"interior": residuals.prepare_region("interior", x)}
    assert_close(FactoredJacobian.of(residuals, batches).dense(), dense_jacobian(residuals, batches))


@pytest.mark.parametrize("name", [name for name, pde in PDES.items() if isinstance(pde, ExactPDE)])
def test_they_vanish_for_the_solution_and_not_for_another(name: str) -> None:
    pde = PDES[name]
    assert isinstance(pde, ExactPDE)
    terms = [term for term in with_gradient(pde, pde.terms()) if term.along]
    assert len(terms) == len(pde.coordinates)
    for wrong in (0.0, 1e-3):
        x = inside(pde, 30).requires_grad_()
        u = pde.solution(x) + wrong * torch.sin(3 * x.sum(1))
        for term in terms:
            values = {n: nested(u, x, n, pde.coordinates).detach() for n in term.derivatives}
            r = term.of_derivatives(values, *term.fields(x.detach()))
            scale = max(float(value.abs().max()) for value in values.values())
            assert (float(r.abs().max()) < 1e-11 * scale) == (not wrong)


def fixed(residuals: Residuals) -> dict[str, float]:
    return {name: 0.3 + 0.2 * k for k, name in enumerate(residuals.names)}


@pytest.mark.timeout(900)  # compiling derivatives of residuals takes long on a busy machine
@pytest.mark.parametrize(
    ("name", "way"),
    [
        slow_unless(True, "burgers", "plain"),
        slow_unless(True, "heat2d", "plain"),
        slow_unless(True, "burgers", "fused"),
        slow_unless(False, "heat2d", "fused_compiled"),
        slow_unless(False, "poisson1d", "compiled"),
    ],
)
def test_loss_gradient_and_traces(name: str, way: Way) -> None:
    pde = PDES[name]
    plain = residuals_of(pde, depth=1 if way == "compiled" else 2)
    residuals = Residuals(pde, plain.network, with_gradient(pde, pde.terms()))
    batches = batches_of(pde, residuals)
    weights = fixed(residuals)
    # By plain autograd: the conditions as they are, the equation and its derivatives from u.
    conditions = plain(batches_of(pde, plain))
    x = batches["interior"].points
    parts = dict(zip(residuals.names, by_autograd(pde, pde.terms()[0], plain.network, x), strict=False))
    parts |= {n: r for n, r in conditions.items() if n != "residual"}
    losses = torch.stack([parts[n].square().mean() for n in residuals.names])
    total = (torch.tensor(list(weights.values()), dtype=torch.float64) * losses).sum()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(total, list(plain.network.parameters()))])

    blocked = BlockedLoss(residuals, "mean", way=way)
    assert blocked.way == way
    found = blocked.backward(batches, torch.tensor(list(weights.values()), dtype=torch.float64))
    grads = [p.grad for p in residuals.network.parameters()]
    assert_close(found, losses.detach(), 1e-10)
    assert_close(torch.cat([g.flatten() for g in grads if g is not None]), expected, 1e-10)
    again, traces, gradients = blocked.by_term(batches)
    assert_close(again, losses.detach(), 1e-10)
    assert_close(torch.tensor(list(weights.values()), dtype=torch.float64) @ gradients, expected, 1e-10)
    J = dense_jacobian(residuals, batches)
    rows = J.split([len(parts[n]) for n in residuals.names])
    assert_close(traces, torch.stack([part.square().sum(1).mean() for part in rows]), 1e-10)
    assert_close(FactoredJacobian.of(residuals, batches).gram(), J @ J.T, 1e-10)


def test_hessian_and_weights_of_algorithm_1() -> None:
    pde = PDES["burgers"]
    residuals = residuals_of(pde, depth=1, terms=with_gradient(pde, pde.terms()))
    batches = batches_of(pde, residuals)
    objective = ResidualForm(residuals, batches, weights=fixed(residuals))
    weights = torch.tensor(list(fixed(residuals).values()), dtype=torch.float64)
    theta = objective.parameters()
    dense = hessian(lambda theta: loss_at(theta, residuals, batches, weights, "mean"), theta)
    assert isinstance(dense, Tensor)
    assert_close(objective.curvature("hessian").dense(), dense)

    weighed = ResidualForm(residuals, batches, weighting=TraceWeighting())
    weighed.renew(0, 0)
    weighed.gradient()
    rows = dense_jacobian(residuals, batches).split([len(r) for r in residuals(batches).values()])
    traces = torch.stack([part.square().sum(1).mean() for part in rows])
    equation = torch.tensor([True, True, True, False, False])
    assert weighed.lambdas is not None
    assert_close(weighed.lambdas, balanced(traces, equation, "blocks"))


# In a run


def test_the_option_is_the_weight_of_its_terms() -> None:
    method = make_of(AdamMethod, gradient=0.25, weights={"boundary": 3.0})
    assert method.residuals.names == ("residual", "residual_x", "boundary")
    assert method.objective.weights.tolist() == method.term_weights().tolist() == [1.0, 0.25, 3.0]
    losses = method.objective.losses()
    assert math.isclose(float(losses[0]), float(losses[1] + 0.25 * losses[2] + 3 * losses[3]), rel_tol=1e-14)
    named = make_of(AdamMethod, gradient=0.25, weights={"residual_x": 0.5})
    assert named.objective.weights.tolist() == [1.0, 0.5, 1.0]
    assert make_of(AdamMethod).residuals.names == ("residual", "boundary")
    settings, points = AdamMethod.Settings(gradient=0.25), PointSettings(interior=30, boundary=2)
    extent = AdamMethod.extent(method.pde, settings, NetworkSettings(width=8, depth=2), points, None, 8)
    assert (extent.rows, extent.streams) == (62, 4)  # u, u_x, u_xx, u_xxx


def test_points_by_residual_stay_what_they_are() -> None:
    points = PointSettings(interior=40, initial=5, boundary=4, resample_every=5, by_residual=0.5)
    drawn = [make_of(AdamMethod, Wave(), points, gradient=g).collocation.batches(1) for g in (0.0, 0.7)]
    assert torch.equal(drawn[0]["interior"].points, drawn[1]["interior"].points)


def test_a_whole_run(cli: Cli) -> None:
    words = "pde=burgers budget=smoke threads=1 width=8 network.hard=true points.interior=40 method=ssbroyden".split()
    ended = cli(*words, "method.adam.steps=20", "method.ssbroyden.steps=20", "method.gradient=0.1", "tuned=null")
    assert ended.code == 0, ended.err
    result = result_of(cli.run_folder())
    terms = result["terms"]
    assert set(terms) == {"residual", "residual_x", "residual_t"}
    total = terms["residual"] + 0.1 * (terms["residual_x"] + terms["residual_t"])
    assert math.isclose(result["loss"], total, rel_tol=1e-12)


def settings_of(*words: str) -> RunSettings:
    return RunSettings.read(compose("pde=burgers method=adam budget=smoke threads=1 tuned=null".split() + [*words]))


def test_runs_without_it_keep_their_hash() -> None:
    plain, none, some = (settings_of(*words) for words in ((), ("method.gradient=0",), ("method.gradient=0.1",)))
    assert "gradient" not in plain._of_method()
    assert plain.settings_hash() == none.settings_hash() != some.settings_hash()


def numpy_data(x: Tensor) -> tuple[Tensor, ...]:
    return (torch.from_numpy(np.sin(x[:, 0].numpy())),)


EQUATION = Term("residual", "interior", ("u_t", "u_xx"), lambda s: s["u_t"] - s["u_xx"])
TABLE = Term("residual", "interior", ("u",), lambda s, f: s["u"] - f, numpy_data)
PAIRS = Term("jump", Points("cut", lambda unit: unit, equation=True, pairs=True), ("u",), lambda s: s["u"].chunk(2)[0])


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ((Term("residual", "interior", ("u_xxxt",), lambda s: s["u_xxxt"]),), "'residual' of case has u_xxxt, whose"),
        ((EQUATION, Term("residual_x", "initial", ("u",), lambda s: s["u"])), "case has a term 'residual_x' already"),
        ((EQUATION, PAIRS), "term 'jump' of case has pairs of points, and so no derivative"),
        ((TABLE,), "term 'residual' of case has data that cannot be differentiated by forward mode: RuntimeError:"),
        ((Term("residual", "interior", ("u_n",), lambda s: s["u_n"]),), "'residual' of case has u_n, whose"),
    ],
    ids=["order", "name", "pairs", "numpy", "normal"],
)
def test_what_has_no_derivative_is_refused(terms: Sequence[Term], said: str) -> None:
    pde = made(terms=lambda self: tuple(terms))
    AdamMethod.check(pde, AdamMethod.Settings(), None)
    with pytest.raises(ValueError, match=r"^method\.gradient=0\.1: .*; allowed (is|are)") as caught:
        AdamMethod.check(pde, AdamMethod.Settings(gradient=0.1), None)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_else_is_refused() -> None:
    pde, weights = Burgers(), {"residual_x": 2.0}
    AdamMethod.check(pde, AdamMethod.Settings(gradient=0.1, weights=weights), None)
    with pytest.raises(ValueError, match=r"^method\.weights\.residual_x: burgers has no such term"):
        AdamMethod.check(pde, AdamMethod.Settings(weights=weights), None)
    with pytest.raises(ValueError, match=r"^method\.gradient=0\.1: pcpinn has one term.*; allowed is 0$"):
        PCPINN.check(pde, PCPINN.Settings(gradient=0.1), BurgersDiscretization())
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        AdamMethod.Settings(gradient=-1.0)
