"""The CSV logger: one row per iteration, whole at any moment, and continued where a checkpoint goes on."""

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from training import fit, make, stop_at

from pinntk.callbacks import ErrorAgainstReference, TimedCheckpoint
from pinntk.loggers.metrics_csv import MetricsCSV
from pinntk.runs.shown import history


def lines(folder: Path) -> list[str]:
    return (folder / "metrics.csv").read_text().splitlines()


def rows(folder: Path) -> dict[int, dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return {int(row.pop("iteration")): row for row in csv.DictReader(file)}


def test_values_of_one_iteration_share_a_row(tmp_path: Path) -> None:
    log = MetricsCSV(tmp_path)
    log.log_metrics({"loss": 1.5}, step=20)
    log.log_metrics({"loss": 2.5, "rate": 0.1}, step=10)
    log.log_metrics({"l2re": 0.25}, step=20)
    log.log_metrics({"loss": 4.0})
    log.save()
    assert lines(tmp_path) == ["iteration,loss,rate,l2re", "0,4.0,,", "10,2.5,0.1,", "20,1.5,,0.25"]
    log.log_metrics({"loss": 1.0}, step=20)  # the newest value counts
    log.finalize("success")
    assert lines(tmp_path)[-1] == "20,1.0,,0.25"


def test_numbers_keep_all_their_digits(tmp_path: Path) -> None:
    log = MetricsCSV(tmp_path)
    log.log_metrics({"loss": 0.1 + 0.2}, step=1)
    log.save()
    assert float(rows(tmp_path)[1]["loss"]) == 0.1 + 0.2


@pytest.mark.parametrize(("resumed_at", "kept"), [(0, []), (5, []), (10, [10]), (15, [10]), (30, [10, 20, 30])])
def test_resuming_drops_what_will_come_again(tmp_path: Path, resumed_at: int, kept: list[int]) -> None:
    first = MetricsCSV(tmp_path)
    for iteration in (10, 20, 30):
        first.log_metrics({"loss": iteration / 8, "terms, all": 0.0}, step=iteration)
    first.log_metrics({"l2re": 0.5}, step=10)
    first.save()
    before = lines(tmp_path)

    second = MetricsCSV(tmp_path, resumed_at)
    assert lines(tmp_path) == before  # nothing is lost before there is something to write
    second.log_metrics({"loss": 9.0, "new": 7.0}, step=40)
    second.save()
    found = rows(tmp_path)
    assert list(found) == [*kept, 40]
    for iteration in kept:
        assert found[iteration]["loss"] == str(iteration / 8)
        assert found[iteration]["terms, all"] == "0.0"
        assert found[iteration]["l2re"] == ("0.5" if iteration == 10 else "")
    assert found[40]["new"] == "7.0"


def test_resuming_without_a_file_starts_one(tmp_path: Path) -> None:
    log = MetricsCSV(tmp_path, 100)
    log.log_metrics({"loss": 1.0}, step=200)
    log.save()
    assert lines(tmp_path) == ["iteration,loss", "200,1.0"]


def test_failing_to_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MetricsCSV(tmp_path)
    log.log_metrics({"loss": 1.0}, step=1)
    log.save()
    before = lines(tmp_path)
    log.log_metrics({"loss": 2.0}, step=2)

    def fail(*paths: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        log.save()
    assert lines(tmp_path) == before


@pytest.mark.parametrize("cut", [10, 25, 33, 50, 59])
def test_the_log_of_a_cut_run_is_the_uninterrupted_one(
    cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()

    def train(folder: Path, resumed_at: int = 0, stop: int | None = None) -> None:
        method = make()
        if stop is not None:
            stop_at(method, stop, monkeypatch)
        path = folder / "last.ckpt"
        fit(
            method,
            [ErrorAgainstReference(method.pde.reference(), 20), TimedCheckpoint(path, 1e9)],
            logger=MetricsCSV(folder, resumed_at),
            resume=path if resumed_at else None,
        )

    train(whole)
    train(parts, stop=cut)
    train(parts, resumed_at=cut)
    found, expected = rows(parts), rows(whole)
    for of_run in (found, expected):  # seconds differ from run to run, but they only ever grow
        seconds = [float(row["seconds"]) for row in of_run.values() if row.get("seconds")]
        assert len(seconds) >= 3
        assert seconds == sorted(seconds)
    for row in (*found.values(), *expected.values()):
        row.pop("seconds", None)
    if cut % 25:  # where it was interrupted stands a row more
        assert "l2re" not in found[cut] or not found[cut]["l2re"]
        del found[cut]
    assert list(found) == [25, 50, 60]
    assert set(found[25]) == {"loss", "residual", "boundary", "learning_rate", "l2re"}
    assert found == expected


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda text: b"", []),
        (lambda text: bytes(len(text)), []),
        (lambda text: text[:-4], [10, 20, 30]),  # a number cut short is another number, so the last one goes
        (lambda text: text.replace(b"20,", b"20,x"), [10]),
        (lambda text: text.replace(b"\n20,", b"\n20,1,2,3,"), [10]),
        (lambda text: text.replace(b"\n20,", b"\n\xff,"), []),
    ],
)
def test_a_damaged_log_is_put_aside_and_ends_nothing(
    damage: Callable[[bytes], bytes], kept: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = MetricsCSV(tmp_path)
    for iteration in (10, 20, 30, 40):
        first.log_metrics({"loss": iteration / 64}, step=iteration)
    first.save()
    damaged = damage((tmp_path / "metrics.csv").read_bytes())
    (tmp_path / "metrics.csv").write_bytes(damaged)
    second = MetricsCSV(tmp_path, 40)
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "metrics.csv").read_bytes() == damaged
    second.log_metrics({"loss": 9.0}, step=50)
    second.save()
    assert list(rows(tmp_path)) == [*kept, 50]
    assert (tmp_path / "metrics.damaged.csv").read_bytes() == damaged
    second.save()


def test_what_only_reads_leaves_a_damaged_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert history(tmp_path) == {}
    path.write_text("iteration,loss,l2re\n10,0.5,\n20,0.25,0.125\n")
    found = history(tmp_path)
    assert [found["iteration"].tolist(), found["loss"].tolist(), found["l2re"][1]] == [[10, 20], [0.5, 0.25], 0.125]
    assert np.isnan(found["l2re"][0])
    path.write_text(damaged := "iteration,loss\n10,0.5\n20,0.2")
    with pytest.raises(ValueError, match=r"metrics\.csv: cannot be read: its last line has no end"):
        history(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.csv"]
    assert path.read_text() == damaged
