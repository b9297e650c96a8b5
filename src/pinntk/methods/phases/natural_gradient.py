"""Natural gradient in kernel space: the neural tangent kernel as the preconditioner."""

from __future__ import annotations

from typing import Any, ClassVar

from pinntk.methods.phases.stepping import SteppingPhase
from pinntk.methods.plan import Phase, PhaseSettings, Resample
from pinntk.optim.natural_gradient import NaturalGradient, NaturalGradientSettings
from pinntk.residual.objective import LeastSquares


class NaturalGradientPhaseSettings(NaturalGradientSettings, PhaseSettings):
    """Settings of a natural gradient phase."""

    resample_every: Resample = None

    def phase(self, objective: LeastSquares, seed: int) -> Phase:
        return NaturalGradientPhase(objective, self, seed)


class NaturalGradientPhase(SteppingPhase):
    """Steps ``J^T (K + mu I)^-1 r`` on the weighted residuals (`NaturalGradient`)."""

    name: ClassVar[str] = "natural_gradient"

    optimizer: NaturalGradient

    def make(self) -> NaturalGradient:
        return NaturalGradient(self.objective, self.settings, seed=self.seed)

    def log(self) -> dict[str, float]:
        optimizer = self.optimizer
        return {"damping": optimizer.damping, "gain_ratio": optimizer.gain_ratio, "trials": optimizer.trials}

    def figures(self) -> dict[str, Any]:
        return {"solver": self.optimizer.way}
