"""``benchmarks/growth.py`` at tiny size: what it measures, foretells, and leaves as it is."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from benchmarks import growth
else:
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    import growth

from pinntk.network import NetworkSettings
from pinntk.network.network import count_parameters
from pinntk.pdes.burgers import Burgers

SIZES = [100, 200, 400, 800]


def test_a_fit_is_of_the_upper_half() -> None:
    x = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    fit = growth.Fit.of(x, [9.0, 9.0, 9.0, *(3 * v**1.5 for v in x[3:])])
    assert fit is not None
    assert (fit.exponent, fit.spread, fit.cells) == (1.5, 1.0, 3)
    assert fit.factor == pytest.approx(3.0)
    assert fit.at(64.0) == pytest.approx(3 * 64**1.5)
    noisy = growth.Fit.of([1.0, 2.0, 4.0, 8.0], [1.0, 1.0, 4.0 * 1.1, 8.0 / 1.1])
    assert noisy is not None
    assert noisy.exponent == pytest.approx(np.log2((8 / 1.1) / (4 * 1.1)), abs=1e-6)
    assert growth.Fit.of([1.0], [1.0]) is None


@pytest.mark.parametrize("quantity", growth.QUANTITIES)
def test_every_quantity_is_measured(quantity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "ENOUGH", 0.02)
    found = growth.measure(growth.Cell(quantity, "parameters", 150), threads=1)
    assert found["seconds"] > 0
    assert found["repetitions"] >= 1
    if quantity == "broyden":
        assert (found["rows"], found["parameters"]) == (0, 150)
        assert found["bytes"] >= 8 * 150**2
    else:
        width = growth.width_of(150)
        assert found["rows"] == 1200
        assert found["parameters"] == count_parameters(NetworkSettings(width=width, depth=growth.DEPTH), Burgers())
        assert abs(found["parameters"] - 150) < 30


def test_cells_are_foretold_kept_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quantity of 1e-6 x^2 seconds and 1e4 x bytes with limits between the sizes."""
    asked: list[str] = []

    def child(cell: growth.Cell, options: Any) -> dict[str, Any]:
        asked.append(cell.key)
        size = {"rows": cell.size, "parameters": cell.size}
        return {"status": "measured", **size, "seconds": 1e-6 * cell.size**2, "bytes": 1e4 * cell.size, "peak_bytes": 0}

    monkeypatch.setattr(growth, "in_child", child)
    words = ["--folder", str(tmp_path), "--only", "newton", "--sizes", *map(str, SIZES), "--seconds", "0.5"]
    assert growth.main([*words, "--stop-after", "-1"]) == 0
    assert asked == []
    assert growth.main(words) == 0
    assert asked == [f"newton/{axis}/{size}" for axis in growth.AXES for size in SIZES[:3]]
    record = json.loads((tmp_path / "growth.json").read_text())
    beyond = record["cells"]["newton/parameters/800"]
    assert beyond["status"] == "not run"
    assert beyond["seconds"] == pytest.approx(0.64, rel=1e-3)
    assert beyond["bytes"] == pytest.approx(8e6, rel=1e-3)
    assert beyond["reason"] == "needs 8.0 MB / 1 s"
    growth.main(words)
    assert len(asked) == 6
    growth.main([*words, "--again"])
    assert len(asked) == 12
    page = (tmp_path / "growth.md").read_text()
    assert "| newton | parameters | 2.00 (×1.00) | 1.00 (×1.00) |" in page
    assert "not run: needs 8.0 MB / 1 s" in page
    assert (tmp_path / "growth.png").stat().st_size > 10_000


def test_a_child_that_dies_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "__file__", str(Path(__file__).parent / "nothing.py"))
    options = argparse.Namespace(threads=1, memory=16.0, seconds=60.0)
    found = growth.in_child(growth.Cell("step", "points", 10), options)
    assert found["status"] == "failed"
    assert "nothing.py" in found["reason"]
