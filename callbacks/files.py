"""Writing what a callback found: whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.image import imsave

from pinntk.common.arrays import Array
from pinntk.common.files import write_atomically


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Compressed, as an .npz file."""
    write_atomically(path, lambda unfinished: np.savez_compressed(unfinished, **arrays))


def write_figure(path: Path, figure: Figure) -> None:
    """As a .png file."""
    write_atomically(path, lambda unfinished: figure.savefig(unfinished, dpi=130))


def write_pixels(path: Path, values: Array, scale: Array) -> None:
    """As a .png file, a pixel for each value, the first row lowest; the colours span the range of ``scale``, and NaN is
    white."""
    colours: dict[str, Any] = {"vmin": np.nanmin(scale), "vmax": np.nanmax(scale), "origin": "lower"}
    colours["cmap"] = colormaps["viridis"].with_extremes(bad="white")
    write_atomically(path, lambda unfinished: imsave(unfinished, values, **colours))
