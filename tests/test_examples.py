"""Every script in examples/ runs at its small size, draws its picture, and finds what is known of its problem."""

from __future__ import annotations

import os
import re
import runpy
import sys
from pathlib import Path

import pytest
from conftest import Child
from matplotlib.image import imread

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("ex*.py"))
NUMBER = r"([-+.\de]+)"


def ran(path: Path, folder: Path) -> str:
    """The output of the script, run in a forked child as ``python examples/<its name>`` in this folder."""

    def body(words: list[str]) -> int:
        runpy.run_path(words[0], run_name="__main__")
        return 0

    def arrange() -> None:
        os.environ |= {"PINNTK_EXAMPLES": "small", "MPLBACKEND": "Agg"}
        sys.path.insert(0, str(EXAMPLES))

    ended = Child(folder, [str(path)], arrange, body).wait()
    assert ended.code == 0, ended.err[-2000:]
    picture = imread(folder / f"{path.name[:4]}.png")
    assert len(set(map(tuple, picture[::5, ::5].reshape(-1, picture.shape[-1])))) > 3  # something is drawn
    return ended.out


def numbers(pattern: str, text: str) -> list[tuple[float, ...]]:
    found = re.findall(pattern.replace("#", NUMBER), text, flags=re.MULTILINE)
    assert found, text
    return [tuple(float(one) for one in (row if isinstance(row, tuple) else (row,))) for row in found]


def agree(name: str, out: str) -> None:
    """What the script has printed against what is known."""
    if name == "ex01":
        # The network's own measurement on its grid, and the script's against the sine.
        ((own,),) = numbers(r"^Run\(.*L2RE #:", out)
        ((mine,),) = numbers(r"^L2RE #$", out)
        assert mine == pytest.approx(own, rel=0.02)
    elif name == "ex05":
        ((adam,),) = numbers(r"^Adam: loss #,", out)
        for (loss,) in numbers(r"^(?:L-BFGS|NNCG): loss #,", out):
            assert loss < adam  # both have line searches: from the same state downward
    elif name == "ex09":
        ((nu, error),) = numbers(r"^nu # \+- #$", out)
        assert abs(nu - 0.1) < 4 * error < 0.01
    elif name == "ex13":
        errors = numbers(r"^eps #: L2RE #$", out)
        assert all(error < 1e-3 for _, error in errors)
    else:
        raise AssertionError(f"{name}: say here what is known of it")


@pytest.mark.slow
@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_an_example(path: Path, tmp_path: Path) -> None:
    out = ran(path, tmp_path)
    agree(path.name[:4], out)


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_its_picture_is_shown(path: Path) -> None:
    page = (EXAMPLES.parent / "docs" / "examples.md").read_text()
    picture = f"examples/{path.name[:4]}.png"
    assert f"]({picture})" in page
    assert f"../examples/{path.name}" in page
    assert (EXAMPLES.parent / "docs" / picture).stat().st_size < 100_000
