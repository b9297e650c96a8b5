"""The network's inputs: coordinates, and fixed functions of them, with their derivatives in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from pinntk.network.derivatives import Index
from pinntk.network.settings import (
    DecayFeature,
    FrequencyFeature,
    ModeFeature,
    NetworkSettings,
    PowerFeature,
    ProductFeature,
    Single,
    Waves,
)
from pinntk.network.streams import Streams


class Features(nn.Module):
    """The network's inputs and their streams: coordinates (scaled or not) and fixed functions of them.

    Every input is a product over the coordinates of functions of one, ``(a x + b)^p``, ``sin(w x + p)`` and
    ``exp(-(x - l)/tau)``, so its derivatives are known in closed form.

    Raises:
        ValueError: a coordinate is not known, or stands twice in a product.

    Example::

        >>> from pinntk.network import NetworkSettings
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
        self.dimensions = len(coordinates)
        functions = _Functions(list(coordinates), lower, upper)
        of_one = [f for f in settings.features if not isinstance(f, ModeFeature | ProductFeature)]
        products = [f for f in settings.features if isinstance(f, ProductFeature)]
        modes = [f.frequencies for f in settings.features if isinstance(f, ModeFeature)]
        replaced = {f.input for f in of_one if f.replace}
        raw = [functions.scaled(name, settings.normalize) for name in coordinates if name not in replaced]
        # The coordinates first, then waves, decays and powers, then products.
        kinds = (Waves, DecayFeature, PowerFeature)
        inputs = [[one] for one in raw]
        inputs += [[one] for kind in kinds for f in of_one if isinstance(f, kind) for one in functions.of(f)]
        inputs += [[functions.wave("frequencies.", c, omega, 0.0) for c, omega in mode.items()] for mode in modes]
        for feature in products:
            if len({f.input for f in feature.of}) < len(feature.of):
                names = ", ".join(f.input for f in feature.of)
                raise ValueError(f"network.features: product of {names}; allowed is each coordinate once")
            inputs += [list(factors) for factors in product(*(functions.of(f) for f in feature.of))]
        self.size = len(inputs)
        places = functions.placed()
        # Of every input, the number of its function of each coordinate; the last function is 1.
        numbers = [[len(places)] * self.dimensions for _ in inputs]
        for line, factors in zip(numbers, inputs, strict=True):
            for function in factors:
                line[function.coordinate] = places[function]

        def constant(name: str, values: Sequence[object], dtype: torch.dtype = torch.float64) -> None:
            self.register_buffer(name, torch.tensor(values, dtype=dtype), persistent=False)

        constant("numbers", numbers, torch.long)
        for kind in ("power", "wave", "decay"):
            chosen = [function for function in places if function.kind == kind]
            constant(f"{kind}_of", [function.coordinate for function in chosen], torch.long)
            for k, name in enumerate(("a", "b")):
                constant(f"{kind}_{name}", [function.numbers[k] for function in chosen])
        powers = [function.numbers[2:] for function in places if function.kind == "power"]
        self.powers = [(int(p), scale, shift) for p, scale, shift in powers]

    def forward(self, x: Tensor, streams: Streams) -> Tensor:
        """Coordinates x of shape (N, d) -> stacked streams of the inputs, shape (S, N, F)."""
        tables: dict[int, Tensor] = {}

        def derivative(index: Index) -> Tensor:
            factors = []
            for c, order in enumerate(index):
                if order not in tables:
                    tables[order] = self._table(x, order)
                factors.append(tables[order][:, self.numbers[:, c]])
            return torch.stack(factors).prod(0) if len(factors) > 1 else factors[0]

        made: dict[Index, Tensor] = {}
        found: list[Tensor] = []
        for terms in streams.carried:
            for index, _ in terms:
                if index not in made:
                    made[index] = derivative(index)
            parts = [factor * made[index] for index, factor in terms]
            found.append(torch.stack(parts).sum(0) if parts else torch.zeros_like(found[0]))
        return torch.stack(found)

    def _table(self, x: Tensor, order: int) -> Tensor:
        """A derivative of every function of one coordinate, and of 1: (N, functions + 1)."""
        powers = []
        base = x[:, self.power_of] * self.power_a + self.power_b
        for k, (p, scale, shift) in enumerate(self.powers):
            if p == 1 and scale == 1 and order < 2:
                powers.append(base[:, k] if order == 0 else self.power_a[k].expand(x.shape[0]))
            else:
                count = scale * math.perm(p, order)  # 0 beyond the power itself
                one = count * self.power_a[k] ** order * base[:, k] ** max(0, p - order)
                powers.append(one + shift if shift and order == 0 else one)
        power = torch.stack(powers, dim=1) if powers else base
        phase = self.wave_b + order * math.pi / 2
        wave = self.wave_a**order * torch.sin(x[:, self.wave_of] * self.wave_a + phase)
        decay = (-self.decay_a) ** order * torch.exp(-(x[:, self.decay_of] - self.decay_b) * self.decay_a)
        one = x.new_full((x.shape[0], 1), float(order == 0))  # len(x) would be a constant to torch.export
        return torch.cat([power, wave, decay, one], dim=1)

    # Buffers are registered by name above; the annotations tell the type checker what they are.
    numbers: Tensor
    power_of: Tensor
    power_a: Tensor
    power_b: Tensor
    wave_of: Tensor
    wave_a: Tensor
    wave_b: Tensor
    decay_of: Tensor
    decay_a: Tensor
    decay_b: Tensor


