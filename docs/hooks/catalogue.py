"""The pages of problems, methods and callbacks, made of conf/, the classes that it names, and the runs in results/."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pinntk.report.reading import SOLVED, find_runs
from pinntk.report.table import Cell, Row, make_table
from pinntk.report.text import number
from pinntk.runs.published import METHODS

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
DOCSTRING = """
::: {0}
    options:
      show_root_heading: false
      show_root_toc_entry: false
      show_bases: false
      members: false
"""


def names(group: str) -> list[str]:
    """The choices of a group of conf/: of problems those of the paper first, of methods those of its table."""
    found = [path.stem for path in sorted((CONF / group).glob("*.yaml")) if path.stem != "none"]
    if group == "pde":
        return sorted(found, key=lambda name: ".zoo." in target("pde", name))
    return sorted(found, key=lambda name: (name not in METHODS, found.index(name)))


def target(group: str, name: str) -> str:
    """The class that a yaml names."""
    found: list[str] = re.findall(r"^ *_target_: (\S+)$", (CONF / group / f"{name}.yaml").read_text(), re.MULTILINE)
    return found[0]


def class_of(group: str, name: str) -> type:
    module, _, cls = target(group, name).rpartition(".")
    found: type = getattr(importlib.import_module(module), cls)
    return found


@cache
def rows() -> tuple[Row, ...]:
    """What was measured: all runs under results/, as the report sorts them."""
    return make_table(find_runs(ROOT / "results")[0]).rows


def settings_block(group: str, name: str) -> str:
    """A yaml as it is, comments included: the settings with their defaults."""
    path = f"conf/{group}/{name}.yaml"
    return f"## Settings\n\n`{path}`:\n\n```yaml\n{(ROOT / path).read_text().rstrip()}\n```\n"


def table(head: list[str], lines: list[list[str]]) -> str:
    for cell in sum(lines, head):  # in code Markdown takes it for what it is
        assert "|" not in re.sub(r"(`+).*?\1", "", cell), f"{cell}: a | outside of code"
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines]) + "\n"


def problem_page(name: str) -> str:
    """A problem: its docstring, terms, domain, settings, and what was measured on it."""
    cls: Any = class_of("pde", name)
    pde = cls()
    sides = zip(pde.coordinates, pde.lower, pde.upper, strict=True)
    box = " × ".join(f"{c} ∈ [{a:g}, {b:g}]" for c, a, b in sides).replace("-", "−")
    terms = [
        [f"`{t.name}`", t.where, "$\\mathcal{L}_r$" if t.equation else "$\\mathcal{L}_b$", code(t.derivatives)]
        for t in pde.terms()
    ]
    facts = {
        "fields": code(pde.fields),
        "domain": box + (f", in it {type(pde.shape).__name__}" if getattr(pde, "shape", None) else ""),
        "error measured at": f"{len(pde.evaluation_points()):,} points",
        "discrete form, for the `pcpinn` methods": "yes" if pde.Discretization else "no",
    }
    measured = [
        [f"[`{method.split()[0]}`](../methods/{method.split()[0]}.md){form}", *figures]
        for row in rows()
        if row.pde == name
        for method, cell in row.cells.items()
        for form, figures in results(cell)
    ]
    return "\n".join(
        [
            f"# {name}\n\n`pde={name}`\n{DOCSTRING.format(target('pde', name))}",
            "## What a run minimises\n",
            table(["term", "region", "loss", "what it needs"], terms),
            "\n".join(f"- {name}: {value}" for name, value in facts.items()) + "\n",
            settings_block("pde", name),
            measured_block("method", measured),
        ]
    )


def method_page(name: str) -> str:
    """A method: what its module and class say, its settings, steps by budget, and what was measured with it."""
    path = target("method", name)
    module = ast.parse(Path(importlib.import_module(path.rpartition(".")[0]).__file__ or "").read_text())
    tuned = sorted((CONF / "tuned" / name).glob("*/*.yaml"))
    measured = [
        [f"[{row.title}](../problems/{row.pde}.md){form}", *figures]
        for row in rows()
        for method, cell in row.cells.items()
        if method.split()[0] == name
        for form, figures in results(cell)
    ]
    steps = {b.stem: yaml.safe_load(b.read_text())["budget"]["steps"].get(name) for b in (CONF / "budget").glob("*")}
    return "\n".join(
        [
            f"# {name}\n\n`method={name}`" + (f", in the paper's table {METHODS[name]}" if name in METHODS else ""),
            f"\n{paragraphs(ast.get_docstring(module) or '')}\n{DOCSTRING.format(path)}",
            settings_block("method", name),
            by_budget(steps),
            "Settings found for single problems, which come on top:\n\n"
            + "".join(f"- `{t.relative_to(ROOT)}`\n" for t in tuned)
            if tuned
            else "",
            measured_block("problem", measured),
        ]
    )


def by_budget(steps: dict[str, Any]) -> str:
    if not any(steps.values()):
        return ""
    lines = [[f"`budget={name}`", text(steps[name])] for name in ("smoke", "laptop", "paper")]
    return "Iterations, unless they are set:\n\n" + table(["", "steps"], lines)


def text(value: Any) -> str:
    return ", ".join(f"{key} {n:,}" for key, n in value.items()) if isinstance(value, dict) else f"{value:,}"


def code(found: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in found)


def paragraphs(docstring: str) -> str:
    """A docstring's own marks, of which Markdown knows all but the single backticks around module names."""
    return docstring.replace("::\n\n    ", ":\n\n    ")


