"""Adam, then L-BFGS, then NysNewton-CG: what the paper's table calls GDND (Rathore et al. 2024)."""

from __future__ import annotations

from typing import ClassVar

from pinntk.methods.phases.first_order import AdamPhaseSettings
from pinntk.methods.phases.lbfgs import LBFGSSettings
from pinntk.methods.phases.nncg import NNCGPhaseSettings
from pinntk.methods.plan import Plan
from pinntk.methods.settings import MethodSettings


class GDND(Plan):
    """Adam, L-BFGS and NysNewton-CG, one after the other, on the weighted losses of the residual terms."""

    class Settings(MethodSettings):
        """Settings of ``gdnd``."""

        adam: AdamPhaseSettings = AdamPhaseSettings(steps=1_000)
        lbfgs: LBFGSSettings = LBFGSSettings(steps=4_000)
        nncg: NNCGPhaseSettings = NNCGPhaseSettings(steps=500)

    name: ClassVar[str] = "gdnd"
