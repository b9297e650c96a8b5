"""How near the discrete solutions in one space dimension come, between the nodes as well, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import slow_unless
from lines import CASES, LINEAR, discretize, make, pde_of, random
from made import reference_values
from numpy.typing import NDArray
from pydantic import ValidationError

from pinntk.discrete.discretization import DiscreteProblem
from pinntk.launch.cli import compose
from pinntk.pdes import references
from pinntk.pdes.base import PDE, ExactPDE
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.convection import Convection
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.pdes.reaction import Reaction
from pinntk.pdes.wave import Wave
from pinntk.runs.settings import RunSettings

Array = NDArray[np.float64]

# --- orders -----------------------------------------------------------------------------------------------------------


def exact(pde: PDE, points: Array) -> Array:
    if isinstance(pde, Burgers):
        return references.burgers(points[:, 0], points[:, 1], pde.nu).values
    assert isinstance(pde, ExactPDE)
    return pde.solution(torch.from_numpy(points)).numpy()


def error(pde: PDE, **settings: Any) -> float:
    """Of the discrete solution at the last time's nodes."""
    problem = discretize(pde, drop_tolerance=0.0, **settings)
    last = problem.nodes[-problem.shape[1] :]
    return float(np.abs(problem.solve()[-1] - exact(pde, last)).max())


def assert_order(errors: list[float], order: int) -> None:
    assert np.log2(np.divide(errors[:-1], errors[1:])) == pytest.approx([order, order], abs=0.25)


FRONT = {"cells": 256, "stretch": 0.7}
IN_TIME: dict[str, tuple[PDE, dict[str, Any], tuple[int, int, int], float]] = {
    "convection": (Convection(beta=5.0), {"cells": 12}, (20, 40, 80), 1e-6),
    "reaction": (Reaction(), {"cells": 12}, (10, 20, 40), 1e-6),
    "burgers": (Burgers(nu=0.05), FRONT, (6, 12, 24), 2e-6),
    "wave": (Wave(a=2, C=0.7), {"cells": 8}, (16, 32, 64), 1e-6),
}
"""Problem, a grid whose errors in space do not count, steps, and what the finest error stays below."""


@pytest.mark.parametrize("name", IN_TIME)
def test_fourth_order_in_time(name: str) -> None:
    pde, settings, steps, floor = IN_TIME[name]
    errors = [error(pde, **settings, time_steps=n) for n in steps]
    assert_order(errors, 4)
    assert errors[-1] < floor


@pytest.mark.parametrize("name", ["convection", "reaction", "burgers"])
def test_second_order_in_time_where_that_is_asked_for(name: str) -> None:
    pde, settings, (_, *steps), _ = IN_TIME[name]
    errors = [error(pde, **settings, order=2, time_steps=n) for n in (*steps, 2 * steps[-1])]
    assert_order(errors, 2)


IN_SPACE: dict[str, tuple[PDE, dict[str, Any]]] = {
    "convection": (Convection(beta=1.0), {"time_steps": 50, "space": "order4"}),
    "burgers, uniform": (Burgers(nu=0.1), {"time_steps": 60, "stretch": 0.0}),
    "burgers": (Burgers(nu=0.05), {"time_steps": 80, "stretch": 0.6}),
    "wave": (Wave(a=2, C=0.5), {"time_steps": 400, "space": "order4"}),
    "poisson1d": (Poisson1D(a=2), {"space": "order4"}),
}


@pytest.mark.parametrize("name", IN_SPACE)
def test_fourth_order_in_space(name: str) -> None:
    pde, settings = IN_SPACE[name]
    cells = (32, 64, 128) if name.startswith("burgers") else (16, 32, 64)
    errors = [error(pde, **settings, cells=n) for n in cells]
    assert_order(errors, 4)
    assert errors[-1] < 5e-6


