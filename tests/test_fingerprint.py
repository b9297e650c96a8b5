"""Which edits make another fingerprint, and what it means for a run that is there."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FAST, Ended, in_child, result_of
from test_resume import at_iteration, die

from pinntk.common.fingerprint import changes, fingerprint
from pinntk.methods.gdnd import GDND
from pinntk.methods.ssbroyden import SSBroydenMethod
from pinntk.pdes.heat2d import Heat2D

SOURCE = '''"""A problem."""
import numpy
from {package}numbers_of_mine import FACTOR

class Mine:
    """Of mine."""

    def value(self) -> float:
        """A value."""
        return {number} * FACTOR  # twice
'''
HELPER = "import json\n\nFACTOR = {number}\n"


def digests(folder: Path, package: str, number: float, factor: float, text: str | None = None) -> dict[str, str]:
    """The fingerprint of ``Mine`` in a folder, or in a package there, with these numbers in its two files."""
    place = folder / "of_mine" if package else folder
    place.mkdir(exist_ok=True)
    (place / "numbers_of_mine.py").write_text(HELPER.format(number=factor))
    (place / "mine_of_mine.py").write_text(text or SOURCE.format(package="." if package else "", number=number))
    name = "of_mine.mine_of_mine" if package else "mine_of_mine"
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        for module in [m for m in sys.modules if "of_mine" in m]:
            del sys.modules[module]
        found = fingerprint(importlib.import_module(name).Mine)
    finally:
        sys.path.remove(str(folder))
    assert found is not None
    return found


@pytest.mark.parametrize("package", ["", "of_mine"])
def test_what_counts_as_an_edit(package: str, tmp_path: Path) -> None:
    def of(name: str, number: float, factor: float, text: str | None = None) -> dict[str, str]:
        (tmp_path / name).mkdir()
        return digests(tmp_path / name, package, number, factor, text)

    prefix = f"{package}." if package else ""
    first = of("first", 2.0, 3.0)
    assert set(first) == {f"{prefix}mine_of_mine", f"{prefix}numbers_of_mine"}  # and neither numpy nor json
    assert changes(first, of("other", 2.5, 3.0)) == [f"{prefix}mine_of_mine (edited)"]
    assert changes(first, of("helper", 2.0, 3.5)) == [f"{prefix}numbers_of_mine (edited)"]
    text = SOURCE.format(package="." if package else "", number=2.0)
    words = text.replace("A value.", "Another text.").replace("# twice", "# two times").replace(" * ", "  *\\\n  ")
    assert changes(first, of("words", 2.0, 3.0, text=words.replace("class", "\n\n# a class\nclass"))) == []
    alone = text.replace("from " + ("." if package else "") + "numbers_of_mine import FACTOR", "FACTOR = 3.0")
    assert changes(first, of("alone", 2.0, 3.0, text=alone)) == [
        f"{prefix}mine_of_mine (edited)",
        f"{prefix}numbers_of_mine (gone)",
    ]


def test_what_counts_of_pinntk_itself() -> None:
    found = fingerprint(Heat2D, SSBroydenMethod)
    assert found is not None
    assert {"pinntk.pdes.heat2d", "pinntk.methods.ssbroyden", "pinntk.optim.ssbroyden"} <= set(found)
    assert not {"pinntk.pdes.base", "pinntk.methods.base", "pinntk.pdes.wave", "pinntk.optim.nncg"} & set(found)
    other = fingerprint(Heat2D, GDND)
    assert other is not None
    assert "pinntk.optim.nncg" in other
    assert {name: other[name] for name in other if ".pdes." in name} == {
        n: d for n, d in found.items() if ".pdes." in n
    }


def test_a_class_without_a_source_has_none(tmp_path: Path) -> None:
    found: dict[str, type] = {}
    exec("class Typed: pass", found)
    assert fingerprint(found["Typed"]) is None
    script = tmp_path / "script.py"
    script.write_text(
        "from pinntk.common.fingerprint import fingerprint\nclass A: x = 1\nprint(fingerprint(A))\n"
        "exec('class B: x = 1')\nprint(fingerprint(A, B))\n"
    )
    said = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout.split("\n")
    assert said[0].startswith("{'__main__.A': ")
    assert said[1] == "None"


# Runs

PROBLEM = """
from typing import ClassVar
from pinntk.pdes.poisson1d import Poisson1D

