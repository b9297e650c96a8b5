"""Declarations of systems: names with two meanings, unknown coefficients, hard conditions."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from conftest import spoken
from made import Cooling, line_of, made
from systems import Coupled, Swinging

from pinntk.network import Coefficient, Unknown
from pinntk.network.settings import PeriodicFeature
from pinntk.network.streams import Operator
from pinntk.pdes.base import PDE, Term
from pinntk.pdes.declaration import check
from pinntk.residual.terms import zero

TRAINABLE = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))


def system(*extra: Term, nu: Any = 0.5, first: tuple[str | Operator, ...] = ("u_t", "v_x", "nu"), **more: Any) -> PDE:
    """Two fields and a coefficient."""

    class Case(PDE):
        name: ClassVar[str] = "case"
        fields: ClassVar[tuple[str, ...]] = ("u", "v")
        lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
        upper: ClassVar[tuple[float, ...]] = (2.0, 1.0)
        evaluation_shape: ClassVar[tuple[int, ...]] = (5, 4)
        nu: Coefficient = 0.5

        def terms(self) -> tuple[Term, ...]:
            equation = Term("first", "interior", first, lambda s: s["u_t"] + s["nu"] * s["v_x"])
            return (equation, Term("start", "initial", ("v",), zero("v")), *extra)

    return made(Case, **more).model_copy(update={"nu": nu})


FIELDS: list[tuple[Any, str]] = [
    ("uv", 'fields=\'uv\'; allowed is a tuple of names, as ("u", "v")'),
    ((), "fields=(); allowed is a tuple of names"),
    (("u", "v w"), "allowed is a tuple of names"),
    (("u", 3), "allowed is a tuple of names"),
    (("u", "v", "u"), "two of them have one name; allowed are names that differ"),
    (("u", "t"), "fields=('u', 't'): a coordinate has the name 't'; allowed are others"),
    (("u", "u_x"), "fields=('u', 'u_x'): 'u_x' is a derivative, too; allowed are others"),
    (("u_txxt", "u"), "'u_txxt' is a derivative, too; allowed are others"),
    (("u", "u_n"), "'u_n' is a derivative, too; allowed are others"),
    (("u", "nu"), "coefficient 'nu': a field has this name; allowed are others"),
]


@pytest.mark.parametrize(("fields", "words"), FIELDS)
def test_wrong_fields_are_a_line(fields: Any, words: str) -> None:
    line = line_of(system(fields=fields))
    assert line.startswith("pde=case: ")
    assert words in line


@pytest.mark.parametrize("fields", [("u", "v", "u_z"), ("u", "v", "u_"), ("u", "v", "uu")])
def test_names_that_only_look_alike(fields: tuple[str, ...]) -> None:
    check(system(fields=fields))


@pytest.mark.parametrize(("name", "what"), [("u_xx", "derivative"), ("v_n", "derivative"), ("v", "field")])
def test_a_coefficient_of_a_streams_name(name: str, what: str) -> None:
    case = made(type(system()), __annotations__={name: float}, **{name: 2.0})
    assert f"pde=case: coefficient {name!r}: a {what} has this name; allowed are others" == line_of(case)


STREAMS: list[tuple[tuple[str | Operator, ...], str]] = [
    (("u_t", "v_x"), "term 'first': its residual uses stream 'nu'; allowed are its own: u_t, v_x"),
    (("u_t", "nu"), "term 'first': its residual uses stream 'v_x'; allowed are its own: u_t, nu"),
    (
        ("u_t", "v_x", "nv"),
        "term 'first': stream 'nv': allowed are u, v, and derivatives up to order 4 in x, t: u_x, u_t, u_xx, u_xt, u_tt"
        " ...; and coefficients: nu",
    ),
    (("u_t", "v_xxxxx", "nu"), "stream 'v_xxxxx': allowed are u, v, and derivatives up to order 4 in x, t"),
    (("u_t", "v_x", "nu", Operator("v_xxt", {"u": 1.0})), "operator 'v_xxt': a derivative has this name"),
    (("u_t", "v_x", "nu", Operator("v", {"u": 1.0})), "operator 'v': a field has this name"),
    (("u_t", "v_x", "nu", Operator("nu", {"u": 1.0})), "stream 'nu': two operators have this name"),
    (("u_t", "v_x", "nu", Operator("L", {"nu": 1.0})), "stream 'nu': allowed are u, v, and derivatives"),
]


@pytest.mark.parametrize(("streams", "words"), STREAMS)
def test_wrong_streams_are_a_line(streams: tuple[str | Operator, ...], words: str) -> None:
    line = line_of(system(first=streams))
    assert line.startswith("pde=case: term 'first': ")
    assert words in line


def test_an_unknown_number_that_no_term_has() -> None:
    class Spare(Swinging):
        spare: Coefficient = 2.0

    check(Spare())
    line = "pde=swinging: spare=unknown: no term has it among its streams; allowed is a number, or a term with 'spare'"
    assert line_of(Spare(spare=Unknown())) == line
    check(system(nu=Unknown()))


CONDITIONS: dict[str, tuple[dict[str, Any], str]] = {
    "column": (
        {"lift": lambda self, x: x[:, :1]},
        "lift(): came with shape (48, 1) for 48 points; allowed is a",
    ),
    "three fields": ({"factor": lambda self, x: x[:, :1].expand(-1, 3)}, "factor(): came with shape (48, 3) for 48"),
    "number": (
        {"factor": lambda self, x: 1.0},
        "factor(): came as a float for 48 points; allowed is a tensor",
    ),
    "single": ({"lift": lambda self, x: x[:, 0].float()}, "lift(): came as torch.float32 on cpu; allowed is torch.fl"),
    "nan": ({"lift": lambda self, x: (x[:, 0] - 1).sqrt()}, "lift(): is [nan, nan] at ["),
    "numpy": (
        {"lift": lambda self, x: torch.from_numpy(x.numpy())[:, 0]},
        "lift(): its derivative ended in Runtime",
    ),
    "detached": (
        {"lift": lambda self, x: x[:, 1] * x[:, 0].detach().sin()},
        "lift(): its derivative in x is 0 by automatic differentiation and ",
    ),
    "detached numpy": (
        {"factor": lambda self, x: torch.from_numpy(x.detach().numpy().copy()).sin()},
        "factor(): its derivative in x is 0 by automatic differentiation and ",
    ),
    "zero": ({"factor": lambda self, x: 0 * x}, "factor(): is 0 for u at all points"),
    "zero of v": ({"factor": lambda self, x: x * torch.tensor([1.0, 0.0]).to(x)}, "factor(): is 0 for v at all points"),
    "mean": ({"lift": lambda self, x: x[:, 0] - x[:, 0].mean()}, "lift(): changes where other points are left out"),
    "random": ({"lift": lambda self, x: x[:, 0] + torch.rand_like(x[:, 0])}, "lift(): changes where other points are"),
    "moves": ({"factor": lambda self, x: x.mul_(2)[:, 0]}, "factor(): changes the points of which it is a function"),
    "parameter": ({"factor": lambda self, x: TRAINABLE * x[:, 0]}, "factor(): depends on a parameter, which would not"),
    "raises": ({"lift": lambda self, x: x.nothing}, "lift(): it ended in AttributeError: 'Tensor' object has no"),
    "inputs": ({"inputs": lambda self: ["x"]}, "inputs(): came as a list of str; allowed is a list of DecayFeature, F"),
    "no list": ({"inputs": lambda self: 1}, "inputs(): came as a int; allowed is a list of"),
    "inputs of y": (
        {"inputs": lambda self: [PeriodicFeature(kind="periodic", input="y", period=1.0)]},
        "inputs(): input=y: allowed are x, t",
    ),
}


@pytest.mark.parametrize("case", CONDITIONS)
def test_wrong_hard_conditions_are_a_line(case: str) -> None:
    attributes, words = CONDITIONS[case]
    ends = Term("ends", "boundary", ("u",), zero("u"))
    line = line_of(system(ends, **attributes))
    assert line.startswith(f"pde=case: {words}"), line


def test_a_derivative_is_wanted_only_where_a_term_has_it() -> None:
    """sqrt t has no slope at t = 0, where the values alone are wanted; and two in the equation."""
    check(made(Cooling, factor=lambda self, x: x[:, 1].sqrt()))
    moving = Term("motion", "initial", ("u_t",), zero("u_t"))
    terms = (*Cooling().terms(), moving)
    words = "factor(): its derivative in t is [inf] at ["
    assert words in line_of(made(Cooling, factor=lambda self, x: x[:, 1].sqrt(), terms=lambda self: terms))


@pytest.mark.parametrize(
    "lift",
    [
        lambda self, x: torch.ones_like(x[:, 0]),
        lambda self, x: torch.sin(200 * x[:, 0]) * torch.exp(-30 * x[:, 1]),
        lambda self, x: 1e-8 * x[:, 0] ** 3,
        lambda self, x: (x[:, 0] - 0.5).abs() * x[:, 1],
        lambda self, x: torch.where(x[:, 0] > 0.3, x[:, 0], x[:, 0] ** 2),
    ],
)
def test_right_lifts_pass(lift: Any) -> None:
    check(made(Cooling, lift=lift))


@pytest.mark.parametrize("pde", [Swinging(), Coupled()], ids=lambda pde: pde.name)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_right_systems_pass_at_once(pde: PDE, dtype: torch.dtype) -> None:
    check(pde, dtype)
    started = time.process_time()
    check(pde, dtype)
    assert time.process_time() - started < 2  # a tenth of it, on a machine that does nothing else


@pytest.mark.slow
def test_hard_conditions_are_refused_before_lightning_is_imported(tmp_path: Path) -> None:
    (tmp_path / "conf/pde").mkdir(parents=True)
    (tmp_path / "detached.py").write_text(
        "from made import Cooling\n"
        "class Detached(Cooling):\n"
        "    name = 'detached'\n"
        "    def lift(self, x):\n"
        "        return x[:, 0].detach()\n"
    )
    (tmp_path / "conf/pde/detached.yaml").write_text("# @package _global_\npde: {_target_: detached.Detached}\n")
    program = (
        f"import sys; sys.path[:0] = {[str(tmp_path), *sys.path]!r}; from pinntk.launch.cli import main;"
        " print(main(), 'pytorch_lightning' in sys.modules)"
    )
    words = ["--config-dir", "conf", "pde=detached", "method=adam", "budget=smoke"]
    ended = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["2", "False"]
    assert spoken(ended.stderr).startswith("error: pde=detached: lift(): its derivative in x is 0")
    assert len(spoken(ended.stderr).splitlines()) == 1
