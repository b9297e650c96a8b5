"""Gradient descent, then damped Newton, as written (paper, Algorithm 2 and Theorem 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from pinntk.common.settings import Positive
from pinntk.methods.base import MethodSettings
from pinntk.methods.objective import WeightedObjective
from pinntk.methods.phases import Phase, PhasedMethod, PhaseSettings
from pinntk.optim.damped_newton import SingularHessian, damped_newton_step
from pinntk.residual.hessian import GaussNewton
from pinntk.residual.spectra import DENSE_LIMIT, Spectrum, norm

KERNEL_LIMIT = 3000
"""Residuals up to which the kernel's smallest eigenvalue is computed."""


class DescentSettings(PhaseSettings):
    """Settings of the gradient descent."""

    learning_rate: Positive | None = None
    """eta_1; null: ``rate`` over the largest eigenvalue of ``J^T D J`` at the start."""
    rate: Annotated[float, Field(gt=0, lt=2)] = 1.0
    """Beyond 2 a quadratic loss grows."""

    def without_effect(self) -> dict[str, str]:
        unused = {} if self.learning_rate is None else {"rate": "counts only with learning_rate=null"}
        return {**super().without_effect(), **unused}


class NewtonSettings(PhaseSettings):
    """Settings of the damped Newton steps."""

    limit: ClassVar[tuple[int, str] | None] = DENSE_LIMIT, "exact Newton step"
    learning_rate: Positive = 5 / 6
    """eta_2; Theorem 4 has 5/6."""
    damping: Annotated[float, Field(ge=0)] = 1e-6
    """gamma"""


class DescentPhase(Phase):
    """``theta <- theta - eta_1 grad L`` on fixed points."""

    name: ClassVar[str] = "descent"
    rate: float

    def __init__(self, method: PhasedMethod, settings: DescentSettings) -> None:
        super().__init__(method, settings.steps, settings.stagnation)
        self.settings = settings

    def start(self, state: Mapping[str, Any] | None) -> None:
        self.objective = WeightedObjective(self.method, "gauss_newton")
        if state is not None:
            self.rate = state["rate"]
        elif self.settings.learning_rate is not None:
            self.rate = self.settings.learning_rate
        else:
            self.rate = self.settings.rate / norm(self.objective.operator())

    def state(self) -> dict[str, Any]:
        return {"rate": self.rate}

    def step(self, n: int) -> Tensor:
        _, gradient = self.objective.gradient()
        self.objective.assign(self.objective.parameters() - self.rate * gradient)
        return self.objective.losses

    def log(self) -> dict[str, float]:
        return {"learning_rate": self.rate}

    def figures(self) -> dict[str, Any]:
        return {"learning_rate": self.rate}


class NewtonPhase(Phase):
    """``theta <- theta - eta_2 (H + gamma I)^-1 grad L`` by a dense solve, on fixed points.

    What Theorem 4 speaks of is measured before every step: ``L(theta_{S1+n}) / L(theta_S1)``, which it bounds by
    ``(2/3)^n``, and of its condition, ``1/2 |grad L|^2 >= mu L``, the quotient ``|grad L|^2 / 2 L`` at the iterate and
    the bound that holds for every residual, mu = the smallest eigenvalue of ``D^1/2 K D^1/2``.
    """

    name: ClassVar[str] = "newton"

    def __init__(self, method: PhasedMethod, settings: NewtonSettings) -> None:
        super().__init__(method, settings.steps, settings.stagnation)
        self.settings = settings

    def start(self, state: Mapping[str, Any] | None) -> None:
        self.objective = WeightedObjective(self.method)
        self.history: dict[str, list[float]] = {"loss": [], "pl_quotient": [], "smallest_eigenvalue": []}
        if state is not None:
            self.history = {name: list(values) for name, values in state["history"].items()}

    def state(self) -> dict[str, Any]:
        return {"history": {name: list(values) for name, values in self.history.items()}}

    def step(self, n: int) -> Tensor:
        loss, gradient = self.objective.gradient()
        losses = self.objective.losses
        found = (float(loss), float(gradient.square().sum() / (2 * loss)), self._smallest_eigenvalue())
        for values, value in zip(self.history.values(), found, strict=True):
            values.append(value)
        try:
            damped_newton_step(
                self.objective, self.objective.operator().dense(), self.settings.learning_rate, self.settings.damping
            )
        except SingularHessian as error:
            self.reason = str(error)
        return losses

    def _smallest_eigenvalue(self) -> float:
        method = self.method
        normalization = method.settings.normalization
        matrix = GaussNewton.of(method.loss_residuals, method.loss_batches(), method.weights, normalization)
        if len(matrix.second) > KERNEL_LIMIT:
            return float("nan")
        root = matrix.second.sqrt()
        return Spectrum.of(root[:, None] * matrix.jacobian.gram() * root).smallest

    def log(self) -> dict[str, float]:
        n = len(self.history["loss"]) - 1
        latest = {name: values[-1] for name, values in self.history.items() if name != "loss"}
        return {"loss_ratio": self.history["loss"][-1] / self.history["loss"][0], "two_thirds": (2 / 3) ** n, **latest}

    def figures(self) -> dict[str, Any]:
        loss = [*self.history["loss"], float(self.objective.loss())]
        return {
            "loss_ratio": [value / loss[0] for value in loss],
            "two_thirds": [(2 / 3) ** n for n in range(len(loss))],
            "pl_quotient": self.history["pl_quotient"],
            "smallest_eigenvalue": self.history["smallest_eigenvalue"],
        }


class GDNDTheory(PhasedMethod):
    """``S1`` steps of gradient descent, then ``S2`` damped Newton steps, on the weighted loss of fixed points."""

    class Settings(MethodSettings):
        """Settings of ``gdnd_theory``."""

        descent: DescentSettings = DescentSettings(steps=1_000)
        newton: NewtonSettings = NewtonSettings(steps=20)

    name: ClassVar[str] = "gdnd_theory"

    def plan(self) -> list[Phase]:
        return [DescentPhase(self, self.settings.descent), NewtonPhase(self, self.settings.newton)]