def measured_block(first: str, lines: list[list[str]]) -> str:
    if not lines:
        return "## Measured\n\nNo run is recorded.\n"
    head = [first, "median L2RE", "lowest", "trials", "published", "seconds", "budget", "layers", "runs", "settings"]
    said = (
        "One line for each setting; trials differ in the seed alone. Published: the paper's figure for the method."
        " Seconds of training are their median. The runs' page says what else is to be known, the machine first.\n"
    )
    return f"## Measured\n\n{said}\n{table(head, lines)}"


def results(cell: Cell) -> Iterator[tuple[str, list[str]]]:
    """What tells a setting's name from others', and its figures; the lowest median first."""
    for setting in sorted(cell.settings, key=lambda s: (s.median is None, s.median or 0.0)):
        seconds = sorted(float(run.result["seconds"]) for run in setting.runs if run.result.get("seconds"))
        folders = sorted({run.folder.relative_to(ROOT).parts[1] for run in setting.runs})
        form = (setting.runs[0].result.get("method_figures") or {}).get("form")
        yield (
            (f", {form}" if form else "") + (", hard conditions" if setting.hard else ""),
            [
                number(setting.median),
                number(setting.lowest),
                f"{setting.trials}" + (f", {setting.failed} failed" if setting.failed else ""),
                number(cell.published),
                f"{seconds[len(seconds) // 2]:.0f}" if seconds else "–",
                setting.budget,
                f"{setting.depth} × {setting.width}",
                ", ".join(f"[{name}](../results/{name}/README.md)" for name in folders),
                f"`{setting.settings_hash}`",
            ],
        )


def callbacks_page() -> str:
    """All callbacks that measure, one below the other."""
    parts = ["# What can be measured along the way\n\nSeveral as `callbacks=[ntk_drift,hessian_norm]`.\n"]
    for name in names("callbacks"):
        block = settings_block("callbacks", name).replace("## Settings\n\n", "")
        module = importlib.import_module(class_of("callbacks", name).__module__)
        parts.append(f"## {name}\n\n`callbacks={name}`\n\n{paragraphs(module.__doc__ or '')}\n\n{block}")
    return "\n".join(parts)


def index_page(group: str) -> str:
    """A table of all problems or methods: name, first line of its docstring, lowest median."""
    lines = []
    for name in names(group):
        first = (class_of(group, name).__doc__ or "").partition("\n\n")[0].replace("\n", " ").strip().removesuffix("::")
        lines.append([f"[`{name}`]({name}.md)", " ".join(first.split()), best(group, name)])
    if group == "pde":
        head = ["`pde=`", "equation", "lowest median L2RE"]
        above = '<!-- include README.md "L2RE is" "**adam**:" -->'
        said = "Medians are over trials of one setting, its method beside them; without fits to a discrete solution."
        below = '<!-- include README.md "| pde | grid" "## The kernel" -->'
        return f"# Problems\n\n{above}\n\n{said}\n\n{table(head, lines)}\n## Discrete forms\n\n{below}\n"
    head = ["`method=`", "what it is", "problems it was run on"]
    below = '<!-- include README.md "**adam**:" "| pde | grid" -->'
    return f"# Methods\n\n{table(head, lines)}\n{below}\n"


def best(group: str, name: str) -> str:
    if group == "method":
        found = {row.pde for row in rows() for m, cell in row.cells.items() if m.split()[0] == name and cell.settings}
        return f"{len(found)}" if found else "–"
    known = [
        (cell.median, method)
        for row in rows()
        if row.pde == name
        for method, cell in row.cells.items()
        if cell.median is not None and not method.endswith(SOLVED)
    ]
    return "–" if not known else f"{number(min(known)[0])}, `{min(known)[1]}`"


def pages() -> dict[str, str]:
    """All of them: place on the site, Markdown."""
    return {
        "problems/index.md": index_page("pde"),
        **{f"problems/{name}.md": problem_page(name) for name in names("pde")},
        "methods/index.md": index_page("method"),
        **{f"methods/{name}.md": method_page(name) for name in names("method")},
        "callbacks.md": callbacks_page(),
    }
