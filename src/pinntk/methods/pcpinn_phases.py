"""Methods of second order on ``L_PC``, the preconditioned residual: GDND, natural gradient, self-scaled Broyden.

``L_PC`` in its lagged form is least squares in the network's values alone: the residual at a node is ``u_theta - v``
with ``v = u_theta - P^-1 R(u_theta)`` held, renewed before every phase until v solves the discrete system. At that
moment its gradient is that of ``|P^-1 R(u_theta)|^2`` with ``P = R'``, and its Jacobian that of u, so that the kernel
is ``K_uu`` on the grid: no input derivative is left in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.methods.gdnd import GDND
from pinntk.methods.ntk_ng import NTKNaturalGradient
from pinntk.methods.phases import PhasedMethod
from pinntk.methods.preconditioned import Preconditioned
from pinntk.methods.ssbroyden import SSBroydenMethod
from pinntk.pdes.base import Term
from pinntk.points import redrawn
from pinntk.references import Reference
from pinntk.residuals import Batch, Residuals

NODE_CANDIDATES = 64
"""Nodes that are looked at for every one that is drawn by residual, one of them on the first level."""

Nodes = Annotated[StrictInt, Field(ge=1)]
TERM = Term(Preconditioned.term, "interior", ("u",), lambda values, target: values["u"] - target)


class PhasedPreconditioned(Preconditioned, PhasedMethod):
    """Phases on ``mean (u_theta - v)^2`` over nodes drawn from the grid."""

    def start(self, state: Mapping[str, Any] | None) -> None:
        self.loss_residuals = Residuals(self.pde, self.network, [TERM])
        self.nodes = torch.from_numpy(self.problem.nodes).to(self.device, self.dtype_)
        self._drawn: tuple[tuple[int, int], Tensor, dict[str, Batch]] | None = None
        """Draw and target, the nodes' numbers, what the loss is made of."""
        if state is not None:
            self.refreshes = list(state["refreshes"])
            if state["base"] is not None:
                self._set_target(state["base"].double().numpy())
            if state["drawn"] is not None:
                self._take(*state["drawn"])
        super().start(None if state is None else state["phases"])

    def state(self) -> dict[str, Any]:
        base = None if self.base is None else torch.from_numpy(self.base).to(self.dtype_)
        # By residual, they are a function of the parameters at that moment too.
        drawn = self._drawn[:2] if self._drawn is not None and self.points.by_residual else None
        return {"phases": super().state(), "base": base, "refreshes": self.refreshes, "drawn": drawn}

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
        """Nodes of this draw and their targets: a function of seed, draw and target alone, unless by residual."""
        key = self.draw, len(self.refreshes)
        if self._drawn is None or self._drawn[0] != key:
            self._take(key, self._pick(self.draw))
        assert self._drawn is not None
        return self._drawn[2]

    def _pick(self, draw: int) -> Tensor:
        """Numbers of a draw's nodes, (batch,): the last of them by ``|u_theta - v|`` at this moment, if so wanted."""
        picked, count = self.draw_nodes(self.settings.batch, draw), self.points.count_by_residual(self.settings.batch)
        if not count or not draw:
            return picked
        assert self.base is not None
        among = self.draw_nodes(NODE_CANDIDATES * count, draw, 1).cpu().numpy()
        # One of as many is put on the first level, of which a draw over thousands of levels sees next to nothing.
        among[:count] %= math.prod(self.problem.axes[1:])
        size = np.abs(self.predict_numpy(self.problem.nodes[among]) - self.base.reshape(-1)[among])
        numbers = redrawn(picked.cpu().numpy(), among, size, count, seed=self.seed, draw=draw)
        return torch.from_numpy(numbers).to(picked)

    def _take(self, key: tuple[int, int], picked: Tensor) -> None:
        points = self.nodes[picked]
        with torch.no_grad():
            inputs = self.network.features(points, self.loss_residuals.streams_of["interior"])
        self._drawn = key, picked, {"interior": Batch(points, inputs, ((self.target[picked],),))}

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
