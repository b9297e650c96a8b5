"""The more complex problems with a closed form: equations by hand against their terms, hard conditions, whole runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli, arrays_of, result_of
from pydantic import ValidationError
from test_hard import hard_network
from torch import Tensor
from training import parameters, whole_and_resumed

from pinntk.methods.adam import AdamMethod
from pinntk.network import NetworkSettings, Unknown
from pinntk.network.coefficients import Coefficients
from pinntk.pdes.base import PDE, ExactPDE
from pinntk.pdes.declaration import check, reference_of
from pinntk.pdes.zoo.heat_inverse import HeatInverse
from pinntk.pdes.zoo.helmholtz2d import Helmholtz2D
from pinntk.pdes.zoo.kovasznay import Kovasznay
from pinntk.pdes.zoo.poisson2d_multiscale import Poisson2DMultiscale
from pinntk.pdes.zoo.poisson_nd import PoissonND
from pinntk.pdes.zoo.taylor_green import TaylorGreen
from pinntk.residual.named import all_placed
from pinntk.residual.points import PointSettings, draw_region
from pinntk.residual.residuals import Residuals
from pinntk.residual.terms import Term

PI = math.pi
Function = Callable[[Tensor], Tensor]
"""Points (N, d) to (N,)."""

PROBLEMS: list[ExactPDE] = [
    Helmholtz2D(),
    Helmholtz2D(a1=3, a2=2, k=2.5),
    Poisson2DMultiscale(),
    Poisson2DMultiscale(low=1, high=7, amplitude=-0.4),
    PoissonND(),
    PoissonND(dim=3, kind="sines"),
    PoissonND(dim=10, kind="products"),
    Kovasznay(),
    Kovasznay(Re=9.0),
    TaylorGreen(),
    TaylorGreen(nu=0.7),
    HeatInverse(),
    HeatInverse(truth=0.3, count=7, nu=0.05),
]
each = pytest.mark.parametrize("pde", PROBLEMS, ids=lambda pde: f"{pde.name}-{pde.parameters()}")
first = pytest.mark.parametrize(
    "pde", {pde.name: pde for pde in reversed(PROBLEMS)}.values(), ids=lambda pde: str(pde.name)
)


def by_hand(pde: ExactPDE) -> list[Function]:
    """The closed forms of the literature, by field."""
    match pde:
        case Helmholtz2D():
            return [lambda x: torch.sin(pde.a1 * PI * x[:, 0]) * torch.sin(pde.a2 * PI * x[:, 1])]
        case Poisson2DMultiscale():
            m, n, a = pde.low * PI, pde.high * PI, pde.amplitude
            return [
                lambda x: (
                    torch.sin(m * x[:, 0]) * torch.sin(m * x[:, 1])
                    + a * torch.sin(n * x[:, 0]) * torch.sin(n * x[:, 1])
                )
            ]
        case PoissonND(kind="products"):
            return [lambda x: sum((x[:, i] * x[:, i + 1] for i in range(0, pde.dim, 2)), torch.zeros_like(x[:, 0]))]
        case PoissonND():
            shift = 0.5 if pde.kind == "cosines" else 0.0
            return [lambda x: torch.sin(PI * (x + shift)).sum(1)]
        case Kovasznay():
            q = pde.Re / 2 - math.sqrt(pde.Re**2 / 4 + 4 * PI**2)
            return [
                lambda x: 1 - torch.exp(q * x[:, 0]) * torch.cos(2 * PI * x[:, 1]),
                lambda x: q / 2 / PI * torch.exp(q * x[:, 0]) * torch.sin(2 * PI * x[:, 1]),
                lambda x: 0.5 - torch.exp(2 * q * x[:, 0]) / 2,
            ]
        case TaylorGreen():
            nu = pde.nu
            return [
                lambda x: -torch.cos(x[:, 0]) * torch.sin(x[:, 1]) * torch.exp(-2 * nu * x[:, 2]),
                lambda x: torch.sin(x[:, 0]) * torch.cos(x[:, 1]) * torch.exp(-2 * nu * x[:, 2]),
                lambda x: -(torch.cos(2 * x[:, 0]) + torch.cos(2 * x[:, 1])) * torch.exp(-4 * nu * x[:, 2]) / 4,
            ]
        case HeatInverse():
            rate = PI**2 * pde.truth
            return [
                lambda x: (
                    torch.sin(PI * x[:, 0]) * torch.exp(-rate * x[:, 1])
                    + 0.5 * torch.sin(3 * PI * x[:, 0]) * torch.exp(-9 * rate * x[:, 1])
                )
            ]
    raise TypeError(pde.name)


def derivative(function: Function, x: Tensor, columns: Sequence[int]) -> Tensor:
    """By nested autograd, (N,)."""
    x = x.detach().requires_grad_()
    values = function(x)
    for c in columns:
        (slope,) = torch.autograd.grad(values.sum(), x, create_graph=True, materialize_grads=True)
        values = slope[:, c]
    return values.detach()


def values_of(pde: PDE, term: Term, functions: Sequence[Function], x: Tensor) -> dict[str, Tensor]:
    """The term's derivatives of these fields, and the problem's numbers, by name."""
    numbers = Coefficients(pde.coefficients())
    found = {}
    for name in term.derivatives:
        if name in numbers.names:
            found[name] = numbers.values([name])[0].detach()
            continue
        field, _, letters = name.partition("_")
        columns = []
        while letters:  # x10 is read before x1
            c = max((c for c in pde.coordinates if letters.startswith(c)), key=len)
            columns.append(pde.coordinates.index(c))
            letters = letters[len(c) :]
        found[name] = derivative(functions[pde.fields.index(field)], x, columns)
    return found


def residuals(pde: PDE, functions: Sequence[Function]) -> dict[str, tuple[Tensor, Tensor]]:
    """Points and residuals of every term, its derivatives by nested autograd."""
    terms = pde.terms()
    regions = all_placed([term.region for term in terms], pde.domain)
    found = {}
    for term in terms:
        region = regions[term.where]
        x = torch.from_numpy(draw_region(region, 40, "uniform", seed=4, draw=0))
        known = [*region.data(x), *term.fields(x)]
        found[term.name] = x, term.of_derivatives(values_of(pde, term, functions, x), *known).detach()
    return found


def equations(pde: ExactPDE, functions: Sequence[Function]) -> dict[str, Function]:
    """The residuals of the interior written out for these fields; the forcing is of the closed form's derivatives."""
    d = len(pde.coordinates)

    def laplace(function: Function, x: Tensor, axes: int = d) -> Tensor:
        return sum((derivative(function, x, [c, c]) for c in range(axes)), torch.zeros_like(x[:, 0]))

    exact, u = by_hand(pde), functions[0]
    match pde:
        case Helmholtz2D():

            def applied(f: Function, x: Tensor) -> Tensor:
                return laplace(f, x) + pde.k**2 * f(x)

            return {"residual": lambda x: applied(u, x) - applied(exact[0], x)}
        case Poisson2DMultiscale() | PoissonND():
            return {"residual": lambda x: laplace(exact[0], x) - laplace(u, x)}
        case HeatInverse():
            nu = pde.nu.start if isinstance(pde.nu, Unknown) else pde.nu
            return {"residual": lambda x: derivative(u, x, [1]) - nu * derivative(u, x, [0, 0])}
        case Kovasznay() | TaylorGreen():
            u, v, p = functions
            nu = 1 / pde.Re if isinstance(pde, Kovasznay) else pde.nu

            def momentum(f: Function, c: int) -> Function:
                def of(x: Tensor) -> Tensor:
                    moved = u(x) * derivative(f, x, [0]) + v(x) * derivative(f, x, [1])
                    if d == 3:
                        moved = moved + derivative(f, x, [2])
                    return moved + derivative(p, x, [c]) - nu * laplace(f, x, 2)

                return of

            return {
                "momentum_x": momentum(u, 0),
                "momentum_y": momentum(v, 1),
                "continuity": lambda x: derivative(u, x, [0]) + derivative(v, x, [1]),
            }
    raise TypeError(pde.name)


