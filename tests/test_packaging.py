"""What is installed: wheel and source archive hold what git has, and run from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import pytest
from conftest import FAST, result_of, spoken

import pinntk

ROOT = Path(__file__).parents[1]
PLACES = {"src/pinntk/": "pinntk/", "src/hydra_plugins/": "hydra_plugins/"}
PLACES |= {"callbacks/": "pinntk/callbacks/", "conf/": "pinntk/conf/"}
"""Folders of the repository, and where they are installed."""


def tracked() -> list[str]:
    """The files that git has or would take."""
    done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a checkout of git")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def build(source: Path, what: str, out: Path) -> Path:
    """The wheel or sdist that the build backend makes of a folder."""
    out.mkdir(exist_ok=True)
    code = f"from setuptools import build_meta; print(build_meta.build_{what}({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a copy, so that nothing is made in the checkout: source archive, and the wheel of that."""
    folder = tmp_path_factory.mktemp("packaging")
    copy = folder / "copy"
    for name in tracked():
        if not name.startswith(("results/", "docs/")):
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    direct = build(copy, "wheel", folder / "direct")
    with tarfile.open(build(copy, "sdist", folder)) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    made = build(source, "wheel", folder)
    assert zipfile.ZipFile(made).namelist() == zipfile.ZipFile(direct).namelist()
    return made


@pytest.mark.slow
def test_the_wheel_holds_what_git_has(wheel: Path) -> None:
    expected = {
        place + name.removeprefix(folder)
        for name in tracked()
        for folder, place in PLACES.items()
        if name.startswith(folder)
    }
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert found == expected
    wanted = {"pinntk/py.typed", "pinntk/report/page.js", "pinntk/network/fused/kernel.cpp", "pinntk/conf/config.yaml"}
    assert wanted <= found


@pytest.mark.slow
def test_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith("/METADATA"))
        found: Any = HeaderParser().parsestr(file.read(name).decode())
    assert (found["Name"], found["Version"]) == ("pinntk", pinntk.__version__)
    assert found["Requires-Python"] == ">=3.11"
    assert found["License-Expression"] == "MIT"
    needed = [line for line in found.get_all("Requires-Dist") if "extra ==" not in line]
    assert not [line for line in needed if line.startswith(("wandb", "tensorboard", "mlflow", "ray", "submitit"))]
    assert {"wandb", "dashboard", "tensorboard", "mlflow", "slurm", "ray"} <= set(found.get_all("Provides-Extra"))
    assert "Typing :: Typed" in found.get_all("Classifier")


@pytest.mark.slow
def test_it_runs_from_any_folder_of_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    environment, elsewhere = tmp_path / "environment", tmp_path / "elsewhere"
    elsewhere.mkdir()
    venv.create(environment, symlinks=os.name != "nt")
    inside = {"base": str(environment), "platbase": str(environment)}
    site, scripts = (Path(sysconfig.get_path(key, "venv", inside)) for key in ("purelib", "scripts"))
    (site / "base.pth").write_text(f"{sysconfig.get_path('purelib')}\n" + "".join(f"{p}\n" for p in packages()))
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    python = scripts / Path(sys.executable).name
    for words in (
        ["-c", "import pinntk; print(pinntk.__file__)"],
        ["-m", "pinntk", "pde=burgers", "method=gdnd", "budget=smoke", "threads=1", "width=8"],
        ["-m", "pinntk.report", "runs"],
        ["-m", "pinntk.status", "runs"],
    ):
        done = subprocess.run([python, *words], cwd=elsewhere, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        if words[0] == "-c":
            assert Path(done.stdout.strip()).is_relative_to(site)
    (result,) = elsewhere.glob("runs/**/result.json")
    assert result_of(result.parent)["status"] == "completed"
    assert (elsewhere / "report" / "index.html").is_file()


def packages() -> list[str]:
    """Folders of installed packages of this environment, without those of checkouts."""
    return [path for path in sys.path if path.endswith("site-packages")]


ABSENT = """
import sys
for name in ("wandb", "wandb_workspaces", "tensorboard", "ray", "submitit", "mlflow"):
    sys.modules[name] = None  # importing it fails
from pinntk.launch.cli import main
words = sys.argv[1:]
code = main(words)
codes = [main([*words, f"logger={name}", "seed=1"]) for name in ("wandb", "tensorboard", "mlflow")]
from pinntk.report.dashboard import main as dashboard
print("CODES", code, *codes, dashboard(["runs"]))
"""


def test_the_core_runs_without_any_extra(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ABSENT, *FAST], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "CODES 0 2 2 2 2" in done.stdout, done.stderr
    lines = spoken(done.stderr).splitlines()
    assert [line.startswith("error: logger.") for line in lines] == [True, True, True, False], done.stderr
    for line, extra in zip(lines, ("wandb", "tensorboard", "mlflow", "dashboard"), strict=True):
        assert f"pip install 'pinntk[{extra}]'" in line
    assert [path.parent.name for path in tmp_path.glob("runs/**/result.json")] == ["seed0"]
    assert not list(tmp_path.glob("runs/**/seed1"))
