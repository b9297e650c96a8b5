"""The published figures: the paper's Table 2 as it is printed."""

import math

import pytest

from pinntk.pdes.base import PDE
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.convection import Convection
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.reaction import Reaction
from pinntk.pdes.wave import Wave
from pinntk.runs.published import METHODS, TABLE_2, published_row

PRINTED = """
           | PINN-NTK | PCPINN  | Adam    | Adam+L-BFGS | GDND
convection | 2.18e+0  | -       | 5.96e-2 | 4.19e-3     | 1.94e-3
wave       | 9.79e-2  | 1.28e-2 | 3.49e-1 | 5.52e-2     | 1.27e-2
reaction   | 1.44e-2  | -       | 2.12e-2 | 1.92e-2     | 9.92e-3
burgers    | 1.84e-2  | 1.42e-2 | 1.45e-2 | 1.33e-2     | -
heat2d     | 1.00e+0  | 2.11e-1 | 9.99e-1 | 1.00e+0     | -
"""


def test_the_figures() -> None:
    header, *lines = ([cell.strip() for cell in line.split("|")] for line in PRINTED.strip("\n").splitlines())
    assert list(METHODS.values()) == header[1:]
    expected = {(pde, m): float(c) for pde, *cells in lines for m, c in zip(METHODS, cells, strict=True) if c != "-"}
    # The paper's row of the wave equation is two of ours, which share no cell.
    found = [((row.pde, method), value) for row in TABLE_2 for method, value in row.l2re.items()]
    assert len(found) == len(expected)
    assert dict(found) == expected


@pytest.mark.parametrize("pde", [Convection(), Wave(a=4), Wave(a=5), Reaction(), Burgers(), Heat2D()], ids=str)
def test_each_row_is_that_of_the_problems_coefficients(pde: PDE) -> None:
    row = published_row(pde.name, pde.parameters())
    assert row is not None
    assert row.fits(pde.name, pde.parameters())
    assert sum(other.fits(pde.name, pde.parameters()) for other in TABLE_2) == 1


@pytest.mark.parametrize("pde", [Convection(beta=30.0), Wave(a=3), Burgers(nu=math.pi / 100), Heat2D(k=2.0)], ids=str)
def test_other_coefficients_have_no_figures(pde: PDE) -> None:
    assert published_row(pde.name, pde.parameters()) is None


def test_titles() -> None:
    titles = ["convection", "wave, a = 4", "wave, a = 5", "reaction", "burgers", "heat2d"]
    assert [row.title for row in TABLE_2] == titles


def test_the_row_of_burgers_says_what_its_reference_allows() -> None:
    (burgers,) = (row for row in TABLE_2 if row.pde == "burgers")
    assert "1.33e-2" in burgers.note
    assert "Cole-Hopf" in burgers.note