class Edited(Poisson1D):
    name: ClassVar[str] = "edited"

    def solution(self, x):
        return super().solution(x) * 1.0
"""
WORDS = [*FAST, "pde=edited", "method.steps=20", "evaluate_every=20"]


def command(folder: Path, *words: str, text: str = PROBLEM, arrange: object = None) -> Ended:
    """Write the problem and run a command, in a process that imports it for the first time."""
    (folder / "conf" / "pde").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "pde" / "edited.yaml").write_text(
        "# @package _global_\npde: {_target_: edited_pde.Edited, a: 2}\n"
    )
    (folder / "edited_pde.py").write_text(text)

    def first() -> None:
        sys.dont_write_bytecode = True  # edits within a second of each other
        sys.path.insert(0, str(folder))
        if arrange is not None:
            arrange()  # type: ignore[operator]

    return in_child(folder, ["--config-dir", "conf", *WORDS, *words], first)


EDITED = PROBLEM.replace("1.0", "2.0")


@pytest.mark.slow
def test_a_finished_run_of_edited_code(tmp_path: Path) -> None:
    assert command(tmp_path).code == 0
    (folder,) = (path.parent for path in tmp_path.glob("runs/**/result.json"))
    before = (folder / "result.json").read_bytes()
    assert set(result_of(folder)["fingerprint"]) >= {"edited_pde", "pinntk.pdes.poisson1d", "pinntk.methods.adam"}

    harmless = command(tmp_path, text=PROBLEM.replace("class", "# Only a remark.\nclass"))
    assert (harmless.code, harmless.err) == (0, "")
    assert "finished before" in harmless.out

    refused = command(tmp_path, text=EDITED)
    assert refused.code == 2
    (line,) = refused.err.splitlines()
    assert "edited_pde (edited)" in line
    assert "overwrite=true" in line
    assert "accept_edits=true" in line
    assert "L2RE" not in refused.out
    swept = command(tmp_path, "-m", "seed=0,1", text=EDITED)
    assert swept.code == 2
    assert "failed" in swept.out
    assert "edited_pde (edited)" in swept.out.split("swept")[-1]  # in the table at the end
    assert (folder / "result.json").read_bytes() == before

    accepted = command(tmp_path, "accept_edits=true", text=EDITED)
    assert accepted.code == 0
    assert "accepted" in accepted.out
    assert (folder / "result.json").read_bytes() == before
    assert "training adam" in command(tmp_path, "overwrite=true", text=EDITED).out
    assert "finished before" in command(tmp_path, text=EDITED).out

    old = result_of(folder)
    del old["fingerprint"]  # of an older version
    (folder / "result.json").write_text(json.dumps(old))
    assert command(tmp_path).code == 0


@pytest.mark.slow
def test_a_stopped_run_of_edited_code(tmp_path: Path) -> None:
    cut = command(tmp_path, "checkpoint.every_seconds=1e-9", arrange=at_iteration(17, die))
    assert cut.code == -signal.SIGKILL
    (checkpoint,) = tmp_path.glob("runs/**/last.ckpt")
    before = checkpoint.read_bytes()
    refused = command(tmp_path, text=EDITED)
    assert refused.code == 2
    assert "a checkpoint of other code, changed since: edited_pde (edited)" in refused.err
    assert checkpoint.read_bytes() == before
    accepted = command(tmp_path, "accept_edits=true", text=EDITED)
    assert accepted.code == 0
    assert "accepted: a checkpoint of other code" in accepted.out
    assert "resuming at iteration 10" in accepted.out

    # What loads it says so too: the code is now another one again.
    (tmp_path / "edited_pde.py").write_text(PROBLEM)
    code = f"import warnings, pinntk; pinntk.load({str(checkpoint.parents[1])!r})"
    for text, warned in ((PROBLEM, True), (EDITED, False)):
        (tmp_path / "edited_pde.py").write_text(text)
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        ended = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
        )
        assert ("changed since: edited_pde (edited)" in ended.stderr) == warned


def test_what_all_methods_minimise_counts_for_all() -> None:
    found = fingerprint(SSBroydenMethod)
    assert found is not None
    assert {f"pinntk.residual.{name}" for name in ("objective", "form", "weighting")} <= set(found)
