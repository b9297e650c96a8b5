"""Runs that were watched by the same callback, sorted for a figure against the width."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pinntk.report.reading import Run, differences, distinct
from pinntk.report.table import title_of


@dataclass(frozen=True)
class Series:
    """Trials of one method on one problem whose settings, those of the callback included, are alike but for the width.

    Attributes:
        problem: as the table names it.
        method: our name.
        differs: in which settings the series differs from others of the same problem and method; empty without others.
        widths: width -> trials.
    """

    problem: str
    method: str
    differs: str
    widths: dict[int, list[Run]]


def find_series(runs: Iterable[Run], callback: str) -> list[Series]:
    """The completed runs that hold ``<callback>.npz``, by method, problem, settings and width."""
    with_data = [run for run in runs if run.status == "completed" and (run.folder / f"{callback}.npz").is_file()]
    groups: dict[tuple[str, str], dict[tuple[tuple[str, str], ...], list[Run]]] = {}
    for run in with_data:
        settings = {key: value for key, value in run.settings(callback).items() if key != "network.width"}
        group = groups.setdefault((run.column, title_of(run)), {})
        group.setdefault(tuple(sorted(settings.items())), []).append(run)
    found = []
    for (method, problem), families in sorted(groups.items()):
        for differs, members in zip(differences(map(dict, families)), families.values(), strict=True):
            widths: dict[int, list[Run]] = {}
            for run in sorted(distinct(members), key=lambda run: (run.width, run.seed)):
                widths.setdefault(run.width, []).append(run)
            found.append(Series(problem, method, differs, widths))
    return found


def labels(series: Iterable[Series]) -> list[str]:
    """A name for each: the problem, the method where there are several, the settings where they differ."""
    every = list(series)
    several = len({one.method for one in every}) > 1
    texts = [", ".join([one.problem, *([one.method] if several else [])]) for one in every]
    return [f"{text}\n{one.differs}" if one.differs else text for text, one in zip(texts, every, strict=True)]
