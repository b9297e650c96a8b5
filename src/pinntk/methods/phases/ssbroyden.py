"""Self-scaled Broyden: a quasi-Newton method with the whole inverse Hessian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from pinntk.methods.plan import Phase, PhaseSettings, Resample
from pinntk.optim.ssbroyden import SSBroyden, SSBroydenSettings
from pinntk.residual.objective import LeastSquares


class SSBroydenPhaseSettings(SSBroydenSettings, PhaseSettings):
    """Settings of a self-scaled Broyden phase."""

    limit: ClassVar[tuple[int, str] | None] = 8000, "inverse Hessian"
    """Of 512 MB in float64, and as much in a checkpoint."""
    resample_every: Resample = 500
    """Over the draws the inverse Hessian is kept."""

    def phase(self, objective: LeastSquares, seed: int) -> Phase:
        return SSBroydenPhase(objective, self, seed)


class SSBroydenPhase(Phase):
    """One step of `SSBroyden` per iteration."""

    name: ClassVar[str] = "ssbroyden"

    def start(self, state: Mapping[str, Any] | None) -> None:
        self.optimizer = SSBroyden(self.objective, self.settings)
        self._version = self.objective.version
        if state is not None:
            self.optimizer.load_state_dict(state["optimizer"])
            self._version = state["version"]

    def state(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "version": self._version}

    def step(self, n: int) -> Tensor:
        if self._version != self.objective.version:
            self._version = self.objective.version
            self.optimizer.renew()
        losses = self.optimizer.step()
        self.reason = self.optimizer.reason or None
        return losses

    def log(self) -> dict[str, float]:
        return {"step_length": self.optimizer.step_length, "resets": self.optimizer.resets}
