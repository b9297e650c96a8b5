"""Methods that use one optimiser after another on the same weighted loss.

A phase ends when its steps are up, when the loss stagnates, or when its optimiser can do no more; the run then goes on
with the next one, and result.json says when and why.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.common.settings import Settings
from pinntk.methods.base import Method, MethodSettings, Steps
from pinntk.pdes.base import PDE
from pinntk.pdes.references import Reference
from pinntk.residual.hessian import GaussNewton, Hessian
from pinntk.residual.loss import BlockedLoss
from pinntk.residual.ntk import FactoredJacobian, Jacobian
from pinntk.residual.points import PointSettings
from pinntk.residual.spectra import SymmetricOperator

Curvature = Literal["hessian", "gauss_newton"]


class Stagnation(Settings):
    """A phase stagnates when its lowest loss of ``window`` iterations is not at least by the share ``decrease`` below
    that of the ``window`` before; null: it never does."""

    window: Annotated[StrictInt, Field(ge=1)] | None = None
    decrease: Annotated[float, Field(ge=0, lt=1)] = 0.01

    def without_effect(self) -> dict[str, str]:
        return {"decrease": "counts only with a window"} if self.window is None else {}


NEVER = Stagnation()


class PhaseSettings(Settings):
    """What every phase has."""

    limit: ClassVar[tuple[int, str] | None] = None
    """How many parameters the phase can take, and what of it takes no more, in words; None: any number."""
    steps: Steps
    """At most."""
    stagnation: Stagnation = NEVER

    def without_effect(self) -> dict[str, str]:
        unused = () if self.steps else set(type(self).model_fields) - {"steps"}
        return {**super().without_effect(), **dict.fromkeys(unused, "counts only with steps > 0")}

    def draws_every(self, points: PointSettings) -> int | None:
        """Iterations between two draws of the points; None: the same points for the whole phase."""
        every: int | None = getattr(self, "resample_every", None)
        return every


def gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    """The ``grad`` of each, which must be set."""
    found = [parameter.grad for parameter in parameters]
    assert all(gradient is not None for gradient in found)
    return cast(list[Tensor], found)


class Phase(ABC):
    """One optimiser at work on a method's network.

    Args:
        method: whose network, loss and points; started before the phase is.
        steps: at most.
        stagnation: when it ends before.
        resample_every: iterations between two draws of the points; None: the same points for the whole phase.

    Attributes:
        reason: why the optimiser can do no more; None while it can.
    """

    name: ClassVar[str]

    def __init__(
        self,
        method: PhasedMethod,
        steps: int,
        stagnation: Stagnation = NEVER,
        resample_every: int | None = None,
    ) -> None:
        self.method = method
        self.steps = steps
        self.stagnation = stagnation
        self.resample_every = resample_every
        self.reason: str | None = None

    @abstractmethod
    def start(self, state: Mapping[str, Any] | None) -> None:
        """Make the optimiser; ``state`` is what ``state`` returned, where a run is resumed."""

    @abstractmethod
    def step(self, n: int) -> Tensor:
        """Iteration n of the phase, counted from 0: the losses before it, weighted total and terms, (1 + T,)."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What ``start`` needs to go on exactly from here, the network's parameters apart."""

    def log(self) -> dict[str, float]:
        """Figures of the last iteration."""
        return {}

    def figures(self) -> dict[str, Any]:
        """For result.json when the phase has ended."""
        return {}


