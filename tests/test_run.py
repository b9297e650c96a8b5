"""Whole runs: what they leave behind, and that stopping one anywhere changes nothing of its result."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from conftest import FAST, Cli, in_child

import pinntk
from pinntk.cli import compose
from pinntk.folder import RunFolder
from pinntk.methods import Method
from pinntk.methods.adam import AdamMethod
from pinntk.run import decide_compile
from pinntk.settings import RunSettings
from pinntk.trained import load

TOTAL = 40
CUT = ["points.resample_every=7", "checkpoint.every_seconds=1e-9", "evaluate_every=10"]
METHODS = {"adam": [*FAST, *CUT]}
"""For every method a fast run of 40 iterations in blocks of 10, saved after each block, in all its phases."""


def result_of(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "result.json").read_text())
    assert isinstance(content, dict)
    return content


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# --- what a run leaves behind -----------------------------------------------------------------------------------------


def test_a_run_leaves_what_it_should(cli: Cli) -> None:
    ended = cli(*FAST, "seed=3", "evaluate_every=10")
    assert ended.code == 0
    folder = cli.run_folder()
    settings = RunSettings.read(compose([*FAST, "seed=3"]))
    assert folder == cli.folder / f"runs/poisson1d/adam/w10/smoke/{settings.settings_hash()}/seed3"
    assert sorted(os.listdir(cli.folder)) == ["runs"]
    names = [".lock", "checkpoints", "config.yaml", "metrics.csv", "result.json", "solution.npz", "solution.png"]
    assert sorted(os.listdir(folder)) == names
    assert os.listdir(folder / "checkpoints") == ["last.ckpt"]

    result = result_of(folder)
    expected = {
        "status": "completed",
        "reason": None,
        "pde": "poisson1d",
        "pde_parameters": {"a": 4},
        "method": "adam",
        "width": 10,
        "depth": 3,
        "budget": "smoke",
        "seed": 3,
        "settings_hash": settings.settings_hash(),
        "normalization": "mean",
        "steps": 40,
        "function_evaluations": 40,
        "parameters": (1 * 10 + 10) + 2 * (10 * 10 + 10) + (10 + 1),
        "device": "cpu",
        "precision": "64-true",
        "threads": 1,
        "method_figures": {},
    }
    assert {key: result[key] for key in expected} == expected
    assert set(result["terms"]) == {"residual", "boundary"}
    assert result["loss"] == pytest.approx(sum(result["terms"].values()), rel=1e-12)
    assert set(result["versions"]) == {"python", "torch", "pytorch_lightning", "numpy", "scipy", "pinntk"}
    assert 0 < result["seconds"] == pytest.approx(sum(result["seconds_per_phase"].values()))
    assert result["wall_seconds"] > result["seconds"]
    assert "git" in result

    # The errors that are reported are those of what is saved.
    saved = np.load(folder / "solution.npz")
    x = saved["coordinates"]
    np.testing.assert_allclose(saved["reference"], np.sin(4 * np.pi * x[:, 0]), atol=1e-13)
    error = np.linalg.norm(saved["prediction"] - saved["reference"]) / np.linalg.norm(saved["reference"])
    assert result["l2re"] == pytest.approx(error, rel=1e-12)
    measured = {float(row["l2re"]): float(row["loss"]) for row in rows_of(folder)}
    assert result["l2re_at_lowest_loss"] == pytest.approx(min(measured, key=lambda e: measured[e]), rel=1e-12)

    # The last lines say what matters.
    last = ended.out.splitlines()[-4:]
    assert [line.split()[0] for line in last] == ["L2RE", "published", "time", "files"]
    assert f"{result['l2re']:.3e}" in last[0]
    assert str(folder.relative_to(cli.folder)) in last[3]


def test_published_figures_are_shown(cli: Cli) -> None:
    ended = cli(*FAST, "pde=wave", "method.steps=1")
    assert "Adam 3.49e-01" in ended.out
    assert "PCPINN 1.28e-02" in ended.out
    assert "a=5" in ended.out


def test_the_terminal_is_left_to_the_user(tmp_path: Path) -> None:
    ended = in_child(tmp_path, FAST)
    assert ended.code == 0
    for word in ("GPU", "Lightning", "litlogger", "Tip", "warn", "Seed", "HYDRA", "fit`"):
        assert word not in ended.out + ended.err
    assert ended.err == ""


def test_the_same_command_again_runs_nothing(cli: Cli) -> None:
    cli(*FAST)
    folder = cli.run_folder()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".lock"}
    again = cli(*FAST)
    assert again.code == 0
    assert "finished before" in again.out
    assert "overwrite=true" in again.out
    assert f"{result_of(folder)['l2re']:.3e}" in again.out
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".lock"}


def test_overwriting_gives_the_same_again(cli: Cli) -> None:
    cli(*FAST)
    folder = cli.run_folder()
    first, written = load(folder), (folder / "result.json").stat().st_mtime_ns
    ended = cli(*FAST, "overwrite=true")
    assert ended.code == 0
    assert cli.run_folder() == folder
    assert os.listdir(folder.parent) == ["seed0"]
    assert (folder / "result.json").stat().st_mtime_ns > written
    assert_same_network(first.method, load(folder).method)


def test_other_settings_and_seeds_get_other_folders(cli: Cli) -> None:
    for words in ([], ["seed=1"], ["network.depth=2"], ["pde.a=2"], ["precision=32-true"]):
        assert cli(*FAST, "method.steps=1", *words).code == 0
    folders = cli.run_folders()
    assert len(folders) == 5
    assert len({folder.parent for folder in folders}) == 4


@pytest.mark.parametrize(
    "words",
    [
        ["seed=5"],
        ["evaluate_every=7"],
        ["method.log_every=3"],
        ["checkpoint.every_seconds=1"],
        ["logger=none"],
        ["runs_dir=elsewhere"],
        ["budget.name=other"],
        ["method.adam.learning_rate=0.0010"],
        ["pde=burgers", "pde.nu=2", "pde.nu=2.0"],
    ],
)
def test_what_does_not_affect_the_result_is_not_in_the_hash(words: list[str]) -> None:
    base = [word for word in words[:-1]]
    one, other = (RunSettings.read(compose([*FAST, *w])).settings_hash() for w in (base, words))
    assert one == other
    assert len(one) == 12


@pytest.mark.parametrize(
    "word",
    ["pde.a=3", "width=11", "network.normalize=false", "points.interior=49", "points.sampling=sobol", "method.steps=41"]
    + ["precision=32-true", "threads=2", "compile=true", "method.adam.betas=[0.9,0.99]", "method.normalization=sum"]
    + ["network.features=[{kind:decay,input:x,times:[1]}]", "pde=burgers", "++method.weights.boundary=2"],
)
def test_what_affects_the_result_is_in_the_hash(word: str) -> None:
    one, other = (RunSettings.read(compose([*FAST, *w])).settings_hash() for w in ([], [word]))
    assert one != other


# --- ends that are not happy ------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_fails_the_run(cli: Cli) -> None:
    words = [*FAST, "method.adam.learning_rate=1e300"]
    ended = cli(*words)
    assert ended.code == 1
    assert "Traceback" not in ended.err
    result = result_of(cli.run_folder())
    assert result["status"] == "failed"
    assert "iteration 1" in result["reason"]
    assert "loss" in result["reason"]
    again = cli(*words)
    assert again.code == 1
    assert result["reason"] in again.out
    assert "overwrite=true" in again.out


def test_a_bug_shows_its_traceback_and_writes_no_result(tmp_path: Path) -> None:
    def broken(self: AdamMethod, end: int) -> None:
        raise ZeroDivisionError("a bug")

    ended = in_child(tmp_path, FAST, lambda: setattr(AdamMethod, "advance", broken))
    assert ended.code == 1
    assert "Traceback" in ended.err
    assert "ZeroDivisionError: a bug" in ended.err
    assert list(tmp_path.glob("runs/**/result.json")) == []


def test_a_corrupted_checkpoint_is_named_and_kept(cli: Cli) -> None:
    cli(*FAST)
    folder = cli.run_folder()
    (folder / "result.json").unlink()
    checkpoint = folder / "checkpoints" / "last.ckpt"
    whole = checkpoint.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"not a checkpoint"):
        checkpoint.write_bytes(broken)
        ended = cli(*FAST)
        assert ended.code == 2
        (line,) = ended.err.splitlines()
        assert "checkpoints/last.ckpt cannot be read" in line
        assert "overwrite=true" in line
        assert checkpoint.read_bytes() == broken
        assert not (folder / "result.json").exists()
        with pytest.raises(ValueError, match=r"last\.ckpt cannot be read"):
            pinntk.load(folder)
        assert cli(*FAST, "method.steps=41", f"init_from={folder}").code == 2
    torch.save({"something": "else"}, checkpoint)
    assert "is not one of pinntk" in cli(*FAST).err
    assert cli(*FAST, "overwrite=true").code == 0
    assert result_of(folder)["status"] == "completed"


def test_two_processes_at_one_run(cli: Cli) -> None:
    folder = RunFolder(cli.folder / RunSettings.read(compose(FAST)).folder())
    with folder.locked():
        ended = cli(*FAST)
    assert ended.code == 1
    assert "another process" in ended.out
    assert cli(*FAST).code == 0


# --- the trained network ----------------------------------------------------------------------------------------------


def test_load_gives_the_trained_network_back(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli(*FAST, "pde=burgers", "pde.nu=0.1")
    folder = cli.run_folder()
    monkeypatch.chdir("/")
    run = pinntk.load(folder)
    saved = np.load(folder / "solution.npz")
    predicted = run.predict(saved["coordinates"])
    assert predicted.dtype == np.float64
    np.testing.assert_array_equal(predicted, saved["prediction"])
    assert run.pde.name == "burgers"
    assert run.pde.parameters() == {"nu": 0.1}
    assert run.result == result_of(folder)
    np.testing.assert_allclose(run.predict([[0.5, 1.0]]), run.predict(np.array([[0.5, 1.0]])))
    with pytest.raises(ValueError, match=r"shape \(n, 2\), columns x, t; came \(3,\)"):
        run.predict([1, 2, 3])


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


# --- stopped anywhere -------------------------------------------------------------------------------------------------


def assert_same_network(one: Method, other: Method) -> None:
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        assert torch.equal(states[0][name], states[1][name]), name


TIMES = {"seconds", "seconds_per_phase", "wall_seconds", "method_figures"}


def assert_same_run(one: Path, other: Path) -> None:
    """Bit for bit, but for the time that it took."""
    assert_same_network(load(one).method, load(other).method)
    results = [{k: v for k, v in result_of(folder).items() if k not in TIMES} for folder in (one, other)]
    assert results[0] == results[1]
    assert rows_of(one) == rows_of(other)
    first, second = np.load(one / "solution.npz"), np.load(other / "solution.npz")
    np.testing.assert_array_equal(first["prediction"], second["prediction"])


@pytest.fixture(scope="module", params=sorted(METHODS))
def uninterrupted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """A method's command line and the folder of its run."""
    folder, words = tmp_path_factory.mktemp(request.param), METHODS[request.param]
    ended = in_child(folder, words)
    assert ended.code == 0, ended.err
    (made,) = (path.parent for path in folder.glob("runs/**/result.json"))
    assert result_of(made)["steps"] == TOTAL
    return words, made


