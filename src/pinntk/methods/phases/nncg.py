"""NysNewton-CG (Rathore et al. 2024)."""

from __future__ import annotations

from typing import Any, ClassVar

from pinntk.methods.phases.stepping import SteppingPhase
from pinntk.methods.plan import Phase, PhaseSettings, Resample
from pinntk.optim.nncg import NNCGSettings, NysNewtonCG
from pinntk.residual.objective import LeastSquares


class NNCGPhaseSettings(NNCGSettings, PhaseSettings):
    """Settings of a NysNewton-CG phase."""

    resample_every: Resample = None

    def phase(self, objective: LeastSquares, seed: int) -> Phase:
        return NNCGPhase(objective, self, seed)


class NNCGPhase(SteppingPhase):
    """Damped Newton steps by Nystrom-preconditioned conjugate gradients (`NysNewtonCG`)."""

    name: ClassVar[str] = "nncg"

    optimizer: NysNewtonCG

    def make(self) -> NysNewtonCG:
        return NysNewtonCG(self.objective, self.settings, seed=self.seed)

    def log(self) -> dict[str, float]:
        optimizer = self.optimizer
        return {
            "damping": optimizer.damping,
            "cg_iterations": optimizer.cg_iterations,
            "step_length": optimizer.step_length,
            "gain_ratio": optimizer.gain_ratio,
        }

    def figures(self) -> dict[str, Any]:
        return {"hessian_products": self.optimizer.hessian_products}
