"""Residual terms: solutions annul them, everything else does not, and the equations are the published ones."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from pinntk.network import Network, NetworkSettings
from pinntk.pdes import references
from pinntk.pdes.base import PDE, Term
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.convection import Convection
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.pdes.reaction import Reaction
from pinntk.pdes.wave import Wave
from pinntk.residual.points import PointSettings, sample
from pinntk.residual.residuals import Residuals, term_losses

Function = Callable[[Tensor], Tensor]
PI = math.pi


def points_of(pde: PDE) -> dict[str, Tensor]:
    settings = PointSettings(interior=200, initial=40, boundary=40)
    drawn = sample(settings, pde.coordinates, pde.lower, pde.upper, pde.regions(), seed=2)
    return {region: torch.from_numpy(x) for region, x in drawn.items()}


def derivatives(pde: PDE, u: Function, x: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Streams of a function by nested automatic differentiation."""
    x = x.clone().requires_grad_()
    found = {}
    for name in names:
        d = u(x)
        for letter in name[2:]:
            (gradient,) = torch.autograd.grad(d.sum(), x, create_graph=True, allow_unused=True)
            d = torch.zeros_like(d) * x[:, 0] if gradient is None else gradient[:, pde.coordinates.index(letter)]
        found[name] = d
    return found


def evaluate(pde: PDE, term: Term, u: Function, points: dict[str, Tensor]) -> Tensor:
    x = points[term.where]
    return term.of_derivatives(derivatives(pde, u, x, term.derivatives), *term.fields(x)).detach()


# Written from the literature, not from the code: solution of each problem with a closed form.


def convection(beta: float) -> Function:
    return lambda x: torch.sin(x[:, 0] - beta * x[:, 1])


def wave(a: int, c: float) -> Function:
    w = math.sqrt(c) * PI
    return lambda x: (
        torch.sin(PI * x[:, 0]) * torch.cos(w * x[:, 1])
        + 0.5 * torch.sin(a * PI * x[:, 0]) * torch.cos(a * w * x[:, 1])
    )


def reaction(rho: float) -> Function:
    def u(x: Tensor) -> Tensor:
        h = torch.exp(-((x[:, 0] - PI) ** 2) / (2 * (PI / 4) ** 2))
        growth = h * torch.exp(rho * x[:, 1])
        return growth / (growth + 1 - h)

    return u


def poisson(a: int) -> Function:
    return lambda x: torch.sin(a * PI * x[:, 0])


CLOSED: list[tuple[PDE, Function, list[Function]]] = [
    # problem, its solution, functions that are almost solutions
    (Convection(), convection(40.0), [convection(40.4), convection(-40.0)]),
    (Convection(beta=-3.7), convection(-3.7), [convection(-3.6)]),
    (Wave(), wave(4, 4.0), [wave(5, 4.0), wave(4, 4.04)]),
    (Wave(a=5, C=2.25), wave(5, 2.25), [wave(5, 2.2)]),
    (Wave(a=1, C=0.5), wave(1, 0.5), [wave(2, 0.5)]),
    (Reaction(), reaction(5.0), [reaction(5.05), reaction(-5.0)]),
    (Reaction(rho=-2.5), reaction(-2.5), [reaction(-2.4)]),
    (Poisson1D(), poisson(4), [poisson(3), poisson(-4)]),
    (Poisson1D(a=7), poisson(7), [poisson(8)]),
]
NAMES = [f"{pde.name}-{pde.parameters()}" for pde, _, _ in CLOSED]


@pytest.mark.parametrize(("pde", "solution", "others"), CLOSED, ids=NAMES)
def test_exact_solutions_annul_every_term(pde: PDE, solution: Function, others: list[Function]) -> None:
    points = points_of(pde)
    for term in pde.terms():
        assert evaluate(pde, term, solution, points).abs().max() < 1e-8, term.name


@pytest.mark.parametrize(("pde", "solution", "others"), CLOSED, ids=NAMES)
def test_almost_solutions_do_not(pde: PDE, solution: Function, others: list[Function]) -> None:
    points = points_of(pde)
    residual = pde.terms()[0]
    for other in others:
        changed = {term.name: float(evaluate(pde, term, other, points).abs().max()) for term in pde.terms()}
        assert changed[residual.name] > 1e-2 or changed["initial"] > 1e-2, changed

    # A disturbance of one percent that vanishes nowhere and has all derivatives shows in every single term.
    def disturbed(x: Tensor) -> Tensor:
        return solution(x) + 0.01 * torch.exp((x * torch.linspace(0.3, 0.7, x.shape[1], dtype=x.dtype)).sum(dim=1))

    for term in pde.terms():
        assert evaluate(pde, term, disturbed, points).abs().max() > 1e-3, term.name


# The equations, again from the literature, in terms of any function: D(u, "xx") is a derivative of it.

