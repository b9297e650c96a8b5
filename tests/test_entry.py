"""Ways into the command line: modules, and other programs that use Hydra themselves."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
import pytest
from conftest import FAST, Cli, spoken
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.version import VersionBase
from omegaconf import DictConfig

from pinntk.launch.cli import compose


@pytest.mark.parametrize("module", ["pinntk", "pinntk.launch.cli"])
def test_as_a_module(module: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", module]
    shown = subprocess.run([*command, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "pde=heat2d method=pcpinn" in shown.stdout
    refused = subprocess.run([*command, "pde=foo"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert spoken(refused.stderr).startswith("error: pde=foo: unknown choice")
    looked = subprocess.run([*command, "pde=wave", "--cfg", "job"], cwd=tmp_path, capture_output=True, check=True)
    assert b"pinntk.pdes.wave.Wave" in looked.stdout


@pytest.fixture
def another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A program with files, names in the store and a version of its own; its folder of configurations."""
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "outer.yaml").write_text("mine: 3\n")
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", dict(store.repo))
    store.store(name="config", node={"schema": int, "pde": "mine"})
    store.store(group="pde", name="wave", node={"b": 2})
    yield conf
    GlobalHydra.instance().clear()


def state() -> list[Any]:
    """What Hydra knows and sets."""
    kept = [HydraConfig.instance().cfg, VersionBase.instance().getbase(), ConfigStore.instance().repo]
    launchers = {name: kind for name, kind in Plugins.instance().class_name_to_class.items() if "auncher" in name}
    # Of the environment what is Hydra's: Lightning leaves the seed there.
    environment = {name: value for name, value in os.environ.items() if "HYDRA" in name}
    root = logging.getLogger()
    return [GlobalHydra.instance().hydra, *kept, launchers, environment, list(sys.argv), root.level, [*root.handlers]]


def check_all_uses(cli: Cli) -> None:
    assert compose(["pde=wave"])["pde"] == {"_target_": "pinntk.pdes.wave.Wave", "a": 4, "C": 4.0}
    assert cli(*FAST, "pde=foo").code == 2
    assert cli(*FAST, "--info").code == 0
    assert cli(*FAST, "method.stepz=1").err.startswith("error: method.stepz=1: unknown key")
    assert cli(*FAST, "method.steps=1").code == 0
    ended = cli(*FAST, "-m", "seed=0,1", "method.steps=1")
    assert ended.code == 0, ended.err
    assert "2 completed" in ended.out
    assert [folder.name for folder in cli.run_folders()] == ["seed0", "seed1"]


@pytest.mark.slow
def test_after_hydra_initialize(another_program: Path, cli: Cli) -> None:
    with hydra.initialize_config_dir(str(another_program), version_base="1.2"):
        before = state()
        check_all_uses(cli)
        after = state()
        assert all(one is other for one, other in zip(before[:4], after[:4], strict=True))
        assert before == after
        assert hydra.compose("outer")["mine"] == 3


def test_in_a_function_under_hydra_main(another_program: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(sys, "argv", ["app", "+more=1"])

    @hydra.main(config_path=str(another_program), config_name="outer", version_base="1.3")
    def app(cfg: DictConfig) -> None:
        before = state()
        check_all_uses(cli)
        assert before == state()
        assert HydraConfig.get().job.name == before[1].hydra.job.name
        seen.append(dict(cfg))

    root = logging.getLogger()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(root, "handlers", [*root.handlers])
        patch.setattr(root, "level", root.level)
        app()  # which logs into a file of its own
        for handler in root.handlers:
            if isinstance(handler, logging.FileHandler) and "outputs" in handler.baseFilename:
                handler.close()
    assert seen == [{"mine": 3, "more": 1}]
