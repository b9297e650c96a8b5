"""The discrete problems in one space dimension on tiny grids, with coefficients that are not the defaults."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pinntk.discrete.discretization import DiscreteProblem
from pinntk.pdes.base import PDE
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.convection import Convection
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.pdes.reaction import Reaction
from pinntk.pdes.wave import Wave

Array = NDArray[np.float64]
PDES: dict[str, PDE] = {
    "convection": Convection(beta=3.0),
    "reaction": Reaction(rho=2.5),
    "burgers": Burgers(nu=0.1),
    "wave": Wave(a=2, C=0.5),
    "poisson1d": Poisson1D(a=2),
}
GRID = {"cells": 8, "time_steps": 8}
CASES: dict[str, dict[str, Any]] = {
    "convection spectral": GRID,
    "convection spectral, odd number of cells": {"cells": 7, "time_steps": 8},
    "convection spectral, second order": {**GRID, "order": 2},
    "convection order4": {**GRID, "space": "order4"},
    "reaction": GRID,
    "reaction, second order": {**GRID, "order": 2},
    "burgers": {**GRID, "stretch": 0.7},
    "burgers, odd number of cells": {"cells": 9, "time_steps": 8},
    "burgers, second order": {**GRID, "order": 2},
    "burgers, uniform": {**GRID, "stretch": 0.0},
    "wave spectral": GRID,
    "wave order4": {**GRID, "space": "order4"},
    "poisson1d spectral": {"cells": 8, "space": "spectral"},
    "poisson1d order4": {"cells": 9},
}
"""Settings by case; the case's first word is the problem."""
LINEAR = {"convection", "wave", "poisson1d"}


def pde_of(case: str) -> PDE:
    return PDES[case.split()[0].strip(",")]


def discretize(pde: PDE, **settings: Any) -> DiscreteProblem:
    assert pde.Discretization is not None
    return pde.discretize(pde.Discretization.model_validate(settings))


def make(case: str, **changes: Any) -> DiscreteProblem:
    """A case's discrete problem; exact factors, unless told otherwise."""
    return discretize(pde_of(case), **{"drop_tolerance": 0.0, **CASES[case], **changes})


def random(problem: DiscreteProblem, seed: int = 0) -> Array:
    """Values everywhere, walls and initial level included."""
    return np.random.default_rng(seed).standard_normal(problem.shape)
