"""Adam, then the natural gradient in kernel space."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StrictInt

from pinntk.methods.phases.first_order import FallingAdamSettings
from pinntk.methods.phases.natural_gradient import NaturalGradientPhaseSettings
from pinntk.methods.plan import Plan
from pinntk.methods.settings import MethodSettings


class NTKNaturalGradient(Plan):
    """A short Adam phase, then natural gradient steps in kernel space, on the weighted residual terms."""

    class Settings(MethodSettings):
        """Settings of ``ntk_ng``."""

        log_every: Annotated[StrictInt, Field(ge=1)] = 10
        adam: FallingAdamSettings = FallingAdamSettings(steps=500)
        natural_gradient: NaturalGradientPhaseSettings = NaturalGradientPhaseSettings(steps=1_000)

    name: ClassVar[str] = "ntk_ng"
