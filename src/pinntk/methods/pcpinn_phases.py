"""Methods of second order on ``L_PC``, the preconditioned residual: GDND, natural gradient, self-scaled Broyden.

``L_PC`` in its lagged form is least squares in the network's values alone: the residual at a node is ``u_theta - v``
with ``v = u_theta - P^-1 R(u_theta)`` held, renewed before every phase until v solves the discrete system. At that
moment its gradient is that of ``|P^-1 R(u_theta)|^2`` with ``P = R'``, and its Jacobian that of u, so that the kernel
is ``K_uu`` on the grid: no input derivative is left in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field, StrictInt

from pinntk.methods.gdnd import GDND
from pinntk.methods.ntk_ng import NTKNaturalGradient
from pinntk.methods.phases import PhasedMethod
from pinntk.methods.preconditioned import Preconditioned
from pinntk.methods.ssbroyden import SSBroydenMethod
from pinntk.pdes.base import Term
from pinntk.references import Reference
from pinntk.residuals import Batch, Residuals

Nodes = Annotated[StrictInt, Field(ge=1)]
TERM = Term(Preconditioned.term, "interior", ("u",), lambda values, target: values["u"] - target)


class PhasedPreconditioned(Preconditioned, PhasedMethod):
    """Phases on ``mean (u_theta - v)^2`` over nodes drawn from the grid."""

    def start(self, state: Mapping[str, Any] | None) -> None:
        self.loss_residuals = Residuals(self.pde, self.network, [TERM])
        self.nodes = torch.from_numpy(self.problem.nodes).to(self.device, self.dtype_)
        self._drawn: tuple[tuple[int, int], dict[str, Batch]] | None = None
        if state is not None:
            self.refreshes = list(state["refreshes"])
            if state["base"] is not None:
                self._set_target(state["base"].double().numpy())
        super().start(None if state is None else state["phases"])

    def state(self) -> dict[str, Any]:
        base = None if self.base is None else torch.from_numpy(self.base).to(self.dtype_)
        return {"phases": super().state(), "base": base, "refreshes": self.refreshes}

    def before_phase(self) -> None:
        assert self.discretization is not None
        if self.refreshes and self.refreshes[-1]["residual_left"] <= self.discretization.tolerance:
            return  # v solves the discrete system, and so would the next one
        with self.phase("refresh"):
            figures = {"iteration": self.iteration, **self.correct()}
        assert self.base is not None
        self._set_target(self.base)
        self.refreshes.append(figures)

    def _set_target(self, base: np.ndarray[Any, Any]) -> None:
        self.base = base
        self.target = torch.from_numpy(base.reshape(-1)).to(self.device, self.dtype_)
        self._drawn = None

    def loss_batches(self) -> dict[str, Batch]:
        """Nodes of this draw and their targets: a function of seed, draw and target alone."""
        key = self.draw, len(self.refreshes)
        if self._drawn is None or self._drawn[0] != key:
            picked = self.draw_nodes(self.settings.batch, self.draw)
            points = self.nodes[picked]
            with torch.no_grad():
                inputs = self.network.features(points, self.loss_residuals.streams_of["interior"])
            self._drawn = key, {"interior": Batch(points, inputs, ((self.target[picked],),))}
        return self._drawn[1]

    def figures(self, reference: Reference) -> dict[str, Any]:
        return {**PhasedMethod.figures(self, reference), **Preconditioned.figures(self, reference)}


class PCPINNGDND(PhasedPreconditioned, GDND):
    """Adam, L-BFGS and NysNewton-CG on the preconditioned residual: what the paper leaves to future work."""

    class Settings(GDND.Settings):
        """Settings of ``pcpinn_gdnd``."""

        batch: Nodes = 4096
        """Nodes per draw."""

    name: ClassVar[str] = "pcpinn_gdnd"


class PCPINNNaturalGradient(PhasedPreconditioned, NTKNaturalGradient):
    """Adam, then natural gradient steps in kernel space, on the preconditioned residual."""

    class Settings(NTKNaturalGradient.Settings):
        """Settings of ``pcpinn_ng``."""

        batch: Nodes = 4096
        """Nodes per draw."""

    name: ClassVar[str] = "pcpinn_ng"


class PCPINNSSBroyden(PhasedPreconditioned, SSBroydenMethod):
    """Adam, then self-scaled Broyden, on the preconditioned residual."""

    class Settings(SSBroydenMethod.Settings):
        """Settings of ``pcpinn_ssbroyden``."""

        batch: Nodes = 4096
        """Nodes per draw."""

    name: ClassVar[str] = "pcpinn_ssbroyden"