def at_iteration(n: int, act: Callable[[], object]) -> Callable[[], object]:
    """Patches Method so that something happens as soon as ``iteration`` is n."""

    def arrange() -> None:
        def count(self: Method, value: int) -> None:
            self.__dict__["_count"] = value
            if value == n:
                act()

        Method.iteration = property(lambda self: self.__dict__["_count"], count)  # type: ignore[assignment]

    return arrange


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def when_replacing(name: str, nth: int, *, after: bool) -> Callable[[], object]:
    """Patches os.replace so that the process dies before or after the nth time that a file of this name is put in place."""

    def arrange() -> None:
        replace, seen = os.replace, []

        def patched(source: Any, target: Any) -> None:
            last = Path(target).name == name and len(seen) == nth - 1
            seen.extend([1] if Path(target).name == name else [])
            if last and not after:
                die()
            replace(source, target)
            if last:
                die()

        os.replace = patched

    return arrange


CUTS = {
    "before the first checkpoint": at_iteration(3, die),
    "inside a block": at_iteration(17, die),
    "at the end of a block": at_iteration(20, die),
    "in the last block": at_iteration(39, die),
    "at the very end": at_iteration(40, die),
    "before the first checkpoint is in place": when_replacing("last.ckpt", 1, after=False),
    "between log and checkpoint": when_replacing("last.ckpt", 3, after=False),
    "after a checkpoint": when_replacing("last.ckpt", 2, after=True),
    "after the last checkpoint": when_replacing("last.ckpt", 4, after=True),
    "before the picture": when_replacing("solution.png", 1, after=False),
    "before the result": when_replacing("result.json", 1, after=False),
}


