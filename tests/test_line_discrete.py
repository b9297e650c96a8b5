"""The discrete systems in one space dimension against plain loops over levels and nodes, and their Jacobians."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch
from lines import CASES, LINEAR, make, pde_of, random
from numpy.typing import NDArray

from pinntk.discrete.preconditioner import BlockTriangular, WholeMatrix

Array = NDArray[np.float64]
Rate = Callable[[Array], Array]

# --- the schemes once more, from their formulas -----------------------------------------------------------------------


def around(u: Array, i: int) -> tuple[float, ...]:
    """u_{i-2}, ..., u_{i+2}; beyond the walls, where u = 0, the odd reflection."""
    cells = len(u) - 1
    found = []
    for j in range(i - 2, i + 3):
        inside = u[abs(j) if j <= cells else 2 * cells - j] * (abs(j) not in (0, cells))
        found.append(float(-inside if j < 0 or j > cells else inside))
    return tuple(found)


def slope(five: tuple[float, ...], h: float) -> float:
    return (five[0] - 8 * five[1] + 8 * five[3] - five[4]) / (12 * h)


def bend(five: tuple[float, ...], h: float) -> float:
    return (-five[0] + 16 * five[1] - 30 * five[2] + 16 * five[3] - five[4]) / (12 * h**2)


def second_derivative(u: Array, space: str) -> Array:
    """On [0, 1], of values that vanish at the ends; zero there."""
    cells = len(u) - 1
    if space == "order4":
        return np.array([0.0, *(bend(around(u, i), 1 / cells) for i in range(1, cells)), 0.0])
    modes = scipy.fft.dst(u[1:-1], type=1) * -((np.pi * np.arange(1, cells)) ** 2)
    return np.pad(scipy.fft.idst(modes, type=1), 1)


def convection_rate(u: Array, space: str) -> Array:
    cells = len(u) - 1
    if space == "spectral":
        k = np.fft.fftfreq(cells, 1 / cells)
        k[np.abs(k) == cells / 2] = 0
        derivative = np.fft.ifft(1j * k * np.fft.fft(u[:-1])).real
    else:
        five = [tuple(float(u[(i + k) % cells]) for k in range(-2, 3)) for i in range(cells)]
        derivative = np.array([slope(values, 2 * np.pi / cells) for values in five])
    return np.append(-3.0 * derivative, 0.0)


def burgers_parts(u: Array, stretch: float) -> tuple[Array, Array]:
    """u_x and u_xx at the nodes by the chain rule, zero at the walls."""
    cells = len(u) - 1
    first, second = np.zeros(cells + 1), np.zeros(cells + 1)
    for i in range(1, cells):
        s, h = -1 + 2 * i / cells, 2 / cells
        u_s, u_ss = slope(around(u, i), h), bend(around(u, i), h)
        x_s, x_ss = 1 - stretch * np.cos(np.pi * s), stretch * np.pi * np.sin(np.pi * s)
        first[i] = u_s / x_s
        second[i] = (u_ss - x_ss * u_s / x_s) / x_s**2
    return first, second


def rates(case: str, settings: Any) -> tuple[Rate, Rate]:
    """F(u) and F'(u) F(u) of a level."""

    def convection(u: Array) -> Array:
        return convection_rate(u, settings.space)

    def reaction(u: Array) -> Array:
        return 2.5 * u * (1 - u)

    def burgers(u: Array) -> Array:
        u_x, u_xx = burgers_parts(u, settings.stretch)
        return 0.1 * u_xx - u * u_x

    def burgers_acceleration(u: Array) -> Array:
        rate = burgers(u)
        u_x, _ = burgers_parts(u, settings.stretch)
        rate_x, rate_xx = burgers_parts(rate, settings.stretch)
        return 0.1 * rate_xx - rate * u_x - u * rate_x

    return {
        "convection": (convection, lambda u: convection(convection(u))),
        "reaction": (reaction, lambda u: 2.5 * (1 - 2 * u) * reaction(u)),
        "burgers": (burgers, burgers_acceleration),
    }[pde_of(case).name]


def initial(case: str, x: Array) -> Array:
    return {
        "convection": np.sin(x),
        "reaction": np.exp(-8 * ((x - np.pi) / np.pi) ** 2),
        "burgers": -np.sin(np.pi * x),
        "wave": np.sin(np.pi * x) + np.sin(2 * np.pi * x) / 2,
    }[pde_of(case).name]


def evolution(case: str, u: Array, x: Array, settings: Any) -> Array:
    """Rows of ``u' = F(u)``: the data, then level by level the scheme and the conditions."""
    rate, acceleration = rates(case, settings)
    dt = 1 / settings.time_steps
    rows = [u[0] - initial(case, x)]
    for before, now in itertools.pairwise(u):
        row = now - before - dt / 2 * (rate(now) + rate(before))
        if settings.order == 4:
            row += dt**2 / 12 * (acceleration(now) - acceleration(before))
        if case.startswith("convection"):
            row[-1] = now[-1] - now[0]
        if case.startswith("burgers"):
            row[[0, -1]] = now[[0, -1]]
        rows.append(row)
    return np.array(rows)


