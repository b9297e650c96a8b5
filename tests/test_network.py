"""The network by hand: its formula, how it is initialised and its settings."""

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from jacobians import DECAY, FREQUENCIES, PERIODIC
from pydantic import ValidationError
from torch import Tensor

from pinntk.network import Features, Network, NetworkSettings
from pinntk.network.streams import Streams
from pinntk.pdes.heat2d import Heat2D


def test_equation_one_by_hand() -> None:
    """u = W1 tanh(W0 x + b0) / sqrt(m) + b1 for one hidden layer, neuron by neuron."""
    m = 4
    settings = NetworkSettings(width=m, depth=1, parametrization="ntk", normalize=False)
    network = Network(settings, ("x", "t"), (0.0, 0.0), (6.0, 1.0), seed=5)
    w0, b0, w1, b1 = (p.detach().numpy() for p in network.parameters())
    assert w0.shape == (m, 2)
    assert w1.shape == (1, m)
    assert np.abs(b1).min() > 0
    for x, t in [(0.3, 0.8), (5.0, 0.1)]:
        u = b1[0]
        for j in range(m):
            u += w1[0, j] * math.tanh(w0[j, 0] * x + w0[j, 1] * t + b0[j]) / 2.0
        assert network.forward(torch.tensor([[x, t]], dtype=torch.float64)).item() == pytest.approx(u, rel=1e-14)


def test_standard_parametrization_has_glorot_variance() -> None:
    network = Network(NetworkSettings(width=400, depth=2), ("x", "t"), (0.0, 0.0), (1.0, 1.0))
    first, first_bias, middle, middle_bias, last, last_bias = network.parameters()
    # The sample variance of n normal numbers has a relative spread of sqrt(2/n).
    for weight, fan_in, fan_out in [(first, 2, 400), (middle, 400, 400), (last, 400, 1)]:
        variance = 2 / (fan_in + fan_out)
        spread = math.sqrt(2 / weight.numel())
        assert float(weight.detach().square().mean()) == pytest.approx(variance, rel=4 * spread)
    assert not any(bias.any() for bias in (first_bias, middle_bias, last_bias))


def test_ntk_parametrization_is_standard_normal() -> None:
    settings = NetworkSettings(width=300, depth=2, parametrization="ntk")
    parameters = list(Network(settings, ("x", "t"), (0.0, 0.0), (1.0, 1.0)).parameters())
    for parameter in parameters[:-1]:
        spread = math.sqrt(2 / parameter.numel())
        assert float(parameter.detach().square().mean()) == pytest.approx(1, rel=4 * spread)
    assert float(parameters[-1].detach()) != 0


