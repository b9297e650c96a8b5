"""Gauss-Newton steps whose length is chosen by what a trial of it really gains.

After DSGNAR, "Doubly-Sketched Gauss-Newton with Adaptive Ratio" ("An optimisation framework for the well-conditioned
training of physics-informed neural networks", arXiv 2607.02194, 2026): the singular values of J, never those of
``J^T J``, many radii per step, the largest that keeps its promise, and a subspace of the parameters drawn anew for
every step. What departs from it, so that the name is not ours: the rows of J are not sketched, because their QR
factorisation loses nothing and costs less than the trials; the radii are tried from the largest down until one keeps
its promise, which finds the same one with fewer losses; what counts as the turn of lambda is said at
`GaussNewtonSteps`; and where it balances terms by small powers along the training, ``balance=rows`` takes what makes
the norms of their blocks of J alike.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
import scipy.fft
import torch
from pydantic import Field, StrictInt
from torch import Tensor

from pinntk.common.settings import Positive, Settings
from pinntk.optim.least_squares import TrustRegion
from pinntk.optim.objective import Objective
from pinntk.optim.stepping import Resumable, Trials, gain_ratio
from pinntk.residual.ntk import Jacobian
from pinntk.residual.weighting import evened

Count = Annotated[StrictInt, Field(ge=1, le=1_000_000)]
Ratio = Annotated[float, Field(gt=0, lt=1)]
TURN = 10.0
"""lambda has turned upward when it is this many times its lowest so far."""


class GaussNewtonSettings(Settings):
    """Settings of `GaussNewtonSteps`."""

    radius: Positive = 1.0
    """Length of the first step around which radii are tried."""
    radii: Count = 12
    """Of one step, in geometric progression between ``radius / spread`` and ``radius spread``."""
    spread: Annotated[float, Field(gt=1)] = 3.0
    ratio: Ratio = 0.15
    """Least gain ratio of a step until lambda has turned upward."""
    late_ratio: Ratio = 0.5
    """Least gain ratio after that."""
    sketch: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the dimensions of theta in which a step lies, drawn anew for every step; 1: all of them."""
    balance: Literal["rows"] | None = None
    """``rows``: the rows of every term are scaled so that their blocks of J have one Frobenius norm; null: as the loss
    weighs them."""
    max_failures: Count = 8
    """Steps in a row without a lower loss, after which the optimiser is stuck; each divides the radius by
    ``spread^2``."""


class Sketch:
    """Random orthonormal directions of theta: signs, a cosine transform, some of its coefficients (P to k numbers).

    ``y = S theta`` with ``S S^T = I``: directions mix all parameters, and a product takes ``P log P`` operations.

    Args:
        size: P.
        kept: k.
        rng: of signs and choice.

    Example::

        >>> sketch = Sketch(5, 3, np.random.default_rng(0))
        >>> y = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
        >>> sketch.of_rows(sketch.transposed(y)[None])[0].round(decimals=12).tolist()
        [1.0, 2.0, 3.0]
    """

    def __init__(self, size: int, kept: int, rng: np.random.Generator) -> None:
        self.size = size
        self.signs = rng.choice([-1.0, 1.0], size)
        self.chosen = np.sort(rng.choice(size, kept, replace=False))

    def of_rows(self, J: Tensor) -> Tensor:
        """``J S^T``: (N, P) to (N, k)."""
        mixed = scipy.fft.dct(J.cpu().numpy() * self.signs, norm="ortho", axis=1)
        return torch.from_numpy(np.ascontiguousarray(mixed[:, self.chosen])).to(J)

    def transposed(self, y: Tensor) -> Tensor:
        """``S^T y``: (k,) to (P,)."""
        whole = np.zeros(self.size)
        whole[self.chosen] = y.cpu().numpy()
        return torch.from_numpy(scipy.fft.idct(whole, norm="ortho") * self.signs).to(y)


