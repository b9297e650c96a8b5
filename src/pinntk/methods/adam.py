"""Adam on the strong-form residuals: the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from pinntk.methods.base import Method, MethodSettings, Steps
from pinntk.methods.schedule import AdamSettings
from pinntk.residuals import Batch


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
        weights = self.term_weights()

        def loss(batches: Mapping[str, Batch]) -> tuple[Tensor, Tensor]:
            terms = self.loss_terms(batches)
            return (weights * terms).sum(), terms

        self._loss = torch.compile(loss, dynamic=False) if self.compiled else loss

    def state(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict()}

    def advance(self, end: int) -> None:
        history: list[Tensor] = []
        with self.phase("adam"):
            while self.iteration < end and not self.stop_requested:
                total, terms = self._loss(self.batches())
                self.optimizer.zero_grad(set_to_none=True)
                total.backward()
                self.settings.adam.set_rate(self.optimizer, self.iteration, self.total_iterations)
                self.optimizer.step()
                history.append(torch.cat([total.detach()[None], terms.detach()]))
                self.iteration += 1
                self.function_evaluations += 1
        self.record(("loss", *self.residuals.names), history, learning_rate=self.optimizer.param_groups[0]["lr"])
