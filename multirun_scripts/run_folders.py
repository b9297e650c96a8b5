"""What the scripts of this folder share: reading run folders, and a table written whole or not at all."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pinntk.report.write import lines_of, put

Array = NDArray[np.float64]


def chosen(default: str) -> Path:
    """The folder that the command line names."""
    return Path(sys.argv[1] if len(sys.argv) > 1 else default)


def results(folder: Path, file: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Run folders of completed runs with this file, in order, and what is in their result.json."""
    for path in sorted(folder.rglob(file)):
        record = path.parent / "result.json"
        if record.exists():  # another process may be at work on it
            result = json.loads(record.read_text())
            if result["status"] == "completed":
                yield path.parent, result


def saved(folder: Path, file: str) -> Iterator[tuple[dict[str, Any], Mapping[str, Array]]]:
    """What is in result.json and in this .npz file of all runs that have it; an array is read when it is asked for."""
    for run, result in results(folder, file):
        with np.load(run / file) as arrays:
            yield result, arrays


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table, put in its place when it is complete."""
    put(path, lines_of([header, *rows]))
