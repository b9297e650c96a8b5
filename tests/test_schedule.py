"""Learning rates by iteration, and the ranges of a method's settings."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from pinntk.methods.adam import AdamMethod
from pinntk.methods.schedule import AdamSettings, Schedule


@pytest.mark.parametrize(
    ("settings", "n", "factor"),
    [
        ({}, 0, 1.0),
        ({}, 99, 1.0),
        ({"kind": "exponential"}, 999, 1.0),
        ({"kind": "exponential"}, 1000, 0.9),  # the paper: 0.9 every 1,000
        ({"kind": "exponential"}, 2999, 0.81),
        ({"kind": "exponential", "decay": 0.5, "every": 10}, 95, 0.5**9),
        ({"kind": "cosine"}, 0, 1.0),
        ({"kind": "cosine"}, 25, (2 + math.sqrt(2)) / 4),
        ({"kind": "cosine"}, 50, 0.5),
        ({"kind": "cosine"}, 100, 0.0),
        ({"kind": "cosine", "final": 0.2}, 50, 0.6),
        ({"kind": "cosine", "final": 0.2}, 100, 0.2),
        ({"warmup": 4}, 0, 0.25),
        ({"warmup": 4}, 2, 0.75),
        ({"warmup": 4}, 3, 1.0),
        ({"warmup": 4}, 50, 1.0),
        ({"warmup": 100, "kind": "cosine"}, 49, 0.5 * (1 + math.cos(math.pi * 0.49)) / 2),
        ({"warmup": 30, "kind": "exponential", "decay": 0.5, "every": 10}, 14, 0.25),
    ],
)
def test_schedule_of_one_hundred_iterations(settings: dict[str, Any], n: int, factor: float) -> None:
    assert Schedule.model_validate(settings).factor(n, 100) == pytest.approx(factor, abs=1e-15)


def test_the_rate_is_the_learning_rate_times_the_schedules_factor() -> None:
    assert AdamSettings(learning_rate=0.02, schedule=Schedule(kind="cosine")).rate(50, 100) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": -1},
        {"steps": 1.5},
        {"steps": True},
        {"log_every": 0},
        {"normalization": "median"},
        {"stpes": 3},
        {"weights": {"boundary": -1.0}},
        {"weights": {"boundary": math.nan}},
        {"adam": {"learning_rate": 0.0}},
        {"adam": {"learning_rate": math.inf}},
        {"adam": {"betas": [0.9, 1.0]}},
        {"adam": {"betas": [0.9]}},
        {"adam": {"schedule": {"kind": "linear"}}},
        {"adam": {"schedule": {"decay": 0.0}}},
        {"adam": {"schedule": {"every": 0}}},
        {"adam": {"schedule": {"warmup": -1}}},
        {"adam": {"schedule": {"final": 2}}},
    ],
)
def test_settings_out_of_range_are_rejected(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as error:
        AdamMethod.Settings.model_validate(bad)
    assert error.value.errors()[0]["loc"][0] == next(iter(bad))
