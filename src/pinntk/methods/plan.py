"""Methods that use one optimiser after another on the same objective: a plan of phases.

A method's ``Settings`` are its plan: every field that holds the settings of a phase is one, in their order. A phase
ends when its steps are up, when the loss stagnates, or when its optimiser can do no more; the run then goes on with the
next one, and result.json says when and why.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.common.memory import Need
from pinntk.common.settings import Settings
from pinntk.discrete.discretization import DiscretizationSettings
from pinntk.methods import slabs
from pinntk.methods.base import Method
from pinntk.methods.draws import Draws, draws_by
from pinntk.methods.settings import MethodSettings, Steps
from pinntk.network import NetworkSettings
from pinntk.pdes.base import PDE
from pinntk.pdes.references import Reference
from pinntk.residual.extent import Extent
from pinntk.residual.objective import LeastSquares
from pinntk.residual.points import PointSettings


class Stagnation(Settings):
    """A phase stagnates when its lowest loss of ``window`` iterations is not at least by the share ``decrease`` below
    that of the ``window`` before; null: it never does."""

    window: Annotated[StrictInt, Field(ge=1)] | None = None
    decrease: Annotated[float, Field(ge=0, lt=1)] = 0.01

    def without_effect(self) -> dict[str, str]:
        return {"decrease": "counts only with a window"} if self.window is None else {}


class PhaseSettings(Settings):
    """What every phase has."""

    limit: ClassVar[tuple[int, str] | None] = None
    """How many parameters the phase can take, and what of it takes no more, in words; None: any number."""
    steps: Steps
    """At most."""
    stagnation: Stagnation = Stagnation()

    def without_effect(self) -> dict[str, str]:
        unused = () if self.steps else set(type(self).model_fields) - {"steps"}
        return {**super().without_effect(), **dict.fromkeys(unused, "counts only with steps > 0")}

    one_loss: ClassVar[bool] = False
    """Whether it wants one and the same loss all along: weights that are looked at along the way are refused."""

    def draws_every(self, points: PointSettings) -> int | None:
        """Iterations before the second draw of the points; None: the same points for the whole phase."""
        every: int | None = getattr(self, "resample_every", None)
        return every

    def of_several_terms(self) -> dict[str, object]:
        """Keys, and their values, that weigh terms against each other: with one term they are refused."""
        return {}

    def need(self, extent: Extent) -> Need | None:
        """What of the phase needs much memory, at its peak; None: nothing that a run without it would not need."""
        return None

    @abstractmethod
    def phase(self, objective: LeastSquares, seed: int) -> Phase:
        """The phase of these settings, not yet started."""


class Phase(ABC):
    """One optimiser at work on an objective.

    Args:
        objective: what it lowers.
        settings: its own.
        seed: of the run.

    Attributes:
        reason: why the optimiser can do no more; None while it can.
    """

    name: ClassVar[str]

    def __init__(self, objective: LeastSquares, settings: Any, seed: int = 0) -> None:
        self.objective, self.settings, self.seed = objective, settings, seed
        self.reason: str | None = None

    @abstractmethod
    def start(self, state: Mapping[str, Any] | None) -> None:
        """Make the optimiser; ``state`` is what ``state`` returned, where a run is resumed."""

    @abstractmethod
    def step(self, n: int) -> Tensor:
        """Iteration n of the phase, counted from 0: the losses before it, weighted total and terms, (1 + T,)."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What ``start`` needs to go on exactly from here, the network's parameters and the objective apart."""

    def log(self) -> dict[str, float]:
        """Figures of the last iteration."""
        return {}

    def figures(self) -> dict[str, Any]:
        """For result.json when the phase has ended."""
        return {}


