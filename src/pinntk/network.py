"""The network and its streams.

A *stream* is the network's value or one of its derivatives with respect to an input, carried through the layers
together with all the others (Taylor mode). With ``z = W h + b`` and ``a = tanh(z)`` a layer maps::

    value                             a
    first derivative                  (1 - a^2) z_x
    L = sum_c b_c d_c + a_c d_cc      (1 - a^2) L z - 2 a (1 - a^2) sum_c a_c z_c^2

(a second derivative is such an L), so one matrix product per layer serves every stream, and one ordinary backward pass
gives the gradient of any residual with respect to the parameters. Nested automatic differentiation, the usual way,
builds a graph per derivative instead. Streams are stacked in one tensor of shape (S, N, width): stream, point, neuron.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt
from torch import Tensor, nn

STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
Positive = Annotated[float, Field(gt=0)]


class PeriodicFeature(BaseModel):
    """``sin`` and ``cos`` of ``2 pi k x / period`` for k = 1 ... harmonics."""

    model_config = STRICT
    kind: Literal["periodic"]
    input: str
    period: Positive
    harmonics: Annotated[StrictInt, Field(ge=1, le=1000)] = 1
    replace: StrictBool = False
    """Leave the coordinate itself out, so that the network is periodic in it."""


class FrequencyFeature(BaseModel):
    """``sin`` and ``cos`` of ``omega x`` for given angular frequencies omega."""

    model_config = STRICT
    kind: Literal["frequencies"]
    input: str
    frequencies: Annotated[list[Positive], Field(min_length=1)]
    replace: StrictBool = False


class DecayFeature(BaseModel):
    """``exp(-(x - lower) / tau)`` for given times tau, in the unit of the coordinate."""

    model_config = STRICT
    kind: Literal["decay"]
    input: str
    times: Annotated[list[Positive], Field(min_length=1)]
    replace: StrictBool = False


Feature = Annotated[PeriodicFeature | FrequencyFeature | DecayFeature, Field(discriminator="kind")]


class NetworkSettings(BaseModel):
    """Shape, initialisation and inputs of the network."""

    model_config = STRICT
    width: Annotated[StrictInt, Field(ge=1, le=100_000)] = 50
    depth: Annotated[StrictInt, Field(ge=1, le=100)] = 3
    """Number of hidden layers."""
    parametrization: Literal["standard", "ntk"] = "standard"
    normalize: StrictBool = True
    """Map the coordinates to [-1, 1]."""
    features: list[Feature] = []


@dataclass(frozen=True)
class Operator:
    """A linear differential operator of at most second order without mixed derivatives, carried as one stream.

    ``L u = sum_c b_c u_c + a_c u_cc``, for example ``Operator("L", {"u_t": 1.0, "u_xx": -nu})``. A residual that needs
    its terms only in this combination costs one stream instead of one for each.
    """

    name: str
    coefficients: Mapping[str, float]
    """By the derivative's name, ``u_x`` or ``u_xx``."""

    def of(self, values: Mapping[str, Tensor]) -> Tensor:
        """L u from the derivatives themselves."""
        return torch.stack([factor * values[name] for name, factor in self.coefficients.items()]).sum(0)


class Streams:
    """Which derivatives are wanted, in the order in which they are stacked: value, first derivatives, operators.

    Names are ``u`` (the value), ``u_x`` (first derivative in coordinate x), ``u_xx`` (second) and those of operators.
    What a wanted stream needs on its way through the layers is added: the value always, and the first derivative below
    each second one.

    Args:
        wanted: names of streams, or operators.
        coordinates: names of the inputs, in order.

    Raises:
        ValueError: a name, or a derivative in an operator, is not ``u``, ``u_<c>`` or ``u_<c><c>`` for a coordinate c;
            or two operators have the same name.
    """

    def __init__(self, wanted: Iterable[str | Operator], coordinates: Sequence[str]) -> None:
        once, twice = ([f"u_{c * n}" for c in coordinates] for n in (1, 2))
        operators: dict[str, Operator] = {}
        needed: set[int] = set()
        for one in wanted:
            if isinstance(one, str):
                if one in once:
                    needed.add(once.index(one))
                if one in [*once, "u"]:
                    continue
                one = Operator(one, {one: 1.0})
            for name in one.coefficients:
                if name not in [*once, *twice]:
                    allowed = ", ".join(["u", *once, *twice])
                    raise ValueError(f"stream {name!r}: allowed are {allowed}")
            if operators.setdefault(one.name, one) != one:
                raise ValueError(f"stream {one.name!r}: two operators have this name")
        bent = {twice.index(n) for o in operators.values() for n in o.coefficients if n in twice}
        # First derivatives that enter a second one stand in front.
        self.first = (*sorted(bent), *sorted(needed - bent))
        self.operators = tuple(
            (
                [o.coefficients.get(name, 0.0) for name in once],
                [o.coefficients.get(name, 0.0) for name in twice],
            )
            for o in operators.values()
        )
        """Coefficients of the first and of the second derivatives, one per coordinate."""
        self.names = ("u", *(once[c] for c in self.first), *operators)

    def __len__(self) -> int:
        return len(self.names)


