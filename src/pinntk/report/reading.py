"""Run folders as they lie on the disk, for whoever looks at many of them: read, never written."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pinntk.common.arrays import Array
from pinntk.common.errors import BadInput
from pinntk.runs.folder import CONFIG, RESULT, checked_result

STATUSES = ("completed", "failed", "interrupted", "unfinished")
"""The last: no result.json yet; the run is at work, or was killed."""
NO_SETTING = {
    "seed",
    "runs_dir",
    "overwrite",
    "retry_failed",
    "accept_edits",
    "callbacks",
    "logger",
    "checkpoint",
    "evaluate_every",
    "budget",
}
"""Keys of config.yaml that are not in the settings hash, or are there under other keys."""
SOLVED = " solved"
"""Ends the name of a column of runs whose network was fitted to the solution of the discrete system."""
NAMING = ("pde", "pde_parameters", "method", "width", "budget", "seed", "settings_hash")
"""Keys of result.json that say which run it is."""
DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, yaml.YAMLError)
"""What a file that is damaged, or not ours, may cause."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        folder: where it is.
        status: one of `STATUSES`.
        pde: the problem; ``parameters``, its coefficients.
        method, width, depth, budget, seed, settings_hash: as in result.json; a depth of 0 is unknown.
        result: what is in result.json; empty without one.
    """

    folder: Path
    status: str
    pde: str
    parameters: Mapping[str, Any]
    method: str
    width: int
    depth: int
    budget: str
    seed: int
    settings_hash: str
    result: Mapping[str, Any]

    @property
    def steps(self) -> int:
        """Iterations done; 0 where there is no result."""
        return int(self.result.get("steps") or 0)

    @property
    def column(self) -> str:
        """The method as tables have it; fits to the solution of a discrete system have a column of their own."""
        return f"{self.method}{SOLVED}" if self._solved else self.method

    @property
    def _solved(self) -> bool:
        form = (self.result.get("method_figures") or {}).get("form")
        if form is not None:
            return bool(form == "solved")
        method = self.config.get("method") or {}
        # Before there were forms, the targets of the methods that draw nodes of a grid solved the system.
        return bool(method.get("form") == "solved" or ("batch" in method and method.get("form", "lagged") == "lagged"))

    @property
    def l2re(self) -> float | None:
        """The error of a completed run; None without one that is finite, or without a reference."""
        value = self.result.get("l2re") if self.status == "completed" else None
        return None if value is None else float(value)

    @property
    def reference_known(self) -> bool:
        """Whether the problem has a solution to measure an error against; results of older versions all have one."""
        return bool(self.result.get("reference_known", True))

    @property
    def config(self) -> dict[str, Any]:
        """What is in config.yaml; empty where there is none that can be read."""
        return self._config[0]

    @property
    def problems(self) -> list[str]:
        """A line for each of config.yaml and metrics.csv that cannot be read, as far as somebody has asked for them."""
        asked = [vars(self)[name][1] for name in ("_config", "_columns") if name in vars(self)]
        return [line for line in asked if line]

    @cached_property
    def _config(self) -> tuple[dict[str, Any], str]:
        try:
            return _config(self.folder), ""
        except DAMAGED as error:
            return {}, f"{self.folder / CONFIG}: cannot be read: {str(error) or error!r}".splitlines()[0]

    @property
    def columns(self) -> dict[str, tuple[list[int], list[float]]]:
        """Of metrics.csv: iterations and values, by name; empty where there is none that can be read."""
        return self._columns[0]

    @cached_property
    def _columns(self) -> tuple[dict[str, tuple[list[int], list[float]]], str]:
        path = self.folder / "metrics.csv"
        try:
            return columns(path), ""
        except (*DAMAGED, csv.Error) as error:
            return {}, f"{path}: cannot be read: {str(error) or error!r}".splitlines()[0]

    def arrays(self, name: str) -> dict[str, Array]:
        """What an .npz file of the folder holds."""
        # Opened here: of a damaged file numpy would leave it open.
        with (self.folder / name).open("rb") as file, np.load(file) as saved:
            return dict(saved)

    def settings(self, callback: str | None = None) -> dict[str, str]:
        """The settings by dotted key, as text: all that affect the result except the seed.

        Args:
            callback: whose settings, which are in no hash, are added.
        """
        if not self.config:
            return {"settings": self.settings_hash}
        kept: dict[str, Any] = {key: value for key, value in self.config.items() if key not in NO_SETTING}
        watcher = (self.config.get("callbacks") or {}).get(callback)
        if watcher is not None:
            kept["callbacks"] = {callback: {key: value for key, value in watcher.items() if key != "folder"}}
        return dict(_flat(kept, ""))


def _flat(values: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif name != "method.log_every":
            yield name, value if isinstance(value, str) else json.dumps(value)


def differences(settings: Iterable[Mapping[str, str]], limit: int = 200) -> list[str]:
    """Each one's values of the keys in which they are not all alike, as text; empty texts for a single one.

    Args:
        settings: of runs, by dotted key.
        limit: characters after which a text is cut.
    """
    every = list(settings)
    known = sorted({key for one in every for key in one})
    keys = [key for key in known if len({one.get(key) for one in every}) > 1]
    texts = [", ".join(f"{key}={one[key]}" for key in keys if key in one) for one in every]
    return [text if len(text) <= limit else f"{text[:limit]} …" for text in texts]


def distinct(runs: Iterable[Run]) -> list[Run]:
    """Each trial once: of folders with the same settings and seed the one that got furthest, the first of equals."""
    best: dict[tuple[str, str, str, int], Run] = {}
    for run in runs:
        key = run.pde, run.method, run.settings_hash, run.seed
        if STATUSES.index(run.status) < STATUSES.index(best.setdefault(key, run).status):
            best[key] = run
    return list(best.values())


def find_runs(root: Path) -> tuple[list[Run], list[str]]:
    """All run folders below a folder, in the order of their paths, and a line for each that cannot be read.

    Folders that ``overwrite=true`` has put aside (``seed0.previous``) are left out.

    Raises:
        BadInput: there is no such folder, or no run in it.
    """
    if not root.is_dir():
        raise BadInput(f"{root}: is not a folder; allowed: a folder with runs, as train.py makes under runs/")
    runs, problems = [], []
    for place, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not name.endswith(".previous"))
        path = Path(place)
        if RESULT not in files and not (CONFIG in files and path.name.startswith("seed")):
            continue
        try:
            runs.append(read_run(path))
        except DAMAGED as error:
            problems.append(f"{path}: cannot be read: {str(error) or error!r}".splitlines()[0])
    if not runs:
        unreadable = f" ({'; '.join(problems)})" if problems else ""
        raise BadInput(f"{root}: has no runs in it{unreadable}; allowed: a folder with runs, each with a {RESULT}")
    return runs, problems


def without_folder(root: Path) -> list[str]:
    """A line for each job of the sweeps below a folder that was refused, or failed before it had a run folder.

    A job is known by its overrides, and what the newest sweep with it has recorded counts. Records of versions that did
    not write them down are known by what they swept.
    """
    newest: dict[tuple[str, ...], Mapping[str, Any]] = {}
    paths = [path for sweeps in root.rglob(".sweeps") for path in sweeps.glob("*/job*.json")]
    for path in sorted(paths, key=lambda path: (path.parent.name, path.name)):
        try:
            record = json.loads(path.read_text())
            newest[tuple(sorted(record.get("words") or [record["swept"]]))] = record
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # at work, or nothing of ours
            continue
    lines = []
    for record in newest.values():
        if record.get("status") == "failed" and record.get("folder") is None:
            what = "refused" if record.get("code") == 2 else "failed without a run folder"
            lines.append(f"{record.get('swept')}: {what}, in no cell: {record.get('reason')}")
    return sorted(lines)


def read_run(folder: Path) -> Run:
    """Read one run folder: its result.json, or, before there is one, its config.yaml and its path."""
    path = folder / RESULT
    if path.exists():
        result = checked_result(json.loads(path.read_text()))
        if result["status"] not in STATUSES:
            raise ValueError(f"status {result['status']!r} in {RESULT}")
        if lacking := [key for key in NAMING if result[key] is None]:
            raise ValueError(f"{', '.join(lacking)}: null in {RESULT}")
        pde, parameters, method = result["pde"], result["pde_parameters"], result["method"]
        width, depth = int(result["width"]), int(result.get("depth") or 0)
        budget, seed, settings_hash = str(result["budget"]), int(result["seed"]), str(result["settings_hash"])
        status = result["status"]
    else:
        config, result, status = _config(folder), {}, "unfinished"
        pde, method, _, budget, settings_hash = folder.absolute().parts[-6:-1]
        parameters = {key: value for key, value in config["pde"].items() if key != "_target_"}
        width, depth = int(config["network"]["width"]), int(config["network"]["depth"])
        seed = int(config["seed"])
    return Run(folder, status, pde, parameters, method, width, depth, budget, seed, settings_hash, result)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.exists():
        return {}
    content = yaml.load(path.read_text(), Loader=LOADER)
    if not isinstance(content, dict):
        raise ValueError(f"{CONFIG} is not a mapping")
    for key in ("pde", "method", "network", "callbacks"):
        if not isinstance(content.get(key) or {}, dict):
            raise ValueError(f"{key} in {CONFIG} is not a mapping")
    return content


def columns(path: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Of a metrics.csv: iterations and values, by name; empty where there is no such file."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    if not path.exists():
        return found
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames and "iteration" not in reader.fieldnames:
            raise ValueError("no column iteration")
        for row in reader:
            for name, value in row.items():
                if value and name != "iteration":
                    iterations, values = found.setdefault(name, ([], []))
                    iterations.append(int(row["iteration"]))
                    values.append(float(value))
    return found