def wave(u: Array, x: Array, settings: Any) -> Array:
    kappa = 0.5 / (12 * settings.time_steps**2)
    bent = [second_derivative(level, settings.space) for level in u]
    rows = [u[0] - initial("wave", x), u[1] - kappa * bent[1] - u[0] - 5 * kappa * bent[0]]
    for n in range(2, len(u)):
        rows.append(u[n] - 2 * u[n - 1] + u[n - 2] - kappa * (bent[n] + 10 * bent[n - 1] + bent[n - 2]))
    for n in range(1, len(u)):
        rows[n][[0, -1]] = u[n][[0, -1]]
    return np.array(rows)


def poisson(u: Array, x: Array, settings: Any) -> Array:
    row = second_derivative(u[0], settings.space) + (2 * np.pi) ** 2 * np.sin(2 * np.pi * x)
    row[[0, -1]] = u[0, [0, -1]]
    return row[None]


def expected_rows(case: str, u: Array, x: Array, settings: Any) -> Array:
    if case.startswith("wave"):
        return wave(u, x, settings)
    return poisson(u, x, settings) if case.startswith("poisson") else evolution(case, u, x, settings)


# --- and what the modules make of them --------------------------------------------------------------------------------

cases = pytest.mark.parametrize("case", CASES)


def parts(levels: int) -> list[tuple[int, int]]:
    """Starts at every kind of level, initial, first, second, later, last; stops right after them and further on."""
    starts = {start for start in (0, 1, 2, 5, levels - 1) if start < levels}
    return sorted({(start, min(start + more, levels)) for start in starts for more in (1, 2, 3, levels)})


@cases
def test_the_residual_equals_a_loop_over_levels_and_nodes(case: str) -> None:
    problem = make(case)
    u, levels = random(problem), problem.shape[0]
    x = problem.nodes[: problem.shape[1], 0]
    expected = expected_rows(case, u, x, problem.settings)
    values = torch.from_numpy(u)
    atol = 1e-12 * np.abs(expected).max()
    np.testing.assert_allclose(problem.residual(values).numpy(), expected, rtol=0, atol=atol)
    for start, stop in parts(levels):
        part = problem.residual(values, start, stop).numpy()
        np.testing.assert_allclose(part, expected[start:stop], rtol=0, atol=atol)
    single = problem.residual(values.float())
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(u, random(problem))


@cases
def test_the_residual_reads_only_the_levels_that_the_scheme_looks_back_to(case: str) -> None:
    problem = make(case)
    levels = problem.shape[0]
    back = 2 if case.startswith("wave") else 1
    for start, stop in parts(levels):
        u = torch.from_numpy(random(problem))
        whole = problem.residual(u)[start:stop].clone()
        u[: max(start - back, 0)] = u[stop:] = torch.nan
        torch.testing.assert_close(problem.residual(u, start, stop), whole, rtol=1e-12, atol=1e-11)


def derivative(problem: Any, u: Array) -> Array:
    """R'(u), dense, by automatic differentiation."""
    return np.asarray(torch.autograd.functional.jacobian(problem.residual, torch.from_numpy(u)).reshape(u.size, u.size))


@cases
def test_the_jacobian_is_that_of_automatic_differentiation(case: str) -> None:
    problem = make(case)
    u, (levels, nodes) = random(problem), problem.shape
    exact = derivative(problem, u)
    atol = 1e-12 * np.abs(exact).max()
    np.testing.assert_allclose(problem.jacobian(u).whole().toarray(), exact, rtol=1e-10, atol=atol)
    for start, stop in parts(levels):
        part = slice(start * nodes, stop * nodes)
        found = problem.jacobian(u, start, stop).whole().toarray()
        np.testing.assert_allclose(found, exact[part, part], rtol=1e-10, atol=atol)
    np.testing.assert_array_equal(u, random(problem))


