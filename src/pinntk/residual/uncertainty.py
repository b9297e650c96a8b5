"""How far measurement noise moves the unknown coefficients of a problem.

At a minimum of ``L = 1/2 |r|^2`` a change dr of the residuals of measurements moves the parameters by

    d theta = -(J^T J)^-1 J_d^T dr

J_d being the rows of the measurements. So with noise of variance ``sigma^2 / w_i`` in measurement i, of weight w_i, the
coefficients have the covariance ``G diag(rho_i^2 sigma^2) G^T``, ``G = E^T (J^T J)^-1 J_d^T`` with E picking their
columns and rho_i the factor of residual i in r. sigma^2 is estimated from what the network leaves of the measurements,
of each term by itself: ``sum e_i^2 / (n - Tr H)`` with ``H = J_d (J^T J)^-1 J_d^T``, e being the term's residuals and
Tr H the number of measurements that the parameters have used up (Seber, Wild, Nonlinear Regression, 2003, sections 2.1
and 5.13). The other residuals, of the equation and its conditions, are not noisy: they bind the parameters.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from pinntk.residual.form import ResidualForm
from pinntk.residual.ntk import FactoredJacobian

PARAMETERS = 6_000
"""Up to which ``J^T J`` is made and factored: seconds."""
ROWS = 2048
"""Of J, made at a time."""
RIDGE = 1e-12
"""Added to ``J^T J`` with its columns scaled to length 1: directions that no residual binds do not count."""
BOUND = 1e-10
"""What the other columns leave of a coefficient's, squared and relative: with less it is not determined."""


def standard_errors(objective: ResidualForm, measured: Collection[str]) -> dict[str, float]:
    """Of the unknown coefficients, by name; nan where the residuals do not determine one.

    Args:
        objective: at its minimum, or near it.
        measured: names of the terms that are measurements; those of weight 0 do not count.

    Raises:
        ValueError: there are no measurements, or more than `PARAMETERS` parameters.
    """
    network, names = objective.network, objective.network.coefficients.unknown
    _, r, jacobian = objective.jacobian()
    assert isinstance(jacobian, FactoredJacobian)
    rows = {name: part for name, part in jacobian.slices.items() if name in measured}
    if not rows:
        raise ValueError("no measurements, whose noise would make it uncertain")
    if jacobian.shape[1] > PARAMETERS:
        raise ValueError(f"{jacobian.shape[1]} parameters; known up to {PARAMETERS}")
    normal = torch.zeros(jacobian.shape[1], jacobian.shape[1], dtype=torch.float64, device=r.device)
    data: dict[str, list[Tensor]] = {name: [] for name in rows}
    for name, rows_of_j in jacobian.row_blocks(ROWS):
        block = rows_of_j.double()
        normal.addmm_(block.T, block)
        if name in data:
            data[name].append(block)
    lengths = normal.diagonal().sqrt()
    lengths = torch.where(lengths > 0, lengths, 1.0)
    normal /= lengths[:, None] * lengths
    normal.diagonal().add_(RIDGE)
    picked = torch.zeros(len(normal), len(names), dtype=normal.dtype, device=normal.device)
    picked[len(normal) - len(names) :] = torch.eye(len(names), dtype=normal.dtype, device=normal.device)
    factor = torch.linalg.cholesky(normal)
    gain = torch.cholesky_solve(picked, factor)
    left = 1 / gain[len(normal) - len(names) :].diagonal()  # of the column, squared, beside all others
    variance = torch.zeros(len(names), dtype=normal.dtype, device=normal.device)
    for name, part in rows.items():
        known = torch.cat(data[name]) / lengths
        counted = known.any(dim=1)
        known, misfit = known[counted], r[part][counted].double()
        used = float((known * torch.cholesky_solve(known.T, factor).T).sum())
        # rho_i is the same for all residuals of a term, and drops out of rho^2 sigma^2.
        noise = misfit.square().sum() / max(len(misfit) - used, 1.0)
        variance += noise * (gain.T @ known.T).square().sum(1)
    errors = torch.where(left > BOUND, variance.sqrt() / lengths[len(normal) - len(names) :], torch.nan)
    return {name: float(network.coefficients.slope(name)) * float(e) for name, e in zip(names, errors, strict=True)}
