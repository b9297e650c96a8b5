"""The examples in the docstrings of the mathematics and of what is called from Python: they run, and every public name
has one."""

from __future__ import annotations

import doctest
import importlib
import io
import math
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import pinntk

PACKAGES = ("common", "network", "residual", "discrete", "pdes", "pdes.zoo", "optim")
MODULES = [
    f"pinntk.{package}.{module.name}"
    for package in PACKAGES
    for module in pkgutil.iter_modules([str(Path(pinntk.__path__[0]).joinpath(*package.split(".")))])
] + [
    f"pinntk.{name}"
    for name in (
        *("runs.analysis", "runs.shown", "runs.surroundings", "launch.given", "launch.python"),
        *("loggers.tables", "report.dashboard"),
    )
]
PUBLIC = {
    "common.arrays": "l2re l2re_by_field",
    "common.doing": "doing",
    "common.errors": "BadInput Arguments allowed no_room refusing show",
    "common.loading": "load",
    "common.memory": "Need in_words largest machine_memory",
    "common.settings": "Settings without_effect",
    "common.cells": "definition globals_of",
    "common.processes": "Connected",
    "common.session": "in_notebook interactive progress_bar",
    "network.activations": "activation_of sin swish gelu tanh",
    "network.ansatz": "derivatives_of leibniz",
    "network.coefficients": "Coefficients Unknown",
    "network.derivatives": "below index_of name_of partitions",
    "network.features": "Features",
    "network.network": "Network",
    "network.settings": "DecayFeature FrequencyFeature ModeFeature NetworkSettings PeriodicFeature PowerFeature"
    " ProductFeature",
    "network.propagation": "activate activation_cotangents",
    "network.streams": "Operator Streams",
    "residual.attention": "Attention attended",
    "residual.derived": "derived with_gradient",
    "residual.extent": "Extent",
    "residual.form": "ResidualForm",
    "residual.fresh": "FreshPoints fresh_counts",
    "residual.hessian": "Hessian",
    "residual.named": "all_placed name_of placed regions_of",
    "residual.ntk": "FactoredJacobian",
    "residual.measurements": "Measurements measured",
    "residual.points": "PointSettings UnitPoints candidates draw_region redrawn sample unit_points",
    "residual.rate": "Rate",
    "residual.regions": "Domain Points",
    "residual.residuals": "Batch Residuals term_losses",
    "residual.shared": "Share SharedForm",
    "residual.shapes": "Disc Polygon Shape",
    "residual.spectra": "Spectrum SymmetricOperator norm share_of_entries spectral_density spectral_norm",
    "residual.terms": "Problem Term jump periodic prescribed value vanishing zero",
    "residual.weighting": "balanced evened",
    "discrete.conditioning": "ConditionNumbers norm",
    "discrete.difference": "first_derivative_order4 lagrange_stencil lagrange_weights"
    " periodic_derivative_order4 periodic_derivative_spectral second_derivative_order4 second_derivative_spectral"
    " sine_interpolation trigonometric_interpolation with_walls",
    "discrete.discretization": "DiscreteProblem apply_inverse",
    "discrete.circle": "Circle",
    "discrete.line": "Evolution EvolutionSettings Line",
    "discrete.preconditioner": "BlockTriangular Blocks",
    "discrete.square": "Square",
    "discrete.theorem1": "Theorem1 forcing",
    "pdes.base": "PDE ExactPDE",
    "pdes.burgers": "Burgers BurgersDiscrete",
    "pdes.convection": "Convection ConvectionDiscrete",
    "pdes.heat2d": "Heat2D",
    "pdes.poisson1d": "Poisson1D Poisson1DDiscrete",
    "pdes.reaction": "Reaction ReactionDiscrete",
    "pdes.reference_file": "PartialReference read_reference",
    "pdes.references": "burgers",
    "pdes.wave": "Wave WaveDiscrete",
    "pdes.zoo.allen_cahn": "AllenCahn",
    "pdes.zoo.cavity": "Cavity",
    "pdes.zoo.cavity_reference": "corner_flow",
    "pdes.zoo.evolving": "rounding",
    "pdes.zoo.fourier": "Semilinear Series coefficients solve",
    "pdes.zoo.gray_scott": "GrayScott",
    "pdes.zoo.heat_inverse": "HeatInverse",
    "pdes.zoo.helmholtz2d": "Helmholtz2D",
    "pdes.zoo.kdv": "KdV",
    "pdes.zoo.kovasznay": "Kovasznay",
    "pdes.zoo.kuramoto_sivashinsky": "KuramotoSivashinsky",
    "pdes.zoo.navier_stokes": "navier_stokes",
    "pdes.zoo.poisson2d_multiscale": "Poisson2DMultiscale",
    "pdes.zoo.poisson_nd": "PoissonND",
    "pdes.zoo.schroedinger": "Schroedinger",
    "pdes.zoo.taylor_green": "TaylorGreen",
    "optim.cg": "conjugate_gradients",
    "optim.gauss_newton": "GaussNewtonSteps Sketch",
    "optim.lagged": "Lagged",
    "optim.least_squares": "DampedLeastSquares Reduced TrustRegion",
    "optim.natural_gradient": "NaturalGradient",
    "optim.nncg": "NysNewtonCG",
    "optim.nystrom": "Nystrom",
    "optim.rosenbrock": "NormalEquations increment",
    "optim.ssbroyden": "broyden_update coefficients",
    "optim.stepping": "Resumable Trials gain_ratio",
    "optim.updated": "UpdatedMatrix",
    "runs.analysis": "Kernel",
    "runs.shown": "frame grid",
    "runs.surroundings": "undisturbed",
    "launch.given": "text_of",
    "launch.python": "compose sweep train",
}
"""What users of the library import from each module."""


def known(module: ModuleType) -> dict[str, Any]:
    """What an example may use without importing it: numpy, torch, math, and the names of its own module."""
    own = {name: value for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
    return {"np": np, "torch": torch, "math": math, **own}


def examples(module: ModuleType) -> dict[str, doctest.DocTest]:
    """A module's docstrings that hold examples, by the name inside the module."""
    found = doctest.DocTestFinder(exclude_empty=True).find(module, globs=known(module))
    return {test.name.removeprefix(f"{module.__name__}."): test for test in found if test.examples}


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name: str) -> None:
    for test in examples(importlib.import_module(name)).values():
        report = io.StringIO()
        result = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST).run(test, out=report.write)
        assert result.failed == 0, report.getvalue()


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example(name: str) -> None:
    assert set(PUBLIC[name].split()) <= examples(importlib.import_module(f"pinntk.{name}")).keys()
