"""Which rounds there are, how large each is, and the document that they make."""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import harness
from clocks import clock_jumps
from damage import damaged
from disks import full_disk, read_only, short_files
from harness import Round, Tally
from inputs import BAD, bad_inputs
from kills import cold_kills, kills
from together import fake_gpus, one_folder


@dataclass(frozen=True)
class Size:
    """A round, with its trials in the whole and those that fit into the tests."""

    round: Round
    whole: int
    small: int


ROUNDS = {
    "kills": Size(kills, 100, 6),
    "cold_kills": Size(cold_kills, 10, 2),
    "inputs": Size(bad_inputs, len(BAD), 12),
    "full_disk": Size(full_disk, 40, 4),
    "short_files": Size(short_files, 20, 2),
    "read_only": Size(read_only, 20, 4),
    "one_folder": Size(one_folder, 30, 3),
    "fake_gpus": Size(fake_gpus, 50, 4),
    "clock_jumps": Size(clock_jumps, 14, 2),
    "damage": Size(damaged, 112, 8),
}
BEGIN, END = "<!-- rounds -->", "<!-- end of rounds -->"
"""In the document, around the table."""
HEAD = "| what was done | what is expected | tried, and how it ended | lost | wrong |\n|---|---|---|---|---|"


def run(name: str, trials: int, seed: int, folder: Path) -> list[Tally]:
    """One round in an empty folder."""
    warnings.simplefilter("ignore", DeprecationWarning)  # fork beside idle threads of libraries
    return list(ROUNDS[name].round(trials, random.Random(f"{name} {seed}"), folder))


def main(words: Sequence[str]) -> int:
    """Do rounds, print what they found, and put the rows into a document; the exit code."""
    parser = argparse.ArgumentParser(prog="python tests/torture", description="Torture: what is lost, what is wrong.")
    parser.add_argument("--round", choices=ROUNDS, action="append", help="this one alone; may be given several times")
    parser.add_argument("--trials", type=int, help="of each round; its own number unless given")
    parser.add_argument("--minutes", type=float, help="after which a round begins no other trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a document whose rows, between two marks, are replaced")
    options = parser.parse_args(words)
    if options.minutes:
        harness.LIMIT[0] = 60 * options.minutes
    bad = 0
    for name in options.round or ROUNDS:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"torture-{name}-") as folder:
            for tally in run(name, options.trials or ROUNDS[name].whole, options.seed, Path(folder)):
                print(tally.row(), f"{time.monotonic() - started:.0f} s", flush=True)
                print("".join(f"    lost: {line}\n" for line in tally.lost), end="", flush=True)
                print("".join(f"    wrong: {line}\n" for line in tally.wrong), end="", flush=True)
                bad += len(tally.lost) + len(tally.wrong)
                if options.out:
                    put(options.out, name, tally)
    return int(bad > 0)


def put(document: Path, name: str, tally: Tally) -> None:
    """Replace or add the row of a round in a document, between its marks."""
    text = document.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    inner, behind = rest.split(END)
    rows = {key: row for row, key in re.findall(r"^(.*<!-- (\w+) --> \|)$", inner, re.MULTILINE)}
    rows[name] = tally.row().removesuffix("|") + f"<!-- {name} --> |"
    table = "\n".join([HEAD, *(rows[key] for key in ROUNDS if key in rows)])
    document.write_text(f"{before}{BEGIN}\n{table}\n{END}{behind}", encoding="utf-8")