D = Callable[[str], Tensor]
EQUATIONS: list[tuple[PDE, Callable[[D, Tensor], Tensor], Function]] = [
    (Convection(beta=3.0), lambda d, x: d("t") + 3.0 * d("x"), lambda x: torch.sin(x[:, 0])),
    (
        Wave(a=3, C=2.0),
        lambda d, x: d("tt") - 2.0 * d("xx"),
        lambda x: torch.sin(PI * x[:, 0]) + 0.5 * torch.sin(3 * PI * x[:, 0]),
    ),
    (
        Reaction(rho=1.5),
        lambda d, x: d("t") - 1.5 * d("") * (1 - d("")),
        lambda x: torch.exp(-((x[:, 0] - PI) ** 2) / (2 * (PI / 4) ** 2)),
    ),
    (Burgers(nu=0.2), lambda d, x: d("t") + d("") * d("x") - 0.2 * d("xx"), lambda x: -torch.sin(PI * x[:, 0])),
    (
        Heat2D(k=1.7, m1=3, m2=5),
        lambda d, x: (
            d("t")
            - 0.001 * (d("xx") + d("yy"))
            - 5
            * torch.sin(1.7 * d("") ** 2)
            * (1 + 2 * torch.sin(x[:, 2] * PI / 4))
            * torch.sin(3 * PI * x[:, 0])
            * torch.sin(5 * PI * x[:, 1])
        ),
        lambda x: torch.sin(4 * PI * x[:, 0]) * torch.sin(3 * PI * x[:, 1]),
    ),
    (Poisson1D(a=3), lambda d, x: d("xx") + (3 * PI) ** 2 * torch.sin(3 * PI * x[:, 0]), lambda x: 0 * x[:, 0]),
]


def trial(x: Tensor) -> Tensor:
    """Solves nothing and has no symmetry."""
    shifts = torch.linspace(0.4, 1.9, x.shape[1], dtype=x.dtype)
    return 1.3 * torch.sin((x * shifts).sum(dim=1) + 0.2) + 0.4 * torch.exp(-((x[:, 0] - 0.3) ** 2)) * torch.cos(
        x[:, -1]
    )


@pytest.mark.parametrize(("pde", "equation", "initial"), EQUATIONS, ids=[pde.name for pde, _, _ in EQUATIONS])
def test_terms_are_the_published_equations(
    pde: PDE, equation: Callable[[D, Tensor], Tensor], initial: Function
) -> None:
    points = points_of(pde)

    def expected(term: str, x: Tensor) -> Tensor:
        def d(order: str) -> Tensor:
            name = f"u_{order}" if order else "u"
            return derivatives(pde, trial, x, (name,))[name]

        if term == "periodic":
            lower, upper = x.chunk(2)
            return trial(lower) - trial(upper)
        return {
            "residual": lambda: equation(d, x),
            "initial": lambda: trial(x) - initial(x),
            "velocity": lambda: d("t"),
            "boundary": lambda: trial(x),
        }[term]()

    for term in pde.terms():
        r = evaluate(pde, term, trial, points)
        assert r.abs().max() > 0.1
        assert torch.allclose(r, expected(term.name, points[term.where]), rtol=1e-12, atol=1e-12), term.name


@pytest.mark.parametrize("pde", [pde for pde, _, _ in EQUATIONS], ids=lambda pde: pde.name)
def test_residuals_equal_terms_on_nested_derivatives(pde: PDE) -> None:
    """Sharing a pass through the network among terms and regions changes nothing."""
    settings = NetworkSettings(width=8, depth=2)
    network = Network(settings, pde.coordinates, pde.lower, pde.upper, seed=1)
    residuals = Residuals(pde, network)
    points = points_of(pde)
    found = residuals(residuals.prepare(points))
    assert tuple(found) == residuals.names == tuple(term.name for term in pde.terms())
    for term in pde.terms():
        expected = evaluate(pde, term, network, points)
        assert found[term.name].shape == expected.shape
        assert (found[term.name] - expected).abs().max() <= 1e-10 * expected.abs().max()


