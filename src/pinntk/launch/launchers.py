"""Launchers of sweeps: one job after another, processes of this machine, its GPUs; clusters are `clusters`'s.

Each job is a process's, and its record a file's: a job that dies takes no other with it, and what became of all is
known however the sweep ends. joblib's pool of workers, for one, ends with all its jobs when one worker is killed.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import signal
import sys
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Generic, TypeVar

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, read_write

from pinntk.common.cores import available_cores
from pinntk.common.errors import BadInput, show
from pinntk.launch.composition import plain
from pinntk.launch.devices import Device, lease, visible_devices
from pinntk.launch.sweep import STOPPED, Job, cores_of, differing, ending, of_sweep

H = TypeVar("H")
SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))  # not on Windows
started: list[Path] = []
"""Folders of the sweeps of this process: Hydra takes no answer from a launcher to whoever called it."""


class Sweeping(Launcher):
    """What all launchers have in common: jobs out of overrides, with a record each."""

    name: ClassVar[str]
    package: ClassVar[str | None] = None  # needed, and brought by the extra of the launcher's name

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See whether the launcher can work here.

        Raises:
            BadInput: it cannot; nothing has been made yet.
        """
        self.loader, self.config = hydra_context.config_loader, config
        with read_write(config):  # Hydra's sweeper takes it from here, too, and would make a folder "~"
            config.hydra.sweep.dir = os.path.expanduser(str(config.hydra.sweep.dir))
        if self.package is not None and importlib.util.find_spec(self.package) is None:
            install = f"pip install 'pinntk[{self.name}]'"
            raise BadInput(f"hydra/launcher={self.name}: {self.package} is not installed; {install} brings it")
        self.check()

    def check(self) -> None:
        """Raise BadInput where the launcher cannot work."""

    def adapt(self, config: dict[str, Any]) -> dict[str, Any]:
        """The configuration of a job as it is run by this launcher."""
        return config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Do the jobs. How they ended is in their records, not in what is returned."""
        folder = Path(str(self.config.hydra.sweep.dir)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if folder not in started:
            started.append(folder)
        jobs = []
        for k, (words, swept) in enumerate(zip(job_overrides, differing(job_overrides), strict=True), initial_job_idx):
            log = None if isinstance(self, InTurn) else folder / f"job{k}.log"
            job = Job(k, swept, {}, folder / f"job{k}.json", Path.cwd(), log, tuple(words))
            job.write("not run")
            try:
                config = plain(self._compose(words))
            except BadInput as error:
                job.write("failed", code=2, reason=error.messages[0])
                continue
            config = self.adapt({**config, "logger": of_sweep(config.get("logger"), folder.name)})
            jobs.append(Job(k, swept, config, job.record, job.cwd, log, job.words))
        self.carry_out(jobs)
        return [JobReturn(overrides=words, status=JobStatus.COMPLETED) for words in job_overrides]

    def _compose(self, words: Sequence[str]) -> DictConfig:
        config = self.loader.load_sweep_config(self.config, list(words))
        return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])

    @abstractmethod
    def carry_out(self, jobs: Sequence[Job]) -> None:
        """Do all jobs."""


class InTurn(Sweeping):
    """One job after another, in this process. A signal ends the sweep."""

    name = "basic"

    def carry_out(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            code = job()
            if code == STOPPED[0]:
                raise KeyboardInterrupt
            if code in STOPPED:
                raise SystemExit(code)


class Stop:
    """Whether a signal asks the sweep to end."""

    def __init__(self) -> None:
        self.received = 0
        self.told = True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received, self.told = number, False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals that end a process, except those that are ignored (nohup)."""
        saved = {number: signal.getsignal(number) for number in SIGNALS}
        taken = [number for number, handler in saved.items() if handler != signal.SIG_IGN]
        for number in taken:
            signal.signal(number, self._receive)
        try:
            yield
        finally:
            for number in taken:
                signal.signal(number, saved[number])


