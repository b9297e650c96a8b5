"""Characters in paths and texts that Hydra's grammar, a shell or a file system takes for something else."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from conftest import FAST, Cli

from pinntk.common.errors import BadInput
from pinntk.launch.cli import compose, configuration_folder, groups, main
from pinntk.launch.overrides import parse, rewrite

CHOICES = groups(configuration_folder())

ODD = ["a=b", "a#b", "ü", "日本", "a&b;c", "o'brien", 'a"b', "a!b^c<d>e`f", "a b", "a\\b", "%$@", "~", "a~b"]
"""Names of folders; the file system takes all of them."""
QUICK = [*FAST, "method.steps=1"]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("key", ["runs_dir", "init_from"])
def test_a_folder_may_have_any_name(key: str, name: str) -> None:
    (override,) = parse(rewrite([f"{key}=/x/{name}/y"], CHOICES))
    assert override.value() == f"/x/{name}/y"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a=ü#", "o'bri\"en"])
def test_runs_and_sweeps_in_a_folder_of_any_name(name: str, cli: Cli) -> None:
    assert cli(*QUICK, f"runs_dir={name}").code == 0
    ended = cli(*QUICK, f"runs_dir={name}", "-m", "seed=0,1")
    assert ended.code == 0, ended.err
    found = sorted(path.parent for path in cli.folder.glob("*/poisson1d/**/result.json"))
    assert [path.relative_to(cli.folder).parts[0] for path in found] == [name, name]
    assert "finished before" in ended.out
    again = cli(*QUICK, f"init_from={found[0]}", "seed=2", "-m")
    assert again.code == 0, again.err


def test_several_folders_are_still_a_sweep(cli: Cli) -> None:
    assert cli(*QUICK, "runs_dir=one,two", "-m").code == 0
    assert len(list(cli.folder.glob("one/**/result.json"))) == len(list(cli.folder.glob("two/**/result.json"))) == 1


@pytest.mark.parametrize("value", ["a=b", "a#b", "mein ü", "~/x", "o'brien", "a(b)", "a[1]", 'x"y', "a&b"])
def test_the_message_shows_a_word_that_works(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    word = f"logger.wandb.group={value}"
    assert main(["logger=wandb", word]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {word}: not understood; allowed: key=value, where text with such characters is")
    (shown,) = shlex.split(line.partition("is quoted: ")[2])  # as a shell reads it
    (override,) = parse([shown])
    assert (override.key_or_group, override.value()) == ("logger.wandb.group", value)


def test_the_word_that_is_shown_composes() -> None:
    with pytest.raises(BadInput) as refused:
        compose(["logger=wandb", "logger.wandb.group=o'brien=ü"])
    (shown,) = shlex.split(str(refused.value).partition("is quoted: ")[2])
    assert compose(["logger=wandb", shown])["logger"]["wandb"]["group"] == "o'brien=ü"


@pytest.mark.parametrize("word", ["seed=[", "ü=3", "runs_dir=[ü", "method.steps={a"])
def test_what_quotes_do_not_mend_is_not_quoted(word: str) -> None:
    with pytest.raises(BadInput, match="not understood; allowed: key=value, such as pde=heat2d"):
        parse([word])


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_choices_from_a_folder_of_any_name(sweep: list[str], cli: Cli) -> None:
    name = "o'bri=en ü"
    experiment = cli.folder / name / "experiment" / "short.yaml"
    experiment.parent.mkdir(parents=True)
    experiment.write_text("# @package _global_\nmethod: {steps: 1}\nseed: 7\n")
    ended = cli("--config-dir", name, *sweep, *FAST[:4], "width=10", "experiment=short", "method.log_every=10")
    assert ended.code == 0, ended.err
    assert cli.run_folder().name == "seed7"


@pytest.mark.slow
def test_home_is_home_everywhere(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    home = cli.folder / "home"
    (home / "conf" / "experiment").mkdir(parents=True)
    (home / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nruns_dir: ~/runs\n")
    monkeypatch.setenv("HOME", str(home))
    assert cli(*QUICK, "runs_dir=~/runs").code == 0
    for flag in (["--config-dir", "~/conf"], ["--config-dir=~/conf"]):
        ended = cli(*flag, *QUICK, "-m", "seed=0,1", "experiment=mine")
        assert ended.code == 0, ended.err
    (first,) = home.glob("runs/**/seed0")
    for file in ("result.json", "checkpoints/last.ckpt", "config.yaml", "metrics.csv", "solution.png"):
        assert (first / file).is_file(), file
    assert len(list(home.glob("runs/.sweeps/*/job0.json"))) == 2
    assert cli(*QUICK, "runs_dir=~/runs", "seed=3", f"init_from=~/{first.relative_to(home)}").code == 0
    assert [path.name for path in cli.folder.iterdir()] == ["home"]
    missing = cli(*QUICK, "init_from=~/nowhere")
    assert f"there is no {Path(home, 'nowhere', 'checkpoints', 'last.ckpt')}" in missing.err
