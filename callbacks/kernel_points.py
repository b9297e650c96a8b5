"""Fixed points on which kernels are compared: they depend on the problem alone, not on the run's seed."""

from __future__ import annotations

import torch

from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.points import draw_region
from pinntk.residual.residuals import Batch, Residuals

DRAW = 2**31
"""Of the points' sampler; training never gets so far."""


def fixed_batches(residuals: Residuals, interior: int, conditions: int) -> dict[str, Batch]:
    """Uniform points, the same for every seed, width and method of a problem.

    Args:
        residuals: of the problem, with a network whose dtype and device the points take.
        interior: number of residual points, in each region of the equation.
        conditions: of all other points together (pairs counting once); of more measurements some, evenly over the file.
    """
    regions = residuals.region_of.values()
    share = max(1, conditions // max(1, sum(not region.equation for region in regions)))
    like, found = next(residuals.network.parameters()), {}
    for region in regions:
        count = interior if region.equation else share
        points = draw_region(region, count, "uniform", seed=0, draw=DRAW)
        batch = residuals.prepare_region(region.name, torch.from_numpy(points).to(like))
        if region.whole and len(points) > count:  # it cannot draw fewer
            batch = batch.rows(torch.linspace(0, len(points) - 1, count, device=like.device).round().long())
        found[region.name] = batch
    return found


def interior_rows(jacobian: FactoredJacobian, residuals: Residuals) -> torch.Tensor:
    """Which rows are residuals of the equation, (N,): K_rr are these rows and columns, K_uu the others."""
    rows = torch.zeros(jacobian.shape[0], dtype=torch.bool)
    for term in residuals.terms:
        rows[jacobian.slices[term.name]] = term.equation
    return rows
