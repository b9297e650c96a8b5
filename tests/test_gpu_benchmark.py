"""``benchmarks/gpu.py`` at tiny size, with a processor in the GPU's place."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from benchmarks import gpu, gpu_cells, gpu_table
else:
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    import gpu
    import gpu_cells
    import gpu_table

TINY = "tuned=null compile=false budget=smoke width=6 network.depth=1 points.interior=20 method.steps=6".split()


def outcome(loss: float, *parameters: float) -> dict[str, Any]:
    return {"loss": loss, "parameters": list(parameters), "seconds": 1.0, "steps": 3}


def test_what_is_allowed_is_what_rounding_comes_to() -> None:
    cpu = [outcome(2.0, 3.0, 4.0), outcome(2.0 + 4e-12, 3.0, 4.0), outcome(2.0 - 2e-12, 3.0, 4.0 + 5e-12)]
    found = gpu_cells.compared(cpu, outcome(2.0 + 3.8e-9, 3.0, 4.0 + 4e-9))
    assert found["loss_allowed"] == pytest.approx(2e-9, rel=1e-3)
    assert found["parameters_allowed"] == pytest.approx(1e-9, rel=1e-3)
    assert found["loss_difference"] == pytest.approx(1.9e-9, rel=1e-6)
    assert (found["status"], found["decided_by_rounding"]) == ("agrees", False)
    for beyond in (outcome(2.0 + 4.2e-9, 3.0, 4.0), outcome(2.0, 3.0, 4.0 + 6e-9)):
        assert gpu_cells.compared(cpu, beyond)["status"] == "differs"
    same = [outcome(2.0, 1.0)] * 3  # no less than the floor
    assert gpu_cells.compared(same, outcome(2.0 * (1 + 5e-13), 1.0))["status"] == "agrees"
    assert gpu_cells.compared(same, outcome(2.0 * (1 + 5e-12), 1.0))["status"] == "differs"


def test_where_rounding_decides_losses_agree_to_a_factor() -> None:
    cpu = [outcome(2.0, 1.0), outcome(2.1, 1.0), outcome(2.0, 1.1)]
    assert gpu_cells.compared(cpu, outcome(15.0, 5.0)) | {"status": "agrees", "decided_by_rounding": True} == (
        gpu_cells.compared(cpu, outcome(15.0, 5.0))
    )
    assert gpu_cells.compared(cpu, outcome(21.0, 1.0))["status"] == "differs"
    assert gpu_cells.compared(cpu, outcome(float("nan"), 1.0))["status"] == "differs"


def test_a_perturbed_start_ends_elsewhere_by_next_to_nothing() -> None:
    words = ["pde=poisson1d", "method=adam", *TINY]
    one, again, other = (gpu_cells.trained(words, "cpu", seed) for seed in (0, 0, 1))
    assert gpu_cells.differences(one, again) == (0.0, 0.0)
    loss, parameters = gpu_cells.differences(one, other)
    assert 0 < parameters < 1e-12
    assert loss < 1e-12
    assert one["steps"] == 6


def test_the_script_on_a_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = gpu_cells.trained

    def failing(words: list[str], device: str, perturbed: int = 0) -> dict[str, Any]:
        if "pde=burgers" in words:
            raise RuntimeError("no memory\nand so on")
        return trained(words, device, perturbed)

    monkeypatch.setattr(gpu_cells, "trained", failing)
    monkeypatch.setattr(gpu, "STEP_SECONDS", 0.01)
    words = "--device cpu --parts agreement steps --problems burgers poisson1d --methods adam --jobs 0 --widths 5"
    words += f" --points 30 --precisions 64-true --kinds eager nested --folder {tmp_path}"
    assert gpu.main([*words.split(), "--words", *TINY]) == 0
    (path,) = tmp_path.glob("*.json")
    parts = json.loads(path.read_text())["parts"]
    agreement, steps = parts["agreement"], parts["steps"]
    assert agreement["poisson1d adam"]["status"] == "agrees"
    assert agreement["poisson1d adam"]["loss"] == agreement["poisson1d adam"]["loss_cpu"] > 0
    assert agreement["burgers adam"]["status"] == "failed"
    assert agreement["burgers adam"]["reason"] == "RuntimeError: no memory"
    assert [cell["status"] for cell in steps.values()] == ["done", "done"]
    assert all(cell["seconds_per_step"] > 0 and cell["peak_bytes"] > 0 for cell in steps.values())
    page = path.with_suffix(".md").read_text()
    assert "| poisson1d | adam | 6 |" in page
    assert "- agreement, burgers adam: RuntimeError: no memory" in page
    assert "| 30 | 5 | 64-true |" in page


def test_a_cell_beyond_the_budget_is_skipped(tmp_path: Path) -> None:
    about = {"device": "d", "processor": "p", "cores": 1, "torch": "2", "cuda": None, "factor": 1, "perturbation": 1}
    record = gpu.Record(tmp_path / "r.json", about, 100.0)
    record.begin("agreement")
    assert record.cell("a b", lambda: {"x": 1}, expected=49.0) == {"x": 1}
    assert record.cell("c d", lambda: pytest.fail("is not to be done"), expected=51.0) is None
    saved = json.loads((tmp_path / "r.json").read_text())
    assert list(saved["parts"]["agreement"]) == ["a b"]
    assert [line.rpartition(": ")[0] for line in saved["skipped"]] == ["agreement: c d"]
    assert "- agreement: c d: " in gpu_table.table(saved)


def test_other_losses_are_not_timed() -> None:
    assert gpu_cells.alike({"a": 1.0}, {"a": 1.0 + 1e-10}, "64-true")
    assert not gpu_cells.alike({"a": 1.0}, {"a": 1.0 + 1e-8}, "64-true")
    assert not gpu_cells.alike({"a": 1.0}, {"b": 1.0}, "32-true")


@pytest.mark.slow
def test_two_sweeps_at_a_time_take_turns() -> None:
    found = gpu._two_sweeps(argparse.Namespace(device="cpu", lease_steps=2000), timeout=200.0)
    assert found["seconds_between"] >= 0
    assert [one["device"] for one in found["trainings"]] == ["0", "0"]
