"""The network: its inputs, the streams of value and derivatives that go through its layers, and the way back."""

from pinntk.network.ansatz import Ansatz
from pinntk.network.coefficients import Coefficient, Unknown
from pinntk.network.features import Features
from pinntk.network.network import DTYPES, Network, count_parameters
from pinntk.network.readout import Inputs
from pinntk.network.settings import NetworkSettings

__all__ = [
    "DTYPES",
    "Ansatz",
    "Coefficient",
    "Features",
    "Inputs",
    "Network",
    "NetworkSettings",
    "Unknown",
    "count_parameters",
]
