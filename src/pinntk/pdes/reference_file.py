"""A reference solution that a file holds: a table (.csv) or arrays (.npz) of coordinates and fields by their names."""

from __future__ import annotations

import csv
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pinntk.common.arrays import Array
from pinntk.pdes.references import Reference

ENDINGS = (".csv", ".npz")
DAMAGED = (OSError, EOFError, ValueError, csv.Error, zipfile.BadZipFile, zlib.error)
"""What reading a file that is damaged, or another, may cause."""


@dataclass(frozen=True, eq=False)
class PartialReference(Reference):
    """A reference solution of which NaN among the values stands for one that is not known, as outside of the domain.

    The error is measured without these values. In any other a NaN is refused, as what it mostly is: a mistake.
    The accuracy is NaN where it is not known.

    Example::

        >>> half = PartialReference(np.array([1.0, np.nan]))
        >>> half.values.tolist(), half.accuracy
        ([1.0, nan], nan)
    """

    accuracy: float = math.nan


@dataclass(frozen=True, eq=False)
class ReferenceTable:
    """What a file holds; the arrays are float64 and read-only.

    Attributes:
        points: (n, d); of a grid the last coordinate is the fastest, whatever their order in the file.
        values: (n,); of F fields (n, F). NaN where a value is not known.
        axes: of the grid that the points are, ascending; None where they are scattered.
        accuracy: that the file states; NaN where it states none.
    """

    points: Array
    values: Array
    axes: tuple[Array, ...] | None
    accuracy: float


def read_reference(path: Path, coordinates: Sequence[str], fields: Sequence[str]) -> ReferenceTable:
    r"""Read the file; of one that has not changed since it was read last, what was read then.

    ``.csv``: a head with the names of all coordinates and fields, in any order and among others, then a row for each
    point. ``.npz``: arrays by these names, either all of one shape, an entry for each point, or the axes of a grid,
    1-D, and fields of the grid's shape; a number ``accuracy`` where there is one. A field's NaN (in a table also an
    empty cell) is a value that is not known. Points that make a full grid are one, also in a table.

    Raises:
        ValueError: it cannot be read or holds something else; one line, with the file and the column.

    Example::

        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "known.csv")
        ...     _ = path.write_text("t,x,u\n0,1,10\n0,2,20\n5,1,nan\n5,2,40\n")
        ...     table = read_reference(path, ["x", "t"], ["u"])
        >>> [axis.tolist() for axis in table.axes], table.values.tolist()
        ([[1.0, 2.0], [0.0, 5.0]], [10.0, nan, 20.0, 40.0])
    """
    try:
        state = path.stat()
        return _read(path, state.st_mtime_ns, state.st_size, tuple(coordinates), tuple(fields))
    except DAMAGED as error:
        text = " ".join(str(error.strerror if isinstance(error, OSError) else error).split())
        more = "" if "allowed" in text else f"; allowed is a {' or '.join(ENDINGS)} file that can be read"
        raise ValueError(f"reference_file={path}: {text}{more}") from error


@lru_cache(maxsize=4)
def _read(path: Path, changed: int, size: int, coordinates: tuple[str, ...], fields: tuple[str, ...]) -> ReferenceTable:
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"is a {path.suffix or 'file without an ending'}; allowed are {', '.join(ENDINGS)}")
    names = (*coordinates, *fields)
    if path.suffix.lower() == ".csv":
        columns, accuracy = _of_csv(path, names), math.nan
    else:
        columns, accuracy = _of_npz(path, coordinates, fields)
    if not len(columns[0]):
        raise ValueError("holds no point; allowed is at least one")
    for name, column in zip(names, columns, strict=True):
        allowed = "finite numbers" + (", or NaN where it is not known" if name in fields else "")
        bad = ~np.isfinite(column) if name in coordinates else np.isinf(column)
        if bad.any():
            place = int(bad.nonzero()[0][0])
            raise ValueError(f"column {name!r}: came {column[place]} (point {place + 1}); allowed are {allowed}")
    points = np.stack(columns[: len(coordinates)], axis=1)
    values = np.stack(columns[len(coordinates) :], axis=1)
    axes, order = _grid(points)
    points, values = points[order], values[order]
    if len(fields) == 1:
        values = values[:, 0]
    for array in (points, values, *(axes or ())):
        array.flags.writeable = False
    return ReferenceTable(points, values, axes, accuracy)


