"""Problems and methods of a notebook's cells: their code is part of a run's identity, they are trained and loaded."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from cells import Cells
from conftest import Cli
from matplotlib.figure import Figure

import pinntk
from pinntk.common.fingerprint import changes, fingerprint

HELPERS = """
import math, torch
import numpy as np
from pinntk.pdes import ExactPDE, Term, zero
FREQUENCY = 3.0
TABLE = np.array([1.0, 2.0])
def source(x, k):
    return (k**2 - wave()**2) * torch.sin(wave() * x[:, 0])
wave = lambda: FREQUENCY * math.pi
"""
PROBLEM = """
class Mine(ExactPDE):
    name = "mine"
    coordinates, lower, upper, evaluation_shape = ("x",), (0.0,), (1.0,), (101,)
    k: float = 2.0

    def terms(self):
        source_of = lambda x: (source(x, self.k) + 0 * TABLE[0],)
        inside = Term("residual", "interior", ("u", "u_xx"), lambda s, f: s["u_xx"] + self.k**2 * s["u"] - f, source_of)
        return inside, Term("boundary", "boundary", ("u",), zero("u"))

    def solution(self, x):
        return torch.sin(wave() * x[:, 0])
"""
METHOD = """
from pinntk.methods import MethodSettings, Plan
from pinntk.methods.phases import AdamPhaseSettings, NNCGPhaseSettings
class Two(Plan):
    class Settings(MethodSettings):
        adam: AdamPhaseSettings = AdamPhaseSettings(steps=12)
        nncg: NNCGPhaseSettings = NNCGPhaseSettings(steps=3)
    name = "two"
"""
QUICK = "budget=smoke", "threads=1", "width=6", "method.log_every=5", "compile=false"


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run's second half is drawing, which is the picture's own tests' affair."""
    monkeypatch.setattr("pinntk.callbacks.solution.plot", lambda *arguments: Figure(figsize=(1, 1)))


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cells:
    monkeypatch.chdir(tmp_path)
    found = Cells(monkeypatch)
    found(HELPERS)
    found(PROBLEM)
    return found


def test_what_counts_as_an_edit(cells: Cells) -> None:
    def edited() -> list[str]:
        now = fingerprint(cells.main.Mine)
        assert now is not None
        return changes(first, now)

    first = fingerprint(cells.main.Mine) or {}
    assert {f"__main__.{name}" for name in ("Mine", "source", "wave", "FREQUENCY", "TABLE")} <= set(first)
    assert not {"__main__.math", "__main__.x", "__main__.self", "numpy", "__main__.In"} & set(first)
    cells('x = 5; k = "a global that has the name of a local"; s = None; inside = 1')
    assert edited() == []
    cells(HELPERS.replace("return", '"""A text."""\n    # in other words\n    return'))
    assert edited() == []
    cells("FREQUENCY = 4.0")
    assert edited() == ["__main__.FREQUENCY (edited)"]
    cells("FREQUENCY = 3.0; TABLE = np.array([1.0, 2.5])")
    assert edited() == ["__main__.TABLE (edited)"]
    cells("TABLE = torch.tensor([1.0, 2.0], dtype=torch.float64)\nwave = lambda: FREQUENCY * math.pi * 1")
    assert edited() == ["__main__.wave (edited)"]
    cells(HELPERS.replace("def source", "@torch.no_grad()\ndef source"))
    assert edited() == ["__main__.source (edited)"]
    cells(HELPERS.replace("def source", "@torch.no_grad()\ndef source").replace("k**2 -", "k**2 +"))
    decorated = (fingerprint(cells.main.Mine) or {})["__main__.source"]
    cells(HELPERS.replace("def source", "@torch.no_grad()\ndef source"))
    assert (fingerprint(cells.main.Mine) or {})["__main__.source"] != decorated
    cells("from functools import partial\nwave = partial(lambda k: k * FREQUENCY * math.pi, 1)")
    assert "__main__.wave (gone)" in edited()
    parts = fingerprint(cells.main.Mine) or {}
    cells("wave = partial(lambda k: k * FREQUENCY * math.pi, 2)")
    assert changes(parts, fingerprint(cells.main.Mine) or {}) == [
        "__main__.wave.0 (edited)",
        "__main__.wave.func (edited)",
    ]
    cells(HELPERS)
    cells(PROBLEM.replace("k: float = 2.0", "k: float = 2.5"))
    assert edited() == ["__main__.Mine (edited)"]


def test_a_class_without_methods_is_found_in_the_last_cell_that_defines_it(cells: Cells) -> None:
    digests = []
    for k in (3.0, 4.0, 3.0):
        cells(f"class Without(Mine):\n    name = 'without'\n    k: float = {k}")
        found = fingerprint(cells.main.Without)
        assert found is not None
        assert "__main__.source" in found  # through its base
        digests.append(found["__main__.Without"])
    assert digests[0] == digests[2] != digests[1]


