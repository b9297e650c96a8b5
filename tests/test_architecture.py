"""Who may import whom: dependencies point one way, and heavy or foreign things stay at the edge."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS: list[set[str]] = [
    {"errors", "fingerprint", "references", "streams", "difference", "preconditioner", "published", "plots"},
    {"network"},
    {"points", "discretization", "effect"},
    {"pdes", "conditioning"},
    {"residuals"},
    {"ntk", "collocation", "declaration"},
    {"loss", "theorem1", "spectra"},
    {"hessian"},
    {"optim"},
    {"methods"},
    {"callbacks"},
]
"""From the bottom to the top; a module imports from its own package and from the layers below."""
LEAVES = {"loggers"}
"""Import nothing else of pinntk, and are imported by no layer."""
FRONT = {
    "",
    "__main__",
    "checkpoints",
    "cli",
    "clusters",
    "components",
    "composition",
    "devices",
    "elsewhere",
    "finished",
    "folder",
    "launchers",
    "overrides",
    "record",
    "run",
    "settings",
    "stopping",
    "sweep",
}
FRONT |= {"train", "trained", "trainer", "validation", "reading", "report", "status"}
"""The command line and the run: built on the layers, imported by none of them."""
READERS = {"reading", "report", "status"}
MAY_HYDRA = {"cli", "composition", "finished", "launchers", "overrides", "run", "train", "trainer"}
MAY_OMEGACONF = MAY_HYDRA | {"folder"}  # for reading and writing YAML


def modules() -> dict[str, Path]:
    """Dotted name inside pinntk -> file; callbacks/ and train.py included."""
    source = ROOT / "src" / "pinntk"
    found = {".".join(path.relative_to(source).with_suffix("").parts): path for path in source.rglob("*.py")}
    found |= {f"callbacks.{path.stem}": path for path in (ROOT / "callbacks").glob("*.py")}
    found = {name.removesuffix("__init__").removesuffix("."): path for name, path in found.items()}
    return found | {"train": ROOT / "train.py"}


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
    """What the file imports of pinntk, by group: "pdes" for pinntk.pdes.base."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("pinntk.")}


def layer(group: str) -> int:
    (number,) = (i for i, groups in enumerate(LAYERS) if group in groups)
    return number


def test_the_walk_finds_the_house() -> None:
    assert {"network", "pdes.base", "methods.adam", "callbacks.error", "", "train"} <= set(MODULES)
    assert imports(MODULES["methods.adam"]) >= {"torch", "pinntk.methods.base", "pinntk.methods.phases"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_dependencies_point_one_way(name: str) -> None:
    group = name.split(".")[0]
    if group in FRONT:
        return
    imported = inside(MODULES[name])
    if group in LEAVES:
        assert imported <= {group}
        return
    assert any(group in groups for groups in LAYERS), f"{name}: new module; give it its place in LAYERS"
    for other in imported - {group}:
        assert other not in FRONT | LEAVES, f"{name} imports pinntk.{other}, which no layer may"
        assert layer(other) < layer(group), f"{name} imports pinntk.{other}, which stands above or beside it"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nothing_imports_the_callbacks(name: str) -> None:
    """The run names them as text; they watch the package, which works without them."""
    if not name.startswith("callbacks"):
        assert "callbacks" not in inside(MODULES[name])


@pytest.mark.parametrize("name", sorted(MODULES))
def test_only_the_command_line_imports_hydra(name: str) -> None:
    found = {module.split(".")[0] for module in imports(MODULES[name])}
    assert "hydra" not in found or name in MAY_HYDRA
    assert "omegaconf" not in found or name in MAY_OMEGACONF


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.split(".")[0] in READERS))
def test_who_looks_at_runs_reads_files_only(name: str) -> None:
    assert inside(MODULES[name]) <= READERS | {"errors", "folder", "plots", "published"}
    assert not {module.split(".")[0] for module in imports(MODULES[name])} & {"torch", "pytorch_lightning", "hydra"}


def test_references_stand_alone() -> None:
    found = {module.split(".")[0] for module in imports(MODULES["references"])}
    assert not found & {"torch", "pinntk", "pytorch_lightning", "pydantic"}


@pytest.mark.parametrize(
    "name", ["streams", "network", "points", "residuals", "discretization", "difference", "preconditioner"]
)
def test_mathematics_knows_no_lightning(name: str) -> None:
    assert not any(module.startswith(("pytorch_lightning", "lightning")) for module in imports(MODULES[name]))


def test_problems_know_no_networks_and_no_training() -> None:
    """Of the network module a problem may take the strictness of settings, and nothing else."""
    for name, path in MODULES.items():
        if name.startswith("pdes"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module == "pinntk.network":
                    assert {alias.name for alias in node.names} <= {"STRICT", "Positive"}, name
