"""README, CSV and page against the result.json files, computed here once more: none of the report's code is used."""

import csv
import json
import random
import statistics
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from handmade import make_run

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "results" / "table2"
BEGIN, END = "<!-- table 2 -->", "<!-- end of table 2 -->"
NAMES = {"pinn_ntk": "PINN-NTK", "pcpinn": "PCPINN", "adam": "Adam", "adam_lbfgs": "Adam+L-BFGS", "gdnd": "GDND"}
Place = tuple[str, str]
"""Problem and method, as a table names them."""


@dataclass(frozen=True)
class Setting:
    """The trials of one setting."""

    errors: list[float]
    trials: int

    @property
    def median(self) -> float:
        return statistics.median(self.errors)


def settings_of(root: Path) -> dict[Place, dict[str, Setting]]:
    """By place and settings hash, from the files alone."""
    trials: dict[tuple[Place, str], list[dict[str, Any]]] = defaultdict(list)
    for path in root.rglob("result.json"):
        one = json.loads(path.read_text())
        problem = f"wave, a = {one['pde_parameters']['a']}" if one["pde"] == "wave" else one["pde"]
        solved = (one.get("method_figures") or {}).get("form") == "solved"
        method = NAMES.get(one["method"], one["method"]) + (", fitted to the discrete solution" if solved else "")
        trials[(problem, method), one["settings_hash"]].append(one)
    found: dict[Place, dict[str, Setting]] = defaultdict(dict)
    for (place, name), records in trials.items():
        assert len({one["seed"] for one in records}) == len(records), f"{place}, {name}: a trial twice"
        done = [one["l2re"] for one in records if one["status"] == "completed" and one["l2re"] is not None]
        found[place][name] = Setting(done, len(records))
    return found


def best_of(settings: dict[str, Setting]) -> tuple[str, Setting] | None:
    """The setting with the lowest median."""
    measured = [(name, setting) for name, setting in settings.items() if setting.errors]
    return min(measured, key=lambda pair: pair[1].median, default=None)


