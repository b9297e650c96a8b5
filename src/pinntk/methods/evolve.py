"""Evolution in time of a network of space (Du, Zaki 2021; Bruna, Peherstorfer, Vanden-Eijnden 2024): no training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.common.memory import Need
from pinntk.discrete.discretization import DiscretizationSettings
from pinntk.methods.base import Method
from pinntk.methods.evolving import EvolvingNetwork
from pinntk.methods.settings import MethodSettings, Steps
from pinntk.network import Inputs, Network, NetworkSettings
from pinntk.network.features import Features
from pinntk.network.network import completed
from pinntk.optim.rosenbrock import RODAS3, Increment, Linear, NormalEquations, increment
from pinntk.pdes.base import PDE
from pinntk.pdes.references import Reference
from pinntk.residual.exact import left
from pinntk.residual.extent import Extent
from pinntk.residual.form import ResidualForm
from pinntk.residual.loss import Way
from pinntk.residual.ntk import FactoredJacobian, gradient_of
from pinntk.residual.objective import NonFiniteLoss
from pinntk.residual.points import PointSettings, candidates, redrawn, unit_points
from pinntk.residual.rate import Rate

SAFETY = 0.85
"""Of the step that the estimate allows, which is taken."""
SHRINK = 0.2
"""At most, of the next step against this one."""
POINTS = 7
"""Of the seed's streams, that of the points of space."""

Positive = Annotated[float, Field(gt=0)]


class AlongTheWay(ResidualForm):
    """The residuals of the whole function of space and time, which are looked at and not minimised."""

    def place(self, way: Way) -> None:
        super().place("plain")


@dataclass(frozen=True)
class Linearization:
    """What is known at the start of a step, before its length is."""

    inputs: Inputs
    origin: Tensor
    linear: Linear
    project: NormalEquations
    """Onto the tangent space: ``argmin |J d - b|^2 + mu |d|^2``."""
    speed: Tensor
    """theta', (P,)."""
    losses: Tensor
    """``mean (J theta' - F)^2`` of every equation, (M,)."""


