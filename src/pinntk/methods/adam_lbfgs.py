"""Adam, then L-BFGS (paper, Table 2; Rathore et al. 2024)."""

from __future__ import annotations

from typing import ClassVar

from pinntk.methods.phases.first_order import AdamPhaseSettings
from pinntk.methods.phases.lbfgs import LBFGSSettings
from pinntk.methods.plan import Plan
from pinntk.methods.settings import MethodSettings


class AdamLBFGS(Plan):
    """Adam, then L-BFGS, on the weighted losses of the residual terms."""

    class Settings(MethodSettings):
        """Settings of ``adam_lbfgs``."""

        adam: AdamPhaseSettings = AdamPhaseSettings(steps=1_000)
        lbfgs: LBFGSSettings = LBFGSSettings(steps=5_000)

    name: ClassVar[str] = "adam_lbfgs"
