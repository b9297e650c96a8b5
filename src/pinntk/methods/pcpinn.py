"""PCPINN: training on the residual of a discrete system, preconditioned by an incomplete factorisation.

Instead of the differential equation at random points, the network has to satisfy a difference scheme ``R(u) = 0`` on a
space-time grid, through the inverse of an incomplete factorisation ``P = LU`` of R' (paper, section 3; Liu et al.
2024)::

    L_PC(theta) = mean over the grid's nodes of (P^-1 R(u_theta))^2

For a linear problem ``R(u) = A u - b`` and this is the paper's ``|P^-1 A u - P^-1 b|^2``. Only values of the network
are differentiated, never its input derivatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.discretization import apply_inverse
from pinntk.methods.base import MethodSettings, Steps
from pinntk.methods.preconditioned import Preconditioned, rms
from pinntk.methods.schedule import AdamSettings
from pinntk.points import PointSettings


class PCPINN(Preconditioned):
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
        """Nodes per step of the lagged form, drawn as ``points.sampling`` says."""
        adam: AdamSettings = AdamSettings()

    name: ClassVar[str] = "pcpinn"
    optimizer: torch.optim.Adam

    @classmethod
    def check_points(cls, points: PointSettings) -> None:
        super().check_points(points)
        if points.by_residual:
            raise ValueError(f"points.by_residual={points.by_residual:g}: {cls.name} has no such draws; allowed is 0")

    @property
    def total_iterations(self) -> int:
        return int(self.settings.steps)

    @property
    def comparable_losses(self) -> bool:
        """The lagged form draws other nodes for every step; the direct one always takes the whole grid."""
        return bool(self.settings.form == "direct" and self.settings.refresh_every >= self.total_iterations)

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
            picked = self.draw_nodes(self.settings.batch, self.iteration)
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

    def _refresh(self) -> None:
        """Linearise (direct) or correct (lagged) about the network's current values."""
        figures: dict[str, float] = {"iteration": self.iteration}
        if self.settings.form == "lagged":
            figures |= self.correct()
        else:
            self.base = self.finite_values()
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
        if self.base is None or self.settings.form == "lagged":
            return super().losses()
        residual = self.problem.residual(torch.from_numpy(self.values())).numpy()
        loss = rms(self.preconditioner.solve(residual)) ** 2
        return {"loss": loss, self.term: loss}
