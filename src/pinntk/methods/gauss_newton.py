"""Adam, then self-scaled Broyden, then Gauss-Newton steps."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StrictInt

from pinntk.methods.phases.first_order import FallingAdamSettings
from pinntk.methods.phases.gauss_newton import GaussNewtonPhaseSettings
from pinntk.methods.phases.ssbroyden import SSBroydenPhaseSettings
from pinntk.methods.plan import Plan
from pinntk.methods.settings import MethodSettings


class GaussNewtonMethod(Plan):
    """Gauss-Newton with control of the gain ratio, from where Adam and self-scaled Broyden have come."""

    class Settings(MethodSettings):
        """Settings of ``gauss_newton``."""

        log_every: Annotated[StrictInt, Field(ge=1)] = 10
        adam: FallingAdamSettings = FallingAdamSettings(steps=500)
        ssbroyden: SSBroydenPhaseSettings = SSBroydenPhaseSettings(steps=1_000)
        gauss_newton: GaussNewtonPhaseSettings = GaussNewtonPhaseSettings(steps=500)

    name: ClassVar[str] = "gauss_newton"
