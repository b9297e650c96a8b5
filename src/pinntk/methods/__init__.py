"""One LightningModule per optimiser strategy, each with a manual optimisation loop."""

from pinntk.methods.base import Method
from pinntk.methods.plan import Plan
from pinntk.methods.settings import MethodSettings
from pinntk.residual.objective import NonFiniteLoss

__all__ = ["Method", "MethodSettings", "NonFiniteLoss", "Plan"]
