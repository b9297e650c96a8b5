"""What tests of W&B share: no account, and a reader of what is recorded; wandb 0.31 has none of its own for Python."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from conftest import FAST

Record: Any = importlib.import_module("wandb.proto.wandb_internal_pb2").Record  # has no types

WANDB = [*FAST, "logger=wandb"]
BLOCK, FILE_HEADER, CHUNK_HEADER = 32768, 7, 7
FULL, LAST = 1, 4


def records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file: a log in LevelDB's format, in blocks, a record in one or several chunks."""
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    at, parts = FILE_HEADER, b""
    while at < len(data):
        if BLOCK - at % BLOCK < CHUNK_HEADER:  # too little room for a chunk: the rest of the block is empty
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts += data[at + CHUNK_HEADER : at + CHUNK_HEADER + length]
        at += CHUNK_HEADER + length
        if kind in (FULL, LAST):
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def items(updates: Any) -> dict[str, Any]:
    """The values of a protobuf list of items, as nested as their keys."""
    found: dict[str, Any] = {}
    for item in updates:
        *outer, key = list(item.nested_key) or [item.key]
        level = found
        for name in outer:
            level = level.setdefault(name, {})
        level[key] = json.loads(item.value_json)
    return found


class OfflineRun:
    """One folder ``offline-run-...`` as the server would see it.

    Attributes:
        run: id, project, group, job type, name, tags.
        config: values by key.
        history: one row per step, as logged.
        summary: values by key.
        exit_code: None where the run was not finished.
        step_metrics: name, or glob, of the metric -> the one on its x axis.
        aggregates: name of the metric -> what of its curve the summary has.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.step_metrics: dict[str, str] = {}
        self.aggregates: dict[str, set[str]] = {}
        self.exit_code: int | None = None
        (path,) = folder.glob("*.wandb")
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config |= items(record.run.config.update)
            elif kind == "config":
                self.config |= items(record.config.update)
            elif kind == "history":
                self.history.append(items(record.history.item))
            elif kind == "summary":
                self.summary |= items(record.summary.update)
            elif kind == "metric":
                metric = record.metric
                self.step_metrics[metric.name or metric.glob_name] = metric.step_metric
                self.aggregates[metric.name] = {kind.name for kind, chosen in metric.summary.ListFields() if chosen}
            elif kind == "exit":
                self.exit_code = record.exit.exit_code

    def column(self, name: str) -> dict[int, Any]:
        """iteration -> value."""
        return {row["iteration"]: row[name] for row in self.history if name in row}

    def table(self, name: str) -> list[dict[str, Any]]:
        """The rows of the last table of this name."""
        content = json.loads((self.folder / "files" / list(self.column(name).values())[-1]["path"]).read_text())
        return [dict(zip(content["columns"], values, strict=True)) for values in content["data"]]


def offline_runs(folder: Path) -> list[OfflineRun]:
    """The parts of the W&B run in a run folder, by time, once W&B's own process has written all of them."""
    wandb.teardown()
    return [OfflineRun(path) for path in sorted(folder.glob("wandb/offline-run-*"))]


def without_account(home: Path, patch: pytest.MonkeyPatch) -> None:
    """No key, no settings, nothing of the user's."""
    for name in [name for name in os.environ if name.startswith("WANDB_")] + ["NETRC"]:
        patch.delenv(name, raising=False)
    patch.setenv("HOME", str(home))
