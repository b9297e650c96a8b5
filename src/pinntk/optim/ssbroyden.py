"""Self-scaled Broyden: a quasi-Newton method that holds the whole inverse Hessian.

The update is that of Al-Baali and Khalfan, "A wide interval for efficient self-scaling quasi-Newton algorithms" (Optim.
Methods Softw. 20, 2005), after Al-Baali, "Numerical experience with a class of self-scaling quasi-Newton algorithms"
(J. Optim. Theory Appl. 96, 1998); on PINNs Urban, Stefanou, Pons (J. Comput. Phys. 523, 2025). It was checked against
their code (github.com/jorgeurban/self_scaled_algorithms_pinns, "SSBroyden2" without initial scaling): phi, tau and H
agree to rounding. What is around them differs: there H starts as the identity and the first trial step has length 1, an
update is made for ``y^T s < 0`` too, and the line search, with the same constants, is MINPACK's with SciPy's to fall
back on; where both fail the method ends. For some thousand parameters: the matrix has P^2 entries, which one iteration
reads once (`UpdatedMatrix`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, StrictInt
from scipy.optimize import line_search
from torch import Tensor

from pinntk.common.settings import Settings
from pinntk.optim.objective import Objective, Point
from pinntk.optim.stepping import Resumable
from pinntk.optim.updated import Update, UpdatedMatrix


class SSBroydenSettings(Settings):
    """Settings of `SSBroyden`."""

    armijo: Annotated[float, Field(gt=0, lt=0.5)] = 1e-4
    """c1 of the strong Wolfe conditions."""
    wolfe: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """c2: the part of the slope that may be left."""
    max_trials: Annotated[StrictInt, Field(ge=1, le=1000)] = 20
    """Of one line search."""
    restart: Literal["identity", "gauss_newton"] = "identity"
    """What H becomes where the line search finds nothing along ``-H grad L``: a multiple of the identity; or
    ``(J^T J + mu I)^-1`` first, and that multiple only where this does not help either. Not in the publication."""
    restart_damping: Annotated[float, Field(gt=0, lt=1)] = 1e-10
    """mu, relative to the largest eigenvalue of ``J^T J``."""

    def without_effect(self) -> dict[str, str]:
        unused = {} if self.restart == "gauss_newton" else {"restart_damping": "counts only with restart=gauss_newton"}
        return {**super().without_effect(), **unused}


class SSBroyden(Resumable):
    """``theta <- theta - t H grad L`` with t by the strong Wolfe conditions and H by the self-scaled Broyden formula.

    With ``s`` and ``y`` the changes of theta and of the gradient::

        H <- (H - H y y^T H / y^T H y + phi v v^T) / tau + s s^T / y^T s
        v  = sqrt(y^T H y) (s / y^T s - H y / y^T H y)

    phi and tau are `coefficients`. Before the first update H is ``y^T s / y^T y`` times the identity, and where
    ``y^T s <= 0`` there is none. Where the line search finds no such t, the lowest of the losses it saw is taken.
    Where none is lower, H becomes ``(J^T J + mu I)^-1`` with ``restart=gauss_newton``, or else, and where that has just
    failed, a multiple of the identity (``y^T s / y^T y`` of the last step, or the inverse of the
    gradient's 1-norm at the start), and where it is that already, the optimiser is stuck. theta only ever moves to a
    lower loss.

    An iteration multiplies with H once, for ``H g'`` with the gradient g' at its end: then ``H y = H g' - H g`` with
    the ``H g`` that made the direction, and the updated H's product with g', the next direction, follows from ``H g'``
    and the update's vectors. Nothing is handed on for longer than an iteration, so that rounding errors do not
    pile up, and little cancels: by the second Wolfe condition ``|H y| >= (1 - c2) |H g|`` in the norm of H^-1.

    Args:
        objective: loss and gradient. Call ``renew`` when it has changed (fresh points).
        settings: see there.

    Attributes:
        inverse: H; None for a multiple of the identity.
        step_length: t of the last step; 0 where there was none.
        resets: of H.
        reason: why the optimiser is stuck, in words; empty where it is not.
    """

    _SAVED = ("step_length", "resets", "reason", "_before", "_multiple", "_restarted")

    def __init__(self, objective: Objective, settings: SSBroydenSettings) -> None:
        self.objective = objective
        self.settings = settings
        self.inverse: UpdatedMatrix | None = None
        self.step_length, self.resets, self.reason = 0.0, 0, ""
        self._restarted = False
        """Whether H is that of a restart, and no step has been made with it."""
        self._now: Point | None = None
        self._product: Tensor | None = None
        """H times the gradient of ``_now``, where it is known."""
        self._multiple: float | None = None
        """Of the identity, where that stands for H."""
        self._before: float | None = None
        """The loss before the last step, from which the line search guesses its first length."""

    def renew(self) -> None:
        """The objective has changed: what is known of the loss here is forgotten, H is not."""
        self._now, self._product, self._before = None, None, None

    def step(self) -> Tensor:
        """One step; the losses before it, (1 + T,)."""
        now = self._now or Point.of(self.objective)
        if not now.finite:
            self.reason = "the loss or its gradient is not finite"
            return now.losses
        if self.inverse is not None:
            product = self.inverse @ now.gradient if self._product is None else self._product
            direction = -product
        else:
            multiple = self._multiple or 1 / max(float(now.gradient.abs().sum()), 1.0)
            direction = -multiple * now.gradient
        slope = float(direction @ now.gradient)
        found = self._search(now, direction, slope) if slope < 0 else None
        if found is None:
            self.step_length = 0.0
            self.objective.assign(now.theta)
            self._now, self._product, self._before = now, None, None
            if self.inverse is None:
                self.reason = "the line search finds no lower loss"
            else:
                self._restart()
            return now.losses
        self.step_length, then = found
        self.objective.assign(then.theta)
        self._restarted = False
        self._learn(now, then, -direction)
        self._now, self._before = then, now.loss
        return now.losses

    def _restart(self) -> None:
        """Another H at the same parameters: the Gauss-Newton one, where it is wanted and has not just failed."""
        self.resets += 1
        again = self.settings.restart == "gauss_newton" and not self._restarted
        self.inverse = self._gauss_newton() if again else None
        self._restarted = self.inverse is not None

    def _gauss_newton(self) -> UpdatedMatrix | None:
        """``(J^T J + mu I)^-1``; None where it is not finite."""
        rows = self.objective.jacobian()[2].dense()
        values, vectors = torch.linalg.eigh(rows.T @ rows)
        inverse = (vectors / (values.clamp_min(0) + self.settings.restart_damping * values[-1])) @ vectors.T
        return UpdatedMatrix(inverse.contiguous()) if inverse.isfinite().all() else None

    def _search(self, now: Point, direction: Tensor, slope: float) -> tuple[float, Point] | None:
        """The step length and where it leads; None where no loss is lower."""
        seen: dict[float, Point] = {}

        def at(t: float) -> Point:
            if t not in seen:
                self.objective.assign(now.theta + t * direction)
                seen[t] = Point.of(self.objective)
            return seen[t]

        def value(x: np.ndarray[Any, Any]) -> float:
            point = at(float(x[0]))
            return point.loss if point.finite else math.inf  # the search takes what is too high for too long

        def derivative(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return np.array([float(at(float(x[0])).gradient @ direction)])

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it did not converge is seen below
            t, *_ = line_search(
                value,
                derivative,
                np.zeros(1),
                np.ones(1),
                gfk=np.array([slope]),
                old_fval=now.loss,
                old_old_fval=self._before if self.inverse is not None else None,
                c1=self.settings.armijo,
                c2=self.settings.wolfe,
                maxiter=self.settings.max_trials,
            )
        lower = {length: p for length, p in seen.items() if p.finite and p.loss < now.loss}
        if t is not None and float(t) in lower:
            return float(t), lower[float(t)]
        return min(lower.items(), key=lambda item: item[1].loss) if lower else None

    def _learn(self, now: Point, then: Point, Hg: Tensor) -> None:
        """The next H, and its product with the gradient; ``Hg`` is that of H with the gradient of ``now``."""
        s, y = then.theta - now.theta, then.gradient - now.gradient
        ys = float(y @ s)
        self._product = None
        if ys <= 0:  # only where the second Wolfe condition was not met
            return
        multiple = self._multiple = ys / float(y @ y)
        Bs = -self.step_length * now.gradient  # H^-1 s
        if self.inverse is None:
            self.inverse = UpdatedMatrix(torch.eye(len(s), dtype=s.dtype, device=s.device) * multiple)
            Hg, Bs = multiple * now.gradient, s / multiple
        product = self.inverse @ then.gradient
        update = broyden_update(s, y, Bs, product - Hg)
        if update is None:  # rounding has eaten H's smallest eigenvalues
            self._restart()
            return
        self.inverse.add(update)
        self._product = update.product(then.gradient, product)

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "inverse": None if self.inverse is None else self.inverse.state(),
            "product": self._product,
            "now": None if self._now is None else self._now.tensors,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict({**super().state_dict(), **state})  # older checkpoints lack the last attribute
        theta = self.objective.parameters()
        inverse, product = state["inverse"], state.get("product")
        if isinstance(inverse, Tensor):  # of a checkpoint from before `UpdatedMatrix`
            self.inverse = UpdatedMatrix(inverse.to(theta))
        else:
            self.inverse = None if inverse is None else UpdatedMatrix.of(inverse, theta)
        self._product = None if product is None else product.to(theta)
        self._now = None if state["now"] is None else Point(*(x.to(theta) for x in state["now"]))


def broyden_update(s: Tensor, y: Tensor, Bs: Tensor, Hy: Tensor) -> Update | None:
    """The formula of `SSBroyden`, v being a sum of s and ``H y``; None where ``y^T H y`` is not positive.

    Example::

        >>> from pinntk.optim.updated import UpdatedMatrix
        >>> s, y = torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1.0])
        >>> H = UpdatedMatrix(torch.eye(2))
        >>> H.add(broyden_update(s, y, s, y))
        >>> (H @ y).tolist()  # the secant equation
        [1.0, 0.0]

    Args:
        s, y: changes of the parameters and of the gradient, (P,), with ``y^T s > 0``.
        Bs: ``H^-1 s``, (P,).
        Hy: ``H y``, (P,).
    """
    ys, yHy = float(y @ s), float(y @ Hy)
    if not yHy > 0:
        return None
    phi, tau = coefficients(b=float(s @ Bs) / ys, h=yHy / ys, size=len(s))
    right = torch.stack([Hy, s])
    of_both = -phi / tau / ys  # one after the other: a product of two of them may be too small to be a number
    core = [[(phi - 1) / tau / yHy, of_both], [of_both, (1 + phi / tau * yHy / ys) / ys]]
    return Update(tau, right.new_tensor(core) @ right, right)


def coefficients(b: float, h: float, size: int) -> tuple[float, float]:
    """phi and tau of the self-scaled Broyden update (Al-Baali and Khalfan 2005; Urban et al. 2025, section 3).

    With ``a = b h - 1``, ``c = sqrt(a / (1 + a))``, ``rho- = min(1, h (1 - c))``, ``rho+ = min(1, 1 / b)``, and
    ``theta = (1 - b) / b`` within ``(rho- - 1) / a ... 1 / rho-``::

        sigma = 1 + a theta,  phi = (1 - theta) / sigma
        tau = rho+ min(sigma^(1 / (1 - P)), 1 / theta)  where theta > 0,  else min(rho+ sigma^(1 / (1 - P)), sigma)

    Where ``a <= 0``, s and H y are parallel (a is never negative but by rounding): v is zero, phi without effect, and
    tau has the limit rho+, which is taken. The published code divides by zero there. ``phi = tau = 1`` is BFGS, which
    is taken where b or h is too large to be a number.

    Example::

        >>> [round(x, 4) for x in coefficients(b=0.5, h=4.0, size=3)]  # a = rho- = theta = 1, sigma = 2
        [0.0, 0.7071]

    Args:
        b: ``s^T H^-1 s / y^T s``, positive.
        h: ``y^T H y / y^T s``, positive.
        size: P.
    """
    if not (b > 0 and h > 0 and math.isfinite(b * h)):
        return 1.0, 1.0
    a = b * h - 1
    scale = min(1.0, 1 / b)  # rho+
    if not (a > 0 and size > 1):
        return 1.0, scale
    lowest = min(1.0, 1 / (b * (1 + math.sqrt(a / (1 + a)))))  # rho-: h (1 - c) without its cancellation
    theta = max((lowest - 1) / a, min(1 / lowest, (1 - b) / b))
    sigma = max(1 + a * theta, lowest)  # equal but for rounding where theta is at its lower bound
    root = sigma ** (1 / (1 - size))
    tau = scale * min(root, 1 / theta) if theta > 0 else min(scale * root, sigma)
    return (1 - theta) / sigma, tau
