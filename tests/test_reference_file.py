"""References that a file holds: what it may look like, what is made of it, and the line about any other."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import Cooling, Saddle, Unsolved, line_of, made

from pinntk.common.arrays import Array
from pinntk.common.fingerprint import changes, fingerprint
from pinntk.pdes import PDE, PartialReference
from pinntk.pdes.declaration import check, reference_of
from pinntk.pdes.reference_file import read_reference

X, T = np.array([0.0, 0.25, 1.0]), np.array([0.0, 0.5, 0.75, 1.0])


def on_grid(function: Callable[[Array, Array], Array]) -> Array:
    """Values at X x T by two loops: (12,), t fastest."""
    return np.array([float(function(x, t)) for x in X for t in T])


def u(x: Array, t: Array) -> Array:
    return np.exp(-t) * (1 + x)


def v(x: Array, t: Array) -> Array:
    return np.asarray(x - 2 * t)


def write_csv(path: Path, head: str, rows: Sequence[Sequence[object]]) -> Path:
    path.write_text("\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


POINTS = np.array([(x, t) for x in X for t in T])


def test_a_scattered_table_keeps_its_order(tmp_path: Path) -> None:
    points = np.random.default_rng(0).random((30, 2))
    rows = [[repr(float(value)) for value in (v(x, t), t, u(x, t), x)] for x, t in points]
    table = read_reference(write_csv(tmp_path / "a.csv", "v,t,u,x", rows), ["x", "t"], ["u", "v"])
    assert np.array_equal(table.points, points)
    assert np.array_equal(table.values, np.stack([u(*points.T), v(*points.T)], axis=1))
    assert table.axes is None
    assert np.isnan(table.accuracy)


@pytest.mark.parametrize("kind", ["csv", "rows", "axes", "shuffled axes", "meshgrid"])
def test_a_grid_is_one_however_it_is_written(tmp_path: Path, kind: str) -> None:
    order = np.random.default_rng(1).permutation(12)
    arrays: dict[str, Any]
    if kind == "csv":
        rows = [(POINTS[k, 0], POINTS[k, 1], repr(float(u(*POINTS[k])))) for k in order]
        path = write_csv(tmp_path / "a.csv", "x,t,u", rows)
    else:
        path = tmp_path / "a.npz"
        x, t = X, T
        if kind == "rows":
            x, t = POINTS[order].T
            arrays = {"x": x, "t": t, "u": u(x, t)}
        elif kind == "meshgrid":
            x, t = np.meshgrid(X, T)  # "xy" indexing: the transpose of ours
            arrays = {"x": x, "t": t, "u": u(x, t)}
        else:
            if kind == "shuffled axes":
                x, t = X[[2, 0, 1]], T[::-1]
            arrays = {"x": x, "t": t, "u": u(x[:, None], t[None, :])}
        np.savez(path, **arrays, accuracy=1e-7)
    table = read_reference(path, ["x", "t"], ["u"])
    assert table.axes is not None
    assert [axis.tolist() for axis in table.axes] == [X.tolist(), T.tolist()]
    np.testing.assert_array_equal(table.points, POINTS)
    np.testing.assert_allclose(table.values, on_grid(u), rtol=1e-15)
    assert table.accuracy == 1e-7 or kind == "csv"


def test_several_fields_on_a_grid(tmp_path: Path) -> None:
    x, t = X[:, None], T[None, :]
    np.savez(tmp_path / "a.npz", t=T, x=X, v=v(x, t), u=u(x, t), viscosity=0.1)
    table = read_reference(tmp_path / "a.npz", ["x", "t"], ["u", "v"])
    np.testing.assert_array_equal(table.values, np.stack([on_grid(u), on_grid(v)], axis=1))


def test_a_grid_of_one_moment_or_with_a_hole_is_scattered(tmp_path: Path) -> None:
    for rows in ([(x, 1.0, 2.0) for x in X], [(*point, 2.0) for point in POINTS[:-1]]):
        table = read_reference(write_csv(tmp_path / "a.csv", "x,t,u", rows), ["x", "t"], ["u"])
        assert table.axes is None
        assert table.points.tolist() == [[row[0], row[1]] for row in rows]


def test_heads_and_cells_as_other_programs_write_them(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.csv", [[0.5, 1.0, 3.0], [0.25, 2.0, np.nan]], delimiter=",", header="x,t,u")
    table = read_reference(tmp_path / "a.csv", ["x", "t"], ["u"])
    np.testing.assert_array_equal(table.values, [3.0, np.nan])
    (tmp_path / "b.csv").write_bytes("\ufeffx, t, u,remark\r\n0.5,1,,edge\r\n\r\n0.25,2,7,\r\n".encode())
    table = read_reference(tmp_path / "b.csv", ["x", "t"], ["u"])
    np.testing.assert_array_equal(table.values, [np.nan, 7.0])


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "x,u", [(0, 1), (1, 2)])
    first = read_reference(path, ["x"], ["u"])
    assert read_reference(path, ["x"], ["u"]) is first
    write_csv(path, "x,u", [(0, 1), (1, 2), (2, 5)])
    assert read_reference(path, ["x"], ["u"]).values.tolist() == [1, 2, 5]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("no.csv", None, "No such file or directory"),
        ("a.dat", "x,t,u\n", "is a .dat; allowed are .csv, .npz"),
        ("a.csv", "", "column 'x': is missing; came none; allowed are x, t, u, and others"),
        ("a.csv", "x,t,U\n0,0,1\n", "column 'u': is missing; came x, t, U; allowed are x, t, u, and others"),
        ("a.csv", "x,t,u,u\n0,0,1,1\n", "column 'u': is there twice; came x, t, u, u; allowed are x, t, u, and others"),
        ("a.csv", "x,t,u\n", "holds no point; allowed is at least one"),
        ("a.csv", "x,t,u\n0,0,1\n0,1\n", "line 3: came 2 cells; allowed are 3, one for each column"),
        ("a.csv", "x,t,u\n0,0,1\n0,1,1;5\n", "line 3, column 'u': came '1;5'; allowed are numbers"),
        ("a.csv", "x,t,u\n0,0,1\n,1,1\n", "column 'x': came nan (point 2); allowed are finite numbers"),
        ("a.csv", "x,t,u\n0,0,inf\n", "column 'u': came inf (point 1); allowed are finite numbers, or NaN where"),
        ("a.npz", "no zip", "is no .npz file; allowed is one that numpy.savez makes"),
        ("a.npz", {"x": X, "u": X}, "column 't': is missing; came x, u; allowed are x, t, u, and others"),
        ("a.npz", {"x": X, "t": T, "u": np.ones((4, 3))}, "came with shapes x (3,), t (4,), u (4, 3); allowed are all"),
        ("a.npz", {"x": X, "t": T, "u": np.full((3, 4), 1j)}, "column 'u': came as complex128; allowed are real"),
        ("a.npz", {"x": X, "t": T, "u": np.array([{}])}, "column 'u': came as objects; allowed are real"),
        ("a.npz", {"x": X[[0, 1, 1]], "t": T, "u": np.ones((3, 4))}, "column 'x': has a value twice; allowed in the"),
        ("a.npz", {"x": X, "t": X, "u": X, "accuracy": -1.0}, "column 'accuracy': came -1.0; allowed is one finite"),
    ],
)
def test_the_line_about_a_file(tmp_path: Path, name: str, content: Any, line: str) -> None:
    path = tmp_path / name
    if isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=re.escape(f"reference_file={path}: {line}")) as caught:
        read_reference(path, ["x", "t"], ["u"])
    assert "\n" not in str(caught.value)
    problem = made(Unsolved, reference_file=str(path))
    assert line_of(problem).startswith(f"pde=case: reference_file={path}: {line}")


def test_a_problem_is_evaluated_at_the_points_of_its_file(tmp_path: Path) -> None:
    values = u(X[:, None], T[None, :])
    values[0, 1] = np.nan
    np.savez(tmp_path / "a.npz", x=X, t=T, u=values, accuracy=1e-3)
    pde = made(Unsolved, reference_file=str(tmp_path / "a.npz"))
    check(pde)
    np.testing.assert_array_equal(pde.evaluation_points(), POINTS)
    axes = pde.grid_axes()
    assert axes is not None
    assert [axis.tolist() for axis in axes] == [X.tolist(), T.tolist()]
    found = reference_of(pde)
    assert isinstance(found, PartialReference)
    assert found.accuracy == 1e-3
    np.testing.assert_array_equal(found.values, values.reshape(-1))


def test_a_file_is_looked_for_beside_the_class_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "near_problem.py").write_text(
        "from made import Saddle\nfrom pinntk.pdes import PDE\n"
        "class Near(PDE):\n    name, reference_file = 'near', 'known/u.csv'\n"
        "    coordinates, lower, upper, terms = Saddle.coordinates, Saddle.lower, Saddle.upper, Saddle.terms\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "near")
    near = __import__("near_problem").Near
    inherits = made(near)  # in this file
    assert inherits.reference_path() == tmp_path / "near" / "known" / "u.csv"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert made(near, reference_file="~/u.csv").reference_path() == tmp_path / "u.csv"
    assert made(near, reference_file="u.csv").reference_path() == Path(__file__).parents[0] / "u.csv"
    # The content is part of the problem, its time is not.
    (tmp_path / "near" / "known").mkdir()
    path = write_csv(tmp_path / "near" / "known" / "u.csv", "x,y,u", [(0, 0, 1)])
    first = fingerprint(near)
    path.touch()
    assert first is not None
    assert set(first) == {"near_problem", "u.csv"}
    assert fingerprint(near) == first
    write_csv(path, "x,y,u", [(0, 0, 1.5)])
    assert changes(first, fingerprint(near) or {}) == ["u.csv (edited)"]
    path.unlink()
    assert changes(first, fingerprint(near) or {}) == ["u.csv (gone)"]


def test_a_file_that_does_not_go_with_its_problem(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "x,y,u", [(0, 0, 1), (0.5, 3, 1)])
    assert "evaluation_points() came with [0.5, 3.0]; allowed are points of the box" in line_of(
        made(Saddle, reference_file=str(path), evaluation_points=PDE.evaluation_points)
    )
    assert "reference_file=3; allowed is the name of a file" in line_of(made(Saddle, reference_file=3))
    assert "the problem has a solution() in closed form" in line_of(made(Cooling, reference_file=str(path)))
    other = made(Saddle, reference_file=str(path), reference=PDE.reference)
    with pytest.raises(ValueError, match=r"reference_file has other points than evaluation_points\(\); allowed"):
        reference_of(other)
