"""``budget=paper``: the published settings of every method, whatever is tuned at other budgets."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import slow_unless

from pinntk.launch.cli import compose, configuration_folder, groups
from pinntk.runs.settings import RunSettings

CHOICES = groups(configuration_folder())

RATHORE: dict[str, Any] = {
    "network.depth": 3,
    "network.width": 200,
    "precision": "64-true",
    "points.interior": 10_000,
    "points.initial": 257,
    "points.resample_every": None,
    "points.by_residual": 0.0,
    "method.normalization": "mean",
    "method.weights": {},
}
"""Rathore, Lei, Frangella, Lu, Udell 2024, and the files in config/ of their code (where n_layers=4 counts
the output layer). Double precision is ours."""
SIDES = {"convection": {"points.boundary": 101}, "reaction": {"points.boundary": 101}, "wave": {"points.boundary": 202}}
"""101 points per side: pairs where the problem is periodic."""
PINNACLE: dict[str, Any] = {
    "network.depth": 5,
    "network.width": 100,
    "points.resample_every": None,
    "points.by_residual": 0.0,
    "points.interior": 8192,
    "points.initial": 2048,
    "points.boundary": 2048,
    "method.normalization": "mean",
    "method.weights": {},
}
"""Hao et al. 2024: benchmark.py (100*5, lr 1e-3, 20,000 iterations) and src/pde/baseclass.py of their code."""
LBFGS = {"method.lbfgs.learning_rate": 1.0, "method.lbfgs.history": 100, "method.lbfgs.resample_every": None}
ADAM_PHASE = {"method.adam.steps": 1000, "method.adam.learning_rate": 1e-3, "method.adam.schedule.kind": "constant"}
TO_41000 = {**ADAM_PHASE, **LBFGS, "method.lbfgs.steps": 40_000}
NNCG = {
    f"method.nncg.{key}": value
    for key, value in {
        "steps": 2000,
        "curvature": "hessian",
        "rank": 60,
        "refresh_every": 20,
        "resample_every": None,
        "damping_rule": "fixed",
        "damping": 1e-2,  # of their 1e-5, 1e-4, 1e-3, 1e-2, 1e-1
        "tolerance": 1e-16,
        "tolerance_rule": "fixed",
        "max_cg": 1000,
        "armijo": 0.1,
        "backtrack": 0.5,
    }.items()
}
WANG = {
    "network.depth": 3,
    "network.width": 500,
    "points.interior": 300,
    "points.initial": 100,
    "points.resample_every": 1,
    "method.steps": 80_000,
    "method.update_every": 100,
    "method.optimizer": "adam",
    "method.adam.learning_rate": 1e-3,
    "method.adam.schedule.kind": "exponential",
    "method.adam.schedule.decay": 0.9,
    "method.adam.schedule.every": 1000,
    "method.normalization": "mean",
}
"""Wang, Yu, Perdikaris 2022: PINNsNTK_Wave1D.ipynb of their code; three batches of 100 on the conditions."""
CONSTANT = {"method.adam.learning_rate": 1e-3, "method.adam.schedule.kind": "constant"}

PUBLISHED: dict[tuple[str, str], dict[str, Any]] = {
    **{("adam", pde): {**RATHORE, **side, **CONSTANT, "method.steps": 41_000} for pde, side in SIDES.items()},
    **{("adam", pde): {**PINNACLE, **CONSTANT, "method.steps": 20_000} for pde in ("burgers", "heat2d")},
    **{("adam_lbfgs", pde): {**RATHORE, **side, **TO_41000} for pde, side in SIDES.items()},
    **{
        ("adam_lbfgs", pde): {
            **PINNACLE,
            **ADAM_PHASE,
            **LBFGS,
            "method.adam.steps": 5000,
            "method.lbfgs.steps": 15_000,
        }
        for pde in ("burgers", "heat2d")  # Adam_LBFGS(switch_epoch=5000)
    },
    **{("gdnd", pde): {**RATHORE, **side, **TO_41000, **NNCG} for pde, side in SIDES.items()},
    **{("gdnd", pde): {**PINNACLE, **TO_41000, **NNCG} for pde in ("burgers", "heat2d")},  # a dash in Table 2
    ("gdnd", "poisson1d"): {**TO_41000, **NNCG},
    ("pinn_ntk", "convection"): {**WANG, "points.boundary": 100},
    ("pinn_ntk", "reaction"): {**WANG, "points.boundary": 100},
    ("pinn_ntk", "wave"): {**WANG, "points.boundary": 200},
    **{
        ("pinn_ntk", pde): {**PINNACLE, **CONSTANT, "method.steps": 20_000, "method.update_every": 1}
        for pde in ("burgers", "heat2d")
    },
}


def at(config: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


@pytest.mark.parametrize(("method", "pde"), PUBLISHED, ids="-".join)
def test_settings_are_those_published(method: str, pde: str) -> None:
    config = compose([f"method={method}", f"pde={pde}", "budget=paper"])
    RunSettings.read(config)
    assert {key: at(config, key) for key in PUBLISHED[method, pde]} == PUBLISHED[method, pde]


@pytest.mark.parametrize("method", [name for name in CHOICES["method"] if name != "plan"])  # which has no settings
@pytest.mark.parametrize("pde", [slow_unless(name == "heat2d", name) for name in CHOICES["pde"]])
def test_nothing_but_the_coordinates_goes_in(method: str, pde: str) -> None:
    words = [f"method={method}", f"pde={pde}", "budget=paper"]
    assert compose(words)["network"]["features"] == []
    waves = "network.features=[{kind:periodic,input:x,period:1.0}]"
    assert compose([*words, waves])["network"]["features"] == [{"kind": "periodic", "input": "x", "period": 1.0}]


def test_every_method_of_table_2_has_its_settings_on_every_problem_of_it() -> None:
    problems = ("convection", "wave", "reaction", "burgers", "heat2d")
    assert {
        (method, pde) for method in ("adam", "adam_lbfgs", "gdnd", "pinn_ntk") for pde in problems
    } <= PUBLISHED.keys()
