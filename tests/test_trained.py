"""The trained network of a run folder: loading it, and starting from it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import FAST, Cli, arrays_of, assert_same_network, result_of

import pinntk
from pinntk.runs.trained import load


def test_load_gives_the_trained_network_back(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli(*FAST, "pde=burgers", "pde.nu=0.1")
    folder = cli.run_folder()
    monkeypatch.chdir("/")
    run = pinntk.load(folder)
    saved = arrays_of(folder / "solution.npz")
    predicted = run.predict(saved["coordinates"])
    assert predicted.dtype == np.float64
    np.testing.assert_array_equal(predicted, saved["prediction"])
    assert run.pde.name == "burgers"
    assert run.pde.parameters() == {"nu": 0.1}
    assert run.result == result_of(folder)
    np.testing.assert_allclose(run.predict([[0.5, 1.0]]), run.predict(np.array([[0.5, 1.0]])))
    with pytest.raises(ValueError, match=r"shape \(n, 2\), columns x, t; came \(3,\)"):
        run.predict([1, 2, 3])


def test_a_run_can_be_loaded_where_nothing_can_be_written_and_nothing_trained(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli(*FAST)
    folder = cli.run_folder()
    first = cli(*FAST, f"init_from={folder}", "method.steps=0", "runs_dir=elsewhere")
    assert first.code == 0
    (second,) = (path.parent for path in cli.folder.glob("elsewhere/**/result.json"))
    configuration = (second / "config.yaml").read_text()
    assert "accelerator: auto" in configuration
    (second / "config.yaml").write_text(configuration.replace("accelerator: auto", "accelerator: gpu"))
    shutil.rmtree(folder)  # with it goes what init_from named
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may write anywhere
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert pinntk.load(second).predict([[0.5]]).shape == (1,)


def test_a_folder_may_be_named_from_home(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli(*FAST)
    monkeypatch.setenv("HOME", str(cli.folder))
    assert pinntk.load(Path("~") / cli.run_folder().relative_to(cli.folder)).result["status"] == "completed"


def test_load_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.yaml is not there"):
        pinntk.load(tmp_path)
    (tmp_path / "config.yaml").write_text("seed: [")
    with pytest.raises(FileNotFoundError, match=r"last\.ckpt is not there"):
        pinntk.load(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_text("")
    with pytest.raises(ValueError, match=r"config\.yaml cannot be read"):
        pinntk.load(tmp_path)


def test_starting_from_another_run(cli: Cli) -> None:
    cli(*FAST)
    source = cli.run_folder()
    ended = cli(*FAST, f"init_from={source.relative_to(cli.folder)}", "method.steps=0")
    assert ended.code == 0
    (other,) = set(cli.run_folders()) - {source}
    assert_same_network(load(source).method, load(other).method)
    # The same parameters under another seed, too, and without the source's iterations.
    assert cli(*FAST, f"init_from={source}", "method.steps=0", "seed=1").code == 0
    assert_same_network(load(source).method, load(other.parent / "seed1").method)

    ended = cli(*FAST, f"init_from={source}", "width=11")
    assert ended.code == 2
    assert "not the same network: network.layers.0.weight is (10, 1) there and (11, 1) here" in ended.err
    ended = cli(*FAST, f"init_from={source}", "network.depth=4")
    assert ended.code == 2
    assert "not the same network" in ended.err
