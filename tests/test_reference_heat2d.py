"""The reference solution of heat2d against independent methods, its stated accuracy, and the cache that keeps it."""

import io
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.fft import dstn
from scipy.integrate import solve_ivp

from pinntk.pdes import references
from pinntk.pdes.references import SineSeries, heat2d


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PINNTK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def relative(u: np.ndarray, v: np.ndarray) -> float:
    return float(np.linalg.norm(u - v) / np.linalg.norm(v))


def sine_method_of_lines(
    k: float, m1: int, m2: int, diffusivity: float, cells: int, times: np.ndarray, tolerance: float
) -> np.ndarray:
    """All sine modes of the full square, fast transforms, scipy's integrator: coefficients (T, modes, modes)."""
    j = np.arange(1, cells)
    x, y = (j / cells)[:, None], (j / cells)[None, :]
    decay = diffusivity * np.pi**2 * (j[:, None] ** 2 + j[None, :] ** 2)
    shape = np.sin(m1 * np.pi * x) * np.sin(m2 * np.pi * y)

    def right_side(t: float, flat: np.ndarray) -> np.ndarray:
        c = flat.reshape(cells - 1, cells - 1)
        u = dstn(c, type=1) / 4
        source = 5 * np.sin(k * u**2) * (1 + 2 * np.sin(np.pi * t / 4)) * shape
        return np.asarray(dstn(source, type=1) / cells**2 - decay * c).ravel()

    start = np.zeros((cells - 1, cells - 1))
    start[4 - 1, 3 - 1] = 1
    solution = solve_ivp(
        right_side, (0, times[-1]), start.ravel(), "DOP853", times, rtol=tolerance, atol=tolerance * 1e-2
    )
    return solution.y.T.reshape(len(times), cells - 1, cells - 1)


@pytest.mark.parametrize(("k", "m1", "m2", "diffusivity"), [(1.0, 4, 2, 0.01), (1.7, 3, 5, 0.015), (-0.8, 6, 3, 0.008)])
def test_heat2d_against_method_of_lines(k: float, m1: int, m2: int, diffusivity: float) -> None:
    times = np.array([0.0, 0.4, 0.8])
    reference = heat2d(k, m1, m2, diffusivity, times)
    modes = np.arange(1.0, 80)
    lines = SineSeries(times, modes, modes, sine_method_of_lines(k, m1, m2, diffusivity, 80, times, 1e-8), 0.0)
    x, y = np.linspace(0, 1, 21), np.linspace(0, 1, 34)
    u = reference.on_grid(x, y)
    assert u.shape == (21, 34, 3)
    assert u.dtype == np.float64
    np.testing.assert_allclose(u, lines.on_grid(x, y), atol=5e-5)
    assert relative(u, lines.on_grid(x, y)) < reference.accuracy < 1e-4
    np.testing.assert_allclose(u[..., 0], np.outer(np.sin(4 * np.pi * x), np.sin(3 * np.pi * y)), atol=1e-12)
    np.testing.assert_array_equal(u[[0, -1]], 0)
    np.testing.assert_array_equal(u[:, [0, -1]], 0)


@pytest.mark.parametrize(("m1", "m2"), [(4, 2), (6, 3), (5, 1)])
def test_march_is_of_order_four_and_leaves_out_zeros_only(m1: int, m2: int) -> None:
    # The same 24-cell system on the full square, so that nothing but the time step is left to differ.
    exact = sine_method_of_lines(1.0, m1, m2, 1e-2, 24, np.array([0.5, 1.0]), 1e-12)
    errors = []
    for step in (0.01, 0.005, 0.0025):
        x_modes, y_modes, c = references._march(
            1.0, m1, m2, 1e-2, 24, step, np.rint(np.array([0.5, 1]) / step).astype(int)
        )
        full = np.zeros_like(exact)
        full[np.ix_(np.arange(2), x_modes.astype(int) - 1, y_modes.astype(int) - 1)] = c
        errors.append(relative(full, exact))
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    assert errors[-1] < 2e-8
    assert ((rates > 3.8) & (rates < 4.3)).all()


def test_heat2d_without_reaction_decays_exactly() -> None:
    times = np.linspace(0, 1.6, 11)
    reference = heat2d(k=0, times=times)
    x, y = np.random.default_rng(0).random((2, 50))
    exact = np.exp(-25e-3 * np.pi**2 * times) * (np.sin(4 * np.pi * x) * np.sin(3 * np.pi * y))[:, None]
    found = np.einsum("iit->it", reference.on_grid(x, y))
    np.testing.assert_allclose(found, exact, atol=1e-12)
    assert reference.accuracy < 1e-12


def test_series_on_a_grid() -> None:
    rng = np.random.default_rng(1)
    series = SineSeries(np.arange(3.0), np.array([2.0, 4]), np.array([1.0, 2, 3]), rng.normal(size=(3, 2, 3)), 0.0)
    x, y = rng.random(4), rng.random(5)
    grid = series.on_grid(x, y)
    in_x, in_y = np.sin(np.pi * np.outer(x, series.x_modes)), np.sin(np.pi * np.outer(y, series.y_modes))
    direct = np.einsum("ip,jq,tpq->ijt", in_x, in_y, series.coefficients)
    np.testing.assert_allclose(grid, direct, atol=1e-14)


