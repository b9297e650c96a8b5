"""How far the neural tangent kernel moves while a network trains (paper, Figure 1a and Remark 2)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from matplotlib.figure import Figure
from torch import Tensor

from pinntk.callbacks.files import write_arrays, write_figure
from pinntk.callbacks.kernel_points import fixed_batches, interior_rows
from pinntk.methods import Method
from pinntk.ntk import FactoredJacobian
from pinntk.pdes.base import Array
from pinntk.plots import eigenvalues
from pinntk.residuals import Residuals
from pinntk.spectra import Spectrum, spectral_norm

BLOCKS = ("K", "K_uu", "K_rr")
FIGURES = ("drift", "largest", "smallest", "effective_rank")


class NTKDrift(pl.Callback):
    """``Delta K(t) = |K(0) - K(t)|_2 / |K(0)|_2`` on fixed points, for K and for its diagonal blocks K_uu and K_rr.

    Written to ``ntk_drift.npz`` when training ends, and drawn in ``ntk_drift.png``: ``iteration`` (n,); ``drift``,
    ``largest``, ``smallest`` and ``effective_rank`` of the kernel (n, 3) for K, K_uu, K_rr (`pinntk.spectra.Spectrum`),
    nan for K_uu where a problem has no conditions;
    ``spectrum_start_<block>`` and ``spectrum_end_<block>`` (descending eigenvalues), and with ``keep_kernel`` the
    kernel at the start, ``kernel_start`` (N, N). Kernels are computed in float64 whatever the run's precision.

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
        self.figures: dict[str, list[list[float]]] = {name: [] for name in FIGURES}
        self._start: dict[str, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        if not self.iterations:
            self._measure(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Method)
        if pl_module.due(self.every, self.iterations[-1]):
            self._measure(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        ends = self.kernel(pl_module)
        spectra = {
            f"spectrum_{when}_{name}": Spectrum.of(block).values.numpy()
            for when, blocks in (("start", self._start), ("end", ends))
            for name, block in blocks.items()
        }
        figures = {name: np.array(values) for name, values in self.figures.items()}
        arrays: dict[str, Any] = {"iteration": np.array(self.iterations), **figures, **spectra}
        if self.keep_kernel:
            arrays["kernel_start"] = self._start["K"].numpy()
        write_arrays(self.folder / "ntk_drift.npz", arrays)
        figure = draw(arrays["iteration"], arrays["drift"], spectra, pl_module)
        write_figure(self.folder / "ntk_drift.png", figure)

    def kernel(self, method: Method) -> dict[str, Tensor]:
        """K, K_uu and K_rr at the method's current parameters, on the CPU."""
        residuals = Residuals(method.pde, copy.deepcopy(method.network).double())
        jacobian = FactoredJacobian.of(residuals, fixed_batches(residuals, self.interior, self.conditions))
        kernel = jacobian.gram().cpu()
        inside = interior_rows(jacobian, residuals)
        return {"K": kernel, "K_uu": kernel[~inside][:, ~inside], "K_rr": kernel[inside][:, inside]}

    def _measure(self, method: Method) -> None:
        now = self.kernel(method)
        if not self._start:
            self._start = now
        spectra = [Spectrum.of(now[name]) for name in BLOCKS]
        found = {figure: [getattr(spectrum, figure) for spectrum in spectra] for figure in FIGURES[1:]}
        norms = zip(BLOCKS, self.figures["largest"][0] if self.iterations else found["largest"], strict=True)
        found = {"drift": [spectral_norm(now[name] - self._start[name]) / norm for name, norm in norms], **found}
        self.iterations.append(method.iteration)
        for figure, values in found.items():
            self.figures[figure].append(values)
        named = {
            f"ntk_{figure}_{name}": value
            for figure, values in found.items()
            for name, value in zip(BLOCKS, values, strict=True)
            if len(now[name])  # K_uu has no rows where a problem has no conditions
        }
        for logger in method.loggers:
            logger.log_metrics(named, step=method.iteration)

    def state_dict(self) -> dict[str, Any]:
        return {"iterations": self.iterations, "figures": self.figures, "start": self._start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.iterations, self._start = list(state_dict["iterations"]), state_dict["start"]
        self.figures = {name: list(values) for name, values in state_dict["figures"].items()}


def draw(iterations: Array, drift: Array, spectra: dict[str, Array], method: Method) -> Figure:
    """The drift along the training, and the spectra at its start and end."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    curves = {}
    for k, name in enumerate(BLOCKS):
        if not np.isnan(drift[:, k]).all():
            left.plot(iterations, drift[:, k], label=name, color=f"C{k}")
        for when, line in (("start", "--"), ("end", "-")):
            curves[f"{name}, {when}"] = spectra[f"spectrum_{when}_{name}"], {"color": f"C{k}", "linestyle": line}
    eigenvalues(right, curves)
    left.set(xlabel="iteration", ylabel="‖K(0) − K(t)‖₂ / ‖K(0)‖₂", ylim=(0, None))
    left.legend(frameon=False)
    right.legend(frameon=False, fontsize=8)
    width = getattr(method.network, "width", "")
    figure.suptitle(f"{method.pde.name}, {method.name}, width {width}")
    return figure
