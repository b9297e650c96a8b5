"""Gradient descent, then damped Newton, as written (paper, Algorithm 2 and Theorem 4)."""

from __future__ import annotations

from typing import ClassVar

from pinntk.methods.phases.first_order import DescentSettings
from pinntk.methods.phases.newton import NewtonSettings
from pinntk.methods.plan import Plan
from pinntk.methods.settings import MethodSettings


class GDNDTheory(Plan):
    """``S1`` steps of gradient descent, then ``S2`` damped Newton steps, on the weighted loss of fixed points."""

    class Settings(MethodSettings):
        """Settings of ``gdnd_theory``."""

        descent: DescentSettings = DescentSettings(steps=1_000)
        newton: NewtonSettings = NewtonSettings(steps=20)

    name: ClassVar[str] = "gdnd_theory"