class PhasedMethod(Method):
    """Base of the methods made of phases; one of them writes ``plan``."""

    weights: Tensor
    """Of the terms, (T,)."""

    @classmethod
    def check_size(cls, settings: MethodSettings, parameters: int) -> None:
        for key, phase in settings:
            if isinstance(phase, PhaseSettings) and phase.steps and phase.limit and parameters > phase.limit[0]:
                most, what = phase.limit
                raise ValueError(
                    f"network.width: {cls.name}'s {what} takes at most {most} parameters, this network has"
                    f" {parameters}; allowed is a smaller network, or method.{key}.steps=0"
                )

    @classmethod
    def phase_settings(cls, settings: MethodSettings) -> dict[str, PhaseSettings]:
        """Key -> settings of each phase that has its own."""
        return {key: phase for key, phase in settings if isinstance(phase, PhaseSettings)}

    @classmethod
    def without_effect(cls, pde: PDE, settings: MethodSettings, points: PointSettings) -> dict[str, str]:
        found = super().without_effect(pde, settings, points)
        phases = cls.phase_settings(settings)
        followers = [phase for phase in phases.values() if phase.draws_every(points) == points.resample_every]
        if phases and not any(phase.steps for phase in followers):
            found["points.resample_every"] = "counts only in an Adam phase, which this run does not have"
        if points.sampling == "grid":
            key = "method.{}.resample_every"
            found |= dict.fromkeys(map(key.format, phases), "counts only with random points, not with sampling=grid")
        return found

    @classmethod
    def draws_again(cls, settings: MethodSettings, points: PointSettings) -> bool:
        phases = cls.phase_settings(settings)
        if not phases:
            return super().draws_again(settings, points)
        active = [(phase.steps, phase.draws_every(points)) for phase in phases.values() if phase.steps]
        return len(active) != 1 or any(every is not None and every < steps for steps, every in active)

    @abstractmethod
    def plan(self) -> list[Phase]:
        """The phases in their order, not yet started."""

    def before_step(self) -> None:
        """Called before every iteration: renews what the loss is made of, where it is not the same all along."""
        return

    @cached_property
    def phases(self) -> list[Phase]:
        return self.plan()

    @property
    def total_iterations(self) -> int:
        return sum(phase.steps for phase in self.phases)

    @property
    def comparable_losses(self) -> bool:
        """Every phase draws points of its own, unless they are a grid."""
        phases = [phase for phase in self.phases if phase.steps]
        fixed = all(phase.resample_every is None or phase.resample_every >= phase.steps for phase in phases)
        return fixed and (len(phases) < 2 or self.points.sampling == "grid")

    @property
    def finished(self) -> bool:
        return self.iteration >= self.total_iterations or self._current >= len(self.phases)

    # Where it stands: the phase's number, the iteration and the draw of points at which it began, and what has ended.
    _current = 0
    _begun = 0
    _first_draw = 0

    def start(self, state: Mapping[str, Any] | None) -> None:
        self.weights = self.term_weights(self.loss_residuals.names)
        self._loss = BlockedLoss(self.loss_residuals, self.settings.normalization, compile=self.compiled)
        self._ended: list[dict[str, Any]] = []
        self._lowest = self.weights.new_tensor([torch.inf, torch.inf])  # in this window, in the one before
        if state is None:
            self._current = self._begun = self._first_draw = 0
            self._skip_empty()
        else:
            self._current, self._begun, self._first_draw = (state[k] for k in ("current", "begun", "first_draw"))
            self._ended, self._lowest = list(state["ended"]), state["lowest"].to(self.weights)
        if self._current < len(self.phases):
            self.phases[self._current].start(state and state["phase"])

    def state(self) -> dict[str, Any]:
        return {
            "current": self._current,
            "begun": self._begun,
            "first_draw": self._first_draw,
            "ended": list(self._ended),
            "lowest": self._lowest,
            "phase": self.phases[self._current].state() if self._current < len(self.phases) else {},
        }

    @property
    def draw(self) -> int:
        if self._current >= len(self.phases):
            return self._first_draw
        every = self.phases[self._current].resample_every
        return self._first_draw + ((self.iteration - self._begun) // every if every else 0)

    def advance(self, end: int) -> None:
        history: list[Tensor] = []
        log: dict[str, float] = {}
        while self.iteration < end and not self.stop_requested and not self.finished:
            self.before_step()
            phase = self.phases[self._current]
            with self.phase(phase.name):
                losses = phase.step(self.iteration - self._begun)
            history.append(losses)
            log = phase.log()
            self._lowest[0] = torch.minimum(self._lowest[0], losses[0])
            last_draw = self.draw
            self.iteration += 1
            reason = phase.reason or self._stagnated(phase)
            if reason is None and self.iteration - self._begun >= phase.steps:
                reason = "all steps done"
            if reason is not None:
                self._next(phase, reason, last_draw)
        self.record(("loss", *self.loss_residuals.names), history, **log)

    def set_gradients(self) -> Tensor:
        """Set the parameters' ``grad`` to the weighted loss's; weighted total and terms, (1 + T,)."""
        self.zero_grad(set_to_none=True)
        terms = self._loss.backward(self.loss_batches(), self.weights)
        self.function_evaluations += 1
        return torch.cat([(self.weights * terms).sum()[None], terms])

    def residual_terms(self) -> dict[str, Tensor]:
        """The residuals of the loss by term at the current parameters and points, (N_term,) each."""
        return self.loss_residuals(self.loss_batches())

    def linearized(self) -> tuple[Tensor, Jacobian]:
        """The same in one vector, (N,), and their Jacobian."""
        return FactoredJacobian.with_residuals(self.loss_residuals, self.loss_batches())

    def curvature(self, kind: Curvature) -> SymmetricOperator:
        """The Hessian of the weighted loss, or its Gauss-Newton matrix, at the current parameters and points."""
        made = Hessian if kind == "hessian" else GaussNewton
        return made.of(self.loss_residuals, self.loss_batches(), self.weights, self.settings.normalization)

    def _stagnated(self, phase: Phase) -> str | None:
        window = phase.stagnation.window
        if window is None or (self.iteration - self._begun) % window:
            return None
        now, before = self._lowest.tolist()
        self._lowest = self._lowest.new_tensor([torch.inf, now])
        if now > (1 - phase.stagnation.decrease) * before:
            return f"stagnated: lowest loss {now:.3e} in {window} iterations, {before:.3e} in the {window} before"
        return None

    def _next(self, phase: Phase, reason: str, last_draw: int) -> None:
        iterations = self.iteration - self._begun
        self._ended.append({"phase": phase.name, "iterations": iterations, "ended": reason, **phase.figures()})
        self._current += 1
        self._begun, self._first_draw = self.iteration, last_draw
        self._lowest = torch.full_like(self._lowest, torch.inf)
        self._skip_empty()
        if self._current < len(self.phases):
            self._first_draw += 1
            self.phases[self._current].start(None)

    def _skip_empty(self) -> None:
        while self._current < len(self.phases) and self.phases[self._current].steps == 0:
            self._current += 1

    def figures(self, reference: Reference) -> dict[str, Any]:
        return {"phases": self._ended}
