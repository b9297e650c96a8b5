"""Writing what a callback found: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure


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