class AtOnce(Sweeping, Generic[H]):
    """Several jobs at once, each in a process of its own with as many threads as it is told, one unless told."""

    def adapt(self, config: dict[str, Any]) -> dict[str, Any]:
        # The number of threads is part of the result: it must not depend on how many jobs run beside this one.
        return {**config, "threads": 1 if config["threads"] is None else config["threads"]}

    def carry_out(self, jobs: Sequence[Job]) -> None:
        waiting, running, stop = deque(jobs), dict[H, Job](), Stop()
        with stop.listening():
            room = self.open(jobs)
            print(f"{len(jobs)} jobs, their output: {jobs[0].record.parent if jobs else '–'}", flush=True)
            while waiting or running:
                if stop.received:
                    waiting.clear()
                batch = [waiting.popleft() for _ in range(min(room - len(running), len(waiting)))]
                if batch:
                    running |= dict(zip(self.start(batch), batch, strict=True))
                if not stop.told:
                    stop.told = True
                    print(
                        "stopping: each job ends after its iteration and can go on later (again: at once)", flush=True
                    )
                    for handle in running:
                        self.stop(handle)
                for handle, death in self.ended(list(running)).items():
                    self._report(running.pop(handle), death)
        if stop.received == signal.SIGINT:
            raise KeyboardInterrupt
        if stop.received:
            raise SystemExit(128 + stop.received)

    def _report(self, job: Job, death: str | None) -> None:
        record = job.read()
        if death is not None and record["status"] in ("not run", "running"):
            asked = any(name in death for name in ("SIGINT", "SIGTERM"))
            job.write("interrupted" if asked else "failed", reason=death)
            record = job.read()
        number, status, error, swept = ending(record)
        reason = f" ({record['reason']}; its output: {job.log})" if record["reason"] else ""
        print(f"job {number} {status}, L2RE {error}: {swept}{reason}", flush=True)

    @abstractmethod
    def open(self, jobs: Sequence[Job]) -> int:
        """Get ready for these jobs; returns how many may run at once."""

    @abstractmethod
    def start(self, jobs: Sequence[Job]) -> list[H]:
        """Start jobs; a handle for each."""

    @abstractmethod
    def ended(self, handles: Sequence[H]) -> dict[H, str | None]:
        """Wait for a second at most; those that have ended, with what killed the process where something did."""

    @abstractmethod
    def stop(self, handle: H) -> None:
        """Ask a job to end."""


class Processes(AtOnce[BaseProcess]):
    """Processes of this machine, a new one for each job."""

    start_method: ClassVar[str]

    def devices(self) -> Sequence[Device]:
        """What each job takes one of."""
        return ()

    def start(self, jobs: Sequence[Job]) -> list[BaseProcess]:
        processes: list[BaseProcess] = []
        context: Any = multiprocessing.get_context(self.start_method)
        for job in jobs:
            process = context.Process(target=_work, args=(job, self.devices()))
            process.start()
            processes.append(process)
        return processes

    def ended(self, handles: Sequence[BaseProcess]) -> dict[BaseProcess, str | None]:
        ready = wait([process.sentinel for process in handles], timeout=1)
        return {process: _death(process) for process in handles if process.sentinel in ready}

    def stop(self, handle: BaseProcess) -> None:
        handle.terminate()


def _work(job: Job, devices: Sequence[Device]) -> None:
    if hasattr(os, "setsid"):  # not on Windows
        os.setsid()  # Ctrl-C is for the sweep, which then tells its jobs, once
    if not devices:
        sys.exit(job())
    with lease(devices, lambda text: print(f"job {job.number} {text}", flush=True)) as device:
        os.environ["CUDA_VISIBLE_DEVICES"] = device.name  # nothing of CUDA has been started in this process
        code = job()
    sys.exit(code)


def _death(process: BaseProcess) -> str | None:
    process.join()
    code = process.exitcode or 0
    if code >= 0:
        return f"its process ended with exit code {code}" if code else None
    name = signal.Signals(-code).name
    return f"its process was ended by {name}" + (", as when memory runs out" if name == "SIGKILL" else "")


class Local(Processes):
    """Several jobs at once on this machine's CPU.

    Args:
        jobs: how many; None: as many as there are cores for their threads.
    """

    name = "local"
    # The server imports torch once for all; Windows has none.
    start_method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"

    def __init__(self, jobs: Any = None) -> None:
        self.jobs = jobs

    def check(self) -> None:
        if self.jobs is not None and not (type(self.jobs) is int and self.jobs >= 1):
            raise BadInput(f"hydra.launcher.jobs={show(self.jobs)}: must be a whole number, at least 1, or null")
        if self.config.trainer.accelerator == "gpu":
            raise BadInput("trainer.accelerator=gpu: hydra/launcher=local is for CPUs; allowed: hydra/launcher=gpus")

    def adapt(self, config: dict[str, Any]) -> dict[str, Any]:
        config = super().adapt(config)
        if config["trainer"]["accelerator"] == "auto":
            config["trainer"] = {**config["trainer"], "accelerator": "cpu"}  # a GPU would be shared by all jobs
        return config

    def open(self, jobs: Sequence[Job]) -> int:
        threads = max((job.config["threads"] for job in jobs), default=1)
        if self.start_method == "forkserver":
            multiprocessing.get_context("forkserver").set_forkserver_preload(["pinntk.runs.run"])
        # torch is told by the run; this is for the libraries behind numpy and scipy, which read it when imported.
        for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(key, str(threads))
        return self.jobs or max(1, available_cores() // max(map(cores_of, jobs), default=1))


class Gpus(Processes):
    """One job on each GPU, never two on one, over all sweeps on this machine."""

    name = "gpus"
    start_method = "spawn"  # CUDA does not survive a fork

    def check(self) -> None:
        self.found = visible_devices()
        if not self.found:
            raise BadInput("hydra/launcher=gpus: no CUDA device is available here; allowed here: basic, local")
        if (devices := self.config.trainer.devices) != 1:
            raise BadInput(f"trainer.devices={devices}: hydra/launcher=gpus gives each job one GPU; allowed is 1")

    def devices(self) -> Sequence[Device]:
        return self.found

    def open(self, jobs: Sequence[Job]) -> int:
        return len(self.found)
