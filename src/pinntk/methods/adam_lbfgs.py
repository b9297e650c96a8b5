"""Adam, then L-BFGS (paper, Table 2; Rathore et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.methods.adam import AdamFirst, AdamPhaseSettings
from pinntk.methods.phases import Phase, PhasedMethod, PhaseSettings, gradients
from pinntk.network import Positive

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
    resample_every: Annotated[StrictInt, Field(ge=1)] | None = None
    """Iterations between two draws of the points, at which the history is forgotten; null: the same points."""


@dataclass(frozen=True)
class Point:
    """What is known at some parameters."""

    theta: Tensor
    """(P,)"""
    losses: Tensor
    """Weighted total and terms, (1 + T,)."""
    gradient: list[Tensor]
    """Of the weighted total, parameter by parameter."""


class LBFGSPhase(Phase):
    """torch's L-BFGS with a strong Wolfe line search, one iteration at a time.

    An iteration of torch's begins by evaluating the loss where the line search before it ended. That evaluation is kept
    and not repeated.
    """

    name: ClassVar[str] = "lbfgs"
    optimizer: torch.optim.LBFGS

    def __init__(self, method: PhasedMethod, settings: LBFGSSettings) -> None:
        super().__init__(method, settings.steps, settings.stagnation, settings.resample_every)
        self.settings = settings
        self._seen: list[Point] = []
        self._scale: float | None = None

    def start(self, state: Mapping[str, Any] | None) -> None:
        self.parameters = list(self.method.network.parameters())
        self._draw, self._scale, self._seen = self.method.draw, None, []
        self._make()
        if state is not None:
            self.optimizer.load_state_dict(state["optimizer"])
            self._draw, self._scale, self._fresh = state["draw"], state["scale"], state["fresh"]
            self._seen = [Point(**point) for point in state["seen"]]

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
            "draw": self._draw,
            "scale": self._scale,
            "fresh": self._fresh,
            "seen": [vars(point) for point in self._seen],
        }

    def step(self, n: int) -> Tensor:
        if self._draw != self.method.draw:
            self._draw, self._seen = self.method.draw, []
            self._make()
        theta = self.method.network.vector()
        before = self._evaluate(theta)
        self.optimizer.step(self._closure)
        after = self._evaluate(self.method.network.vector())
        if after.losses[0] < before.losses[0]:
            self._fresh = False
            self._judge(after, float((after.theta - theta).abs().max()))
        else:  # torch accepts what its line search ends with, be it higher or not a number
            self.method.network.assign(theta)
            if self._fresh:
                self.reason = "the line search finds no lower loss"
            else:
                self._make()
            after = before
        self._seen = [after]  # the only place that will be asked for again
        return before.losses

    def _judge(self, point: Point, moved: float) -> None:
        largest = max(float(g.abs().max()) for g in point.gradient)
        if largest <= self.settings.tolerance_grad:
            self.reason = f"gradient {largest:.1e} within tolerance_grad={self.settings.tolerance_grad:g}"
        elif moved <= self.settings.tolerance_change:
            self.reason = f"step {moved:.1e} within tolerance_change={self.settings.tolerance_change:g}"

    def _closure(self) -> Tensor:
        point = self._evaluate(self.method.network.vector())
        assert self._scale is not None
        # torch's line search breaks down on what is not finite: show it a high plateau instead.
        finite = all(bool(torch.isfinite(part).all()) for part in (point.losses, *point.gradient))
        for parameter, part in zip(self.parameters, point.gradient, strict=True):
            parameter.grad = self._scale * part if finite else torch.zeros_like(part)
        return self._scale * point.losses[0] if finite else point.losses.new_tensor(PLATEAU)

    def _evaluate(self, theta: Tensor) -> Point:
        """Losses and gradient at theta, the network's current parameters."""
        for point in self._seen:
            if torch.equal(point.theta, theta):
                return point
        losses = self.method.set_gradients()
        if self._scale is None:
            self._scale = SCALED / max(float(losses[0]), torch.finfo(losses.dtype).tiny)
        point = Point(theta, losses, gradients(self.parameters))
        self._seen.append(point)
        return point


class AdamLBFGS(AdamFirst):
    """Adam, then L-BFGS, on the weighted losses of the residual terms."""

    class Settings(AdamFirst.Settings):
        """Settings of ``adam_lbfgs``."""

        adam: AdamPhaseSettings = AdamPhaseSettings(steps=1_000)
        lbfgs: LBFGSSettings = LBFGSSettings(steps=5_000)

    name: ClassVar[str] = "adam_lbfgs"

    def plan(self) -> list[Phase]:
        return [*super().plan(), LBFGSPhase(self, self.settings.lbfgs)]
