"""A plan written in the configuration: phases in any order, any number of times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import BaseModel, Field, model_validator

from pinntk.common.settings import Strict, without_effect
from pinntk.discrete.discretization import DiscretizationSettings
from pinntk.methods.phases.first_order import AdamPhaseSettings, DescentSettings
from pinntk.methods.phases.gauss_newton import GaussNewtonPhaseSettings
from pinntk.methods.phases.lbfgs import LBFGSSettings
from pinntk.methods.phases.natural_gradient import NaturalGradientPhaseSettings
from pinntk.methods.phases.newton import NewtonSettings
from pinntk.methods.phases.nncg import NNCGPhaseSettings
from pinntk.methods.phases.ssbroyden import SSBroydenPhaseSettings
from pinntk.methods.plan import PhaseSettings, Plan
from pinntk.methods.settings import MethodSettings
from pinntk.pdes.base import PDE


class OnePhase(Strict):
    """``{<phase>: <its settings>}``"""

    adam: AdamPhaseSettings | None = None
    descent: DescentSettings | None = None
    lbfgs: LBFGSSettings | None = None
    nncg: NNCGPhaseSettings | None = None
    natural_gradient: NaturalGradientPhaseSettings | None = None
    ssbroyden: SSBroydenPhaseSettings | None = None
    newton: NewtonSettings | None = None
    gauss_newton: GaussNewtonPhaseSettings | None = None

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


def _given(settings: BaseModel, prefix: str) -> Iterator[str]:
    """The keys that were given, not left to their defaults."""
    for name in sorted(settings.model_fields_set):
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from _given(value, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}"


class ComposedPlan(Plan):
    """The phases of ``method.phases``, one after the other, on the weighted losses of the residual terms."""

    class Settings(MethodSettings):
        """Settings of ``plan``."""

        phases: Annotated[list[OnePhase], Field(min_length=1)]

    name: ClassVar[str] = "plan"

    @classmethod
    def check(cls, pde: PDE, settings: MethodSettings, discretization: DiscretizationSettings | None) -> None:
        super().check(pde, settings, discretization)
        for key, phase in cls.phase_settings(settings).items():
            unused = without_effect(phase, f"method.{key}")
            for given in _given(phase, f"method.{key}"):
                for key_without_effect, when in unused.items():
                    if given == key_without_effect or given.startswith(f"{key_without_effect}."):
                        raise ValueError(f"{given}: {when}; allowed is to leave it out")

    @classmethod
    def phase_settings(cls, settings: MethodSettings) -> dict[str, PhaseSettings]:
        assert isinstance(settings, cls.Settings)
        found = {f"phases.{k}.{phase.name}": phase.settings for k, phase in enumerate(settings.phases)}
        return {key: phase for key, phase in found.items() if phase is not None}
