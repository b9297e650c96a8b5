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

from pinntk.common.arrays import Array
from pinntk.discrete.discretization import Correction, DiscreteProblem, DiscretizationSettings
from pinntk.methods.base import MethodSettings, NonFiniteLoss
from pinntk.methods.direct import PreconditionedResidual
from pinntk.methods.nodes import NodeDraws
from pinntk.methods.phases import Curvature, PhasedMethod
from pinntk.pdes.base import PDE
from pinntk.pdes.references import Reference
from pinntk.residual.hessian import GaussNewton, Hessian
from pinntk.residual.ntk import Jacobian
from pinntk.residual.points import PointSettings
from pinntk.residual.residuals import Batch, Residuals
from pinntk.residual.spectra import SymmetricOperator
from pinntk.residual.terms import Term

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
        self.nodes = NodeDraws(self.problem, self.loss_residuals, self.points, self.settings.batch, self.seed)
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
        return settings.form != "direct" and super().draws_again(settings, points)

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
        self.nodes.drawn = None
        self.residual = PreconditionedResidual(self) if self.direct else None
        self.refreshes = []
        if state is not None:
            self.refreshes = list(state["refreshes"])
            if state["base"] is not None:
                self._prepare(state["base"].double().numpy())
            if state["drawn"] is not None:
                draw, numbers = state["drawn"]
                self.nodes.take(draw, numbers, self.target)
        super().start(None if state is None else state["phases"])

    def state(self) -> dict[str, Any]:
        base = None if self.base is None else torch.from_numpy(self.base).to(self.dtype_)
        # By residual, they are a function of the parameters at that moment too.
        drawn = self.nodes.drawn if self.points.by_residual else None
        return {"phases": super().state(), "base": base, "refreshes": self.refreshes, "drawn": drawn}

    # --- what the loss is made of -------------------------------------------------------------------------------------

    def before_step(self) -> None:
        """Linearise, or make a target, where that is due."""
        if self.refreshes:
            since = self.iteration - self.refreshes[-1]["iteration"]
            if self.settings.form == "solved" or since < self.settings.refresh_every:
                return
        with self.phase("refresh"):
            if self.residual is not None:
                self._prepare(self.finite_values())
                figures: dict[str, Any] = {"factor_seconds": self.residual.preconditioner.factor_seconds}
            else:
                figures = self._make_target()
        self.refreshes.append({"iteration": self.iteration, **figures})

    def _make_target(self) -> dict[str, Any]:
        """Make v, and say what that took."""
        solved = self.settings.form == "solved"
        correction = self.problem.march() if solved else self.problem.apply(self.finite_values())
        # As the network sees it, so that it need not be saved in double precision.
        self._prepare(torch.from_numpy(correction.values).to(self.dtype_).double().numpy())
        figures = figures_of(correction)
        if solved and (warning := self.problem.unsolved(correction)):
            figures["warning"] = warning
            print(f"warning: {warning}", flush=True)
        return figures

    def _prepare(self, base: Array) -> None:
        """What follows from ``base``: the target, or the factors, which can be made again but not saved."""
        self.base = base
        if self.residual is not None:
            self.residual.renew(base)
            return
        self.target = torch.from_numpy(base.reshape(-1)).to(self.device, self.dtype_)
        if self.nodes.drawn is not None:
            draw, numbers = self.nodes.drawn
            self.nodes.take(draw, numbers, self.target)  # the same nodes, other targets

    @property
    def draw(self) -> int:
        # A new target or linearisation is as much another loss as new nodes are.
        return self.node_draw + len(self.refreshes)

    @property
    def node_draw(self) -> int:
        """Which draw of nodes, and of their images, the current iteration uses."""
        return super().draw

    def loss_batches(self) -> dict[str, Batch]:
        """Nodes of this draw and their targets."""
        return self.nodes.batches(self.node_draw, self.target, self._distance)

    def _distance(self, numbers: Tensor) -> Array:
        """``|u_theta - v|`` at nodes by number."""
        assert self.base is not None
        chosen = numbers.numpy()
        return np.asarray(np.abs(self.predict_numpy(self.problem.nodes[chosen]) - self.base.reshape(-1)[chosen]))

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
        ``applications`` of P^-1 or its transpose to the whole grid while training (direct: two for each evaluation of
        loss and gradient, products of second order not counted); ``factor_seconds`` and the part of
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