def differences(u: Callable[[float], np.ndarray], h: float) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivative at 0 by central differences of order eight."""
    steps = range(1, 5)
    first = sum(w * (u(i * h) - u(-i * h)) for i, w in zip(steps, (4 / 5, -1 / 5, 4 / 105, -1 / 280), strict=True))
    second = sum(
        w * (u(i * h) - 2 * u(0.0) + u(-i * h)) for i, w in zip(steps, (8 / 5, -1 / 5, 8 / 315, -1 / 560), strict=True)
    )
    return np.asarray(first / h), np.asarray(second / h**2)


@pytest.mark.parametrize(("nu", "h", "tolerance"), [(0.05, 4e-3, 1e-8), (0.01 / PI, 4e-4, 1e-6)])
def test_burgers_reference_annuls_every_term(nu: float, h: float, tolerance: float) -> None:
    pde = Burgers(nu=nu)
    residual, initial, boundary = pde.terms()
    x, t = np.random.default_rng(0).uniform((-0.9, 0.05), (0.9, 0.95), (100, 2)).T
    x[:30] *= 0.02  # inside the front

    def u(dx: float, dt: float = 0.0) -> np.ndarray:
        return references.burgers(x + dx, t + dt, nu).values

    u_x, u_xx = differences(u, h)
    u_t, _ = differences(lambda s: u(0.0, s), h)
    values = {"u": u(0.0), "u_x": u_x, "u_t": u_t, "u_xx": u_xx}
    r = residual.of_derivatives({name: torch.from_numpy(v) for name, v in values.items()})
    scale = np.abs(values["u"] * u_x).max()
    assert float(r.abs().max()) < tolerance * scale
    # Twice the diffusion, or the other sign of the transport, is seen.
    assert np.abs(u_t + values["u"] * u_x - 2 * nu * u_xx).max() > 0.1 * scale
    assert np.abs(u_t - values["u"] * u_x - nu * u_xx).max() > 0.1 * scale

    for term in (initial, boundary):
        points = points_of(pde)[term.where]
        exact = torch.from_numpy(references.burgers(points[:, 0], points[:, 1], nu).values)
        assert term.of_derivatives({"u": exact}, *term.fields(points)).abs().max() < 1e-10


def at(series: references.SineSeries, x: npt.ArrayLike, y: npt.ArrayLike) -> np.ndarray:
    """Values at the points (x_i, y_i), x and y of shape (n,), at all times: (n, T)."""
    in_x, in_y = (
        np.sin(PI * np.outer(np.asarray(z), modes)) for z, modes in ((x, series.x_modes), (y, series.y_modes))
    )
    return np.stack([np.sum(in_x @ c * in_y, axis=1) for c in series.coefficients], axis=1)


@pytest.mark.parametrize(("pde", "tolerance"), [(Heat2D(k=0.2, m1=2, m2=3), 1e-8), (Heat2D(), 1e-3)])
def test_heat2d_reference_annuls_every_term(
    pde: Heat2D, tolerance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Space derivatives of the sine series exactly, the time derivative by differences between its output times.

    Those are 0.02 apart at least, which is coarse for the default problem's reaction: hence its tolerance.
    """
    monkeypatch.setenv("PINNTK_CACHE", str(tmp_path))
    step, middle = 0.02, 8
    times = np.arange(17) * step
    series = references.heat2d(pde.k, pde.m1, pde.m2, pde.diffusivity, times)
    x, y = np.random.default_rng(0).uniform(0, 1, (2, 100))

    def streams(scale_x: int, scale_y: int) -> np.ndarray:
        """d^(2 scale_x)/dx^... of the series at the points and times, (100, T): sin'' = -(p pi)^2 sin."""
        factor = np.outer((-((PI * series.x_modes) ** 2)) ** scale_x, (-((PI * series.y_modes) ** 2)) ** scale_y)
        return at(dataclasses.replace(series, coefficients=series.coefficients * factor), x, y)

    u, u_xx, u_yy = streams(0, 0), streams(1, 0), streams(0, 1)
    u_t, _ = differences(lambda s: u[:, middle + round(s / step)], step)
    residual, initial, boundary = pde.terms()
    points = torch.from_numpy(np.stack([x, y, np.full_like(x, times[middle])], axis=1))
    values = {"u": u[:, middle], "u_t": u_t, "u_xx": u_xx[:, middle], "u_yy": u_yy[:, middle]}
    tensors = {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in values.items()}
    r = residual.of_derivatives(tensors, *residual.fields(points))
    assert r.abs().max() < tolerance
    # Ten percent more of the forcing, or of the diffusion, is seen.
    r = residual.of_derivatives(tensors, 1.1 * residual.fields(points)[0])
    assert r.abs().max() > 10 * tolerance
    r = residual.of_derivatives({**tensors, "u_xx": 1.1 * tensors["u_xx"]}, *residual.fields(points))
    assert r.abs().max() > 10 * tolerance

    start = points_of(pde)["initial"]
    exact = torch.from_numpy(at(series, start[:, 0], start[:, 1])[:, 0])
    assert initial.residual({"u": exact}, *initial.fields(start)).abs().max() < 1e-12
    sides = points_of(pde)["boundary"]
    exact = torch.from_numpy(at(series, sides[:, 0], sides[:, 1])[:, -1])
    assert boundary.residual({"u": exact}, *boundary.fields(sides)).abs().max() < 1e-12


def test_losses_of_terms() -> None:
    residuals = [torch.tensor([1.0, -2.0, 3.0]), torch.tensor([4.0])]
    assert term_losses(residuals, "sum").tolist() == [7.0, 8.0]  # half the sum of squares
    assert term_losses(residuals, "mean").tolist() == pytest.approx([14 / 3, 16.0])
