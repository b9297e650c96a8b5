"""Measured values at scattered points, from a table or from arrays, as a region on which a term lives."""

from __future__ import annotations

import copy
import csv
import functools
import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.common.errors import allowed
from pinntk.residual.regions import Counts, Domain, Region
from pinntk.residual.shapes import Unit
from pinntk.residual.terms import Term

WEIGHT = "weight"
OUTSIDE = 1e-9
"""How far a point may lie outside the box, in its widths: what a table loses to rounding."""


@dataclass(frozen=True)
class _Taken:
    """The rows that count, within a problem."""

    points: Array
    """(N, d)"""
    known: tuple[Array, ...]
    """Values by column, then the weights, (N,) each."""


class Measurements(Region):
    """The points of a table with the values measured there; all of them are in every draw, in the table's order.

    The table has a column for each coordinate, columns of values and, where it is wanted, one named ``weight``, at
    least 0. A residual on this region gets the values of the columns asked for, then the weights (1 where there are
    none), before the fields of its term. A row counts unless one of these columns has no value there (empty or nan).
    The same point may come several times.

    Args:
        file: ``.csv`` with a header, or ``.npz`` with an array for each column; a relative path starts where the
            problem's own file is.
        columns: of which the values are wanted.

    Example::

        >>> from pinntk.residual.regions import Domain
        >>> table = {"x": [0.1, 0.9, 0.1], "u": [2.0, 3.0, np.nan], "weight": [1.0, 4.0, 1.0]}
        >>> sensors = Measurements.of("sensors", table, "u").within(Domain(("x",), (0.0,), (1.0,)))
        >>> x = torch.from_numpy(sensors.draw(1, None))  # all that have a value
        >>> x.flatten().tolist(), [known.tolist() for known in sensors.data(x)]
        ([0.1, 0.9], [[2.0, 3.0], [1.0, 4.0]])
    """

    whole = True

    def __init__(self, file: str | Path, *columns: str) -> None:
        self.source, self.columns = file, columns
        self.name = f"{file}[{', '.join(columns)}]"
        self._arrays: Mapping[str, Any] | None = None
        self._taken: _Taken | None = None
        self.table: tuple[str, ...] = ()
        """All columns of the table, once it is within a problem."""

    @classmethod
    def of(cls, name: str, arrays: Mapping[str, Any], *columns: str) -> Measurements:
        """The same from arrays (N,) by column, under a name."""
        found = cls(name, *columns)
        found._arrays = arrays
        return found

    def only(self, *columns: str) -> Measurements:
        """The same table with the values of these columns."""
        found = Measurements(self.source, *columns)
        found._arrays = self._arrays
        return found

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Measurements)
            and (self.source, self.columns) == (other.source, other.columns)
            and self._arrays is other._arrays
        )

    def __hash__(self) -> int:
        return hash((self.source, self.columns))

    def within(self, domain: Domain) -> Measurements:
        found, where = copy.copy(self), str(self.source)
        if self._arrays is not None:
            table = _columns(where, self._arrays)
        else:
            path = (domain.folder or Path()) / self.source
            where = str(path)
            try:
                status = path.stat()
            except OSError as error:
                raise ValueError(f"{path}: {error.strerror}; allowed is a .csv or .npz file") from error
            table = _read(path, status.st_mtime_ns, status.st_size)
        found.table, found._taken = tuple(table), _rows(where, table, self.columns, domain)
        content = hashlib.sha256(" ".join(self.columns).encode())
        for array in (found._rows.points, *found._rows.known):
            content.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        found.digest = content.hexdigest()
        return found

    @property
    def _rows(self) -> _Taken:
        if self._taken is None:
            raise ValueError(f"region {self.name!r}: its points are known within a problem")
        return self._taken

    def count(self, counts: Counts) -> int:
        return len(self._rows.points)

    def draw(self, n: int, unit: Unit | None) -> Array:
        return self._rows.points.copy()

    def data(self, points: Tensor) -> tuple[Tensor, ...]:
        if len(points) != len(self._rows.points):
            raise ValueError(f"region {self.name!r}: {len(points)} points; needed are all {len(self._rows.points)}")
        return tuple(torch.from_numpy(known) for known in self._rows.known)