@cases
@pytest.mark.parametrize("factor", ["levels", "whole"])
def test_exact_factors_invert_the_jacobian(case: str, factor: str) -> None:
    problem = make(case, factor=factor)
    u, (levels, nodes) = random(problem), problem.shape
    exact = derivative(problem, u)
    for start, stop in {(0, levels), (0, 1), (levels // 2, levels), (levels - 1, levels)}:
        part = slice(start * nodes, stop * nodes)
        p = problem.linearize(u, start, stop)
        assert isinstance(p, WholeMatrix if factor == "whole" else BlockTriangular)
        columns = [p.solve(column.reshape(-1, nodes)).ravel() for column in exact[part, part].T]
        np.testing.assert_allclose(np.array(columns), np.eye(len(columns)), rtol=0, atol=1e-9)


@cases
def test_a_linear_problem_is_linearised_and_factored_once(case: str) -> None:
    problem = make(case)
    zero, u = np.zeros(problem.shape), random(problem)
    one, other = (problem.jacobian(values).whole().toarray() for values in (zero, u))
    if pde_of(case).name in LINEAR:
        np.testing.assert_array_equal(one, other)
        # The identity of the initial level, and the block of all the others.
        assert problem.linearize(u).factorizations == min(problem.shape[0], 2)
    else:
        assert np.abs(one - other).max() > 0.1
        assert problem.linearize(u).factorizations == problem.shape[0]


@cases
def test_rows_of_data_are_plain(case: str) -> None:
    """Initial, boundary and periodic rows say how far the values are off, whatever the step and the cells."""
    problem = make(case)
    size, nodes = problem.shape
    x = problem.nodes[:nodes, 0]
    name = pde_of(case).name
    u = torch.from_numpy(random(problem))
    rows = problem.residual(u).numpy()
    if name != "poisson1d":
        data = initial(case, x)
        np.testing.assert_allclose(rows[0], u[0].numpy() - data, rtol=0, atol=1e-14)
        if name in {"burgers", "wave"}:
            # sin(pi) of rounded numbers is not zero, and the walls' values are.
            assert (rows[0, [0, -1]] == u[0, [0, -1]].numpy()).all()
    first = 0 if name == "poisson1d" else 1
    ends = u[first:, [0, -1]].numpy()
    if name in {"burgers", "wave", "poisson1d"}:
        np.testing.assert_array_equal(rows[first:, [0, -1]], ends)
    if name == "convection":
        np.testing.assert_array_equal(rows[first:, -1], ends[:, 1] - ends[:, 0])
    assert size == (1 if name == "poisson1d" else 9)


@cases
def test_nodes_are_those_of_the_box(case: str) -> None:
    problem, pde = make(case), pde_of(case)
    levels, nodes = problem.shape
    grid = problem.nodes.reshape(levels, nodes, -1)
    np.testing.assert_allclose([grid[0, 0], grid[-1, -1]], [pde.lower, pde.upper], rtol=0, atol=1e-15)
    x = grid[0, :, 0]
    assert (np.diff(x) > 0).all()
    np.testing.assert_array_equal(grid[..., 0], np.broadcast_to(x, (levels, nodes)))
    if pde.name != "poisson1d":
        np.testing.assert_array_equal(
            grid[..., 1], np.broadcast_to(np.linspace(0, 1, levels)[:, None], (levels, nodes))
        )
    if pde.name != "burgers":
        np.testing.assert_allclose(np.diff(x), (pde.upper[0] - pde.lower[0]) / (nodes - 1), rtol=1e-12)


@pytest.mark.parametrize("stretch", [0.0, 0.5, 0.9])
def test_burgers_cells_are_as_wide_as_stretch_says(stretch: float) -> None:
    problem = make("burgers", cells=400, stretch=stretch)
    x = problem.nodes[:401, 0]
    widths = np.diff(x) * 200
    assert widths[[199, 200]] == pytest.approx(1 - stretch, abs=1e-3)
    assert widths[[0, -1]] == pytest.approx(1 + stretch, abs=1e-3)
    np.testing.assert_allclose(x, -x[::-1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("case", ["reaction", "reaction, second order"])
def test_the_reactions_preconditioner_bounds_growing_rates_and_nothing_else(case: str) -> None:
    """P of rates that all are bounded is that of the linear u' = a u, whose levels are powers of one number."""
    problem, nodes = make(case, growth=0.02), 9
    tame = problem.linearize(np.zeros(problem.shape))  # rho (1 - 2 u) = 2.5 everywhere, bounded to 0.04 / dt
    right = np.zeros(problem.shape)
    right[0] = np.arange(1.0, nodes + 1)
    z = 0.04  # a dt
    step = (1 + z / 2 + z**2 / 12) / (1 - z / 2 + z**2 / 12) if case == "reaction" else (1 + z / 2) / (1 - z / 2)
    expected = step ** np.arange(problem.shape[0])[:, None] * right[0]
    np.testing.assert_allclose(tame.solve(right), expected, rtol=1e-12)
    # Where every rate decays, P is the Jacobian of the scheme without its fourth-order term's curvature in u.
    u = 0.5 + np.abs(random(problem))
    found = problem.approximation(u).whole().toarray()
    exact = derivative(problem, u)
    if case == "reaction":  # dt^2/12 (F'F)' without F''F, which for F = 2.5 u (1 - u) is -12.5 u (1 - u)
        missing = -12.5 * (u * (1 - u)).ravel() / 12 / (problem.shape[0] - 1) ** 2
        exact = exact + np.diag(missing[:-nodes], -nodes)
        exact -= np.diag(np.where(np.arange(len(missing)) < nodes, 0.0, missing))  # the first level is u - g
    np.testing.assert_allclose(found, exact, atol=1e-12)
    np.testing.assert_allclose(make(case).approximation(u).whole().toarray(), derivative(problem, u), atol=1e-12)
