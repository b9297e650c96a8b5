"""Adam, then self-scaled Broyden."""

from __future__ import annotations

from typing import ClassVar

from pinntk.methods.phases.first_order import FallingAdamSettings
from pinntk.methods.phases.ssbroyden import SSBroydenPhaseSettings
from pinntk.methods.plan import Plan
from pinntk.methods.settings import MethodSettings


class SSBroydenMethod(Plan):
    """Adam, then self-scaled Broyden, on the weighted losses of the residual terms."""

    class Settings(MethodSettings):
        """Settings of ``ssbroyden``."""

        adam: FallingAdamSettings = FallingAdamSettings(steps=500)
        ssbroyden: SSBroydenPhaseSettings = SSBroydenPhaseSettings(steps=10_000)

    name: ClassVar[str] = "ssbroyden"
