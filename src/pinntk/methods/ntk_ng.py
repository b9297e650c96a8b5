"""Natural gradient in kernel space: the neural tangent kernel as the preconditioner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.methods.adam import AdamFirst, FallingAdamSettings
from pinntk.methods.objective import WeightedLeastSquares
from pinntk.methods.phases import Phase, PhasedMethod, PhaseSettings
from pinntk.methods.pinn_ntk import balanced
from pinntk.optim.natural_gradient import NaturalGradient, NaturalGradientSettings
from pinntk.residual.ntk import FactoredJacobian


class NaturalGradientPhaseSettings(NaturalGradientSettings, PhaseSettings):
    """Settings of a natural gradient phase."""

    resample_every: Annotated[StrictInt, Field(ge=1)] | None = None
    """Iterations between two draws of the points; null: the same points."""
    balance: Literal["none", "blocks", "terms"] = "none"
    """Algorithm 1's weights from the traces of the kernel's blocks, times the fixed ones; anew with the points."""


class NaturalGradientPhase(Phase):
    """Steps ``J^T (K + mu I)^-1 r`` on the weighted residuals (`NaturalGradient`)."""

    name: ClassVar[str] = "natural_gradient"

    def __init__(self, method: PhasedMethod, settings: NaturalGradientPhaseSettings) -> None:
        super().__init__(method, settings.steps, settings.stagnation, settings.resample_every)
        self.settings = settings

    def start(self, state: Mapping[str, Any] | None) -> None:
        self.objective = WeightedLeastSquares(self.method)
        self.optimizer = NaturalGradient(self.objective, self.settings, seed=self.method.seed)
        self._interior = torch.tensor([t.region == "interior" for t in self.method.loss_residuals.terms])
        self._interior = self._interior.to(self.method.device)
        if state is not None:
            self.optimizer.load_state_dict(state["optimizer"])
            self.objective.lambdas = state["lambdas"].to(self.objective.lambdas)

    def state(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "lambdas": self.objective.lambdas}

    def step(self, n: int) -> Tensor:
        if self.settings.balance != "none" and n % (self.resample_every or self.steps) == 0:
            self._balance(self.settings.balance)
        self.optimizer.step()
        self.reason = self.optimizer.reason or None
        return self.objective.losses

    def _balance(self, balance: Literal["blocks", "terms"]) -> None:
        """New lambdas from the traces of the unweighted kernel, as the loss counts its points."""
        method = self.method
        found = FactoredJacobian.of(method.loss_residuals, method.loss_batches())
        counts = {name: rows.stop - rows.start for name, rows in found.slices.items()}
        mean = method.settings.normalization == "mean"
        traces = [trace / counts[name] if mean else trace for name, trace in found.traces().items()]
        self.objective.lambdas = balanced(torch.stack(traces), self._interior, balance)

    def log(self) -> dict[str, float]:
        optimizer = self.optimizer
        return {
            "damping": optimizer.damping,
            "gain_ratio": optimizer.gain_ratio,
            "trials": optimizer.trials,
            **{f"lambda_{n}": w for n, w in zip(self.method.loss_residuals.names, self._lambdas(), strict=True)},
        }

    def _lambdas(self) -> list[float]:
        lambdas: list[float] = self.objective.lambdas.tolist()
        return lambdas

    def figures(self) -> dict[str, Any]:
        return {"solver": self.optimizer.way}


class NTKNaturalGradient(AdamFirst):
    """A short Adam phase, then natural gradient steps in kernel space, on the weighted residual terms."""

    class Settings(AdamFirst.Settings):
        """Settings of ``ntk_ng``."""

        log_every: Annotated[StrictInt, Field(ge=1)] = 10
        adam: FallingAdamSettings = FallingAdamSettings(steps=500)
        natural_gradient: NaturalGradientPhaseSettings = NaturalGradientPhaseSettings(steps=1_000)

    name: ClassVar[str] = "ntk_ng"

    @property
    def comparable_losses(self) -> bool:
        one = not self.settings.adam.steps or not self.settings.natural_gradient.steps
        return super().comparable_losses and (one or self.settings.natural_gradient.balance == "none")

    def plan(self) -> list[Phase]:
        return [*super().plan(), NaturalGradientPhase(self, self.settings.natural_gradient)]
