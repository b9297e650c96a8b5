"""Steps along the gradient: Adam, and gradient descent."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from pinntk.common.settings import Positive
from pinntk.methods.plan import Phase, PhaseSettings
from pinntk.methods.schedule import AdamSettings, FallingSettings, Schedule
from pinntk.residual.objective import LeastSquares
from pinntk.residual.points import PointSettings
from pinntk.residual.spectra import norm


class FirstOrderPhase(Phase):
    """One step of one of torch's optimisers per iteration."""

    optimizer: torch.optim.Optimizer

    @abstractmethod
    def make(self, state: Mapping[str, Any] | None) -> torch.optim.Optimizer:
        """The optimiser, its learning rate that of the settings."""

    def start(self, state: Mapping[str, Any] | None) -> None:
        self.optimizer = self.make(state)
        if state is not None:
            self.optimizer.load_state_dict(state["optimizer"])

    def state(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict()}

    @abstractmethod
    def rate(self, n: int) -> float:
        """Of iteration n."""

    def step(self, n: int) -> Tensor:
        losses = self.objective.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(n)
        self.optimizer.step()
        return losses

    def log(self) -> dict[str, float]:
        return {"learning_rate": self.optimizer.param_groups[0]["lr"]}


class AdamPhase(FirstOrderPhase):
    """``theta <- theta - eta Adam(grad L)``, points drawn anew as ``points.resample_every`` says."""

    name: ClassVar[str] = "adam"

    def make(self, state: Mapping[str, Any] | None) -> torch.optim.Optimizer:
        s = self.settings
        return torch.optim.Adam(self.objective.network.parameters(), lr=s.learning_rate, betas=s.betas, fused=True)

    def rate(self, n: int) -> float:
        return float(self.settings.rate(n, self.settings.steps))


class AdamPhaseSettings(AdamSettings, PhaseSettings):
    """Settings of an Adam phase."""

    def draws_every(self, points: PointSettings) -> int | None:
        return points.resample_every

    def phase(self, objective: LeastSquares, seed: int) -> Phase:
        return AdamPhase(objective, self, seed)


class FallingAdamSettings(FallingSettings, AdamPhaseSettings):
    """Of a short phase."""


class DescentSettings(PhaseSettings):
    """Settings of gradient descent."""

    one_loss: ClassVar[bool] = True
    learning_rate: Positive | None = None
    """eta; null: ``rate`` over the largest eigenvalue of ``J^T J`` at the start."""
    rate: Annotated[float, Field(gt=0, lt=2)] = 1.0
    """Beyond 2 a quadratic loss grows."""
    schedule: Schedule = Schedule()

    def without_effect(self) -> dict[str, str]:
        unused = {} if self.learning_rate is None else {"rate": "counts only with learning_rate=null"}
        return {**super().without_effect(), **unused}

    def phase(self, objective: LeastSquares, seed: int) -> Phase:
        return DescentPhase(objective, self, seed)


class FollowingDescentSettings(DescentSettings):
    """Points drawn anew as ``points.resample_every`` says."""

    one_loss: ClassVar[bool] = False

    def draws_every(self, points: PointSettings) -> int | None:
        return points.resample_every


class DescentPhase(FirstOrderPhase):
    """``theta <- theta - eta grad L``."""

    name: ClassVar[str] = "descent"

    def make(self, state: Mapping[str, Any] | None) -> torch.optim.Optimizer:
        if state is not None:
            self.base_rate: float = state["base_rate"]
        elif self.settings.learning_rate is not None:
            self.base_rate = self.settings.learning_rate
        else:
            self.base_rate = self.settings.rate / norm(self.objective.curvature("gauss_newton"))
        return torch.optim.SGD(self.objective.network.parameters(), lr=self.base_rate)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "base_rate": self.base_rate}

    def rate(self, n: int) -> float:
        return float(self.base_rate * self.settings.schedule.factor(n, self.settings.steps))

    def figures(self) -> dict[str, Any]:
        return {"learning_rate": self.base_rate}
