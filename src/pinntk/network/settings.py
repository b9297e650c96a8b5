"""The settings of a network: its shape, its activation and its inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictInt, model_validator

from pinntk.common.settings import Positive, Strict
from pinntk.network.activations import activation_of


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


Parity = Literal["both", "even", "odd"]
"""Of waves: sin and cos, cos alone, or sin alone."""


class FrequencyFeature(Strict):
    """``sin`` and ``cos`` of ``omega x`` for given angular frequencies omega, or one of the two.

    Example::

        >>> from pinntk.network import Features
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
    parity: Parity = "both"
    """``even``: cos alone, so that with ``replace`` the network is even about x = 0; ``odd``: sin alone."""

    @property
    def omegas(self) -> list[float]:
        """Angular frequencies."""
        return self.frequencies


class PowerFeature(Strict):
    """``((x - about) / r)^p`` for given powers p, r the largest distance from ``about`` in the domain.

    With ``powers=[2]`` and ``replace`` the network is even about this place; at the start of the time it has no
    derivative in t.

    Example::

        >>> from pinntk.network import Features
        >>> from pinntk.network.streams import Streams
        >>> feature = PowerFeature(kind="powers", input="x", powers=[2], about=1.0, replace=True)
        >>> features = Features(NetworkSettings(features=[feature]), ["x"], [0.0], [5.0])
        >>> features(torch.tensor([[3.0]]), Streams(["u_xx"], ["x"])).flatten().tolist()  # ((x - 1) / 4)^2
        [0.25, 0.25, 0.125]
        >>> feature = PowerFeature(kind="powers", input="x", powers=[2], centred=True, replace=True)  # 2 (x/5)^2 - 1
        >>> features = Features(NetworkSettings(features=[feature]), ["x"], [0.0], [5.0])
        >>> features(torch.tensor([[0.0]]), Streams(["u_xx"], ["x"])).flatten().round(decimals=4).tolist()
        [-1.0, 0.0, 0.16]
    """

    kind: Literal["powers"]
    input: str
    powers: Annotated[list[Annotated[StrictInt, Field(ge=1, le=20)]], Field(min_length=1)]
    about: float = 0.0
    centred: StrictBool = False
    """``2 s^p - 1`` for ``s^p``, which for even p is on [-1, 1], where the activations bend, not on [0, 1]."""
    replace: StrictBool = False


class DecayFeature(Strict):
    """``exp(-(x - lower) / tau)`` for given times tau, in the unit of the coordinate.

    Example::

        >>> from pinntk.network import Features
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

        >>> from pinntk.network import Features
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


OfOne = Annotated[PeriodicFeature | FrequencyFeature | DecayFeature | PowerFeature, Field(discriminator="kind")]


class ProductFeature(Strict):
    """Every product of an input of the first feature, one of the second, and so on; each of another coordinate.

    Example::

        >>> from pinntk.network import Features
        >>> from pinntk.network.streams import Streams
        >>> waves = {"kind": "frequencies", "input": "x", "frequencies": [math.pi], "parity": "odd"}
        >>> decay = {"kind": "decay", "input": "t", "times": [0.5]}
        >>> feature = ProductFeature.model_validate({"kind": "product", "of": [waves, decay]})
        >>> features = Features(NetworkSettings(features=[feature]), ["x", "t"], [0.0, 0.0], [1.0, 1.0])
        >>> point = torch.tensor([[1 / 6, 0.0]], dtype=torch.float64)  # of sin(pi x) exp(-2 t), behind x and t
        >>> [round(stream, 4) for stream in features(point, Streams(["u_t"], ["x", "t"]))[:, 0, -1].tolist()]
        [0.5, -1.0]
    """

    kind: Literal["product"]
    of: Annotated[list[OfOne], Field(min_length=2)]

    @model_validator(mode="after")
    def _replaces_nothing(self) -> ProductFeature:
        if any(feature.replace for feature in self.of):
            raise ValueError("replace=true inside a product; allowed is false: a product takes no coordinate's place")
        return self


Feature = Annotated[
    PeriodicFeature | FrequencyFeature | DecayFeature | PowerFeature | ModeFeature | ProductFeature,
    Field(discriminator="kind"),
]
Single = PeriodicFeature | FrequencyFeature | DecayFeature | PowerFeature
Waves = PeriodicFeature | FrequencyFeature


def _known(name: str) -> str:
    activation_of(name)
    return name


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
    normalize: StrictBool | Literal["deviation"] = True
    """Map the coordinates to [-1, 1]; ``deviation``: to mean 0 and deviation 1 of uniform points, [-sqrt 3, sqrt 3]."""
    features: list[Feature] = Field(default_factory=list)
    activation: Annotated[str, AfterValidator(_known)] = "tanh"
    """tanh, sin, swish, gelu, or ``module.function`` of one's own (`pinntk.network.activations.Activation`)."""
    slopes: StrictBool = False
    """A trainable slope for each hidden layer, ``sigma(s z)`` with s = 1 at the start (Jagtap et al. 2020)."""
    hard: StrictBool = False
    """Let the network satisfy exactly what the problem has a lift and a factor for (`pinntk.network.ansatz`)."""

    def periods(self) -> dict[str, float]:
        """The period that the features give every such network, by coordinate; those without one are left out.

        ``2 pi`` by the greatest common divisor of all angular frequencies, whose ratios are taken as fractions.
        """
        factors = [one for f in self.features for one in _singles(f)]
        waves = [(f.input, omega) for f in factors if isinstance(f, Waves) for omega in f.omegas]
        waves += [wave for f in self.features if isinstance(f, ModeFeature) for wave in f.frequencies.items()]
        without = {f.input for f in factors if not isinstance(f, Waves)}
        replaced = {f.input for f in self.features if not isinstance(f, ModeFeature | ProductFeature) and f.replace}
        names = sorted(replaced - without)
        return {name: _period([omega for other, omega in waves if other == name]) for name in names}


def _singles(feature: Single | ModeFeature | ProductFeature) -> list[Single]:
    """The features of one coordinate in it."""
    if isinstance(feature, ModeFeature):
        return []
    return list(feature.of) if isinstance(feature, ProductFeature) else [feature]


def _period(omegas: Sequence[float]) -> float:
    slowest = min(omegas)
    ratios = [Fraction(omega / slowest).limit_denominator(1000) for omega in omegas]  # at least 1, whatever the unit
    divisor = math.gcd(*(ratio.numerator for ratio in ratios)), math.lcm(*(ratio.denominator for ratio in ratios))
    return 2 * math.pi / slowest * divisor[1] / divisor[0]
