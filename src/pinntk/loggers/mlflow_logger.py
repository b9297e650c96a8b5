"""MLflow: a tracking server, or a database beside the runs for ``mlflow ui``."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from pinntk.common.files import write_atomically
from pinntk.loggers.dashboard import Dashboard, identity, row
from pinntk.loggers.tables import Row

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read as it is imported: nobody has asked for it
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it imports
        from mlflow.entities import Metric, Param, RunStatus
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
except ImportError as error:
    raise ImportError("MLflow is not installed: pip install 'pinntk[mlflow]'") from error

ID = "mlflow_id.txt"
"""In the run folder: the id of its MLflow run, so that a resumed run goes on in the same one."""
DATABASE, ARTIFACTS = "mlflow.db", ".mlflow"
"""In the folder of all runs, where no server is named; hidden, as whoever looks for runs would find copies there."""
STATUS = {"completed": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
LONGEST = 500
"""Letters of a parameter that every server takes."""
AT_ONCE = 100
"""Parameters that a server takes in one call."""


class MLflow(Dashboard):
    """One MLflow run per run folder: curves against the iteration, settings, pictures, tables, the result.

    ``MLFLOW_TRACKING_URI`` names the server. Without it there is a database ``mlflow.db`` in the folder of all runs,
    and the files in its folder ``.mlflow``; no server is needed to write them.

    Args:
        folder: the run folder.
        tracking_uri: comes before the variable.
        experiment: in which the run appears.
        sweep: name of the sweep of which the run is a job.

    The lowest error and loss are the metrics ``l2re_min`` and ``loss_min``, logged at the end.
    """

    def __init__(
        self,
        folder: str | Path,
        tracking_uri: str | None = None,
        experiment: str = "pinntk",
        sweep: str | None = None,
    ) -> None:
        super().__init__(folder)
        self.about = {**identity(self.folder), **({"sweep": sweep} if sweep else {})}
        self.all_runs = self.folder.absolute().parents[5]
        self.uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        self.experiment = experiment
        self.client: MlflowClient | None = None
        self.id = ""

    @property
    def name(self) -> str:
        return "mlflow"

    def begin(self, config: Mapping[str, Any]) -> None:
        with quiet(), self._alone():
            self.client = MlflowClient(tracking_uri=self.uri or f"sqlite:///{self.all_runs / DATABASE}")
            self.id, known = self._run(self.client)
        if known:
            self.client.update_run(self.id, status="RUNNING")
            return
        given = {name: str(value)[:LONGEST] for name, value in flat(config).items()}
        params = [Param(name, value) for name, value in {**given, **self.about}.items()]
        for at in range(0, len(params), AT_ONCE):
            self.client.log_batch(self.id, params=params[at : at + AT_ONCE])

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other jobs of a sweep from making the database and the experiment at the same time."""
        if self.uri:
            yield
            return
        self.all_runs.mkdir(parents=True, exist_ok=True)
        with FileLock(self.all_runs / f".{DATABASE}.lock"):
            yield

    def _run(self, client: MlflowClient) -> tuple[str, bool]:
        """The id of the run at MLflow, and whether it is one that goes on."""
        path = self.folder / ID
        if path.exists():
            known = path.read_text().strip()
            with contextlib.suppress(MlflowException):  # of another server, or deleted there
                client.get_run(known)
                return known, True
        names = (self.about[name] for name in ("problem", "method", "width", "budget", "seed"))
        run = client.create_run(self._experiment(client), run_name=" ".join(names), tags=self.about)
        made = str(run.info.run_id)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda unfinished: unfinished.write_text(made + "\n"))
        return made, False

    def _experiment(self, client: MlflowClient) -> str:
        for _ in range(2):
            if (found := client.get_experiment_by_name(self.experiment)) is not None:
                return str(found.experiment_id)
            with contextlib.suppress(MlflowException):  # another process may be quicker, at a server
                place = None if self.uri else (self.all_runs / ARTIFACTS).as_uri()
                return str(client.create_experiment(self.experiment, artifact_location=place))
        raise MlflowException(f"experiment={self.experiment}: can neither be found nor made")

    def write_metrics(self, metrics: Mapping[str, float], iteration: int) -> None:
        assert self.client is not None
        now = int(time.time() * 1000)
        self.client.log_batch(self.id, [Metric(name, float(v), now, iteration) for name, v in metrics.items()])

    def write_image(self, name: str, path: Path, iteration: int) -> None:
        assert self.client is not None
        followed = f"{name}/{iteration:08d}" if name in self._followed else ""
        self.client.log_artifact(self.id, str(path), artifact_path=f"pictures/{followed}".rstrip("/"))

    def write_table(self, name: str, rows: Sequence[Row], iteration: int) -> None:
        assert self.client is not None
        table = {"columns": list(rows[0]), "data": [list(one.values()) for one in rows]}
        self.client.log_dict(self.id, table, f"tables/{name}.json")

    def write_result(self, result: Mapping[str, Any]) -> None:
        assert self.client is not None
        self.write_table("result", [row(result)], result["steps"])
        self.client.log_dict(self.id, dict(result), "result.json")
        self.client.set_tag(self.id, "status", result["status"])
        lowest = {f"{name}_min": value for name, value in self.lowest.items()}
        if lowest:
            self.write_metrics(lowest, result["steps"])

    def end(self, status: str) -> None:
        if self.client is not None and self.id:
            self.client.set_terminated(self.id, RunStatus.to_string(RunStatus.from_string(STATUS[status])))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what MLflow and its database say when they are made: the terminal is the user's."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic", "alembic.runtime.migration")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted key: ``{"network": {"width": 10}}`` is ``{"network.width": 10}``."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        found |= flat(value, f"{key}.") if isinstance(value, Mapping) and value else {key: value}
    return found
