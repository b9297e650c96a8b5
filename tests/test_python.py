"""Training from Python: what the command line does, and nothing of the caller's process is changed."""

from __future__ import annotations

import logging
import os
import random
import re
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from conftest import FAST, Cli, assert_same_network, slow_unless
from filelock import FileLock
from matplotlib.figure import Figure
from test_entry import another_program, state

import pinntk
from pinntk.launch import cli as command_line
from pinntk.methods import Method
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.convection import Convection
from pinntk.pdes.zoo.heat_inverse import HeatInverse

assert another_program  # a fixture
SHORT = [*FAST, "method.steps=10", "compile=false"]


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run's second half is drawing, which is the picture's own tests' affair."""
    monkeypatch.setattr("pinntk.callbacks.solution.plot", lambda *arguments: Figure(figsize=(1, 1)))


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["pde=burgers", "method=gdnd", "seed=3"], {"pde": "burgers", "method": "gdnd", "seed": 3}),
        (["pde=burgers", "pde.nu=0.5"], {"pde": Burgers(nu=0.5)}),
        (["pde=burgers"], {"pde": Burgers}),
        (["pde=convection", "width=37"], {"pde": Convection(beta=40.0), "width": np.int64(37)}),
        (["pde=heat_inverse", "pde.truth=0.2"], {"pde": HeatInverse(truth=0.2)}),
        (
            ["points={interior:5,sampling:sobol}", "callbacks=[ntk_drift,hessian_norm]", "runs_dir='a b=c'"],
            {
                "points": {"interior": 5, "sampling": "sobol"},
                "callbacks": ["ntk_drift", "hessian_norm"],
                "runs_dir": Path("a b=c"),
            },
        ),
        (["compile=false", "threads=null", "tuned=null"], {"compile": False, "threads": None, "tuned": None}),
    ],
)
def test_what_is_given_is_what_would_be_typed(words: list[str], given: dict[str, Any]) -> None:
    assert pinntk.compose(**given) == command_line.compose(words)


@pytest.mark.parametrize(
    "words",
    [
        ["pde=wavy"],
        ["method.stepz=1"],
        ["method.steps=-1"],
        ["points.initial=3"],  # changes nothing here
        ["seed=0,1"],
        ["hydra/launcher=local"],
        ["network.width=x", "seed=y"],
        ["burgers"],
        ["trainer.accelerator=gpu"],
    ],
)
def test_errors_are_the_lines_of_the_command_line(words: list[str], cli: Cli) -> None:
    refused = cli(*FAST, *words)
    assert refused.code == 2
    with pytest.raises(pinntk.BadInput) as found:
        pinntk.train(*FAST, *words)
    assert isinstance(found.value, ValueError)
    assert [f"error: {line}" for line in str(found.value).split("\n")] == refused.err.splitlines()
    assert cli.run_folders() == []
    assert not Path("runs").exists()


def test_words_that_are_none(cli: Cli) -> None:
    for word in ("-m", "--help", Burgers):
        with pytest.raises(pinntk.BadInput, match="not understood; allowed is text, key=value"):
            pinntk.train(word)  # type: ignore[arg-type]
    with pytest.raises(pinntk.BadInput, match="seed: came <object"):
        pinntk.train(seed=object())
    with pytest.raises(pinntk.BadInput, match="stands beside others"):
        pinntk.sweep(pde=[Burgers(nu=0.5), "wave"])
    with pytest.raises(pinntk.BadInput, match=r"seed=\[0, 1\]: must be a whole number"):
        pinntk.train(*FAST, seed=[0, 1])


