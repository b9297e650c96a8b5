"""The report: its numbers against result.json, its rows and cells, and what it does with bad input."""

import csv
import json
import os
import re
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import make_run

from pinntk.report.__main__ import main
from pinntk.report.table import make_table
from pinntk.report.text import latex, markdown, number
from pinntk.report.write import write_report
from pinntk.runs.published import METHODS

NU = {"nu": 0.003183098861837907}
HEAT = {"k": 1.0, "m1": 4, "m2": 2}


def report(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, list[str]]:
    """Where the report of a folder is, and what was said."""
    out = root.parent / "report"
    assert main([str(root), "--out", str(out)]) == 0
    return out, capsys.readouterr().out.splitlines()


def cells_of(out: Path) -> dict[str, dict[str, str]]:
    """Of table2.md: problem -> method as the paper names it -> the cell's text."""
    lines = [line for line in (out / "table2.md").read_text().splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def many_runs(root: Path) -> None:
    """Trials of several problems, methods and settings, some of which failed."""
    rng = np.random.default_rng(3)
    kinds: list[dict[str, Any]] = [
        {"pde": "burgers", "pde_parameters": NU, "method": "adam"},
        {"pde": "burgers", "pde_parameters": NU, "method": "pcpinn"},
        {"pde": "wave", "pde_parameters": {"a": 4, "C": 4.0}, "method": "gdnd"},
        {"pde": "wave", "pde_parameters": {"a": 5, "C": 4.0}, "method": "gdnd"},
        {"pde": "heat2d", "pde_parameters": HEAT, "method": "ssbroyden"},
        {"pde": "poisson1d", "pde_parameters": {"a": 4}, "method": "adam"},
    ]
    for k, kind in enumerate(kinds):
        for setting in range(1 + k % 2):
            for seed in range(1 + (k + setting) % 5):
                status = "failed" if (k + seed) % 5 == 4 else "interrupted" if (k + seed) % 7 == 5 else "completed"
                more: dict[str, Any] = {
                    "settings_hash": f"{k}{setting}" * 6,
                    "status": status,
                    "seed": seed,
                    "width": 50 + setting,
                }
                make_run(root, **kind, **more, l2re=float(10 ** rng.uniform(-4, 0)))


def test_the_numbers_are_those_of_the_result_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Computed here once more, from the files alone."""
    root = tmp_path / "runs"
    many_runs(root)
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for path in root.rglob("result.json"):
        one = json.loads(path.read_text())
        key = (one["pde"], json.dumps(one["pde_parameters"]), one["method"], one["settings_hash"])
        groups[key].append(one)
    with (report(root, capsys)[0] / "table2.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["settings_hash"]]
    assert {(r["pde"], r["parameters"], r["method"], r["settings_hash"]) for r in rows} == set(groups)
    assert len(rows) == len(groups) == 9
    for row in rows:
        trials = groups[row["pde"], row["parameters"], row["method"], row["settings_hash"]]
        errors = [one["l2re"] for one in trials if one["status"] == "completed"]
        assert int(row["trials"]) == len(trials)
        assert int(row["completed"]) == len(errors)
        assert int(row["failed"]) == sum(one["status"] == "failed" for one in trials)
        assert int(row["interrupted"]) == sum(one["status"] == "interrupted" for one in trials)
        assert row["lowest"] == (str(min(errors)) if errors else "")
        assert row["highest"] == (str(max(errors)) if errors else "")
        assert row["median"] == (str(statistics.median(errors)) if errors else "")
        assert row["spread"] == (str(max(errors) - min(errors)) if len(errors) > 1 else "")
    for problem in {row["problem"] for row in rows}:
        lowest = {row["lowest"]: row["best"] for row in rows if row["problem"] == problem and row["lowest"]}
        assert [key for key, best in lowest.items() if best == "1"] == [min(lowest, key=float)]


def test_the_same_numbers_stand_in_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "runs"
    many_runs(root)
    out, _ = report(root, capsys)
    with (out / "table2.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["lowest"]]
    for name in ("table2.md", "table2.tex", "index.html"):
        text = (out / name).read_text()
        for row in rows:
            assert row["settings_hash"] in text
            for figure in ("lowest", "median", "spread"):
                if row[figure] and row["spread"]:
                    assert number(float(row[figure])) in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123456, "1.23e-2"), (2.18, "2.18e+0"), (9.999e-11, "1.00e-10"), (0.0, "0.00e+0"), (None, "–")],
)
def test_numbers_look_like_the_papers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_the_papers_rows_and_columns_are_always_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "runs"
    make_run(root, method="adam", l2re=0.02)
    make_run(root, pde="convection", pde_parameters={"beta": 30.0}, method="newton", settings_hash="b" * 12)
    inverse = {"nu": {"unknown": True, "start": 1.0}, "k": 2}
    make_run(root, pde="heat_inverse", pde_parameters=inverse, method="newton", settings_hash="c" * 12)
    cells = cells_of(report(root, capsys)[0])
    paper = ["convection", "wave, a = 4", "wave, a = 5", "reaction", "burgers", "heat2d"]
    assert list(cells) == [*paper, "convection, beta = 30.0", "heat_inverse, nu unknown, k = 2"]
    assert list(cells["burgers"]) == [*METHODS.values(), "newton"]
    assert cells["burgers"]["Adam"] == "**2.00e-2** (1 trial; [aaaaaaaaaaaa, w50, laptop])<br>published 1.45e-2"
    assert cells["burgers"]["Adam+L-BFGS"] == "no run<br>published **1.33e-2**"
    assert cells["burgers"]["GDND"] == "no run"
    # The paper's one row of the wave equation belongs to two problems.
    assert cells["wave, a = 4"]["PCPINN"] == "no run<br>published **1.28e-2**"
    assert cells["wave, a = 5"]["PCPINN"] == "no run"
    assert cells["wave, a = 4"]["GDND"] == "no run"
    assert cells["wave, a = 5"]["GDND"] == "no run<br>published **1.27e-2**"
    # Nothing is published for other coefficients.
    assert not any("published" in cell for cell in cells["convection, beta = 30.0"].values())


def test_settings_are_not_mixed_and_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "runs"
    for k, error in enumerate([0.3, 0.1, 0.2]):
        make_run(root, seed=k, l2re=error, config={"points": {"interior": 100}})
    make_run(root, seed=0, l2re=0.05, settings_hash="b" * 12, config={"points": {"interior": 900}})
    out, _ = report(root, capsys)
    first, second, _ = cells_of(out)["burgers"]["Adam"].split("<br>")
    assert first == "**5.00e-2** (1 trial; [bbbbbbbbbbbb, w50, laptop])"
    assert second == "1.00e-1 (median 2.00e-1; spread 2.00e-1; 3 trials; [aaaaaaaaaaaa, w50, laptop])"
    text = (out / "table2.md").read_text()
    assert "- burgers, Adam, aaaaaaaaaaaa: points.interior=100\n" in text
    assert "- burgers, Adam, bbbbbbbbbbbb: points.interior=900\n" in text


def test_a_setting_without_its_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "runs"
    (make_run(root) / "config.yaml").unlink()
    for name in "bc":
        make_run(root, settings_hash=name * 12, config={"precision": name})
    text = (report(root, capsys)[0] / "table2.md").read_text()
    for name, differs in (("a", "its config.yaml is not there"), ("b", "precision=b"), ("c", "precision=c")):
        assert f"- burgers, Adam, {name * 12}: {differs}\n" in text


@pytest.mark.parametrize("text", ["", "[1]", "seed: [", "a: 1\n\0"])
def test_a_config_that_cannot_be_read_is_named(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "runs"
    damaged = make_run(root) / "config.yaml"
    damaged.write_text(text)
    make_run(root, settings_hash="b" * 12)
    out, said = report(root, capsys)
    assert said[1].startswith(f"{damaged}: cannot be read: ")
    assert f"- burgers, Adam, {'a' * 12}: its config.yaml cannot be read\n" in (out / "table2.md").read_text()
    assert f"{damaged}: cannot be read" in (out / "index.html").read_text()


@pytest.mark.parametrize("text", ["\0\0\0", "iteration,loss\nten,1\n", "a,b\n1,2\n", "iteration,loss\n1,2,3\n"])
def test_a_log_that_cannot_be_read_is_named(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "runs"
    make_run(root, metrics="iteration,l2re,loss,seconds\n1,0.5,1.0,2.0\n", seed=0)
    damaged = make_run(root, metrics=text, seed=1) / "metrics.csv"
    out, said = report(root, capsys)
    assert said[1].startswith(f"{damaged}: cannot be read: ")
    assert "2 files" not in said[-1]
    assert (out / "curves_burgers.png").is_file()


def test_a_result_of_another_kind_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "runs"
    make_run(root, seed=0)
    folders = [make_run(root, seed=1, l2re="small"), make_run(root, seed=2, method=["adam"]), make_run(root, seed=3)]
    (folders[2] / "result.json").write_text("[]")
    _, said = report(root, capsys)
    assert {line.split(": cannot be read: ")[0] for line in said[1:4]} == {str(folder) for folder in folders}


def test_trials_that_did_not_complete_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "runs"
    make_run(root, seed=0, l2re=0.5)
    failed = make_run(root, seed=1, status="failed", reason="the loss of term 'x' is not finite", l2re=1e-9, steps=0)
    make_run(root, seed=2, status="interrupted", l2re=1e-9)
    make_run(root, seed=3, ended=False)
    make_run(root, seed=4, l2re=None)  # completed, with an error that is not finite
    out, said = report(root, capsys)
    counts = "5 trials, 2 failed, 1 interrupted, 1 unfinished"
    assert cells_of(out)["burgers"]["Adam"].startswith(f"**5.00e-1** ({counts}; [")
    assert said[0] == "5 runs: 2 completed, 1 failed, 1 interrupted, 1 unfinished"
    text = (out / "index.html").read_text()
    assert f"failed: {failed}: the loss of term &#x27;x&#x27; is not finite" in text


def test_a_method_that_only_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "runs"
    make_run(root, status="failed", reason="no", l2re=None)
    assert cells_of(report(root, capsys)[0])["burgers"]["Adam"].startswith("– (1 trial, 1 failed; [aaaaaaaaaaaa")


def test_the_row_of_burgers_says_what_the_published_data_allow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "runs", pde="reaction", pde_parameters={"rho": 5.0})
    out, _ = report(tmp_path / "runs", capsys)
    for name in ("table2.md", "table2.csv", "table2.tex", "index.html"):
        assert "themselves 1.33e-2 away from Cole-Hopf" in (out / name).read_text()


def test_what_is_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "runs"
    make_run(root, seed=0, l2re=0.5)
    make_run(root / "copy", seed=0, l2re=0.5)  # the same trial in another folder
    make_run(root / "more", seed=1, status="interrupted")  # and one that was finished elsewhere
    make_run(root, seed=1, l2re=0.25)
    make_run(root, seed=2, l2re=0.125, steps=0, settings_hash="c" * 12)
    old = make_run(root, seed=3, l2re=1e-9)
    old.rename(old.with_name("seed3.previous"))  # put aside by overwrite=true
    broken = make_run(root, seed=4)
    (broken / "result.json").write_text('{"status": ')
    out, said = report(root, capsys)
    assert said[0] == "5 runs: 4 completed, 1 interrupted"
    assert said[1].startswith(f"{broken}: cannot be read: ")
    assert cells_of(out)["burgers"]["Adam"].startswith("**2.50e-1** (median 3.75e-1; spread 2.50e-1; 2 trials; [aaaa")
    text = (out / "table2.md").read_text()
    assert "- 1 runs of no step at all are left out" in text
    assert "- 2 folders hold a trial" in text
    assert f"{broken}: cannot be read" in (out / "index.html").read_text()


def test_special_signs(tmp_path: Path) -> None:
    """Of Markdown, LaTeX and HTML, in names that a user may choose."""
    make_run(tmp_path, method="my_method", budget="a|b", pde="my_pde", pde_parameters={"c_1": 2})
    from pinntk.report.reading import find_runs

    table = make_table(find_runs(tmp_path)[0])
    assert all(line.replace("\\|", "").count("|") == 8 for line in markdown(table).splitlines() if line[:1] == "|")
    body = [line for line in latex(table).splitlines() if not line.startswith("%")]
    assert not re.search(r"(?<!\\)[_#%]", "\n".join(body))
    assert r"my\_pde, c\_1 = 2" in "\n".join(body)
    assert sum(line.count("{") - line.count("}") for line in body) == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["nowhere"], "nowhere"),
        (["."], "no runs"),
        ([], "runs"),
        ([".", "--what"], "--what"),
        (["file"], "not a folder"),
    ],
)
def test_bad_input(
    words: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert named in err
    assert "allowed: " in err
    assert os.listdir() == ["file"]


def test_a_place_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "runs")
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "file")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "--out" in err


def test_files_are_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "runs")
    out, _ = report(tmp_path / "runs", capsys)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    make_run(tmp_path / "runs", seed=1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert main([str(tmp_path / "runs"), "--out", str(out)]) == 2
    assert "No space left" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_jobs_without_a_run_folder_are_counted(tmp_path: Path) -> None:
    make_run(tmp_path)
    refused = {"status": "failed", "code": 2, "l2re": None, "folder": None, "reason": "method=pcpinn: no discrete form"}
    failed = {**refused, "code": 1, "reason": "OSError: no room"}
    done = {"status": "completed", "code": 0, "l2re": 0.5, "folder": "x", "reason": None}
    with_folder = {**failed, "folder": "x"}
    sweeps = {
        "2026-01-01": [
            ("pde=cavity", refused),
            ("pde=kdv", refused),
            ("pde=wave", failed),
            ("pde=heat2d", with_folder),
        ],
        "2026-01-02": [("pde=kdv", done), ("pde=cavity", refused)],
    }
    for day, jobs in sweeps.items():
        (tmp_path / ".sweeps" / day).mkdir(parents=True)
        for k, (words, record) in enumerate(jobs):
            content = {"job": k, "swept": words, "words": [words, "method=pcpinn"], **record}
            (tmp_path / ".sweeps" / day / f"job{k}.json").write_text(json.dumps(content))
    (tmp_path / ".sweeps" / "2026-01-02" / "job7.json").write_text("[")
    said = write_report(tmp_path, tmp_path / "report")
    assert "2 jobs have no run folder, refused or failed before: see the notes" in said
    notes = (tmp_path / "report" / "table2.md").read_text()
    assert "- 2 jobs of sweeps have no run folder and are in no cell:" in notes
    assert "- pde=cavity: refused, in no cell: method=pcpinn: no discrete form" in notes
    assert "- pde=wave: failed without a run folder, in no cell: OSError: no room" in notes
    assert "kdv: " not in notes
    assert "heat2d: " not in notes
