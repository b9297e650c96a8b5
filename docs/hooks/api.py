"""Pages of the library's names: those that `tests/test_doctests.py` lists as public, each with its docstring."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "network": "Networks",
    "residual": "Residuals, kernel, Hessian",
    "discrete": "Discrete systems, preconditioners",
    "pdes": "Problems",
    "optim": "Optimisers",
    "common": "Common",
}


def public() -> dict[str, list[str]]:
    """Names by module."""
    tree = ast.parse((ROOT / "tests/test_doctests.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PUBLIC":
            return {module: found.split() for module, found in ast.literal_eval(node.value).items()}
    raise LookupError("tests/test_doctests.py has no PUBLIC")


def pages() -> dict[str, str]:
    """One page for each package: place on the site, Markdown for mkdocstrings."""
    found = {}
    for package, title in PACKAGES.items():
        parts = [f"# {title}\n\nNames of `pinntk.{package}`.\n"]
        for module, members in public().items():
            if module.split(".")[0] == package:
                parts.append(f"## {module}\n")
                parts += [f"::: pinntk.{module}.{name}\n    options:\n      heading_level: 3\n" for name in members]
        found[f"api/{package}.md"] = "\n".join(parts)
    return found
