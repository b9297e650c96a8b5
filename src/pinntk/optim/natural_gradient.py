"""The natural gradient in kernel space: damped Gauss-Newton steps through the neural tangent kernel.

For ``L = 1/2 |r|^2`` the damped step ``(J^T J + mu I)^-1 J^T r`` is ``J^T (K + mu I)^-1 r`` with ``K = J J^T``: the
kernel is the preconditioner, and N residuals need an N x N solve whatever the number P of parameters is (Levenberg
1944, Marquardt 1963; in kernel space Rudner et al. 2019, "The natural neural tangent kernel"; for PINNs Mueller,
Zeinhofer 2023, Jnini et al. 2024). Where P < N the P x P normal equations are the same step for less. Both matrices
have the squares of J's singular values, so that neither is formed as a rule: the step is had from a factorisation of J
(`pinntk.optim.least_squares`), as that of `pinntk.optim.gauss_newton` is, whose lambda follows from the length of the
step where mu here follows from what the last one has gained.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, StrictInt, model_validator
from torch import Tensor

from pinntk.common.settings import Positive, Settings
from pinntk.optim.cg import conjugate_gradients
from pinntk.optim.least_squares import DampedLeastSquares
from pinntk.optim.nystrom import Nystrom
from pinntk.optim.objective import Objective
from pinntk.optim.stepping import Resumable, Trials, gain_ratio
from pinntk.residual.ntk import Jacobian

Count = Annotated[StrictInt, Field(ge=1, le=1_000_000)]
Way = Literal["kernel", "parameters", "orthogonal", "iterative"]
ACCEPTED = 1e-3
"""Least gain ratio of a step that is taken."""
ENTRIES = 2**27
"""Of J up to which ``auto`` factors J itself: 1 GiB in float64."""


class NaturalGradientSettings(Settings):
    """Settings of `NaturalGradient`."""

    solver: Literal["auto", "kernel", "parameters", "orthogonal", "iterative"] = "auto"
    """``orthogonal``: QR of J, or of J^T where N < P, which squares no condition number; ``kernel``: Cholesky factors
    of K + mu I; ``parameters``: of J^T J + mu I, both as exact at a condition of 1e7 as the first at 1e14, and in down
    to half its time, the kernel without J beside its factors; ``iterative``: conjugate gradients on J^T J + mu I behind
    a Nystrom preconditioner; ``auto``: the first while min(N, P) is at most ``dense_limit`` (of a J of more than 2^27
    entries the smaller of the next two), else the last."""
    dense_limit: Count = 6000
    damping: Positive = 1e-2
    """mu of the first step; then by the gain ratio (`NaturalGradient`)."""
    damping_min: Positive = 1e-14
    damping_max: Positive = 1e10
    increase: Annotated[float, Field(gt=1)] = 4.0
    """Factor on mu after a trial that is refused."""
    decrease: Annotated[float, Field(gt=1)] = 5.0
    """Largest divisor of mu after a step."""
    trials: Count = 8
    """Of mu in one step; after them the step is given up."""
    max_failures: Count = 5
    """Steps in a row that were given up, after which the optimiser is stuck."""
    rank: Count = 200
    """Random vectors of the preconditioner (iterative)."""
    refresh_every: Count = 10
    """Steps between two preconditioners (iterative)."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Conjugate gradients end at this residual, relative to the gradient (iterative)."""
    max_cg: Count = 500

    def without_effect(self) -> dict[str, str]:
        unused = {} if self.solver == "auto" else {"dense_limit": "counts only with solver=auto"}
        if self.solver in ("kernel", "parameters", "orthogonal"):
            of_cg = ("rank", "refresh_every", "tolerance", "max_cg")
            unused |= dict.fromkeys(of_cg, "counts only with solver=iterative or auto")
        return {**super().without_effect(), **unused}

    @model_validator(mode="after")
    def _the_damping_lies_within(self) -> NaturalGradientSettings:
        if not self.damping_min <= self.damping <= self.damping_max:
            raise ValueError(
                f"damping={self.damping:g}: allowed is damping_min={self.damping_min:g} ... "
                f"damping_max={self.damping_max:g}"
            )
        return self


class Solver(ABC):
    """``(J^T J + mu I) d = -J^T r`` for one J and r and several mu.

    Args:
        r: (N,).
        jacobian: J, (N, P).
    """

    def __init__(self, r: Tensor, jacobian: Jacobian) -> None:
        self.r, self.jacobian = r, jacobian

    @abstractmethod
    def direction(self, mu: float) -> Tensor | None:
        """d, (P,); None where mu is too small for this matrix in this precision."""

    def along(self, d: Tensor) -> Tensor:
        """``J d``, (N,)."""
        return self.jacobian.matvec(d)


