"""Writing what a callback found: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave

from pinntk.common.arrays import Array


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Another name in the same folder: renamed to ``path`` once it is written, removed where that fails."""
    part = path.with_suffix(f".part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Compressed, as an .npz file."""
    with _whole(path) as part:
        np.savez_compressed(part, **arrays)


def write_figure(path: Path, figure: Figure) -> None:
    """As a .png file."""
    with _whole(path) as part:
        figure.savefig(part, dpi=130)


def write_pixels(path: Path, values: Array, scale: Array) -> None:
    """As a .png file, a pixel for each value, the first row lowest; the colours span the range of ``scale``."""
    with _whole(path) as part:
        imsave(part, values, vmin=scale.min(), vmax=scale.max(), origin="lower")
