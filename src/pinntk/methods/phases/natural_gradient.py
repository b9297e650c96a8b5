"""Natural gradient in kernel space: the neural tangent kernel as the preconditioner."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pinntk.common.memory import Need
from pinntk.methods.draws import Draws
from pinntk.methods.phases.stepping import SteppingPhase
from pinntk.methods.plan import Phase, PhaseSettings
from pinntk.optim.natural_gradient import NaturalGradient, NaturalGradientSettings, chosen_way
from pinntk.residual.extent import Extent
from pinntk.residual.objective import LeastSquares


class NaturalGradientPhaseSettings(NaturalGradientSettings, Draws, PhaseSettings):
    """Settings of a natural gradient phase."""

    def need(self, extent: Extent) -> Need:
        """J in factors, and by the solver, n being N or P: ``4 n^2`` numbers for the matrix, the damped one, its
        Cholesky factors and their copy; ``kernel`` the rows of J that its products take; ``parameters`` its
        rows while they are put together, or beside the matrix; ``orthogonal`` those, a copy with r and its factors, and
        twice two matrices of the smaller of N and P for a damping; ``iterative`` ``6 k P`` for k vectors."""
        rows, parameters = extent.rows, extent.parameters
        way = chosen_way((rows, parameters), self.dense_limit) if self.solver == "auto" else self.solver
        if way == "kernel":
            what, size = f"a kernel of {rows:,}^2 numbers", extent.short_rows + 4 * extent.matrix(rows, rows)
        elif way == "parameters":
            what = f"a Jacobian of {rows:,} by {parameters:,} numbers and a matrix of {parameters:,}^2"
            square = extent.matrix(parameters, parameters)
            size = max(extent.made, extent.dense + square, 4 * square)
        elif way == "orthogonal":
            small = min(rows, parameters)
            what = f"a Jacobian of {rows:,} by {parameters:,} numbers and its factors"
            size = max(extent.made, 3 * extent.dense + 4 * extent.matrix(small, small))
        else:
            what = f"the factors of {rows:,} residuals by {parameters:,} parameters"
            size = 6 * extent.matrix(min(self.rank, parameters), parameters)
        instead = "" if way == "iterative" else "solver=iterative"
        many = way in ("parameters", "orthogonal") or (way == "iterative" and size > extent.factors)
        by: Literal["parameters", "rows"] = "parameters" if many else "rows"
        return Need(f"the natural gradient takes {what}", size + extent.factors, by, instead)

    def phase(self, objective: LeastSquares, seed: int) -> Phase:
        return NaturalGradientPhase(objective, self, seed)


class NaturalGradientPhase(SteppingPhase):
    """Steps ``J^T (K + mu I)^-1 r`` on the weighted residuals (`NaturalGradient`)."""

    name: ClassVar[str] = "natural_gradient"
    logged: ClassVar[tuple[str, ...]] = ("damping", "gain_ratio", "trials")

    optimizer: NaturalGradient

    def make(self) -> NaturalGradient:
        return NaturalGradient(self.objective, self.settings, seed=self.seed)

    def figures(self) -> dict[str, Any]:
        return {"solver": self.optimizer.way}
