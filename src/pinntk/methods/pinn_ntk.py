"""PINN-NTK: loss weights from the kernel's traces (paper, Algorithm 1; Wang, Yu, Perdikaris 2022)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictInt

from pinntk.methods.phases.first_order import AdamPhaseSettings, FollowingDescentSettings
from pinntk.methods.plan import PhaseSettings, Plan
from pinntk.methods.schedule import AdamSettings, ExponentialSchedule
from pinntk.methods.settings import MethodSettings, Steps


class DecayingAdamSettings(AdamSettings):
    """At the paper's rate, which falls by 0.9 every 1,000 iterations."""

    schedule: ExponentialSchedule = ExponentialSchedule()


class PINNNTK(Plan):
    """``lambda_b = Tr K / Tr K_uu``, ``lambda_r = Tr K / Tr K_rr``, then a step on ``lambda_b L_b + lambda_r L_r``.

    K is the kernel of the residuals at the training points as the loss counts them (`LeastSquares.traces`); its traces
    come from the same backward pass as the gradient. Fixed ``weights`` multiply the lambdas.
    """

    class Settings(MethodSettings):
        """Settings of ``pinn_ntk``."""

        steps: Steps = 10_000
        optimizer: Literal["adam", "gd"] = "adam"
        """``gd``: plain gradient descent as Algorithm 1 is written, with adam.learning_rate and its schedule."""
        weighting: Literal["ntk"] = "ntk"
        update_every: Annotated[StrictInt, Field(ge=1)] | None = 1
        """Iterations between two looks at the traces; null: with every draw of the points."""
        adam: DecayingAdamSettings = DecayingAdamSettings()

        def without_effect(self) -> dict[str, str]:
            found = super().without_effect()
            if not self.steps:
                return dict.fromkeys(("optimizer", "update_every", "balance", "adam"), "counts only with steps > 0")
            return found | ({"adam.betas": "counts only with optimizer=adam"} if self.optimizer == "gd" else {})

    name: ClassVar[str] = "pinn_ntk"

    def plan(self) -> list[PhaseSettings]:
        s = self.settings
        if s.optimizer == "adam":
            return [AdamPhaseSettings(steps=s.steps, **dict(s.adam))]
        rate = {"learning_rate": s.adam.learning_rate, "schedule": s.adam.schedule}
        return [FollowingDescentSettings(steps=s.steps, **rate)]
