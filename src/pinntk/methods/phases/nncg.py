"""NysNewton-CG (Rathore et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from pinntk.methods.plan import Phase, PhaseSettings, Resample
from pinntk.optim.nncg import NNCGSettings, NysNewtonCG
from pinntk.residual.objective import LeastSquares


class NNCGPhaseSettings(NNCGSettings, PhaseSettings):
    """Settings of a NysNewton-CG phase."""

    resample_every: Resample = None

    def phase(self, objective: LeastSquares, seed: int) -> Phase:
        return NNCGPhase(objective, self, seed)


class NNCGPhase(Phase):
    """Damped Newton steps by Nystrom-preconditioned conjugate gradients (`NysNewtonCG`)."""

    name: ClassVar[str] = "nncg"

    def start(self, state: Mapping[str, Any] | None) -> None:
        self.optimizer = NysNewtonCG(self.objective, self.settings, seed=self.seed)
        if state is not None:
            self.optimizer.load_state_dict(state)

    def state(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def step(self, n: int) -> Tensor:
        losses = self.optimizer.step()
        self.reason = self.optimizer.reason or None
        return losses

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