@pytest.mark.parametrize(
    ("pde", "settings"),
    [
        (Convection(beta=5.0), {"time_steps": 40, "space": "spectral"}),
        (Wave(a=2, C=0.5), {"time_steps": 40, "space": "spectral"}),
        (Poisson1D(a=2), {"space": "spectral"}),
    ],
    ids=["convection", "wave", "poisson1d"],
)
def test_series_need_no_more_cells_than_the_waves_of_the_solution(pde: PDE, settings: dict[str, Any]) -> None:
    points = np.random.default_rng(0).random((50, len(pde.coordinates))) * pde.upper
    points[:, 1:] = 1.0

    def values(cells: int) -> Array:
        problem = discretize(pde, drop_tolerance=0.0, cells=cells, **settings)
        return problem.interpolate(problem.solve(), points)

    assert np.abs(values(7) - exact(pde, points)).max() < 2e-6  # that of the scheme in time
    for cells in (8, 32):
        np.testing.assert_allclose(values(cells), values(7), rtol=0, atol=1e-9)


# --- absolute ---------------------------------------------------------------------------------------------------------


def configured(name: str) -> tuple[PDE, DiscreteProblem]:
    """With the settings that the configuration files give."""
    settings = RunSettings.read(compose([f"pde={name}", "method=pcpinn"]))
    assert settings.discretization is not None
    return settings.pde, settings.pde.discretize(settings.discretization)


@pytest.mark.parametrize("name", ["poisson1d", "convection", "reaction", "wave", "burgers"])
def test_the_discrete_solution_of_the_default_grid_is_as_good_as_exact(name: str) -> None:
    """It is the best that pcpinn can reach, and must be far below what networks do."""
    pde, problem = configured(name)
    values = reference_values(pde)
    found = problem.interpolate(problem.solve(), pde.evaluation_points())
    assert np.linalg.norm(found - values) < 1e-4 * np.linalg.norm(values)


@pytest.mark.parametrize("name", sorted(LINEAR))
def test_few_applications_of_the_default_factors_solve_a_linear_problem(name: str) -> None:
    _, problem = configured(name)
    values, solution = random(problem), problem.solve()
    for _ in range(20):
        if np.abs(values - solution).max() <= 1e-8:
            break
        values = problem.apply(values).values
    np.testing.assert_allclose(values, solution, rtol=0, atol=1e-8)


@pytest.mark.parametrize("case", [slow_unless("burgers, " not in case, case) for case in CASES])
@pytest.mark.parametrize("scale", [slow_unless(False, 0.0), 0.3], ids=["zero", "noise"])
def test_applications_to_wrong_values_reach_the_discrete_solution(case: str, scale: float) -> None:
    linear = pde_of(case).name in LINEAR
    steps = {} if case.startswith("poisson") else {"time_steps": 40}
    problem = make(case, cells=30, drop_tolerance=1e-3, window=1_000_000 if linear else 1, **steps)
    values = scale * random(problem)
    for _ in range(30):
        values = problem.apply(values).values
    np.testing.assert_allclose(values, problem.solve(), rtol=0, atol=1e-8)


# --- between the nodes ------------------------------------------------------------------------------------------------


def admissible(case: str, problem: DiscreteProblem) -> Array:
    """Random values that the problem's conditions at the ends allow."""
    u = random(problem)
    if case.startswith("convection"):
        u[:, -1] = u[:, 0]
    elif not case.startswith("reaction"):
        u[:, [0, -1]] = 0
    return u


FEW = [(case, n) for case in CASES if not case.startswith(("wave", "poisson")) for n in (1, 3)]
"""With fewer levels than an interpolation in time uses; the wave scheme needs more to be stable."""


@pytest.mark.parametrize(("case", "time_steps"), [*((case, None) for case in CASES), *FEW])
def test_interpolation_gives_back_the_values_at_the_nodes(case: str, time_steps: int | None) -> None:
    problem = make(case, **({"time_steps": time_steps} if time_steps else {}))
    u = admissible(case, problem)
    np.testing.assert_allclose(problem.interpolate(u, problem.nodes), u.ravel(), rtol=0, atol=1e-11)
    shuffled = np.random.default_rng(1).permutation(len(problem.nodes))
    found = problem.interpolate(u, problem.nodes[shuffled])
    np.testing.assert_allclose(found, u.ravel()[shuffled], rtol=0, atol=1e-11)


