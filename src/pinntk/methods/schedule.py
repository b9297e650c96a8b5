"""Learning rates as functions of the iteration: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, StrictInt

from pinntk.common.settings import Positive, Settings

Kind = Literal["constant", "exponential", "cosine"]


class Schedule(Settings):
    """Factor on the learning rate at iteration n of N.

    ``constant``: 1. ``exponential``: ``decay^floor(n / every)`` (the paper: 0.9 every 1,000). ``cosine``: from 1
    down to ``final`` by half a cosine over the N iterations. The first ``warmup`` iterations rise linearly to it.
    """

    kind: Kind = "constant"
    decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    every: Annotated[StrictInt, Field(ge=1)] = 1000
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    warmup: Annotated[StrictInt, Field(ge=0)] = 0

    def without_effect(self) -> dict[str, str]:
        of_kind = {"decay": "exponential", "every": "exponential", "final": "cosine"}
        return {key: f"counts only with kind={kind}" for key, kind in of_kind.items() if kind != self.kind}

    def factor(self, n: int, total: int) -> float:
        rise = min(1.0, (n + 1) / self.warmup) if self.warmup else 1.0
        if self.kind == "exponential":
            return float(rise * self.decay ** (n // self.every))
        if self.kind == "cosine":
            return rise * (self.final + (1 - self.final) * (1 + math.cos(math.pi * n / max(total, 1))) / 2)
        return rise


class ExponentialSchedule(Schedule):
    """Exponential unless told otherwise."""

    kind: Kind = "exponential"


class CosineSchedule(Schedule):
    """Cosine unless told otherwise."""

    kind: Kind = "cosine"


class AdamSettings(Settings):
    """Adam's own settings, shared by all methods that have an Adam phase."""

    learning_rate: Positive = 1e-3
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    schedule: Schedule = Schedule()

    def rate(self, n: int, total: int) -> float:
        """The learning rate of iteration n of total."""
        return self.learning_rate * self.schedule.factor(n, total)


class FallingSettings(AdamSettings):
    """At a rate that begins higher and falls to zero."""

    learning_rate: Positive = 3e-3
    schedule: CosineSchedule = CosineSchedule()