class _Tanh(torch.autograd.Function):
    """tanh as ``-e/(e + 2)`` with ``e = expm1(-2 |z|)`` and the sign of z, to a few units in the last place.

    What torch.compile makes of ``torch.tanh`` on a CPU takes three times as long as this.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        e = torch.expm1(-2 * z.abs())
        a = torch.copysign(e / (e + 2), z)
        ctx.save_for_backward(a)
        return a

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        a: Tensor = ctx.saved_tensors[0]
        return gradients[0] * (1 - a * a)


def _tanh(z: Tensor) -> Tensor:
    fast = torch.compiler.is_compiling() and z.device.type == "cpu"
    if not fast:
        return torch.tanh(z)
    a: Tensor = _Tanh.apply(z)  # type: ignore[no-untyped-call]
    return a


def tanh_streams(z: Tensor, streams: Streams) -> Tensor:
    """Push stacked streams through tanh: the three formulas of the module's docstring. (S, N, m) -> (S, N, m)."""
    if len(streams) == 1:
        return _tanh(z)
    value, *rest = z.unbind(0)
    a = _tanh(value)
    slope = 1 - a * a
    first, operators = rest[: len(streams.first)], rest[len(streams.first) :]
    parts = [a, *(slope * z_c for z_c in first)]
    for z_o, (_, second) in zip(operators, streams.operators, strict=True):
        squares = [second[c] * z_c.square() for c, z_c in zip(streams.first, first, strict=True) if second[c]]
        parts.append(slope * (z_o - 2 * a * sum(squares)) if squares else slope * z_o)
    return torch.stack(parts)


def tanh_cotangents(z: Tensor, a: Tensor, g: Tensor, streams: Streams) -> Tensor:
    """The transposed derivative of `tanh_streams`, written out so that a compiler fuses it to one pass over memory.

    Args:
        z: what went in, (S, N, m).
        a: the value that came out, (N, m).
        g: cotangents of what came out, (S, N, m).
        streams: which.

    Returns:
        cotangents of z, (S, N, m).
    """
    slope = 1 - a * a
    if len(streams) == 1:
        return slope * g
    last = 1 + len(streams.first)
    bend = -2 * a * slope  # the second derivative of tanh
    third = 2 * slope * (3 * a * a - 1)  # the third
    value = slope * g[0]
    firsts = {c: (z[i], g[i]) for i, c in enumerate(streams.first, start=1)}
    for z_c, g_c in firsts.values():
        value = value + bend * z_c * g_c
    bent: dict[int, Tensor] = {}
    for i, (_, second) in enumerate(streams.operators, start=last):
        value = value + bend * z[i] * g[i]
        for c, (z_c, _) in firsts.items():
            if second[c]:
                value = value + second[c] * third * z_c.square() * g[i]
                bent[c] = bent.get(c, 0) + 2 * second[c] * bend * z_c * g[i]
    below = [slope * g_c + bent[c] if c in bent else slope * g_c for c, (_, g_c) in firsts.items()]
    return torch.stack([value, *below, *(slope * g[i] for i in range(last, len(streams)))])


