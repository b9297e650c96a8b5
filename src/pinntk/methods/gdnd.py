"""Adam, then L-BFGS, then NysNewton-CG: what the paper's table calls GDND (Rathore et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.methods.adam_lbfgs import AdamLBFGS, LBFGSSettings
from pinntk.methods.objective import WeightedObjective
from pinntk.methods.phases import Curvature, Phase, PhasedMethod, PhaseSettings
from pinntk.optim.nncg import NNCGSettings, NysNewtonCG


class NNCGPhaseSettings(NNCGSettings, PhaseSettings):
    """Settings of a NysNewton-CG phase."""

    curvature: Curvature = "gauss_newton"
    """``J^T D J``, never indefinite, and its products are cheaper; or ``hessian``."""
    resample_every: Annotated[StrictInt, Field(ge=1)] | None = None
    """Iterations between two draws of the points; null: the same points."""


class NNCGPhase(Phase):
    """Damped Newton steps by Nystrom-preconditioned conjugate gradients (`NysNewtonCG`)."""

    name: ClassVar[str] = "nncg"

    def __init__(self, method: PhasedMethod, settings: NNCGPhaseSettings) -> None:
        super().__init__(method, settings.steps, settings.stagnation, settings.resample_every)
        self.settings = settings

    def start(self, state: Mapping[str, Any] | None) -> None:
        self.objective = WeightedObjective(self.method, self.settings.curvature)
        self.optimizer = NysNewtonCG(self.objective, self.settings, seed=self.method.seed)
        if state is not None:
            self.optimizer.load_state_dict(state)

    def state(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def step(self, n: int) -> Tensor:
        self.optimizer.step()
        self.reason = self.optimizer.reason or None
        return self.objective.losses

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


class GDND(AdamLBFGS):
    """Adam, L-BFGS and NysNewton-CG, one after the other, on the weighted losses of the residual terms."""

    class Settings(AdamLBFGS.Settings):
        """Settings of ``gdnd``."""

        lbfgs: LBFGSSettings = LBFGSSettings(steps=4_000)
        nncg: NNCGPhaseSettings = NNCGPhaseSettings(steps=500)

    name: ClassVar[str] = "gdnd"

    def plan(self) -> list[Phase]:
        return [*super().plan(), NNCGPhase(self, self.settings.nncg)]
