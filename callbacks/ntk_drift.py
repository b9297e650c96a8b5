"""How far the neural tangent kernel moves while a network trains (paper, Figure 1a and Remark 2)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pinntk.callbacks.kernel_points import fixed_batches, interior_rows
from pinntk.methods import Method
from pinntk.ntk import FactoredJacobian, spectral_norm
from pinntk.pdes.base import Array

BLOCKS = ("K", "K_uu", "K_rr")


class NTKDrift(pl.Callback):
    """``Delta K(t) = |K(0) - K(t)|_2 / |K(0)|_2`` on fixed points, for K and for its diagonal blocks K_uu and K_rr.

    Written to ``ntk_drift.npz`` when training ends, and drawn in ``ntk_drift.png``: ``iteration`` (n,), ``drift``
    (n, 3) for K, K_uu, K_rr, ``spectrum_start_<block>`` and ``spectrum_end_<block>`` (descending eigenvalues), and with
    ``keep_kernel`` the kernel at the start, ``kernel_start`` (N, N).

    Args:
        folder: where to write.
        every: iterations between two measurements; rounded up to the method's blocks of ``log_every``.
        interior: residual points.
        conditions: initial, boundary and periodic points in all.
        keep_kernel: save K(0) as well, for the spread over seeds.
    """

    def __init__(
        self, folder: str, every: int = 100, interior: int = 300, conditions: int = 300, keep_kernel: bool = False
    ) -> None:
        if min(every, interior, conditions) < 1:
            raise ValueError(f"every={every}, interior={interior}, conditions={conditions}: must be at least 1")
        self.folder = Path(folder)
        self.every, self.interior, self.conditions = every, interior, conditions
        self.keep_kernel = keep_kernel
        self.iterations: list[int] = []
        self.drift: list[list[float]] = []
        self._start: dict[str, Tensor] = {}
        self._norms: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        if not self._start:
            self._start = self.kernel(pl_module)
        self._norms = {name: spectral_norm(block) for name, block in self._start.items()}
        if not self.iterations:
            self._measure(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Method)
        if pl_module.due(self.every, self.iterations[-1]) or (
            pl_module.finished and pl_module.iteration != self.iterations[-1]
        ):
            self._measure(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        ends = self.kernel(pl_module)
        spectra = {
            f"spectrum_{when}_{name}": descending(block)
            for when, blocks in (("start", self._start), ("end", ends))
            for name, block in blocks.items()
        }
        arrays: dict[str, Any] = {"iteration": self.iterations, "drift": np.array(self.drift), **spectra}
        if self.keep_kernel:
            arrays["kernel_start"] = self._start["K"].numpy()
        part = self.folder / "ntk_drift.part.npz"
        np.savez_compressed(part, **arrays)
        os.replace(part, self.folder / "ntk_drift.npz")
        picture = self.folder / "ntk_drift.part.png"
        draw(np.array(self.iterations), np.array(self.drift), spectra, pl_module).savefig(picture, dpi=130)
        os.replace(picture, self.folder / "ntk_drift.png")

    def kernel(self, method: Method) -> dict[str, Tensor]:
        """K, K_uu and K_rr at the method's current parameters, float64, on the CPU."""
        batches = fixed_batches(method, self.interior, self.conditions)
        jacobian = FactoredJacobian.of(method.residuals, batches)
        kernel = jacobian.gram().double().cpu()
        inside = interior_rows(jacobian, method.residuals)
        return {"K": kernel, "K_uu": kernel[~inside][:, ~inside], "K_rr": kernel[inside][:, inside]}

    def _measure(self, method: Method) -> None:
        now = self.kernel(method)
        drift = [spectral_norm(now[name] - self._start[name]) / self._norms[name] for name in BLOCKS]
        self.iterations.append(method.iteration)
        self.drift.append(drift)
        figures = {f"ntk_drift_{name}": value for name, value in zip(BLOCKS, drift, strict=True)}
        for logger in method.loggers:
            logger.log_metrics(figures, step=method.iteration)

    def state_dict(self) -> dict[str, Any]:
        return {"iterations": self.iterations, "drift": self.drift, "start": self._start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.iterations, self.drift = list(state_dict["iterations"]), list(state_dict["drift"])
        self._start = state_dict["start"]


def descending(matrix: Tensor) -> Array:
    """Eigenvalues of a symmetric matrix, the largest first."""
    return np.asarray(torch.linalg.eigvalsh(matrix).flip(0).numpy())


def draw(iterations: Array, drift: Array, spectra: dict[str, Array], method: Method) -> Figure:
    """The drift along the training, and the spectra at its start and end."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for k, name in enumerate(BLOCKS):
        left.plot(iterations, drift[:, k], label=name)
        for when, style in (("start", "--"), ("end", "-")):
            values = np.maximum(spectra[f"spectrum_{when}_{name}"], 1e-300)
            right.plot(np.arange(1, len(values) + 1), values, style, color=f"C{k}", label=f"{name}, {when}")
    left.set(xlabel="iteration", ylabel="‖K(0) − K(t)‖₂ / ‖K(0)‖₂", ylim=(0, None))
    left.legend(frameon=False)
    top = max(float(values[0]) for values in spectra.values())
    right.set(xscale="log", yscale="log", ylim=(1e-16 * top, 3 * top), xlabel="number", ylabel="eigenvalue")
    right.legend(frameon=False, fontsize=8)
    width = getattr(method.network, "width", "")
    figure.suptitle(f"{method.pde.name}, {method.name}, width {width}")
    return figure
