"""What the scripts of this folder share: the runs they are about, and a figure beside its numbers."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from pinntk.common.errors import BadInput
from pinntk.common.files import write_atomically
from pinntk.report.pictures import png
from pinntk.report.reading import Run, find_runs
from pinntk.report.write import lines_of


def completed(default: str, file: str, script: str) -> tuple[Path, list[Run]]:
    """The folder that the command line names, and the completed runs in it that hold a file; ends where there are none.

    Args:
        default: the folder where the command line names none.
        file: its name in the run folders.
        script: of this folder, which makes such runs.
    """
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else default)
    try:
        runs, _ = find_runs(folder)
    except BadInput as error:
        sys.exit(str(error))
    found = [run for run in runs if run.status == "completed" and (run.folder / file).is_file()]
    if not found:
        sys.exit(f"no {file} in {folder}; multirun_scripts/{script} makes them")
    return folder, found


def write_figure(path: Path, figure: Figure, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """``<path>.png`` and its numbers, ``<path>.csv``, each put in its place when it is complete."""
    write_atomically(path.with_suffix(".png"), partial(Path.write_bytes, data=png(figure)))
    write_atomically(path.with_suffix(".csv"), partial(Path.write_bytes, data=lines_of([header, *rows])))
