"""Kernel and Hessian of a trained network, at any points."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pinntk.callbacks.kernel_points import fixed_batches
from pinntk.common.arrays import Array
from pinntk.common.errors import allowed
from pinntk.network import Network
from pinntk.pdes import PDE
from pinntk.residual.form import ResidualForm
from pinntk.residual.hessian import Split
from pinntk.residual.named import all_placed
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.residuals import Batch, Residuals
from pinntk.residual.spectra import Spectrum, SymmetricOperator

Where = Mapping[str, Array] | None
"""Points by region, (n, d) each; None: `fixed_batches`, as the callbacks have them."""


@dataclass(frozen=True)
class Kernel:
    """``K = J J^T`` of residuals without weights, J their Jacobian with respect to the parameters.

    Attributes:
        matrix: K, (N, N), float64.
        rows: of each term, by its name.

    Example::

        >>> kernel = Kernel(np.array([[2.0, 1.0], [1.0, 5.0]]), {"residual": slice(0, 1), "initial": slice(1, 2)})
        >>> kernel.block("residual", "initial").tolist(), kernel.spectrum("initial").largest
        ([[1.0]], 5.0)
        >>> round(float(np.trace(kernel) - kernel.spectrum().values.sum()), 12)
        0.0
    """

    matrix: Array
    rows: dict[str, slice]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.matrix, dtype=dtype, copy=copy)

    def block(self, term: str, other: str | None = None) -> Array:
        """The rows of one term and the columns of another, or of the same.

        Raises:
            ValueError: there is no such term.
        """
        return self.matrix[self._rows(term), self._rows(term if other is None else other)]

    def spectrum(self, *terms: str) -> Spectrum:
        """Eigenvalues of the block that these terms make together, the largest first; of K without a name.

        Raises:
            ValueError: there is no such term.
        """
        rows = np.concatenate([np.arange(len(self.matrix))[self._rows(term)] for term in terms or self.rows])
        return Spectrum.of(torch.from_numpy(self.matrix[np.ix_(rows, rows)]))

    def _rows(self, term: str) -> slice:
        if term not in self.rows:
            raise ValueError(f"ntk: term {term!r} has no rows; {allowed(term, self.rows)}")
        return self.rows[term]


@dataclass(frozen=True)
class LossCurvature:
    """The Hessian of a loss ``L = 1/2 |r|^2``, r with its weights, and what it is made of: ``J^T J``, the Gauss-Newton
    part, and the remainder ``sum_i r_i (second derivative of r_i)``.

    Attributes:
        objective: the loss.
    """

    objective: ResidualForm

    @property
    def hessian(self) -> SymmetricOperator:
        """(P, P), known by its products: ``@``, and ``dense()`` for small networks."""
        return self.objective.curvature("hessian")

    @property
    def gauss_newton(self) -> SymmetricOperator:
        """``J^T J``, (P, P)."""
        return self.objective.curvature("gauss_newton")

    @property
    def remainder(self) -> SymmetricOperator:
        """What the Hessian has beyond ``J^T J``, (P, P)."""
        return self.objective.curvature("remainder")

    def norms(self, tolerance: float = 1e-6) -> Split:
        """Spectral norms of the three, by Lanczos; their ``ratio`` is the remainder's over the Hessian's.

        Args:
            tolerance: of the eigenvectors' residuals, relative to the eigenvalue.
        """
        return Split.of(self.objective.curvature, tolerance)


def free_regions(pde: PDE) -> tuple[list[str], dict[str, str]]:
    """Regions whose terms are functions of a single point, which may be anywhere; the others, and why they are not."""
    known = all_placed([term.region for term in pde.terms()], pde.domain)
    others = {
        name: "pairs of points" if one.pairs else "points of its own"
        for name, one in known.items()
        if one.pairs or one.whole
    }
    return [name for name in known if name not in others], others


def check_free(what: str, pde: PDE, region: str) -> None:
    """ValueError where a region has no terms that are functions of a single point.

    Args:
        what: is asked for; begins the message.
        pde: the problem.
        region: its name.
    """
    free, others = free_regions(pde)
    if region not in free:
        why = f" has {others[region]}, no residuals at others" if region in others else ""
        raise ValueError(f"{what}: region {region!r}{why}; {allowed(region, free)}")


def kernel(pde: PDE, network: Network, where: Where, interior: int, conditions: int) -> Kernel:
    """`Kernel` at points; ``interior`` and ``conditions`` are the counts of fixed ones."""
    residuals, batches = _posed("ntk", pde, network, where, interior, conditions)
    jacobian = FactoredJacobian.of(residuals, batches)
    return Kernel(jacobian.gram().cpu().numpy(), dict(jacobian.slices))


def curvature(pde: PDE, network: Network, where: Where, interior: int, conditions: int, **loss: Any) -> LossCurvature:
    """`LossCurvature` at points; ``loss`` are its normalization and weights."""
    return LossCurvature(ResidualForm(*_posed("hessian", pde, network, where, interior, conditions), **loss))


def _posed(
    what: str, pde: PDE, network: Network, where: Where, interior: int, conditions: int
) -> tuple[Residuals, dict[str, Batch]]:
    """The terms of the regions with these points, in float64, and the points."""
    network = copy.deepcopy(network).double()
    residuals = Residuals(pde, network)  # without those that hold exactly
    if where is None:
        return residuals, fixed_batches(residuals, interior, conditions)
    for region in where:
        check_free(what, pde, region)
    residuals = Residuals(pde, network, [term for term in pde.terms() if term.where in where])
    like = next(network.parameters())
    return residuals, residuals.prepare({region: torch.tensor(x).to(like) for region, x in where.items()})
