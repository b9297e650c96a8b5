"""The preconditioned loss of the paper as an objective: what its three forms share, and its two that have a target.

``L_PC(theta) = mean over the grid of (P^-1 R(u_theta))^2``, R the discrete residual and P the incomplete factors of its
Jacobian (Liu et al. 2024). ``direct`` (`pinntk.discrete.direct`) differentiates that. The others are regressions on a
target v, at nodes drawn from the grid:

``applied``: every so many iterations P^-1 is applied *once* to the residual of the network's values, ``v = u_theta -
P^-1 R(u_theta)``. At a refresh the gradient with respect to the values on the grid is ``2 P^-1 R``, of the direct form
``2 (P^-1 R')^T P^-1 R``: the same where ``P = R'``, and both vanish for the same networks.

``solved``: v is the solution of the discrete system, by as many applications of P^-1 as that takes. No preconditioned
loss is left in it: a classical method solves the problem and the network is fitted to the solution.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.discrete.discretization import Correction, DiscreteProblem
from pinntk.discrete.nodes import NodeDraws
from pinntk.residual.form import ResidualForm
from pinntk.residual.objective import LeastSquares, NonFiniteLoss
from pinntk.residual.terms import Term

TERM = Term("preconditioned", "interior", ("u",), lambda values, target: values["u"] - target)
"""The one term: the network minus its target; in the direct form, where there is none, its name alone."""


class OnGrid(LeastSquares):
    """What the three forms share: the network's values on the grid, and what is made of them now and then.

    Attributes:
        problem: the discrete problem.
        base: the network's values (direct) or the target (applied, solved) of the last refresh, (levels, nodes).
        refreshes: iteration and cost of each.
    """

    problem: DiscreteProblem
    refresh_every: int | None
    """Iterations between two refreshes; None: there is one."""

    def _begin_on_grid(self, problem: DiscreteProblem, refresh_every: int | None) -> None:
        self.problem, self.refresh_every = problem, refresh_every
        self.base: Array | None = None
        self.refreshes: list[dict[str, Any]] = []
        self._values: tuple[Tensor, Array] | None = None

    @abstractmethod
    def _make(self, values: Array) -> dict[str, Any]:
        """Make what a refresh renews from the network's values, with `_prepare`; its figures."""

    @abstractmethod
    def _prepare(self, base: Array) -> None:
        """What follows from ``base``: the target, or the factors, which can be made again but not saved."""

    @abstractmethod
    def _difference(self, values: Array) -> Array:
        """``P^-1 R`` of grid values, or what stands for it."""

    def refresh_due(self, iteration: int) -> bool:
        if not self.refreshes:
            return True
        every = self.refresh_every
        return every is not None and iteration - self.refreshes[-1]["iteration"] >= every

    def refresh(self, iteration: int) -> None:
        values = self.values()
        if not np.isfinite(values).all():
            raise NonFiniteLoss(iteration, TERM.name)
        self.refreshes.append({"iteration": iteration, **self._make(values)})
        self.version += 1

    def values(self) -> Array:
        """The network's values on the grid, float64, (levels, nodes)."""
        # Kept, because some millions of nodes take seconds and the end of a run asks more than once.
        theta = self.parameters()
        if self._values is None or not torch.equal(self._values[0], theta):
            self._values = theta, self.network.predict(self.problem.nodes).reshape(self.problem.shape)
        return self._values[1]

    def report(self) -> dict[str, float]:
        """L_PC over the whole grid: with the last linearisation (direct), as distance to the last target (others)."""
        loss = math.nan if self.base is None else float(np.mean(np.square(self._difference(self.values()))))
        return {"loss": loss, TERM.name: loss}

    def state(self) -> dict[str, Any]:
        base = None if self.base is None else torch.from_numpy(self.base).to(self._like.dtype)
        return {**super().state(), "base": base, "refreshes": self.refreshes}

    def load(self, state: Mapping[str, Any]) -> None:
        super().load(state)
        self.refreshes = list(state["refreshes"])
        if state["base"] is not None:
            self._prepare(state["base"].double().numpy())


class TargetForm(OnGrid, ResidualForm):
    """``applied`` and ``solved``: the mean squared distance of the network from a target at nodes of the grid.

    Args:
        problem: the discrete problem.
        nodes: the draws of its nodes.
        refresh_every: iterations between two targets; None: the one is the discrete solution (``solved``).
    """

    def __init__(self, problem: DiscreteProblem, nodes: NodeDraws, refresh_every: int | None) -> None:
        super().__init__(nodes.residuals, points=nodes)
        self._begin_on_grid(problem, refresh_every)
        self.nodes = nodes

    def _make(self, values: Array) -> dict[str, Any]:
        solved = self.refresh_every is None
        found = self.problem.march() if solved else self.problem.apply(values)
        # As the network sees it, so that it need not be saved in double precision.
        self._prepare(torch.from_numpy(found.values).to(self._like.dtype).double().numpy())
        figures = figures_of(found)
        if solved and (warning := self.problem.unsolved(found)):
            figures["warning"] = warning
            print(f"warning: {warning}", flush=True)
        return figures

    def _prepare(self, base: Array) -> None:
        self.base = base
        self.nodes.aim(torch.from_numpy(base.reshape(-1)).to(self._like))

    def _difference(self, values: Array) -> Array:
        assert self.base is not None
        return values - self.base

    def state(self) -> dict[str, Any]:
        # By residual, they are a function of the parameters at the moment of their draw too.
        drawn = self.nodes.drawn if self.nodes.points.by_residual else None
        return {**super().state(), "drawn": drawn}

    def load(self, state: Mapping[str, Any]) -> None:
        self.nodes.drawn = None
        super().load(state)
        if state["drawn"] is not None:
            self.nodes.take(*state["drawn"])


def figures_of(correction: Correction) -> dict[str, Any]:
    """What making a target took."""
    return {
        "residual_left": correction.residual,
        "applications": correction.applications,
        "factorizations": correction.factorizations,
        "factor_seconds": correction.factor_seconds,
        "seconds": correction.seconds,
    }
