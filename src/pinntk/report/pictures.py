"""The report's pictures: which there are, as PNG, with what is to be said below each."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from pinntk.report import hessian, kernel
from pinntk.report.curves import curves
from pinntk.report.reading import Run
from pinntk.report.series import Series, find_series
from pinntk.report.steps import steps
from pinntk.report.table import Row, Table, method_title
from pinntk.report.text import number

SECTIONS = (
    *("Figure 1", "Error and loss along the training", "Steps of Gauss-Newton", "Solutions"),
    *("Kernel spectra", "Hessian spectra"),
)
UNREADABLE = (OSError, EOFError, ValueError, KeyError, IndexError, zipfile.BadZipFile, zlib.error)
"""What a file that is damaged, or not ours, may cause."""


@dataclass(frozen=True)
class Picture:
    """A picture of the report.

    Attributes:
        name: of its files, without a suffix.
        section: of the page.
        title: what it shows.
        caption: what must be known to read it.
        png: the picture itself.
        numbers: those of the figure, as lines of a CSV file; empty where there are none.
    """

    name: str
    section: str
    title: str
    caption: str
    png: bytes
    numbers: Sequence[Sequence[object]] = ()


def pictures(runs: Sequence[Run], table: Table, complain: Callable[[str], None]) -> list[Picture]:
    """All pictures for which the run folders hold the data.

    Args:
        runs: all that were found.
        table: of the same.
        complain: is told, in a line, what could not be drawn.
    """
    made: list[Picture] = []
    makers: list[tuple[str, Callable[[], Iterator[Picture]]]] = [
        ("Figure 1a", partial(_kernel, runs)),
        ("Figure 1b", partial(_hessian, runs)),
        *((f"curves of {row.title}", partial(_curves, row)) for row in table.rows),
        *((f"steps of {row.title}", partial(_steps, row)) for row in table.rows),
        *((f"solutions of {row.title}", partial(_solutions, row)) for row in table.rows),
    ]
    for what, make in makers:
        try:
            made += make()
        except UNREADABLE as error:
            complain(f"{what}: cannot be drawn: {str(error) or error!r}".splitlines()[0])
    return sorted(made, key=lambda picture: SECTIONS.index(picture.section))


def _kernel(runs: Sequence[Run]) -> Iterator[Picture]:
    series = find_series(runs, kernel.CALLBACK)
    caption = (
        "Drift of the neural tangent kernel along the training, for each width m: mean over the completed trials, and"
        " one standard deviation to either side."
    )
    yield from _figure_1("a", series, kernel.figure_1a, kernel.COLUMNS, caption)
    caption = (
        "Eigenvalues of the kernel and of its diagonal blocks at the start (dashed) and at the end of the training,"
        " for each width m; of the trial with the lowest seed. What lies below 1e-16 of the largest is rounding."
    )
    yield from _spectra("Kernel", series, kernel.kernel_spectra, caption)


def _hessian(runs: Sequence[Run]) -> Iterator[Picture]:
    series = find_series(runs, hessian.CALLBACK)
    caption = (
        "Spectral norm of the Hessian of L_r where the runs began, the part of it beyond Gauss-Newton, and, where the"
        " whole matrix was looked at, its share of large entries (Theorem 3); mean over the completed trials, and one"
        " standard deviation to either side."
    )
    yield from _figure_1("b", series, hessian.figure_1b, hessian.COLUMNS, caption)
    caption = (
        "Share of the Hessian's eigenvalues above a value, for L_r and the whole loss L, at the start and at"
        " the end of the training, for each width m; of the trial with the lowest seed."
    )
    yield from _spectra("Hessian", series, hessian.hessian_spectra, caption)


def _figure_1(
    part: str,
    series: Sequence[Series],
    draw: Callable[[Sequence[Series]], tuple[Figure, list[list[Any]]]],
    columns: Sequence[str],
    caption: str,
) -> Iterator[Picture]:
    """Of all problems together; none where there are no series."""
    if series:
        figure, rows = draw(series)
        yield Picture(f"fig1{part}", "Figure 1", f"Figure 1{part}", caption, png(figure), [columns, *rows])


def _spectra(
    matrix: str, series: Sequence[Series], draw: Callable[[Sequence[Series]], Figure | None], caption: str
) -> Iterator[Picture]:
    """One per problem that has any."""
    for problem in dict.fromkeys(one.problem for one in series):
        figure = draw([one for one in series if one.problem == problem])
        if figure is not None:
            yield Picture(f"{matrix.lower()}_{slug(problem)}", f"{matrix} spectra", problem, caption, png(figure))


def _curves(row: Row) -> Iterator[Picture]:
    drawn = curves(row)
    if drawn is None:
        return
    figure, untimed = drawn
    caption = "A line per trial, a colour per setting. Losses of different methods are different functions."
    if untimed:
        caption += f" {untimed} of the trials recorded no times and are missing on the left."
    yield Picture(f"curves_{slug(row.title)}", "Error and loss along the training", row.title, caption, png(figure))


def _steps(row: Row) -> Iterator[Picture]:
    figure = steps(row)
    if figure is not None:
        caption = (
            "A line per trial, a colour per setting. Thin: the gain ratio that was asked of the step. Steps that were"
            " not taken have a radius only, and a λ of 0, the minimiser within the radius, is not shown."
        )
        yield Picture(f"steps_{slug(row.title)}", "Steps of Gauss-Newton", row.title, caption, png(figure))


def _solutions(row: Row) -> Iterator[Picture]:
    for method, cell in row.cells.items():
        run = cell.settings[0].best_run if cell.settings else None
        if run is None or not (run.folder / "solution.png").is_file():
            continue
        title = f"{row.title}, {method_title(method)}"
        of = f"seed {run.seed} of {run.settings_hash}"
        if run.reference_known:
            caption = f"The trial with the lowest error: {of}, L2RE {number(run.l2re)}."
        else:
            caption = f"No reference is known: the trial with the lowest loss, {of}."
        picture = (run.folder / "solution.png").read_bytes()
        yield Picture(f"solution_{slug(row.title)}_{method}", "Solutions", title, caption, picture)


def slug(title: str) -> str:
    """A title as part of a file name: "wave, a = 4" -> "wave_a_4"."""
    return re.sub(r"[^\w.-]+", "_", title)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=130)
    return out.getvalue()
