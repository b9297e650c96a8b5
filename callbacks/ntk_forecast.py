"""What the kernel foretells of gradient descent (paper, Lemmas 1 and 2), and for how long it is right.

Both lemmas speak of gradient flow on the sum loss ``1/2 |r|^2``. So at a chosen iteration a copy of the network is
taken aside and trained on fixed points by plain gradient descent with small steps, whatever the run's own method is:

Lemma 1: in a step of size eta the residuals change by ``-eta K r``, up to a relative error that falls with eta.

Lemma 2: if K stood still, ``r(t) = Q e^{-Lambda t} Q^T r(0)`` with ``K = Q Lambda Q^T``; the figure of merit is how
long that stays within 10 % of the measured residuals. Long for a kernel that hardly moves, short where it does.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pinntk.callbacks.files import write_arrays, write_figure
from pinntk.callbacks.kernel_points import fixed_batches
from pinntk.callbacks.measurement import Measurement, title
from pinntk.common.arrays import Array
from pinntk.common.memory import Need
from pinntk.discrete.discretization import DiscretizationSettings
from pinntk.methods import Method
from pinntk.network import NetworkSettings
from pinntk.pdes.base import PDE
from pinntk.residual.extent import Extent
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.residuals import Residuals
from pinntk.residual.spectra import Spectrum

ETAS = 4
"""Step sizes at which Lemma 1 is looked at, each half of the one before."""
WITHIN = 0.1


class NTKForecast(Measurement):
    """Writes ``ntk_forecast.npz`` and ``ntk_forecast.png`` when training reaches iteration ``at``.

    In the file: ``eta`` and ``lemma1_error`` (4,); ``time`` (n,), in units of ``1/lambda_max``, ``measured`` and
    ``forecast`` (n, M), residuals in the kernel's eigenbasis, ``error`` (n,), ``|measured - forecast| / |measured|``;
    ``horizon``, the time until which the error stays within 10 %, and ``horizon_loss``, the loss there relative to the
    loss at the start; ``eigenvalues`` (M,), descending.

    Args:
        folder: where to write.
        at: iteration; rounded up to the end of a block of ``log_every``.
        steps: of the gradient descent.
        rate: its step size times the kernel's largest eigenvalue; small, or it is no flow.
        interior: residual points.
        conditions: initial, boundary and periodic points in all.
    """

    file = "ntk_forecast.npz"
    deciding = ("at", "steps", "rate", "interior", "conditions")

    def __init__(
        self,
        folder: str,
        at: int = 0,
        steps: int = 1000,
        rate: float = 0.05,
        interior: int = 100,
        conditions: int = 100,
    ) -> None:
        if at < 0 or min(steps, interior, conditions) < 1 or not 0 < rate <= 1:
            raise ValueError(
                f"at={at}, steps={steps}, rate={rate}, interior={interior}, conditions={conditions}: allowed are"
                " at >= 0, 0 < rate <= 1, and at least 1 of the others"
            )
        super().__init__(folder, every=1)
        self.at, self.steps, self.rate = at, steps, rate
        self.interior, self.conditions = interior, conditions
        self.found = {"done": False}

    def need(self, pde: PDE, network: NetworkSettings, discretization: DiscretizationSettings | None) -> Need:
        """``4 N^2`` numbers: K, its eigenvectors and an eigensolver's workspace; ``6 N`` for every step; and J in
        factors, with the rows that ``gram`` makes. In double precision, whatever the run's."""
        extent = Extent.measured(pde, network, self.interior, self.conditions)
        steps = 6 * extent.matrix(self.steps + 1, extent.rows)
        size = 4 * extent.matrix(extent.rows, extent.rows) + steps + extent.factors + extent.short_rows
        return Need(f"four kernels of {extent.rows:,}^2 numbers", size, by="rows")

    def due(self, method: Method) -> bool:
        # At the ends of whole blocks, as an interruption must not shift it.
        whole = method.iteration % method.settings.log_every == 0 or method.finished
        if self.at == 0:  # has failed at the start; once more at the end
            return not self.found["done"] and method.finished
        return not self.found["done"] and method.iteration >= self.at and whole

    def start(self, method: Method) -> None:
        if self.at == 0 and not self.found["done"]:
            self._forecast(method)

    def measure(self, method: Method) -> None:
        if self.found["done"]:
            return
        if method.iteration - self.at >= method.settings.log_every:
            self.found["done"] = True
            self.say(f"at={self.at} lies behind iteration {method.iteration} and cannot be had")
            return
        self._forecast(method)

    def finish(self, method: Method) -> None:
        """Nothing: what there is has been written when it was found."""

    def _forecast(self, method: Method) -> None:
        found = self.forecast(method)
        write_arrays(self.path, {"iteration": method.iteration, **found})
        self.found["done"] = True
        write_figure(self.picture, plot(found, f"{title(method)}, iteration {method.iteration}"))
        method.log_figures({f"ntk_forecast_{name}": float(found[name]) for name in ("horizon", "horizon_loss")})
        eigenvalues = torch.from_numpy(found["eigenvalues"]).to(method.network.vector().dtype).clamp(min=0)
        self.show_spectrum(method, "ntk_forecast_spectrum", Spectrum(eigenvalues))

    def forecast(self, method: Method) -> dict[str, Array]:
        """Both lemmas at the method's current parameters; the method is left as it is."""
        residuals = Residuals(method.problem, copy.deepcopy(method.network))
        batches = fixed_batches(residuals, self.interior, self.conditions)

        def values() -> Tensor:
            with torch.no_grad():
                return torch.cat(list(residuals(batches).values()))

        jacobian = FactoredJacobian.of(residuals, batches)
        eigenvalues, basis = torch.linalg.eigh(jacobian.gram())
        largest, start, theta = float(eigenvalues[-1]), values(), residuals.network.vector()
        etas = [self.rate / largest / 2**k for k in range(ETAS)]
        errors = []
        for eta in etas:
            residuals.network.assign(theta - eta * jacobian.rmatvec(start))
            change = -eta * jacobian.matvec(jacobian.rmatvec(start))
            errors.append(float((values() - start - change).norm() / change.norm()))
        residuals.network.assign(theta)

        eta, now = self.rate / largest, start
        measured = [basis.T @ start]
        for _ in range(self.steps):
            theta = theta - eta * FactoredJacobian.of(residuals, batches).rmatvec(now)
            residuals.network.assign(theta)
            now = values()
            measured.append(basis.T @ now)
        time = self.rate * np.arange(self.steps + 1)
        decay = torch.exp(-eigenvalues / largest * torch.from_numpy(time).to(eigenvalues)[:, None])
        found = torch.stack(measured)
        forecast = decay * found[0]
        error = ((found - forecast).norm(dim=1) / found.norm(dim=1)).double().cpu().numpy()
        outside = np.flatnonzero(~(error <= WITHIN))
        last = int(outside[0]) - 1 if len(outside) else self.steps
        arrays = {"eigenvalues": eigenvalues, "measured": found, "forecast": forecast}
        return {
            "eta": np.array(etas),
            "lemma1_error": np.array(errors),
            "time": time,
            "error": error,
            "horizon": np.array(time[last]),
            "horizon_loss": np.array(float((found[last].norm() / found[0].norm()) ** 2)),
            **{name: np.ascontiguousarray(a.flip(-1).double().cpu().numpy()) for name, a in arrays.items()},
        }


def plot(found: dict[str, Array], heading: str) -> Figure:
    """Measured and foretold size of some components of the residual, and the error of the whole."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    count = found["measured"].shape[1]
    chosen = sorted({0, min(2, count - 1), min(9, count - 1), min(29, count - 1)})
    for k, mode in enumerate(chosen):
        left.plot(found["time"], np.abs(found["measured"][:, mode]), color=f"C{k}", label=f"mode {mode + 1}")
        left.plot(found["time"], np.abs(found["forecast"][:, mode]), ":", color=f"C{k}")
    left.set(yscale="log", xlabel="t λ_max", title="residual in the eigenbasis (dotted: forecast)")
    left.legend(frameon=False, fontsize=8)
    right.plot(found["time"], found["error"])
    right.axhline(WITHIN, color="0.6", linewidth=1)
    right.set(yscale="log", xlabel="t λ_max", title=f"error of the forecast; within 10 % until {found['horizon']:.3g}")
    figure.suptitle(heading)
    return figure
