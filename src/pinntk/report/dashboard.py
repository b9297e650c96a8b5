"""A W&B workspace for the runs in a folder: ``python -m pinntk.dashboard runs [--out dashboard.json] [--save]``.

It is W&B's own library that defines it, ``wandb-workspaces``; what it shows is what `pinntk.loggers.wandb_logger` logs.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import ValidationError

from pinntk.common.errors import Arguments, BadInput, refusing
from pinntk.common.files import write_json
from pinntk.report.reading import Run, find_runs

LOGGED_BY = "iteration"
"""The metric on the x axis."""
WHOLE = ("l2re", "loss", "fresh_loss")
"""Curves with a panel of their own."""
FAMILIES = {
    "Kernel": ("ntk_", "theorem1_"),
    "Hessian": ("hessian_",),
    "Unknown coefficients": ("estimate_",),
}
"""Sections of what callbacks measure, by the beginnings of the names."""
PART = re.compile("_(?:K(?:_uu|_rr)?|L(?:_r)?|left|right)$")
"""How the names of the curves of one figure end."""
COLUMNS = ("problem", "method", "width", "budget", "seed", "sweep")
"""What says which run it is: ``run.<name>`` in a run's configuration at W&B."""
FIGURES = ("l2re.last", "l2re.min", "loss.last", "seconds", "status")
"""What came out: names in a run's summary at W&B."""


@dataclass
class Seen:
    """What the runs have to show.

    Attributes:
        curves: names of the columns of metrics.csv, in the order in which they come.
        terms: of the losses.
        pictures: names, of the .png files.
        tables: names.
    """

    curves: list[str] = field(default_factory=list)
    terms: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=lambda: ["result"])

    @classmethod
    def of(cls, runs: Iterable[Run]) -> Seen:
        """What is in the folders of these runs."""
        seen = cls()
        for run in runs:
            path, result = run.folder / "metrics.csv", run.result
            if path.exists():
                with path.open(errors="replace") as file:
                    _add(seen.curves, [name for name in file.readline().strip().split(",") if name != LOGGED_BY])
            _add(seen.terms, result.get("terms") or {})
            _add(seen.pictures, sorted(path.stem for path in run.folder.glob("*.png")))
            there = {
                "loss_by_term": result.get("terms"),
                "error_by_field": result.get("l2re_by_field"),
                "unknowns": result.get("estimates"),
                "condition_numbers": (run.folder / "conditioning.json").exists(),
            }
            _add(seen.tables, [name for name, content in there.items() if content])
        return seen

    def starting(self, *beginnings: str) -> list[str]:
        """Curves whose names begin so."""
        return [name for name in self.curves if name.startswith(beginnings)]

    @property
    def histograms(self) -> list[str]:
        """Names of the spectra, which the callbacks log beside these curves."""
        blocks = [name.removeprefix("ntk_drift_") for name in self.starting("ntk_drift_")]
        forecast = ["ntk_forecast_spectrum_log10"] if self.starting("ntk_forecast_") else []
        return [f"ntk_spectrum_{block}_log10" for block in blocks] + forecast


def _add(names: list[str], more: Iterable[str]) -> None:
    names += [name for name in more if name not in names]


