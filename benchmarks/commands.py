"""Every command that README.md and the other documents show, run at a small size.

    python benchmarks/commands.py --list         # which there are, what each is run as, and why some are not
    python benchmarks/commands.py                # run them, in a folder of their own, and say which fail
    python benchmarks/commands.py README docs    # those of the documents with one of these words in their path

Each is what a document shows but for its size: the budget, the number of steps, the width and the seeds are made small.
What cannot run so is in `NOT_RUN`, with the reason; a command that is neither is an error.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "benchmarks/README.md", "results/*/README.md")
PROGRAMS = r"(?:\.venv/bin/)?python|make|pinntk|pip|tensorboard|mlflow|wandb|/usr/bin/time"
SCRIPT = r"\.ci/run|(?:multirun_scripts|benchmarks)/\w+\.sh"
COMMAND = re.compile(rf"(?:{PROGRAMS}|{SCRIPT})(?= )|(?:{SCRIPT})$")
SECONDS = 280
"""After which a command counts as failed, unless told otherwise."""

NOT_RUN = {
    r"\.\.\.|…|<": "a pattern, in which something is to be filled in",
    r"^make (?:install|tools|run)\b|^pip install": "makes an environment, from the network; .ci/run does",
    r"^make |^\.ci/run": "runs tests, lint or the site, which .ci/run does",
    r"tests/mutants\.py": "runs the tests fifty times: a quarter of an hour",
    r"^python tests/torture": "an hour; small rounds of it are slow tests",
    r"^(?:tensorboard|mlflow) ": "a server, which does not end",
    r"launcher=gpus|accelerator=gpu|benchmarks/gpu": "needs a GPU",
    r"multirun_scripts/(?:slurm|ray)\.sh": "needs a cluster",
    r"--config-dir my_conf pde=mine": "the file is the reader's; tests/test_problem_examples.py trains such",
    r"--config-dir my_conf|^python make_\w+\.py": "tests/test_problem_examples.py trains it, with its files",
    r"pde=helmholtz1d": "tests/test_contributing.py trains it, with its files",
    r"multirun_scripts/zoo_spectra": "sixteen problems: minutes; tests/test_zoo_lessons.py measures one",
    r"multirun_scripts/conditioning": "the exact factors of heat2d alone take minutes; tests/test_multirun_scripts.py",
    r"multirun_scripts/(?:direct|pcpinn_forms|strong_form|pinn_ntk)\.sh": (
        "sweeps in which settings belong to a problem and to a size: an hour and more"
    ),
    r"^python benchmarks/(?:growth|gpu)": "tests/test_growth_benchmark.py and test_gpu_benchmark.py run it in small",
    r"^python benchmarks/(?:peers|step)": "measures other packages, or compares with a compiled peer for minutes",
    r"^python benchmarks/(?:lightning_overhead|frame|logger_overhead|second_order|broyden|seconds_to_best\.py runs)": (
        "a measurement of minutes that means nothing beside other work"
    ),
    r"^wandb (?:login|sync)|pinntk\.dashboard .*--save": "needs an account",
    r"^python (?:train\.py|-m pinntk|-X importtime)$": "names the program, and no run",
}
"""Patterns of commands, and why those are not run here."""
SCRIPTS = {
    "beyond.sh": "pde=reaction method=ntk_ng seed=0 budget=smoke",
    "table2.sh": "pde=reaction method=adam seed=0 budget=smoke",
    "fig1a.sh": "pde=reaction width=w50 seed=0 method.steps=20 callbacks.ntk_drift.every=10 method.log_every=10",
    "fig1b.sh": "pde=reaction width=w50 seed=0",
    "forecast.sh": "pde=reaction width=w50 method.steps=20 method.log_every=10 callbacks.ntk_forecast.steps=20",
    "zoo.sh": "pde=heat_inverse method=adam seed=0 budget=smoke",
    "theorem2.sh": "pde=poisson1d width=w50 seed=0,1 method.descent.steps=20 method.log_every=10",
}
"""What is added to the words of a sweep's script to make it small."""


@dataclass(frozen=True)
class Command:
    """A command as a document shows it, without its comment."""

    document: str
    line: int
    text: str

    @property
    def reason(self) -> str | None:
        """Why it is not run; None: it is."""
        return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, self.text)), None)

    @property
    def small(self) -> list[str]:
        """What is run: words for ``subprocess``.

        Raises:
            ValueError: no rule says how.
        """
        first, *words = shlex.split(self.text)
        if first in {"python", ".venv/bin/python"}:
            training = words[0] == "train.py" or (words[:2] == ["-m", "pinntk"])
            return [sys.executable, *(shortened(words) if training else fewer(words))]
        if first == "pinntk":
            return [sys.executable, "-m", "pinntk", *shortened(words)]
        name = Path(first).name
        if name in SCRIPTS:
            return ["bash", first, *(w for w in words if not w.startswith("evaluate_every")), *SCRIPTS[name].split()]
        if first == "/usr/bin/time":
            return Command(self.document, self.line, shlex.join(words[1:])).small
        where = f"{self.document}:{self.line}: {self.text}"
        raise ValueError(f"{where}: no rule runs it; allowed: one more in NOT_RUN or SCRIPTS")


