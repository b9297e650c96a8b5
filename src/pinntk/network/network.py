"""The network: fixed features of the coordinates, then layers through which all streams go."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from pinntk.common.arrays import Array
from pinntk.network.activations import activation_of
from pinntk.network.ansatz import Ansatz
from pinntk.network.coefficients import Coefficients, Unknown
from pinntk.network.features import Features
from pinntk.network.propagation import activate, activation_cotangents
from pinntk.network.readout import Inputs, prepared
from pinntk.network.settings import Feature, NetworkSettings
from pinntk.network.streams import Operator, Streams

PREDICT_ROWS = 8192
"""Points per block when the network is evaluated on a whole grid: bounds memory and stays in the cache."""
PREDICT_ELEMENTS = 2**21
"""Points times width per block at most, for wide networks: 16 MiB in float64."""
DTYPES = {"64-true": torch.float64, "32-true": torch.float32}
"""By precision, as a run is told it."""


class Solved(Protocol):
    """What a network needs to know of a problem."""

    coordinates: ClassVar[tuple[str, ...]]
    fields: ClassVar[tuple[str, ...]]
    lower: ClassVar[tuple[float, ...]]
    upper: ClassVar[tuple[float, ...]]

    def ansatz(self) -> Ansatz | None:
        """Its hard conditions."""

    def inputs(self) -> Sequence[Feature]:
        """The network's inputs that belong to its hard conditions."""

    def coefficients(self) -> Mapping[str, float | Unknown]:
        """Its numbers by name, those to be found among them."""


def completed(settings: NetworkSettings, problem: Solved) -> NetworkSettings:
    """Settings with the inputs that belong to the problem's hard conditions, where the network is to satisfy them."""
    if not settings.hard:
        return settings
    return settings.model_copy(update={"features": [*problem.inputs(), *settings.features]})


def count_parameters(settings: NetworkSettings, problem: Solved) -> int:
    """Of the network of a problem, without making it.

    Raises:
        ValueError: its inputs do not fit the problem.
    """
    settings = completed(settings, problem)
    inputs = Features(settings, problem.coordinates, problem.lower, problem.upper).size
    sizes = [inputs, *[settings.width] * settings.depth, len(problem.fields)]
    unknown = sum(isinstance(value, Unknown) for value in problem.coefficients().values())
    return sum((m + 1) * n for m, n in pairwise(sizes)) + settings.slopes * settings.depth + unknown


