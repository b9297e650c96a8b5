"""The network's shape and its inputs: coordinates, and fixed functions of them with their derivatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Literal

import torch
from pydantic import Field, StrictBool, StrictInt
from torch import Tensor, nn

from pinntk.common.settings import Positive, Strict
from pinntk.network.streams import Streams


class PeriodicFeature(Strict):
    """``sin`` and ``cos`` of ``2 pi k x / period`` for k = 1 ... harmonics.

    Example::

        >>> wave = PeriodicFeature(kind="periodic", input="x", period=4.0, harmonics=2)
        >>> [round(omega / math.pi, 6) for omega in wave.omegas]
        [0.5, 1.0]
    """

    kind: Literal["periodic"]
    input: str
    period: Positive
    harmonics: Annotated[StrictInt, Field(ge=1, le=1000)] = 1
    replace: StrictBool = False
    """Leave the coordinate itself out, so that the network is periodic in it."""

    @property
    def omegas(self) -> list[float]:
        """Angular frequencies."""
        return [2 * math.pi * k / self.period for k in range(1, self.harmonics + 1)]


class FrequencyFeature(Strict):
    """``sin`` and ``cos`` of ``omega x`` for given angular frequencies omega.

    Example::

        >>> from pinntk.network.streams import Streams
        >>> feature = FrequencyFeature(kind="frequencies", input="t", frequencies=[10.0])
        >>> features = Features(NetworkSettings(features=[feature]), ["t"], [-1.0], [1.0])
        >>> t = torch.tensor([[math.pi / 60]], dtype=torch.float64)
        >>> bends = features(t, Streams(["u_tt"], ["t"]))[-1, 0]  # u_tt of t, sin 10 t, cos 10 t where 10 t = pi/6
        >>> [round(bend, 4) for bend in bends.tolist()]
        [0.0, -50.0, -86.6025]
    """

    kind: Literal["frequencies"]
    input: str
    frequencies: Annotated[list[Positive], Field(min_length=1)]
    replace: StrictBool = False

    @property
    def omegas(self) -> list[float]:
        """Angular frequencies."""
        return self.frequencies


class DecayFeature(Strict):
    """``exp(-(x - lower) / tau)`` for given times tau, in the unit of the coordinate.

    Example::

        >>> from pinntk.network.streams import Streams
        >>> feature = DecayFeature(kind="decay", input="t", times=[0.5], replace=True)
        >>> features = Features(NetworkSettings(features=[feature]), ["t"], [0.0], [1.0])
        >>> features(torch.zeros(1, 1), Streams(["u_t"], ["t"])).flatten().tolist()  # value and derivative of exp(-2 t)
        [1.0, -2.0]
    """

    kind: Literal["decay"]
    input: str
    times: Annotated[list[Positive], Field(min_length=1)]
    replace: StrictBool = False


class ModeFeature(Strict):
    """The product of ``sin(omega x)`` over the given coordinates: the shape of a forcing, or of initial values.

    Example::

        >>> from pinntk.network.streams import Streams
        >>> feature = ModeFeature(kind="mode", frequencies={"x": 2.0, "y": 3.0})
        >>> features = Features(NetworkSettings(features=[feature]), ["x", "y"], [-1.0, -1.0], [1.0, 1.0])
        >>> point = torch.tensor([[math.pi / 4, math.pi / 18]], dtype=torch.float64)  # sin 2x = 1, sin 3y = 1/2
        >>> streams = features(point, Streams(["u_yy"], ["x", "y"]))  # value, u_y, u_yy
        >>> [round(stream, 4) for stream in streams[:, 0, -1].tolist()]
        [0.5, 2.5981, -4.5]
    """

    kind: Literal["mode"]
    frequencies: Annotated[dict[str, Positive], Field(min_length=1)]
    """Coordinate -> angular frequency omega."""


Feature = Annotated[PeriodicFeature | FrequencyFeature | DecayFeature | ModeFeature, Field(discriminator="kind")]


class NetworkSettings(Strict):
    """Shape, initialisation and inputs of the network.

    Example::

        >>> waves = {"kind": "frequencies", "input": "x", "frequencies": [2 * math.pi, 3 * math.pi], "replace": True}
        >>> settings = NetworkSettings(width=20, features=[waves])
        >>> {name: round(period, 6) for name, period in settings.periods().items()}  # 2 pi / pi
        {'x': 2.0}
    """

    width: Annotated[StrictInt, Field(ge=1, le=100_000)] = 50
    depth: Annotated[StrictInt, Field(ge=1, le=100)] = 3
    """Number of hidden layers."""
    parametrization: Literal["standard", "ntk"] = "standard"
    normalize: StrictBool = True
    """Map the coordinates to [-1, 1]."""
    features: list[Feature] = Field(default_factory=list)

    def periods(self) -> dict[str, float]:
        """The period that the features give every such network, by coordinate; those without one are left out.

        ``2 pi`` by the greatest common divisor of all angular frequencies, whose ratios are taken as fractions.
        """
        of_one = [f for f in self.features if not isinstance(f, ModeFeature)]
        waves = [(f.input, omega) for f in of_one if not isinstance(f, DecayFeature) for omega in f.omegas]
        waves += [wave for f in self.features if isinstance(f, ModeFeature) for wave in f.frequencies.items()]
        decaying = {f.input for f in of_one if isinstance(f, DecayFeature)}
        names = sorted({f.input for f in of_one if f.replace} - decaying)
        return {name: _period([omega for other, omega in waves if other == name]) for name in names}


def _period(omegas: Sequence[float]) -> float:
    slowest = min(omegas)
    ratios = [Fraction(omega / slowest).limit_denominator(1000) for omega in omegas]  # at least 1, whatever the unit
    divisor = math.gcd(*(ratio.numerator for ratio in ratios)), math.lcm(*(ratio.denominator for ratio in ratios))
    return 2 * math.pi / slowest * divisor[1] / divisor[0]


class Features(nn.Module):
    """The network's inputs and their streams: coordinates (scaled or not) and fixed functions of them.

    Every input is ``sin(w x_c + p)``, ``exp(-(x_c - l)/tau)`` or ``a x_c + b`` for one coordinate c, or a product of
    ``sin(w_c x_c)``, so its derivatives are known in closed form.

    Example::

        >>> from pinntk.network.streams import Streams
        >>> features = Features(NetworkSettings(), ["x"], [0.0], [4.0])
        >>> x = torch.tensor([[0.0], [3.0]])
        >>> features(x, Streams(["u_x"], ["x"]))[..., 0].tolist()  # x/2 - 1, which lies in [-1, 1], and its derivative
        [[-1.0, 0.5], [0.5, 0.5]]
    """

    def __init__(
        self, settings: NetworkSettings, coordinates: Sequence[str], lower: Sequence[float], upper: Sequence[float]
    ) -> None:
        super().__init__()
        modes = [f.frequencies for f in settings.features if isinstance(f, ModeFeature)]
        of_one = [f for f in settings.features if not isinstance(f, ModeFeature)]
        named = [("input=", f.input) for f in of_one] + [("frequencies.", name) for mode in modes for name in mode]
        for key, name in named:
            if name not in coordinates:
                raise ValueError(f"network.features: {key}{name}: allowed are {', '.join(coordinates)}")
        replaced = {f.input for f in of_one if f.replace}
        raw = [c for c, name in enumerate(coordinates) if name not in replaced]
        trig: list[tuple[int, float]] = []
        decays: list[tuple[int, float, float]] = []
        for feature in of_one:
            c = list(coordinates).index(feature.input)
            if isinstance(feature, DecayFeature):
                decays += [(c, lower[c], 1 / tau) for tau in feature.times]
            else:
                trig += [(c, omega) for omega in feature.omegas]
        half = [(upper[c] - lower[c]) / 2 if settings.normalize else 1.0 for c in raw]
        middle = [(upper[c] + lower[c]) / 2 if settings.normalize else 0.0 for c in raw]
        waves = [(c, omega, phase) for c, omega in trig for phase in (0.0, math.pi / 2)]

        def constant(name: str, values: Sequence[object]) -> None:
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
        # A coordinate that a mode has not is cos(0 x) = 1.
        constant("mode_omega", [[mode.get(name, 0.0) for name in coordinates] for mode in modes])
        constant("mode_phase", [[0.0 if name in mode else math.pi / 2 for name in coordinates] for mode in modes])
        self.size = len(raw) + len(waves) + len(decays) + len(modes)

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
        if coordinate is not None:
            both = both * (torch.cat([self.raw_of, self.wave_of, self.decay_of]) == coordinate)
        if not len(self.mode_omega):
            return both
        orders = x.new_tensor([order if c == coordinate else 0 for c in range(x.shape[1])])
        factors = torch.sin(x[:, None] * self.mode_omega + self.mode_phase + orders * (math.pi / 2))
        return torch.cat([both, (self.mode_omega**orders * factors).prod(dim=2)], dim=1)

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
    mode_omega: Tensor
    mode_phase: Tensor
