"""What of a method can be shared out over several processes (`pinntk.residual.shared`)."""

from __future__ import annotations

from pinntk.methods.adam import AdamMethod
from pinntk.methods.base import Method
from pinntk.methods.phases.first_order import AdamPhaseSettings, DescentSettings
from pinntk.methods.phases.gauss_newton import GaussNewtonPhaseSettings
from pinntk.methods.phases.lbfgs import LBFGSSettings
from pinntk.methods.phases.natural_gradient import NaturalGradientPhaseSettings
from pinntk.methods.phases.ssbroyden import SSBroydenPhaseSettings
from pinntk.methods.pinn_ntk import PINNNTK
from pinntk.methods.plan import Plan
from pinntk.methods.settings import MethodSettings

WHOLE = AdamMethod, PINNNTK
"""Methods of one phase, whose plan no settings of phases say."""
PHASES = (
    *(AdamPhaseSettings, DescentSettings, LBFGSSettings, SSBroydenPhaseSettings),
    *(GaussNewtonPhaseSettings, NaturalGradientPhaseSettings),
)
"""Those that ask for losses, gradients and least squares only."""
SHARED = "adam, adam_lbfgs, gauss_newton, ntk_ng, pinn_ntk, ssbroyden, or a plan of their phases"


def check_shared(kind: type[Method], settings: MethodSettings) -> None:
    """Raise ValueError where several processes cannot train the method together; says what is allowed."""
    own = kind.make_objective is not Method.make_objective  # which may be anything
    if own or not issubclass(kind, Plan):
        raise ValueError(f"method={kind.name} trains in one process; allowed is 1, or {SHARED}")
    for key, phase in kind.phase_settings(settings).items():
        if phase.steps and not isinstance(phase, PHASES):
            raise ValueError(
                f"the phase method.{key} trains in one process; allowed is 1, method.{key}.steps=0, or {SHARED}"
            )
    if not issubclass(kind, WHOLE) and not kind.phase_settings(settings):
        raise ValueError(f"method={kind.name} does not say its phases; allowed is 1, or {SHARED}")
    if settings.slabs > 1:
        raise ValueError(f"method.slabs={settings.slabs} trains in one process; allowed is 1, or method.slabs=1")
    if settings.weighting == "residual":
        raise ValueError("method.weighting=residual trains in one process; allowed is 1, or weighting fixed or ntk")
