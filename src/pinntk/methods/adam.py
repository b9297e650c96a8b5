"""Adam on the strong-form residuals: the baseline, and the first phase of other methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from pinntk.methods.base import MethodSettings, Steps
from pinntk.methods.phases import NEVER, Phase, PhasedMethod, PhaseSettings, Stagnation
from pinntk.methods.schedule import AdamSettings, FallingSettings
from pinntk.residual.points import PointSettings


class AdamPhase(Phase):
    """``theta <- theta - eta Adam(grad sum_terms w_term L_term)``, points drawn anew as ``points.resample_every`` says.

    Args:
        method: whose network.
        steps: at most.
        settings: rate, schedule and moments.
        stagnation: when it ends before.
    """

    name: ClassVar[str] = "adam"
    optimizer: torch.optim.Adam

    def __init__(
        self, method: PhasedMethod, steps: int, settings: AdamSettings, stagnation: Stagnation = NEVER
    ) -> None:
        super().__init__(method, steps, stagnation, method.points.resample_every)
        self.settings = settings

    def start(self, state: Mapping[str, Any] | None) -> None:
        self.optimizer = torch.optim.Adam(
            self.method.network.parameters(), lr=self.settings.learning_rate, betas=self.settings.betas, fused=True
        )
        if state is not None:
            self.optimizer.load_state_dict(state["optimizer"])

    def state(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict()}

    def step(self, n: int) -> Tensor:
        losses = self.method.set_gradients()
        self.settings.set_rate(self.optimizer, n, self.steps)
        self.optimizer.step()
        return losses

    def log(self) -> dict[str, float]:
        return {"learning_rate": self.optimizer.param_groups[0]["lr"]}


class AdamPhaseSettings(AdamSettings, PhaseSettings):
    """Settings of an Adam phase among others."""

    def draws_every(self, points: PointSettings) -> int | None:
        return points.resample_every


class FallingAdamSettings(FallingSettings, AdamPhaseSettings):
    """Of a short phase."""


class AdamFirst(PhasedMethod):
    """Base of the methods that begin with Adam; they append their own phases to ``plan``."""

    class Settings(MethodSettings):
        """What these methods have."""

        adam: AdamPhaseSettings = AdamPhaseSettings(steps=500)

    def plan(self) -> list[Phase]:
        settings: AdamPhaseSettings = self.settings.adam
        return [AdamPhase(self, settings.steps, settings, settings.stagnation)]


class AdamMethod(PhasedMethod):
    """Adam alone."""

    class Settings(MethodSettings):
        """Settings of ``adam``."""

        steps: Steps = 10_000
        adam: AdamSettings = AdamSettings()

        def without_effect(self) -> dict[str, str]:
            return {} if self.steps else {"adam": "counts only with steps > 0"}

    name: ClassVar[str] = "adam"

    def plan(self) -> list[Phase]:
        return [AdamPhase(self, self.settings.steps, self.settings.adam)]
