"""Launchers: what each makes of the settings, and what they say where they cannot work."""

from __future__ import annotations

import importlib.util
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from conftest import FAST, Cli
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sweeping import completed

from pinntk.common.errors import BadInput
from pinntk.launch.cli import configuration_folder
from pinntk.launch.clusters import Ray, Slurm
from pinntk.launch.devices import Device
from pinntk.launch.launchers import Gpus, InTurn, Local, Sweeping

NAMES = {"local": Local, "gpus": Gpus, "slurm": Slurm, "ray": Ray}


def made(name: str, *words: str) -> tuple[Sweeping, Any]:
    """The launcher of a configuration file, as Hydra makes it, and the whole configuration."""
    with initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        config = compose("config", [f"hydra/launcher={name}", *words], return_hydra_config=True)
    node = config.hydra.launcher
    assert node._target_ == f"hydra_plugins.pinntk.{NAMES[name].__name__}"
    launcher = instantiate(OmegaConf.merge(node, {"_target_": f"{NAMES[name].__module__}.{NAMES[name].__name__}"}))
    assert isinstance(launcher, Sweeping)
    return launcher, config


@pytest.mark.parametrize("name", NAMES)
def test_threads_do_not_depend_on_the_jobs_beside(name: str) -> None:
    launcher, _ = made(name)
    config = {"threads": None, "trainer": {"accelerator": "auto"}}
    assert launcher.adapt(config)["threads"] == 1
    assert launcher.adapt({**config, "threads": 3})["threads"] == 3
    assert InTurn().adapt(config) == config


@pytest.mark.parametrize(
    ("name", "words", "accelerator"),
    [
        ("local", [], "cpu"),
        ("gpus", [], "auto"),
        ("ray", [], "auto"),
        ("ray", ["hydra.launcher.ray.remote.num_gpus=0"], "cpu"),
    ],
)
def test_several_jobs_do_not_share_a_gpu(name: str, words: list[str], accelerator: str) -> None:
    launcher, _ = made(name, *words)
    config = {"threads": None, "trainer": {"accelerator": "auto"}}
    assert launcher.adapt(config)["trainer"]["accelerator"] == accelerator
    assert config["trainer"] == {"accelerator": "auto"}


def test_as_many_jobs_as_there_are_cores_for_their_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    launcher, _ = made("local")
    assert isinstance(launcher, Local)

    def jobs(threads: int, devices: int = 1) -> Any:
        return [type("J", (), {"config": {"threads": threads, "trainer": {"devices": devices}}})()]

    assert [launcher.open(jobs(n)) for n in (1, 3, 8, 100)] == [8, 2, 1, 1]
    assert [launcher.open(jobs(n, 2)) for n in (1, 3, 8)] == [4, 1, 1]
    launcher, _ = made("local", "hydra.launcher.jobs=5")
    assert isinstance(launcher, Local)
    assert launcher.open(jobs(1)) == 5


def test_a_job_on_a_gpu_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinntk.launch.launchers.visible_devices", lambda: [Device("0", Path("0.lock"))])
    for devices in (1, 2):
        launcher, config = made("gpus", f"trainer.devices={devices}")
        launcher.config = config
        with nullcontext() if devices == 1 else pytest.raises(BadInput, match=r"^trainer.devices=2: .* allowed is 1"):
            launcher.check()


@pytest.mark.parametrize(("name", "package"), [("slurm", "submitit"), ("ray", "ray")])
def test_what_is_not_installed_is_one_line(name: str, package: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *more: None if n == package else find(n, *more))
    ended = cli(*FAST, "-m", "seed=0,1", f"hydra/launcher={name}")
    assert ended.code == 2
    text = f"hydra/launcher={name}: {package} is not installed; pip install 'pinntk[{name}]' brings it"
    assert ended.err == f"error: {text}\n"
    assert ended.out == ""
    assert os.listdir(cli.folder) == []


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        ("hydra/launcher=gpus", ["hydra/launcher=gpus", "no CUDA device"]),
        ("hydra/launcher=local trainer.accelerator=gpu", ["trainer.accelerator=gpu", "hydra/launcher=gpus"]),
        ("hydra/launcher=local hydra.launcher.jobs=0", ["hydra.launcher.jobs=0", "at least 1"]),
        ("hydra/launcher=local hydra.launcher.jobs=two", ["hydra.launcher.jobs=two", "whole number"]),
        ("hydra/launcher=slurm +hydra.launcher.parameters.foo_bar=1", ["foo"]),
    ],
)
def test_a_launcher_that_cannot_work_says_so(
    words: str, fragments: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("submitit.slurm.slurm.SlurmExecutor.affinity", classmethod(lambda cls: 2))
    monkeypatch.setattr("pinntk.launch.composition.Composer.check_sweep", lambda self, words: None)
    ended = cli(*FAST, "-m", "seed=0,1", *words.split())
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    for fragment in fragments:
        assert fragment in line
    assert os.listdir(cli.folder) == []


def test_slurms_file_gives_the_jobs_of_an_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("submitit.slurm.slurm.SlurmExecutor.affinity", classmethod(lambda cls: 2))
    launcher, config = made("slurm", "+hydra.launcher.parameters.slurm_partition=gpu", f"runs_dir={tmp_path}")
    assert isinstance(launcher, Slurm)
    launcher.config = config
    launcher.check()
    found = launcher.executor._executor.parameters
    assert found["partition"] == "gpu"
    assert found["gpus_per_node"] == 1
    assert found["time"] == 240
    assert found["array_parallelism"] == 64
    assert launcher.max_num_timeout == 20
    assert os.listdir(tmp_path) == []


def test_slurm_where_there_is_none() -> None:
    launcher, config = made("slurm")
    launcher.config = config
    with pytest.raises(BadInput, match="hydra/launcher=slurm: Could not detect"):
        launcher.check()


def test_an_exception_of_the_launcher_leaves_the_table(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: InTurn, jobs: Any) -> None:
        jobs[0]()
        raise OSError("the cluster is gone")

    monkeypatch.setattr(InTurn, "carry_out", broken)
    ended = cli(*FAST, "-m", "seed=0,1")
    assert ended.code == 1
    assert "1 completed, 1 not run" in ended.out
    assert "OSError: the cluster is gone" in ended.err
    assert len(completed(cli.folder)) == 1
