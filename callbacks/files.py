"""Writing what a callback found: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave

from pinntk.pdes.base import Array


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Compressed, as an .npz file."""
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, **arrays)
    os.replace(part, path)


def write_figure(path: Path, figure: Figure) -> None:
    """As a .png file."""
    part = path.with_suffix(".part.png")
    figure.savefig(part, dpi=130)
    os.replace(part, path)


def write_pixels(path: Path, values: Array, scale: Array) -> None:
    """As a .png file, a pixel for each value, the first row lowest; the colours span the range of ``scale``."""
    part = path.with_suffix(".part.png")
    imsave(part, values, vmin=scale.min(), vmax=scale.max(), origin="lower")
    os.replace(part, path)