class Cells(HTMLParser):
    """The data of the cells of the page's main table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[Place, dict[str, str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        data = {name.removeprefix("data-"): value or "" for name, value in attrs if name.startswith("data-")}
        if tag == "td" and "method" in data:
            method = data["method"]
            name = NAMES.get(method.removesuffix(" solved"), method.removesuffix(" solved"))
            fitted = ", fitted to the discrete solution" if method.endswith(" solved") else ""
            self.found[data["problem"], name + fitted] = data


def block_of(text: str) -> tuple[dict[Place, str], str]:
    """The cells of the table between the marks of a README, and what stands below it."""
    inside = text.split(BEGIN)[1].split(END)[0].strip()
    table, _, below = inside.partition("\n\n")
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    cells = {(row[0], method): cell for row in rows for method, cell in zip(head[1:], row[1:], strict=True)}
    return cells, below


def in_three_digits(value: float) -> str:
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent):+d}"


def check_block(text: str, settings: dict[Place, dict[str, Setting]], published: dict[Place, str]) -> None:
    """The README's block: medians, published figures, the row's best, what did not complete."""
    cells, below = block_of(text)
    assert set(settings) <= set(cells) == set(published)
    medians = {place: found[1].median for place, ours in settings.items() if (found := best_of(ours))}
    for place, cell in cells.items():
        ours, bracket = cell.split(" (")
        assert bracket.rstrip(")") == (in_three_digits(float(published[place])) if published[place] else "–")
        row = [median for other, median in medians.items() if other[0] == place[0]]
        shown = in_three_digits(medians[place]) if place in medians else "–"
        assert ours == (f"**{shown}**" if place in medians and medians[place] == min(row) else shown), place
        best = best_of(settings.get(place, {}))
        if best is not None:
            count = f"{place[0]}, {place[1]}: {len(best[1].errors)} of {best[1].trials}"
            assert (count in below) == (len(best[1].errors) < best[1].trials), count


def handmade(root: Path) -> None:
    """Runs of most problems: several settings, failures, and a lowest error where the median is not the lowest."""
    draw = random.Random(5)
    problems: list[dict[str, Any]] = [
        {"pde": "convection", "pde_parameters": {"beta": 40.0}},
        {"pde": "wave", "pde_parameters": {"a": 4, "C": 4.0}},
        {"pde": "wave", "pde_parameters": {"a": 5, "C": 4.0}},
        {"pde": "burgers"},
        {"pde": "heat2d", "pde_parameters": {"k": 1.0, "m1": 4, "m2": 2}},
    ]
    for n, problem in enumerate(problems):
        for k, method in enumerate((*NAMES, "ssbroyden")):
            for setting in range((n + k) % 3):
                more: dict[str, Any] = {"method": method, "settings_hash": f"{n}{k}{setting}" * 4}
                if method == "pcpinn":
                    more["method_figures"] = {"form": "solved" if setting else "lagged"}
                for seed in range(1 + (n + 2 * k + setting) % 5):
                    status = draw.choice(["completed"] * 4 + ["failed", "interrupted"])
                    make_run(root, **problem, **more, seed=seed, status=status, l2re=10 ** draw.uniform(-6, 0))
    for seed, error in enumerate((0.5, 1e-3, 0.6)):
        make_run(root, method="adam", settings_hash="lucky" * 2, seed=seed, l2re=error)
    for seed, error in enumerate((0.02, 0.03, 0.02)):
        make_run(root, method="adam", settings_hash="steady" * 2, seed=seed, l2re=error)


@pytest.mark.parametrize("which", ["handmade", "results"])
def test_readme_csv_and_page_say_what_the_runs_say(which: str, tmp_path: Path) -> None:
    root = RUNS
    if which == "handmade":
        root = tmp_path / "runs"
        handmade(root)
    elif not any(RUNS.rglob("result.json")):
        pytest.skip("results/table2 has no runs")
    readme, before = tmp_path / "README.md", f"# Head\n\n{BEGIN}\n| old |\n{END}\n\nTail | of it\n"
    readme.write_text(before)
    command = [
        sys.executable,
        "-m",
        "pinntk.report",
        str(root),
        "--out",
        str(tmp_path / "out"),
        "--readme",
        str(readme),
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    settings = settings_of(root)
    assert settings

    with (tmp_path / "out" / "table2.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    rows: dict[Place, dict[str, dict[str, str]]] = defaultdict(dict)
    for line in lines:
        method = line["method"].removesuffix(" solved")
        fitted = ", fitted to the discrete solution" if line["method"].endswith(" solved") else ""
        rows[line["problem"], NAMES.get(method, method) + fitted][line["settings_hash"]] = line
    published = {place: next(iter(found.values()))["published"] for place, found in rows.items()}
    assert {place: set(found) for place, found in rows.items() if set(found) != {""}} == {
        place: set(found) for place, found in settings.items()
    }
    for place, found in settings.items():
        for name, setting in found.items():
            line = rows[place][name]
            assert line["completed"] == str(len(setting.errors))
            assert line["median"] == (repr(setting.median) if setting.errors else "")
            assert line["lowest"] == (repr(min(setting.errors)) if setting.errors else "")
            assert int(line["trials"]) >= setting.trials  # a run at work has no result.json yet

    cells = Cells((tmp_path / "out" / "index.html").read_text()).found
    assert set(cells) == set(rows)
    for place, data in cells.items():
        assert data["published"] == published[place]
        best = best_of(settings.get(place, {}))
        if best is not None:
            name, setting = best
            assert data["hash"] == name
            assert data["median"] == data["value"] == repr(setting.median)
            assert data["lowest"] == repr(min(setting.errors))
            assert data["completed"] == str(len(setting.errors))
            assert ("order" in data) == bool(published[place])
        else:
            assert data["value"] == ""
            assert "order" not in data

    text = readme.read_text()
    assert text.split(BEGIN)[0] == before.split(BEGIN)[0]
    assert text.split(END)[1] == before.split(END)[1]
    check_block(text, settings, published)
    if which == "results" and BEGIN in (kept := (ROOT / "README.md").read_text()):
        check_block(kept, settings, published)
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    assert readme.read_text() == text


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("no marks", f"0 × {BEGIN}"),
        (f"{BEGIN}\n", f"0 × {END}"),
        (f"{END}\n{BEGIN}\n", "below it"),
        (f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n", f"2 × {BEGIN}"),
        (None, "No such file"),
    ],
)
def test_a_readme_without_the_marks(content: str | None, named: str, tmp_path: Path) -> None:
    """One line, exit code 2, and nothing is written."""
    make_run(tmp_path / "runs")
    readme = tmp_path / "README.md"
    if content is not None:
        readme.write_text(content)
    command = [sys.executable, "-m", "pinntk.report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    ended = subprocess.run([*command, "--readme", str(readme)], capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert all(part in ended.stderr for part in ("--readme", named, "allowed: "))
    assert not (tmp_path / "out").exists()
    assert (readme.read_text() if content is not None else None) == content