def measured(stream: str, measurements: Measurements, name: str | None = None) -> Term:
    """The term ``measured_<stream>`` of a stream and the table's column of the same name: sqrt(weight) (u - value).

    Args:
        stream: "u", "u_x" ...
        measurements: the table.
        name: of the term, where another is wanted.

    Example::

        >>> from pinntk.residual.regions import Domain
        >>> term = measured("u", Measurements.of("sensors", {"x": [0.5], "u": [2.0], "weight": [9.0]}))
        >>> region = term.region.within(Domain(("x",), (0.0,), (1.0,)))
        >>> x = torch.tensor([[0.5]], dtype=torch.float64)
        >>> term.name, term.residual({"u": torch.tensor([2.5])}, *region.data(x)).tolist()
        ('measured_u', [1.5])
    """

    def residual(values: Mapping[str, Tensor], data: Tensor, weight: Tensor) -> Tensor:
        return weight.sqrt() * (values[stream] - data)

    return Term(name or f"measured_{stream}", measurements.only(stream), (stream,), residual)


@functools.lru_cache(maxsize=8)
def _read(path: Path, changed: int, size: int) -> dict[str, Array]:
    """A file's columns; read again where it has changed."""
    if path.suffix == ".csv":
        return _columns(str(path), _read_csv(path))
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as file:
                return _columns(str(path), {name: file[name] for name in file.files})
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            if str(error).startswith(str(path)):
                raise
            raise ValueError(f"{path}: {error}; allowed is an .npz file with an array of numbers by column") from error
    raise ValueError(f"{path}: ends in {path.suffix!r}; allowed are .csv and .npz")


def _read_csv(path: Path) -> dict[str, list[float]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [(reader.line_num, row) for reader in [csv.reader(file)] for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: {error}; allowed is a table of numbers with commas, in UTF-8") from error
    if not lines:
        raise ValueError(f"{path}: is empty; allowed is a header and at least one row")
    header = [name.strip() for name in lines[0][1]]
    if twice := [name for k, name in enumerate(header) if name in header[:k]]:
        raise ValueError(f"{path}: column {twice[0]!r} comes twice; allowed are names that differ")
    table: dict[str, list[float]] = {name: [] for name in header}
    for number, row in lines[1:]:
        if len(row) != len(header):
            raise ValueError(f"{path}, line {number}: {len(row)} cells; allowed are {len(header)}, as in the header")
        for name, cell in zip(header, row, strict=True):
            try:
                table[name].append(float(cell.strip() or "nan"))
            except ValueError:
                raise ValueError(
                    f"{path}, line {number}, column {name!r}: {cell.strip()!r}; allowed are numbers"
                ) from None
    return table


def _columns(where: str, given: Mapping[str, Any]) -> dict[str, Array]:
    """Arrays (N,) of float64, of one length."""
    table: dict[str, Array] = {}
    for name, values in given.items():
        array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
        if array.dtype.kind not in "fiu":
            raise ValueError(f"{where}, column {name!r}: values of dtype {array.dtype}; allowed are numbers")
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        length = len(next(iter(table.values()))) if table else array.size
        if array.shape != (length,):
            raise ValueError(f"{where}, column {name!r}: shape {array.shape}; allowed is ({length},)")
        table[name] = array.astype(np.float64)
    return table


def _rows(where: str, table: Mapping[str, Array], columns: tuple[str, ...], domain: Domain) -> _Taken:
    """The rows that have all of the columns.

    Raises:
        ValueError: the table is none of measurements of these columns in the domain.
    """
    for name in (*domain.coordinates, *columns):
        if name not in table:
            raise ValueError(f"{where}: no column {name!r} ({allowed(name, table, 'it has')}); allowed is one")
    length = len(table[domain.coordinates[0]])
    if not length:
        raise ValueError(f"{where}: has no row; allowed is at least one")
    weight = table.get(WEIGHT, np.ones(length))
    for name in columns:
        _check(where, name, table[name], ~np.isinf(table[name]), "finite numbers, or none where nothing was measured")
    _check(where, WEIGHT, weight, (weight >= 0) & (weight < np.inf), "finite numbers of at least 0")
    for name, low, high in zip(domain.coordinates, domain.lower, domain.upper, strict=True):
        inside = np.abs(table[name] - (low + high) / 2) <= (high - low) * (0.5 + OUTSIDE)
        _check(where, name, table[name], inside, f"numbers from {low:g} to {high:g}, the problem's box")
    has = np.isfinite([table[name] for name in columns]).all(axis=0) if columns else np.ones(length, dtype=bool)
    if not has.any():
        raise ValueError(f"{where}: no row has a value in {', '.join(columns)}; allowed is at least one")
    points = np.stack([table[name][has] for name in domain.coordinates], axis=1)
    return _Taken(points, (*(table[name][has] for name in columns), weight[has]))


def _check(where: str, column: str, values: Array, right: Any, words: str) -> None:
    """ValueError where a value is not right, (N,) bool; it names the first."""
    if not right.all():
        k = int(np.flatnonzero(~right)[0])
        raise ValueError(f"{where}, column {column!r}: {values[k]:g} in row {k + 1}; allowed are {words}")
