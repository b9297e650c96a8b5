"""Who may import whom: dependencies point one way, and heavy or foreign things stay at the edge."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PACKAGES = (
    *("common", "network", "residual", "discrete", "pdes", "optim", "methods"),
    *("callbacks", "loggers", "runs", "launch", "report"),
)
"""In their order: a module imports from its own package and from those before it."""
DOORS = {"", "__main__", "dashboard", "status", "train", "hydra_plugins.pinntk"}
"""Where one comes in: files of a few lines, which import what they open and are imported by nothing."""
MAY_HYDRA = {
    *("launch.cli", "launch.composition", "launch.launchers", "launch.overrides"),
    "runs.trainer",
}
MAY_OMEGACONF = MAY_HYDRA | {"runs.folder"}  # for reading and writing YAML


def modules() -> dict[str, Path]:
    """Dotted name inside pinntk -> file; callbacks/ and train.py included."""
    source = ROOT / "src" / "pinntk"
    found = {".".join(path.relative_to(source).with_suffix("").parts): path for path in source.rglob("*.py")}
    found |= {f"callbacks.{path.stem}": path for path in (ROOT / "callbacks").glob("*.py")}
    found = {name.removesuffix("__init__").removesuffix("."): path for name, path in found.items()}
    plugins = {f"hydra_plugins.{path.stem}": path for path in (ROOT / "src" / "hydra_plugins").glob("*.py")}
    return found | plugins | {"train": ROOT / "train.py"}


MODULES = modules()


def imports(path: Path) -> set[str]:
    """Every module that the file imports, wherever in it: "pinntk.pdes.base", "hydra.utils", "math"."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; the project's are absolute"
            assert node.module is not None
            # `from pinntk import references` imports a module, `from pinntk.errors import BadInput` does not.
            found |= {f"pinntk.{alias.name}" for alias in node.names} if node.module == "pinntk" else {node.module}
    return found


def inside(path: Path) -> set[str]:
    """What the file imports of pinntk, by package: "pdes" for pinntk.pdes.base."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("pinntk.")}


def test_the_walk_finds_the_house() -> None:
    assert {"network.network", "pdes.base", "methods.adam", "callbacks.error", "", "train"} <= set(MODULES)
    assert imports(MODULES["methods.adam"]) >= {"typing", "pinntk.methods.settings", "pinntk.methods.plan"}
    assert inside(MODULES["status"]) == {"report"}


def test_every_module_has_its_package() -> None:
    assert {name.split(".")[0] for name in MODULES if name not in DOORS} == set(PACKAGES)


@pytest.mark.parametrize("name", sorted(MODULES.keys() - DOORS))
def test_imports_point_back_along_the_line(name: str) -> None:
    own = PACKAGES.index(name.split(".")[0])
    for other in inside(MODULES[name]) - {"__version__"}:
        assert PACKAGES.index(other) <= own, f"{name} imports pinntk.{other}, which comes after it"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nothing_imports_a_door(name: str) -> None:
    for module in imports(MODULES[name]):
        assert module not in {f"pinntk.{door}" for door in DOORS}
        assert module.split(".")[0] not in {"train", "hydra_plugins"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_only_the_command_line_imports_hydra(name: str) -> None:
    found = {module.split(".")[0] for module in imports(MODULES[name])}
    assert "hydra" not in found or name in MAY_HYDRA
    assert "omegaconf" not in found or name in MAY_OMEGACONF


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.split(".")[0] == "report"))
def test_who_looks_at_runs_reads_files_only(name: str) -> None:
    of_runs = {module for module in imports(MODULES[name]) if module.startswith("pinntk.runs")}
    assert of_runs <= {"pinntk.runs.folder", "pinntk.runs.published"}
    assert inside(MODULES[name]) <= {"report", "runs", "common"}
    assert not {module.split(".")[0] for module in imports(MODULES[name])} & {"torch", "pytorch_lightning", "hydra"}


def test_references_stand_alone() -> None:
    found = imports(MODULES["pdes.references"])
    assert {module for module in found if module.startswith("pinntk")} == {
        "pinntk.common.arrays",
        "pinntk.common.doing",
        "pinntk.common.files",
    }
    assert not {module.split(".")[0] for module in found} & {"torch", "pytorch_lightning", "pydantic"}


MATHEMATICS = ("common", "network", "residual", "discrete", "pdes", "optim")


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.split(".")[0] in MATHEMATICS))
def test_mathematics_knows_no_lightning(name: str) -> None:
    assert not any(module.startswith(("pytorch_lightning", "lightning")) for module in imports(MODULES[name]))


@pytest.mark.parametrize(
    "name", sorted(n for n in MODULES if n.startswith("pdes") and not n.startswith("pdes.declaration"))
)
def test_problems_know_no_networks_and_no_training(name: str) -> None:
    """Of the network a problem may name streams, inputs and coefficients, of the residual function what it is declared
    by."""
    known = {m for m in imports(MODULES[name]) if m.startswith(("pinntk.network", "pinntk.residual"))}
    declared = {f"pinntk.residual.{name}" for name in ("terms", "named", "regions", "shapes", "measurements")}
    assert known <= {*(f"pinntk.network.{name}" for name in ("streams", "settings", "coefficients")), *declared}
