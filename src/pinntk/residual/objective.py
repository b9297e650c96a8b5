"""What is minimised, as every optimiser, callback and checkpoint sees it.

``L(theta) = sum over terms of w_k L_k(theta) = 1/2 |r(theta)|^2``: a sum of squares of named, weighted terms, a
function of the parameters of a network. Loss, gradient, Jacobian, kernel and Hessian are those of one object, which
holds terms, points and weights. It becomes another function when points are drawn anew or weights change.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pinntk.network import Network
from pinntk.residual.hessian import Curvature, GaussNewton, Hessian
from pinntk.residual.loss import Way
from pinntk.residual.ntk import Jacobian
from pinntk.residual.residuals import Normalization, term_losses
from pinntk.residual.spectra import SymmetricOperator


class NonFiniteLoss(RuntimeError):
    """The loss is NaN or infinite. ``iteration``: the first at which it was; ``term``: the first term that was."""

    def __init__(self, iteration: int, term: str) -> None:
        super().__init__(f"the loss of term {term!r} is not finite at iteration {iteration}")
        self.iteration = iteration
        self.term = term


class LeastSquares(ABC):
    """Base of what is minimised.

    A term's loss is ``1/2 sum r^2`` or ``mean r^2`` of its residuals (`term_losses`); r of ``L = 1/2 |r|^2`` are these
    residuals times the square root of L's second derivative in them.

    Args:
        network: whose parameters theta are.
        names: of the terms, in their order.
        normalization: of the terms' losses.
        weights: fixed factor by term; 1 where a term is not named.

    Attributes:
        evaluations: of loss, gradient, residuals or Jacobian so far.
        version: how often it has become another function of theta.
        lambdas: factors of Algorithm 1 on the fixed ones, (T,); 1 without it.
        way: how loss and gradient are computed (`pinntk.residual.loss`).
        reason: why it is not the way that was asked for; empty where it is.
    """

    def __init__(
        self,
        network: Network,
        names: tuple[str, ...],
        *,
        normalization: Normalization = "mean",
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.network, self.names, self.normalization = network, names, normalization
        self._fixed = [(weights or {}).get(name, 1.0) for name in names]
        self.evaluations = self.version = 0
        self.lambdas: Tensor | None = None
        self._weights: Tensor | None = None
        self.way: Way = "plain"
        self.reason = ""

    # --- what one of them writes --------------------------------------------------------------------------------------

    @abstractmethod
    def by_term(self) -> dict[str, Tensor]:
        """The terms' residuals without weights, (N_k,) each, a graph of the parameters."""

    @abstractmethod
    def linearized(self) -> tuple[Tensor, Jacobian]:
        """The same in one vector, (N,), and their Jacobian, (N, P)."""

    @abstractmethod
    def backward(self) -> Tensor:
        """Set the parameters' ``grad`` to L's; weighted total and unweighted terms, (1 + T,)."""

    @abstractmethod
    def hessian(self, *, remainder: bool = False) -> Hessian:
        """The Hessian of L, or what it has beyond ``J^T J``."""

    def renew(self, iteration: int, draw: int) -> None:
        """Take the points of this draw, and new weights where they are due before this iteration."""
        return

    def refresh_due(self, iteration: int) -> bool:
        """Whether `refresh` is due before this iteration."""
        return False

    def refresh(self, iteration: int) -> None:
        """Renew what takes long to make: linearisations, targets."""
        return

    def place(self, way: Way) -> None:
        """Get ready on the network's device, to compute in this way, or in another where this one cannot be."""
        self.way = way

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs besides the parameters."""
        return {"version": self.version, "lambdas": self.lambdas, "way": self.way}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.version = state["version"]
        self.lambdas = None if state["lambdas"] is None else state["lambdas"].to(self._like)
        self._weights = None

    def log(self) -> dict[str, float]:
        """Figures of the moment for the log."""
        return {}

    # --- what all have ------------------------------------------------------------------------------------------------

    @property
    def _like(self) -> Tensor:
        return next(self.network.parameters())

    def parameters(self) -> Tensor:
        """theta, (P,)."""
        return self.network.vector()

    def assign(self, theta: Tensor) -> None:
        """Give the network the parameters theta, (P,)."""
        self.network.assign(theta)

    @property
    def fixed(self) -> Tensor:
        """The fixed weights of the terms, (T,)."""
        return torch.tensor(self._fixed, dtype=self._like.dtype, device=self._like.device)

    @property
    def weights(self) -> Tensor:
        """Of the terms, (T,): the fixed ones times ``lambdas``."""
        if self._weights is None or self._weights.device != self._like.device:
            fixed = self.fixed
            self._weights = fixed if self.lambdas is None else fixed * self.lambdas.to(fixed)
        return self._weights

    def total(self, terms: Tensor) -> Tensor:
        """Unweighted losses of the terms, (T,), with the weighted total in front, (1 + T,)."""
        return torch.cat([(self.weights * terms).sum()[None], terms])

    def losses(self) -> Tensor:
        """Weighted total and unweighted terms, (1 + T,)."""
        with torch.no_grad():
            return self.total(term_losses(list(self.by_term().values()), self.normalization))

    def report(self) -> dict[str, float]:
        """For the end of a run: the unweighted losses by term, and their total ("loss") with the fixed weights."""
        terms = self.losses()[1:].tolist()
        total = sum(weight * term for weight, term in zip(self._fixed, terms, strict=True))
        return {"loss": total, **dict(zip(self.names, terms, strict=True))}

    def loss(self) -> Tensor:
        """L, a scalar."""
        self.evaluations += 1
        return self.losses()[0]

    def gradient(self) -> tuple[Tensor, Tensor]:
        """What `backward` returns, (1 + T,), and the gradient of L, (P,)."""
        losses = self.backward()
        gradients = [p.grad for p in self.network.parameters()]
        assert all(g is not None for g in gradients)  # or the vector would be another one
        return losses, nn.utils.parameters_to_vector([g for g in gradients if g is not None])

    def residuals(self) -> Tensor:
        """r, (N,), in the order of the terms."""
        self.evaluations += 1
        with torch.no_grad():
            found = list(self.by_term().values())
        return self._roots([len(r) for r in found]) * torch.cat(found)

    def jacobian(self) -> tuple[Tensor, Tensor, Jacobian]:
        """Weighted total and terms, (1 + T,); r, (N,); its Jacobian, (N, P)."""
        self.evaluations += 1
        r, jacobian = self.linearized()
        roots = self._roots(_counts(jacobian))
        terms = [r[rows] for rows in jacobian.slices.values()]
        return self.total(term_losses(terms, self.normalization)), roots * r, jacobian.scaled(roots)

    def curvature(self, kind: Curvature = "hessian") -> SymmetricOperator:
        """The Hessian of L at these parameters, its Gauss-Newton part ``J^T J``, or the rest of it, (P, P)."""
        if kind != "gauss_newton":
            return self.hessian(remainder=kind == "remainder")
        _, jacobian = self.linearized()
        return GaussNewton(jacobian.scaled(self._roots(_counts(jacobian))), self._like)

    def traces(self) -> Tensor:
        """Traces of the diagonal blocks of the unweighted terms' kernel, (T,), as the loss counts the residuals: with
        ``normalization=sum`` sums over them, as in the paper, with ``mean`` means, so that their number drops out."""
        _, jacobian = self.linearized()
        return self.traces_of(jacobian)

    def traces_of(self, jacobian: Jacobian) -> Tensor:
        """The same from the Jacobian that `linearized` has given."""
        mean = self.normalization == "mean"
        traces = zip(jacobian.traces().values(), _counts(jacobian), strict=True)
        return torch.stack([trace / n if mean else trace for trace, n in traces])

    def _roots(self, counts: list[int]) -> Tensor:
        """Square root of L's second derivative in every residual, (N,): of w_k, or of 2 w_k / N_k."""
        mean = self.normalization == "mean"
        second = [w * (2.0 / n) if mean else w for w, n in zip(self.weights, counts, strict=True)]
        return torch.stack(second).sqrt().repeat_interleave(torch.tensor(counts, device=self._like.device))


def _counts(jacobian: Jacobian) -> list[int]:
    """Residuals of every term."""
    return [rows.stop - rows.start for rows in jacobian.slices.values()]
