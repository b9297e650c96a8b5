"""Weights & Biases. Without an account, a key or a network it records in the run folder, to be uploaded later."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from pinntk.common.arrays import Array
from pinntk.common.files import write_atomically
from pinntk.loggers.dashboard import LOWEST, Dashboard, identity, row
from pinntk.loggers.tables import Row

try:
    import wandb
except ImportError as error:
    raise ImportError("W&B is not installed: pip install 'pinntk[wandb]'") from error

ID = "wandb_id.txt"
"""In the run folder: the id of its W&B run, so that a resumed run goes on in the same one."""
SECONDS_TO_START = 30.0
"""With a key but without an answer of the server in this time the run is recorded offline."""
SECONDS_TO_LOSE = 1.0
"""Of what was logged last, where the process is killed; W&B's own choice is 15."""
SECONDS_TO_FINISH = 120.0
"""For the rest of the upload; what has not gone by then is on the disk, for ``wandb sync``."""
BINS = 64
"""Of a histogram; a page of W&B stacks them along the iterations."""
EXIT_CODES = {"completed": 0, "failed": 1, "interrupted": 255}
"""255 is what the W&B client itself reports after Ctrl-C."""


class WandB(Dashboard):
    """One W&B run per run folder: all that is logged against the iteration, spectra, pictures, tables, configuration.

    Online where there is a key (``WANDB_API_KEY``, ``wandb login``) and ``WANDB_MODE`` does not say otherwise; else
    offline, and the command that uploads it is printed at the end. It never asks for anything.

    Args:
        folder: the run folder; W&B's files go to its folder ``wandb``.
        project: in which the run appears.
        entity: user or team; None: the default of the account.
        group: None: ``WANDB_RUN_GROUP``, else problem, method and settings hash: a group is the seeds of one setting.
        tags: besides ``WANDB_TAGS`` or else problem, method, width, budget and sweep.
        sweep: name of the sweep of which the run is a job.

    What runs are filtered and grouped by is in the configuration as ``run``: problem, method, width, budget,
    settings_hash, seed, sweep. ``l2re`` and ``loss`` have ``min`` and ``last`` in the summary.
    ``WANDB_NAME`` and ``WANDB_JOB_TYPE`` also come before the names that are made here.

    Raises:
        ValueError: W&B does not allow one of these names.
    """

    def __init__(
        self,
        folder: str | Path,
        project: str = "pinntk",
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        sweep: str | None = None,
    ) -> None:
        super().__init__(folder)
        if isinstance(tags, str) or not isinstance(tags, Sequence) or not all(isinstance(tag, str) for tag in tags):
            raise ValueError(f"tags={tags}: must be a list of names")
        self.about = identity(self.folder)
        self.sweep = sweep
        own = [self.about[name] for name in ("problem", "method", "width", "budget")]
        marks = [*own, *([sweep] if sweep else [])]
        of_group = "/".join(self.about[name] for name in ("problem", "method", "settings_hash"))
        named = [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag.strip()]
        try:
            wandb.setup(wandb.Settings(silent=True))  # reads the environment, too
            self.settings = wandb.Settings(
                project=project,
                entity=entity,
                run_group=group or os.environ.get("WANDB_RUN_GROUP") or of_group,
                run_job_type=os.environ.get("WANDB_JOB_TYPE") or self.about["method"],
                run_name=os.environ.get("WANDB_NAME") or " ".join([*own, self.about["seed"]]),
                run_tags=(*(named or marks), *tags),
                root_dir=str(self.folder.absolute()),
                resume="allow",
                reinit="create_new",  # one of our own, whatever else this process does with W&B
                console="off",
                silent=True,
                symlink=False,
                init_timeout=SECONDS_TO_START,
                finish_timeout=SECONDS_TO_FINISH,
                x_transaction_log_flush_interval=SECONDS_TO_LOSE,
            )
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            key = "WANDB_MODE" if found["loc"] == ("mode",) else found["loc"][0]
            raise ValueError(f"{key}={found['input']}: {found['msg']}") from error
        self.run: wandb.Run | None = None

    @property
    def name(self) -> str:
        return "wandb"

    def begin(self, config: Mapping[str, Any]) -> None:
        try:
            self.run = self._start(wanted_mode(), config)
        except wandb.Error as error:  # a key that is none, a server that does not answer
            text = str(error).strip().split("\n")[0]
            print(f"wandb: {text}; recording offline", file=sys.stderr)
            os.environ["WANDB_MODE"] = "offline"  # the next job of a sweep need not wait for the same
            wandb.teardown()  # it holds on to the id of a run that could not start
            wandb.setup(wandb.Settings(silent=True))
            self.run = self._start("offline", config)
        # The iteration is W&B's step as well: what is logged for one iteration shares a row, as in metrics.csv.
        self.run.define_metric("iteration", hidden=True)
        self.run.define_metric("*", step_metric="iteration")
        for name in LOWEST:
            self.run.define_metric(name, step_metric="iteration", summary="min,last")
        if self.run.url:
            print(f"watch it at {self.run.url}", flush=True)

    def _start(self, mode: str, config: Mapping[str, Any]) -> wandb.Run:
        settings = self.settings.model_copy()
        settings.update_from_dict({"mode": mode, "run_id": self._id()})
        return wandb.init(config={**config, "run": self.columns()}, settings=settings)

    def columns(self) -> dict[str, str | int | None]:
        """What the run is, with numbers as numbers: columns to filter, group and sort by."""
        width, seed = int(self.about["width"].removeprefix("w")), int(self.about["seed"].removeprefix("seed"))
        return {**self.about, "width": width, "seed": seed, "sweep": self.sweep}

    def _id(self) -> str:
        path = self.folder / ID
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda unfinished: unfinished.write_text(secrets.token_hex(6) + "\n"))
        return path.read_text().strip()

    def write_metrics(self, metrics: Mapping[str, float], iteration: int) -> None:
        self._log(dict(metrics), iteration)

    def write_image(self, name: str, path: Path, iteration: int) -> None:
        self._log({name: wandb.Image(str(path))}, iteration)

    def write_histogram(self, name: str, values: Array, iteration: int) -> None:
        self._log({name: wandb.Histogram(np_histogram=np.histogram(values, bins=BINS))}, iteration)

    def write_table(self, name: str, rows: Sequence[Row], iteration: int) -> None:
        self._log({name: wandb.Table(columns=list(rows[0]), data=[list(one.values()) for one in rows])}, iteration)

    def write_result(self, result: Mapping[str, Any]) -> None:
        assert self.run is not None
        columns = row(result)
        self.write_table("result", [columns], result["steps"])
        # Committed now: the last row would otherwise come after the summary, and put its own loss there.
        self._log({}, result["steps"], commit=True)
        rest = {name: value for name, value in result.items() if name != "method_figures"}  # may hold long lists
        # W&B's own minimum knows nothing of the part before a resumption (wandb/wandb#9684).
        ends = {name: {"min": self.lowest.get(name), "last": result[name]} for name in LOWEST}
        self.run.summary.update({**rest, **columns, **ends})

    def _log(self, values: dict[str, Any], iteration: int, commit: bool = False) -> None:
        assert self.run is not None
        self.run.log({"iteration": iteration, **values}, step=iteration, commit=commit)

    def end(self, status: str) -> None:
        if self.run is None:
            return
        offline, folder = self.run.offline, Path(self.run.settings.sync_dir).parent
        self.run.finish(exit_code=EXIT_CODES[status])
        if offline:
            print(f"to upload   wandb sync {shlex.quote(os.path.relpath(folder))}", flush=True)


def wanted_mode() -> str:
    """What ``WANDB_MODE`` says, and offline where it would need a key that is not there."""
    mode = os.environ.get("WANDB_MODE") or "online"
    if mode not in ("offline", "dryrun", "disabled") and not wandb.login(prompt=False, verify=False):
        return "offline"
    return mode