def _of_csv(path: Path, names: Sequence[str]) -> list[Array]:
    """A table's columns of these names."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    # numpy.savetxt puts "# " before its head.
    head = [name.strip() for name in ",".join(rows[0][1]).removeprefix("#").split(",")] if rows else []
    _check_names(head, names)
    rows = rows[1:]
    for line, row in rows:
        if len(row) != len(head):
            raise ValueError(f"line {line}: came {len(row)} cells; allowed are {len(head)}, one for each column")
    return [_column(name, [(line, row[head.index(name)].strip()) for line, row in rows]) for name in names]


def _column(name: str, cells: Sequence[tuple[int, str]]) -> Array:
    try:
        return np.array([float(text or "nan") for _, text in cells])
    except ValueError:
        line, text = next((line, text) for line, text in cells if not _is_number(text))
        raise ValueError(f"line {line}, column {name!r}: came {text!r}; allowed are numbers") from None


def _is_number(text: str) -> bool:
    try:
        float(text or "nan")
    except ValueError:
        return False
    return True


def _of_npz(path: Path, coordinates: Sequence[str], fields: Sequence[str]) -> tuple[list[Array], float]:
    """The arrays of these names as columns, an entry for each point; and the accuracy."""
    names = (*coordinates, *fields)
    if not zipfile.is_zipfile(path):
        raise ValueError("is no .npz file; allowed is one that numpy.savez makes")
    with path.open("rb") as file, np.load(file) as saved:  # of a damaged file numpy would leave it open
        _check_names(saved.files, names)
        arrays = {name: _real(saved, name) for name in names}
        accuracy = _real(saved, "accuracy") if "accuracy" in saved.files else None
    if accuracy is not None and (accuracy.size != 1 or not 0 <= accuracy.item() < math.inf):
        raise ValueError(f"column 'accuracy': came {accuracy.tolist()}; allowed is one finite number, at least 0")
    shapes = {name: array.shape for name, array in arrays.items()}
    grid = tuple(arrays[c].size for c in coordinates)
    if len(set(shapes.values())) == 1 and shapes[names[0]]:
        columns = [arrays[name].reshape(-1) for name in names]
    elif all(len(shapes[c]) == 1 for c in coordinates) and all(shapes[f] == grid for f in fields):
        for c in coordinates:
            if len(np.unique(arrays[c])) < len(arrays[c]):
                raise ValueError(f"column {c!r}: has a value twice; allowed in the axis of a grid are different ones")
        points = np.meshgrid(*(arrays[c] for c in coordinates), indexing="ij")
        columns = [array.reshape(-1) for array in (*points, *(arrays[f] for f in fields))]
    else:
        came = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"came with shapes {came}; allowed are all of one shape (a value for each point), or 1-D"
            f" {', '.join(coordinates)} and fields of their grid's shape {grid}"
        )
    return columns, math.nan if accuracy is None else float(accuracy.item())


def _real(saved: Mapping[str, NDArray[np.generic]], name: str) -> Array:
    try:
        array = saved[name]
    except ValueError:  # numpy's text advises to load objects, which may be programs, all the same
        raise ValueError(f"column {name!r}: came as objects; allowed are real numbers") from None
    if array.dtype.kind not in "fiu":
        raise ValueError(f"column {name!r}: came as {array.dtype}; allowed are real numbers")
    return array.astype(np.float64)


def _check_names(came: Sequence[str], names: Sequence[str]) -> None:
    for name in names:
        if came.count(name) != 1:
            what = "is missing" if name not in came else "is there twice"
            listed = ", ".join(came) if came else "none"
            raise ValueError(f"column {name!r}: {what}; came {listed}; allowed are {', '.join(names)}, and others")


def _grid(points: Array) -> tuple[tuple[Array, ...] | None, NDArray[np.intp]]:
    """The axes of the grid that points are in some order, and that order; None where they are none."""
    found = [np.unique(column, return_inverse=True) for column in points.T]
    shape = tuple(len(axis) for axis, _ in found)
    if math.prod(shape) == len(points) and min(shape) > 1:
        places = np.ravel_multi_index([place.reshape(-1) for _, place in found], shape)
        order = np.argsort(places, kind="stable")
        if np.array_equal(places[order], np.arange(len(points))):
            return tuple(axis for axis, _ in found), order
    return None, np.arange(len(points))
