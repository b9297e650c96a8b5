"""heat2d's discrete system against explicit loops, dense Newton, closed forms and the reference solution."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.optimize
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from pinntk.discrete.discretization import apply_inverse
from pinntk.discrete.preconditioner import Preconditioner
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.heat2d_discrete import Heat2DDiscrete, Heat2DDiscretization

Array = NDArray[np.float64]


def small(cells: int = 6, time_steps: int = 20, end: float = 2.0, k: float = 1.3, **settings: Any) -> Heat2DDiscrete:
    """A short problem with stronger diffusion than heat2d's, so that every part of the residual counts."""
    chosen = Heat2DDiscretization(cells=cells, time_steps=time_steps, **settings)
    return Heat2DDiscrete(chosen, k=k, m1=3, m2=2, diffusivity=0.01, end=end)


def random(problem: Heat2DDiscrete, seed: int = 0) -> Array:
    """Values everywhere, on the sides as well."""
    return np.random.default_rng(seed).standard_normal(problem.shape)


def laplacian(v: Array, space: str) -> Array:
    """Of inner values (cells - 1, cells - 1): by the sine transform, or by the stencil on the odd reflection."""
    cells = len(v) + 1
    if space == "spectral":
        squares = (np.pi * np.arange(1, cells)) ** 2
        modes = scipy.fft.dstn(v, type=1) * (squares[:, None] + squares[None, :])
        return np.asarray(-scipy.fft.idstn(modes, type=1), dtype=np.float64)
    padded = np.pad(np.pad(v, 1), 1, mode="reflect", reflect_type="odd")  # u_0 = 0, u_{-1} = -u_1
    weights, inner = (-1, 16, -30, 16, -1), slice(2, -2)
    along_x = sum(w * padded[i : i + cells - 1, inner] for i, w in enumerate(weights))
    along_y = sum(w * padded[inner, i : i + cells - 1] for i, w in enumerate(weights))
    return np.asarray((along_x + along_y) * cells**2 / 12)


def rate(v: Array, t: float, space: str, k: float = 1.3) -> Array:
    """F(u, t) at the inner nodes."""
    x = np.arange(1, len(v) + 1) / (len(v) + 1)
    forcing = 5 * (1 + 2 * np.sin(np.pi * t / 4)) * np.outer(np.sin(3 * np.pi * x), np.sin(2 * np.pi * x))
    return np.asarray(0.01 * laplacian(v, space) + np.sin(k * v**2) * forcing)


spaces = pytest.mark.parametrize("space", ["spectral", "order4"])


@spaces
def test_the_residual_equals_a_loop_over_levels(space: str) -> None:
    problem = small(space=space)
    u, side, dt = random(problem), 7, 0.1
    x = np.arange(side) / 6
    expected = u.copy()
    expected[0] -= np.outer(np.sin(4 * np.pi * x), np.sin(3 * np.pi * x)).ravel()
    for n in range(1, 21):
        before, now = (u[m].reshape(side, side)[1:-1, 1:-1] for m in (n - 1, n))
        change = now - before - dt / 2 * (rate(now, n * dt, space) + rate(before, n * dt - dt, space))
        expected[n].reshape(side, side)[1:-1, 1:-1] = change
    values = torch.from_numpy(u)
    np.testing.assert_allclose(problem.residual(values).numpy(), expected, rtol=0, atol=1e-12)
    for start, stop in ((0, 1), (0, 4), (1, 2), (7, 12), (20, 21)):
        part = problem.residual(values, start, stop).numpy()
        np.testing.assert_allclose(part, expected[start:stop], rtol=0, atol=1e-12)
    np.testing.assert_allclose(problem.residual(values.float()).numpy(), expected, rtol=0, atol=1e-4)


def test_the_grid_and_the_data_are_those_of_the_problem() -> None:
    pde = Heat2D(k=0.7, m1=3, m2=5)
    problem = pde.discretize(Heat2DDiscretization(cells=5, time_steps=8, symmetry=False))
    assert isinstance(problem, Heat2DDiscrete)
    nodes = torch.from_numpy(problem.nodes)
    assert nodes.shape == (9 * 36, 3)
    np.testing.assert_allclose(nodes.reshape(9, 6, 6, 3)[3, 2, 1], [0.4, 0.2, 37.5], rtol=1e-15)
    forcing = (problem.modulation[:, None] * problem.source).ravel()
    np.testing.assert_allclose(forcing, pde.forcing(nodes), rtol=0, atol=1e-12)
    np.testing.assert_allclose(problem.initial, pde.initial(nodes[:36]), rtol=0, atol=1e-14)
    assert (problem.k, problem.diffusivity, problem.end) == (0.7, 1e-3, 100.0)