def test_output_times_do_not_change_the_solution() -> None:
    few, many = heat2d(times=[0.2, 0.6]), heat2d(times=np.arange(0.0, 0.61, 0.02))
    np.testing.assert_array_equal(few.times, [0.2, 0.6])
    np.testing.assert_array_equal(few.coefficients, many.coefficients[[10, 30]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": math.nan}, r"pde\.k=nan: "),
        (
            {"k": 1e6},
            r"pde\.k=1000000\.0, pde\.m1=4, pde\.m2=2, pde\.diffusivity=0\.001: .* differ by \d.*, at most 1e-02",
        ),
        ({"m1": 0}, r"pde\.m1=0: .* 1 to 32"),
        ({"m2": 33}, r"pde\.m2=33: .* 1 to 32"),
        ({"m2": 2.5}, r"pde\.m2=2\.5: must be an integer"),
        ({"diffusivity": 0.0}, r"pde\.diffusivity=0\.0: "),
        ({"times": [0.0, 0.01]}, r"heat2d: times .* multiples of 0\.02"),
        ({"times": [-0.02, 0.0]}, r"heat2d: times must start at 0"),
        ({"times": [0.2, 0.2]}, r"heat2d: times .* increase"),
        ({"times": []}, r"heat2d: times "),
        ({"times": [math.nan]}, r"heat2d: times "),
    ],
)
def test_heat2d_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}[^\n]*$"):
        heat2d(**({"times": [0.0, 0.4]} | arguments))


def test_heat2d_refuses_non_finite_values(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = np.ones(1)
    monkeypatch.setattr(references, "_march", lambda *_: (one, one, np.full((1, 1, 1), math.nan)))
    with pytest.raises(
        ValueError, match=r"^pde\.k=1\.0, pde\.m1=4, pde\.m2=2, pde\.diffusivity=0\.001: .* not finite$"
    ):
        heat2d(times=[1.0])
    assert not cache.exists()


# The cache


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows with each run of the solver (two per reference), which is made small: the cache does not care."""
    calls: list[object] = []
    march = references._march

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return march(*arguments)

    monkeypatch.setattr(references, "_march", counted)
    monkeypatch.setattr(references, "HEAT2D_CELLS", 48)
    monkeypatch.setattr(references, "HEAT2D_CHECK_CELLS", 32)
    return calls


def small(**arguments: Any) -> SineSeries:
    chosen: dict[str, Any] = {"diffusivity": 0.01, "times": [0.0, 0.2]} | arguments
    return heat2d(**chosen)


def same(a: SineSeries, b: SineSeries) -> bool:
    arrays = ("times", "x_modes", "y_modes", "coefficients")
    return a.accuracy == b.accuracy and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)


def test_second_call_reads_the_cache(cache: Path, runs: list[object]) -> None:
    first = small()
    assert len(runs) == 2
    assert same(first, small())
    assert same(first, small(k=1, m1=4.0, times=(0, 0.2)))  # the same numbers in other types
    assert len(runs) == 2
    assert [path.suffix for path in cache.iterdir()] == [".npz"]


@pytest.mark.parametrize(
    "other", [{"k": 1.5}, {"m1": 2}, {"m2": 4}, {"diffusivity": 0.02}, {"times": [0.0, 0.4]}, {"times": [0.2]}]
)
def test_other_parameters_do_not_collide(other: dict[str, object], cache: Path, runs: list[object]) -> None:
    first, second = small(), small(**other)
    assert len(list(cache.iterdir())) == 2
    assert not same(first, second)
    assert same(first, small())
    assert same(second, small(**other))
    assert len(runs) == 4


@pytest.mark.parametrize("name", ["HEAT2D_VERSION", "HEAT2D_CELLS", "HEAT2D_CHECK_CELLS"])
def test_another_method_does_not_read_the_old_result(
    name: str, runs: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    small()
    monkeypatch.setattr(references, name, getattr(references, name) + 4)
    small()
    assert len(runs) == 4


def flip_in_the_middle(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


def foreign(_: bytes) -> bytes:
    np.savez(archive := io.BytesIO(), x_modes=np.ones(2))
    return archive.getvalue()


@pytest.mark.parametrize(
    "damage", [lambda _: b"", lambda _: b"no archive", lambda c: c[: len(c) // 2], flip_in_the_middle, foreign]
)
def test_damaged_file_is_computed_again(damage: Callable[[bytes], bytes], cache: Path, runs: list[object]) -> None:
    first = small()
    (path,) = cache.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert same(first, small())
    assert len(runs) == 4
    assert same(first, small())
    assert len(runs) == 4
    assert list(cache.iterdir()) == [path]


def test_cache_that_cannot_be_written_costs_only_time(
    cache: Path, runs: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        first = small()
    assert list(cache.iterdir()) == []
    cache.rmdir()
    cache.write_text("a file where a folder is expected")
    assert same(first, small())
    assert len(runs) == 4


@pytest.mark.usefixtures("runs")
def test_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PINNTK_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    small()
    assert len(list((tmp_path / ".cache" / "pinntk").iterdir())) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    small()
    assert len(list((tmp_path / "elsewhere" / "pinntk").iterdir())) == 1


# The default reference, at full length


@pytest.mark.slow
def test_heat2d_default_against_twice_the_modes_and_half_the_step() -> None:
    start = time.perf_counter()
    reference = heat2d()
    assert time.perf_counter() - start < 60
    outputs = references._multiples(reference.times, references.HEAT2D_STEP / 2)
    twice = references._march(1.0, 4, 2, 1e-3, 2 * references.HEAT2D_CELLS, references.HEAT2D_STEP / 2, outputs)
    grid = np.linspace(0, 1, 33)
    u = reference.on_grid(grid, grid)
    exact = SineSeries(reference.times, *twice, 0.0).on_grid(grid, grid)
    assert u.shape == (33, 33, 126)
    assert reference.accuracy < 1e-4
    assert relative(u, exact) < 2e-6 < reference.accuracy
    assert 1.77 < np.abs(u).max() < math.sqrt(math.pi) + 1e-3