def test_a_module_beside_the_notebook_counts_and_so_does_its_reloading(
    cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path("beside_mine.py")
    file.write_text("def amplitude():\n    return 1.0\n")
    monkeypatch.syspath_prepend(".")
    cells(
        "import beside_mine\nclass Other(Mine):\n    def solution(self, x):\n        return beside_mine.amplitude() * x"
    )
    first = fingerprint(cells.main.Other) or {}
    file.write_text("def amplitude():\n    return 1.25\n")
    assert fingerprint(cells.main.Other) == first  # what runs is what was imported
    importlib.reload(sys.modules["beside_mine"])
    assert changes(first, fingerprint(cells.main.Other) or {}) == ["beside_mine (edited)"]
    del sys.modules["beside_mine"]


def test_a_problem_and_a_method_of_cells_are_trained_and_loaded(
    cells: Cells, capsys: pytest.CaptureFixture[str]
) -> None:
    cells(METHOD)
    mine, two = cells.main.Mine, cells.main.Two
    run = pinntk.train(*QUICK, pde=mine, method=two)
    assert run.folder.parts[:3] == ("runs", "mine", "two")
    assert (type(run.pde), type(run.method), run.result["steps"]) == (mine, two, 15)
    x = np.linspace(0, 1, 7)[:, None]
    np.testing.assert_array_equal(pinntk.load(run.folder).predict(x), run.predict(x))
    capsys.readouterr()
    again = pinntk.train(*QUICK, pde=mine, method=two)
    assert "finished before" in capsys.readouterr().out
    np.testing.assert_array_equal(again.predict(x), run.predict(x))
    other = pinntk.train(*QUICK, "method.adam.steps=3", pde=mine(k=2.5), method=two)
    assert (other.pde.parameters(), other.result["steps"]) == ({"k": 2.5}, 6)
    cells("FREQUENCY = 4.0")
    with pytest.raises(pinntk.BadInput, match=r"a result of other code, changed since: __main__.FREQUENCY \(edited\)"):
        pinntk.train(*QUICK, pde=mine, method=two)
    with pytest.warns(UserWarning, match=r"of other code, changed since: __main__.FREQUENCY \(edited\)"):
        pinntk.load(run.folder)
    anew = pinntk.train(*QUICK, pde=mine, method=two, overwrite=True)
    assert anew.folder == run.folder
    del cells.names["Two"]
    with pytest.raises(pinntk.BadInput, match=r"method\._target_=__main__\.Two: .* has to be defined in this one, too"):
        pinntk.load(run.folder)


def test_a_sweep_of_them_runs_in_this_process(cells: Cells, capsys: pytest.CaptureFixture[str]) -> None:
    mine = cells.main.Mine
    words = *QUICK, "method.steps=4"
    sweep = pinntk.sweep(*words, pde=[mine, "poisson1d"], method="adam", seed=range(2))
    assert [run.pde.name for run in sweep.runs] == ["mine", "mine", "poisson1d", "poisson1d"]
    assert sweep.records[1]["swept"] == "pde=__main__.Mine seed=1"
    capsys.readouterr()
    pinntk.train(*words, pde=mine, method="adam", seed=1)
    assert "finished before" in capsys.readouterr().out
    with pytest.raises(pinntk.BadInput, match="hydra/launcher=local: other processes do not know Mine of this one"):
        pinntk.sweep("hydra/launcher=local", *words, pde=mine, method="adam")


def test_classes_that_cannot_be_known_again_are_refused(cells: Cells, cli: Cli) -> None:
    old = cells.main.Mine
    cells(PROBLEM)
    cases = {"__main__.Mine is another class by now": old}
    cells(f"def make():{PROBLEM.replace(chr(10), chr(10) + '    ')}\n    return Mine\ninner = make()")
    cases["allowed is a class at the top of a cell, script or module"] = cells.main.inner
    cells("class Burgers(Mine):\n    name = 'burgers'\n    def solution(self, x): return x")
    cases["its name='burgers' is that of pde=burgers"] = cells.main.Burgers
    exec(PROBLEM.replace("Mine", "Unknown"), cells.names)
    cases["its source, or that of what it uses, is not known"] = cells.main.Unknown
    cases["allowed are a name, a subclass of pinntk.pdes.base.PDE or an object of one"] = int
    for text, kind in cases.items():
        with pytest.raises(pinntk.BadInput) as refused:
            pinntk.train(pde=kind, method="adam")
        assert text in str(refused.value)
        assert "\n" not in str(refused.value)
    assert not Path("runs").exists()


def test_the_file_of_the_nearest_base_is_gone_on_from(cells: Cells) -> None:
    cells("from pinntk.pdes.burgers import Burgers\nfrom pinntk.methods.gdnd import GDND")
    cells("class Thick(Burgers):\n    name = 'thick'\n    nu: float = 0.5\n    more: int = 3\n    def f(self): pass")
    cells(
        "class Half(GDND):\n    name = 'half'\n    class Settings(GDND.Settings):\n        half: float = 0.5\n"
        "    def f(self): pass"
    )
    base = pinntk.compose("pde=burgers", "method=gdnd", "tuned=null")
    found = pinntk.compose(pde=cells.main.Thick, method=cells.main.Half)
    assert found["pde"] == {"_target_": "__main__.Thick", "nu": 0.5, "more": 3}
    assert found["method"] == {**base["method"], "_target_": "__main__.Half", "half": 0.5}
    assert {key: found[key] for key in found if key not in ("pde", "method")} == {
        key: base[key] for key in base if key not in ("pde", "method")
    }
    without = pinntk.compose(pde=cells.main.Mine(k=3.0), method="adam")
    assert without["pde"] == {"_target_": "__main__.Mine", "k": 3.0}
    assert without["discretization"] is None
