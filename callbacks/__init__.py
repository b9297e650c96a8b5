"""Lightning callbacks, imported as ``pinntk.callbacks``."""

from pinntk.callbacks.checkpoint import TimedCheckpoint
from pinntk.callbacks.conditioning import Conditioning
from pinntk.callbacks.error import ErrorAgainstReference
from pinntk.callbacks.estimates import Estimates
from pinntk.callbacks.fresh import FreshLoss
from pinntk.callbacks.hessian_norm import HessianNorm
from pinntk.callbacks.measurement import Measurement
from pinntk.callbacks.ntk_drift import NTKDrift
from pinntk.callbacks.ntk_forecast import NTKForecast
from pinntk.callbacks.progress import Progress
from pinntk.callbacks.solution import SolutionPlot

__all__ = [
    "Conditioning",
    "ErrorAgainstReference",
    "Estimates",
    "FreshLoss",
    "HessianNorm",
    "Measurement",
    "NTKDrift",
    "NTKForecast",
    "Progress",
    "SolutionPlot",
    "TimedCheckpoint",
]