class Network(nn.Module):
    """Fully connected network ``N(x) = s W_L sigma(... sigma(W_0 phi(x) + b_0)) + b_L`` (paper, equation 1).

    ``standard``: Glorot-normal weights, zero biases, s = 1. ``ntk``: every parameter N(0, 1), and ``1/sqrt(fan-in)``
    in front of the weights of every layer after the first; with one hidden layer of width m that is the paper's
    ``1/sqrt(m)``. With hard conditions ``u = lift + factor N``, else ``u = N``; an output for each field.

    What is trained besides its weights is a parameter of it, too: slopes of the layers, and unknown coefficients of
    the problem. They come last among ``parameters()``.

    Args:
        settings: shape, parametrisation and features.
        coordinates: names of the inputs.
        lower, upper: the domain's box, one number per coordinate.
        fields: names of the outputs.
        ansatz: of the hard conditions, where ``settings.hard`` has them.
        coefficients: of the problem, by name.
        seed: of the initial parameters; they are drawn in float64 and rounded where dtype is float32, so that both
            precisions start from the same network.
        dtype: of the parameters.

    Example::

        >>> from pinntk.network import NetworkSettings
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
        fields: Sequence[str] = ("u",),
        ansatz: Ansatz | None = None,
        coefficients: Mapping[str, float | Unknown] | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        self.coordinates, self.fields = tuple(coordinates), tuple(fields)
        self.settings, self.width = settings, settings.width
        self.ansatz = ansatz if settings.hard else None
        self.activation = activation_of(settings.activation)
        self.features = Features(settings, coordinates, lower, upper)
        sizes = [self.features.size, *[settings.width] * settings.depth, len(self.fields)]
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
        slopes = {"hidden": nn.Parameter(torch.ones(settings.depth, dtype=torch.float64))} if settings.slopes else {}
        self.slopes = nn.ParameterDict(slopes)
        self.coefficients = Coefficients(coefficients or {})
        self._sloping = settings.slopes
        self.to(dtype)

    @classmethod
    def of(
        cls, problem: Solved, settings: NetworkSettings, *, seed: int = 0, dtype: torch.dtype = torch.float64
    ) -> Self:
        """The network of a problem."""
        found = cls(
            completed(settings, problem),
            problem.coordinates,
            problem.lower,
            problem.upper,
            fields=problem.fields,
            ansatz=problem.ansatz() if settings.hard else None,
            coefficients=problem.coefficients(),
            seed=seed,
            dtype=dtype,
        )
        found.settings = settings
        return found

    def without_ansatz(self) -> Network:
        """N alone: a copy without the hard conditions."""
        found = copy.deepcopy(self)
        found.ansatz = None
        for name in ("value", "_inner"):
            found.__dict__.pop(name, None)
        return found

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

    def wanting(self, *wanted: str | Operator) -> Streams:
        """The streams of these names and operators, as this network makes them.

        Raises:
            ValueError: a name is not known.
        """
        names = self.coefficients.names
        return Streams(wanted, self.coordinates, self.fields, names, hard=self.ansatz is not None)

    @cached_property
    def _inner(self) -> Streams:
        """The streams of N alone, without hard conditions."""
        return Streams(self.fields, self.coordinates, self.fields)

    @cached_property
    def value(self) -> Streams:
        """The streams of the values alone."""
        return self.wanting(*self.fields)

    def prepare(self, x: Tensor, streams: Streams, normals: Tensor | None = None) -> Inputs:
        """What does not depend on the parameters at points x, (N, d).

        Args:
            x: points.
            streams: which.
            normals: outward unit normals, (N, d), where there are normal derivatives among the streams.
        """
        return Inputs(self.features(x, streams), *prepared(x, streams, self.ansatz, normals))

    def propagate(self, inputs: Inputs, streams: Streams, record: list[tuple[Tensor, Tensor]] | None = None) -> Tensor:
        """Points as `prepare` leaves them -> the outputs of the streams by name, (outputs, N).

        Args:
            inputs: of the points.
            streams: which.
            record: if given, every layer's inputs h and outputs z are appended, (S, N, m_in) and (S, N, m_out).
        """
        h = inputs.features
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
            h = activate(self._sloped(z, i), streams, self.activation) if i < last else z
        return streams.readout.outputs(h, inputs, self.coefficients.values(streams.coefficients))

    def backpropagate(
        self, record: Sequence[tuple[Tensor, Tensor]], streams: Streams, inputs: Inputs, cotangents: Tensor
    ) -> tuple[list[Tensor], Tensor | None]:
        """Cotangents of the outputs, (outputs, N) -> those of every layer's z, and of the other parameters.

        Args:
            record: of ``propagate``.
            streams: which.
            inputs: of the points.
            cotangents: ``dr_i/d(output at point i)``.

        Returns:
            of every layer's outputs z, (S, N, m_out); and dr_i by slopes and unknown coefficients, (N, number), None
            where the network has none.
        """
        back, of_coefficients = streams.readout.cotangents(cotangents, inputs)
        found = [back]
        slopes = []
        for i in reversed(range(1, len(self.layers))):
            layer, z = self.layers[i], record[i - 1][1]
            assert isinstance(layer, nn.Linear)
            above = found[-1] @ layer.weight
            if self.scales[i] != 1.0:
                above = above * self.scales[i]
            here = activation_cotangents(self._sloped(z, i - 1), record[i][0][0], above, streams, self.activation)
            if self._sloping:
                slopes.append((z * here).sum(dim=(0, 2)))
                here = self.slopes["hidden"][i - 1] * here
            found.append(here)
        columns = [*slopes[::-1], *self.coefficients.columns(streams.coefficients, of_coefficients, cotangents[0])]
        return found[::-1], torch.stack(columns, dim=1) if columns else None

    def _sloped(self, z: Tensor, layer: int) -> Tensor:
        return self.slopes["hidden"][layer] * z if self._sloping else z

    def predict(self, points: Array) -> Array:
        """u at points (n, d), float64 in and out, on whatever device and in whatever precision it is.

        Returns:
            (n,); of several fields (n, fields).
        """
        like = next(self.parameters())
        with torch.no_grad():
            x = torch.from_numpy(np.array(points, dtype=np.float64, order="C")).to(like)
            rows = max(1, min(PREDICT_ROWS, PREDICT_ELEMENTS // self.width))
            return torch.cat([self(part) for part in x.split(rows)]).double().cpu().numpy()

    def streams(self, x: Tensor, streams: Streams) -> dict[str, Tensor]:
        """The wanted streams at points x of shape (N, d), by name, each of shape (N,)."""
        return dict(zip(streams.names, self.propagate(self.prepare(x, streams), streams), strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """u at points x: (N, d) -> (N,), or (N, fields) of several; differentiable in x, too."""
        inner = self._inner
        found = self.propagate(Inputs(self.features(x, inner)), inner).T
        if self.ansatz is not None:
            found = self.ansatz.of(x, found)
        return found[:, 0] if len(self.fields) == 1 else found