def some_fields(pde: ExactPDE) -> list[Function]:
    """Smooth functions that solve nothing."""
    d = len(pde.coordinates)
    waves = torch.linspace(0.3, 1.1, d, dtype=torch.float64)

    def field(k: int) -> Function:
        return lambda x: torch.sin(x @ waves + k) + 0.1 * k * x[:, 0] ** 2 * x[:, -1]

    return [field(k) for k in range(len(pde.fields))]


@each
def test_the_closed_form_is_that_of_the_literature(pde: ExactPDE) -> None:
    check(pde)
    known = reference_of(pde)
    assert known is not None
    x = torch.from_numpy(pde.evaluation_points())
    expected = torch.stack([function(x) for function in by_hand(pde)], dim=1).numpy()
    np.testing.assert_allclose(known.values.reshape(expected.shape), expected, rtol=0, atol=1e-12)
    assert known.accuracy == 2.0**-52


@each
def test_residuals_of_the_closed_form_vanish(pde: ExactPDE) -> None:
    if isinstance(pde, HeatInverse):  # of the truth, where there is no noise
        pde = HeatInverse(nu=pde.truth, truth=pde.truth, noise=0.0)
    sizes = {"helmholtz2d": 200.0, "poisson2d_multiscale": 5e3}
    for name, (_, r) in residuals(pde, by_hand(pde)).items():
        assert float(r.abs().max()) < 1e-12 * sizes.get(pde.name, 50.0), name