def jacobian(problem: Heat2DDiscrete, u: Array) -> Array:
    size = u.size
    full = torch.autograd.functional.jacobian(problem.residual, torch.from_numpy(u))
    return np.asarray(full.reshape(size, size))


PARTS = ((0, 6), (0, 3), (2, 5), (5, 6))


@spaces
def test_the_jacobian_is_that_of_automatic_differentiation(space: str) -> None:
    problem = small(cells=5, time_steps=5, space=space)
    u, nodes = random(problem), problem.shape[1]
    exact = jacobian(problem, u)
    np.testing.assert_allclose(problem.jacobian(u).whole().toarray(), exact, rtol=0, atol=1e-12)
    for start, stop in PARTS:
        part = slice(start * nodes, stop * nodes)
        found = problem.jacobian(u, start, stop).whole().toarray()
        np.testing.assert_allclose(found, exact[part, part], rtol=0, atol=1e-12)


@pytest.mark.parametrize("factor", ["levels", "whole"])
def test_with_stencils_and_all_reactions_the_linearisation_is_the_jacobian(factor: str) -> None:
    problem = small(cells=5, time_steps=5, space="order4", growth=None, drop_tolerance=0.0, factor=factor)
    u, nodes = random(problem), problem.shape[1]
    exact = jacobian(problem, u)
    for start, stop in PARTS:
        part = slice(start * nodes, stop * nodes)
        p = problem.linearize(u, start, stop)
        columns = [p.solve(column.reshape(stop - start, nodes)).ravel() for column in exact[part, part].T]
        np.testing.assert_allclose(np.array(columns), np.eye(len(columns)), rtol=0, atol=1e-10)


@spaces
def test_the_preconditioner_bounds_growing_reactions_and_nothing_else(space: str) -> None:
    u = random(small(cells=5, time_steps=3))
    bounded = small(cells=5, time_steps=3, space=space, growth=0.02, drop_tolerance=0.0)
    exact = small(cells=5, time_steps=3, space="order4")
    nodes = bounded.shape[1]
    matrix = jacobian(exact, u)
    rates = exact.step / 2 * (exact.modulation[:, None] * exact.source * 2 * 1.3 * u * np.cos(1.3 * u**2)).ravel()
    excess = np.maximum(rates - 0.02, 0)
    assert 10 < np.count_nonzero(excess) < 30
    for row in range(nodes, matrix.shape[0]):
        matrix[row, row] += excess[row]
        matrix[row, row - nodes] += excess[row - nodes]
    p = bounded.linearize(u)
    columns = [p.solve(column.reshape(-1, nodes)).ravel() for column in matrix.T]
    np.testing.assert_allclose(np.array(columns), np.eye(len(columns)), rtol=0, atol=1e-10)


def test_without_growing_reactions_the_preconditioner_is_tame_over_all_levels() -> None:
    """Linearised about noise on all of [0, 100] at once."""

    def linearized(growth: float | None) -> Preconditioner:
        problem = Heat2D().discretize(Heat2DDiscretization(cells=8, growth=growth, symmetry=False))
        return problem.linearize(values)

    values = 0.3 * np.random.default_rng(0).standard_normal((1001, 81))
    tame = linearized(growth=0.0)
    assert tame.growth() < 20
    assert tame.defect < 0.01
    assert linearized(growth=None).growth() > 1e6


def test_blocks_without_reaction_are_factored_once() -> None:
    problem = small()
    p = problem.linearize(np.zeros(problem.shape))
    assert p.factorizations == 2  # the initial level's identity, and the diffusion
    assert problem.linearize(random(problem)).factorizations == 21


def test_the_gradient_of_the_preconditioned_loss() -> None:
    problem = small(cells=4, time_steps=4)
    u = random(problem, 1)
    p = problem.linearize(u)
    values = torch.from_numpy(0.5 * u).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: apply_inverse(p, problem.residual(v)).square().mean(), (values,))


