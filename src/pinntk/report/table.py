"""The paper's Table 2 from runs: what stands in each cell, before it is written in one format or another."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pinntk.report.reading import SOLVED, Run, differences, distinct
from pinntk.runs.published import METHODS, TABLE_2, PublishedRow, published_row


@dataclass(frozen=True)
class Setting:
    """The trials of one setting: same settings hash, different seeds.

    Attributes:
        settings_hash, width, depth, budget: of the setting.
        differs: in which settings it differs from the others of its cell; empty where there are no others.
        runs: one per trial.
    """

    settings_hash: str
    width: int
    depth: int
    budget: str
    differs: str
    runs: tuple[Run, ...]

    @property
    def hard(self) -> bool:
        """Whether the network has the conditions built in."""
        return bool((self.runs[0].config.get("network") or {}).get("hard"))

    @property
    def errors(self) -> list[float]:
        """The L2RE of the trials that completed, ascending."""
        return sorted(run.l2re for run in self.runs if run.l2re is not None)

    @property
    def trials(self) -> int:
        """All trials, whatever became of them."""
        return len(self.runs)

    @property
    def failed(self) -> int:
        """Trials that failed, or ended with an error that is not finite."""
        return sum(run.status == "failed" for run in self.runs) + self.count("completed") - self.completed

    @property
    def completed(self) -> int:
        """Trials that completed, with an error that is finite where one can be measured."""
        return sum(run.status == "completed" and (run.l2re is not None or not run.reference_known) for run in self.runs)

    @property
    def unmeasured(self) -> bool:
        """Whether trials completed and no error is known of any, for want of a reference."""
        return not self.errors and self.completed > 0

    def count(self, status: str) -> int:
        """Trials with a status."""
        return sum(run.status == status for run in self.runs)

    @property
    def lowest(self) -> float | None:
        """The lowest error; None where no trial completed."""
        return self.errors[0] if self.errors else None

    @property
    def median(self) -> float | None:
        """The median error; None where no trial completed."""
        return statistics.median(self.errors) if self.errors else None

    @property
    def highest(self) -> float | None:
        """The highest error; None where no trial completed."""
        return self.errors[-1] if self.errors else None

    @property
    def spread(self) -> float | None:
        """Highest minus lowest error; None of fewer than two."""
        return self.errors[-1] - self.errors[0] if len(self.errors) > 1 else None

    @property
    def best_run(self) -> Run | None:
        """The run with the lowest error; where none can be measured, with the lowest loss."""
        if self.unmeasured:
            ended = [run for run in self.runs if run.status == "completed" and run.result.get("loss") is not None]
            return min(ended, key=lambda run: float(run.result["loss"]), default=None)
        return min((run for run in self.runs if run.l2re is not None), key=lambda run: run.l2re or 0.0, default=None)


@dataclass(frozen=True)
class Cell:
    """A method on a problem: every setting that was run, the one with the lowest error first."""

    settings: tuple[Setting, ...]
    published: float | None

    @property
    def lowest(self) -> float | None:
        """The lowest error of all settings."""
        return self.settings[0].lowest if self.settings else None

    @property
    def usual(self) -> Setting | None:
        """The setting with the lowest median error, what one may expect of the method; None where nothing was run.

        The lowest error of all would favour the setting with the most trials. Where no error is known: the first.
        """
        measured = [setting for setting in self.settings if setting.median is not None]
        return min(measured, key=lambda setting: setting.median or 0.0, default=next(iter(self.settings), None))

    @property
    def median(self) -> float | None:
        """The median error of that setting."""
        return self.usual.median if self.usual else None


@dataclass(frozen=True)
class Row:
    """A problem with its coefficients; cells by method."""

    pde: str
    parameters: Mapping[str, Any]
    title: str
    note: str
    cells: Mapping[str, Cell]

    @property
    def best(self) -> float | None:
        """The lowest of our errors."""
        return min((cell.lowest for cell in self.cells.values() if cell.lowest is not None), default=None)

    @property
    def best_median(self) -> float | None:
        """The lowest of our medians."""
        return min((cell.median for cell in self.cells.values() if cell.median is not None), default=None)

    @property
    def best_published(self) -> float | None:
        """The lowest of the published errors."""
        return min((cell.published for cell in self.cells.values() if cell.published is not None), default=None)


@dataclass(frozen=True)
class Table:
    """Table 2: the paper's rows and columns, then whatever else was run."""

    methods: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def title_of(run: Run) -> str:
    """The problem of a run as the table names it: coefficients are named where they are not the published ones, those
    that the training finds as unknown."""
    known = published_row(run.pde, run.parameters)
    if known is not None:
        return known.title
    if run.pde not in {row.pde for row in TABLE_2}:
        defaults: Mapping[str, Any] = {}
    else:
        defaults = next(row.parameters for row in TABLE_2 if row.pde == run.pde)
    different = [
        f"{name} unknown" if isinstance(value, Mapping) else f"{name} = {value}"
        for name, value in run.parameters.items()
        if defaults.get(name) != value
    ]
    return ", ".join([run.pde, *different])


