"""Launchers of sweeps on several machines: Slurm, by submitit, and Ray."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pinntk.common.errors import BadInput, show
from pinntk.launch.launchers import AtOnce
from pinntk.launch.sweep import Job, cores_of


class Slurm(AtOnce[Any]):
    """Jobs of a Slurm array, by submitit.

    Args:
        cluster: slurm; ``local`` runs the same jobs on this machine.
        max_num_timeout: how often a job that runs into its time limit is put in the queue again.
        parameters: what submitit's executor takes.
    """

    name = "slurm"
    package = "submitit"

    def __init__(self, cluster: str, max_num_timeout: int, parameters: Mapping[str, Any]) -> None:
        self.cluster, self.max_num_timeout, self.parameters = cluster, max_num_timeout, parameters

    def check(self) -> None:
        import submitit

        if self.cluster not in ("slurm", "local"):  # submitit takes null for whatever it finds, this machine at worst
            raise BadInput(f"hydra.launcher.cluster={show(self.cluster)}: allowed: slurm, local (this machine)")
        folder = Path(str(self.config.hydra.sweep.dir)).absolute() / "slurm" / "%j"
        try:
            self.executor = submitit.AutoExecutor(folder, self.cluster, slurm_max_num_timeout=self.max_num_timeout)
            self.executor.update_parameters(**self.parameters)
        except (RuntimeError, ValueError, NameError, AssertionError) as error:
            text = str(error).strip().splitlines()[0]
            raise BadInput(
                f"hydra/launcher=slurm: {text}; allowed: what submitit takes, on a machine of Slurm"
            ) from error

    def open(self, jobs: Sequence[Job]) -> int:
        return max(1, len(jobs))

    def start(self, jobs: Sequence[Job]) -> list[Any]:
        cores = max(cores_of(job) for job in jobs)
        self.executor.update_parameters(**{"cpus_per_task": cores, **self.parameters})
        return list(self.executor.submit_array(jobs))

    def ended(self, handles: Sequence[Any]) -> dict[Any, str | None]:
        time.sleep(1)
        return {
            handle: None if handle.exception() is None else self._why(handle) for handle in handles if handle.done()
        }

    @staticmethod
    def _why(handle: Any) -> str:
        return f"job {handle.job_id} of the cluster ended in state {handle.state}"

    def stop(self, handle: Any) -> None:
        handle.cancel()


class Ray(AtOnce[Any]):
    """Tasks of a Ray cluster, or of a Ray started for this sweep.

    Args:
        ray: ``init``, what ray.init takes; ``remote``, the options of a task.
    """

    name = "ray"
    package = "ray"

    def __init__(self, ray: Mapping[str, Any]) -> None:
        self.init, self.remote = dict(ray["init"]), dict(ray["remote"])

    def check(self) -> None:
        import ray

        try:
            ray.init(**self.init)
        except (ConnectionError, ValueError, RuntimeError) as error:
            text = str(error).strip().splitlines()[0]
            raise BadInput(
                f"hydra.launcher.ray.init={show(self.init)}: {text}; allowed: what ray.init takes"
            ) from error
        wanted, there = self.remote.get("num_gpus") or 0, ray.cluster_resources().get("GPU", 0)
        if self.init.get("address") is None and wanted > there:
            ray.shutdown()
            here = f"this machine has {there:g}"
            raise BadInput(f"hydra.launcher.ray.remote.num_gpus={wanted}: {here}; allowed: at most that, 0 for none")

    def adapt(self, config: dict[str, Any]) -> dict[str, Any]:
        config = super().adapt(config)
        if not self.remote.get("num_gpus") and config["trainer"]["accelerator"] == "auto":
            config["trainer"] = {**config["trainer"], "accelerator": "cpu"}
        return config

    def open(self, jobs: Sequence[Job]) -> int:
        return max(1, len(jobs))  # Ray runs as many as it has room for

    def start(self, jobs: Sequence[Job]) -> list[Any]:
        import ray

        def options(job: Job) -> dict[str, Any]:
            return {**self.remote, "num_cpus": self.remote.get("num_cpus") or cores_of(job)}

        return [ray.remote(_on_ray).options(**options(job)).remote(job) for job in jobs]

    def ended(self, handles: Sequence[Any]) -> dict[Any, str | None]:
        import ray

        done, _ = ray.wait(list(handles), num_returns=1, timeout=1)
        found: dict[Any, str | None] = {}
        for handle in done:
            try:
                ray.get(handle)
                found[handle] = None
            except ray.exceptions.RayError as error:
                found[handle] = f"{type(error).__name__}: {error}".splitlines()[0]
        return found

    def stop(self, handle: Any) -> None:
        import ray

        ray.cancel(handle)


def _on_ray(job: Job) -> int:
    return job()