@pytest.mark.parametrize("parametrization", ["standard", "ntk"])
def test_a_seed_fixes_the_network_in_both_precisions(parametrization: str) -> None:
    settings = NetworkSettings.model_validate({"width": 20, "parametrization": parametrization})

    def parameters(seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
        torch.manual_seed(int(torch.randint(1 << 30, ())))  # the global state must not matter
        network = Network(settings, ("x", "t"), (0.0, 0.0), (1.0, 1.0), seed=seed, dtype=dtype)
        return torch.cat([p.detach().flatten() for p in network.parameters()])

    assert torch.equal(parameters(7), parameters(7))
    assert not torch.equal(parameters(7), parameters(8))
    single = parameters(7, torch.float32)
    assert single.dtype == torch.float32
    assert torch.equal(single, parameters(7).float())


BAD_FEATURES: list[dict[str, Any]] = [
    {**PERIODIC, "period": 0},
    {**PERIODIC, "period": math.nan},
    {**PERIODIC, "harmonics": 0},
    {**FREQUENCIES, "frequencies": []},
    {**FREQUENCIES, "frequencies": [-1.0]},
    {**DECAY, "times": [0.0]},
    {**DECAY, "times": [math.inf]},
    {**DECAY, "kind": "growth"},
]


@pytest.mark.parametrize(
    "bad",
    [
        *({"width": width} for width in (0, -3, 1.5, True, "ten", 100_001)),
        *({"depth": depth} for depth in (0, 1000)),
        {"parametrization": "mup"},
        {"normalize": 1},
        {"widht": 5},
        *({"features": [{"input": "x", **feature}]} for feature in BAD_FEATURES),
    ],
)
def test_settings_out_of_range_are_rejected(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as error:
        NetworkSettings.model_validate(bad)
    assert error.value.errors()[0]["loc"][0] == next(iter(bad))


def test_feature_of_an_unknown_input_is_named() -> None:
    settings = NetworkSettings.model_validate({"features": [{**PERIODIC, "input": "z"}]})
    with pytest.raises(ValueError, match=r"network\.features: input=z: allowed are x, t"):
        Network(settings, ("x", "t"), (0.0, 0.0), (1.0, 1.0))


@pytest.mark.parametrize(
    ("features", "period"),
    [
        ([], None),
        ([{"kind": "periodic", "input": "x", "period": 0.5}], None),  # beside x itself
        ([{"kind": "periodic", "input": "x", "period": 0.5, "harmonics": 3, "replace": True}], 0.5),
        ([{"kind": "periodic", "input": "t", "period": 0.5, "replace": True}], None),
        ([{"kind": "periodic", "input": "x", "period": 5000.0, "replace": True}], 5000.0),  # seconds, metres
        ([{"kind": "periodic", "input": "x", "period": 2e-6, "replace": True}], 2e-6),
        ([{"kind": "periodic", "input": "x", "period": p, "replace": True} for p in (4e6, 6e6)], 1.2e7),
        ([{"kind": "frequencies", "input": "x", "frequencies": [0.002, 0.003], "replace": True}], 2000 * math.pi),
        ([{"kind": "frequencies", "input": "x", "frequencies": [4 * math.pi, 6 * math.pi], "replace": True}], 1.0),
        (
            [
                {"kind": "frequencies", "input": "x", "frequencies": [4 * math.pi], "replace": True},
                {"kind": "mode", "frequencies": {"x": 3 * math.pi, "t": 0.1}},
            ],
            2.0,
        ),
        (
            [
                {"kind": "periodic", "input": "x", "period": 0.5, "replace": True},
                {"kind": "decay", "input": "x", "times": [1.0]},
            ],
            None,
        ),
    ],
)
def test_the_period_that_features_give(features: list[dict[str, Any]], period: float | None) -> None:
    settings = NetworkSettings.model_validate({"width": 6, "features": features})
    assert settings.periods().get("x") == (None if period is None else pytest.approx(period, rel=1e-12))
    if period is not None:
        network = Network(settings, ("x", "t"), (0.0, 0.0), (1.0, 1.0), seed=1)
        x = torch.rand(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        shift = torch.tensor([period, 0.0], dtype=torch.float64)
        x[:, 0] *= period  # of which the digits of x may leave little, else
        torch.testing.assert_close(network(x), network(x + shift), rtol=0, atol=1e-12)
        assert float((network(x) - network(x + shift / 2)).detach().abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("words", "input", "period", "refused"),
    [
        ({}, "x", 0.5, None),
        ({"m1": 8}, "x", 0.5, None),
        ({"m1": 6}, "x", 0.5, "6 half waves of pde.m1"),
        ({"m1": 8}, "x", 0.25, "4 half waves of the initial values"),
        ({}, "y", 0.5, "2 half waves of pde.m2"),
        ({"m2": 4}, "y", 0.5, "3 half waves of the initial values"),
        ({"m1": 3}, "x", 2.0, None),  # longer than the square
    ],
)
def test_heat2d_refuses_a_period_that_is_not_its_own(
    words: dict[str, int], input: str, period: float, refused: str | None
) -> None:
    feature = {"kind": "periodic", "input": input, "period": period, "replace": True}
    settings = NetworkSettings.model_validate({"features": [feature]})
    with nullcontext() if refused is None else pytest.raises(ValueError, match=refused):
        Heat2D(**words).check_periods(settings.periods())


def test_normalised_coordinates_run_from_minus_one_to_one() -> None:
    features = Features(NetworkSettings(), ["x", "t"], [2.0, 0.0], [6.0, 10.0])
    x = torch.tensor([[2.0, 0.0], [6.0, 10.0], [4.0, 2.5]], dtype=torch.float64)
    values = features(x, Streams(["u"], ["x", "t"]))[0]
    assert values.tolist() == [[-1.0, -1.0], [1.0, 1.0], [0.0, -0.5]]