class KernelSolver(Solver):
    """``d = -J^T (K + mu I)^-1 r``."""

    def __init__(self, r: Tensor, jacobian: Jacobian) -> None:
        super().__init__(r, jacobian)
        self.kernel = jacobian.gram()

    def direction(self, mu: float) -> Tensor | None:
        solved = _solved(self.kernel, mu, self.r)
        return None if solved is None else -self.jacobian.rmatvec(solved)


class ParameterSolver(Solver):
    """``d = -(J^T J + mu I)^-1 J^T r``."""

    def __init__(self, r: Tensor, jacobian: Jacobian) -> None:
        super().__init__(r, jacobian)
        rows = jacobian.dense()
        self.matrix = rows.T @ rows
        self.gradient = rows.T @ r

    def direction(self, mu: float) -> Tensor | None:
        solved = _solved(self.matrix, mu, self.gradient)
        return None if solved is None else -solved


class OrthogonalSolver(Solver):
    """The same by `DampedLeastSquares`: neither ``J J^T`` nor ``J^T J`` is formed."""

    def __init__(self, r: Tensor, jacobian: Jacobian) -> None:
        super().__init__(r, jacobian)
        self.problem = DampedLeastSquares(jacobian.dense(), r)

    def direction(self, mu: float) -> Tensor | None:
        return self.problem.solve(mu)


class IterativeSolver(Solver):
    """The same by conjugate gradients, J being multiplied with only.

    Args:
        r: (N,).
        jacobian: J, (N, P).
        preconditioner: of ``J^T J``, or of one not far from it.
        tolerance, max_cg: see `NaturalGradientSettings`.
    """

    def __init__(self, r: Tensor, jacobian: Jacobian, preconditioner: Nystrom, tolerance: float, max_cg: int) -> None:
        super().__init__(r, jacobian)
        self.gradient = jacobian.rmatvec(r)
        self.preconditioner, self.tolerance, self.max_cg = preconditioner, tolerance, max_cg
        self.iterations = 0

    def direction(self, mu: float) -> Tensor | None:
        jacobian = self.jacobian
        found = conjugate_gradients(
            lambda v: jacobian.rmatvec(jacobian.matvec(v)) + mu * v,
            -self.gradient,
            lambda v: self.preconditioner.precondition(v, mu),
            tolerance=self.tolerance,
            max_iterations=self.max_cg,
            curvature=self.preconditioner.smallest + mu,
        )
        self.iterations += found.iterations
        return found.x


def _solved(matrix: Tensor, mu: float, right: Tensor) -> Tensor | None:
    """``(matrix + mu I)^-1 right``; None where the sum is not positive definite to working precision."""
    damped = matrix.clone()
    damped.diagonal().add_(mu)
    factor, failed = torch.linalg.cholesky_ex(damped)
    return None if failed else torch.cholesky_solve(right[:, None], factor)[:, 0]