@pytest.mark.parametrize("cut", CUTS)
def test_killed_and_started_again(uninterrupted: tuple[list[str], Path], cut: str, tmp_path: Path) -> None:
    words, whole = uninterrupted
    assert in_child(tmp_path, words, CUTS[cut]).code == -signal.SIGKILL
    assert list(tmp_path.glob("runs/**/result.json")) == []
    again = in_child(tmp_path, words)
    assert again.code == 0, again.err
    assert ("resuming at iteration" in again.out) == ("before the first" not in cut)
    assert_same_run(whole, tmp_path / whole.relative_to(whole.parents[6]))


def test_killed_again_and_again(uninterrupted: tuple[list[str], Path], tmp_path: Path) -> None:
    words, whole = uninterrupted
    for n in (12, 13, 25, 38):
        assert in_child(tmp_path, words, at_iteration(n, die)).code == -signal.SIGKILL
    assert in_child(tmp_path, words).code == 0
    assert_same_run(whole, tmp_path / whole.relative_to(whole.parents[6]))


@pytest.mark.parametrize("n", [1, 16, 20])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal(
    uninterrupted: tuple[list[str], Path], number: signal.Signals, n: int, tmp_path: Path
) -> None:
    words, whole = uninterrupted
    words = [word for word in words if "every_seconds" not in word]  # saved because of the signal, not by the clock
    ended = in_child(tmp_path, words, at_iteration(n, lambda: os.kill(os.getpid(), number)))
    assert ended.code == 128 + number
    assert "Traceback" not in ended.err
    folder = tmp_path / whole.relative_to(whole.parents[6])
    result = result_of(folder)
    assert (result["status"], result["steps"]) == ("interrupted", n)
    assert f"interrupted at iteration {n}" in ended.out
    again = in_child(tmp_path, words)
    assert again.code == 0, again.err
    assert f"resuming at iteration {n} of {TOTAL}" in again.out
    assert_same_network(load(whole).method, load(folder).method)
    assert result_of(folder)["l2re"] == result_of(whole)["l2re"]


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    assert in_child(tmp_path, FAST, at_iteration(5, twice)).code == -signal.SIGINT
    assert in_child(tmp_path, FAST).code == 0