@pytest.mark.parametrize("case", [case for case in CASES if "," not in case] + ["burgers, uniform"])
def test_interpolation_converges(case: str) -> None:
    """Of the exact solution's values on the grid: of sixth order in time, and in space of that order at least."""
    pde = pde_of(case)
    points = np.random.default_rng(0).random((400, len(pde.coordinates)))
    points = pde.lower + points * np.subtract(pde.upper, pde.lower)
    values = exact(pde, points)
    errors = []
    for n in (20, 40, 80):
        problem = make(case, cells=n, **({} if case.startswith("poisson") else {"time_steps": n}))
        u = exact(pde, problem.nodes).reshape(problem.shape)
        errors.append(np.abs(problem.interpolate(u, points) - values).max())
    if errors[0] > 1e-12:
        assert np.log2(errors[0] / errors[2]) > 2 * 5
    assert errors[2] < 1e-6


@pytest.mark.parametrize("case", ["convection spectral", "reaction", "burgers", "wave spectral", "poisson1d order4"])
def test_interpolation_outside_the_domain_is_refused(case: str) -> None:
    problem, pde = make(case), pde_of(case)
    lower, upper = np.array(pde.lower), np.array(pde.upper)
    inside = (lower + upper) / 2
    problem.interpolate(np.zeros(problem.shape), np.stack([lower, inside, upper]))
    for axis in range(len(lower)):
        for outside in (lower[axis] - 1e-3, upper[axis] + 1e-3, np.nan):
            point = inside.copy()
            point[axis] = outside
            with pytest.raises(ValueError, match=r"points: must lie between \["):
                problem.interpolate(np.zeros(problem.shape), np.stack([inside, point]))


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pde", "settings", "message"),
    [
        (Wave(), {"cells": 9, "time_steps": 100}, r"discretization\.cells=9: pde\.a=4 needs at least 10"),
        (Wave(a=40), {"cells": 81, "time_steps": 999}, r"discretization\.cells=81: pde\.a=40 needs at least 82"),
        (Wave(), {"cells": 10, "time_steps": 25}, r"discretization\.time_steps=25: .*cells=10; needed are at least 26"),
        (Wave(C=1.0), {"cells": 64, "time_steps": 82}, r"discretization\.time_steps=82: .* needed are at least 83"),
        (Poisson1D(a=7), {"cells": 15}, r"discretization\.cells=15: pde\.a=7 needs at least 16"),
    ],
)
def test_grids_that_cannot_hold_the_problem_are_refused(pde: PDE, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        discretize(pde, **settings)


@pytest.mark.parametrize("space", ["spectral", "order4"])
def test_the_wave_scheme_is_stable_just_where_it_is_allowed(space: str) -> None:
    """From rough values, so that the shortest waves are among them."""

    def growth(steps: int, c: float) -> float:
        problem = discretize(Wave(a=1, C=c), cells=40, time_steps=steps, space=space, drop_tolerance=0.0)
        return problem.linearize(np.zeros(problem.shape)).growth()

    allowed = growth(103, 4.0)  # sqrt(4/6) 40 pi = 102.6
    assert allowed < 1000
    with pytest.raises(ValueError, match="needed are at least 103"):
        growth(102, 4.0)


@pytest.mark.parametrize("pde", [Convection(), Reaction(), Burgers(), Wave(), Poisson1D()], ids=lambda pde: pde.name)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cells", 5),
        ("cells", 100_001),
        ("cells", 64.5),
        ("time_steps", 0),
        ("order", 3),
        ("space", "order2"),
        ("stretch", 1.0),
        ("stretch", -0.1),
        ("factor", "all"),
        ("cellz", 64),
        ("tolerance", -1.0),
    ],
)
def test_settings_out_of_range_are_refused(pde: PDE, key: str, value: Any) -> None:
    """Those that a problem does not have as well."""
    assert pde.Discretization is not None
    with pytest.raises(ValidationError) as caught:
        pde.Discretization.model_validate({key: value})
    assert caught.value.errors()[0]["loc"] == (key,)


@pytest.mark.parametrize("pde", [Convection(), Reaction(), Burgers(), Wave()], ids=lambda pde: pde.name)
def test_grids_beyond_memory_are_refused(pde: PDE) -> None:
    assert pde.Discretization is not None
    settings = {"cells": 100_000, "time_steps": 1000}
    with pytest.raises(ValidationError, match="cells=100000 and time_steps=1000 make 100,101,001 nodes; allowed are"):
        pde.Discretization.model_validate(settings)
    pde.Discretization.model_validate({**settings, "time_steps": 998})
