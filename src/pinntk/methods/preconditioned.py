"""PCPINN: training on the residual of a discrete system, preconditioned by an incomplete factorisation.

Instead of the differential equation at random points, the network has to satisfy a difference scheme ``R(u) = 0`` on a
space-time grid, through the inverse of an incomplete factorisation ``P = LU`` of R' (paper, section 3; Liu et al.
2024)::

    L_PC(theta) = mean over the grid's nodes of (P^-1 R(u_theta))^2

For a linear problem ``R(u) = A u - b`` and this is the paper's ``|P^-1 A u - P^-1 b|^2`` over the number of nodes. Only
values of the network are differentiated, never its input derivatives. Three forms of it:

``direct``: L_PC itself, differentiated through P^-1 at every step (`pinntk.methods.direct`). P is linearised about the
network's values, anew every ``refresh_every`` iterations.

``applied``: every ``refresh_every`` iterations P^-1 is applied *once* to the residual of the network's values, and the
network is regressed on the result, ``v = u_theta - P^-1 R(u_theta)``, at nodes drawn from the grid. At a refresh the
gradient with respect to the values on the grid is ``2 P^-1 R``, of the direct form ``2 (P^-1 R')^T P^-1 R``: the same
where ``P = R'``, and both vanish for the same networks.

``solved``: v is the solution of the discrete system, by as many applications of P^-1 as that takes. No preconditioned
loss is left in it: a classical method solves the problem and the network is fitted to the solution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.discretization import Correction, DiscreteProblem, DiscretizationSettings
from pinntk.hessian import GaussNewton, Hessian
from pinntk.methods.base import MethodSettings, NonFiniteLoss
from pinntk.methods.direct import PreconditionedResidual
from pinntk.methods.phases import Curvature, PhasedMethod
from pinntk.ntk import Jacobian
from pinntk.pdes.base import PDE, Array, Term
from pinntk.points import PointSettings, redrawn, unit_points
from pinntk.references import Reference
from pinntk.residuals import Batch, Residuals
from pinntk.spectra import SymmetricOperator

NODE_CANDIDATES = 64
"""Nodes that are looked at for every one that is drawn by residual, one of them on the first level."""
TERM = Term("preconditioned", "interior", ("u",), lambda values, target: values["u"] - target)


class PreconditionedSettings(MethodSettings):
    """What the methods on the preconditioned residual have besides those of their phases."""

    form: Literal["direct", "applied", "solved"] = "applied"
    refresh_every: Annotated[StrictInt, Field(ge=1)] = 500
    """Iterations between two linearisations (direct) or two targets (applied)."""
    batch: Annotated[StrictInt, Field(ge=1)] = 4096
    """Nodes per draw (applied, solved), spread as ``points.sampling`` says."""

    def without_effect(self) -> dict[str, str]:
        unused = {"batch": "counts only with form=applied or solved"} if self.form == "direct" else {}
        if self.form == "solved":
            unused["refresh_every"] = "counts only with form=direct or applied"
        return {**super().without_effect(), **unused}


class Preconditioned(PhasedMethod):
    """Phases on ``L_PC``; the next base of the class says which."""

    term: ClassVar[str] = TERM.name
    discrete: ClassVar[bool] = True

    def __init__(self, pde: PDE, *args: Any, **kwargs: Any) -> None:
        super().__init__(pde, *args, **kwargs)
        assert self.discretization is not None, f"method={self.name} needs the settings of the problem's discrete form"
        self.problem: DiscreteProblem = pde.discretize(self.discretization)
        self.loss_residuals = Residuals(pde, self.network, [TERM])
        self.base: Array | None = None
        """The network's values (direct) or the target (applied, solved) of the last refresh, on the grid."""
        self.refreshes: list[dict[str, Any]] = []
        self._values: tuple[int, Array] | None = None

    @classmethod
    def check(cls, pde: PDE, settings: MethodSettings, discretization: DiscretizationSettings | None) -> None:
        if pde.Discretization is None:
            raise ValueError(f"method={cls.name}: pde={pde.name} has no discrete form; allowed are problems with one")
        if discretization is None:
            raise ValueError(f"discretization=null: {cls.name} needs the settings of the problem's discrete form")
        if settings.weights:
            raise ValueError(f"method.weights: {cls.name} has one term, its preconditioned residual; allowed is {{}}")
        if settings.normalization != "mean":
            raise ValueError(
                f"method.normalization={settings.normalization}: the loss of {cls.name} is a mean over nodes of its"
                " grid; allowed is mean"
            )
        pde.discretize(discretization)  # a grid that cannot hold the problem is refused

    @classmethod
    def without_effect(cls, pde: PDE, settings: MethodSettings, points: PointSettings) -> dict[str, str]:
        assert isinstance(settings, PreconditionedSettings)
        unused = dict.fromkeys(("interior", "initial", "boundary"), "counts only for methods on the strong form")
        if settings.form == "direct":  # the whole grid in every step
            unused |= dict.fromkeys(("sampling", "resample_every"), "counts only with form=applied or solved")
        found = {f"points.{key}": when for key, when in unused.items()}
        return {**super().without_effect(pde, settings, points), **found}

    @classmethod
    def draws_again(cls, settings: MethodSettings, points: PointSettings) -> bool:
        assert isinstance(settings, PreconditionedSettings)
        # A new target is a new draw.
        return settings.form != "direct" and (settings.form == "applied" or super().draws_again(settings, points))

    @classmethod
    def check_points(cls, points: PointSettings) -> None:
        if points.sampling == "grid":  # the same nodes in every draw, and none on the initial level
            raise ValueError(
                f"points.sampling=grid: {cls.name} has a grid of its own, of which it draws nodes;"
                " allowed are uniform, latin_hypercube, sobol"
            )

    @property
    def direct(self) -> bool:
        """Whether P^-1 is differentiated, not applied beforehand."""
        return bool(self.settings.form == "direct")

    @property
    def comparable_losses(self) -> bool:
        # The direct form always takes the whole grid, in images that are drawn where the problem has symmetries.
        once = self.settings.form == "solved" or self.settings.refresh_every >= self.total_iterations
        whole = self.direct and self.problem.images == 1
        return bool(once and (whole or super().comparable_losses))

    def start(self, state: Mapping[str, Any] | None) -> None:
        self._drawn: tuple[int, Tensor, dict[str, Batch]] | None = None
        """The draw, the nodes' numbers, what the loss is made of."""
        self.residual = PreconditionedResidual(self) if self.direct else None
        self.refreshes = []
        if state is not None:
            self.refreshes = list(state["refreshes"])
            if state["base"] is not None:
                self._prepare(state["base"].double().numpy())
            if state["drawn"] is not None:
                self._take(*state["drawn"])
        super().start(None if state is None else state["phases"])

    def state(self) -> dict[str, Any]:
        base = None if self.base is None else torch.from_numpy(self.base).to(self.dtype_)
        # By residual, they are a function of the parameters at that moment too.
        drawn = self._drawn[:2] if self._drawn is not None and self.points.by_residual else None
        return {"phases": super().state(), "base": base, "refreshes": self.refreshes, "drawn": drawn}

    # --- what the loss is made of -------------------------------------------------------------------------------------

    def before_step(self) -> None:
        """Linearise, or make a target, where that is due."""
        if self.refreshes:
            since = self.iteration - self.refreshes[-1]["iteration"]
            if self.settings.form == "solved" or since < self.settings.refresh_every:
                return
        with self.phase("refresh"):
            if self.direct:
                values, figures = self.finite_values(), {}
            else:
                correction = self.problem.march() if self.settings.form == "solved" else self._applied()
                values, figures = correction.values, figures_of(correction)
                if self.settings.form == "solved" and (warning := self.problem.unsolved(correction)):
                    figures["warning"] = warning
                    print(f"warning: {warning}", flush=True)
            # As the network sees it, so that it need not be saved in double precision.
            self._prepare(torch.from_numpy(values).to(self.dtype_).double().numpy())
            if self.residual is not None:
                figures = {"factor_seconds": self.residual.preconditioner.factor_seconds}
        self.refreshes.append({"iteration": self.iteration, **figures})

    def _applied(self) -> Correction:
        return self.problem.apply(self.finite_values())

    def _prepare(self, base: Array) -> None:
        """What follows from ``base``: the target, or the factors, which can be made again but not saved."""
        self.base = base
        if self.residual is not None:
            self.residual.renew(base)
            return
        self.target = torch.from_numpy(base.reshape(-1)).to(self.device, self.dtype_)
        if self._drawn is not None:
            self._take(*self._drawn[:2])  # the same nodes, other targets

    @property
    def draw(self) -> int:
        # A new target or linearisation is as much another loss as new nodes are.
        return self.node_draw + len(self.refreshes)

    @property
    def node_draw(self) -> int:
        """Which draw of nodes, and of their images, the current iteration uses."""
        return super().draw

    def draw_nodes(self, n: int, *stream: int) -> Tensor:
        """Numbers of n nodes, spread over the grid as ``points.sampling`` says; a function of seed and stream alone.

        Evenly spread nodes are worth more than the same number drawn one by one, which leave holes.
        """
        rng = np.random.default_rng([self.seed, *stream])
        if self.points.sampling == "uniform":
            drawn = rng.integers(math.prod(self.problem.axes), size=n)
        else:
            axes = self.problem.axes
            places = np.floor(unit_points(self.points.sampling, n, len(axes), rng) * axes).astype(np.int64)
            drawn = np.ravel_multi_index(tuple(places.T), axes)
        return torch.from_numpy(drawn)

    def placed(self, nodes: Array) -> tuple[Tensor, Tensor]:
        """Nodes (n, d), each in an image drawn for it (`DiscreteProblem.image`): points (n, d), signs (n,)."""
        rng = np.random.default_rng([self.seed, self.node_draw, 2])
        found = self.problem.image(nodes, rng.integers(self.problem.images, size=len(nodes)))
        points, signs = (torch.from_numpy(x).to(self.device, self.dtype_) for x in found)
        return points, signs

    def loss_batches(self) -> dict[str, Batch]:
        """Nodes of this draw and their targets: a function of seed, draw and target alone, unless by residual."""
        if self._drawn is None or self._drawn[0] != self.node_draw:
            self._take(self.node_draw, self._pick(self.node_draw))
        assert self._drawn is not None
        return self._drawn[2]

    def _pick(self, draw: int) -> Tensor:
        """Numbers of a draw's nodes, (batch,): the last of them by ``|u_theta - v|`` at this moment, if so wanted."""
        picked, count = self.draw_nodes(self.settings.batch, draw), self.points.count_by_residual(self.settings.batch)
        if not count or not draw:
            return picked
        assert self.base is not None
        among = self.draw_nodes(NODE_CANDIDATES * count, draw, 1).numpy()
        # One of as many is put on the first level, of which a draw over thousands of levels sees next to nothing.
        among[:count] %= math.prod(self.problem.axes[1:])
        size = np.abs(self.predict_numpy(self.problem.nodes[among]) - self.base.reshape(-1)[among])
        return torch.from_numpy(redrawn(picked.numpy(), among, size, count, seed=self.seed, draw=draw))

    def _take(self, draw: int, picked: Tensor) -> None:
        points, signs = self.placed(self.problem.nodes[picked.numpy()])
        with torch.no_grad():
            inputs = self.network.features(points, self.loss_residuals.streams_of["interior"])
        target = signs * self.target[picked.to(self.device)]
        self._drawn = draw, picked, {"interior": Batch(points, inputs, ((target,),))}

    # --- the loss as the phases see it --------------------------------------------------------------------------------

    def set_gradients(self) -> Tensor:
        if self.residual is None:
            return super().set_gradients()
        self.zero_grad(set_to_none=True)
        loss = self.residual().square().mean()
        loss.backward()
        self.function_evaluations += 1
        return loss.detach().repeat(2)

    def residual_terms(self) -> dict[str, Tensor]:
        return super().residual_terms() if self.residual is None else {TERM.name: self.residual()}

    def linearized(self) -> tuple[Tensor, Jacobian]:
        return super().linearized() if self.residual is None else self.residual.linearized()

    def curvature(self, kind: Curvature) -> SymmetricOperator:
        if self.residual is None:
            return super().curvature(kind)
        if kind == "gauss_newton":
            _, jacobian = self.residual.linearized()
            size = jacobian.shape[0]
            return GaussNewton(jacobian, torch.full((size,), 2 / size, dtype=self.dtype_, device=self.device))
        residual = self.residual
        return Hessian([lambda: residual().square().mean()], list(self.network.parameters()))

    # --- what is measured ---------------------------------------------------------------------------------------------

    def values(self) -> Array:
        """The network's values on the grid, float64, of the grid's shape."""
        # Kept, because some millions of nodes take seconds and the end of a run asks twice.
        if self._values is None or self._values[0] != self.iteration:
            self._values = self.iteration, self.predict_numpy(self.problem.nodes).reshape(self.problem.shape)
        return self._values[1]

    def finite_values(self) -> Array:
        """The same; NonFiniteLoss where they are not finite."""
        values = self.values()
        if not np.isfinite(values).all():
            raise NonFiniteLoss(self.iteration, self.term)
        return values

    def losses(self) -> dict[str, float]:
        """L_PC over the whole grid: with the last linearisation (direct), as distance to the last target (others)."""
        loss = math.nan
        if self.base is not None:
            difference = self.values() - self.base
            if self.residual is not None:
                residual = self.problem.residual(torch.from_numpy(self.values())).numpy()
                difference = self.residual.preconditioner.solve(residual)
            loss = rms(difference) ** 2
        return {"loss": loss, self.term: loss}

    def figures(self, reference: Reference) -> dict[str, Any]:
        """What the discrete problem is worth, and what was made of it.

        ``form``; ``grid``, levels and nodes at each; ``discrete_l2re``: error of the solution of R(u) = 0, the floor
        that L_PC can reach; ``network_to_discrete``: relative distance of the network from that solution on the grid;
        ``applications`` of P^-1 or its transpose to the whole grid while training; ``factor_seconds`` and the part of
        the training time spent on refreshes; ``warnings``: of targets that were not reached.
        """
        discrete = self.problem.march()
        notes = {refresh["warning"]: None for refresh in self.refreshes if "warning" in refresh}
        if warning := self.problem.unsolved(discrete):
            notes[warning] = None
        applications = sum(refresh.get("applications", 0.0) for refresh in self.refreshes)
        if self.direct:
            applications = 2.0 * self.function_evaluations
        training = sum(self.seconds_per_phase.values())
        error = self.problem.interpolate(discrete.values, self.pde.evaluation_points()) - reference.values
        distance = np.linalg.norm(self.values() - discrete.values) / np.linalg.norm(discrete.values)
        return {
            **super().figures(reference),
            "form": self.settings.form,
            "grid": list(self.problem.shape),
            "discrete_l2re": float(np.linalg.norm(error) / np.linalg.norm(reference.values)),
            "discrete_seconds": discrete.seconds,
            "network_to_discrete": float(distance),
            "applications": applications,
            "factor_seconds": sum(refresh["factor_seconds"] for refresh in self.refreshes),
            "share_of_training_time": self.seconds_per_phase.get("refresh", 0.0) / training if training else 0.0,
            "warnings": list(notes),
            "refreshes": self.refreshes,
        }


def figures_of(correction: Correction) -> dict[str, Any]:
    """What making a target took."""
    return {
        "residual_left": correction.residual,
        "applications": correction.applications,
        "factorizations": correction.factorizations,
        "factor_seconds": correction.factor_seconds,
        "seconds": correction.seconds,
    }


def rms(values: Array) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))
