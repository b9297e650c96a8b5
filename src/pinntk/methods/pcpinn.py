"""PCPINN: training on the residual of a discrete system, preconditioned by an incomplete factorisation.

Instead of the differential equation at random points, the network has to satisfy a difference scheme ``R(u) = 0`` on a
space-time grid, through the inverse of an incomplete factorisation ``P = LU`` of R' (paper, section 3; Liu et al.
2024)::

    L_PC(theta) = mean over the grid's nodes of (P^-1 R(u_theta))^2

For a linear problem ``R(u) = A u - b`` and this is the paper's ``|P^-1 A u - P^-1 b|^2``. Only values of the network
are differentiated, never its input derivatives.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.discretization import DiscreteProblem, DiscretizationSettings, PreconditionerError, apply_inverse
from pinntk.methods.base import Method, MethodSettings, NonFiniteLoss, Steps
from pinntk.methods.schedule import AdamSettings
from pinntk.pdes.base import PDE, Array
from pinntk.references import Reference


class PCPINN(Method):
    """Adam on ``L_PC``, in one of two forms.

    ``direct``: every step applies ``P^-1`` to the residual on the whole grid, and its transpose for the gradient. P is
    linearised about the network's values, anew every ``refresh_every`` iterations.

    ``lagged``: every ``refresh_every`` iterations the preconditioned residual is applied to the network's values on the
    grid, ``v = u_theta - P^-1 R(u_theta)`` (in windows forward in time, with repeated and clipped updates where the
    problem is nonlinear: ``DiscreteProblem.correct``); in between, mini-batches of nodes are regressed on the fixed v.
    Both forms vanish for the same networks. With respect to the values on the grid the lagged gradient at a refresh is
    ``2 P^-1 R``, the direct one ``2 (P^-1 R')^T P^-1 R``: the same where ``P = R'``. Elsewhere a network that cannot
    reach zero may come to rest in another place than under the direct form. The more exactly v solves the discrete
    problem, the closer the lagged form is to regression on the discrete solution; ``method_figures`` states how
    exactly it does, what the discrete solution is worth, and what it all cost.
    """

    class Settings(MethodSettings):
        """Settings of ``pcpinn``."""

        steps: Steps = 10_000
        form: Literal["lagged", "direct"] = "lagged"
        refresh_every: Annotated[StrictInt, Field(ge=1)] = 10_000
        """Iterations between two linearisations (direct) or targets (lagged)."""
        batch: Annotated[StrictInt, Field(ge=1)] = 4096
        """Nodes per step of the lagged form, drawn with replacement."""
        adam: AdamSettings = AdamSettings()

    name: ClassVar[str] = "pcpinn"
    term: ClassVar[str] = "preconditioned"
    optimizer: torch.optim.Adam

    def __init__(self, pde: PDE, *args: Any, **kwargs: Any) -> None:
        super().__init__(pde, *args, **kwargs)
        assert self.discretization is not None, "method=pcpinn needs the settings of the problem's discrete form"
        self.problem: DiscreteProblem = pde.discretize(self.discretization)
        self.base: Array | None = None
        """The network's values (direct) or the target (lagged) of the last refresh, on the grid."""
        self.refreshes: list[dict[str, float]] = []
        self._values: tuple[int, Array] | None = None

    @classmethod
    def check(cls, pde: PDE, settings: MethodSettings, discretization: DiscretizationSettings | None) -> None:
        if pde.Discretization is None:
            raise ValueError(f"method=pcpinn: pde={pde.name} has no discrete form; allowed are problems with one")
        if discretization is None:
            raise ValueError("discretization=null: pcpinn needs the settings of the problem's discrete form")
        if settings.weights:
            raise ValueError("method.weights: pcpinn has one term, its preconditioned residual; allowed is {}")
        pde.discretize(discretization)  # a grid that cannot hold the problem is refused

    @property
    def total_iterations(self) -> int:
        return int(self.settings.steps)

    def start(self, state: Mapping[str, Any] | None) -> None:
        settings: AdamSettings = self.settings.adam
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=settings.learning_rate, betas=settings.betas, fused=True
        )
        self.nodes = torch.from_numpy(self.problem.nodes).to(self.device, self.dtype_)
        if state is not None:
            self.optimizer.load_state_dict(state["optimizer"])
            self.refreshes = list(state["refreshes"])
            if state["base"] is not None:  # None where the run was stopped before its first refresh
                self.base = state["base"].double().numpy()
                self._prepare()
        self._loss = torch.compile(self._regression, dynamic=False) if self.compiled else self._regression

    def state(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "base": None if self.base is None else torch.from_numpy(self.base).to(self.dtype_),
            "refreshes": self.refreshes,
        }

    def advance(self, end: int) -> None:
        history: list[Tensor] = []
        while self.iteration < end and not self.stop_requested:
            if self.iteration % self.settings.refresh_every == 0:
                with self.phase("refresh"):
                    self._refresh()
            until = min(end, (self.iteration // self.settings.refresh_every + 1) * self.settings.refresh_every)
            with self.phase("adam"):
                while self.iteration < until and not self.stop_requested:
                    history.append(self._step())
        self.record(("loss",), history, learning_rate=self.optimizer.param_groups[0]["lr"])

    def _step(self) -> Tensor:
        self._values = None
        if self.settings.form == "lagged":
            picked = self._draw()
            loss = self._loss(self.nodes[picked], self.target[picked])
        else:
            residual = self.problem.residual(self.network(self.nodes).reshape(self.problem.shape))
            loss = apply_inverse(self.preconditioner, residual).square().mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.settings.adam.set_rate(self.optimizer, self.iteration, self.total_iterations)
        self.optimizer.step()
        self.iteration += 1
        self.function_evaluations += 1
        return loss.detach()[None]

    def _regression(self, nodes: Tensor, target: Tensor) -> Tensor:
        loss: Tensor = (self.network(nodes) - target).square().mean()
        return loss

    def _draw(self) -> Tensor:
        """The nodes of this iteration's mini-batch: a function of seed and iteration alone."""
        rng = np.random.default_rng([self.seed, self.iteration])
        return torch.from_numpy(rng.integers(len(self.nodes), size=self.settings.batch)).to(self.device)

    def values(self) -> Array:
        """The network's values on the grid, float64, of the grid's shape."""
        # Kept, because some millions of nodes take seconds and the end of a run asks twice.
        if self._values is None or self._values[0] != self.iteration:
            self._values = self.iteration, self.predict_numpy(self.problem.nodes).reshape(self.problem.shape)
        return self._values[1]

    def _refresh(self) -> None:
        """Linearise (direct) or correct (lagged) about the network's current values."""
        values = self.values()
        if not np.isfinite(values).all():
            raise NonFiniteLoss(self.iteration, self.term)
        figures: dict[str, float] = {"iteration": self.iteration}
        if self.settings.form == "lagged":
            correction = self.problem.correct(values)
            # As the network sees it, so that it need not be saved in double precision.
            self.base = torch.from_numpy(correction.values).to(self.dtype_).double().numpy()
            figures |= {
                "update": rms(values - correction.values),
                "residual_left": correction.residual,
                "sweeps": correction.sweeps,
                "factorizations": correction.factorizations,
                "factor_seconds": correction.factor_seconds,
                "seconds": correction.seconds,
            }
        else:
            self.base = values
        self._prepare()
        if self.settings.form == "direct":
            figures["factor_seconds"] = self.preconditioner.factor_seconds
        self.refreshes.append(figures)

    def _prepare(self) -> None:
        """What follows from ``base``: the target, or the factors, which can be rebuilt but not saved."""
        assert self.base is not None
        if self.settings.form == "lagged":
            self.target = torch.from_numpy(self.base.reshape(-1)).to(self.device, self.dtype_)
        else:
            self.preconditioner = self.problem.linearize(self.base)

    def losses(self) -> dict[str, float]:
        """L_PC over the whole grid: with the last linearisation (direct), as distance to the last target (lagged)."""
        if self.base is None:
            return {"loss": math.nan, self.term: math.nan}
        values = self.values()
        if self.settings.form == "lagged":
            loss = rms(values - self.base) ** 2
        else:
            loss = rms(self.preconditioner.solve(self.problem.residual(torch.from_numpy(values)).numpy())) ** 2
        return {"loss": loss, self.term: loss}

    def figures(self, reference: Reference) -> dict[str, Any]:
        """What the discrete problem is worth and costs.

        ``discrete_l2re``: error of the solution of R(u) = 0, the floor that L_PC can reach. ``ilu_l2re``: error of
        one application of the incomplete factors, ``P^-1 b`` (for a nonlinear problem of Newton's linear system at the
        discrete solution, ``b = R'(u) u``), with ``defect`` and ``amplification`` of the factors; where they are of no
        use, ``ilu_reason`` says why. ``network_to_discrete``: relative distance of the network from the discrete
        solution on the grid. Costs: seconds of factoring while training, seconds per application of P^-1 on the whole
        grid, and the part of the training time spent on refreshes.
        """
        solution = self.problem.solve()
        training = sum(self.seconds_per_phase.values())
        return {
            "grid": list(self.problem.shape),
            "discrete_l2re": self._error(solution, reference),
            **self._factor_figures(solution, reference),
            "network_to_discrete": float(np.linalg.norm(self.values() - solution) / np.linalg.norm(solution)),
            "factor_seconds": sum(refresh.get("factor_seconds", 0.0) for refresh in self.refreshes),
            "share_of_training_time": self.seconds_per_phase.get("refresh", 0.0) / training if training else 0.0,
            "refreshes": self.refreshes,
        }

    def _factor_figures(self, solution: Array, reference: Reference) -> dict[str, Any]:
        u = torch.from_numpy(solution).requires_grad_()
        residual = self.problem.residual(u)
        # R'(u) u, as the derivative of R'(u)^T w with respect to w along u.
        w = torch.zeros_like(residual, requires_grad=True)
        (transposed,) = torch.autograd.grad(residual, u, w, create_graph=True)
        right = torch.autograd.grad(transposed, w, u.detach())[0].numpy()
        try:
            preconditioner = self.problem.linearize(solution)
            begin = time.perf_counter()
            applied = preconditioner.solve(right)
            seconds = time.perf_counter() - begin
        except PreconditionerError as error:
            return {"ilu_l2re": None, "ilu_reason": str(error)}
        return {
            "ilu_l2re": self._error(applied, reference),
            "defect": preconditioner.defect,
            "amplification": preconditioner.amplification,
            "factor_entries": preconditioner.nnz,
            "seconds_per_factorization": preconditioner.factor_seconds,
            "seconds_per_application": seconds,
        }

    def _error(self, grid: Array, reference: Reference) -> float:
        """L2RE of a grid function on the evaluation grid."""
        error = self.problem.interpolate(grid, self.pde.evaluation_points()) - reference.values
        return float(np.linalg.norm(error) / np.linalg.norm(reference.values))


def rms(values: Array) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))