def method_title(method: str) -> str:
    """The paper's name of a method, or of a column; of others our own."""
    name = method.removesuffix(SOLVED)
    title = METHODS.get(name, name)
    return title if name == method else f"{title}, fitted to the discrete solution"


def short_title(method: str) -> str:
    """The same where there is little room."""
    return method_title(method).removesuffix(" to the discrete solution")


def make_table(runs: Iterable[Run], lost: Sequence[str] = ()) -> Table:
    """Sort runs into the table; ``lost`` are lines about jobs that have no run (`without_folder`), for the notes.

    Left out, and said so in the notes: runs that took no step (what is measured there is the initial network), and
    second copies of a trial in another folder.
    """
    every = list(runs)
    trained = [run for run in every if not (run.status == "completed" and run.steps == 0)]
    trials = distinct(trained)
    notes = []
    if untrained := len(every) - len(trained):
        notes.append(f"{untrained} runs of no step at all are left out: they measure the network at initialisation.")
    if copies := len(trained) - len(trials):
        notes.append(f"{copies} folders hold a trial (same settings, same seed) that another folder has: counted once.")
    if lost:
        notes += [f"{len(lost)} jobs of sweeps have no run folder and are in no cell:", *lost]
    others = sorted({run.column for run in trials} - METHODS.keys())
    methods = (*METHODS, *others)
    of_title: dict[str, list[Run]] = {}
    for run in trials:
        of_title.setdefault(title_of(run), []).append(run)
    titles = dict.fromkeys([*(row.title for row in TABLE_2), *sorted(of_title)])
    by_title = {row.title: row for row in TABLE_2}
    rows = [_row(title, by_title.get(title), methods, of_title.get(title, [])) for title in titles]
    return Table(methods, tuple(rows), tuple(notes))


def _row(title: str, published: PublishedRow | None, methods: Sequence[str], runs: Sequence[Run]) -> Row:
    figures = published.l2re if published else {}
    cells = {m: Cell(_settings([run for run in runs if run.column == m]), figures.get(m)) for m in methods}
    pde, parameters = (published.pde, published.parameters) if published else (runs[0].pde, runs[0].parameters)
    return Row(pde, parameters, title, published.note if published else "", cells)


def _settings(runs: Sequence[Run]) -> tuple[Setting, ...]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.settings_hash, []).append(run)
    named = {"network.width", "network.depth"}  # by every setting anyhow
    settings = {name: group[0].settings().items() for name, group in groups.items() if group[0].config}
    known = [{key: value for key, value in one if key not in named} for one in settings.values()]
    differs = dict(zip(settings, differences(known), strict=True))
    made = []
    for name, group in groups.items():
        first = group[0]
        unknown = f"its config.yaml {'cannot be read' if first.problems else 'is not there'}"
        differing = differs.get(name, unknown if len(groups) > 1 else "")
        ordered = tuple(sorted(group, key=lambda run: run.seed))
        made.append(Setting(name, first.width, first.depth, first.budget, differing, ordered))
    return tuple(sorted(made, key=lambda s: (s.lowest is None, s.lowest or 0.0, s.settings_hash)))