def test_a_signal_ends_a_whole_sweep(tmp_path: Path) -> None:
    act = at_iteration(5, lambda: os.kill(os.getpid(), signal.SIGINT))
    ended = in_child(tmp_path, [*FAST, "-m", "seed=0,1"], act)
    assert ended.code == 130
    assert [result_of(path.parent)["status"] for path in tmp_path.glob("runs/**/result.json")] == ["interrupted"]


def test_handlers_are_put_back(cli: Cli) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    cli(*FAST, "method.steps=1")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_finished_run_survives_an_overwriting_one_that_is_killed(tmp_path: Path) -> None:
    assert in_child(tmp_path, FAST).code == 0
    (folder,) = (path.parent for path in tmp_path.glob("runs/**/result.json"))
    old = (folder / "result.json").read_bytes()
    assert in_child(tmp_path, [*FAST, *CUT[1:], "overwrite=true"], at_iteration(25, die)).code == -signal.SIGKILL
    assert (folder.with_name("seed0.previous") / "result.json").read_bytes() == old
    ended = in_child(tmp_path, FAST)
    assert ended.code == 0
    assert "resuming at iteration 20" in ended.out
    assert os.listdir(folder.parent) == ["seed0"]


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_compiling_is_decided_on_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/c++" if name == "c++" else None)
    assert decide_compile("auto", 2000) == (True, None)
    use, reason = decide_compile("auto", 1999)
    assert not use
    assert "1999" in str(reason)
    assert decide_compile(True, 1) == (True, None)
    assert decide_compile(False, 10**6) == (False, None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    use, reason = decide_compile("auto", 10**6)
    assert not use
    assert "no C++ compiler" in str(reason)
    assert "\n" not in str(reason)
    monkeypatch.setenv("CXX", "mycc")
    assert "mycc" in str(decide_compile("auto", 10**6)[1])


def test_callbacks_and_loggers_of_the_users_are_used(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    (cli.folder / "mine.py").write_text(
        "import pytorch_lightning as pl\n"
        "class Note(pl.Callback):\n"
        "    def __init__(self, folder, text): self.path, self.text = folder + '/note.txt', text\n"
        "    def on_train_end(self, trainer, method): open(self.path, 'w').write(f'{self.text} {method.iteration}')\n"
    )
    monkeypatch.syspath_prepend(cli.folder)
    words = [*FAST, "logger=none", '+callbacks.note={_target_:mine.Note,folder:"{folder}",text:hello}']
    assert cli(*words).code == 0
    assert (cli.run_folder() / "note.txt").read_text() == "hello 40"
    assert not (cli.run_folder() / "metrics.csv").exists()
    ended = cli(*FAST, "seed=1", "+callbacks.note={_target_:mine.Note,foldr:x}")
    assert ended.code == 2
    assert "callbacks.note: mine.Note cannot be made" in ended.err


def test_a_problem_and_a_method_of_the_users(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adding a problem or a method is one file and one yaml."""
    (cli.folder / "mine.py").write_text(
        "from typing import ClassVar\n"
        "from pinntk.methods.adam import AdamMethod\n"
        "from pinntk.pdes.poisson1d import Poisson1D\n"
        "class Mine(Poisson1D):\n"
        "    name: ClassVar[str] = 'mine'\n"
        "class Half(AdamMethod):\n"
        "    name: ClassVar[str] = 'half'\n"
        "    class Settings(AdamMethod.Settings):\n"
        "        half: float = 0.5\n"
    )
    monkeypatch.syspath_prepend(cli.folder)
    for group, text in {
        "pde": "# @package _global_\npde: {_target_: mine.Mine, a: 2}\n",
        "method": "defaults: [adam]\n_target_: mine.Half\nhalf: 0.25\n",
    }.items():
        (cli.folder / "conf" / group).mkdir(parents=True)
        (cli.folder / "conf" / group / "mine.yaml").write_text(text)
    ended = cli("--config-dir", "conf", *FAST, "pde=mine", "method=mine")
    assert ended.code == 0, ended.err
    folder = cli.run_folder()
    assert folder.relative_to(cli.folder).parts[1:3] == ("mine", "half")
    assert pinntk.load(folder).pde.parameters() == {"a": 2}
    assert "half=oops" in cli("--config-dir", "conf", *FAST, "method=mine", "method.half=oops").err


def test_seed_zero_is_a_seed(cli: Cli) -> None:
    cli(*FAST, "-m", "seed=0,1", "method.steps=0")
    zero, one = (load(folder).method for folder in cli.run_folders())
    assert isinstance(zero, pl.LightningModule)
    assert not torch.equal(zero.network.layers[0].weight, one.network.layers[0].weight)
