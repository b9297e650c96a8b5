"""Bad input of every kind: each ends with exit code 2 and one line, and leaves no folder."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from conftest import Child, spoken
from harness import Tally, refused, trials

from pinntk.launch.cli import main as train
from pinntk.report.__main__ import main as report
from pinntk.report.status import main as status

RUN = "pde=poisson1d method=adam budget=smoke threads=1"
LONG = "9" * 400
BAD: list[tuple[str, str, str]] = [
    # the words, what the line names as the key, what it names as that which came
    ("pde=poisson1", "pde=poisson1", "poisson1"),
    ("pde=", "pde=", "pde="),
    ("pde=../secrets", "pde=", "../secrets"),
    ("pde=poisson1d,burgers", "pde", "poisson1d,burgers"),
    ("pde=[poisson1d]", "pde", "[poisson1d]"),
    ("pde.a=nan", "pde.a", "NaN"),
    ("pde.a=inf", "pde.a", "Infinity"),
    ("pde.a=-1e400", "pde.a", "-Infinity"),
    ("pde.a=two", "pde.a", "two"),
    ("pde.a=null", "pde.a", "null"),
    ("pde.a={b:1}", "pde.a", "{"),
    ("pde.nu=0.1", "pde.nu", "0.1"),
    ("pde._target_=os.system", "pde._target_", "os.system"),
    ("pde._target_=builtins.exec", "pde._target_", "builtins.exec"),
    ("method=", "method=", "method="),
    ("method=adamm", "method=adamm", "adamm"),
    ("method.steps=-3", "method.steps", "-3"),
    ("method.steps=1.5", "method.steps", "1.5"),
    (f"method.steps={LONG}", "method.steps", "9999"),
    ("method.steps=true", "method.steps", "true"),
    ("method.steps=[1,2]", "method.steps", "[1, 2]"),
    ("method.adam.learning_rate=0", "method.adam.learning_rate", "0"),
    ("method.adam.betas=[0.9]", "method.adam.betas.1", "is missing"),
    ("method.adam.betas=[0.9,1.5]", "method.adam.betas", "1.5"),
    ("method.weights={nowhere:1}", "method.weights", "nowhere"),
    ("method.weights.boundary=-1", "method.weights.boundary", "-1"),
    ("method.weights=heavy", "method.weights", "heavy"),
    ("width=0", "width", "0"),
    ("width=-7", "width", "-7"),
    ("width=1e2", "width", "100"),
    ("width=w99999999999999999999", "width", "99999999999999999999"),
    ("network.depth=0", "network.depth", "0"),
    ("network.activation=relu", "network.activation", "relu"),
    ("network.activation=os.system", "network.activation", "os.system"),
    ("network.features=[{wave:1}]", "network.features", "wave"),
    ("seed=-1", "seed", "-1"),
    ("seed=1e3", "seed", "1"),
    (f"seed={LONG}", "seed", "9999"),
    ("seed=０x1", "seed", "０x1"),
    ("threads=0", "threads", "0"),
    ("threads=many", "threads", "many"),
    ("precision=16", "precision", "16"),
    ("points.interior=0", "points.interior", "0"),
    ("points.sampling=random", "points.sampling", "random"),
    ("points.resample_every=-5", "points.resample_every", "-5"),
    ("checkpoint.every_seconds=-1", "checkpoint.every_seconds", "-1"),
    ("checkpoint.every_seconds=nan", "checkpoint.every_seconds", "NaN"),
    ("callbacks=ntk_drifts", "callbacks", "ntk_drifts"),
    ("callbacks=[ntk_drift,]x", "callbacks", "[ntk_drift,]x"),
    ("logger=wandb,csv", "logger", "wandb,csv"),
    ("logger=mlfow", "logger", "mlfow"),
    ("init_from=/nowhere/at/all", "init_from", "/nowhere/at/all"),
    ("init_from=.", "init_from", "."),
    ("runs_dir=/proc/pinntk", "runs_dir", "/proc/pinntk"),
    ("runs_dir=/dev/null/runs", "runs_dir", "/dev/null/runs"),
    ("runs_dir=", "runs_dir", ""),
    ("overwrite=maybe", "overwrite", "maybe"),
    ("budget=huge", "budget", "huge"),
    ("trainer.accelerator=tpu", "trainer.accelerator", "tpu"),
    ("stepz=5", "stepz", "5"),
    ("+stepz=5", "stepz", "5"),
    ("~seed", "seed", "is missing"),
    ("seed", "seed", "seed"),
    ("=5", "=5", "=5"),
    ("seed=${nowhere}", "seed", "nowhere"),
    ("seed=${oc.env:PINNTK_NOT_SET}", "seed", "PINNTK_NOT_SET"),
    ("'seed=\"1'", "seed", '"1'),
    ("--config-dir=/nowhere", "--config-dir", "/nowhere"),
    ("--sweep", "--sweep", "--sweep"),
    ("-m seed=0,-1", "seed", "-1"),
    ("-m seed=range(0)", "seed", "range(0)"),
    ("-m pde=burgers,burger", "pde", "burger"),
    ("-m hydra/launcher=lokal", "hydra/launcher", "lokal"),
    ("hydra/launcher=local", "hydra/launcher", "local"),
    ("REPORT", "nowhere", "nowhere"),
    ("REPORT . --out", "--out", "--out"),
    ("STATUS /dev/null", "/dev/null", "/dev/null"),
    ("STATUS nowhere --onze", "--onze", "--onze"),
]
"""Words behind those of a run that would be right; REPORT and STATUS are commands of their own."""
ALLOWS = (
    "allowed",
    "must be",
    "must have",
    "must not be",
    "did you mean",
    "need",
    "not found",
    "is missing",
    "ended in",
)
"""What says it; a variable that is not there is not found, a key that was taken away is missing."""
COMMANDS: dict[str, Callable[[list[str]], int]] = {"REPORT": report, "STATUS": status}


def bad_inputs(count: int, rng: random.Random, folder: Path) -> Iterator[Tally]:
    """The first of them in an order by chance; all where the count is as large."""
    tally = Tally(
        "bad input: values, types, names, quotes, folders, flags",
        "exit code 2, one line with key, what came and what is allowed; no folder made",
    )
    cases = rng.sample(BAD, min(count, len(BAD)))
    for k in trials(len(cases)):
        text, key, came = cases[k]
        place = folder / f"input{k}"
        place.mkdir()
        words, body = [*RUN.split(), *(text.split(" ") if text[0] != "'" else [text.strip("'")])], train
        if text.split()[0] in COMMANDS:
            body = partial(COMMANDS[text.split()[0]])
            words = text.split()[1:] or ["nowhere"]
        ended = Child(place, words, body=body, output=folder / f"input{k}").wait()
        tally.count("refused")
        wrong = refused(ended)
        line = spoken(ended.err).strip()
        if wrong is None:
            missing = [word for word in (key, came) if word not in line]
            if missing or not any(word in line for word in ALLOWS):
                wrong = f"the line lacks {', '.join(missing) or 'what is allowed'}: {line}"
        if wrong:
            tally.wrong.append(f"{text}: {wrong}")
        if left := os.listdir(place):
            tally.wrong.append(f"{text}: left {', '.join(left)}")
    yield tally
