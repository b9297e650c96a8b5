"""Adam on the strong-form residuals: the baseline."""

from __future__ import annotations

from typing import ClassVar

from pinntk.methods.phases.first_order import AdamPhaseSettings
from pinntk.methods.plan import PhaseSettings, Plan
from pinntk.methods.schedule import AdamSettings
from pinntk.methods.settings import MethodSettings, Steps


class AdamMethod(Plan):
    """Adam alone."""

    class Settings(MethodSettings):
        """Settings of ``adam``."""

        steps: Steps = 10_000
        adam: AdamSettings = AdamSettings()

        def without_effect(self) -> dict[str, str]:
            return {**super().without_effect(), **({} if self.steps else {"adam": "counts only with steps > 0"})}

    name: ClassVar[str] = "adam"

    def plan(self) -> list[PhaseSettings]:
        return [AdamPhaseSettings(steps=self.settings.steps, **dict(self.settings.adam))]
