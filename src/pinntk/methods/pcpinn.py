"""The optimisers on the preconditioned residual: Adam, GDND, natural gradient, self-scaled Broyden.

In the applied form L_PC is least squares in the network's values alone: its Jacobian is that of u, so that the kernel
is ``K_uu`` on the grid, without input derivatives. In the direct form it is that of ``P^-1 R(u_theta)``.
"""

from __future__ import annotations

from typing import ClassVar

from pinntk.methods.adam import AdamPhase
from pinntk.methods.base import MethodSettings, Steps
from pinntk.methods.gdnd import GDND
from pinntk.methods.ntk_ng import NTKNaturalGradient
from pinntk.methods.phases import Phase
from pinntk.methods.preconditioned import Preconditioned, PreconditionedSettings
from pinntk.methods.schedule import FallingSettings
from pinntk.methods.ssbroyden import SSBroydenMethod
from pinntk.pdes.base import PDE
from pinntk.residual.points import PointSettings


class PCPINN(Preconditioned):
    """Adam on the preconditioned residual: the paper's PCPINN."""

    class Settings(PreconditionedSettings):
        """Settings of ``pcpinn``."""

        steps: Steps = 10_000
        adam: FallingSettings = FallingSettings()

    name: ClassVar[str] = "pcpinn"

    @classmethod
    def without_effect(cls, pde: PDE, settings: MethodSettings, points: PointSettings) -> dict[str, str]:
        unused = {
            "points.resample_every": f"counts only for other methods; every step of {cls.name} has nodes of its own"
        }
        return {**super().without_effect(pde, settings, points), **unused}

    @classmethod
    def draws_again(cls, settings: MethodSettings, points: PointSettings) -> bool:
        return True  # check_points refuses what this is asked for

    @classmethod
    def check_points(cls, points: PointSettings) -> None:
        super().check_points(points)
        if points.by_residual:
            raise ValueError(f"points.by_residual={points.by_residual:g}: {cls.name} has no such draws; allowed is 0")

    def plan(self) -> list[Phase]:
        adam = AdamPhase(self, self.settings.steps, self.settings.adam)
        adam.resample_every = 1  # every step has nodes of its own
        return [adam]


class PCPINNGDND(Preconditioned, GDND):
    """Adam, L-BFGS and NysNewton-CG on the preconditioned residual: what the paper leaves to future work."""

    class Settings(GDND.Settings, PreconditionedSettings):
        """Settings of ``pcpinn_gdnd``."""

    name: ClassVar[str] = "pcpinn_gdnd"


class PCPINNNaturalGradient(Preconditioned, NTKNaturalGradient):
    """Adam, then natural gradient steps in kernel space, on the preconditioned residual."""

    class Settings(NTKNaturalGradient.Settings, PreconditionedSettings):
        """Settings of ``pcpinn_ng``."""

    name: ClassVar[str] = "pcpinn_ng"


class PCPINNSSBroyden(Preconditioned, SSBroydenMethod):
    """Adam, then self-scaled Broyden, on the preconditioned residual."""

    class Settings(SSBroydenMethod.Settings, PreconditionedSettings):
        """Settings of ``pcpinn_ssbroyden``."""

    name: ClassVar[str] = "pcpinn_ssbroyden"
