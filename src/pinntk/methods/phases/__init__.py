"""The phases of which plans are made: one optimiser each, with its settings."""

from pinntk.methods.phases.first_order import AdamPhaseSettings, DescentSettings
from pinntk.methods.phases.gauss_newton import GaussNewtonPhaseSettings
from pinntk.methods.phases.lbfgs import LBFGSSettings
from pinntk.methods.phases.natural_gradient import NaturalGradientPhaseSettings
from pinntk.methods.phases.newton import NewtonSettings
from pinntk.methods.phases.nncg import NNCGPhaseSettings
from pinntk.methods.phases.ssbroyden import SSBroydenPhaseSettings

__all__ = [
    "AdamPhaseSettings",
    "DescentSettings",
    "GaussNewtonPhaseSettings",
    "LBFGSSettings",
    "NNCGPhaseSettings",
    "NaturalGradientPhaseSettings",
    "NewtonSettings",
    "SSBroydenPhaseSettings",
]
