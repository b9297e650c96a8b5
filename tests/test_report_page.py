"""index.html: complete in itself; in a browser its tables sort, it fits screens, and its plots are there."""

import base64
import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import make_run

from pinntk.report.write import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; Debian's package chromium has it")
PROBLEMS: dict[str, dict[str, Any]] = {
    "convection": {"pde": "convection", "pde_parameters": {"beta": 40.0}},
    "wave, a = 4": {"pde": "wave", "pde_parameters": {"a": 4, "C": 4.0}},
    "wave, a = 5": {"pde": "wave", "pde_parameters": {"a": 5, "C": 4.0}},
    "reaction": {"pde": "reaction", "pde_parameters": {"rho": 5.0}},
    "burgers": {},
    "heat2d": {"pde": "heat2d", "pde_parameters": {"k": 1.0, "m1": 4, "m2": 2}},
}
PAPERS = ("pinn_ntk", "pcpinn", "adam", "adam_lbfgs", "gdnd")
OTHERS = ("evolve", "gauss_newton", "ntk_ng", "pcpinn_gdnd", "pcpinn_ng", "pcpinn_ssbroyden", "ssbroyden")
LOG = "iteration,loss,l2re,seconds\n" + "".join(f"{n},{1 / n},{1 / n},{n / 10}\n" for n in range(1, 50))


def save_solution(folder: Path) -> dict[str, Any]:
    """A solution in x and t, 21 by 11, that has no symmetry: what is in the file."""
    axes = np.linspace(-1, 1, 21), np.linspace(0, 2, 11)
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    reference = np.sin(points @ [1.3, 0.7])
    prediction = reference + 1e-3 * np.cos(points @ [0.2, 2.1])
    saved: dict[str, Any] = {"coordinates": points, "prediction": prediction, "reference": reference}
    saved["names"] = np.array(["x", "t"])
    np.savez(folder / "solution.npz", **saved)
    return saved


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on the paper's table and more columns, some trials of which failed."""
    root = tmp_path_factory.mktemp("report")
    for n, problem in enumerate(PROBLEMS.values()):
        for k, method in enumerate((*PAPERS, *OTHERS)):
            for seed in range(3):
                kind: dict[str, Any] = {**problem, "method": method, "settings_hash": "abcdef"[n] * 12}
                if (n + k + seed) % 7 == 0:
                    kind |= {"status": "failed", "reason": "lost"}
                make_run(root / "runs", **kind, seed=seed, l2re=10 ** (n - k - seed / 5))
    for k in range(5):
        more = make_run(root / "runs", settings_hash=f"{k}" * 12, l2re=10.0 + k, metrics=LOG)
    solved = make_run(root / "runs", settings_hash="best" * 3, l2re=1e-3, metrics=LOG)
    heat: dict[str, Any] = {**PROBLEMS["heat2d"], "settings_hash": "best" * 3}
    heated = make_run(root / "runs", **heat, l2re=1e-4, metrics=LOG)
    save_solution(solved)
    (more / "solution.png").write_bytes(b"not the best run's")
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    np.savez(heated / "solution.npz", coordinates=grid, prediction=grid @ [1, 2, 3], reference=grid @ [1, 2, 4])
    write_report(root / "runs", root / "out")
    return root / "out"