def test_command_line_and_python_share_their_runs(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(*SHORT).code == 0
    run = pinntk.train(*SHORT)
    assert "finished before" in capsys.readouterr().out
    assert run.folder.samefile(cli.run_folder())
    other = pinntk.train(*SHORT, seed=1)
    assert "finished before" in cli(*SHORT, "seed=1").out
    assert cli(*SHORT, "seed=1", "runs_dir=elsewhere").code == 0
    (typed,) = cli.folder.glob("elsewhere/**/seed1")
    assert_same_network(other.method, pinntk.load(typed).method)
    sweep = pinntk.sweep(*SHORT, seed=range(3))
    assert [record["status"] for record in sweep.records] == ["completed"] * 3
    assert [run.result["seed"] for run in sweep.runs] == [0, 1, 2]
    assert "3 completed" in repr(sweep)
    assert "seed=2" in sweep._repr_html_()
    assert list(sweep.results["folder"]) == [str(run.folder) for run in sweep.runs]


def process() -> list[Any]:
    """What a training could change of the process that it is called in."""
    numbers = [torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()]  # noqa: NPY002
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    names = (None, "pytorch_lightning", "lightning_fabric", "hydra")
    loggers = [(logging.getLogger(name).level, list(logging.getLogger(name).handlers)) for name in names]
    of_torch = [torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()]
    return [*numbers, *of_torch, handlers, loggers, list(warnings.filters), dict(os.environ), os.getcwd(), sys.argv[:]]


@pytest.mark.parametrize("dtype", [torch.float32, slow_unless(False, torch.float64)])
def test_the_process_is_left_as_it_was(cli: Cli, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "77")
    threads, before_dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.manual_seed(1)
    torch.set_num_threads(3)
    torch.set_default_dtype(dtype)
    try:
        before = process()
        run = pinntk.train(*SHORT, "pde=burgers", "network=hard")
        run.plot()
        run.ntk(interior=3, conditions=3)
        run.hessian(interior=3, conditions=3)
        pinntk.sweep(*SHORT, seed=[0, 1])
        with pytest.raises(pinntk.BadInput):
            pinntk.train("pde=nothing")
        with pytest.raises(pinntk.TrainingFailed, match=r"iteration 1\b"):
            pinntk.train(*SHORT, "method.adam.learning_rate=1e300")
        for one, other in zip(before, process(), strict=True):
            assert one == other
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(before_dtype)


def test_inside_of_another_program_of_hydra(another_program: Path, cli: Cli) -> None:
    with hydra.initialize_config_dir(str(another_program), version_base="1.2"):
        before = state()
        assert pinntk.compose(pde="wave")["pde"]["a"] == 4
        pinntk.train(*SHORT)
        pinntk.sweep(*SHORT, seed=[0, 1])
        assert before == state()
        assert hydra.compose("outer")["mine"] == 3


def test_a_failed_training_is_an_exception(cli: Cli) -> None:
    words = [*SHORT, "method.adam.learning_rate=1e300"]
    for _ in range(2):
        with pytest.raises(pinntk.TrainingFailed, match=r"at iteration 1.*retry_failed=True trains again.*seed0"):
            pinntk.train(*words)
    sweep = pinntk.sweep(*SHORT, "method.adam.learning_rate=1e300,1e-3")
    assert [record["status"] for record in sweep.records] == ["failed", "completed"]
    assert "iteration 1" in sweep.records[0]["reason"]
    assert len(sweep.runs) == 1
    with FileLock(sweep.runs[0].folder / ".lock"), pytest.raises(pinntk.TrainingFailed, match="another process"):
        pinntk.train(*SHORT, "method.adam.learning_rate=1e-3", overwrite=True)


def signals(monkeypatch: pytest.MonkeyPatch, at: int, *numbers: signal.Signals) -> Callable[[], None]:
    """Let the signals come as soon as ``iteration`` is ``at``; gives what ends that."""
    patch = pytest.MonkeyPatch()

    def count(self: Method, value: int) -> None:
        self.__dict__["_count"] = value
        if value == at:
            for number in numbers:
                signal.raise_signal(number)

    patch.setattr(Method, "iteration", property(lambda self: self.__dict__.get("_count", 0), count), raising=False)
    return patch.undo


def test_interrupted_and_gone_on_with(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pinntk.train(*SHORT, runs_dir="whole")
    undo = signals(monkeypatch, 4, signal.SIGINT)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="stopped at iteration 4; the same call goes on") as stopped:
        pinntk.train(*SHORT)
    undo()
    assert type(stopped.value) is pinntk.Interrupted
    run = stopped.value.run
    assert run is not None
    assert (run.result["status"], run.result["steps"]) == ("interrupted", 4)
    assert "interrupted" in repr(run)
    assert run.predict([[0.5]]).shape == (1,)
    assert signal.getsignal(signal.SIGINT) is handler
    assert_same_network(pinntk.train(*SHORT).method, whole.method)


def test_a_second_interrupt_leaves_a_session_alive(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "ps1", "In: ", raising=False)  # else it ends the process
    undo = signals(monkeypatch, 4, signal.SIGINT, signal.SIGINT)
    with pytest.raises(pinntk.Interrupted, match="the same call goes on"):
        pinntk.train(*SHORT)
    undo()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert pinntk.train(*SHORT).result["steps"] == 10


def test_sigterm_ends_the_process(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    undo = signals(monkeypatch, 4, signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        pinntk.train(*SHORT)
    undo()
    assert ended.value.code == 143


def test_an_interrupted_sweep_goes_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    pinntk.train(*SHORT)
    undo = signals(monkeypatch, 4, signal.SIGINT)
    with pytest.raises(pinntk.Interrupted, match="goes on with what is not completed"):
        pinntk.sweep(*SHORT, seed=range(3))
    undo()
    assert [folder.name for folder in cli.run_folders()] == ["seed0", "seed1"]
    assert [run.result["steps"] for run in pinntk.sweep(*SHORT, seed=range(3)).runs] == [10, 10, 10]


@pytest.mark.slow
def test_a_sweep_beside_each_other(cli: Cli) -> None:
    sweep = pinntk.sweep(*SHORT, "hydra/launcher=local", "hydra.launcher.jobs=2", seed=range(2))
    assert [run.method.seed for run in sweep.runs] == [0, 1]


def test_configurations_of_ones_own(cli: Cli) -> None:
    (cli.folder / "conf" / "pde").mkdir(parents=True)
    text = "# @package _global_\npde: {_target_: pinntk.pdes.poisson1d.Poisson1D, a: 2}\n"
    (cli.folder / "conf" / "pde" / "mine.yaml").write_text(text)
    run = pinntk.train(*[word for word in SHORT if not word.startswith("pde")], pde="mine", config_dir="conf")
    assert run.pde.parameters() == {"a": 2}


README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_what_readme_says(cli: Cli) -> None:
    (text,) = re.findall(r"^## In Python\n\n```python\n(.*?)```", README.read_text(), re.MULTILINE | re.DOTALL)
    text = text.replace(
        "pinntk.train(", 'pinntk.train("budget=smoke", "compile=false", "threads=1", "points.interior=50", '
    )
    text = text.replace(
        "pinntk.sweep(", 'pinntk.sweep("budget=smoke", "method.steps=3", "compile=false", "threads=1", '
    )
    text = re.sub(r'pinntk.load\("runs/burgers/gdnd/w50/.*?"\)', "pinntk.load(run.folder)", text)
    names: dict[str, Any] = {}
    exec(text, names)
    assert (names["run"].pde.name, names["run"].result["seed"]) == ("burgers", 3)
    assert names["run"].result["method_figures"]["phases"][0]["iterations"] == 500
    assert len(names["sweep"].runs) == 12