@spaces
def test_pure_diffusion_decays_by_the_factor_of_the_scheme(space: str) -> None:
    problem = small(cells=8, time_steps=10, k=1e-300, space=space, tolerance=1e-14)
    if space == "spectral":
        squares = (4 * np.pi) ** 2 + (3 * np.pi) ** 2
    else:
        angles = np.array([4, 3]) * np.pi / 8
        squares = float(np.sum(2 * np.cos(2 * angles) - 32 * np.cos(angles) + 30) / 12 * 64)
    half = problem.step / 2 * 0.01 * squares
    exact = ((1 - half) / (1 + half)) ** np.arange(11)[:, None] * problem.initial
    np.testing.assert_allclose(problem.solve(), exact, rtol=0, atol=1e-12)


@spaces
def test_the_discrete_solution_is_that_of_a_dense_newton_method(space: str) -> None:
    problem = small(space=space, tolerance=1e-11)
    x = np.arange(1, 6) / 6
    level = np.outer(np.sin(4 * np.pi * x), np.sin(3 * np.pi * x))
    expected = [level]
    for n in range(1, 21):
        known = level + 0.05 * rate(level, 0.1 * (n - 1), space)

        def equation(v: Array, n: int = n, known: Array = known) -> Array:
            now = v.reshape(5, 5)
            return (now - 0.05 * rate(now, 0.1 * n, space) - known).ravel()

        root = scipy.optimize.root(equation, level.ravel(), tol=1e-13)
        level = root.x.reshape(5, 5)
        expected.append(level)
    solution = problem.solve().reshape(21, 7, 7)
    np.testing.assert_allclose(solution[:, 1:-1, 1:-1], expected, rtol=0, atol=1e-9)
    assert not solution[:, [0, -1], :].any()
    assert not solution[:, :, [0, -1]].any()


def test_crank_nicolson_is_of_second_order() -> None:
    last = [small(time_steps=steps, end=1.0, tolerance=1e-12).solve()[-1] for steps in (40, 80, 160, 320)]
    errors = [np.abs(a - b).max() for a, b in itertools.pairwise(last)]
    assert np.log2(np.divide(errors[:-1], errors[1:])) == pytest.approx([2, 2], abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.0, 0.3], ids=["zero", "noise"])
def test_applications_to_wrong_values_reach_the_discrete_solution(scale: float) -> None:
    """At heat2d's own rates and step in time, where undamped Newton steps jump to other roots."""
    settings = Heat2DDiscretization(cells=16, time_steps=100, tolerance=1e-8, clip=0.25)
    problem = Heat2DDiscrete(settings, k=1.0, m1=4, m2=2, diffusivity=1e-3, end=10.0)
    solution = problem.solve()
    assert 1.5 < np.abs(solution[50:]).max() < 3
    values = scale * random(problem)
    for _ in range(60):
        values = problem.apply(values).values
    np.testing.assert_allclose(values, solution, rtol=0, atol=1e-4)


SYMMETRIC = [
    # half waves of the forcing, nodes along x and y that are kept of 25, images
    (4, 2, 4, 25, 8),
    (8, 3, 7, 5, 4 * 6),
    (2, 5, 13, 13, 2 * 2),
    (3, 2, 25, 25, 1),
]


@spaces
@pytest.mark.parametrize(("m1", "m2", "in_x", "in_y", "images"), SYMMETRIC)
def test_the_part_that_symmetries_repeat_has_the_solution_of_the_whole(
    m1: int, m2: int, in_x: int, in_y: int, images: int, space: str
) -> None:
    def made(symmetry: bool) -> Heat2DDiscrete:
        settings: dict[str, Any] = {"cells": 24, "time_steps": 30, "space": space, "tolerance": 1e-11}
        chosen = Heat2DDiscretization(symmetry=symmetry, **settings)
        return Heat2DDiscrete(chosen, k=1.3, m1=m1, m2=m2, diffusivity=0.01, end=1.5)

    part, whole = made(True), made(False)
    assert part.axes == (31, max(in_x, in_y), min(in_x, in_y))
    assert part.nodes[:, :2].max(axis=0).tolist() == pytest.approx([(in_x - 1) / 24, (in_y - 1) / 24])
    assert part.images == images
    assert whole.images == 1
    found, expected = part.solve(), whole.solve()
    points = np.random.default_rng(1).random((400, 3)) * [1, 1, 1.5]
    np.testing.assert_allclose(part.interpolate(found, points), whole.interpolate(expected, points), rtol=0, atol=1e-8)
    # Every image of the part's nodes, with its sign, is in the whole solution, and together they are all of it.
    seen = set()
    for which in range(images):
        places, signs = part.image(part.nodes, np.full(len(part.nodes), which))
        np.testing.assert_allclose(signs * found.ravel(), whole.interpolate(expected, places), rtol=0, atol=1e-8)
        seen |= {(round(24 * x), round(24 * y)) for x, y, _ in places}
    assert len(seen) == 25 * 25
    values = random(part)
    np.testing.assert_allclose(part.interpolate(values * 0, part.nodes), 0, atol=0)
    values = found + 0.1 * np.sin(found)
    np.testing.assert_allclose(part.interpolate(values, part.nodes), values.ravel(), rtol=0, atol=1e-11)


