"""Adam, then self-scaled Broyden: a quasi-Newton method with the whole inverse Hessian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.methods.adam import AdamFirst, FallingAdamSettings
from pinntk.methods.objective import WeightedObjective
from pinntk.methods.phases import Phase, PhasedMethod, PhaseSettings
from pinntk.optim.ssbroyden import SSBroyden, SSBroydenSettings


class SSBroydenPhaseSettings(SSBroydenSettings, PhaseSettings):
    """Settings of a self-scaled Broyden phase."""

    limit: ClassVar[tuple[int, str] | None] = 8000, "inverse Hessian"
    """Of 512 MB in float64, and as much in a checkpoint."""
    resample_every: Annotated[StrictInt, Field(ge=1)] | None = 500
    """Iterations between two draws of the points, over which the inverse Hessian is kept; null: the same points."""


class SSBroydenPhase(Phase):
    """One step of `SSBroyden` per iteration."""

    name: ClassVar[str] = "ssbroyden"

    def __init__(self, method: PhasedMethod, settings: SSBroydenPhaseSettings) -> None:
        super().__init__(method, settings.steps, settings.stagnation, settings.resample_every)
        self.settings = settings

    def start(self, state: Mapping[str, Any] | None) -> None:
        self.optimizer = SSBroyden(WeightedObjective(self.method), self.settings)
        self._draw = self.method.draw
        if state is not None:
            self.optimizer.load_state_dict(state["optimizer"])
            self._draw = state["draw"]

    def state(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "draw": self._draw}

    def step(self, n: int) -> Tensor:
        if self._draw != self.method.draw:
            self._draw = self.method.draw
            self.optimizer.renew()
        losses = self.optimizer.step()
        self.reason = self.optimizer.reason or None
        return losses

    def log(self) -> dict[str, float]:
        return {"step_length": self.optimizer.step_length, "resets": self.optimizer.resets}


class SSBroydenMethod(AdamFirst):
    """Adam, then self-scaled Broyden, on the weighted losses of the residual terms."""

    class Settings(AdamFirst.Settings):
        """Settings of ``ssbroyden``."""

        adam: FallingAdamSettings = FallingAdamSettings(steps=500)
        ssbroyden: SSBroydenPhaseSettings = SSBroydenPhaseSettings(steps=10_000)

    name: ClassVar[str] = "ssbroyden"

    def plan(self) -> list[Phase]:
        return [*super().plan(), SSBroydenPhase(self, self.settings.ssbroyden)]
