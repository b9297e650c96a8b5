"""The discrete forms of the problems of the zoo against loops, their references, and what is refused."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from conftest import slow_unless
from lines import discretize, random
from made import reference_values
from numpy.typing import NDArray
from pydantic import ValidationError

from pinntk.common.errors import BadInput
from pinntk.discrete.conditioning import ConditionNumbers
from pinntk.discrete.discretization import DiscreteProblem
from pinntk.discrete.preconditioner import BlockTriangular
from pinntk.launch.cli import compose
from pinntk.pdes.base import PDE
from pinntk.pdes.zoo.allen_cahn import AllenCahn
from pinntk.pdes.zoo.evolving import EvolvingPDE, Resolution
from pinntk.pdes.zoo.helmholtz2d import Helmholtz2D
from pinntk.pdes.zoo.kdv import KdV
from pinntk.pdes.zoo.poisson2d_multiscale import Poisson2DMultiscale
from pinntk.runs.settings import RunSettings

Array = NDArray[np.float64]
WITH = ("allen_cahn", "helmholtz2d", "kdv", "poisson2d_multiscale")
WITHOUT = "cavity gray_scott heat_inverse kovasznay kuramoto_sivashinsky poisson_nd schroedinger taylor_green".split()


class Smooth(AllenCahn):
    """Without the kink of the initial values, which sampled at nodes cost two orders."""

    name = "smooth"

    def initial(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 + torch.cos(torch.pi * x[:, 0])


PDES: dict[str, PDE] = {
    "allen_cahn": AllenCahn(nu=0.03, rate=1.5),
    "smooth": Smooth(nu=0.03, rate=1.5),
    "kdv": KdV(delta=0.1),
    "helmholtz2d": Helmholtz2D(a1=2, a2=1, k=3.0),
    "poisson2d_multiscale": Poisson2DMultiscale(low=1, high=3, amplitude=0.5),
}
CASES: dict[str, dict[str, Any]] = {
    "allen_cahn order4": {"cells": 8, "time_steps": 5, "space": "order4"},
    "allen_cahn spectral, odd": {"cells": 9, "time_steps": 5, "space": "spectral"},
    "allen_cahn order4, second order": {"cells": 8, "time_steps": 5, "space": "order4", "order": 2},
    "kdv order4": {"cells": 9, "time_steps": 5, "space": "order4"},
    "kdv spectral": {"cells": 8, "time_steps": 5, "space": "spectral"},
    "helmholtz2d order4": {"cells": 11, "space": "order4"},
    "helmholtz2d spectral": {"cells": 10, "space": "spectral"},
    "poisson2d_multiscale order4": {"cells": 9, "space": "order4"},
    "poisson2d_multiscale spectral": {"cells": 8, "space": "spectral"},
}


def make(case: str, **changes: Any) -> DiscreteProblem:
    return discretize(PDES[case.split()[0]], **{"drop_tolerance": 0.0, **CASES[case], **changes})


# --- the residuals once more, from their formulas ---------------------------------------------------------------------

STENCILS = {0: {0: 1.0}, 1: {-2: 1 / 12, -1: -8 / 12, 1: 8 / 12, 2: -1 / 12}}
STENCILS[2] = {-2: -1 / 12, -1: 16 / 12, 0: -30 / 12, 1: 16 / 12, 2: -1 / 12}
STENCILS[3] = {-3: 1 / 8, -2: -1.0, -1: 13 / 8, 1: -13 / 8, 2: 1.0, 3: -1 / 8}


def derivative(v: Array, order: int, space: str) -> Array:
    """Of the values at the nodes of a circle of length 2, the last node left out."""
    n = len(v)
    if space == "order4":
        h = 2 / n
        return np.array([sum(w * v[(i + k) % n] for k, w in STENCILS[order].items()) / h**order for i in range(n)])
    k = np.fft.fftfreq(n, 1 / n) * np.pi  # 2 pi over the length
    if n % 2 == 0 and order % 2:
        k[n // 2] = 0
    return np.asarray(np.fft.ifft((1j * k) ** order * np.fft.fft(v)).real)


def rate(pde: PDE, v: Array, space: str) -> Array:
    if isinstance(pde, AllenCahn):
        return pde.nu * derivative(v, 2, space) - pde.rate * (v**3 - v)
    assert isinstance(pde, KdV)
    return -derivative(v**2 / 2, 1, space) - pde.delta**2 * derivative(v, 3, space)


def acceleration(pde: PDE, v: Array, space: str) -> Array:
    """F'(u) F(u), u' = F(u) differentiated once more in time."""
    w = rate(pde, v, space)
    if isinstance(pde, AllenCahn):
        return pde.nu * derivative(w, 2, space) - pde.rate * (3 * v**2 - 1) * w
    assert isinstance(pde, KdV)
    return -derivative(v * w, 1, space) - pde.delta**2 * derivative(w, 3, space)


def looped(case: str, problem: DiscreteProblem, u: Array) -> Array:
    pde = PDES[case.split()[0]]
    settings: Any = problem.settings
    space = settings.space
    if isinstance(pde, EvolvingPDE):
        dt, rows = 1 / settings.time_steps, np.empty_like(u)
        x = np.linspace(-1, 1, u.shape[1])
        rows[0] = u[0] - (x**2 * np.cos(np.pi * x) if isinstance(pde, AllenCahn) else np.cos(np.pi * x))
        for n in range(1, len(u)):
            now, before = u[n, :-1], u[n - 1, :-1]
            row = now - before - dt / 2 * (rate(pde, now, space) + rate(pde, before, space))
            if settings.order == 4:
                row += dt**2 / 12 * (acceleration(pde, now, space) - acceleration(pde, before, space))
            rows[n] = np.append(row, u[n, -1] - u[n, 0])
        return rows
    n = settings.cells
    grid, found = u.reshape(n + 1, n + 1), np.empty((n + 1, n + 1))
    length = pde.upper[0] - pde.lower[0]

    def second(line: Array, i: int) -> float:
        odd = np.concatenate([np.pad(line[1:-1], 1), -np.flip(line[1:-1])])  # beyond a side, of twice the length
        if space == "order4":
            return float(sum(w * odd[(i + k) % (2 * n)] for k, w in STENCILS[2].items()) * (n / length) ** 2)
        k = np.fft.fftfreq(2 * n, 1 / n / 2) * np.pi / length
        return float(np.fft.ifft(-(k**2) * np.fft.fft(odd))[i].real)

    for i, j in np.ndindex(n + 1, n + 1):
        x, y = (low + length * m / n for low, m in zip(pde.lower, (i, j), strict=True))
        if i % n == 0 or j % n == 0:
            found[i, j] = grid[i, j]
        elif isinstance(pde, Helmholtz2D):
            f = (9 - 5 * np.pi**2) * np.sin(2 * np.pi * x) * np.sin(np.pi * y)
            found[i, j] = second(grid[:, j], i) + second(grid[i], j) + 9 * grid[i, j] - f
        else:
            f = 2 * np.pi**2 * np.sin(np.pi * x) * np.sin(np.pi * y)
            f += 9 * np.pi**2 * np.sin(3 * np.pi * x) * np.sin(3 * np.pi * y)
            found[i, j] = -second(grid[:, j], i) - second(grid[i], j) - f
    return found.reshape(1, -1)


@pytest.mark.parametrize("case", CASES)
def test_residuals_are_what_loops_give(case: str) -> None:
    problem = make(case)
    u = random(problem)
    found = problem.residual(torch.from_numpy(u)).numpy()
    np.testing.assert_allclose(found, looped(case, problem, u), rtol=1e-11, atol=1e-9)
    if problem.shape[0] > 1:  # a part of the levels
        part = problem.residual(torch.from_numpy(u), 2, 4).numpy()
        np.testing.assert_allclose(part, found[2:4], rtol=0, atol=1e-11)


@pytest.mark.parametrize("case", CASES)
def test_the_jacobian_is_the_derivative(case: str) -> None:
    problem = make(case)
    u = torch.from_numpy(random(problem, seed=1))
    size = u.numel()
    expected = torch.autograd.functional.jacobian(problem.residual, u).reshape(size, size).numpy()
    found = problem.jacobian(u.numpy()).whole().toarray()
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-9)
    approximated = problem.approximation(u.numpy()).whole().toarray()
    if case.startswith(("allen_cahn", "kdv")) or "order4" in case:
        np.testing.assert_array_equal(approximated, found)
    else:  # the stencils
        other = make(case, space="order4").jacobian(u.numpy()).whole().toarray()
        np.testing.assert_array_equal(approximated, other)
    # And against differences, which know nothing of autograd.
    v, step = random(problem, seed=2), 1e-6
    ahead, back = (problem.residual(u + sign * step * torch.from_numpy(v)) for sign in (1, -1))
    np.testing.assert_allclose(((ahead - back) / (2 * step)).numpy().ravel(), found @ v.ravel(), rtol=1e-6, atol=1e-5)


# --- orders -----------------------------------------------------------------------------------------------------------


@cache
def series(name: str) -> Array:
    """The reference at t = 1 at the evaluation points in x, from a resolution that is enough for these coefficients."""
    pde = PDES[name]
    assert isinstance(pde, EvolvingPDE)
    fine = Resolution(cells=512 if name == "allen_cahn" else 128, steps=4, dealias=name == "kdv")
    return pde.computed(fine).reshape(pde.evaluation_shape)[:, -1]


def error(name: str, **settings: Any) -> float:
    """Of the discrete solution in relative L2: of evolutions at the last time, on the evaluation points in x."""
    pde = PDES[name]
    problem = discretize(pde, drop_tolerance=0.0, **settings)
    points = pde.evaluation_points()
    if isinstance(pde, EvolvingPDE):
        points, values = points[points[:, 1] == 1.0], series(name)
    else:
        values = reference_values(pde)
    found = problem.interpolate(problem.solve(), points)
    return float(np.linalg.norm(found - values) / np.linalg.norm(values))


def orders(errors: list[float]) -> list[float]:
    return [float(order) for order in np.log2(np.divide(errors[:-1], errors[1:]))]


@pytest.mark.parametrize(
    ("name", "cells", "order", "floor"),
    [
        ("smooth", (16, 32, 64), 4, 1e-4),
        ("allen_cahn", (32, 64, 128), 2, 1e-3),
        ("kdv", (32, 64, 128), 4, 1e-4),
        ("helmholtz2d", (16, 32, 64), 4, 1e-4),
        ("poisson2d_multiscale", (16, 32, 64), 4, 1e-4),
    ],
)
def test_order_in_space(name: str, cells: tuple[int, ...], order: int, floor: float) -> None:
    steps = {} if "2d" in name else {"time_steps": 80}
    errors = [error(name, space="order4", cells=n, **steps) for n in cells]
    assert orders(errors) == pytest.approx([order, order], abs=0.3)
    assert errors[-1] < floor


@pytest.mark.parametrize("name", ["smooth", "kdv"])
@pytest.mark.parametrize("order", [2, 4])
def test_order_in_time(name: str, order: int) -> None:
    errors = [error(name, space="spectral", cells=48, time_steps=n, order=order) for n in (20, 40, 80)]
    assert orders(errors) == pytest.approx([order, order], abs=0.35)


@pytest.mark.parametrize(("name", "cells"), [("helmholtz2d", 10), ("poisson2d_multiscale", 8)])
def test_series_hold_the_solution_once_they_have_its_waves(name: str, cells: int) -> None:
    assert error(name, space="spectral", cells=cells) < 1e-9


# --- the settings of the configuration files --------------------------------------------------------------------------


def configured(name: str) -> tuple[PDE, DiscreteProblem]:
    settings = RunSettings.read(compose([f"pde={name}", "method=pcpinn"]))
    assert settings.discretization is not None
    return settings.pde, settings.pde.discretize(settings.discretization)


@pytest.mark.parametrize("name", [slow_unless(name == "helmholtz2d", name) for name in WITH])
def test_the_discrete_solution_of_the_default_grid_is_as_good_as_exact(name: str) -> None:
    pde, problem = configured(name)
    found = problem.interpolate(problem.solve(), pde.evaluation_points())
    values = reference_values(pde)
    assert np.linalg.norm(found - values) < 1e-4 * np.linalg.norm(values)


@pytest.mark.parametrize("case", CASES)
def test_interpolation_gives_back_the_values_at_the_nodes(case: str) -> None:
    problem = make(case)
    u = random(problem)
    if problem.shape[0] > 1:
        u[:, -1] = u[:, 0]
    else:
        sides = np.ones(problem.axes[1:], dtype=bool)
        sides[1:-1, 1:-1] = False
        u[0, sides.ravel()] = 0
    np.testing.assert_allclose(problem.interpolate(u, problem.nodes), u.ravel(), rtol=0, atol=1e-11)
    shuffled = np.random.default_rng(1).permutation(len(problem.nodes))
    found = problem.interpolate(u, problem.nodes[shuffled])
    np.testing.assert_allclose(found, u.ravel()[shuffled], rtol=0, atol=1e-11)
    with pytest.raises(ValueError, match=r"points: must lie between \["):
        problem.interpolate(u, problem.nodes[-1:] + [[1e-3, 0.0]])


# --- condition numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "drop"),
    [
        ("allen_cahn order4", 1e-2),
        ("kdv order4", 1e-2),
        ("helmholtz2d order4", 1e-3),
        ("poisson2d_multiscale order4", 1e-3),
    ],
)
def test_preconditioning_brings_condition_numbers_near_one(case: str, drop: float) -> None:
    size = {"cells": 24} if "2d" in case else {"cells": 16, "time_steps": 20}
    problem = make(case, **size)
    u = problem.solve()
    numbers = ConditionNumbers(problem, u)
    plain = numbers.plain()
    matrix = problem.jacobian(u).whole().toarray()
    inside = numbers._unknown.ravel()
    singular = np.linalg.svd(matrix[np.ix_(inside, inside)], compute_uv=False)
    assert plain.kappa == pytest.approx(singular[0] / singular[-1], rel=1e-3)
    right = np.linalg.norm(matrix @ u.ravel()) / np.linalg.norm(u)
    assert plain.condition == pytest.approx(right / singular[-1], rel=1e-3)
    exact, incomplete = (numbers.preconditioned("levels", tolerance) for tolerance in (0.0, drop))
    assert exact.condition == pytest.approx(1, rel=1e-6)
    assert exact.kappa == pytest.approx(1, rel=1e-6)
    assert incomplete.condition is not None
    assert incomplete.kappa is not None
    assert incomplete.kappa < 0.1 * plain.kappa
    assert incomplete.condition < 3


def test_stencils_are_a_preconditioner_of_the_series() -> None:
    """P^-1 A has the quotients of the two second derivatives' eigenvalues, 1 to 1.8, whatever the grid."""
    problem = make("poisson2d_multiscale spectral", cells=16)
    a, p = (
        matrices.whole().toarray()
        for matrices in (problem.jacobian(random(problem)), problem.approximation(random(problem)))
    )
    k = np.pi / 16 * np.arange(1, 16)
    stencil = (30 - 32 * np.cos(k) + 2 * np.cos(2 * k)) / 12
    quotients = (k[:, None] ** 2 + k**2) / (stencil[:, None] + stencil)
    kept = np.abs(a).sum(1) > 1
    found = np.linalg.eigvals(np.linalg.solve(p, a)[np.ix_(kept, kept)]).real
    np.testing.assert_allclose(np.sort(found), np.sort(quotients.ravel()), rtol=1e-9)
    assert np.ptp(BlockTriangular(problem.approximation(random(problem))).solve(np.ones(problem.shape))) > 0


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pde", "settings", "message"),
    [
        (Helmholtz2D(a1=1, a2=7), {"cells": 29}, r"discretization\.cells=29: pde\.a2=7 needs at least 30, two cells"),
        (Helmholtz2D(a1=7, a2=1), {"cells": 29}, r"discretization\.cells=29: pde\.a1=7 needs at least 30"),
        (Poisson2DMultiscale(), {"cells": 101}, r"discretization\.cells=101: pde\.high=50 needs at least 102"),
        (Poisson2DMultiscale(low=9, high=3), {"cells": 19}, r"cells=19: pde\.low=9 needs at least 20"),
    ],
)
def test_grids_that_cannot_hold_the_waves_are_refused(pde: PDE, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        discretize(pde, **settings)
    discretize(pde, cells=settings["cells"] + 1)


@pytest.mark.parametrize("pde", [PDES[name] for name in WITH], ids=WITH)
@pytest.mark.parametrize(("key", "value"), [("cells", 5), ("space", "order2"), ("cellz", 64), ("tolerance", -1.0)])
def test_settings_out_of_range_are_refused(pde: PDE, key: str, value: Any) -> None:
    assert pde.Discretization is not None
    with pytest.raises(ValidationError) as caught:
        pde.Discretization.model_validate({key: value})
    assert caught.value.errors()[0]["loc"] == (key,)


@pytest.mark.parametrize("name", [slow_unless(name == "kuramoto_sivashinsky", name) for name in WITHOUT])
def test_elsewhere_the_methods_of_the_preconditioned_loss_are_refused_in_a_line(name: str) -> None:
    for method in ("pcpinn", "pcpinn_gdnd"):
        with pytest.raises(BadInput) as caught:
            RunSettings.read(compose([f"pde={name}", f"method={method}"]))
        (line,) = caught.value.messages
        assert line == f"method={method}: pde={name} has no discrete form; allowed are problems with one"
