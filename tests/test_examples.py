"""Every script in examples/ runs at its small size, draws its picture, and finds what is known of its problem."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from matplotlib.image import imread

from pinntk.discrete.conditioning import ConditionNumbers
from pinntk.pdes.wave import Wave, WaveDiscretization

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("ex*.py"))
NUMBER = r"([-+.\de]+)"


def ran(path: Path, folder: Path) -> str:
    """The output of ``python examples/<its name>`` in this folder.

    A process of its own: in a forked one OpenMP waits for ever for the threads that this one may have used.
    """
    environment = {**os.environ, "PINNTK_EXAMPLES": "small", "MPLBACKEND": "Agg"}
    command = [sys.executable, str(path)]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=800, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    picture = imread(folder / f"{path.name[:4]}.png")
    assert len(set(map(tuple, picture[::5, ::5].reshape(-1, picture.shape[-1])))) > 3  # something is drawn
    return ended.stdout


def numbers(pattern: str, text: str) -> list[tuple[float, ...]]:
    found = re.findall(pattern.replace("#", NUMBER), text, flags=re.MULTILINE)
    assert found, text
    return [tuple(float(one) for one in (row if isinstance(row, tuple) else (row,))) for row in found]


def known_ex01(out: str) -> None:
    # The network's own measurement on its grid, and the script's against the sine.
    ((own,),) = numbers(r"^Run\(.*L2RE #:", out)
    ((mine,),) = numbers(r"^L2RE #$", out)
    assert mine == pytest.approx(own, rel=0.02)


def known_ex02(out: str) -> None:
    # A row's gradient is that of u_t + beta u_x: its square is a polynomial of degree two in beta.
    rows = np.array(numbers(r"^beta #: Tr K_rr #, Tr K_uu #, L2RE #$", out))
    through_three = np.polyfit(rows[:3, 0], rows[:3, 1], 2)
    assert np.polyval(through_three, rows[3, 0]) == pytest.approx(rows[3, 1], rel=1e-4)
    assert rows[:, 2] == pytest.approx(rows[0, 2], rel=1e-6)


def known_ex03(out: str) -> None:
    adam, ours = numbers(r": L2RE #; from K lambda_b #, lambda_r #$", out)
    for _, boundary, residual in (adam, ours):
        assert 1 / boundary + 1 / residual == pytest.approx(1, abs=1e-5)
    # The weight that the training took at its own points, and that of the kernel at the script's.
    ((own,),) = numbers(r"^the training's last lambda_b: #$", out)
    assert own == pytest.approx(ours[1], rel=0.2)


def known_ex04(out: str) -> None:
    # The dense matrices' numbers against those by Lanczos and sparse factors.
    discrete = Wave(a=2).discretize(WaveDiscretization(cells=16, time_steps=50))
    expected = ConditionNumbers(discrete, discrete.solve())
    ((plain,),) = numbers(r"^A: condition #$", out)
    assert plain == pytest.approx(expected.plain().condition, rel=1e-3)
    for drop, condition, error in numbers(r"^drop tolerance #: condition #, \|P\^-1 b - u\| / \|u\| #$", out):
        found = expected.preconditioned("levels", drop)
        assert condition == pytest.approx(found.condition, rel=1e-3)
        assert error == pytest.approx(found.error, rel=0.06)


def known_ex05(out: str) -> None:
    ((adam,),) = numbers(r"^Adam: loss #,", out)
    for (loss,) in numbers(r"^(?:L-BFGS|NNCG): loss #,", out):
        assert loss < adam  # both have line searches: from the same state downward


def known_ex06(out: str) -> None:
    # Of two weights, a bias and a weight behind it, which the output is linear in, 15 of 16 pairs; of 10 neurons.
    shares = dict(re.findall(r"^(\w+): ([.\d]+) of the remainder's entries", out, flags=re.MULTILINE))
    assert float(shares["convection"]) == pytest.approx(15 * 10 / 41**2, abs=1e-6)
    assert float(shares["burgers"]) > 0.9
    ratios = [ratio for _, ratio in numbers(r" after #: remainder / Hessian #,", out)]
    assert len(ratios) == 6
    assert min(ratios) > 0


def known_ex07(out: str) -> None:
    (_, narrow, far), (_, wide, near) = numbers(r"^convection, width #: spread #, drift #$", out)
    # Of widths 10 and 320. K(0) is a mean over neurons that are independent: in theory the ratio's root, 5.7.
    assert narrow / wide > 2
    assert far > near


def known_ex08(out: str) -> None:
    ((wrong,),) = numbers(r"^vorticity: error #;", out)  # against the solution's own formula
    assert wrong < 0.1


def known_ex09(out: str) -> None:
    ((nu, error),) = numbers(r"^nu # \+- #$", out)
    assert abs(nu - 0.1) < 4 * error < 0.01


def known_ex10(out: str) -> None:
    found = re.findall(
        rf"^(soft|hard): L2RE {NUMBER}, at t = 0 wrong by at most {NUMBER}, terms (.*)$", out, re.MULTILINE
    )
    (_, soft, early, _), (_, hard, never, terms) = found
    assert float(never) < 1e-14 < 1e-6 < float(early)
    assert float(hard) < float(soft)
    assert "initial" not in terms


def known_ex11(out: str) -> None:
    one, two = numbers(r"^\d slabs?: L2RE #, by this grid #; # iterations$", out)
    for own, mine, _ in (one, two):  # the run's measurement on its grid, and the script's against the sine
        assert mine == pytest.approx(own, rel=0.1)
    assert one[2] == two[2]


def known_ex12(out: str) -> None:
    # The medians that the report writes, of the errors that the sweep's table has.
    errors: dict[str, list[float]] = {}
    for error, method in re.findall(rf"^\d+ +completed +{NUMBER} +method=(\w+) ", out, flags=re.MULTILINE):
        errors.setdefault(method, []).append(float(error))
    assert {len(of) for of in errors.values()} == {3}
    row = next(line for line in out.splitlines() if line.startswith("| reaction"))
    medians = [float(found) for found in re.findall(rf"median {NUMBER};", row)]
    assert medians == [pytest.approx(median(errors[name]), rel=0.01) for name in ("adam", "adam_lbfgs", "gdnd")]


def known_ex13(out: str) -> None:
    errors = numbers(r"^eps #: L2RE #$", out)
    assert all(error < 1e-3 for _, error in errors)


@pytest.mark.slow
@pytest.mark.timeout(900)  # half a minute on an idle machine
@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_an_example(path: Path, tmp_path: Path) -> None:
    globals()[f"known_{path.name[:4]}"](ran(path, tmp_path))


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_its_picture_is_shown(path: Path) -> None:
    page = (EXAMPLES.parent / "docs" / "examples.md").read_text()
    picture = f"examples/{path.name[:4]}.png"
    assert f"]({picture})" in page
    assert f"../examples/{path.name}" in page
    assert (EXAMPLES.parent / "docs" / picture).stat().st_size < 100_000
