"""Fixed points on which kernels are compared: they depend on the problem alone, not on the run's seed."""

from __future__ import annotations

import torch

from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.points import PointSettings, sample
from pinntk.residual.residuals import Batch, Residuals

DRAW = 2**31
"""Of the points' sampler; training never gets so far."""


def fixed_batches(residuals: Residuals, interior: int, conditions: int) -> dict[str, Batch]:
    """Uniform points, the same for every seed, width and method of a problem.

    Args:
        residuals: of the problem, with a network whose dtype and device the points take.
        interior: number of residual points.
        conditions: of all initial, boundary and periodic points together (pairs counting once).
    """
    pde = residuals.pde
    others = [region for region in residuals.regions if region != "interior"]
    share = max(1, conditions // max(1, len(others)))
    settings = PointSettings(interior=interior, initial=share, boundary=share)
    drawn = sample(settings, pde.coordinates, pde.lower, pde.upper, residuals.regions, seed=0, draw=DRAW)
    like = next(residuals.network.parameters())
    return residuals.prepare({r: torch.from_numpy(x).to(like) for r, x in drawn.items()})


def interior_rows(jacobian: FactoredJacobian, residuals: Residuals) -> torch.Tensor:
    """Which rows are residuals of the equation, (N,): K_rr are these rows and columns, K_uu the others."""
    rows = torch.zeros(jacobian.shape[0], dtype=torch.bool)
    for term in residuals.terms:
        rows[jacobian.slices[term.name]] = term.region == "interior"
    return rows
