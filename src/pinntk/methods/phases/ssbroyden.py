"""Self-scaled Broyden: a quasi-Newton method with the whole inverse Hessian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from pinntk.common.memory import Need
from pinntk.methods.draws import Draws, Resample
from pinntk.methods.phases.stepping import SteppingPhase
from pinntk.methods.plan import Phase, PhaseSettings
from pinntk.optim.ssbroyden import SSBroyden, SSBroydenSettings
from pinntk.residual.extent import Extent
from pinntk.residual.objective import LeastSquares


class SSBroydenPhaseSettings(SSBroydenSettings, Draws, PhaseSettings):
    """Settings of a self-scaled Broyden phase."""

    resample_every: Resample = 500
    """Over the draws the inverse Hessian is kept."""

    def need(self, extent: Extent) -> Need:
        """``2 P^2`` numbers: the inverse Hessian, and the copy of it in a checkpoint; what is pending beside
        it is little. With ``restart=gauss_newton`` J as well, its rows, ``J^T J`` and its eigenvectors, ``4 P^2``."""
        square = extent.matrix(extent.parameters, extent.parameters)
        again = max(extent.made, extent.dense + 4 * square) + extent.factors if self.restart == "gauss_newton" else 0
        what = f"self-scaled Broyden keeps a matrix of {extent.parameters:,}^2 numbers, and copies it to save it"
        return Need(what, 2 * square + again)

    def phase(self, objective: LeastSquares, seed: int) -> Phase:
        return SSBroydenPhase(objective, self, seed)


class SSBroydenPhase(SteppingPhase):
    """One step of `SSBroyden` per iteration."""

    name: ClassVar[str] = "ssbroyden"
    logged: ClassVar[tuple[str, ...]] = ("step_length", "resets")

    optimizer: SSBroyden

    def make(self) -> SSBroyden:
        return SSBroyden(self.objective, self.settings)

    def start(self, state: Mapping[str, Any] | None) -> None:
        super().start(state and state["optimizer"])
        self._version = self.objective.version if state is None else state["version"]

    def state(self) -> dict[str, Any]:
        return {"optimizer": super().state(), "version": self._version}

    def step(self, n: int) -> Tensor:
        if self._version != self.objective.version:
            self._version = self.objective.version
            self.optimizer.renew()
        return super().step(n)
