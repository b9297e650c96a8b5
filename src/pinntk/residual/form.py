"""Residuals of named terms at points as what is minimised: the strong form, and whatever else has terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from pinntk.residual.attention import Attention, has_attention, with_factors
from pinntk.residual.hessian import KEEP, Hessian
from pinntk.residual.loss import BlockedLoss, Way, blocks
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.objective import LeastSquares
from pinntk.residual.residuals import Batch, Normalization, Residuals
from pinntk.residual.weighting import TraceWeighting


class Points(Protocol):
    """Where the points of an objective come from, draw by draw."""

    def batches(self, draw: int) -> Mapping[str, Batch]:
        """The prepared points of a draw by region: the same object until another draw is asked for."""


class ResidualForm(LeastSquares):
    """The residuals of named terms at points: the strong form, and any other made of terms.

    Args:
        residuals: the residual function.
        batches: prepared points by region, with which it begins; None: `renew` brings the first.
        points: where further draws come from; None: the points stay.
        weighting: of Algorithm 1; None: the weights are fixed.
        attention: weights of the equation's points from their residuals, which are then of `attended` terms; None:
            all count the same.
        normalization, weights: see `LeastSquares`.

    Example::

        >>> from pinntk.network import Network, NetworkSettings
        >>> from pinntk.pdes.poisson1d import Poisson1D
        >>> from pinntk.residual.residuals import Residuals
        >>> pde, x = Poisson1D(), torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]
        >>> functions = Residuals(pde, Network(NetworkSettings(width=5), pde.coordinates, pde.lower, pde.upper))
        >>> objective = ResidualForm(functions, functions.prepare({"interior": x, "boundary": x[[0, -1]]}))
        >>> losses, gradient = objective.gradient()
        >>> _, r, J = objective.jacobian()
        >>> torch.allclose(losses[0], r @ r / 2), torch.allclose(gradient, J.rmatvec(r))
        (True, True)
        >>> H, G, M = (objective.curvature(kind) @ gradient for kind in ("hessian", "gauss_newton", "remainder"))
        >>> torch.allclose(H, G + M)
        True
    """

    def __init__(
        self,
        residuals: Residuals,
        batches: Mapping[str, Batch] | None = None,
        *,
        points: Points | None = None,
        weighting: TraceWeighting | None = None,
        attention: Attention | None = None,
        normalization: Normalization = "mean",
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(residuals.network, residuals.names, normalization=normalization, weights=weights)
        self.functions, self.points, self.weighting = residuals, points, weighting
        self._batches = batches
        self.draw: int | None = None
        self.attention, self._factors, self._looks = attention, dict[str, Tensor](), 0
        self._blocked = BlockedLoss(residuals, normalization, way="plain")
        self._due = False
        self.last_traces: Tensor | None = None

    def place(self, way: Way) -> None:
        self._blocked = BlockedLoss(self.functions, self.normalization, way=way)
        self.way, self.reason = self._blocked.way, self._blocked.reason
        if self.points is not None:
            self._batches = None  # those of another device, perhaps

    @property
    def batches(self) -> Mapping[str, Batch]:
        """The points, by region."""
        if self._batches is None:  # nothing has been trained yet
            assert self.points is not None
            self._batches = self._weighed(self.points.batches(self.draw or 0))
        return self._batches

    def renew(self, iteration: int, draw: int) -> None:
        drawn = draw != self.draw
        looked = self.attention is not None and self.attention.due(iteration, drawn)
        if self.attention is None:
            if self.points is not None:
                self._batches = self.points.batches(draw)
        elif looked or self._batches is None:
            self.draw = draw
            self._batches = self._attend(drawn) if looked else None
        self.draw = draw
        self._due = self.weighting is not None and self.weighting.due(iteration, drawn)
        self.version += drawn or self._due or looked

    def _attend(self, drawn: bool) -> Mapping[str, Batch]:
        """The points with the factors of a look at their residuals."""
        assert self.attention is not None
        assert self.points is not None
        batches = self.points.batches(self.draw or 0)
        self._looks = 0 if drawn else self._looks + 1
        with torch.no_grad():
            found = self.functions(batches)
        for term in filter(has_attention, self.functions.terms):
            r, before = found[term.name], self._factors.get(term.name)
            first = drawn or before is None
            self._factors[term.name] = (
                self.attention.first(r) if first else self.attention.next(self._factors[term.name], r, self._looks)
            )
        return self._weighed(batches)

    def _weighed(self, batches: Mapping[str, Batch]) -> Mapping[str, Batch]:
        if not self._factors:
            return batches
        known = self._factors
        return with_factors(batches, self.functions.terms_of, lambda name, one: known[name].to(one))

    def report(self) -> dict[str, float]:
        """Without the factors of the points, too."""
        if self.attention is None or self.points is None:
            return super().report()
        kept, self._batches = self._batches, self.points.batches(self.draw or 0)
        try:
            return super().report()
        finally:
            self._batches = kept

    def by_term(self) -> dict[str, Tensor]:
        self._weigh()
        return self.functions(self.batches)

    def linearized(self) -> tuple[Tensor, FactoredJacobian]:
        r, jacobian = FactoredJacobian.with_residuals(self.functions, self.batches)
        if self._due:
            self._take(self.traces_of(jacobian))
        return r, jacobian

    def backward(self) -> Tensor:
        self.evaluations += 1
        if self._due:  # the traces come from the same pass as the gradient
            terms, traces, gradients = self._blocked.by_term(self.batches)
            self._take(traces)
            self._set_gradient(self.weights @ gradients)
        else:
            self.network.zero_grad(set_to_none=True)
            terms = self._blocked.backward(self.batches, self.weights)
        return self.total(terms)

    def hessian(self, *, remainder: bool = False) -> Hessian:
        self._weigh()
        weight = dict(zip(self.names, self.weights.tolist(), strict=True))
        mean = self.normalization == "mean"

        def part(region: str, block: Batch, share: float) -> Tensor:
            total = []
            for name, r in self.functions.of_region(region, block).items():
                slope = weight[name] * share * (2.0 / len(r) if mean else 1.0) * r
                total.append((slope.detach() * r).sum() if remainder else (slope * r).sum() / 2)
            return torch.stack(total).sum()

        def partial(region: str, block: Batch, share: float) -> Callable[[], Tensor]:
            return lambda: part(region, block, share)

        parts = [partial(*block) for block in blocks(self.functions, self.batches, self.normalization)]
        width, depth = self.network.width, len(self.network.layers) - 1
        streams = self.functions.streams_of
        elements = sum(len(streams[region]) * len(b.points) * width * depth for region, b in self.batches.items())
        return Hessian(parts, list(self.network.parameters()), keep=elements <= KEEP)

    def log(self) -> dict[str, float]:
        if self.lambdas is None or self.last_traces is None:
            return {}
        named = {"lambda": self.lambdas, "trace": self.last_traces}
        return {f"{k}_{n}": x for k, v in named.items() for n, x in zip(self.names, v.tolist(), strict=True)}

    def state(self) -> dict[str, Any]:
        attention = {"factors": dict(self._factors), "looks": self._looks}
        return {**super().state(), "draw": self.draw, "traces": self.last_traces, "attention": attention}

    def load(self, state: Mapping[str, Any]) -> None:
        super().load(state)
        self.draw = state["draw"]
        self.last_traces = None if state["traces"] is None else state["traces"].to(self._like)
        attention = state.get("attention", {"factors": {}, "looks": 0})  # older checkpoints have none
        self._factors = {name: factor.to(self._like) for name, factor in attention["factors"].items()}
        self._looks = attention["looks"]

    def _weigh(self) -> None:
        """New weights, where they are due and nothing else has brought them."""
        if self._due:
            self._take(self.traces())

    def _take(self, traces: Tensor) -> None:
        assert self.weighting is not None
        self._due = False
        self.last_traces = traces
        self.lambdas = self.weighting.lambdas(traces, [term.equation for term in self.functions.terms])
        self._weights = None

    def _set_gradient(self, gradient: Tensor) -> None:
        parameters = list(self.network.parameters())
        for parameter, part in zip(parameters, gradient.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)
