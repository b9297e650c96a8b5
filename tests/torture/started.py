"""A tiny run of every method: forty iterations at most, in blocks, with a checkpoint after each."""

from __future__ import annotations

SAVING = "threads=1 width=8 method.log_every=5 checkpoint.every_seconds=1e-9 evaluate_every=10".split()
"""As many writes as there can be: each is a moment at which a process may die."""
POISSON = ["pde=poisson1d", "network.depth=2", "points.interior=40"]
GRID = "pde=wave pde.a=2 network.depth=2 discretization.cells=12 discretization.time_steps=40".split()
PHASES = "method.phases=[{adam:{steps:15}},{lbfgs:{steps:15}},{nncg:{steps:10}}]"
WORDS: dict[str, list[str]] = {
    "adam": [*POISSON, "method.steps=40", "points.resample_every=7"],
    "adam_lbfgs": [*POISSON, "method.adam.steps=15", "method.lbfgs.steps=25", "points.resample_every=7"],
    "pinn_ntk": ["pde=burgers", "network.depth=2", "method.steps=40", "method.update_every=3"],
    "gdnd": [*POISSON, "method.adam.steps=15", "method.lbfgs.steps=13", "method.nncg.steps=12"],
    "gdnd_theory": [*POISSON, "network.depth=1", "method.descent.steps=25", "method.newton.steps=15"],
    "ntk_ng": [*POISSON, "method.adam.steps=15", "method.natural_gradient.steps=10"],
    "ssbroyden": [*POISSON, "method.adam.steps=15", "method.ssbroyden.steps=25"],
    "gauss_newton": [*POISSON, "method.adam.steps=10", "method.ssbroyden.steps=10", "method.gauss_newton.steps=8"],
    "evolve": "pde=convection network.depth=2 network=hard points.interior=40 method.steps=5".split(),
    "pcpinn": [*GRID, "method.form=applied", "method.steps=40", "method.batch=64", "method.refresh_every=15"],
    "pcpinn_gdnd": [*GRID, "method.adam.steps=15", "method.lbfgs.steps=13", "method.nncg.steps=12"],
    "pcpinn_ng": [*GRID, "method.adam.steps=15", "method.natural_gradient.steps=10"],
    "pcpinn_ssbroyden": [*GRID, "method.adam.steps=15", "method.ssbroyden.steps=25"],
    "plan": [*POISSON, PHASES, "points.resample_every=7"],
}
"""By method. What differs per method is what it has to save."""


def command(method: str) -> list[str]:
    """The words of a run of this method."""
    return [f"method={method}", "budget=smoke", *SAVING, *WORDS[method]]
