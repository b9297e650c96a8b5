"""torch's L-BFGS with a strong Wolfe line search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.common.memory import Need
from pinntk.common.settings import Positive
from pinntk.methods.draws import Resample
from pinntk.methods.plan import Phase, PhaseSettings
from pinntk.optim.objective import Point
from pinntk.residual.extent import Extent
from pinntk.residual.objective import LeastSquares

SCALED = 1e6
"""torch's L-BFGS drops pairs (s, y) with ``y.s <= 1e-10`` whatever the scale of the loss, so that it would forget its
curvature long before the end: the loss it sees is scaled to this value at the start."""
PLATEAU = 1e3 * SCALED
"""The loss it sees where the loss is not finite."""
LINE_SEARCH = 25
"""Most evaluations of one line search."""


class LBFGSSettings(PhaseSettings):
    """Settings of an L-BFGS phase."""

    learning_rate: Positive = 1.0
    """The first step length that a line search tries."""
    history: Annotated[StrictInt, Field(ge=1, le=10_000)] = 100
    tolerance_grad: Annotated[float, Field(ge=0)] = 1e-12
    """The phase ends where no entry of the gradient is larger."""
    tolerance_change: Annotated[float, Field(ge=0)] = 1e-14
    """The phase ends where no parameter moves by more."""
    resample_every: Resample = None
    """At every draw the history is forgotten, as it is where Algorithm 1 brings other weights."""

    def need(self, extent: Extent) -> Need:
        """``4 h P`` numbers: h pairs of steps and changes of the gradient, and a checkpoint's copy of them."""
        what = f"L-BFGS keeps {self.history} pairs of vectors of {extent.parameters:,} numbers, and saves them"
        return Need(what, 4 * extent.matrix(self.history, extent.parameters))

    def phase(self, objective: LeastSquares, seed: int) -> Phase:
        return LBFGSPhase(objective, self, seed)


class LBFGSPhase(Phase):
    """torch's L-BFGS with a strong Wolfe line search, one iteration at a time.

    An iteration of torch's begins by evaluating the loss where the line search before it ended. That evaluation is kept
    and not repeated.
    """

    name: ClassVar[str] = "lbfgs"
    optimizer: torch.optim.LBFGS

    def start(self, state: Mapping[str, Any] | None) -> None:
        self.parameters = list(self.objective.network.parameters())
        self._version, self._seen = self.objective.version, list[Point]()
        self._scale: float | None = None
        self._make()
        if state is not None:
            self.optimizer.load_state_dict(state["optimizer"])
            self._version, self._scale, self._fresh = state["version"], state["scale"], state["fresh"]
            like = self.parameters[0].detach()
            self._seen = [Point(*(x.to(like) for x in tensors)) for tensors in state["seen"]]

    def _make(self) -> None:
        """An optimiser without history."""
        self._fresh = True
        self.optimizer = torch.optim.LBFGS(
            self.parameters,
            lr=self.settings.learning_rate,
            max_iter=1,
            max_eval=LINE_SEARCH + 1,
            history_size=self.settings.history,
            tolerance_grad=0.0,  # ours are tested below: torch says neither that it stopped nor why
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )

    def state(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "version": self._version,
            "scale": self._scale,
            "fresh": self._fresh,
            "seen": [point.tensors for point in self._seen],
        }

    def step(self, n: int) -> Tensor:
        if self._version != self.objective.version:
            self._version, self._seen = self.objective.version, []
            self._make()
        before = self._evaluate()
        self.optimizer.step(self._closure)
        after = self._evaluate()
        if after.loss < before.loss:
            self._fresh = False
            self._judge(after, float((after.theta - before.theta).abs().max()))
        else:  # torch accepts what its line search ends with, be it higher or not a number
            self.objective.assign(before.theta)
            if self._fresh:
                self.reason = "the line search finds no lower loss"
            else:
                self._make()
            after = before
        self._seen = [after]  # the only place that will be asked for again
        return before.losses

    def _judge(self, point: Point, moved: float) -> None:
        largest = float(point.gradient.abs().max())
        if largest <= self.settings.tolerance_grad:
            self.reason = f"gradient {largest:.1e} within tolerance_grad={self.settings.tolerance_grad:g}"
        elif moved <= self.settings.tolerance_change:
            self.reason = f"step {moved:.1e} within tolerance_change={self.settings.tolerance_change:g}"

    def _closure(self) -> Tensor:
        point = self._evaluate()
        assert self._scale is not None
        # torch's line search breaks down on what is not finite: show it a high plateau instead.
        gradient = self._scale * point.gradient if point.finite else torch.zeros_like(point.gradient)
        pieces = gradient.split([parameter.numel() for parameter in self.parameters])
        for parameter, piece in zip(self.parameters, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)
        return self._scale * point.losses[0] if point.finite else point.losses.new_tensor(PLATEAU)

    def _evaluate(self) -> Point:
        """Losses and gradient at the network's current parameters."""
        theta = self.objective.parameters()
        for point in self._seen:
            if torch.equal(point.theta, theta):
                return point
        point = Point(theta, *self.objective.gradient())
        if self._scale is None:
            self._scale = SCALED / max(point.loss, torch.finfo(theta.dtype).tiny)
        self._seen.append(point)
        return point
