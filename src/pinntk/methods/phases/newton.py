"""Exact damped Newton steps (paper, Algorithm 2 and Theorem 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from pinntk.common.memory import Need
from pinntk.common.settings import Positive
from pinntk.methods.plan import Phase, PhaseSettings
from pinntk.optim.damped_newton import SingularHessian, damped_newton_step
from pinntk.residual.extent import Extent
from pinntk.residual.hessian import GaussNewton
from pinntk.residual.objective import LeastSquares
from pinntk.residual.spectra import DENSE_LIMIT, Spectrum

KERNEL_LIMIT = 3000
"""Residuals up to which the kernel's smallest eigenvalue is computed."""


class NewtonSettings(PhaseSettings):
    """Settings of the damped Newton steps."""

    limit: ClassVar[tuple[int, str] | None] = DENSE_LIMIT, "exact Newton step"
    one_loss: ClassVar[bool] = True
    learning_rate: Positive = 5 / 6
    """eta_2; Theorem 4 has 5/6."""
    damping: Annotated[float, Field(ge=0)] = 1e-6
    """gamma"""

    def need(self, extent: Extent) -> Need:
        """``4 P^2`` numbers: the Hessian while it is made of its columns, and later with its factors."""
        what = f"an exact Newton step takes four matrices of {extent.parameters:,}^2 numbers"
        return Need(what, 4 * extent.matrix(extent.parameters, extent.parameters))

    def phase(self, objective: LeastSquares, seed: int) -> Phase:
        return NewtonPhase(objective, self, seed)


class NewtonPhase(Phase):
    """``theta <- theta - eta_2 (H + gamma I)^-1 grad L`` by a dense solve, on fixed points.

    What Theorem 4 speaks of is measured before every step: ``L(theta_{S1+n}) / L(theta_S1)``, which it bounds by
    ``(2/3)^n``, and of its condition, ``1/2 |grad L|^2 >= mu L``, the quotient ``|grad L|^2 / 2 L`` at the iterate and
    the bound that holds for every residual, mu = the smallest eigenvalue of the kernel ``J J^T`` of ``L = 1/2 |r|^2``.
    """

    name: ClassVar[str] = "newton"

    def start(self, state: Mapping[str, Any] | None) -> None:
        self.history: dict[str, list[float]] = {"loss": [], "pl_quotient": [], "smallest_eigenvalue": []}
        if state is not None:
            self.history = {name: list(values) for name, values in state["history"].items()}

    def state(self) -> dict[str, Any]:
        return {"history": {name: list(values) for name, values in self.history.items()}}

    def step(self, n: int) -> Tensor:
        losses, gradient = self.objective.gradient()
        loss = losses[0]
        found = (float(loss), float(gradient.square().sum() / (2 * loss)), self._smallest_eigenvalue())
        for values, value in zip(self.history.values(), found, strict=True):
            values.append(value)
        hessian = self.objective.curvature("hessian").dense()
        try:
            damped_newton_step(self.objective, hessian, self.settings.learning_rate, self.settings.damping)
        except SingularHessian as error:
            self.reason = str(error)
        return losses

    def _smallest_eigenvalue(self) -> float:
        matrix = self.objective.curvature("gauss_newton")
        assert isinstance(matrix, GaussNewton)
        jacobian = matrix.jacobian
        return Spectrum.of(jacobian.gram()).smallest if jacobian.shape[0] <= KERNEL_LIMIT else float("nan")

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
