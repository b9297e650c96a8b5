"""The optimisers on the preconditioned residual: Adam, GDND, natural gradient, self-scaled Broyden.

In the applied form L_PC is least squares in the network's values alone: its Jacobian is that of u, so that the kernel
is ``K_uu`` on the grid, without input derivatives. In the direct form it is that of ``P^-1 R(u_theta)``.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, StrictInt

from pinntk.common.arrays import l2re
from pinntk.discrete.direct import DirectForm
from pinntk.discrete.discretization import DiscretizationSettings
from pinntk.discrete.nodes import NodeDraws
from pinntk.discrete.objective import TERM, OnGrid, TargetForm
from pinntk.methods.gdnd import GDND
from pinntk.methods.ntk_ng import NTKNaturalGradient
from pinntk.methods.phases.first_order import AdamPhaseSettings
from pinntk.methods.plan import PhaseSettings, Plan
from pinntk.methods.schedule import FallingSettings
from pinntk.methods.settings import MethodSettings, Steps
from pinntk.methods.ssbroyden import SSBroydenMethod
from pinntk.network import NetworkSettings
from pinntk.pdes.base import PDE
from pinntk.pdes.references import Reference
from pinntk.residual.extent import Extent
from pinntk.residual.points import PointSettings
from pinntk.residual.residuals import Residuals


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


class PreconditionedPlan(Plan):
    """Phases on ``L_PC`` in one of its forms (`pinntk.discrete.objective`)."""

    discrete: ClassVar[bool] = True
    objective: OnGrid

    def make_objective(self) -> OnGrid:
        assert self.discretization is not None, f"method={self.name} needs the settings of the problem's discrete form"
        s, problem = self.settings, self.pde.discretize(self.discretization)
        difference = Residuals(self.pde, self.network, [TERM])
        nodes = NodeDraws(problem, difference, self.points, s.batch, self.seed)
        if s.form == "direct":
            return DirectForm(problem, nodes, s.refresh_every)
        return TargetForm(problem, nodes, s.refresh_every if s.form == "applied" else None)

    @classmethod
    def check(cls, pde: PDE, settings: MethodSettings, discretization: DiscretizationSettings | None) -> None:
        if pde.Discretization is None:
            raise ValueError(f"method={cls.name}: pde={pde.name} has no discrete form; allowed are problems with one")
        if discretization is None:
            raise ValueError(f"discretization=null: {cls.name} needs the settings of the problem's discrete form")
        if settings.weights:
            raise ValueError(f"method.weights: {cls.name} has one term, its preconditioned residual; allowed is {{}}")
        if settings.gradient:
            raise ValueError(
                f"method.gradient={settings.gradient:g}: {cls.name} has one term, its preconditioned residual, at nodes"
                " of a grid, whose derivatives are not known; allowed is 0"
            )
        if settings.weighting != "fixed":
            raise ValueError(
                f"method.weighting={settings.weighting}: {cls.name} has one term, its preconditioned residual, which"
                " there is nothing to weigh against; allowed is fixed"
            )
        if settings.normalization != "mean":
            raise ValueError(
                f"method.normalization={settings.normalization}: the loss of {cls.name} is a mean over nodes of its"
                " grid; allowed is mean"
            )
        pde.discretize(discretization)  # a grid that cannot hold the problem is refused

    @classmethod
    def extent(
        cls,
        pde: PDE,
        settings: MethodSettings,
        network: NetworkSettings,
        points: PointSettings,
        discretization: DiscretizationSettings | None,
        item: int,
    ) -> Extent:
        assert isinstance(settings, PreconditionedSettings)
        assert discretization is not None
        levels, nodes = pde.discretize(discretization).shape
        direct = settings.form == "direct"
        count = levels * nodes if direct else settings.batch
        return Extent.of(pde, network, {TERM.where: count}, terms=[TERM], item=item, solved=direct)

    @classmethod
    def without_effect(cls, pde: PDE, settings: MethodSettings, points: PointSettings) -> dict[str, str]:
        assert isinstance(settings, PreconditionedSettings)
        unused = dict.fromkeys(("interior", "initial", "boundary"), "counts only for methods on the strong form")
        if settings.form == "direct":  # the whole grid in every step
            unused |= dict.fromkeys(("sampling", "resample_every"), "counts only with form=applied or solved")
        found = {f"points.{key}": when for key, when in unused.items()}
        weighing = dict.fromkeys(("method.balance", "method.update_every"), "counts only for methods on the residuals")
        return {**super().without_effect(pde, settings, points), **weighing, **found}

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
    def comparable_losses(self) -> bool:
        # The direct form always takes the whole grid, in images that are drawn where the problem has symmetries.
        every = self.objective.refresh_every
        once = every is None or every >= self.total_iterations
        whole = isinstance(self.objective, DirectForm) and self.objective.problem.images == 1
        return bool(once and (whole or super().comparable_losses))

    def figures(self, reference: Reference) -> dict[str, Any]:
        """What was made of the discrete problem.

        ``form``; ``grid``, levels and nodes at each; ``applications`` of P^-1 or its transpose to the whole grid while
        training (direct: two for each evaluation of loss and gradient, products of second order not counted);
        ``factor_seconds`` and the part of the training time spent on refreshes; ``warnings``: of targets that were not
        reached. Fitted to the discrete solution (solved), also ``discrete_l2re``: the error of that solution, in the
        network's precision, which the network can reach; ``discrete_seconds`` that it took; ``network_to_discrete``:
        relative distance of the network from it on the grid. The other forms have no such solution: to make one takes
        as long as many steps, and is left to ``callbacks=conditioning``.
        """
        problem, refreshes = self.objective.problem, self.objective.refreshes
        notes = {refresh["warning"]: None for refresh in refreshes if "warning" in refresh}
        applications = sum(refresh.get("applications", 0.0) for refresh in refreshes)
        if isinstance(self.objective, DirectForm):
            applications = 2.0 * self.function_evaluations
        refreshing = self.seconds_per_phase.get("refresh", 0.0)
        return {
            **super().figures(reference),
            "form": self.settings.form,
            "grid": list(problem.shape),
            **self._of_solution(reference),
            "applications": applications,
            "factor_seconds": sum(refresh["factor_seconds"] for refresh in refreshes),
            "share_of_training_time": refreshing / self.seconds if self.seconds else 0.0,
            "warnings": list(notes),
            "refreshes": refreshes,
        }

    def _of_solution(self, reference: Reference) -> dict[str, float]:
        """The figures of the discrete solution, where it is what the network was fitted to."""
        problem, solution = self.objective.problem, self.objective.base
        if self.settings.form != "solved" or solution is None:
            return {}
        return {
            "discrete_l2re": l2re(problem.interpolate(solution, self.pde.evaluation_points()), reference.values),
            "discrete_seconds": self.objective.refreshes[-1]["seconds"],
            "network_to_discrete": l2re(np.ravel(self.objective.values()), np.ravel(solution)),
        }


class PCPINN(PreconditionedPlan):
    """Adam on the preconditioned residual: the paper's PCPINN."""

    class Settings(PreconditionedSettings):
        """Settings of ``pcpinn``."""

        steps: Steps = 10_000
        adam: FallingSettings = FallingSettings()

    name: ClassVar[str] = "pcpinn"

    @classmethod
    def without_effect(cls, pde: PDE, settings: MethodSettings, points: PointSettings) -> dict[str, str]:
        own = f"counts only for other methods; every step of {cls.name} has nodes of its own"
        return {**super().without_effect(pde, settings, points), "points.resample_every": own}

    @classmethod
    def draws_again(cls, settings: MethodSettings, points: PointSettings) -> bool:
        return True  # check_points refuses what this is asked for

    @classmethod
    def check_points(cls, points: PointSettings) -> None:
        super().check_points(points)
        if points.by_residual:
            raise ValueError(f"points.by_residual={points.by_residual:g}: {cls.name} has no such draws; allowed is 0")

    def plan(self) -> list[PhaseSettings]:
        return [AdamPhaseSettings(steps=self.settings.steps, **dict(self.settings.adam))]

    def draws_every(self, number: int) -> int | None:
        return 1


class PCPINNGDND(PreconditionedPlan):
    """Adam, L-BFGS and NysNewton-CG on the preconditioned residual: what the paper leaves to future work."""

    class Settings(GDND.Settings, PreconditionedSettings):
        """Settings of ``pcpinn_gdnd``."""

    name: ClassVar[str] = "pcpinn_gdnd"


class PCPINNNaturalGradient(PreconditionedPlan):
    """Adam, then natural gradient steps in kernel space, on the preconditioned residual."""

    class Settings(NTKNaturalGradient.Settings, PreconditionedSettings):
        """Settings of ``pcpinn_ng``."""

    name: ClassVar[str] = "pcpinn_ng"


class PCPINNSSBroyden(PreconditionedPlan):
    """Adam, then self-scaled Broyden, on the preconditioned residual."""

    class Settings(SSBroydenMethod.Settings, PreconditionedSettings):
        """Settings of ``pcpinn_ssbroyden``."""

    name: ClassVar[str] = "pcpinn_ssbroyden"
