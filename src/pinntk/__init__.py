"""Physics-informed neural networks: optimisers, kernels, preconditioners and Hessians of one residual function."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pinntk.common.moved import find_moved

if TYPE_CHECKING:
    from pinntk.runs.trained import TrainedRun

__version__ = "0.2.0.dev0"
__all__ = ["__version__", "load"]

find_moved()


def load(folder: str | os.PathLike[str]) -> TrainedRun:
    """Load the trained network of a run folder.

    Args:
        folder: a run folder, ``runs/<pde>/<method>/<width>/<budget>/<settings hash>/seed<k>``.

    Returns:
        An object with ``predict(points)``, ``derivatives(points, "u_x", ...)``, ``residuals(points, region)``, ``pde``,
        ``result`` and ``method``, whose ``network`` is a module of torch.

    Raises:
        FileNotFoundError: the folder has no configuration or no checkpoint.
        ValueError: one of them cannot be read.

    Example::

        run = pinntk.load("runs/burgers/adam/w50/laptop/0123456789ab/seed0")
        u = run.predict(np.array([[0.5, 1.0]]))  # at x = 0.5, t = 1
    """
    from pinntk.runs.trained import load as load_run  # imports torch: only when it is needed

    return load_run(folder)
