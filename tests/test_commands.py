"""The commands that the documents show: each runs at a small size, or is listed with the reason why it does not."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from benchmarks import commands
else:
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    import commands

ROOT = Path(__file__).parents[1]
FOUND = commands.commands()
RUN = [command for command in FOUND if command.reason is None]


def test_every_command_is_run_or_has_a_reason() -> None:
    assert len(RUN) > 25
    for command in RUN:
        assert command.small  # a ValueError names the one for which there is no rule


def test_no_rule_is_left_over() -> None:
    for pattern in commands.NOT_RUN:
        assert any(re.search(pattern, command.text) for command in FOUND), pattern
    used = {Path(word).name for command in RUN for word in command.small}
    assert commands.SCRIPTS.keys() <= used


def test_tests_that_reasons_name_are_there() -> None:
    named = re.findall(r"\btest_\w+\.py", " ".join(commands.NOT_RUN.values()))
    assert named
    assert all((ROOT / "tests" / name).is_file() for name in named)


def test_none_is_overlooked() -> None:
    """Lines that begin with a program, counted without the collector."""
    for document in ("README.md", "CONTRIBUTING.md", "docs/problems.md", "results/table2/README.md"):
        lines = re.findall(r"^(?: {4})?((?:python|make|multirun_scripts/\S+) .*)$", (ROOT / document).read_text(), re.M)
        bare = {re.sub(r"\s+#.*", "", line).strip() for line in lines}
        texts = {command.text for command in FOUND if command.document == document}
        assert bare <= texts


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "Text\n\n    make x    # why\n    python train.py a=1 \\\n      'b=[1, 2]'\n",
            ["make x", "python train.py a=1  'b=[1, 2]'"],
        ),
        (
            "```\npython train.py a=1\n```\nand `python -m\nmodule x` and `python`.\n",
            ["python train.py a=1", "python -m module x"],
        ),
        ("```python\nmake = 1\n```\n\n    d = -J r\n", []),
    ],
)
def test_what_is_a_command(text: str, found: list[str]) -> None:
    assert [command for _, command in commands.shown(text, "here.md")] == found


def test_what_is_not_understood_is_said() -> None:
    with pytest.raises(ValueError, match=r"here\.md:4: 'srun python x\.py' stands among commands"):
        list(commands.shown("\n\n    make x\n    srun python x.py\n", "here.md"))
    with pytest.raises(ValueError, match=r"here\.md:1: multirun_scripts/new\.sh: no rule runs it"):
        _ = commands.Command("here.md", 1, "multirun_scripts/new.sh").small


def test_small_is_small() -> None:
    words = (
        "python train.py -m pde=wave seed=range(30) method.adam.steps=5000 method.lbfgs.steps=0 width=500 budget=paper"
    )
    small = "train.py -m pde=wave seed=range(2) method.adam.steps=10 method.lbfgs.steps=0"
    fixed = "budget=smoke width=10 threads=1 compile=false"
    assert commands.Command("here.md", 1, words).small[1:] == f"{small} {fixed}".split()


def test_one_that_takes_too_long_ends_with_all_it_has_started(tmp_path: Path) -> None:
    ticking = "import time\nwhile True:\n    open('ticks', 'a').write('x')\n    time.sleep(0.05)\n"
    script = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {ticking!r}])\n"
    (tmp_path / "starts.py").write_text(script)
    ended = commands.run(commands.Command("here.md", 1, "python starts.py"), tmp_path, seconds=5)
    assert (ended.returncode, ended.stderr) == (124, "not finished after 5 s")
    ticks = (tmp_path / "ticks").stat().st_size
    assert ticks > 0
    time.sleep(0.5)
    assert (tmp_path / "ticks").stat().st_size == ticks


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shown")
    commands.workplace(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", RUN, ids=[f"{command.document}:{command.line}" for command in RUN])
def test_it_runs(command: commands.Command, place: Path) -> None:
    ended = commands.run(command, place)
    assert ended.returncode == 0, f"{command.text}\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
