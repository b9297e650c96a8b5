"""The command line: rewriting, bad input, help, sweeps. Training itself is in test_run.py."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import FAST, Cli, result_of, spoken

from pinntk.launch.cli import compose, configuration_folder, groups
from pinntk.launch.overrides import rewrite

TRAIN = Path(__file__).parents[1] / "train.py"
CHOICES = groups(configuration_folder())


@pytest.mark.parametrize(
    ("word", "rewritten"),
    [
        ("width=200", "width=w200"),
        ("width=w200", "width=w200"),
        ("width=37", "network.width=37"),
        ("width=50,200", "width=w50,w200"),
        ("width=50,37", "network.width=50,37"),
        ("width=w50,37", "network.width=50,37"),
        ("width=range(10,50,10)", "network.width=range(10,50,10)"),
        ("width=choice(50,100)", "network.width=choice(50,100)"),
        ("width=-3", "network.width=-3"),
        ("width=0", "network.width=0"),
        ("width=abc", "width=abc"),
        ("width=null", "~width"),
        ("tuned=null", "~tuned"),
        ("pde=null", "pde=null"),
        ("network.width=200", "network.width=200"),
        ("method.weights.boundary=100", "++method.weights.boundary=100"),
        ("pde=heat2d", "pde=heat2d"),
        ("seed=null", "seed=null"),
    ],
)
def test_words_are_rewritten_for_hydra(word: str, rewritten: str) -> None:
    assert rewrite([word], CHOICES) == [rewritten]
    assert rewrite([rewritten], CHOICES) == [rewritten]


def test_free_keys_can_be_set() -> None:
    for word in ("method.weights.boundary=100", "method.weights={boundary: 100}"):
        assert compose(["method=adam", "pde=poisson1d", word])["method"]["weights"] == {"boundary": 100}


TUNED = ["method=adam", "pde=burgers"]
"""With weights in conf/tuned/adam/burgers/laptop.yaml."""


@pytest.mark.parametrize(
    ("words", "weights"),
    [
        ([], {"initial": 10.0, "boundary": 10.0}),
        (["method.weights={}"], {}),
        (["method.weights={ }"], {}),
        (["method.weights={initial: 5}"], {"initial": 5}),
        (["method.weights={residual: 5}"], {"residual": 5}),
        (["method.weights.initial=5"], {"initial": 5, "boundary": 10.0}),
        (["method.weights={}", "method.weights.initial=5"], {"initial": 5}),
        (["method.weights={initial: 5}", "method.weights={}"], {}),
    ],
    ids=" ".join,
)
def test_a_mapping_of_free_keys_replaces_the_tuned_one(words: list[str], weights: dict[str, float]) -> None:
    assert compose([*TUNED, *words])["method"]["weights"] == weights
    once = rewrite(words, CHOICES)
    assert rewrite(once, CHOICES) == once


def test_weights_are_taken_away_in_runs_and_in_sweeps(cli: Cli) -> None:
    (cli.folder / "mine" / "experiment").mkdir(parents=True)
    (cli.folder / "mine" / "experiment" / "heavy.yaml").write_text(
        "# @package _global_\nmethod: {weights: {initial: 7.0}}\n"
    )
    words = ["--config-dir", "mine", *TUNED, "experiment=heavy", "budget=smoke", "tuned=adam/burgers/laptop"]
    words += ["method.steps=2", "method.log_every=2", "evaluate_every=2", "points.interior=50", "width=5", "threads=1"]

    def weights() -> list[dict[str, float]]:
        return [yaml.safe_load((f / "config.yaml").read_text())["method"]["weights"] for f in cli.run_folders()]

    assert cli(*words, "method.weights={}").code == 0
    assert weights() == [{}]
    assert cli("-m", *words, "method.weights={},{residual:3.0}").code == 0
    assert sorted(weights(), key=len) == [{}, {"residual": 3.0}]
    ended = cli("-m", *words, "method.weights={},{residul:3.0}")
    assert ended.code == 2
    assert "method.weights.residul" in ended.err


def test_an_empty_mapping_takes_away_what_the_files_say() -> None:
    assert compose(["callbacks=ntk_drift", "callbacks={}"])["callbacks"] == {}
    assert compose(["logger={}"])["logger"] == {}
    assert compose(["method=adam", "method.adam.schedule={}"])["method"]["adam"]["schedule"] == {}
    assert compose(["method=adam", "method.adam.schedule={kind: cosine}"])["method"]["adam"]["schedule"] == {
        **compose(["method=adam"])["method"]["adam"]["schedule"],  # the keys that are not named stay, as in Hydra
        "kind": "cosine",
    }


BAD = [
    # unknown choices
    ("pde=burger", ["pde=burger", "did you mean 'burgers'", "convection", "wave"]),
    (
        "pde=foo method=bar",
        [
            "pde=foo",
            "method=bar",
            "allowed: adam, adam_lbfgs, evolve, gauss_newton, gdnd, gdnd_theory, ntk_ng, pcpinn, pcpinn_gdnd, "
            "pcpinn_ng, pcpinn_ssbroyden, pinn_ntk, plan, ssbroyden",
        ],
    ),
    ("method=null", ["method=null", "adam"]),
    ("width=abc", ["width=abc", "whole number, at least 1"]),
    ("width=1.5", ["width=1.5", "whole number, at least 1"]),
    ("tuned=foo", ["tuned=foo", "unknown choice"]),
    ("hydra/launcher=foo", ["hydra/launcher=foo", "unknown choice; allowed: basic, gpus, local, ray, slurm"]),
    ("pde=[heat2d,wave]", ["pde=[heat2d,wave]", "unknown choice"]),
    ("logger=[csv,nonsense]", ["logger=nonsense", "allowed: csv, mlflow, none, tensorboard, wandb"]),
    ("logger=wandb,nonsense", ["logger=wandb,nonsense", "logger=[...]"]),
    ("-m logger=[csv],[csv,nonsense]", ["logger=nonsense", "allowed: csv, mlflow, none, tensorboard, wandb"]),
    ("callbacks=[ntk_drift,nonsense]", ["callbacks=nonsense", "ntk_forecast"]),
    # unknown keys
    ("sed=4", ["sed=4", "unknown key", "did you mean 'seed'", "runs_dir"]),
    ("+foo=1", ["foo=1", "unknown key", "runs_dir"]),
    ("method.stepz=4", ["method.stepz=4", "did you mean 'steps'", "log_every"]),
    ("method.adam.lr=4", ["method.adam.lr=4", "allowed in method.adam: betas, learning_rate, schedule"]),
    ("++method.foo=1", ["method.foo=1", "unknown key", "steps"]),
    ("network.width.x=3", ["network.width.x=3", "network.width is a single value"]),
    ("stepz=1 method.foo=2", ["stepz=1", "method.foo=2"]),
    ("method.weights.bondary=3", ["method.weights.bondary", "residual, boundary"]),
    ("network.features=[{kind:periodic,input:x,periode:1}]", ["network.features.0.periode=1", "did you mean 'period'"]),
    # form
    ("seed=[", ["seed=[", "key=value"]),
    ("foo", ["foo", "key=value"]),
    ("--foo", ["--foo", "--help"]),
    ("seed=1,2", ["seed=1,2", "-m"]),
    ("width=50,37", ["network.width=50,37", "-m"]),
    ("method.steps=${foo}", ["method.steps", "foo"]),
    ("=5", ["=5: has no key", "allowed: key=value"]),
    ("-m seed=range(0)", ["seed=range(0): has no values", "allowed: one at least"]),
    ("--config-dir=nowhere", ["--config-dir=nowhere: is not a folder", "allowed"]),
    ("pde={}", ["pde={}", "would change nothing", "burgers"]),
    ("foo={}", ["foo={}", "unknown key"]),
    # types
    ("network.depth=abc", ["network.depth=abc", "whole number"]),
    ("network.depth=true", ["network.depth=true", "whole number"]),
    ("method.steps=1.5", ["method.steps=1.5", "whole number"]),
    ("pde=burgers pde.nu=abc", ["pde.nu=abc", "must be a number"]),
    ("method.adam.betas=[0.9]", ["method.adam.betas.1", "is missing"]),
    ("overwrite=1", ["overwrite=1", "true or false"]),
    ("checkpoint=5", ["checkpoint=5", "mapping"]),
    ("network.features=3", ["network.features=3", "list"]),
    ("method._target_=torch.nn.Linear", ["method._target_=torch.nn.Linear", "Method"]),
    ("method._target_=foo.bar", ["method._target_=foo.bar", "cannot be imported"]),
    ("logger.csv._target_=foo.bar", ["logger.csv._target_=foo.bar", "cannot be imported"]),
    # ranges
    ("width=0", ["network.width=0", "at least 1"]),
    ("width=-3", ["network.width=-3", "at least 1"]),
    ("network.depth=0", ["network.depth=0", "at least 1"]),
    ("network.depth=1000", ["network.depth=1000", "at most 100"]),
    ("method.steps=-5", ["method.steps=-5", "at least 0"]),
    ("seed=-1", ["seed=-1", "at least 0"]),
    ("pde=burgers pde.nu=0", ["pde.nu=0", "greater than 0"]),
    ("pde=burgers pde.nu=-1", ["pde.nu=-1", "greater than 0"]),
    ("pde=burgers pde.nu=nan", ["pde.nu=NaN", "finite number"]),
    ("points.interior=0", ["points.interior=0", "at least 1"]),
    ("points.sampling=sobl", ["points.sampling=sobl", "'sobol'"]),
    ("points.sampling=grid points.resample_every=5", ["points.resample_every"]),
    ("threads=0", ["threads=0", "at least 1"]),
    ("precision=16", ["precision=16", "'64-true' or '32-true'"]),
    ("compile=maybe", ["compile=maybe", "'auto', true or false"]),
    ("evaluate_every=0", ["evaluate_every=0", "at least 1"]),
    ("checkpoint.every_seconds=0", ["checkpoint.every_seconds=0", "greater than 0"]),
    ("method.weights.boundary=-1", ["method.weights.boundary=-1", "at least 0"]),
    ("budget.name=a/b", ["budget.name=a/b"]),
    ("network.features=[{kind:periodic,input:z,period:1}]", ["network.features", "input=z"]),
    ("network.features=[{kind:mode,frequencies:{z:1}}]", ["network.features", "frequencies.z", "allowed are x"]),
    (
        "network.features=[{kind:mode,input:x,frequencies:{x:1}}]",
        ["network.features.0.input=x: unknown key", "allowed in network.features.0: frequencies, kind"],
    ),
    (
        "pde=heat2d pde.m1=3 network.features=[{kind:periodic,input:x,period:0.5,replace:true}]",
        ["network.features", "period 0.5 in x", "3 half waves of pde.m1", "tuned=null"],
    ),
    ("pde=heat2d discretization.cells=0", ["discretization.cells=0", "at least 4"]),
    ("pde=heat2d discretization.time_steps=0", ["discretization.time_steps=0", "at least 1"]),
    ("pde=heat2d discretization.cells=512 discretization.time_steps=100000", ["nodes", "allowed"]),
    ("pde=heat2d discretization.drop_tolerance=-1", ["discretization.drop_tolerance=-1", "at least 0"]),
    ("pde=heat2d discretization.drop=1", ["discretization.drop=1", "did you mean 'drop_tolerance'"]),
    ("pde=heat2d pde.m1=50 pde.k=0", ["pde.m1=50", "at most 32", "pde.k=0", "greater than 0"]),
    ("pde=convection discretization.cells=5", ["discretization.cells=5", "at least 6"]),
    ("pde=convection discretization.time_steps=2.5", ["discretization.time_steps=2.5", "whole number"]),
    ("pde=reaction discretization.order=3", ["discretization.order=3", "2 or 4"]),
    ("pde=reaction discretization.space=order4", ["discretization.space=order4", "unknown key"]),
    ("pde=burgers discretization.stretch=1", ["discretization.stretch=1", "less than 1"]),
    ("pde=burgers discretization.factor=all", ["discretization.factor=all", "'levels' or 'whole'"]),
    ("pde=wave discretization.space=order2", ["discretization.space=order2", "'spectral' or 'order4'"]),
    ("pde=wave discretization.order=2", ["discretization.order=2", "unknown key"]),
    ("discretization.time_steps=9", ["discretization.time_steps=9", "unknown key", "allowed in discretization"]),
    ("discretization.fill_factor=0", ["discretization.fill_factor=0", "at least 1"]),
    (
        "pde=wave discretization.cells=99999 discretization.time_steps=99999",
        ["cells=99999 and time_steps=99999", "nodes"],
    ),
    # what does not go together
    ("method=pcpinn discretization=null", ["discretization=null", "pcpinn"]),
    ("pde=wave method=pcpinn discretization.cells=8", ["discretization.cells=8", "pde.a=4 needs at least 10"]),
    ("pde=wave method=pcpinn discretization.time_steps=150", ["discretization.time_steps=150", "at least 165"]),
    ("method=pcpinn pde.a=100", ["discretization.cells=200", "pde.a=100 needs at least 202"]),
    ("-m method=adam,pcpinn pde.a=120", ["discretization.cells=200", "pde.a=120"]),
    ("pde=heat2d method=pcpinn discretization=null", ["discretization=null", "pcpinn"]),
    ("pde=heat2d method=pcpinn method.weights.boundary=2", ["method.weights", "pcpinn"]),
    ("method=pcpinn points.by_residual=0.5", ["points.by_residual=0.5", "pcpinn", "allowed is 0"]),
    ("method=pcpinn points.sampling=grid", ["points.sampling=grid", "pcpinn", "allowed are uniform"]),
    ("seed=-1 network.depth=0 pde.a=0", ["seed=-1", "network.depth=0", "pde.a=0"]),
    # the world
    ("init_from=nowhere", ["init_from=nowhere", "last.ckpt", "run folder"]),
    ("runs_dir=file", ["runs_dir=file", "is not a folder"]),
    ("runs_dir=/dev/null/runs", ["runs_dir=/dev/null/runs", "is not a folder"]),
    ("runs_dir=", ["runs_dir=", "empty"]),
    ("trainer.accelerator=tpu", ["trainer.accelerator=tpu", "'gpu'"]),
    # anywhere in a sweep, before its first job
    ("-m pde=poisson1d,foo", ["pde=foo", "unknown choice"]),
    ("-m seed=0,1,-2", ["seed=-2", "at least 0"]),
    ("-m width=10,0", ["network.width=0", "at least 1"]),
    ("-m seed=0,1 method.stepz=1", ["method.stepz=1", "'steps'"]),
    ("-m pde=poisson1d,burgers pde.nu=1", ["pde.nu=1", "unknown key"]),
    ("-m seed=0,1 --foo", ["--foo"]),
]


@pytest.mark.parametrize(("words", "fragments"), BAD, ids=[words for words, _ in BAD])
def test_bad_input_is_one_line_each_and_nothing_is_made(cli: Cli, words: str, fragments: list[str]) -> None:
    (cli.folder / "file").write_text("")
    ended = cli(*FAST, *words.split())
    assert ended.code == 2
    lines = ended.err.splitlines()
    assert lines
    assert all(line.startswith("error: ") for line in lines)
    for fragment in fragments:
        assert fragment in ended.err
    assert ended.out == ""
    assert os.listdir(cli.folder) == ["file"]


@pytest.mark.parametrize("words", ["seed=-1 network.depth=0 pde.a=0", "pde=foo method=bar", "stepz=1 method.x=2 a=3"])
def test_all_errors_come_at_once(cli: Cli, words: str) -> None:
    assert len(cli(*FAST, *words.split()).err.splitlines()) == len(words.split())


def test_an_accelerator_that_is_not_there(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    ended = cli(*FAST, "trainer.accelerator=gpu")
    assert ended.code == 2
    assert "trainer.accelerator=gpu: no CUDA device" in ended.err


def test_a_reference_that_cannot_be_computed_is_bad_input(cli: Cli) -> None:
    ended = cli(*FAST, "pde=burgers", "pde.nu=1e-9")
    assert ended.code == 2
    assert "error: pde.nu=1e-09" in ended.err
    assert cli.run_folders() == []


def test_flags_may_stand_anywhere(cli: Cli) -> None:
    ended = cli(*FAST[:3], "-m", *FAST[3:], "seed=0,1", "method.steps=2")
    assert ended.code == 0
    assert [folder.name for folder in cli.run_folders()] == ["seed0", "seed1"]


def test_a_sweep_goes_on_after_a_failure_and_says_so(cli: Cli) -> None:
    ended = cli(*FAST, "-m", "method.adam.learning_rate=1e300,1e-3", "method.steps=3")
    assert ended.code == 1
    assert "failed: the loss" in ended.out
    assert "L2RE" in ended.out
    rows = ended.out.split("\njob ")[-1].splitlines()
    assert rows[1].split()[:4] == ["0", "failed", "–", "method.adam.learning_rate=1e+300"]
    assert "(the loss" in rows[1]
    assert rows[2].split()[1] == "completed"
    assert rows[3] == "1 completed, 1 failed"
    assert len(list(cli.folder.glob("runs/**/result.json"))) == 2


def test_an_exception_in_one_job_ends_that_job_alone(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from pinntk.methods.adam import AdamMethod

    advance = AdamMethod.advance

    def broken(self: AdamMethod, end: int) -> None:
        if self.seed == 0:
            raise ZeroDivisionError("a bug")
        advance(self, end)

    monkeypatch.setattr(AdamMethod, "advance", broken)
    ended = cli(*FAST, "-m", "seed=0,1", "method.steps=2")
    assert ended.code == 1
    assert "ZeroDivisionError: a bug" in ended.err
    assert "seed=0  (ZeroDivisionError: a bug)" in ended.out
    assert [path.parent.name for path in cli.folder.glob("runs/**/result.json")] == ["seed1"]


def test_looking_at_the_configuration_starts_nothing(cli: Cli) -> None:
    ended = cli(*FAST, "--cfg", "job")
    assert ended.code == 0
    assert "pinntk.pdes.poisson1d.Poisson1D" in ended.out
    assert os.listdir(cli.folder) == []


def test_a_flag_takes_no_override_for_its_value(cli: Cli) -> None:
    """``--info`` may be followed by one of its own words, and is here by an override."""
    root = logging.getLogger()
    before = [*root.handlers], root.level
    ended = cli("--info", *FAST)
    assert ended.code == 0, ended.err
    assert os.listdir(cli.folder) == []
    assert (root.handlers, root.level) == before  # Hydra has all loggers tell everything, on a stream of the moment


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["-m", "--cfg", "job"], "-m --cfg job"),
        (["--run", "--multirun"], "-m --run"),
        (["--cfg", "all", "--info"], "--cfg all --info all"),
    ],
)
def test_flags_that_exclude_each_other(cli: Cli, flags: list[str], named: str) -> None:
    ended = cli(*FAST, *flags)
    assert (ended.code, os.listdir(cli.folder)) == (2, [])
    assert ended.err == f"error: {named}: are asked together; allowed is one of them\n"


def test_choices_may_come_from_a_folder_of_the_users(cli: Cli) -> None:
    (cli.folder / "mine" / "experiment").mkdir(parents=True)
    (cli.folder / "mine" / "experiment" / "short.yaml").write_text("# @package _global_\nmethod: {steps: 3}\nseed: 7\n")
    for flags in (["--config-dir", "mine"], ["--config-dir", "mine", "-m"]):
        ended = cli(*flags, *FAST[:4], "width=10", "experiment=short", "method.log_every=10")
        assert ended.code == 0, ended.err
    assert cli.run_folder().name == "seed7"


@pytest.mark.parametrize("flags", [[], ["-m"]], ids=" ".join)
def test_a_file_of_the_users_takes_the_place_of_one_of_pinntk(cli: Cli, flags: list[str]) -> None:
    (cli.folder / "mine" / "pde").mkdir(parents=True)
    target = "pinntk.pdes.poisson1d.Poisson1D"
    (cli.folder / "mine/pde/wave.yaml").write_text(f"# @package _global_\npde: {{_target_: {target}, a: 3}}\n")
    words = ["pde=wave", *FAST[1:]]
    assert cli("--config-dir", "mine", *flags, *words).code == 0
    assert cli(*flags, *words).code == 0  # and not any longer without the folder
    assert sorted(folder.parts[-6] for folder in cli.run_folders()) == ["poisson1d", "wave"]
    (own,) = (folder for folder in cli.run_folders() if folder.parts[-6] == "poisson1d")
    assert result_of(own)["pde_parameters"] == {"a": 3}


def test_settings_found_for_a_problem_of_pinntk_are_none_for_a_class_of_its_name(cli: Cli) -> None:
    def width(target: str, own: int | None = None) -> int:
        mine = cli.folder / target / str(own)
        (mine / "pde").mkdir(parents=True)
        (mine / "pde/kovasznay.yaml").write_text(f"# @package _global_\npde: {{_target_: {target}, Re: 40.0}}\n")
        if own:
            (mine / "tuned/ssbroyden/kovasznay").mkdir(parents=True)
            text = f"# @package _global_\nnetwork: {{width: {own}}}\n"
            (mine / "tuned/ssbroyden/kovasznay/laptop.yaml").write_text(text)
        return int(compose(["pde=kovasznay", "method=ssbroyden"], [mine])["network"]["width"])

    pinntk = "pinntk.pdes.zoo.kovasznay.Kovasznay"
    assert (width(pinntk), width("mine.Kovasznay"), width("mine.Kovasznay", 17)) == (30, 50, 17)
    assert compose(["pde=kovasznay", "method=ssbroyden"])["network"]["width"] == 30


def test_help_names_groups_choices_and_keys(cli: Cli) -> None:
    ended = cli("--help")
    assert ended.code == 0
    for word in ("pde=heat2d method=pcpinn", "burgers", "w10000", "smoke", "runs_dir", "overwrite", "init_from", "-m"):
        assert word in ended.out


def test_help_and_choices_do_not_wait_for_torch() -> None:
    program = (
        "import sys; from pinntk.launch.cli import main; main(['--help']); assert 'hydra' not in sys.modules;"
        "assert main(['pde=foo']) == 2; assert main(['sed=3']) == 2; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_the_script_runs_from_any_folder(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, TRAIN, "pde=foo"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert spoken(done.stderr).startswith("error: pde=foo: unknown choice")
    assert spoken(done.stderr).count("\n") == 1
    assert os.listdir(tmp_path) == []
