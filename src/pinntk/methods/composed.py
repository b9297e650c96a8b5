"""A plan written in the configuration: phases in any order, any number of times."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from pinntk.common.settings import Strict
from pinntk.methods.phases.first_order import AdamPhaseSettings, DescentSettings
from pinntk.methods.phases.lbfgs import LBFGSSettings
from pinntk.methods.phases.natural_gradient import NaturalGradientPhaseSettings
from pinntk.methods.phases.newton import NewtonSettings
from pinntk.methods.phases.nncg import NNCGPhaseSettings
from pinntk.methods.phases.ssbroyden import SSBroydenPhaseSettings
from pinntk.methods.plan import PhaseSettings, Plan
from pinntk.methods.settings import MethodSettings


class OnePhase(Strict):
    """``{<phase>: <its settings>}``"""

    adam: AdamPhaseSettings | None = None
    descent: DescentSettings | None = None
    lbfgs: LBFGSSettings | None = None
    nncg: NNCGPhaseSettings | None = None
    natural_gradient: NaturalGradientPhaseSettings | None = None
    ssbroyden: SSBroydenPhaseSettings | None = None
    newton: NewtonSettings | None = None

    @model_validator(mode="after")
    def _it_is_one(self) -> OnePhase:
        if len(self.model_fields_set) != 1 or self.settings is None:
            came = ", ".join(sorted(self.model_fields_set)) or "nothing"
            names = ", ".join(type(self).model_fields)
            raise ValueError(f"came {came}; allowed is one phase with its settings, of {names}")
        return self

    @property
    def name(self) -> str:
        """Of the phase."""
        (name,) = self.model_fields_set
        return name

    @property
    def settings(self) -> PhaseSettings | None:
        """Of the phase."""
        found: PhaseSettings | None = getattr(self, next(iter(self.model_fields_set)))
        return found


class ComposedPlan(Plan):
    """The phases of ``method.phases``, one after the other, on the weighted losses of the residual terms."""

    class Settings(MethodSettings):
        """Settings of ``plan``."""

        phases: Annotated[list[OnePhase], Field(min_length=1)]

    name: ClassVar[str] = "plan"

    @classmethod
    def phase_settings(cls, settings: MethodSettings) -> dict[str, PhaseSettings]:
        assert isinstance(settings, cls.Settings)
        found = {f"phases.{k}.{phase.name}": phase.settings for k, phase in enumerate(settings.phases)}
        return {key: phase for key, phase in found.items() if phase is not None}
