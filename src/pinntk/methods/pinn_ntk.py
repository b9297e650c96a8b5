"""PINN-NTK: loss weights from the kernel's traces (paper, Algorithm 1; Wang, Yu, Perdikaris 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.discrete.discretization import DiscretizationSettings
from pinntk.methods.base import Method, MethodSettings, Steps
from pinntk.methods.schedule import AdamSettings, ExponentialSchedule
from pinntk.pdes.base import PDE
from pinntk.residual.loss import BlockedLoss

Balance = Literal["blocks", "terms"]


def balanced(traces: Tensor, interior: Tensor, balance: Balance) -> Tensor:
    """Algorithm 1's lambdas of every term, (T,).

    Args:
        traces: of the terms' diagonal blocks of the kernel, (T,).
        interior: which terms belong to the equation, (T,), bool.
        balance: ``blocks``: one lambda for them and one for all conditions (paper); ``terms``: one per term.
    """
    if balance == "terms":
        return traces.sum() / traces
    return traces.sum() / torch.where(interior, traces[interior].sum(), traces[~interior].sum())


class DecayingAdamSettings(AdamSettings):
    """At the paper's rate, which falls by 0.9 every 1,000 iterations."""

    schedule: ExponentialSchedule = ExponentialSchedule()


class PINNNTK(Method):
    """``lambda_b = Tr K / Tr K_uu``, ``lambda_r = Tr K / Tr K_rr``, then a step on ``lambda_b L_b + lambda_r L_r``.

    K is the kernel of the residuals at the training points as the loss counts them: with ``normalization=sum`` the
    traces are sums over the points, as in the paper, with ``mean`` means, so that a term's number of points drops out.
    They come from the same backward pass as the gradient (`BlockedLoss.by_term`). Fixed ``weights`` multiply the
    lambdas.
    """

    class Settings(MethodSettings):
        """Settings of ``pinn_ntk``."""

        steps: Steps = 10_000
        optimizer: Literal["adam", "gd"] = "adam"
        """``gd``: plain gradient descent as Algorithm 1 is written, with adam.learning_rate and its schedule."""
        update_every: Annotated[StrictInt, Field(ge=1)] = 1
        """Iterations between two looks at the traces."""
        balance: Balance = "blocks"
        """One lambda for the interior and one for all conditions (paper), or one per named term."""
        adam: DecayingAdamSettings = DecayingAdamSettings()

        def without_effect(self) -> dict[str, str]:
            if not self.steps:
                return dict.fromkeys(("optimizer", "update_every", "balance", "adam"), "counts only with steps > 0")
            return {"adam.betas": "counts only with optimizer=adam"} if self.optimizer == "gd" else {}

    name: ClassVar[str] = "pinn_ntk"
    optimizer: torch.optim.Optimizer

    @classmethod
    def check(cls, pde: PDE, settings: MethodSettings, discretization: DiscretizationSettings | None) -> None:
        super().check(pde, settings, discretization)
        assert isinstance(settings, cls.Settings)
        if settings.balance == "blocks" and set(pde.regions()) == {"interior"}:
            raise ValueError(
                f"method={cls.name}: pde={pde.name} has no conditions with which to balance its equation;"
                " allowed are problems with an initial, boundary or periodic term"
            )

    @property
    def total_iterations(self) -> int:
        return int(self.settings.steps)

    @property
    def comparable_losses(self) -> bool:
        return super().comparable_losses and self.settings.update_every >= self.total_iterations

    def start(self, state: Mapping[str, Any] | None) -> None:
        adam: AdamSettings = self.settings.adam
        parameters = self.network.parameters()
        if self.settings.optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, lr=adam.learning_rate, betas=adam.betas, fused=True)
        else:
            self.optimizer = torch.optim.SGD(parameters, lr=adam.learning_rate)
        self._fixed = self.term_weights()
        self._interior = torch.tensor([t.region == "interior" for t in self.residuals.terms], device=self.device)
        self._loss = BlockedLoss(self.residuals, self.settings.normalization, compile=self.compiled)
        self.lambdas = torch.ones_like(self._fixed)
        self.traces = torch.zeros_like(self._fixed)
        if state is not None:
            self.optimizer.load_state_dict(state["optimizer"])
            self.lambdas, self.traces = (state[name].to(self._fixed) for name in ("lambdas", "traces"))

    def state(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "lambdas": self.lambdas, "traces": self.traces}

    def advance(self, end: int) -> None:
        history: list[Tensor] = []
        with self.phase("pinn_ntk"):
            while self.iteration < end and not self.stop_requested:
                history.append(self._step())
        names = self.residuals.names
        self.record(
            ("loss", *names),
            history,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            **{f"lambda_{n}": value for n, value in zip(names, self.lambdas.tolist(), strict=True)},
            **{f"trace_{n}": value for n, value in zip(names, self.traces.tolist(), strict=True)},
        )

    def _step(self) -> Tensor:
        """One iteration; its weighted loss and the losses of its terms, (1 + T,)."""
        self.optimizer.zero_grad(set_to_none=True)
        batches = self.batches()
        if self.iteration % self.settings.update_every == 0:
            losses, self.traces, gradients = self._loss.by_term(batches)
            self.lambdas = balanced(self.traces, self._interior, self.settings.balance)
            gradient = (self._fixed * self.lambdas) @ gradients
            parameters = list(self.network.parameters())
            for parameter, part in zip(parameters, gradient.split([p.numel() for p in parameters]), strict=True):
                parameter.grad = part.view_as(parameter)
        else:
            losses = self._loss.backward(batches, self._fixed * self.lambdas)
        self.settings.adam.set_rate(self.optimizer, self.iteration, self.total_iterations)
        self.optimizer.step()
        self.iteration += 1
        self.function_evaluations += 1
        return torch.cat([(self._fixed * self.lambdas * losses).sum()[None], losses])
