"""One LightningModule per optimiser strategy, each with a manual optimisation loop."""

from pinntk.methods.base import Method, MethodSettings
from pinntk.residual.objective import NonFiniteLoss

__all__ = ["Method", "MethodSettings", "NonFiniteLoss"]