class Evolve(Method):
    """``theta' = argmin |J theta' - F(u)|^2 + mu |theta'|^2`` by a linearly implicit method, from the start to the end.

    An iteration is a step in time that is accepted. Every step has points of its own.
    """

    class Settings(MethodSettings):
        """Settings of ``evolve``."""

        steps: Steps = 5_000
        """At most; a run that needs more ends before the end of time, and says so."""
        damping: Positive = 1e-5
        """mu, relative to the mean of the diagonal of ``J^T J``."""
        tolerance: Positive = 1e-3
        """Largest error of a step, estimated by a method of one order less, relative to the rms of u at the points."""
        bend: Positive = 0.02
        """How far, relative to the rms of u, a step along the tangent may miss u: larger ones are shortened the next
        time; what is missed is made up for by Gauss-Newton steps."""
        corrections: Annotated[StrictInt, Field(ge=0)] = 3
        """Gauss-Newton steps at most; where they leave more than the tolerance, the step is done again, half of it."""
        first_step: Positive = 1e-3
        """In units of time."""
        largest_step: Positive = 0.5
        growth: Annotated[float, Field(gt=1)] = 1.5
        """Of a step against the one before, at most."""
        smallest_step: Positive = 1e-9
        """Where the tolerance needs steps below this one, the run fails."""
        fixed_step: Positive | None = None
        """Every step has this length, whatever its error; null: as the tolerance allows."""
        log_every: Annotated[StrictInt, Field(ge=1)] = 10

        def without_effect(self) -> dict[str, str]:
            unused = ("tolerance", "bend", "first_step", "largest_step", "growth", "smallest_step")
            when = "counts only with fixed_step=null"
            return {**super().without_effect(), **(dict.fromkeys(unused, when) if self.fixed_step else {})}

    name: ClassVar[str] = "evolve"
    network_class: ClassVar[type[Network]] = EvolvingNetwork
    network: EvolvingNetwork

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.knots = self.network.knots
        self.rate = self.network.evolution
        self.streams = self.network.spatial(*self.pde.fields, *self.rate.streams)  # the fields first
        first = [f"{field}_{name}" for field in self.pde.fields for name in self.rate.coordinates]
        self._gradient = self.network.spatial(*first)
        self.step_size = self.settings.fixed_step or self.settings.first_step
        self.rejected = self.bent = 0
        self._now: Linearization | None = None

    # --- what fits together -------------------------------------------------------------------------------------------

    @classmethod
    def check(cls, pde: PDE, settings: MethodSettings, discretization: DiscretizationSettings | None) -> None:
        Rate(pde).initial()
        if settings.weights:
            raise ValueError(f"method.weights: {cls.name} has one term, the equation; allowed is {{}}")
        if settings.gradient:
            raise ValueError(f"method.gradient={settings.gradient:g}: {cls.name} minimises no residual; allowed is 0")
        if settings.weighting != "fixed":
            raise ValueError(f"method.weighting={settings.weighting}: {cls.name} has one term; allowed is fixed")

    @classmethod
    def check_network(cls, pde: PDE, network: NetworkSettings) -> None:
        if not network.hard:
            raise ValueError(
                f"network.hard=false: {cls.name} needs conditions that hold exactly; allowed is network=hard"
            )
        rate, whole = Rate(pde), completed(network, pde)
        Features(whole, rate.coordinates, rate.lower, rate.upper)  # refuses inputs of t
        if rest := [term.name for term in left(pde, network) if not term.equation]:
            raise ValueError(
                f"network.features: with these the condition {rest[0]!r} of {pde.name} does not hold exactly, as"
                f" {cls.name} needs; allowed is network=hard"
            )

    @classmethod
    def check_points(cls, points: PointSettings) -> None:
        if points.sampling == "grid":
            raise ValueError("points.sampling=grid: every step has points of its own; allowed are the others")

    @classmethod
    def without_effect(cls, pde: PDE, settings: MethodSettings, points: PointSettings) -> dict[str, str]:
        own = {"points.resample_every": f"counts only for other methods; every step of {cls.name} has its own points"}
        conditions = {f"points.{k}": "counts only for methods that train conditions" for k in ("initial", "boundary")}
        weighing = dict.fromkeys(("method.balance", "method.update_every"), "counts only with several terms")
        return {**super().without_effect(pde, settings, points), **own, **conditions, **weighing}

    @classmethod
    def draws_again(cls, settings: MethodSettings, points: PointSettings) -> bool:
        return True

    @classmethod
    def needs(cls, settings: MethodSettings, extent: Extent) -> dict[str, Need]:
        rows, columns = extent.rows, extent.parameters
        assert isinstance(settings, cls.Settings)
        what = f"J, F'J and both together at {rows:,} points, and two factors of {columns:,} parameters"
        knots = f"{settings.steps:,} knots of parameters and their derivatives, and a checkpoint's copy"
        step = extent.matrix(3 * rows, columns) + extent.matrix(3 * columns, columns)
        return {
            **super().needs(settings, extent),
            "evolution": Need(what, step + extent.factors),
            "knots": Need(knots, 4 * extent.matrix(settings.steps, columns)),
        }

    def make_objective(self) -> ResidualForm:
        return AlongTheWay(self.residuals, points=self.collocation, normalization=self.settings.normalization)

    # --- where it is --------------------------------------------------------------------------------------------------

    @property
    def total_iterations(self) -> int:
        return int(self.settings.steps)

    @property
    def time(self) -> float:
        """How far it is."""
        times = self.knots.times
        return self.rate.start if times is None else float(times[-1])

    @property
    def finished(self) -> bool:
        return super().finished or self.time >= self.rate.end

    @property
    def draw(self) -> int:
        return 0  # the points at which the residuals of the whole are looked at stay

    @property
    def comparable_losses(self) -> bool:
        return False

    # --- steps --------------------------------------------------------------------------------------------------------

    def start(self, state: Mapping[str, Any] | None) -> None:
        if state is None:
            self.add_knot(self.rate.start)
            return
        self.knots.reserve(state["knots"], self.network.vector())
        self.step_size, self.rejected, self.bent = state["step_size"], state["rejected"], state["bent"]

    def state(self) -> dict[str, Any]:
        count = 0 if self.knots.times is None else len(self.knots.times)
        return {"knots": count, "step_size": self.step_size, "rejected": self.rejected, "bent": self.bent}

    def advance(self, end: int) -> None:
        losses: list[Tensor] = []
        with self.timed("evolution"), torch.no_grad():
            while self.iteration < end and not self.finished and not self.stop_requested:
                self.renew()
                parts = self.linearization().losses
                losses.append(torch.cat([parts.sum()[None], parts]))
                self.step()
                self.iteration += 1
                self.objective.evaluations += 1
                self.add_knot(self._next)
        figures = {"time": self.time, "step_size": self.step_size, "rejected": float(self.rejected)}
        self.log_losses(("loss", *(term.name for term in self.rate.terms)), losses, **figures)

    def linearization(self) -> Linearization:
        """u and F about the current parameters at the points of this iteration; a resumed run makes it again."""
        if self._now is None:
            self._now = self._linearized(self.points_of(self.iteration), self.time)
        return self._now

    def add_knot(self, time: float) -> None:
        """The current parameters and their derivative are those at this time."""
        with torch.no_grad():
            self._now = self._linearized(self.points_of(self.iteration), time)
        self.knots.add(time, self.network.vector(), self._now.speed)

    def points_of(self, draw: int) -> Tensor:
        """Points of space, (N, d - 1), of which ``points.by_residual`` are drawn by the size of u's gradient."""
        rate, settings = self.rate, self.points
        low, high = (np.asarray(part, dtype=np.float64) for part in (rate.lower, rate.upper))
        unit = unit_points(
            settings.sampling, settings.interior, len(low), np.random.default_rng([self.seed, draw, POINTS])
        )
        drawn = low + (high - low) * unit
        like = next(self.network.parameters())
        if settings.by_residual:
            among = candidates(settings, rate.lower, rate.upper, seed=self.seed, draw=draw)
            x = torch.from_numpy(among).to(like)
            inputs = self.network.inputs_of(x, self._gradient)
            origin = self.network.origin(inputs, self._gradient)
            size = self.network.values_at(inputs, self._gradient, origin).square().sum(0).sqrt()
            count = settings.count_by_residual(len(drawn))
            drawn = redrawn(drawn, among, size.double().cpu().numpy(), count, seed=self.seed, draw=draw)
        return torch.from_numpy(drawn).to(like)

    def _linearized(self, x: Tensor, time: float) -> Linearization:
        network, streams = self.network, self.streams
        inputs = network.inputs_of(x, streams)
        origin = network.origin(inputs, streams)
        values, jacobian = network.linearized(inputs, streams, origin)
        names, fields = list(streams.names), len(self.pde.fields)

        def rate(values: Tensor, time: float) -> Tensor:
            return self.rate.of(dict(zip(names, values.unbind(), strict=True)), self.rate.data(x, time))

        def of_equation(number: int) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
            def summed(values: Tensor) -> tuple[Tensor, Tensor]:
                found = rate(values, time)
                return found[number].sum(), found

            return summed

        both = [gradient_of(of_equation(number), values) for number in range(fields)]
        slopes, F = torch.stack([gradient for gradient, _ in both]), both[0][1]
        J = FactoredJacobian(jacobian.shape[1], {name: jacobian.factors[name] for name in names[:fields]}).dense()
        slope = _combined(jacobian, names, slopes, J)
        mu = float(self.settings.damping * J.square().sum() / J.shape[1])
        linear = Linear(
            J=J,
            slope=slope,
            streams=values,
            along=lambda v: jacobian.matvec(v).view_as(values),
            rate=rate,
            in_time=self.rate.in_time(dict(zip(names, values.unbind(), strict=True)), x, time),
            mu=mu,
        )
        project = NormalEquations(J, mu)
        speed = project(F.flatten())
        losses = (jacobian.matvec(speed).view_as(values)[:fields] - F).square().mean(1)
        if not bool(torch.isfinite(losses).all()):
            raise NonFiniteLoss(self.iteration, self.rate.terms[0].name)
        return Linearization(inputs, origin, linear, project, speed, losses)

    def step(self) -> None:
        """From the last knot to a new time, to which the parameters then belong; the next step's length."""
        s, here, time = self.settings, self.linearization(), self.time
        size = float(here.linear.streams[: len(self.pde.fields)].square().mean().sqrt())
        left = self.rate.end - time
        h, repeated = min(self.step_size, s.fixed_step or s.largest_step), False
        while True:
            h = left if h > left * (1 - 1e-9) else h
            if h < s.smallest_step and h < left:
                raise NonFiniteLoss(self.iteration, f"{self.rate.terms[0].name} (a step below method.smallest_step)")
            found = increment(here.linear, time, h)
            error = math.inf if found is None else float(found.error.square().mean().sqrt()) / size
            factor = SAFETY * (s.tolerance / max(error, 1e-300)) ** (1 / RODAS3.order)
            if found is None or not (error <= s.tolerance or s.fixed_step):
                self.rejected, repeated = self.rejected + 1, True
                h *= max(SHRINK, min(factor, 0.9)) if math.isfinite(error) else SHRINK
                continue
            missed = self._retracted(here, found, size)
            if not (missed[-1] <= s.tolerance or s.fixed_step):
                self.bent, repeated = self.bent + 1, True
                h /= 2
                continue
            break
        factor = min(factor, 0.9 * math.sqrt(s.bend / max(missed[0], 1e-300)))
        if h < left:
            self._next, grown = time + h, 1.0 if repeated else s.growth
            self.step_size = s.fixed_step or h * min(grown, max(SHRINK, factor))
        else:
            self._next = self.rate.end

    def _retracted(self, here: Linearization, found: Increment, size: float) -> list[float]:
        """Take the parameters to ``u(theta) = u_n + J w``; how far u was from it before each correction and at last."""
        fields = len(self.pde.fields)
        theta, wanted = self.network.vector(), here.linear.streams[:fields] + found.values
        self.network.assign(theta + found.w)
        missed: list[float] = []
        for k in range(self.settings.corrections + 1):
            rest = wanted - self.network.values_at(here.inputs, self.streams, here.origin)[:fields]
            missed.append(float(rest.square().mean().sqrt()) / size)
            if k == self.settings.corrections or missed[-1] <= 0.1 * self.settings.tolerance:
                break
            self.network.assign(self.network.vector() + here.project(rest.flatten()))
        if not (missed[-1] <= self.settings.tolerance or self.settings.fixed_step):
            self.network.assign(theta)
        return missed

    def figures(self, reference: Reference) -> dict[str, Any]:
        """How far it came: ``time``, of ``end``; steps done again for their error, and for the network's bend."""
        found = {**super().figures(reference), "time": self.time, "end": self.rate.end}
        if self.time < self.rate.end:
            found["warning"] = (
                f"method.steps={self.settings.steps} ended the run at t = {self.time:g}, not {self.rate.end:g}"
            )
        return {**found, "rejected": self.rejected, "bent": self.bent}


def _combined(jacobian: FactoredJacobian, names: list[str], slopes: Tensor, J: Tensor) -> Tensor:
    """``sum over streams of diag(slope) J_stream``, (M N, P), of slopes (M, S, N); the first M streams' are J."""
    fields, streams, points = slopes.shape
    by_field = J.view(fields, points, -1)
    total = slopes[:, 0, :, None] * by_field[0]
    for number in range(1, streams):
        if bool((slopes[:, number] != 0).any()):
            if number < fields:
                own = by_field[number]
            else:
                own = FactoredJacobian(J.shape[1], {names[number]: jacobian.factors[names[number]]}).dense()
            for field in range(fields):
                total[field] += own * slopes[field, number, :, None]
    return total.view_as(J)
