"""The network: fixed features of the coordinates, then tanh layers through which all streams go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from pinntk.common.arrays import Array
from pinntk.network.features import Features, NetworkSettings
from pinntk.network.streams import Streams, tanh_cotangents, tanh_streams

PREDICT_ROWS = 8192
"""Points per block when the network is evaluated on a whole grid: bounds memory and stays in the cache."""
PREDICT_ELEMENTS = 2**21
"""Points times width per block at most, for wide networks: 16 MiB in float64."""
DTYPES = {"64-true": torch.float64, "32-true": torch.float32}
"""By precision, as a run is told it."""


class Network(nn.Module):
    """Fully connected tanh network ``u(x) = s W_L tanh(... tanh(W_0 phi(x) + b_0)) + b_L`` (paper, equation 1).

    ``standard``: Glorot-normal weights, zero biases, s = 1. ``ntk``: every parameter N(0, 1), and ``1/sqrt(fan-in)``
    in front of the weights of every layer after the first; with one hidden layer of width m that is the paper's
    ``1/sqrt(m)``.

    Args:
        settings: shape, parametrisation and features.
        coordinates: names of the inputs.
        lower, upper: the domain's box, one number per coordinate.
        seed: of the initial parameters; they are drawn in float64 and rounded where dtype is float32, so that both
            precisions start from the same network.
        dtype: of the parameters.

    Example::

        >>> from pinntk.network.features import NetworkSettings
        >>> from pinntk.network.streams import Streams
        >>> network = Network(NetworkSettings(width=1, depth=1, normalize=False), ["x"], [0.0], [1.0])
        >>> network.assign(torch.tensor([2.0, 0.0, 3.0, 1.0]))  # u = 3 tanh(2 x) + 1
        >>> x = torch.tensor([[0.0], [math.atanh(0.5) / 2]], dtype=torch.float64)
        >>> streams = network.streams(x, Streams(["u_x", "u_xx"], ["x"]))
        >>> {name: [round(value, 6) for value in stream.tolist()] for name, stream in streams.items()}
        {'u': [1.0, 2.5], 'u_x': [6.0, 4.5], 'u_xx': [0.0, -9.0]}
    """

    def __init__(
        self,
        settings: NetworkSettings,
        coordinates: Sequence[str],
        lower: Sequence[float],
        upper: Sequence[float],
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        self.coordinates = tuple(coordinates)
        self.width = settings.width
        self.features = Features(settings, coordinates, lower, upper)
        sizes = [self.features.size, *[settings.width] * settings.depth, 1]
        self.layers = nn.ModuleList(nn.Linear(m, n, dtype=torch.float64) for m, n in pairwise(sizes))
        ntk = settings.parametrization == "ntk"
        self.scales = tuple(1 / math.sqrt(m) if ntk and i > 0 else 1.0 for i, m in enumerate(sizes[:-1]))
        generator = torch.Generator().manual_seed(seed)
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            if ntk:
                nn.init.normal_(layer.weight, generator=generator)
                nn.init.normal_(layer.bias, generator=generator)
            else:
                nn.init.xavier_normal_(layer.weight, generator=generator)
                nn.init.zeros_(layer.bias)
        self.to(dtype)

    def vector(self) -> Tensor:
        """A copy of all parameters, (P,), in the order of ``parameters()``."""
        return nn.utils.parameters_to_vector(self.parameters()).detach()

    def assign(self, theta: Tensor) -> None:
        """Give the network the parameters theta, (P,).

        Copied into the places where they are: products may round otherwise for other alignments in memory, and a
        resumed run would not equal the uninterrupted one.
        """
        parameters = list(self.parameters())
        with torch.no_grad():
            for parameter, part in zip(parameters, theta.split([p.numel() for p in parameters]), strict=True):
                parameter.copy_(part.view_as(parameter))

    @cached_property
    def value(self) -> Streams:
        """The stream of the value alone."""
        return Streams(["u"], self.coordinates)

    def propagate(self, inputs: Tensor, streams: Streams, record: list[tuple[Tensor, Tensor]] | None = None) -> Tensor:
        """Stacked streams of the inputs, (S, N, F), as ``features`` makes them -> streams of u, (S, N).

        Args:
            inputs: of the first layer.
            streams: which.
            record: if given, every layer's inputs h and outputs z are appended, (S, N, m_in) and (S, N, m_out).
        """
        h = inputs
        last = len(self.layers) - 1
        for i, (layer, scale) in enumerate(zip(self.layers, self.scales, strict=True)):
            assert isinstance(layer, nn.Linear)
            z = nn.functional.linear(h, layer.weight)
            if scale != 1.0:
                z = z * scale
            # A constant has no derivative: the bias goes to the value, zeros to the other streams.
            z = z + nn.functional.pad(layer.bias[None, None], (0, 0, 0, 0, 0, len(streams) - 1))
            if record is not None:
                record.append((h, z))
            h = tanh_streams(z, streams) if i < last else z
        return h.squeeze(-1)

    def backpropagate(
        self, record: Sequence[tuple[Tensor, Tensor]], streams: Streams, cotangents: Tensor
    ) -> list[Tensor]:
        """Cotangents of the streams of u, (S, N) -> those of every layer's outputs z, (S, N, m_out).

        Args:
            record: of ``propagate``.
            streams: which.
            cotangents: ``dr_i/d(stream s at point i)``.
        """
        found = [cotangents.unsqueeze(-1)]
        for i in reversed(range(1, len(self.layers))):
            layer = self.layers[i]
            assert isinstance(layer, nn.Linear)
            above = found[-1] @ layer.weight
            if self.scales[i] != 1.0:
                above = above * self.scales[i]
            found.append(tanh_cotangents(record[i - 1][1], record[i][0][0], above, streams))
        return found[::-1]

    def predict(self, points: Array) -> Array:
        """u at points (n, d), float64 in and out, on whatever device and in whatever precision it is: (n,)."""
        like = next(self.parameters())
        with torch.no_grad():
            x = torch.from_numpy(np.array(points, dtype=np.float64, order="C")).to(like)
            rows = max(1, min(PREDICT_ROWS, PREDICT_ELEMENTS // self.width))
            return torch.cat([self(part) for part in x.split(rows)]).double().cpu().numpy()

    def streams(self, x: Tensor, streams: Streams) -> dict[str, Tensor]:
        """The wanted streams at points x of shape (N, d), by name, each of shape (N,)."""
        return dict(zip(streams.names, self.propagate(self.features(x, streams), streams), strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """u at points x: (N, d) -> (N,)."""
        return self.propagate(self.features(x, self.value), self.value)[0]
