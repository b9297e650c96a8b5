"""NysNewton-CG (Rathore et al. 2024)."""

from __future__ import annotations

from typing import Any, ClassVar

from pinntk.common.memory import Need
from pinntk.methods.draws import Resample
from pinntk.methods.phases.stepping import SteppingPhase
from pinntk.methods.plan import Phase, PhaseSettings
from pinntk.optim.nncg import NNCGSettings, NysNewtonCG
from pinntk.residual.extent import Extent
from pinntk.residual.hessian import DENSE_ROWS, KEEP
from pinntk.residual.objective import LeastSquares


class NNCGPhaseSettings(NNCGSettings, PhaseSettings):
    """Settings of a NysNewton-CG phase."""

    resample_every: Resample = None

    def need(self, extent: Extent) -> Need:
        """``6 k P`` numbers for k vectors of the preconditioner, with k = P five matrices of ``P^2``; and J: with
        ``gauss_newton`` its factors, and its rows, up to `DENSE_ROWS` entries; with ``hessian`` the recorded gradient,
        up to `KEEP` elements."""
        parameters = extent.parameters
        vectors = 6 * extent.matrix(min(self.rank, parameters), parameters)
        if self.curvature == "hessian":
            most = 10 * extent.matrix(1, KEEP)
            return Need(f"NysNewton-CG takes vectors of {parameters:,} numbers", vectors + min(extent.recorded, most))
        made = extent.rows * parameters <= DENSE_ROWS
        what = f"NysNewton-CG takes the Jacobian of {extent.rows:,} residuals by {parameters:,} parameters"
        size = extent.factors + (extent.made if made else 0)
        return Need(what, vectors + size, "rows" if size > vectors else "parameters")

    def phase(self, objective: LeastSquares, seed: int) -> Phase:
        return NNCGPhase(objective, self, seed)


class NNCGPhase(SteppingPhase):
    """Damped Newton steps by Nystrom-preconditioned conjugate gradients (`NysNewtonCG`)."""

    name: ClassVar[str] = "nncg"
    logged: ClassVar[tuple[str, ...]] = ("damping", "cg_iterations", "step_length", "gain_ratio")

    optimizer: NysNewtonCG

    def make(self) -> NysNewtonCG:
        return NysNewtonCG(self.objective, self.settings, seed=self.seed)

    def figures(self) -> dict[str, Any]:
        return {"hessian_products": self.optimizer.hessian_products}
