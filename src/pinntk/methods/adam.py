"""Adam on the strong-form residuals: the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from pinntk.loss import BlockedLoss
from pinntk.methods.base import Method, MethodSettings, Steps
from pinntk.methods.schedule import AdamSettings


class AdamMethod(Method):
    """``theta <- theta - eta Adam(grad sum_terms w_term L_term)`` on the problem's residual terms."""

    class Settings(MethodSettings):
        """Settings of ``adam``."""

        steps: Steps = 10_000
        adam: AdamSettings = AdamSettings()

    name: ClassVar[str] = "adam"
    optimizer: torch.optim.Adam

    @property
    def total_iterations(self) -> int:
        return int(self.settings.steps)

    def start(self, state: Mapping[str, Any] | None) -> None:
        settings: AdamSettings = self.settings.adam
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=settings.learning_rate, betas=settings.betas, fused=True
        )
        if state is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        self._weights = self.term_weights()
        self._loss = BlockedLoss(self.residuals, self.settings.normalization, compile=self.compiled)

    def state(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict()}

    def advance(self, end: int) -> None:
        history: list[Tensor] = []
        with self.phase("adam"):
            while self.iteration < end and not self.stop_requested:
                self.optimizer.zero_grad(set_to_none=True)
                terms = self._loss.backward(self.batches(), self._weights)
                self.settings.adam.set_rate(self.optimizer, self.iteration, self.total_iterations)
                self.optimizer.step()
                history.append(torch.cat([(self._weights * terms).sum()[None], terms]))
                self.iteration += 1
                self.function_evaluations += 1
        self.record(("loss", *self.residuals.names), history, learning_rate=self.optimizer.param_groups[0]["lr"])