class NaturalGradient(Resumable):
    """``theta <- theta - J^T (K + mu I)^-1 r`` with mu by the gain ratio, Levenberg and Marquardt's method.

    The gain ratio is ``(L(theta) - L(theta + d)) / (L(theta) - 1/2 |r + J d|^2)``. A trial that gains next to nothing,
    or whose loss is not finite, is refused and mu grows: theta only ever moves to a lower loss. After a step mu is
    multiplied by ``1 - (2 gain - 1)^3``, within ``1/decrease`` and 2 (Nielsen 1999). Where all trials are refused the
    parameters stay, bit for bit.

    Args:
        objective: residuals and their Jacobian; it may change between steps (fresh points).
        settings: see there.
        seed: of the preconditioner's random vectors.

    Attributes:
        damping: mu of the next step.
        steps: taken, those given up included.
        function_evaluations: of the residuals, with or without their Jacobian.
        way: how the last step was solved.
        gain_ratio: of the last trial.
        trials: of the last step.
        failures: steps in a row that were given up.
        reason: why the optimiser is stuck, in words; empty where it is not.

    Example::

        >>> from pinntk.network import Network, NetworkSettings
        >>> from pinntk.pdes.poisson1d import Poisson1D
        >>> from pinntk.residual.form import ResidualForm
        >>> from pinntk.residual.residuals import Residuals
        >>> pde, x = Poisson1D(a=1), torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]
        >>> functions = Residuals(pde, Network(NetworkSettings(width=5), pde.coordinates, pde.lower, pde.upper))
        >>> objective = ResidualForm(functions, functions.prepare({"interior": x, "boundary": x[[0, -1]]}))
        >>> optimizer = NaturalGradient(objective, NaturalGradientSettings())
        >>> losses = [float(optimizer.step()[0]) for _ in range(30)]
        >>> losses[-1] < 1e-2 * losses[0]
        True
    """

    _SAVED = ("damping", "steps", "function_evaluations", "way", "gain_ratio", "trials", "failures", "reason")

    def __init__(self, objective: Objective, settings: NaturalGradientSettings, *, seed: int = 0) -> None:
        self.objective = objective
        self.settings = settings
        self.seed = seed
        self.damping = settings.damping
        self.steps = self.function_evaluations = self.trials = self.failures = 0
        self.way: Way = "orthogonal"
        self.gain_ratio = math.nan
        self.reason = ""
        self.nystrom: Nystrom | None = None

    def step(self) -> Tensor:
        """One step; the losses before it, (1 + T,)."""
        s = self.settings
        losses, r, jacobian = self.objective.jacobian()
        self.function_evaluations += 1
        self.trials, self.gain_ratio = 0, math.nan
        if not r.isfinite().all():
            self.reason = "the residuals are not finite"
            return losses
        loss, accepted = float(r @ r) / 2, False
        try:
            solver = self._solver(r, jacobian)
            with Trials(self.objective) as trials:
                while not accepted and self.trials < s.trials:
                    self.trials += 1
                    accepted = self._try(solver, trials, loss)
        except FloatingPointError as error:  # the Jacobian is not finite
            self.reason = str(error)
            return losses
        self.steps += 1
        self.failures = 0 if accepted else self.failures + 1
        stuck = self.failures >= s.max_failures
        self.reason = f"no damping up to {self.damping:.1e} lowers the loss" if stuck else ""
        return losses

    def _try(self, solver: Solver, trials: Trials, loss: float) -> bool:
        """One trial of mu, and the next mu; moves to ``theta + d`` and says whether it may stay."""
        s = self.settings
        d = solver.direction(self.damping)
        self.gain_ratio = -math.inf
        if d is not None and d.isfinite().all():
            trials.go(d)
            r = self.objective.residuals()
            self.function_evaluations += 1
            linear = solver.r + solver.along(d)
            predicted, value = loss - float(linear @ linear) / 2, float(r @ r) / 2
            self.gain_ratio = gain_ratio(loss - value, predicted)
        if self.gain_ratio > ACCEPTED:
            factor = max(1 / s.decrease, 1 - (2 * self.gain_ratio - 1) ** 3)
            self.damping = min(max(self.damping * factor, s.damping_min), s.damping_max)
            trials.keep()
            return True
        self.damping = min(self.damping * s.increase, s.damping_max)
        return False

    def _solver(self, r: Tensor, jacobian: Jacobian) -> Solver:
        s = self.settings
        self.way = chosen_way(jacobian.shape, s.dense_limit) if s.solver == "auto" else s.solver
        if self.way == "kernel":
            return KernelSolver(r, jacobian)
        if self.way == "parameters":
            return ParameterSolver(r, jacobian)
        if self.way == "orthogonal":
            return OrthogonalSolver(r, jacobian)
        if self.nystrom is None or self.steps % s.refresh_every == 0:
            generator = np.random.default_rng([self.seed, self.steps // s.refresh_every])

            def product(V: Tensor) -> Tensor:
                return torch.stack([jacobian.rmatvec(jacobian.matvec(v)) for v in V.unbind(1)], dim=1)

            self.nystrom = Nystrom.of(product, jacobian.shape[1], s.rank, generator, dtype=r.dtype, device=r.device)
        return IterativeSolver(r, jacobian, self.nystrom, s.tolerance, s.max_cg)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "nystrom": self.nystrom and self.nystrom.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        saved = state["nystrom"]
        self.nystrom = None if saved is None else Nystrom.restored(saved, self.objective.parameters())


def chosen_way(shape: tuple[int, int], dense_limit: int) -> Way:
    """What ``auto`` stands for with a Jacobian of shape (N, P)."""
    rows, parameters = shape
    if min(rows, parameters) > dense_limit:
        return "iterative"
    if rows * parameters <= ENTRIES:
        return "orthogonal"
    return "kernel" if rows <= parameters else "parameters"