class Tags(HTMLParser):
    """Names and attributes of all tags, and whether each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br", "wbr", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else(report: Path) -> None:
    text = (report / "index.html").read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    links = [value for _, attrs in tags.found for name, value in attrs.items() if name in ("src", "href", "srcset")]
    assert links
    assert all(link is not None and link.startswith(("data:", "#")) for link in links)
    plotly = re.search(r'<script type="text/plain" id="plotly">.*?</script>', text, re.DOTALL)
    assert plotly is not None
    rest = text.replace(plotly.group(), "")
    assert len(rest) < 1_000_000  # plotly.js is there once
    assert not re.search(r"url\(|@import|fetch\(|https?://", rest)
    names = [attrs.get("id") for _, attrs in tags.found if "id" in attrs]
    assert len(set(names)) == len(names)
    assert {link.removeprefix("#") for link in links if link and link.startswith("#")} <= set(names)
    assert {attrs["popovertarget"] for _, attrs in tags.found if "popovertarget" in attrs} <= set(names)
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in tags.found


def test_every_picture_is_in_the_page(report: Path) -> None:
    tags = Tags()
    tags.feed((report / "index.html").read_text())
    sources = [str(attrs["src"]) for tag, attrs in tags.found if tag == "img"]
    files = {path.read_bytes() for path in report.glob("*.png")}
    assert files
    assert {base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in sources} == files


WATCH = "<script>window.failures = []; window.onerror = what => failures.push(String(what));</script>"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def browse(report: Path, folder: Path, script: str, size: str = "1366,768", *more: str) -> Any:
    """Open the page without any network, run a script in it, and give back the value that it returns.

    It may wait (``await``). Asserted of every visit: no error is thrown, and nothing is loaded.
    """
    assert CHROMIUM is not None
    probe = (
        "<script>(async () => { const still = ms => new Promise(done => setTimeout(done, ms));"
        f"const found = await (async () => {{ {script} }})();"
        "document.title = JSON.stringify([found, failures, performance.getEntriesByType('resource').length]); })()"
        ".catch(error => { document.title = JSON.stringify([null, [String(error)], 0]); });</script>"
    )
    head, body = (report / "index.html").read_text().split("<head>", 1)
    page = folder / "page.html"
    page.write_text(f"{head}<head>{WATCH}{body.replace('</body>', f'{probe}</body>')}")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}"]
    command += [f"--window-size={size}", "--virtual-time-budget=20000", *more, "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title is not None
    found, failures, loaded = json.loads(unescape(title.group(1)))
    assert failures == []
    assert loaded == 0
    return found


@browser
def test_the_table_sorts(report: Path, tmp_path: Path) -> None:
    script = """
        const buttons = document.querySelectorAll("#table2 thead button"), found = [];
        for (const [column, clicks] of [[3, 1], [3, 2], [0, 1]]) {
            for (const head of document.querySelectorAll("#table2 thead th")) head.removeAttribute("aria-sort");
            for (let k = 0; k < clicks; k++) buttons[column].click();
            const rows = [...document.querySelectorAll("#table2 tbody th[scope=row]")];
            found.push([rows.map(head => head.dataset.value), buttons[column].parentElement.getAttribute("aria-sort")]);
        }
        return found;
    """
    adam = ["heat2d", "burgers", "convection", "wave, a = 4", "wave, a = 5", "reaction"]
    found = browse(report, tmp_path, script)
    assert found == [[adam, "ascending"], [adam[::-1], "descending"], [sorted(PROBLEMS), "ascending"]]


@browser
def test_the_table_fits_a_laptop(report: Path, tmp_path: Path) -> None:
    """Six rows and twelve columns, without scrolling, as the page opens; settings are behind a click."""
    script = """
        const table = document.getElementById("table2"), wide = table.parentElement;
        const cell = document.querySelector('td[data-problem="burgers"][data-method="adam"]');
        const card = cell.querySelector("[popover]"), closed = card.checkVisibility();
        cell.querySelector("button").click();
        return {
            size: [table.tBodies[0].rows.length, table.tHead.rows[0].cells.length],
            bottom: table.getBoundingClientRect().bottom, height: innerHeight,
            sideways: wide.scrollWidth - wide.clientWidth, overflow: OVERFLOW,
            closed, open: card.checkVisibility(), card: card.innerText, dots: cell.querySelectorAll("circle").length,
        };
    """
    found = browse(report, tmp_path, script.replace("OVERFLOW", OVERFLOW))
    assert found["size"] == [6, 13]
    assert found["height"] <= 768
    assert found["bottom"] <= found["height"]
    assert found["sideways"] == found["overflow"] == 0
    assert (found["closed"], found["open"]) == (False, True)
    assert all(f"{k}" * 12 in found["card"] for k in range(5))
    assert found["dots"] == 1


@browser
@pytest.mark.parametrize("scheme", [0, 1])
def test_it_fits_a_phone_in_the_dark_and_in_the_light(scheme: int, report: Path, tmp_path: Path) -> None:
    """With everything unfolded, wide things scroll by themselves; the page does not. Plots have its colours."""
    script = f"""
        for (const details of document.querySelectorAll("details")) details.open = true;
        await still(1000);
        document.querySelector("figure.time").scrollIntoView();
        await still(2000);
        const style = getComputedStyle(document.body);
        const plots = [...document.querySelectorAll(".js-plotly-plot")].map(plot => plot.layout.font.color);
        return [{OVERFLOW}, style.backgroundColor, plots, style.getPropertyValue("--ink").trim()];
    """
    found = browse(report, tmp_path, script, "500,900", f"--blink-settings=preferredColorScheme={scheme}")
    overflow, background, plots, ink = found
    assert overflow == 0
    brightness = [int(part) for part in re.findall(r"\d+", background)]
    assert max(brightness) < 60 if scheme == 0 else min(brightness) > 200
    assert len(plots) >= 3
    assert set(plots) == {ink}


@browser
def test_error_against_time_can_be_explored(report: Path, tmp_path: Path) -> None:
    script = """
        document.querySelector("figure.time").scrollIntoView();
        await still(2000);
        const figures = [...document.querySelectorAll("figure.time")];
        const plot = figures[0].querySelector(".js-plotly-plot");
        const shown = () => plot.data.filter(trace => trace.visible).length, kind = () => plot.layout.xaxis.type;
        const before = [plot.data.length, shown(), kind()];
        for (const name of ["every-setting", "linear-time"]) document.getElementById(name).click();
        await still(500);
        return {
            problems: figures.map(figure => figure.dataset.problem), before, after: [plot.data.length, shown(), kind()],
            x: [...plot._fullData[0].x], y: [...plot._fullData[0].y], hover: plot.data[0].hovertemplate,
            buttons: [...plot.querySelectorAll(".modebar-btn")].map(button => button.dataset.title),
            legend: [...plot.querySelectorAll(".legendtext")].map(text => text.textContent),
        };
    """
    found = browse(report, tmp_path, script)
    assert found["problems"] == ["burgers", "heat2d"]
    assert found["before"] == [6, 1, "log"]
    assert found["after"] == [6, 6, "linear"]
    assert found["x"] == pytest.approx([n / 10 for n in range(1, 50)], rel=1e-6)
    assert found["y"] == pytest.approx([1 / n for n in range(1, 50)], rel=1e-6)
    assert all(word in found["hover"] for word in ("Adam", "seed 0", "best" * 3))
    assert found["legend"] == ["Adam"]
    assert found["buttons"]
    assert not [title for title in found["buttons"] if re.search("cloud|share|edit", title, re.IGNORECASE)]


@browser
def test_a_solution_moment_by_moment(report: Path, tmp_path: Path) -> None:
    """Nothing is built before it is unfolded; then what is drawn is what the run has saved."""
    script = """
        const all = [...document.querySelectorAll("details.solution")];
        const before = document.querySelectorAll(".solution .js-plotly-plot").length;
        const found = {before, problems: all.map(details => details.dataset.problem), moments: []};
        for (const details of all) details.open = true;
        await still(2000);
        const [flat, maps] = all.map(details => details.querySelector(".js-plotly-plot"));
        const slider = all[0].querySelector("input[type=range]");
        for (const k of [0, 7]) {
            slider.value = k;
            slider.dispatchEvent(new Event("input", {bubbles: true}));
            await still(300);
            const lines = Object.fromEntries(flat.data.map(trace => [trace.name, [...trace.y]]));
            found.moments.push([all[0].querySelector("output").textContent, lines, [...flat.data[0].x]]);
        }
        found.maps = maps.data.map(trace => [trace.type, trace.name, trace.z.map(row => [...row])]);
        found.slider = [slider.min, slider.max, all[1].querySelector("input[type=range]").max];
        found.note = all[0].querySelector("p").textContent;
        return found;
    """
    found = browse(report, tmp_path, script)
    assert found["before"] == 0
    assert found["problems"] == ["burgers", "heat2d"]
    assert found["slider"] == ["0", "10", "4"]
    assert found["note"] == f"L2RE 1.00e-3, seed 0 of {'best' * 3}"
    saved = save_solution(tmp_path)
    prediction, reference = (saved[name].reshape(21, 11) for name in ("prediction", "reference"))
    for (label, lines, x), k in zip(found["moments"], (0, 7), strict=True):
        assert label == f"t = {k / 5:g}"
        assert x == pytest.approx(np.linspace(-1, 1, 21), abs=1e-6)
        assert lines["prediction"] == pytest.approx(prediction[:, k], abs=4e-5)
        assert lines["reference"] == pytest.approx(reference[:, k], abs=4e-5)
        assert lines["prediction − reference"] == pytest.approx((prediction - reference)[:, k], abs=4e-8)
    x, y = np.linspace(0, 1, 5), np.linspace(0, 1, 5)[:, None]
    assert [(kind, name) for kind, name, _ in found["maps"]] == [
        ("heatmap", name) for name in ("prediction", "reference", "prediction − reference")
    ]
    for (_, _, values), exact in zip(found["maps"], (x + 2 * y + 3, x + 2 * y + 4, 0 * (x + y) - 1), strict=True):
        np.testing.assert_allclose(values, exact, atol=2e-4)  # at the last moment, where it opens