class Plan(Method):
    """Base of the methods made of phases.

    Example, a whole method::

        class Mine(Plan):
            class Settings(MethodSettings):
                adam: AdamPhaseSettings = AdamPhaseSettings(steps=500)
                ssbroyden: SSBroydenPhaseSettings = SSBroydenPhaseSettings(steps=10_000)

            name = "mine"
    """

    @classmethod
    def phase_settings(cls, settings: MethodSettings) -> dict[str, PhaseSettings]:
        """Key, below ``method``, -> settings of each phase, in their order."""
        return {key: phase for key, phase in settings if isinstance(phase, PhaseSettings)}

    @classmethod
    def check(cls, pde: PDE, settings: MethodSettings, discretization: DiscretizationSettings | None) -> None:
        super().check(pde, settings, discretization)
        if settings.weighting != "fixed" and settings.update_every is not None:
            for key, phase in cls.phase_settings(settings).items():
                if phase.one_loss and phase.steps:
                    raise ValueError(
                        f"method.update_every={settings.update_every}: the phase method.{key} wants the same weights"
                        " all along; allowed is null, with every draw of the points"
                    )

    @classmethod
    def check_slabs(cls, pde: PDE, settings: MethodSettings) -> None:
        if cls.discrete:
            super().check_slabs(pde, settings)
        elif settings.slabs > 1:
            slabs.check(pde, settings.slabs)

    @classmethod
    def check_size(cls, settings: MethodSettings, parameters: int) -> None:
        for key, phase in cls.phase_settings(settings).items():
            if phase.steps and phase.limit and parameters > phase.limit[0]:
                most, what = phase.limit
                raise ValueError(
                    f"network.width: {cls.name}'s {what} takes at most {most} parameters, this network has"
                    f" {parameters}; allowed is a smaller network, or no such phase (method.{key}.steps=0)"
                )

    @classmethod
    def check_terms(cls, pde: PDE, settings: MethodSettings, network: NetworkSettings) -> None:
        for key, phase in cls.phase_settings(settings).items():
            for name, value in phase.of_several_terms().items() if phase.steps else ():
                terms = cls.trained_terms(pde, settings, network)
                if len(terms) < 2:
                    (only,) = terms
                    raise ValueError(
                        f"method.{key}.{name}={value}: this run trains {only.name} alone; allowed is null, or a problem"
                        " (or network.hard=false) with more terms to balance"
                    )

    @classmethod
    def needs(cls, settings: MethodSettings, extent: Extent) -> dict[str, Need]:
        phases = cls.phase_settings(settings).items()
        found = {key: phase.need(extent) for key, phase in phases if phase.steps}
        return {**super().needs(settings, extent), **{key: need for key, need in found.items() if need is not None}}

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
        drawn = any(every is not None and every < steps for steps, every in active)
        return len(active) != 1 or settings.slabs > 1 or drawn

    def plan(self) -> list[PhaseSettings]:
        """The settings of the phases in their order."""
        return list(self.phase_settings(self.settings).values())

    @cached_property
    def _plan(self) -> list[PhaseSettings]:
        """The same, slab after slab."""
        count: int = self.settings.slabs
        return self.plan() * count

    @cached_property
    def phases(self) -> list[Phase]:
        """The phases in their order."""
        return [settings.phase(self.objective, self.seed) for settings in self._plan]

    def draws_every(self, number: int) -> int | None:
        """Iterations between two draws of the points in a phase; None: the same points for the whole of it."""
        return self._plan[number].draws_every(self.points)

    @property
    def total_iterations(self) -> int:
        return sum(settings.steps for settings in self._plan)

    @property
    def comparable_losses(self) -> bool:
        """Every phase draws points of its own, unless they are a grid; Algorithm 1 weighs them anew."""
        phases = [(k, settings.steps) for k, settings in enumerate(self._plan) if settings.steps]
        drawn = [self.draws_every(k) for k, _ in phases]
        fixed = all(every is None or every >= steps for every, (_, steps) in zip(drawn, phases, strict=True))
        if self.settings.weighting != "fixed":
            looks = self.settings.update_every
            fixed = fixed and (len(phases) < 2 if looks is None else looks >= self.total_iterations)
        return fixed and (len(phases) < 2 or (self.points.sampling == "grid" and self.slabs is None))

    @property
    def finished(self) -> bool:
        return self.iteration >= self.total_iterations or self._current >= len(self._plan)

    # Where it stands: the phase's number, the iteration and the draw of points at which it began, and what has ended.
    _current = 0
    _begun = 0
    _first_draw = 0
    _under_way = False

    def start(self, state: Mapping[str, Any] | None) -> None:
        self._ended: list[dict[str, Any]] = []
        # Of the losses in this window, and in the one before.
        self._lowest = torch.tensor([torch.inf, torch.inf], dtype=self.dtype_, device=self.device)
        if state is None:
            self._current = self._begun = self._first_draw = 0
            self._skip_empty()
        else:
            self._current, self._begun, self._first_draw = (state[k] for k in ("current", "begun", "first_draw"))
            self._ended, self._lowest = list(state["ended"]), state["lowest"].to(self._lowest)
        self._under_way = state is not None and state["phase"] is not None
        if state is not None and self._under_way:
            self.phases[self._current].start(state["phase"])

    def state(self) -> dict[str, Any]:
        return {
            "current": self._current,
            "begun": self._begun,
            "first_draw": self._first_draw,
            "ended": list(self._ended),
            "lowest": self._lowest,
            "phase": self.phases[self._current].state() if self._under_way else None,
        }

    @property
    def draw(self) -> int:
        if self._current >= len(self._plan):
            return self._first_draw
        every = self.draws_every(self._current)
        settings = self._plan[self._current]
        growth = settings.resample_growth if isinstance(settings, Draws) else 1.0
        return self._first_draw + (draws_by(self.iteration - self._begun, every, growth) if every else 0)

    def advance(self, end: int) -> None:
        history: list[Tensor] = []
        phase = None
        while self.iteration < end and not self.stop_requested and not self.finished and not self._slab_ended:
            self.refresh()
            phase = self.phases[self._current]
            with self.timed(phase.name):
                self.renew()
                if not self._under_way:  # only now: it begins with the points and weights of its first iteration
                    phase.start(None)
                    self._under_way = True
                losses = phase.step(self.iteration - self._begun)
            history.append(losses)
            self._lowest[0] = torch.minimum(self._lowest[0], self._comparable(losses))
            last_draw = self.draw
            self.iteration += 1
            reason = phase.reason or self._stagnated(phase)
            if reason is None and self.iteration - self._begun >= phase.settings.steps:
                reason = "all steps done"
            if reason is not None:
                self._next(phase, reason, last_draw)
        log = {} if phase is None else {**phase.log(), **self.objective.log()}
        self.log_losses(("loss", *self.objective.names), history, **log)
        if self._slab_ended:
            self._next_slab()

    @property
    def _slab_ended(self) -> bool:
        if self.slabs is None or self.finished:
            return False
        count: int = self.settings.slabs
        return self._current // (len(self._plan) // count) > len(self.slabs.past)

    def _next_slab(self) -> None:
        """At the end of a block, so that callbacks see every slab as it begins."""
        assert self.slabs is not None
        with self.timed("slabs"):
            evaluations = self.objective.evaluations
            self.slabs.finish(self.network)
            self._pose()
            self.objective.evaluations = evaluations
            self.objective.place(self.way)
        del self.phases  # of the objective before
        self.began, self._first_block = self.iteration, True

    def _comparable(self, losses: Tensor) -> Tensor:
        """The loss with the fixed weights: those of Algorithm 1 may have changed since the window before."""
        return losses[0] if self.settings.weighting == "fixed" else self.objective.fixed @ losses[1:]

    def _stagnated(self, phase: Phase) -> str | None:
        window = phase.settings.stagnation.window
        if window is None or (self.iteration - self._begun) % window:
            return None
        now, before = self._lowest.tolist()
        self._lowest = self._lowest.new_tensor([torch.inf, now])
        if now > (1 - phase.settings.stagnation.decrease) * before:
            return f"stagnated: lowest loss {now:.3e} in {window} iterations, {before:.3e} in the {window} before"
        return None

    def _next(self, phase: Phase, reason: str, last_draw: int) -> None:
        iterations = self.iteration - self._begun
        slab = {} if self.slabs is None else {"slab": len(self.slabs.past) + 1}
        self._ended.append({**slab, "phase": phase.name, "iterations": iterations, "ended": reason, **phase.figures()})
        self._current += 1
        self._under_way = False
        self._begun, self._first_draw = self.iteration, last_draw
        self._lowest = torch.full_like(self._lowest, torch.inf)
        self._skip_empty()
        if self._current < len(self.phases):
            self._first_draw += 1

    def _skip_empty(self) -> None:
        while self._current < len(self._plan) and self._plan[self._current].steps == 0:
            self._current += 1

    def figures(self, reference: Reference) -> dict[str, Any]:
        return {"phases": self._ended} if self.slabs is None else {"phases": self._ended, "slabs": self.slabs.edges}
