"""The examples of README.md, run as they are printed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pinntk.methods
import pinntk.pdes

if TYPE_CHECKING:
    from conftest import Cli

README = Path(__file__).parent.parent / "README.md"
EXAMPLE = re.compile(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """README's files under a folder, with its packages and configuration put beside the real ones."""
    found = dict(EXAMPLE.findall(README.read_text()))
    assert set(found) == {
        "src/pinntk/pdes/helmholtz1d.py",
        "conf/pde/helmholtz1d.yaml",
        "src/pinntk/methods/adam_nncg.py",
        "conf/method/adam_nncg.yaml",
        "src/pinntk/methods/momentum.py",
        "conf/method/momentum.yaml",
    }
    for name, text in found.items():
        path = tmp_path / "shown" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for package in (pinntk.pdes, pinntk.methods):
        added = tmp_path / "shown/src" / package.__name__.replace(".", "/")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(added)])
    for module in ("pinntk.pdes.helmholtz1d", "pinntk.methods.adam_nncg", "pinntk.methods.momentum"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return tmp_path / "shown"


def test_each_is_complete_in_few_lines(examples: Path) -> None:
    for name, most in (("pdes/helmholtz1d", 36), ("methods/momentum", 39), ("methods/adam_nncg", 15)):
        in_conf = name.replace("pdes", "pde").replace("methods", "method")
        files = [examples / f"src/pinntk/{name}.py", examples / f"conf/{in_conf}.yaml"]
        assert sum(len(file.read_text().splitlines()) for file in files) <= most


def run(cli: Cli, examples: Path, *words: str) -> dict[str, Any]:
    """Run with the examples' configuration; the result."""
    before = set(cli.run_folders())
    ended = cli("--config-dir", str(examples / "conf"), "threads=1", "width=20", "network.depth=2", *words)
    assert ended.code == 0, ended.err
    (folder,) = set(cli.run_folders()) - before
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def test_the_problem_is_solved(cli: Cli, examples: Path) -> None:
    result = run(
        cli,
        examples,
        *["pde=helmholtz1d", "method=adam", "budget=smoke", "points.interior=100", "compile=false"],
        *["method.steps=1500", "method.adam.learning_rate=0.01", "method.weights.boundary=1000", "evaluate_every=1500"],
    )
    assert result["pde"] == "helmholtz1d"
    assert result["l2re"] < 0.05


def test_the_method_descends(cli: Cli, examples: Path) -> None:
    words = ["pde=helmholtz1d", "method=momentum", "budget=smoke", "points.interior=100"]
    first = run(cli, examples, *words, "method.steps=2")
    later = run(cli, examples, *words, "method.steps=200")
    assert later["steps"] == 200
    assert later["seconds"] > first["seconds"] > 0
    assert later["loss"] < 0.9 * first["loss"]


def test_the_plan_goes_through_its_phases(cli: Cli, examples: Path) -> None:
    words = ["pde=helmholtz1d", "method=adam_nncg", "budget=smoke", "points.interior=100"]
    result = run(cli, examples, *words, "method.adam.steps=30", "method.nncg.steps=3")
    phases = [(phase["phase"], phase["iterations"]) for phase in result["method_figures"]["phases"]]
    assert phases == [("adam", 30), ("nncg", 3)]
