"""How far the neural tangent kernel moves while a network trains (paper, Figure 1a and Remark 2)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from pinntk.callbacks.files import write_arrays, write_figure
from pinntk.callbacks.kernel_points import fixed_batches, interior_rows
from pinntk.callbacks.measurement import Measurement
from pinntk.common.arrays import Array
from pinntk.common.plots import eigenvalues
from pinntk.methods import Method
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.residuals import Residuals
from pinntk.residual.spectra import Spectrum, spectral_norm

BLOCKS = ("K", "K_uu", "K_rr")
FIGURES = ("drift", "largest", "smallest", "effective_rank")


class NTKDrift(Measurement):
    """``Delta K(t) = |K(0) - K(t)|_2 / |K(0)|_2`` on fixed points, for K and for its diagonal blocks K_uu and K_rr.

    Written to ``ntk_drift.npz`` when training ends, and drawn in ``ntk_drift.png``: ``iteration`` (n,); ``drift``,
    ``largest``, ``smallest`` and ``effective_rank`` of the kernel (n, 3) for K, K_uu, K_rr (`Spectrum`),
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

    file = "ntk_drift.npz"

    def __init__(
        self, folder: str, every: int = 100, interior: int = 300, conditions: int = 300, keep_kernel: bool = False
    ) -> None:
        if min(every, interior, conditions) < 1:
            raise ValueError(f"every={every}, interior={interior}, conditions={conditions}: must be at least 1")
        super().__init__(folder, every)
        self.interior, self.conditions = interior, conditions
        self.keep_kernel = keep_kernel
        self.iterations: list[int] = []
        self.figures: dict[str, list[list[float]]] = {name: [] for name in FIGURES}
        self._start_kernel: dict[str, Tensor] = {}

    def arguments(self) -> dict[str, Any]:
        return {"interior": self.interior, "conditions": self.conditions}

    def start(self, method: Method) -> None:
        self._start_kernel = self.kernel(method)
        self.measure(method)

    def finish(self, method: Method) -> None:
        ends = self.kernel(method)
        spectra = {
            f"spectrum_{when}_{name}": Spectrum.of(block).values.numpy()
            for when, blocks in (("start", self._start_kernel), ("end", ends))
            for name, block in blocks.items()
        }
        figures = {name: np.array(values) for name, values in self.figures.items()}
        arrays: dict[str, Any] = {"iteration": np.array(self.iterations), **figures, **spectra}
        if self.keep_kernel:
            arrays["kernel_start"] = self._start_kernel["K"].numpy()
        write_arrays(self.folder / self.file, arrays)
        figure = draw(arrays["iteration"], arrays["drift"], spectra, method)
        write_figure(self.folder / "ntk_drift.png", figure)

    def kernel(self, method: Method) -> dict[str, Tensor]:
        """K, K_uu and K_rr at the method's current parameters, on the CPU."""
        residuals = Residuals(method.pde, copy.deepcopy(method.network).double())
        jacobian = FactoredJacobian.of(residuals, fixed_batches(residuals, self.interior, self.conditions))
        kernel = jacobian.gram().cpu()
        inside = interior_rows(jacobian, residuals)
        return {"K": kernel, "K_uu": kernel[~inside][:, ~inside], "K_rr": kernel[inside][:, inside]}

    def measure(self, method: Method) -> None:
        now = self.kernel(method) if self.iterations else self._start_kernel
        spectra = [Spectrum.of(now[name]) for name in BLOCKS]
        found = {figure: [getattr(spectrum, figure) for spectrum in spectra] for figure in FIGURES[1:]}
        norms = zip(BLOCKS, self.figures["largest"][0] if self.iterations else found["largest"], strict=True)
        found = {"drift": [spectral_norm(now[name] - self._start_kernel[name]) / norm for name, norm in norms], **found}
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

    def record(self) -> dict[str, Any]:
        return {"iterations": self.iterations, "figures": self.figures, "start": self._start_kernel}

    def restore(self, record: Mapping[str, Any]) -> None:
        self.iterations, self._start_kernel = list(record["iterations"]), record["start"]
        self.figures = {name: list(values) for name, values in record["figures"].items()}


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