def library() -> SimpleNamespace:
    """W&B's library: its modules ``workspaces`` and ``panels``.

    Raises:
        BadInput: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it imports
            import wandb_workspaces.reports.v2 as panels
            import wandb_workspaces.workspaces as workspaces
    except ImportError as error:
        text = f"wandb-workspaces is not installed ({error}); pip install 'pinntk[dashboard]' brings it"
        raise BadInput(text) from error
    return SimpleNamespace(workspaces=workspaces, panels=panels)


def workspace(seen: Seen, *, entity: str, project: str, name: str, sweep: str | None = None) -> Any:
    """The workspace, an object of W&B's library: curves against the iteration, and seeds of one setting as a group.

    Args:
        seen: what there is to show.
        entity: user or team.
        project: at W&B.
        name: of the view.
        sweep: of which alone to show the runs.
    """
    ws = library().workspaces
    sections = [
        ws.Section(
            name=title,
            panels=panels,
            is_open=k < 3,
            panel_settings=ws.SectionPanelSettings(x_axis=LOGGED_BY),
        )
        for k, (title, panels) in enumerate(_sections(seen).items())
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis=LOGGED_BY, max_runs=20),
        runset_settings=ws.RunsetSettings(
            filters=ws.And(ws.Tags().isin([sweep])) if sweep else "",
            groupby=[ws.Config("run.problem"), ws.Metric("Group")],
            order=[ws.Ordering(ws.Summary("l2re.last"))],
            pinned_columns=[
                "run:displayName",
                *(f"config:run.value.{column}" for column in COLUMNS),
                *(f"summary:{figure}" for figure in FIGURES),
            ],
        ),
        auto_generate_panels=True,  # what has no panel here, such as a callback's of the user's own, gets one
    )


def _sections(seen: Seen) -> dict[str, list[Any]]:
    """Title -> panels, of the sections that have any."""
    pl = library().panels

    def curve(title: str, names: Sequence[str], log: bool = True) -> Any:
        return pl.LinePlot(title=title, x=LOGGED_BY, y=list(names), log_y=log or None)

    measured = seen.starting(*(one for beginnings in FAMILIES.values() for one in beginnings))
    by_field = seen.starting("l2re_")
    shown = {*WHOLE, *seen.terms, *by_field, *measured}
    sections = {
        "Error and loss": [
            *(curve(name, [name]) for name in WHOLE if name in seen.curves),
            *([curve("loss by term", terms)] if (terms := [t for t in seen.terms if t in seen.curves]) else []),
            *([curve("L2RE by field", by_field)] if by_field else []),
        ],
        "Comparison": _comparison(pl),
        "Solution": [
            pl.MediaBrowser(title=name, media_keys=[name], gallery_axis="step" if name == "prediction" else "run")
            for name in seen.pictures
        ],
        **{
            title: [curve(stem, names, log=not _linear(stem)) for stem, names in together(seen.starting(*beginnings))]
            for title, beginnings in FAMILIES.items()
        },
        "Training": [curve(name, [name], log=name != "seconds") for name in seen.curves if name not in shown],
        "Tables": [pl.WeavePanelSummaryTable(table_name=name) for name in seen.tables],
    }
    sections["Kernel"] += [curve(name, [name], log=False) for name in seen.histograms]
    return {title: panels for title, panels in sections.items() if panels}


def together(names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """The names that differ in their last part alone, a block of the kernel or a loss, and what they have in common.

    Example::

        >>> together(["ntk_drift_K", "ntk_drift_K_rr", "ntk_forecast_horizon"])
        [('ntk_drift', ['ntk_drift_K', 'ntk_drift_K_rr']), ('ntk_forecast_horizon', ['ntk_forecast_horizon'])]
    """
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(PART.sub("", name), []).append(name)
    return list(found.items())


def _linear(name: str) -> bool:
    """Whether a curve is seen on a linear axis: a share, a rank, or a number that may be negative."""
    return name.startswith(("ntk_drift", "ntk_effective_rank", "hessian_ratio", "estimate_"))


def _comparison(pl: Any) -> list[Any]:
    """What the runs of a sweep are compared by."""
    axes = [*(pl.Config(f"run.{name}") for name in ("problem", "method", "width", "seed")), pl.SummaryMetric("seconds")]
    columns = [pl.ParallelCoordinatesPlotColumn(metric=axis) for axis in axes]
    columns += [
        pl.ParallelCoordinatesPlotColumn(metric=pl.SummaryMetric(name), log=True) for name in ("loss.last", "l2re.last")
    ]
    medians = {"groupby_aggfunc": "median", "groupby_rangefunc": "minmax"}
    error = pl.SummaryMetric("l2re.last")
    against = [
        pl.ScatterPlot(title=f"L2RE against {title}", x=pl.SummaryMetric(x), y=error, log_x=True, log_y=True)
        for title, x in (("seconds", "seconds"), ("loss", "loss.last"))
    ]
    return [
        pl.BarPlot(title="L2RE by method", metrics=["l2re.last"], groupby=pl.Config("run.method"), **medians),
        *against,
        pl.ParallelCoordinatesPlot(title="runs", columns=columns),
        pl.RunComparer(diff_only="split"),
    ]


def definition(made: Any) -> dict[str, Any]:
    """What W&B stores of a workspace, as plain values."""
    model = made._to_model()  # the library has no other way to it than to send it
    plain: Mapping[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return dict(plain)


def save(made: Any) -> str:
    """Send a workspace to W&B, as a new view of the project; its address.

    Raises:
        BadInput: it cannot be sent.
    """
    import wandb

    try:
        if not wandb.login(prompt=False, verify=False):
            raise BadInput("--save: there is no key; allowed: WANDB_API_KEY, or wandb login before")
        if not made.entity:
            made.entity = wandb.Api().default_entity or ""
        return str(made.save().url)
    except BadInput:
        raise
    except Exception as error:  # of the network, the server, the library: the definition is on the disk
        text = str(error).strip().splitlines() or [""]
        raise BadInput(f"--save: {type(error).__name__}: {text[0]}") from error


def main(words: Sequence[str] | None = None) -> int:
    """Write the definition, and send it where that is wanted; the exit code: 0, or 2 for bad input."""
    parser = Arguments("python -m pinntk.dashboard", "A W&B workspace for what the runs in a folder have to show.")
    parser.add_argument("runs", type=Path, help="the folder of the runs, for example runs")
    parser.add_argument("--out", type=Path, default=Path("dashboard.json"), help="file (default: dashboard.json)")
    parser.add_argument("--save", action="store_true", help="send it to W&B, as a new view; needs a key")
    environment = os.environ.get
    parser.add_argument("--project", default=environment("WANDB_PROJECT") or "pinntk", help="default: pinntk")
    parser.add_argument("--entity", default=environment("WANDB_ENTITY") or "", help="user or team; default: yours")
    parser.add_argument("--name", default="pinntk", help="of the view (default: pinntk)")
    parser.add_argument("--sweep", help="only the runs of this sweep: a name, as in runs/.sweeps")
    return refusing(lambda: _run(parser.parse_args(words)))


def _run(options: argparse.Namespace) -> int:
    library()
    runs, problems = find_runs(options.runs)
    for line in problems:
        print(line, file=sys.stderr)
    try:
        made = workspace(
            Seen.of(runs), entity=options.entity, project=options.project, name=options.name, sweep=options.sweep
        )
    except ValidationError as error:  # the library's: a name with a sign that W&B does not take
        found = error.errors(include_url=False)[0]
        raise BadInput(f"--{found['loc'][0]}={found['input']}: {found['msg']}") from error
    write_json(options.out, definition(made))
    print(f"{options.out}: {len(made.sections)} sections, of {len(runs)} runs")
    if options.save:
        print(f"saved: {save(made)}")
    return 0