class _Function(NamedTuple):
    """A function of one coordinate: ``c (a x + b)^p + d``, ``sin(a x + b)`` or ``exp(-a (x - b))``."""

    kind: str
    coordinate: int
    numbers: tuple[float, ...]


class _Functions:
    """The functions of one coordinate that a network's inputs are made of, each once."""

    def __init__(self, coordinates: list[str], lower: Sequence[float], upper: Sequence[float]) -> None:
        self.coordinates, self.lower, self.upper = coordinates, lower, upper
        self._made: dict[_Function, None] = {}

    def placed(self) -> dict[_Function, int]:
        """All of them with their numbers: powers, waves, decays."""
        ordered = [f for kind in ("power", "wave", "decay") for f in self._made if f.kind == kind]
        return {function: k for k, function in enumerate(ordered)}

    def scaled(self, name: str, normalize: bool | Literal["deviation"]) -> _Function:
        """The coordinate, on [-1, 1] or [-sqrt 3, sqrt 3] where it is normalized."""
        c = self.coordinates.index(name)
        half = (self.upper[c] - self.lower[c]) / 2 if normalize else 1.0
        if normalize == "deviation":
            half /= math.sqrt(3)
        middle = (self.upper[c] + self.lower[c]) / 2 if normalize else 0.0
        return self._make("power", c, 1 / half, -middle / half, 1, 1.0, 0.0)

    def wave(self, key: str, name: str, omega: float, phase: float) -> _Function:
        """``sin(omega x + phase)``."""
        return self._make("wave", self._number(key, name), omega, phase)

    def of(self, feature: Single) -> list[_Function]:
        """The inputs that a feature adds."""
        c = self._number("input=", feature.input)
        if isinstance(feature, DecayFeature):
            return [self._make("decay", c, 1 / tau, self.lower[c]) for tau in feature.times]
        if isinstance(feature, PowerFeature):
            reach = max(self.upper[c] - feature.about, feature.about - self.lower[c])
            placed = (2.0, -1.0) if feature.centred else (1.0, 0.0)
            return [self._make("power", c, 1 / reach, -feature.about / reach, p, *placed) for p in feature.powers]
        parity = feature.parity if isinstance(feature, FrequencyFeature) else "both"
        phases = {"both": (0.0, math.pi / 2), "odd": (0.0,), "even": (math.pi / 2,)}[parity]
        return [self.wave("input=", feature.input, omega, phase) for omega in feature.omegas for phase in phases]

    def _number(self, key: str, name: str) -> int:
        if name not in self.coordinates:
            raise ValueError(f"network.features: {key}{name}: allowed are {', '.join(self.coordinates)}")
        return self.coordinates.index(name)

    def _make(self, kind: str, coordinate: int, *numbers: float) -> _Function:
        function = _Function(kind, coordinate, numbers)
        self._made[function] = None
        return function
