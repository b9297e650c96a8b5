"""NysNewton-CG: damped Newton steps by conjugate gradients behind a Nystrom preconditioner.

Rathore, Lei, Frangella, Lu, Udell, "Challenges in training PINNs: a loss landscape perspective" (ICML 2024),
Algorithm 1; the table's GDND ends with it. Beyond the publication: the Gauss-Newton matrix in the Hessian's place,
whose products come of the Jacobian that gives the gradient; a relative tolerance, a test for negative curvature, a line
search that ends and takes finite values only, a damping that follows the gain ratio, and, where the rank is that of the
whole matrix, the inverse of this matrix (`Lagged`) instead of the approximation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, StrictInt, model_validator
from torch import Tensor

from pinntk.common.settings import Positive, Settings
from pinntk.optim.cg import Solution, conjugate_gradients
from pinntk.optim.lagged import Lagged
from pinntk.optim.nystrom import Nystrom
from pinntk.optim.objective import Objective, Product
from pinntk.optim.stepping import Resumable, Trials, gain_ratio
from pinntk.residual.hessian import GaussNewton
from pinntk.residual.spectra import DENSE_LIMIT, SymmetricOperator

Count = Annotated[StrictInt, Field(ge=1, le=1_000_000)]
POOR, GOOD = 0.25, 0.75
"""Gain ratios below and above which the damping changes."""


class NNCGSettings(Settings):
    """Settings of `NysNewtonCG`.

    The published ones: ``curvature=hessian damping_rule=fixed damping=1e-2`` (tried: 1e-5 ... 1e-1)
    ``tolerance_rule=fixed tolerance=1e-16``, the rest as it stands.
    """

    curvature: Literal["hessian", "gauss_newton"] = "gauss_newton"
    """``J^T J``, never indefinite, and its products are cheaper; or ``hessian``."""
    rank: Count = 60
    """Random vectors of the preconditioner; with ``curvature=gauss_newton`` and no fewer than there are parameters, at
    most 5000, the matrix itself is made and inverted."""
    refresh_every: Count = 20
    """Steps between two preconditioners."""
    damping_rule: Literal["fixed", "gain"] = "gain"
    """``gain``: by how well the quadratic model foretold the loss after the full step."""
    damping: Positive = 1e-2
    """mu; with ``gain`` that of the first step."""
    damping_min: Positive = 1e-12
    damping_max: Positive = 1e6
    increase: Annotated[float, Field(gt=1)] = 2.0
    """Factor on mu after a step whose gain ratio is below 1/4, or none."""
    decrease: Annotated[float, Field(gt=1)] = 3.0
    """Divisor of mu after a full step whose gain ratio is above 3/4."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """eta: conjugate gradients end at a residual of ``eta |grad L|``."""
    tolerance_rule: Literal["fixed", "gradient"] = "fixed"
    """``gradient``: ``min(eta, sqrt(|grad L|))``, by which Newton's method converges faster than linearly
    (Eisenstat, Walker 1996; Nocedal, Wright, section 7.1)."""
    max_cg: Count = 1000
    armijo: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """alpha: the least share of the decrease along the slope."""
    backtrack: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """beta: factor on the step length after each refused trial."""
    max_backtracks: Annotated[StrictInt, Field(ge=0, le=1000)] = 30
    max_failures: Count = 5
    """Steps in a row without any accepted length after which the optimiser is stuck."""

    def without_effect(self) -> dict[str, str]:
        unused = () if self.damping_rule == "gain" else ("damping_min", "damping_max", "increase", "decrease")
        return {**super().without_effect(), **dict.fromkeys(unused, "counts only with damping_rule=gain")}

    @model_validator(mode="after")
    def _the_damping_lies_within(self) -> NNCGSettings:
        if self.damping_rule == "gain" and not self.damping_min <= self.damping <= self.damping_max:
            raise ValueError(
                f"damping={self.damping:g}: with damping_rule=gain allowed is "
                f"damping_min={self.damping_min:g} ... damping_max={self.damping_max:g}"
            )
        return self


class NysNewtonCG(Resumable):
    """``theta <- theta + t d`` with ``(H + mu I) d = -grad L`` and a step length t by Armijo's rule.

    Negative curvature ends the conjugate gradients (`conjugate_gradients`). The gain ratio is that of the full step,
    ``(L(theta) - L(theta + d)) / (m(0) - m(d))`` with the undamped model ``m(d) = L + grad L^T d + d^T H d / 2``
    (Nocedal, Wright, section 4.1). Where no length is accepted the parameters stay, bit for bit.

    Random vectors are a function of the seed and the number of the refresh.

    Args:
        objective: loss, gradient and curvature; it may change between steps (fresh points).
        settings: see there.
        seed: of the random vectors.

    Attributes:
        damping: mu of the next step.
        preconditioner: None before the first step.
        steps: taken, those that failed included.
        function_evaluations: of the loss, with or without its gradient.
        hessian_products: products of the curvature with one vector.
        cg_iterations, step_length, gain_ratio: of the last step; 0, 0 and NaN where it did not come to them, and a
            gain ratio of minus infinity where the full step's loss is not finite.
        failures: steps in a row that no length was accepted in.
        reason: why the optimiser is stuck, in words; empty where it is not.

    Example::

        >>> from pinntk.network import Network, NetworkSettings
        >>> from pinntk.pdes.poisson1d import Poisson1D
        >>> from pinntk.residual.form import ResidualForm
        >>> from pinntk.residual.residuals import Residuals
        >>> pde, x = Poisson1D(a=1), torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]
        >>> functions = Residuals(pde, Network(NetworkSettings(width=5), pde.coordinates, pde.lower, pde.upper))
        >>> objective = ResidualForm(functions, functions.prepare({"interior": x, "boundary": x[[0, -1]]}))
        >>> optimizer = NysNewtonCG(objective, NNCGSettings())
        >>> losses = [float(optimizer.step()[0]) for _ in range(30)]
        >>> losses == sorted(losses, reverse=True) and losses[-1] < 0.5 * losses[0]
        True
    """

    _SAVED = (
        *("damping", "steps", "function_evaluations", "hessian_products"),
        *("cg_iterations", "step_length", "gain_ratio", "failures", "reason"),
    )

    def __init__(self, objective: Objective, settings: NNCGSettings, *, seed: int = 0) -> None:
        self.objective = objective
        self.settings = settings
        self.seed = seed
        self.damping = settings.damping
        self.preconditioner: Nystrom | Lagged | None = None
        self.steps = self.function_evaluations = self.hessian_products = 0
        self.cg_iterations, self.step_length, self.gain_ratio = 0, 0.0, math.nan
        self.failures = 0
        self.reason = ""

    def step(self) -> Tensor:
        """One step; the losses before it, (1 + T,)."""
        self.cg_iterations, self.step_length, self.gain_ratio = 0, 0.0, math.nan
        losses, gradient, curvature = self._model()
        self.function_evaluations += 1
        if not (losses[0].isfinite() and gradient.isfinite().all()):
            self.reason = "the loss or its gradient is not finite"
        elif not gradient.any():
            self.reason = "the gradient is zero"
        else:
            try:
                solution = self._direction(gradient, curvature())
            except FloatingPointError as error:
                self.reason = str(error)
            else:
                self._move(float(losses[0]), gradient, solution)
        return losses

    def _model(self) -> tuple[Tensor, Tensor, Callable[[], SymmetricOperator]]:
        """The losses, the gradient, and what makes the curvature."""
        objective = self.objective
        if self.settings.curvature == "hessian":
            losses, gradient = objective.gradient()
            return losses, gradient, lambda: objective.curvature("hessian")
        losses, r, jacobian = objective.jacobian()
        return losses, jacobian.rmatvec(r), lambda: GaussNewton(jacobian, r, keep=True)

    def _direction(self, gradient: Tensor, curvature: SymmetricOperator) -> Solution:
        """d, as far as conjugate gradients find it."""
        s, mu = self.settings, self.damping
        product = self._counted(curvature.matvec)
        if self.preconditioner is None or self.steps % s.refresh_every == 0:
            self.preconditioner = self._preconditioner(gradient, curvature)
        preconditioner = self.preconditioner
        tolerance = s.tolerance
        if s.tolerance_rule == "gradient":
            tolerance = min(tolerance, math.sqrt(float(gradient.norm())))
        solution = conjugate_gradients(
            lambda v: product(v) + mu * v,
            -gradient,
            lambda v: preconditioner.precondition(v, mu),
            tolerance=tolerance,
            max_iterations=s.max_cg,
            curvature=preconditioner.smallest + mu,
        )
        self.cg_iterations = solution.iterations
        return solution

    def _preconditioner(self, gradient: Tensor, curvature: SymmetricOperator) -> Nystrom | Lagged:
        """Of this step's curvature."""
        s, size = self.settings, len(gradient)
        if s.curvature == "gauss_newton" and size <= min(s.rank, DENSE_LIMIT):
            self.hessian_products += size
            return Lagged(curvature.dense())
        generator = np.random.default_rng([self.seed, self.steps // s.refresh_every])
        return Nystrom.of(
            self._counted(curvature.matvec), size, s.rank, generator, dtype=gradient.dtype, device=gradient.device
        )

    def _counted(self, product: Product) -> Product:
        def counted(v: Tensor) -> Tensor:
            self.hessian_products += 1 if v.ndim == 1 else v.shape[1]
            return product(v)

        return counted

    def _move(self, loss: float, gradient: Tensor, solution: Solution) -> None:
        """Go along the direction as far as Armijo's rule has it; then damping and counters."""
        s, d = self.settings, solution.x
        slope = float(gradient @ d)
        # (H + mu I) d = -gradient - residual.
        damped = -slope - float(solution.residual @ d)
        predicted = -slope - (damped - self.damping * float(d @ d)) / 2
        self.step_length = self._line_search(loss, slope, predicted, d)
        self.steps += 1
        if self.step_length > 0:
            self.failures, self.reason = 0, ""
        else:
            self.failures += 1
            if self.failures >= s.max_failures:
                self.reason = f"no step length was accepted in {self.failures} steps in a row"
        if s.damping_rule == "gain":
            if self.step_length == 0 or self.gain_ratio < POOR:
                self.damping = min(self.damping * s.increase, s.damping_max)
            elif self.step_length == 1 and self.gain_ratio > GOOD:
                self.damping = max(self.damping / s.decrease, s.damping_min)

    def _line_search(self, loss: float, slope: float, predicted: float, d: Tensor) -> float:
        """The first t of 1, beta, beta^2, ... with ``L(theta + t d) <= L + alpha t slope``, or 0; moves there."""
        s, t = self.settings, 1.0
        with Trials(self.objective) as trials:
            for trial in range(s.max_backtracks + 1):
                trials.go(t * d)
                value = float(self.objective.loss())
                self.function_evaluations += 1
                if trial == 0:
                    self.gain_ratio = gain_ratio(loss - value, predicted)
                # Minus infinity would pass Armijo's rule, and so would no change at all where the slope is rounded off.
                if math.isfinite(value) and value < loss and value <= loss + s.armijo * t * slope:
                    trials.keep()
                    return t
                t *= s.backtrack
            return 0.0

    def state_dict(self) -> dict[str, Any]:
        known = self.preconditioner
        nystrom = known.state() if isinstance(known, Nystrom) else None
        lagged = known.state() if isinstance(known, Lagged) else None
        return {"nystrom": nystrom, "lagged": lagged, **super().state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        theta = self.objective.parameters()
        nystrom, lagged = state["nystrom"], state.get("lagged")  # a checkpoint from before `Lagged` does not know of it
        self.preconditioner = None
        if nystrom is not None:
            self.preconditioner = Nystrom.restored(nystrom, theta)
        elif lagged is not None:
            self.preconditioner = Lagged.restored(lagged, theta)