class Features(nn.Module):
    """The network's inputs and their streams: coordinates (scaled or not) and fixed functions of single coordinates.

    Every input is ``A sin(w x_c + p)``, ``exp(-(x_c - l)/tau)`` or ``a x_c + b`` for one coordinate c, so its
    derivatives are known in closed form and vanish in every other coordinate.
    """

    def __init__(
        self, settings: NetworkSettings, coordinates: Sequence[str], lower: Sequence[float], upper: Sequence[float]
    ) -> None:
        super().__init__()
        for feature in settings.features:
            if feature.input not in coordinates:
                allowed = ", ".join(coordinates)
                raise ValueError(f"network.features: input={feature.input}: allowed are {allowed}")
        replaced = {f.input for f in settings.features if f.replace}
        raw = [c for c, name in enumerate(coordinates) if name not in replaced]
        trig: list[tuple[int, float]] = []
        decays: list[tuple[int, float, float]] = []
        for feature in settings.features:
            c = list(coordinates).index(feature.input)
            if isinstance(feature, PeriodicFeature):
                trig += [(c, 2 * math.pi * k / feature.period) for k in range(1, feature.harmonics + 1)]
            elif isinstance(feature, FrequencyFeature):
                trig += [(c, omega) for omega in feature.frequencies]
            else:
                decays += [(c, lower[c], 1 / tau) for tau in feature.times]
        half = [(upper[c] - lower[c]) / 2 if settings.normalize else 1.0 for c in raw]
        middle = [(upper[c] + lower[c]) / 2 if settings.normalize else 0.0 for c in raw]
        waves = [(c, omega, phase) for c, omega in trig for phase in (0.0, math.pi / 2)]

        def constant(name: str, values: list[float] | list[int]) -> None:
            dtype = torch.long if name.endswith("_of") else torch.float64
            self.register_buffer(name, torch.tensor(values, dtype=dtype), persistent=False)

        constant("raw_of", raw)
        constant("slope", [1 / h for h in half])
        constant("offset", [-m / h for m, h in zip(middle, half, strict=True)])
        constant("wave_of", [c for c, _, _ in waves])
        constant("omega", [omega for _, omega, _ in waves])
        constant("phase", [phase for _, _, phase in waves])
        constant("decay_of", [c for c, _, _ in decays])
        constant("start", [start for _, start, _ in decays])
        constant("rate", [rate for _, _, rate in decays])
        self.size = len(raw) + len(waves) + len(decays)

    def forward(self, x: Tensor, streams: Streams) -> Tensor:
        """Coordinates x of shape (N, d) -> stacked streams of the inputs, shape (S, N, F)."""
        return torch.stack(
            [self._derivative(x, None, 0)]
            + [self._derivative(x, c, 1) for c in streams.first]
            + [self._applied(x, *coefficients) for coefficients in streams.operators]
        )

    def _applied(self, x: Tensor, once: Sequence[float], twice: Sequence[float]) -> Tensor:
        """A linear operator on the inputs."""
        orders = [(c, order, b) for order, factors in ((1, once), (2, twice)) for c, b in enumerate(factors) if b]
        parts = [b * self._derivative(x, c, order) for c, order, b in orders]
        return torch.stack(parts).sum(0) if parts else torch.zeros_like(self._derivative(x, None, 0))

    def _derivative(self, x: Tensor, coordinate: int | None, order: int) -> Tensor:
        raw = x[:, self.raw_of] * self.slope + self.offset if order == 0 else self.slope.expand(len(x), -1)
        if order == 2:
            raw = torch.zeros_like(raw)
        wave = self.omega**order * torch.sin(x[:, self.wave_of] * self.omega + self.phase + order * math.pi / 2)
        decay = (-self.rate) ** order * torch.exp(-(x[:, self.decay_of] - self.start) * self.rate)
        both = torch.cat([raw, wave, decay], dim=1)
        if coordinate is None:
            return both
        own = torch.cat([self.raw_of, self.wave_of, self.decay_of]) == coordinate
        return both * own

    # Buffers are registered by name above; the annotations tell the type checker what they are.
    raw_of: Tensor
    slope: Tensor
    offset: Tensor
    wave_of: Tensor
    omega: Tensor
    phase: Tensor
    decay_of: Tensor
    start: Tensor
    rate: Tensor


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

    def streams(self, x: Tensor, streams: Streams) -> dict[str, Tensor]:
        """The wanted streams at points x of shape (N, d), by name, each of shape (N,)."""
        return dict(zip(streams.names, self.propagate(self.features(x, streams), streams), strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """u at points x: (N, d) -> (N,)."""
        return self.propagate(self.features(x, self.value), self.value)[0]