class GaussNewtonSteps(Resumable):
    """``theta <- theta + d`` with d of `TrustRegion`, of the largest radius whose gain ratio is high enough.

    The gain ratio is ``(L(theta) - L(theta + d)) / (L(theta) - 1/2 |r + J d|^2)``. Of the radii around the last one,
    from the largest down, the first with a ratio of at least ``ratio`` is taken, or of ``late_ratio`` once lambda has
    been `TURN` times its lowest so far: while lambda falls steps that are too long still lead to where the problem is
    better conditioned, afterwards they only bounce. Where none is good enough the one with the lowest loss is taken, if
    that is lower than before; theta only ever moves to a lower loss.

    With ``balance=rows`` all this is of balanced terms: the rows of term k in r and J are multiplied by the square root
    of ``w_k = mean_j Tr K_jj / Tr K_kk``, K = J J^T, so that all T blocks of J have one Frobenius norm. These are
    Algorithm 1's weights of single terms (`pinntk.residual.weighting`) from the J that the step has anyway; weights
    that the loss has cancel in them. Within a step they are held fixed, for model and losses alike. From step to step
    they change: it is not one function that falls, and the loss in the log, without them, may rise.

    Args:
        objective: residuals and their Jacobian; it may change between steps (fresh points).
        settings: see there.
        seed: of the subspaces.

    Attributes:
        radius: length of the last step.
        damping: its lambda; NaN where no step was taken.
        gain_ratio: of it; likewise.
        least_ratio: what was asked of it, ``ratio`` or ``late_ratio``.
        late: whether lambda has turned upward.
        trials: losses that the last step took.
        weights: w_k of it by term; empty without ``balance``.
        failures: steps in a row without a lower loss.
        reason: why the optimiser is stuck, in words; empty where it is not.

    Example::

        >>> from pinntk.network import Network, NetworkSettings
        >>> from pinntk.pdes.poisson1d import Poisson1D
        >>> from pinntk.residual.form import ResidualForm
        >>> from pinntk.residual.residuals import Residuals
        >>> pde, x = Poisson1D(a=1), torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]
        >>> functions = Residuals(pde, Network(NetworkSettings(width=5), pde.coordinates, pde.lower, pde.upper))
        >>> objective = ResidualForm(functions, functions.prepare({"interior": x, "boundary": x[[0, -1]]}))
        >>> optimizer = GaussNewtonSteps(objective, GaussNewtonSettings())
        >>> losses = [float(optimizer.step()[0]) for _ in range(30)]
        >>> losses[-1] < 1e-6 * losses[0]
        True
    """

    _SAVED = ("radius", "damping", "gain_ratio", "late", "trials", "failures", "reason", "steps", "lowest_damping")

    def __init__(self, objective: Objective, settings: GaussNewtonSettings, *, seed: int = 0) -> None:
        self.objective, self.settings, self.seed = objective, settings, seed
        self.radius, self.damping, self.gain_ratio = settings.radius, math.nan, math.nan
        self.lowest_damping, self.least_ratio = math.inf, settings.ratio
        self.late = False
        self.trials = self.failures = self.steps = 0
        self.reason = ""
        self.weights: dict[str, float] = {}

    def step(self) -> Tensor:
        """One step; the losses before it, (1 + T,)."""
        losses, r, jacobian = self.objective.jacobian()
        roots: Tensor | float = 1.0
        if self.settings.balance == "rows":
            roots = self._roots(jacobian)
            r, jacobian = roots * r, jacobian.scaled(roots)
        J = jacobian.dense()
        self.trials = 0
        self.damping = self.gain_ratio = math.nan
        self.least_ratio = self.settings.late_ratio if self.late else self.settings.ratio
        if not (r.isfinite().all() and J.isfinite().all()):
            self.reason = "the residuals or their Jacobian are not finite"
            return losses
        with Trials(self.objective) as trials:
            found = self._search(trials, J, r, roots)
            if found is not None:
                trials.go(found[-1])
                trials.keep()
        self.steps += 1
        if found is None:
            self.failures += 1
            self.radius /= self.settings.spread**2
            if self.failures >= self.settings.max_failures:
                self.reason = f"no radius down to {self.radius:.1e} lowers the loss"
            return losses
        self.failures = 0
        _, self.radius, self.damping, self.gain_ratio, _ = found
        self.lowest_damping = min(self.lowest_damping, self.damping)
        self.late = self.late or self.damping > TURN * self.lowest_damping
        return losses

    def _roots(self, jacobian: Jacobian) -> Tensor:
        """Factors of the rows that balance the terms, (N,)."""
        weights = evened(torch.stack(list(jacobian.traces().values())))
        self.weights = dict(zip(jacobian.slices, weights.tolist(), strict=True))
        counts = [rows.stop - rows.start for rows in jacobian.slices.values()]
        return weights.sqrt().repeat_interleave(torch.tensor(counts, device=weights.device))

    def _search(
        self, trials: Trials, J: Tensor, r: Tensor, roots: Tensor | float
    ) -> tuple[float, float, float, float, Tensor] | None:
        """Loss, radius, lambda, gain ratio and d of the step to take; None where no loss is lower."""
        s, before = self.settings, float(r @ r) / 2
        sketch = None
        if s.sketch < 1:
            kept = max(1, round(s.sketch * J.shape[1]))
            sketch = Sketch(J.shape[1], kept, np.random.default_rng([self.seed, self.steps]))
        region = TrustRegion(J if sketch is None else sketch.of_rows(J), r)
        best = None
        whole = False  # the minimiser itself has been tried: larger radii lead to it, too
        for radius in self.radius * np.geomspace(s.spread, 1 / s.spread, s.radii):
            d, damping = region.step(float(radius))
            if damping == 0:
                if whole:
                    continue
                whole = True
            if sketch is not None:
                d = sketch.transposed(d)
            trials.go(d)
            after = roots * self.objective.residuals()
            self.trials += 1
            linear = r + J @ d
            value, predicted = float(after @ after) / 2, before - float(linear @ linear) / 2
            gain = gain_ratio(before - value, predicted)
            if not gain > 0:
                continue
            trial = value, float(d.norm()), damping, gain, d
            if gain >= self.least_ratio:
                return trial
            if best is None or value < best[0]:
                best = trial
        return best
