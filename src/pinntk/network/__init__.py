"""The network: its inputs, the streams of value and derivatives that go through its layers, and the way back."""

from pinntk.network.features import Features, NetworkSettings
from pinntk.network.network import DTYPES, Network

__all__ = ["DTYPES", "Features", "Network", "NetworkSettings"]
