"""Gauss-Newton steps of the length that keeps its promise."""

from __future__ import annotations

from typing import ClassVar

from pinntk.common.memory import Need
from pinntk.methods.draws import Draws
from pinntk.methods.phases.stepping import SteppingPhase
from pinntk.methods.plan import Phase, PhaseSettings
from pinntk.optim.gauss_newton import GaussNewtonSettings, GaussNewtonSteps
from pinntk.residual.extent import Extent
from pinntk.residual.objective import LeastSquares


class GaussNewtonPhaseSettings(GaussNewtonSettings, Draws, PhaseSettings):
    """Settings of a Gauss-Newton phase."""

    def of_several_terms(self) -> dict[str, object]:
        return {"balance": self.balance} if self.balance else {}

    def need(self, extent: Extent) -> Need:
        """J in factors and rows, a copy of them with r and its factors, and the matrices of a singular value
        decomposition of the smaller of N and P."""
        small = min(extent.rows, extent.parameters)
        size = max(extent.made, 3 * extent.dense + 6 * extent.matrix(small, small)) + extent.factors
        what = f"a Jacobian of {extent.rows:,} by {extent.parameters:,} numbers and its factors"
        return Need(f"Gauss-Newton takes {what}", size, "parameters", "")

    def phase(self, objective: LeastSquares, seed: int) -> Phase:
        return GaussNewtonPhase(objective, self, seed)


class GaussNewtonPhase(SteppingPhase):
    """One step of `GaussNewtonSteps` per iteration."""

    name: ClassVar[str] = "gauss_newton"
    logged: ClassVar[tuple[str, ...]] = ("radius", "damping", "gain_ratio", "least_ratio", "trials")

    optimizer: GaussNewtonSteps

    def make(self) -> GaussNewtonSteps:
        return GaussNewtonSteps(self.objective, self.settings, seed=self.seed)

    def log(self) -> dict[str, float]:
        return {**super().log(), **{f"balance_{name}": w for name, w in self.optimizer.weights.items()}}