def test_the_jacobian_and_the_factors_of_a_part_are_those_of_automatic_differentiation() -> None:
    settings = Heat2DDiscretization(cells=8, time_steps=3, space="order4", growth=None, drop_tolerance=0.0)
    problem = Heat2DDiscrete(settings, k=1.3, m1=2, m2=5, diffusivity=0.01, end=0.5)
    u = random(problem)
    exact = jacobian(problem, u)
    np.testing.assert_allclose(problem.jacobian(u).whole().toarray(), exact, rtol=0, atol=1e-12)
    columns = [problem.linearize(u).solve(column.reshape(problem.shape)).ravel() for column in exact.T]
    np.testing.assert_allclose(np.array(columns), np.eye(len(columns)), rtol=0, atol=1e-10)


def test_a_part_without_a_whole_number_of_cells_is_refused() -> None:
    with pytest.raises(ValueError, match=r"discretization.cells=12: must be a multiple of 8, .*symmetry=false"):
        Heat2D().discretize(Heat2DDiscretization(cells=12))


@pytest.mark.parametrize("time_steps", [1, 2, 12])
def test_interpolation(time_steps: int) -> None:
    problem = small(cells=8, time_steps=time_steps, end=3.0)
    degree = min(3, time_steps)

    def function(points: Array) -> Array:
        x, y, t = points.T
        first = np.sin(7 * np.pi * x) * np.sin(2 * np.pi * y) * (1 - t + t**degree)
        return np.asarray(first + np.sin(np.pi * x) * np.sin(5 * np.pi * y))

    u = function(problem.nodes).reshape(problem.shape)
    points = np.random.default_rng(0).random((500, 3)) * [1, 1, 3]
    points[:4] = np.array([[0, 0, 0], [1, 1, 3], [0.5, 0.25, 3], [0.125, 0.3, 0]])
    np.testing.assert_allclose(problem.interpolate(u, points), function(points), rtol=0, atol=1e-11)
    np.testing.assert_allclose(problem.interpolate(u, problem.nodes), u.ravel(), rtol=0, atol=1e-11)


@pytest.mark.parametrize("point", [[1.01, 0.5, 1], [0.5, -0.01, 1], [0.5, 0.5, 2.01], [0.5, 0.5, np.nan]])
def test_interpolation_outside_the_domain_is_refused(point: list[float]) -> None:
    problem = small()
    with pytest.raises(ValueError, match=r"points: must lie in \[0, 1\] x \[0, 1\] x \[0, 2\]"):
        problem.interpolate(np.zeros(problem.shape), np.array([point]))


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"cells": 3}, "cells"),
        ({"cells": 513}, "cells"),
        ({"cells": 8.5}, "cells"),
        ({"time_steps": 0}, "time_steps"),
        ({"space": "order2"}, "space"),
        ({"growth": -0.1}, "growth"),
        ({"drop_tolerance": -1.0}, "drop_tolerance"),
        ({"levels": 4}, "levels"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Heat2DDiscretization.model_validate(settings)
    assert caught.value.errors()[0]["loc"] == (key,)


def test_a_grid_beyond_memory_is_refused() -> None:
    with pytest.raises(ValidationError, match="cells=512 and time_steps=1000 make 263,432,169 nodes; allowed"):
        Heat2DDiscretization(cells=512)


@pytest.mark.slow
def test_the_floor_of_the_default_grid_and_the_cost_of_reaching_it() -> None:
    pde = Heat2D()
    points, exact = pde.evaluation_points(), pde.reference().values
    problem = pde.discretize(Heat2DDiscretization())
    found = problem.march()
    error = np.linalg.norm(problem.interpolate(found.values, points) - exact) / np.linalg.norm(exact)
    assert 0.01 < error < 0.02
    assert found.factorizations < 1000
    assert found.seconds < 60
    values = problem.apply(found.values + 0.001 * np.sin(found.values)).values
    np.testing.assert_allclose(values, found.values, rtol=0, atol=1e-3)