def shortened(words: list[str]) -> list[str]:
    """A training's words with few steps, one of its seeds or two, and a narrow network."""
    text = "\n".join(word for word in words if not re.match("(budget|width|threads|compile)=", word))
    text = re.sub(r"range\(\d+\)", "range(2)", text)
    text = re.sub(r"(steps(?:=|: ?))(\d+)", lambda found: f"{found[1]}{min(int(found[2]), 10)}", text)
    text = re.sub(
        r"(\b(?:every|interior|rank|max_cg)=)(\d+)", lambda found: f"{found[1]}{min(int(found[2]), 20)}", text
    )
    kept = text.split("\n")
    if "--help" in kept:
        return kept
    grid = ["discretization.time_steps=50"] if {"pde=heat2d", "method=pcpinn"} <= set(kept) else []
    return [*kept, "budget=smoke", "width=10", "threads=1", "compile=false", *grid]


def fewer(words: list[str]) -> list[str]:
    """A measurement's words with one round."""
    for key in ("--rounds", "--repeats"):
        if key in words:
            words = [*words[: words.index(key) + 1], "1", *words[words.index(key) + 2 :]]
    return [*words, "--once"] if "pinntk.status" in words else words


def commands() -> list[Command]:
    """All of them, in the order of the documents; of those shown twice in a document the first."""
    found: dict[tuple[str, str], Command] = {}
    for pattern in DOCUMENTS:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            for line, text in shown(path.read_text(encoding="utf-8"), name):
                found.setdefault((name, text), Command(name, line, text))
    return list(found.values())


def shown(text: str, document: str) -> Iterator[tuple[int, str]]:
    """Line numbers and commands of a document: lines of its blocks of code, and code within a line that has arguments.

    Raises:
        ValueError: a block has a command, and a line that is none.
    """
    for number, block, language in blocks(text):
        joined = re.sub(r"\\\n\s*", " ", "\n".join(block))
        lines = [(number + k, line.strip()) for k, line in enumerate(joined.splitlines()) if line.strip()]
        if language not in {"", "sh", "bash"} or not any(COMMAND.match(line) for _, line in lines):
            continue
        for at, line in lines:
            if not COMMAND.match(line):
                where = f"{document}:{at}: {line!r}"
                raise ValueError(f"{where} stands among commands; allowed is what begins with {PROGRAMS}|{SCRIPT}")
            yield at, shlex.join(shlex.split(line, comments=True)) if "#" in line else line
    prose = re.sub(r"^```.*?^```$", lambda m: "\n" * m[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)
    for match in re.finditer(r"(?<!`)`([^`]+)`(?!`)", prose):
        words = " ".join(match[1].split())
        if COMMAND.match(words) and len(words.split()) > 1:
            yield prose[: match.start()].count("\n") + 1, words


def blocks(text: str) -> Iterator[tuple[int, list[str], str]]:
    """First line, lines and language of each block of code, fenced or indented."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        begin, line = at, lines[at]
        at += 1
        if line.startswith("```"):
            end = lines.index("```", at)
            yield at + 1, lines[at:end], line[3:].strip()
            at = end + 1
        elif line.startswith("    ") and (begin == 0 or not lines[begin - 1].strip()):
            while at < len(lines) and lines[at].startswith("    "):
                at += 1
            yield begin + 1, [one[4:] for one in lines[begin:at]], ""


def workplace(folder: Path) -> None:
    """A folder that looks like the checkout and can be written to: the results are a copy, all else is linked.

    There are runs in it already, for the commands that read them: each may be the first.
    """
    for path in ROOT.iterdir():
        if path.name not in {"results", "runs", "report", "build", ".git", ".venv"}:
            (folder / path.name).symlink_to(path)
    shutil.copytree(ROOT / "results", folder / "results")
    shutil.copytree(ROOT / "results" / "adam", folder / "runs")


def run(command: Command, folder: Path, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
    """Run it in such a folder; the exit code is 124 where it takes longer."""
    small = {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", "PINNTK_EXAMPLES": "small"}
    environment = {**os.environ, "PYTHON": sys.executable, **small}
    process = subprocess.Popen(
        command.small,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=seconds)
        code = process.returncode
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)  # a sweep's jobs, too
        process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        code, out, err = 124, "", f"not finished after {seconds:g} s"
    return subprocess.CompletedProcess(command.small, code, out, err)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="run nothing")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that a command may take")
    parser.add_argument("words", nargs="*", help="documents with one of these in their path; all, unless given")
    given = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workplace(folder)
        for command in commands():
            if given.words and not any(word in command.document for word in given.words):
                continue
            print(f"{command.document}:{command.line}: {command.text}", flush=True)
            if command.reason:
                print(f"    not run: {command.reason}")
            elif given.list:
                print(f"    run as {shlex.join(command.small)}")
            else:
                start = time.monotonic()
                ended = run(command, folder, given.seconds)
                failed += ended.returncode != 0
                print(f"    exit code {ended.returncode}, {time.monotonic() - start:.0f} s", flush=True)
                if ended.returncode:
                    print("\n".join((ended.stdout + ended.stderr).splitlines()[-10:]), flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