@each
def test_residuals_of_other_fields_are_those_by_hand(pde: ExactPDE) -> None:
    functions, exact = some_fields(pde), by_hand(pde)
    found = residuals(pde, functions)
    expected = equations(pde, functions)
    for name, (x, r) in found.items():
        assert float(r.abs().max()) > 1e-2, name
        if name in expected:
            wanted = expected[name](x)
        elif name.startswith("periodic"):
            _, _, letters = name.split("_", 2)
            field, _, along = letters.partition("_")
            columns = [pde.coordinates.index(along)] if along else []
            values = derivative(functions[pde.fields.index(field)], x, columns)
            wanted = values[: len(x) // 2] - values[len(x) // 2 :]
        elif name == "measured_u":
            assert isinstance(pde, HeatInverse)
            wanted = functions[0](x) - torch.from_numpy(pde.measurements()["u"])
        else:
            k = pde.fields.index(name[-1]) if len(pde.fields) > 1 else 0
            wanted = functions[k](x) - exact[k](x)
        assert torch.allclose(r, wanted, rtol=1e-11, atol=1e-11 * max(1.0, float(wanted.abs().max()))), name


WHERE: dict[str, dict[str, tuple[int, tuple[float, ...]]]] = {
    "kovasznay": {"outflow_p": (0, (1.0,))},
    "taylor_green": {
        "initial_u": (2, (0.0,)),
        "periodic_x_u": (0, (0.0, 2 * PI)),
        "periodic_y_v_y": (1, (0.0, 2 * PI)),
        "origin_p": (0, (0.0,)),
    },
    "heat_inverse": {"initial": (1, (0.0,)), "boundary": (0, (0.0, 1.0))},
}


@pytest.mark.parametrize("name", WHERE)
def test_conditions_live_where_they_belong(name: str) -> None:
    pde = next(pde for pde in PROBLEMS if pde.name == name)
    found = residuals(pde, by_hand(pde))
    for term, (c, places) in WHERE[name].items():
        assert sorted(set(found[term][0][:, c].tolist())) == list(places), term
    if name == "taylor_green":
        x = found["origin_p"][0]
        assert not x[:, :2].any()
        assert 0 <= float(x[:, 2].min()) < 0.2 < 0.8 < float(x[:, 2].max()) <= 1


LEFT = {
    "helmholtz2d": ("residual",),
    "poisson2d_multiscale": ("residual",),
    "kovasznay": ("momentum_x", "momentum_y", "continuity"),
    "taylor_green": ("momentum_x", "momentum_y", "continuity", "origin_p"),
    "heat_inverse": ("residual", "measured_u"),
}


@pytest.mark.parametrize("pde", [p for p in PROBLEMS if p.name in LEFT], ids=lambda p: f"{p.name}-{p.parameters()}")
def test_hard_conditions_hold_whatever_the_parameters(pde: ExactPDE) -> None:
    network = hard_network(pde)
    every = Residuals(pde, network, pde.terms())
    regions = all_placed([term.region for term in pde.terms()], pde.domain)
    drawn = {
        name: torch.from_numpy(draw_region(region, 40, "uniform", seed=5, draw=0)) for name, region in regions.items()
    }
    for name, r in every(every.prepare(drawn)).items():
        size = float(r.detach().abs().max())
        assert size > 1e-3 if name in LEFT[pde.name] else size < 1e-12, name
    assert Residuals(pde, network).names == LEFT[pde.name]


@each
def test_the_ansatz_can_reach_the_solution(pde: ExactPDE) -> None:
    """``(u - lift) / factor`` is bounded near the sides: the lift is right there, not only the factor 0."""
    if pde.ansatz() is None:
        assert isinstance(pde, PoissonND)
        return
    rng = np.random.default_rng(1)
    low, high = np.array(pde.lower), np.array(pde.upper)
    inside = rng.uniform(0.05, 0.95, (50, len(low)))
    for c in range(len(low)):
        for end in (0.0, 1.0):
            near = inside.copy()
            near[:, c] = abs(end - 1e-7)
            x = torch.from_numpy(low + (high - low) * near)
            solution = pde.solution(x).reshape(len(x), -1)
            factor = pde.factor(x).reshape(len(x), -1)
            over = (solution - pde.lift(x).reshape(len(x), -1)) / factor
            assert float(over.abs().max()) < 1e3, (c, end)


def assert_resumed_bit_for_bit(pde: PDE, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that is cut in two, with new points in between, ends as one that is not; and it trains."""

    def make() -> AdamMethod:
        return AdamMethod(
            pde,
            NetworkSettings(width=6, depth=2),
            PointSettings(interior=40, initial=12, boundary=24, resample_every=4),
            AdamMethod.Settings.model_validate({"steps": 15, "log_every": 5}),
            seed=2,
            precision="64-true",
            compile=False,
        )

    whole, _ = whole_and_resumed(make, 7, folder, monkeypatch)
    assert float((parameters(whole) - parameters(make())).abs().max()) > 1e-3


@first
def test_training_is_resumed_bit_for_bit(pde: ExactPDE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_resumed_bit_for_bit(pde, tmp_path, monkeypatch)


FEW = "method=adam budget=smoke threads=1 width=6 compile=false method.steps=10 method.log_every=5".split()


@pytest.mark.parametrize("name", sorted({pde.name for pde in PROBLEMS}))
def test_a_run_from_the_command_line(cli: Cli, name: str) -> None:
    ended = cli(*FEW, f"pde={name}")
    assert ended.code == 0, ended.err
    folder = cli.run_folder()
    result = result_of(folder)
    pde = next(pde for pde in PROBLEMS if pde.name == name)
    assert result["status"] == "completed"
    assert result["pde_parameters"] == pde.parameters()
    assert set(result["terms"]) == {term.name for term in pde.terms()}
    saved = arrays_of(folder / "solution.npz")
    error = np.linalg.norm(saved["prediction"] - saved["reference"]) / np.linalg.norm(saved["reference"])
    assert result["l2re"] == pytest.approx(error, rel=1e-10)
    assert (folder / "solution.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({pde.name for pde in PROBLEMS}))
def test_the_loss_falls_at_the_smoke_budget(cli: Cli, name: str) -> None:
    ended = cli("method=ssbroyden", "budget=smoke", "threads=1", "width=10", "compile=false", f"pde={name}")
    assert ended.code == 0, ended.err
    rows = (cli.run_folder() / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("loss")
    losses = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (Helmholtz2D, {"a1": 0}),
        (Helmholtz2D, {"a2": 26}),
        (Helmholtz2D, {"k": -1.0}),
        (Poisson2DMultiscale, {"high": 129}),
        (Poisson2DMultiscale, {"amplitude": math.inf}),
        (PoissonND, {"dim": 1}),
        (PoissonND, {"dim": 21}),
        (PoissonND, {"dim": 5.5}),
        (PoissonND, {"kind": "tangents"}),
        (Kovasznay, {"Re": 0.5}),
        (TaylorGreen, {"nu": -0.1}),
        (HeatInverse, {"truth": 0.0}),
        (HeatInverse, {"noise": -0.01}),
        (HeatInverse, {"count": 0}),
        (HeatInverse, {"nu": "fast"}),
    ],
)
def test_coefficients_out_of_range_are_rejected(kind: type[ExactPDE], bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as error:
        kind.model_validate(bad)
    assert error.value.errors()[0]["loc"][0] == next(iter(bad))


def test_products_come_in_pairs() -> None:
    with pytest.raises(ValidationError, match=r"dim=5; allowed with kind=products is an even number"):
        PoissonND(kind="products")


def test_points_and_names_in_ten_dimensions() -> None:
    pde = PoissonND(dim=10)
    assert pde.coordinates == ("x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10")
    assert (pde.lower, pde.upper) == ((0.0,) * 10, (1.0,) * 10)
    points = pde.evaluation_points()
    assert points.shape == (20_000, 10)
    assert np.array_equal(points, PoissonND(dim=10, kind="products").evaluation_points())
    assert np.abs(points.mean(axis=0) - 0.5).max() < 0.01
    assert np.abs(np.corrcoef(points.T) - np.eye(10)).max() < 0.03
    assert pde.grid_axes() is None
    (residual, _) = pde.terms()
    assert residual.derivatives[0] == "u_x1x1"
    assert residual.derivatives[-1] == "u_x10x10"


def test_measurements_are_of_the_truth_with_their_noise() -> None:
    pde = HeatInverse(truth=0.2, count=4000, noise=0.05)
    table = pde.measurements()
    x, t = table["x"], table["t"]
    exact = np.sin(PI * x) * np.exp(-0.2 * PI**2 * t) + np.sin(3 * PI * x) * np.exp(-1.8 * PI**2 * t) / 2
    noise = (table["u"] - exact) / np.sqrt(np.mean(exact**2))
    assert noise.std() == pytest.approx(0.05, rel=0.05)
    assert abs(noise.mean()) < 0.003
    assert abs(np.corrcoef(x, t)[0, 1]) < 0.05
    again = HeatInverse(truth=0.2, count=4000, noise=0.05).measurements()
    other = HeatInverse(truth=0.2, count=4000, noise=0.05, draw=1).measurements()
    assert all(np.array_equal(table[c], again[c]) for c in "xtu")
    assert not np.isin(other["x"], table["x"]).any()


SOUGHT = "pde=heat_inverse network=hard method=ssbroyden budget=smoke width=8 threads=1 compile=false".split()


@pytest.mark.slow
def test_the_diffusivity_is_found(cli: Cli) -> None:
    ended = cli(*SOUGHT, "method.adam.steps=200", "method.ssbroyden.steps=400", "points.resample_every=null")
    assert ended.code == 0, ended.err
    (found,) = result_of(cli.run_folder())["estimates"].items()
    assert found[0] == "nu"
    assert 0 < found[1]["standard_error"] < 0.002
    assert abs(found[1]["value"] - 0.1) < 4 * found[1]["standard_error"]
